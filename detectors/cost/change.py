"""How far the cost tail has moved: the mean of the dearest requests, beside the tail share that detection bets on."""

from __future__ import annotations

from detectors.evidence.effect import Effect
from detectors.summaries.histogram import Histogram


def shortfall_change(
    now: Histogram, before: Histogram, q: float = 0.95, unit: str = "nano", confidence: float = 0.95
) -> Effect | None:
    """Expected shortfall (mean of the values above the q quantile) now with its interval, beside the reference's.

    Returns None where either side has too few values in that tail.
    """
    value, baseline = now.expected_shortfall(q), before.expected_shortfall(q)
    limits = now.expected_shortfall_interval(q, confidence)
    if value is None or baseline is None or limits is None:
        return None
    return Effect(value, limits.low, limits.high, baseline, unit)
