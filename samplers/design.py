"""Who is reviewed: inclusion probabilities of a second draw, and the order of work.

A label is worth most where the score is least sure: the variance of a difference estimator is least when the
inclusion probability is proportional to the standard deviation of (wrong - score), sqrt(score (1 - score)) of a
calibrated one (Neyman allocation; Särndal, Swensson & Wretman 1992, section 12.2). Two floors keep this safe where
the score misleads: a segment gets at least ``SEGMENT_FLOOR`` of its proportional share of the labels, and an item of
it at least ``ITEM_FLOOR`` of its segment's mean probability, so that no weight explodes.

Order of work. An item's permanent random number u in [0, 1) gives its *race time* log(1 - u) / log(1 - pi), of which
an item is drawn iff it is at most 1. Whoever works in the order of race times and stops at s has drawn each item with
probability 1 - (1 - pi)^s, independently: a smaller sample of known probability. The order is also the successive
sampling without replacement in which the chance to be next is proportional to -log(1 - pi) among those left
(exponential races; Efraimidis & Spirakis 2006), on which always-valid intervals rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

SEGMENT_FLOOR = 0.8  # of the proportional share of the labels
ITEM_FLOOR = 0.5  # of the segment's mean inclusion probability
LEAST_DEVIATION = 0.02  # a score of exactly 0 or 1 is not believed


def race_times(u: Float64, pi: Float64) -> Float64:
    """When each item's turn comes; it is drawn iff this is <= 1. ``u`` in [0, 1), ``pi`` in [0, 1].

    0 where pi is 1 (always drawn, first of all), infinity where pi is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.log1p(-u) / np.log1p(-pi)
    return np.where(pi <= 0, np.inf, np.where(pi >= 1, 0.0, times))


def race_weights(pi: Float64) -> Float64:
    """-log(1 - pi): the rate of an item's race. Infinite where pi is 1."""
    with np.errstate(divide="ignore"):
        weights: Float64 = -np.log1p(-pi)
    return weights


def inclusion_until(pi: Float64, stop: float | Float64) -> Float64:
    """Inclusion probability when work in the order of race times has stopped at ``stop`` in [0, 1], of all or each."""
    reached_by = np.broadcast_to(np.asarray(stop, np.float64), pi.shape)
    if not bool(np.all((reached_by >= 0) & (reached_by <= 1))):
        raise ValueError(f"work stops at a race time within [0, 1], got {stop}")
    with np.errstate(invalid="ignore"):
        reached: Float64 = -np.expm1(-race_weights(pi) * reached_by)
    return np.where(reached_by == 1, pi, np.where(pi >= 1, (reached_by > 0).astype(np.float64), reached))


def summed(values: Float64, groups: Int64, count: int) -> Float64:
    """Sum of ``values`` by group, float64[count]."""
    return np.bincount(groups, values, minlength=count).astype(np.float64)


def deviations(score: Float64) -> Float64:
    """Standard deviation of (wrong - score), were the score right; at least ``LEAST_DEVIATION``."""
    return np.maximum(np.sqrt(np.clip(score, 0, 1) * np.clip(1 - score, 0, 1)), LEAST_DEVIATION)


def shared_out(labels: float, sizes: Float64, deviation_sums: Float64, floors: Float64) -> Float64:
    """Expected labels of each segment: in proportion to ``deviation_sums``, at least ``floors``, at most ``sizes``.

    Args:
        labels: what there is in all; what no segment can use is not spent.
        sizes: items of each segment, float[g].
        deviation_sums: sum over its items of what Neyman allocation goes by, float[g].
        floors: labels a segment gets at least, float[g]; scaled down where they exceed ``labels`` together.
    """
    floors = np.minimum(floors, sizes)
    if floors.sum() >= labels:
        return floors * (labels / floors.sum()) if floors.sum() > 0 else floors
    if sizes.sum() <= labels:
        return sizes.copy()
    low, high = 0.0, 1.0
    while np.clip(high * deviation_sums, floors, sizes).sum() < labels and high < 1e18:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * deviation_sums, floors, sizes).sum() < labels else (low, middle)
    granted: Float64 = np.clip(high * deviation_sums, floors, sizes)
    return granted


def proportional_floors(labels: float, sizes: Float64) -> Float64:
    """``SEGMENT_FLOOR`` of each segment's proportional share of the labels."""
    total = sizes.sum()
    return sizes * (SEGMENT_FLOOR * labels / total) if total > 0 else sizes


def within(deviation: Float64, labels: float) -> Float64:
    """Inclusion probabilities of one segment's items: in proportion to ``deviation``, in sum ``labels``.

    At least ``ITEM_FLOOR`` of their mean, at most 1.
    """
    n = len(deviation)
    if not n or labels <= 0:
        return np.zeros(n)
    if labels >= n:
        return np.ones(n)
    scale, least = level(deviation, np.ones(n), labels)
    return np.clip(scale * deviation, least, 1.0)


def level(deviation: Float64, count: Float64, labels: float) -> tuple[float, float]:
    """(scale, least) such that sum(count * clip(scale * deviation, least, 1)) = labels < sum(count).

    ``count`` says how many items each value of ``deviation`` stands for.
    """
    least = ITEM_FLOOR * labels / float(count.sum())
    low, high = 0.0, 1.0 / float(deviation.max())
    while count @ np.clip(high * deviation, least, 1.0) < labels and high < 1e18:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if count @ np.clip(middle * deviation, least, 1.0) < labels else (low, middle)
    return high, least


def probabilities(score: Float64, segments: Int64, labels: float) -> Float64:
    """Inclusion probabilities for a population that is known whole, with ``labels`` drawn in expectation.

    Args:
        score: predicted chance that an item is wrong, float[n] in [0, 1].
        segments: code of each item's segment, int[n], from 0.

    Raises:
        ValueError: lengths differ, or scores are not in [0, 1].
    """
    if len(score) != len(segments):
        raise ValueError(f"a score and a segment for each item: got {len(score)} and {len(segments)}")
    if not bool(np.all((score >= 0) & (score <= 1))):
        raise ValueError("scores are chances within [0, 1]; got others, or NaN")
    pi = np.zeros(len(score))
    if not len(score):
        return pi
    deviation = deviations(score)
    sizes = np.bincount(segments).astype(np.float64)
    sums = summed(deviation, segments, len(sizes))
    granted = shared_out(labels, sizes, sums, proportional_floors(labels, sizes))
    for code in np.flatnonzero(sizes):
        mine = segments == code
        pi[mine] = within(deviation[mine], float(granted[code]))
    return pi
