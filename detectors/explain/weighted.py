"""Shares and medians of weighted sessions, their limits, and limits of differences and ratios of two of them.

A session that is in the sample with probability pi has weight 1 / pi. Weights cost precision: a share is as good as
one of ``effective`` equal sessions, by its linearised variance (Hajek's estimator) or Kish's rule, whichever is less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.rates.bets import interval

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limits:
    """An estimate and the two-sided confidence limits of it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Share:
    """A weighted share and how many equal sessions it is worth."""

    value: float
    effective: float

    @classmethod
    def of(cls, member: ArrayLike, weights: ArrayLike) -> Share:
        """``member``: bool[n]; ``weights``: float[n], positive."""
        m = np.asarray(member, dtype=np.float64)
        w = np.asarray(weights, dtype=np.float64)
        total = float(w.sum())
        value = float(np.clip((w @ m) / total, 0.0, 1.0))
        size = total**2 / float(w @ w)
        variance = float(np.square(w * (m - value)).sum()) / total**2
        if 0.0 < value < 1.0 and variance > 0.0:
            size = min(size, value * (1.0 - value) / variance)
        return cls(value, size)

    def limits(self, confidence: float) -> Limits:
        """Clopper and Pearson's, exact where all weights are equal."""
        return Limits(self.value, *interval(self.value * self.effective, self.effective, confidence))

    def table(self) -> tuple[int, int]:
        """Effective sessions that are members and that are not, rounded down to whole ones in all."""
        size = max(1, int(self.effective + 1e-6))
        hits = round(self.value * size)
        return hits, size - hits


def checked_weights(weights: ArrayLike | None, n: int, name: str) -> Float:
    """float64[n]; ones where None.

    Raises:
        ValueError: another shape, or weights that are not positive and finite.
    """
    if weights is None:
        return np.ones(n)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n,):
        raise ValueError(f"{name} needs one weight per session: {n}, got shape {w.shape}")
    if not (np.isfinite(w) & (w > 0)).all():
        raise ValueError(f"{name} must be positive and finite; a session's weight is 1 / its inclusion probability")
    return w


def median(values: ArrayLike, weights: ArrayLike, confidence: float) -> Limits:
    """Weighted median; limits by Woodruff's way, the quantiles at the limits of the share at or below it.

    ``values``: float[n], finite, at least one; ``weights``: float[n].
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    order = np.argsort(x, kind="stable")
    x, w = x[order], w[order]
    cumulative = np.cumsum(w) / w.sum()
    middle = float(x[min(int(np.searchsorted(cumulative, 0.5)), x.size - 1)])
    size = min(w.sum() ** 2 / float(w @ w), Share.of(np.arange(x.size) < x.size // 2, w).effective)
    share = Share(0.5, size).limits(confidence)
    low = float(x[max(int(np.searchsorted(cumulative, share.low, side="right")) - 1, 0)])
    high = float(x[min(int(np.searchsorted(cumulative, share.high)), x.size - 1)])
    return Limits(middle, min(low, middle), max(high, middle))


def difference(now: Limits, before: Limits) -> Limits:
    """now - before, from the limits of two independent estimates (MOVER: Zou and Donner 2008)."""
    value = now.value - before.value
    low = value - float(np.hypot(now.value - now.low, before.high - before.value))
    high = value + float(np.hypot(now.high - now.value, before.value - before.low))
    return Limits(value, low, high)


def ratio(now: Limits, before: Limits) -> Limits:
    """now / before for positive quantities (MOVER: Donner and Zou 2012); no upper limit where before may be 0."""
    if before.value <= 0.0:
        return Limits(float("inf"), 0.0, float("inf"))
    a, b = now.value, before.value
    value = a / b
    over, under = before.high * (2.0 * b - before.high), before.low * (2.0 * b - before.low)
    low = 0.0
    if over > 0:
        low = (a * b - float(np.sqrt(max(0.0, (a * b) ** 2 - now.low * (2.0 * a - now.low) * over)))) / over
    else:
        low = now.low / before.high
    high = float("inf")
    if under > 0:
        high = (a * b + float(np.sqrt(max(0.0, (a * b) ** 2 - now.high * (2.0 * a - now.high) * under)))) / under
    return Limits(value, min(max(low, 0.0), value), max(high, value))
