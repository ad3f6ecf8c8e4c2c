"""The bet on silent hours."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.rates.silence import silence_log_bet, silence_probability
from detectors.rates.volume import VolumeReference


def reference(per_hour: float, days: int = 14) -> VolumeReference:
    rng = np.random.default_rng(3)
    hours = np.arange(24 * days)
    return VolumeReference.fit(rng.poisson(per_hour, hours.size), hours % 168, hours // 24)


@pytest.mark.parametrize("per_hour", [0.5, 3.0, 10.0, 80.0])
def test_its_expectation_is_one_at_the_limit_and_below_it_where_silence_is_rarer(per_hour: float) -> None:
    fit = reference(per_hour)
    p = silence_probability(fit, 0)
    assert p >= np.exp(-per_hour)  # never less than what the traffic itself does
    silent, busy = np.exp(silence_log_bet(0, fit, 0)), np.exp(silence_log_bet(5, fit, 0))
    assert p * silent + (1 - p) * busy == pytest.approx(1.0)
    assert 0.2 * p * silent + (1 - 0.2 * p) * busy <= 1.0


def test_it_pays_for_silence_where_there_is_traffic_and_not_where_there_is_none() -> None:
    assert silence_log_bet(0, reference(80.0), 5) > 3.0
    assert silence_log_bet(0, reference(0.5), 5) == 0.0
    assert silence_log_bet(0, reference(80.0, days=3), 5) == 0.0  # too little history to say anything
    with pytest.raises(ValueError, match="got -1"):
        silence_log_bet(-1, reference(80.0), 5)
