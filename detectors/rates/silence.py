"""Silence: an hour without a single event where there should be some.

The bets of `volume` ask about whole days, so that an outage in the middle of a busy day is only proved on the next
one. This one asks about single hours: under no change an hour is silent with at most the probability that the
volume's own model gives it at its lower limits, and never with less than `LEAST`; the alternative is silent with
`SILENT`. It pays nothing on average while that holds, whatever came before. A stream that rests on whole days does
not say so hour by hour, so it is not asked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from detectors.evidence.effect import Verdict
from detectors.rates.volume import ODD_SHARE, ODD_SIZE, VolumeReference

SILENT = 0.95
LEAST = 0.01  # no week of history shows that an hour is silent more rarely
DAY_SDS = 3.0  # how low a day may lie
MOST = 0.5  # an hour that is silent this often without a change is not bet on


def silence_probabilities(reference: VolumeReference) -> NDArray[np.float64]:
    """Upper limit of the probability of a silent hour without a change, for every hour of the week, float64[168]."""
    return _probability(reference, reference.mean)


def silence_probability(reference: VolumeReference, hour_of_week: int) -> float:
    """Upper limit of the probability of a silent hour without a change."""
    return float(_probability(reference, reference.mean[hour_of_week]))


def _probability(reference: VolumeReference, mean: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    low = mean * float(np.exp(-reference.level_error - DAY_SDS * reference.day_sd))

    def none(size: float) -> NDArray[np.float64]:  # of a negative binomial
        return np.asarray(expit(-np.log(np.maximum(low, 1e-300) / size)) ** size, dtype=np.float64)

    usual, odd = none(reference.size), none(min(reference.size, ODD_SIZE))
    return np.asarray(np.maximum(LEAST, (1.0 - ODD_SHARE) * usual + ODD_SHARE * odd), dtype=np.float64)


def silence_log_bet(count: int, reference: VolumeReference, hour_of_week: int) -> float:
    """Log payoff of one observed hour with ``count`` events; 0 where silence would be no surprise."""
    if count < 0:
        raise ValueError(f"a count is >= 0, got {count}")
    p = silence_probability(reference, hour_of_week)
    if reference.verdict is not Verdict.OK or reference.resting > 0 or p >= MOST:
        return 0.0
    return float(np.log(SILENT / p) if count == 0 else np.log((1.0 - SILENT) / (1.0 - p)))
