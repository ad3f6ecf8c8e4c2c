"""More load, or slower at the same load: what part of a change in slow requests comes with concurrency.

The share of slow requests is sum over c of w(c) p(c): w the part of the requests at concurrency c, p the share of slow
ones among these. Its change is split between w (load) and p (slower at the same load) by Shapley's value of two
factors, which is Kitagawa's symmetric decomposition (JASA 50, 1955): the parts add up to the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from detectors.summaries.histogram import Histogram, Interval

Float = NDArray[np.float64]

MIN_EVENTS = 30  # in each period


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the change in the share of slow requests, with its limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LoadSplit:
    """Shares of slow requests before and now, and what of the change each part explains."""

    before: float
    now: float
    load: Part  # requests came at other concurrencies
    same_load: Part  # requests at the same concurrency were slower


@dataclass(frozen=True, slots=True)
class AtLoad:
    """Latency in us of the requests that came at a range of concurrency (low to high, both included), with 95 % limits
    where there are enough of them."""

    low: int
    high: int
    events: int
    p50: float
    p50_limits: Interval | None
    p95: float
    p95_limits: Interval | None


def latency_at_load(found: Mapping[tuple[int, int], Histogram]) -> list[AtLoad]:
    """Latency by concurrency (`Summary.latency_by_concurrency`), from the least; ranges of fewer than 30 are left
    out."""
    rows = []
    for (low, high), h in sorted(found.items()):
        p50, p95 = h.quantile(0.5), h.quantile(0.95)
        if h.count >= MIN_EVENTS and p50 is not None and p95 is not None:
            limits = h.quantile_interval(0.5), h.quantile_interval(0.95)
            rows.append(AtLoad(low, high, h.count, p50, limits[0], p95, limits[1]))
    return rows


def split_by_load(
    before: Mapping[tuple[int, int], Histogram],
    now: Mapping[tuple[int, int], Histogram],
    threshold: float,
    confidence: float = 0.95,
) -> LoadSplit | None:
    """Split the change of the share of requests slower than ``threshold`` (a bucket's upper edge, in us).

    Args:
        before, now: of each range of concurrency the distribution of latency (`Summary.latency_by_concurrency`).
        confidence: of each part's limits, which take events as independent (delta method).

    Returns:
        None with fewer than 30 events in a period. A range of concurrency that one period does not have is taken to
        have been as slow there as in the other: its requests are load.
    """
    ranges = sorted({*before, *now})
    totals = [_counts(period, ranges, threshold) for period in (before, now)]
    (n, slow_n), (m, slow_m) = totals
    if min(n.sum(), m.sum()) < MIN_EVENTS:
        return None
    p = np.divide(slow_n, n, out=np.full(n.size, np.nan), where=n > 0)
    q = np.divide(slow_m, m, out=np.full(m.size, np.nan), where=m > 0)
    p, q = np.where(np.isnan(p), q, p), np.where(np.isnan(q), p, q)
    w, v = n / n.sum(), m / m.sum()
    both, middle = (w + v) / 2.0, (p + q) / 2.0
    load, same = float((v - w) @ middle), float(both @ (q - p))
    # Half a hit more or less, so that a range without slow requests is not without doubt; none twice where a period
    # has none of its own.
    unsure = np.where(n > 0, _variance(slow_n, n), 0.0) + np.where(m > 0, _variance(slow_m, m), 0.0)
    of_load = _mixed(middle, w, n) + _mixed(middle, v, m) + float((v - w) ** 2 @ unsure) / 4.0
    of_same = float(both**2 @ unsure) + (_mixed(q - p, w, n) + _mixed(q - p, v, m)) / 4.0
    z = float(ndtri((1.0 + confidence) / 2.0))
    return LoadSplit(
        float(w @ p), float(v @ q), _part(load, z * float(np.sqrt(of_load))), _part(same, z * float(np.sqrt(of_same)))
    )


def _mixed(values: Float, weights: Float, counts: Float) -> float:
    """Variance of weights @ values, the weights being shares of multinomial counts."""
    return max(0.0, float(weights @ values**2 - (weights @ values) ** 2)) / float(counts.sum())


def _part(value: float, reach: float) -> Part:
    return Part(value, value - reach, value + reach)


def _variance(hits: Float, trials: Float) -> Float:
    rate = (hits + 0.5) / (trials + 1.0)
    return np.asarray(rate * (1.0 - rate) / np.maximum(trials, 1.0), dtype=np.float64)


def _counts(
    period: Mapping[tuple[int, int], Histogram], ranges: list[tuple[int, int]], threshold: float
) -> tuple[Float, Float]:
    """Requests and slow requests of every range."""
    counts, slow = np.zeros(len(ranges)), np.zeros(len(ranges))
    for i, key in enumerate(ranges):
        if key in period:
            h = period[key]
            counts[i] = float(h.counts.sum())
            slow[i] = float(h.counts[h.upper > threshold].sum())
    return counts, slow
