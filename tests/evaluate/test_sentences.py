"""What people read of an agreement: the amount in standard deviations, whichever way it went."""

from __future__ import annotations

import msgspec
import pytest

from alerts.rendering import effect_text, headline
from detectors.drift.agreement import AgreementTail
from detectors.evidence import Effect
from monitor.evaluate.measuring import document
from monitor.evaluate.sentences import sentence
from monitor.evaluate.streams import spec_of


@pytest.mark.parametrize(
    ("effect", "verb", "size", "interval"),
    [
        (Effect(-2.1, -2.5, -1.7, 0.0, "sd"), "fell", "2.1", "1.7 to 2.5"),
        (Effect(1.25, 0.9, 1.6, 0.0, "sd"), "rose", "1.25", "0.9 to 1.6"),
        (Effect(-0.1, -0.4, 0.2, 0.0, "sd"), "fell", "0.1", "-0.2 to 0.4"),
    ],
)
def test_agreement_is_told_in_standard_deviations(effect: Effect, verb: str, size: str, interval: str) -> None:
    amount = f"{verb} by {size} standard deviations of the reference"
    text = sentence(spec_of("agreement"), "acme", effect, 0.0, 0, "UTC", "USD")
    assert (
        text
        == f"The agreement of images and texts in acme {amount} (95 % interval {interval}), since 1970-01-01 00:00 UTC."
    )


def test_a_tail_of_agreement_is_told_as_a_share() -> None:
    effect = AgreementTail(0.14, 0.11, 0.18, 0.05, "share", "below", 0.1534)
    assert sentence(spec_of("agreement"), "acme", effect, 0.0, 0, "UTC", "USD") == (
        "The share of sessions in acme whose images and texts agree less than usual (a cosine below 0.153) rose from "
        "5 % to 14 % (95 % interval 11 % to 18 %), since 1970-01-01 00:00 UTC; the mean agreement is as it was."
    )
    shown = document(effect)
    assert shown.of == "below a cosine of 0.153" and shown.unit == "share"
    assert effect_text(msgspec.to_builtins(shown)) == (
        "14 % below a cosine of 0.153 (95 % interval 11 % to 18 %), 5 % before"
    )
    anomaly = {"signal": "agreement", "segment": "acme", "effect": msgspec.to_builtins(shown)}
    assert headline(anomaly) == "agreement below a cosine of 0.153 in acme from 5 % to 14 %"
