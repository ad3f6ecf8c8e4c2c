"""How long a change takes to be found, before it happens: what a funding buys.

Under a change the log evidence of bet k is a random walk with positive drift. A stream funded with a per look and bet
holds R_k = a V_k exp(S_k) after a walk S_k, where V_k is a typical sum of the walks begun until then: those since the
change, and those that the null carried in. The alarm comes where the R_k add up to 1. The walks of a stream are
driven by the same data, so near the crossing their sum moves like one walk with the R-weighted drift and deviation, and
its time to the crossing is inverse Gaussian (Wald), with the mean excess over the boundary added to the distance
(Siegmund, Sequential Analysis, 1985, ch. 8). Against simulation the medians lie within a factor of 1.25
(tests/detectors/test_power.py says where).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, log_ndtr, ndtr

Float = NDArray[np.float64]

MEDIAN = 0.5
GAUSSIAN_EXCESS = 0.583  # mean excess of a Gaussian walk over a boundary, in deviations of one look
LEAST_RATIO = 0.5  # of 2 drift / variance: a weaker bet's sum is bounded by the time it has, not by its drift
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Walks:
    """The log payoffs of one look of ``n`` streams with ``K`` bets each, if something changed and if nothing did.

    ``drift`` and ``variance`` are their mean and variance under the change, ``null_drift`` and ``null_variance``
    without it, all float[n, K]; columns without a bet hold zeros. ``jump`` float[n, K] is what one hit adds, 0 where
    a look is the sum of many small parts. ``funding`` float[n] is what one bet gets per look, ``look`` float[n] the
    hours from one look to the next.
    """

    drift: Float
    variance: Float
    null_drift: Float
    null_variance: Float
    jump: Float
    funding: Float
    look: Float

    def __post_init__(self) -> None:
        shape = self.drift.shape
        same = (self.variance, self.null_drift, self.null_variance, self.jump)
        if len(shape) != 2 or any(part.shape != shape for part in same):
            raise ValueError(f"drift, variances and jump need one shape (streams, bets), got {shape}")
        if self.funding.shape != shape[:1] or self.look.shape != shape[:1]:
            raise ValueError(f"funding and look need one number per stream, {shape[0]}")


def hours_to_alarm(walks: Walks, probability: float = MEDIAN) -> Float:
    """Hours from the change by which it is found with this probability, float64[n].

    Full looks, at least one; infinite where no bet gains under the change or nothing funds it.

    Raises:
        ValueError: a probability outside (0, 1).
    """
    if not 0 < probability < 1:
        raise ValueError(f"a probability must lie in (0, 1), got {probability}")
    gains = (walks.drift > 0) & (walks.variance > 0) & (walks.funding > 0)[:, None]
    found = np.full(walks.drift.shape[0], NEVER)
    some = gains.any(axis=1)
    if not some.any():
        return found
    gains = gains[some]
    drift = np.where(gains, walks.drift[some], 1.0)
    variance = np.where(gains, walks.variance[some], 1.0)
    since = 1.0 / -np.expm1(-_rate(drift, variance))
    calm = np.maximum(-walks.null_drift[some], 1e-12)
    before = np.exp(-_rate(calm, np.maximum(walks.null_variance[some], 1e-12)))
    with np.errstate(divide="ignore"):
        start = np.log(walks.funding[some][:, None] * (since + before / (1.0 - before)))
    start = np.where(gains, start, -np.inf)
    crossing = _crossing(start, np.where(gains, drift, 0.0))
    weight = np.exp(start + np.where(gains, drift, 0.0) * crossing[:, None])
    weight /= weight.sum(axis=1, keepdims=True)
    step = (weight * np.where(gains, drift, 0.0)).sum(axis=1)
    spread = (weight * np.sqrt(np.where(gains, variance, 0.0))).sum(axis=1)
    jump = (weight * walks.jump[some]).sum(axis=1)
    distance = step * crossing + _excess(step, spread, jump)
    looks = np.maximum(1.0, np.ceil(_inverse_gaussian(distance, step, spread, probability) - 1e-9))
    found[some] = looks * walks.look[some]
    return found


def smallest(
    hours: Callable[[Float], Float], low: Float, high: Float, horizon: float, *, steps: int = 14
) -> tuple[Float, Float]:
    """The smallest effect found within ``horizon`` hours, and the hours it takes, float64[n] each.

    Args:
        hours: effects float[n] to hours float[n], decreasing in the effect.
        low, high: float[n], between which the effect is looked for.

    Returns:
        effects, NaN where even ``high`` is not found in time; its hours, infinite there.
    """
    low, high = np.asarray(low, dtype=np.float64).copy(), np.asarray(high, dtype=np.float64).copy()
    best = hours(high)
    found = best <= horizon
    for _ in range(steps):
        middle = 0.5 * (low + high)
        took = hours(middle)
        enough = took <= horizon
        high, best = np.where(enough, middle, high), np.where(enough, took, best)
        low = np.where(enough, low, middle)
    return np.where(found, high, np.nan), np.where(found, best, NEVER)


def _rate(drift: Float, variance: Float) -> Float:
    """1 / exp(E log V) for V the integral of exp(-walk), which is inverse gamma for a diffusion (Dufresne 1990)."""
    ratio = np.maximum(2.0 * drift / variance, LEAST_RATIO)
    return np.asarray(0.5 * variance * np.exp(digamma(ratio)), dtype=np.float64)


def _crossing(start: Float, drift: Float) -> Float:
    """Looks until sum_k exp(start_k + drift_k t) = 1; the logarithm is convex in t, so Newton comes from above."""
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = np.where(drift > 0, -start / drift, np.inf)
    t = np.maximum(alone.min(axis=1), 0.0)
    for _ in range(12):
        logs = start + drift * t[:, None]
        top = logs.max(axis=1)
        part = np.exp(logs - top[:, None])
        total = part.sum(axis=1)
        t = np.maximum(t - (top + np.log(total)) * total / (part * drift).sum(axis=1), 0.0)
    return np.asarray(t, dtype=np.float64)


def _excess(step: Float, spread: Float, jump: Float) -> Float:
    """Mean excess of the walk over a high boundary.

    With jumps: hits at a rate that gives the variance, and a steady fall between them. The excess is then
    variance / (2 drift) less the mean depth of the walk's minimum, which is exponential with the root r of
    E exp(-r S) = 1.
    """
    out = GAUSSIAN_EXCESS * spread
    has = (jump > 0) & (spread > 0)
    if not has.any():
        return np.asarray(out, dtype=np.float64)
    m, v, j = step[has], spread[has] ** 2, jump[has]
    hits = v / j**2
    fall = hits * j - m
    root = 2.0 * m / v
    for _ in range(12):
        value = hits * np.expm1(-root * j) + root * fall
        slope = fall - hits * j * np.exp(-root * j)
        root = np.where(np.abs(slope) > 1e-12, root - value / np.where(slope == 0, 1.0, slope), root)
        root = np.maximum(root, 1e-6)
    out[has] = np.clip(v / (2.0 * m) - 1.0 / root, 0.0, j)
    return np.asarray(out, dtype=np.float64)


def _inverse_gaussian(distance: Float, drift: Float, spread: Float, probability: float) -> Float:
    """The time by which a walk has covered ``distance`` with this probability."""
    distance = np.maximum(distance, 1e-9)
    mean = distance / drift
    low, high = np.full(mean.shape, -12.0), np.full(mean.shape, 6.0)
    for _ in range(30):
        middle = 0.5 * (low + high)
        t = mean * np.exp(middle)
        root = spread * np.sqrt(t)
        late = np.exp(np.minimum(2.0 * drift * distance / spread**2 + log_ndtr(-(distance + drift * t) / root), 0.0))
        enough = ndtr((drift * t - distance) / root) + late >= probability
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.asarray(mean * np.exp(high), dtype=np.float64)
