"""Silence: an hour without a single event where there should be some.

The bets of `volume` ask about whole days, so that an outage in the middle of a busy day is only proved on the next
one. This one asks about single hours: under no change an hour is silent with at most the probability that the
volume's own model gives it at its lower limits, and never with less than `LEAST`; the alternative is silent with
`SILENT`. It pays nothing on average while that holds, whatever came before. A stream that rests on whole days does
not say so hour by hour, so it is not asked.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from detectors.evidence.effect import Verdict
from detectors.rates.volume import ODD_SHARE, ODD_SIZE, VolumeReference

SILENT = 0.95
LEAST = 0.01  # no week of history shows that an hour is silent more rarely
DAY_SDS = 3.0  # how low a day may lie
MOST = 0.5  # an hour that is silent this often without a change is not bet on


def silence_probability(reference: VolumeReference, hour_of_week: int) -> float:
    """Upper limit of the probability of a silent hour without a change."""
    low = float(reference.mean[hour_of_week]) * float(np.exp(-reference.level_error - DAY_SDS * reference.day_sd))

    def none(size: float) -> float:  # of a negative binomial
        return float(expit(-np.log(max(low, 1e-300) / size)) ** size)

    usual, odd = none(reference.size), none(min(reference.size, ODD_SIZE))
    return max(LEAST, (1.0 - ODD_SHARE) * usual + ODD_SHARE * odd)


def silence_log_bet(count: int, reference: VolumeReference, hour_of_week: int) -> float:
    """Log payoff of one observed hour with ``count`` events; 0 where silence would be no surprise."""
    if count < 0:
        raise ValueError(f"a count is >= 0, got {count}")
    p = silence_probability(reference, hour_of_week)
    if reference.verdict is not Verdict.OK or reference.resting > 0 or p >= MOST:
        return 0.0
    return float(np.log(SILENT / p) if count == 0 else np.log((1.0 - SILENT) / (1.0 - p)))
