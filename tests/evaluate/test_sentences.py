"""What people read of an agreement: the amount in standard deviations, whichever way it went."""

from __future__ import annotations

import pytest

from detectors.evidence import Effect
from monitor.evaluate.sentences import sentence
from monitor.evaluate.streams import spec_of


@pytest.mark.parametrize(
    ("effect", "verb", "size", "interval"),
    [
        (Effect(-2.1, -2.5, -1.7, 0.0, "sd"), "fell", "2.1", "1.7 to 2.5"),
        (Effect(1.25, 0.9, 1.6, 0.0, "sd"), "rose", "1.25", "0.9 to 1.6"),
    ],
)
def test_agreement_is_told_in_standard_deviations(effect: Effect, verb: str, size: str, interval: str) -> None:
    amount = f"{verb} by {size} standard deviations of the reference"
    text = sentence(spec_of("agreement"), "acme", effect, 0.0, 0, "UTC", "USD")
    assert (
        text
        == f"The agreement of images and texts in acme {amount} (95 % interval {interval}), since 1970-01-01 00:00 UTC."
    )


def test_agreement_whose_mean_may_not_have_moved_is_not_said_to_fall() -> None:
    """It is judged by how many sessions lie far out, on either side."""
    assert sentence(spec_of("agreement"), "acme", Effect(-0.1, -0.4, 0.2, 0.0, "sd"), 0.0, 0, "UTC", "USD") == (
        "The agreement of images and texts in acme is unusually low or high in more sessions; its mean moved by -0.1 "
        "standard deviations of the reference (95 % interval -0.4 to 0.2), since 1970-01-01 00:00 UTC."
    )
