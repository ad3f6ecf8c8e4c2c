"""How far a percentile has moved: the quantity an operator reads, beside the tail share that detection bets on."""

from __future__ import annotations

from detectors.evidence.effect import Effect
from detectors.summaries.histogram import Histogram


def quantile_change(
    now: Histogram, before: Histogram, q: float, unit: str = "us", confidence: float = 0.95
) -> Effect | None:
    """The q quantile now with its order-statistic interval, beside the reference's.

    Returns None where either side has too few values for that quantile.
    """
    value, baseline = now.quantile(q), before.quantile(q)
    limits = now.quantile_interval(q, confidence)
    if value is None or baseline is None or limits is None:
        return None
    return Effect(value, limits.low, limits.high, baseline, unit)
