"""Which measured conditions of the inputs moved: skew, contrast, resolution, text density and the like.

Medians, now against before, with intervals; the test is that a session now is as likely to lie above one before as
below it (Brunner and Munzel, weighted), which also sees what the median of a coarse scale hides; with fewer than 20
sessions in a period it is a permutation of their ranks. Holm over all tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from detectors.explain.holm import LEVEL, holm
from detectors.explain.weighted import Limits, checked_weights, difference, median, ratio

Float = NDArray[np.float64]

MIN_SESSIONS = 8  # in each period
FEW = 20  # sessions of a period below which the test is one of permutations
DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Condition:
    """A quantity of every session, and how its change is told: added, in its unit, or relative, in per cent."""

    name: str
    unit: str = ""
    told: Literal["added", "relative"] = "added"


@dataclass(frozen=True, slots=True)
class Moved:
    """One condition's change."""

    condition: Condition
    before: Limits  # medians, 95 %
    now: Limits
    change: Limits  # now - before in the unit; relative: now / before - 1
    above: float  # chance that a session now lies above one before, ties half; 0.5 where nothing moved
    p: float
    adjusted: float
    named: bool


@dataclass(frozen=True, slots=True)
class Conditions:
    """All conditions, the clearest first, and those that could not be compared, with the reason."""

    moved: tuple[Moved, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def named(self) -> tuple[Moved, ...]:
        """Those that changed beyond chance; empty is an answer."""
        return tuple(moved for moved in self.moved if moved.named)


def conditions(
    which: Sequence[Condition],
    before: Mapping[str, ArrayLike],
    now: Mapping[str, ArrayLike],
    *,
    rng: np.random.Generator,
    before_weights: ArrayLike | None = None,
    now_weights: ArrayLike | None = None,
    level: float = LEVEL,
) -> Conditions:
    """Compare each condition's values; NaN is a session where it was not measured.

    Args:
        before: of each condition's name float[n], one per session. now: float[m].
        rng: for the permutations where there are few sessions.
        before_weights: float[n], 1 / inclusion probability; equal where None.
        level: chance of naming any where none moved.

    Raises:
        ValueError: a condition without values, or lengths that do not agree.
    """
    moved: list[tuple[Condition, Limits, Limits, Limits, float, float]] = []
    left_out: list[tuple[str, str]] = []
    for condition in which:
        x, u = _values(condition.name, before, before_weights, "before")
        y, v = _values(condition.name, now, now_weights, "now")
        if min(x.size, y.size) < MIN_SESSIONS:
            reason = f"measured in {x.size} and {y.size} sessions; {MIN_SESSIONS} are needed"
            left_out.append((condition.name, reason))
            continue
        was, is_ = median(x, u, 0.95), median(y, v, 0.95)
        if condition.told == "relative":
            if min(float(x.min()), float(y.min())) < 0 or was.value <= 0:
                left_out.append((condition.name, "told in per cent, but has values below zero or a median of zero"))
                continue
            times = ratio(is_, was)
            change = Limits(times.value - 1.0, times.low - 1.0, times.high - 1.0)
        else:
            change = difference(is_, was)
        above, p = _brunner_munzel(x, y, u, v)
        if min(x.size, y.size) < FEW:
            p = _permuted(x, y, u, v, rng)
        moved.append((condition, was, is_, change, above, p))
    adjusted = holm([entry[-1] for entry in moved])
    found = [Moved(*entry, float(q), bool(q <= level)) for entry, q in zip(moved, adjusted, strict=True)]
    found.sort(key=lambda entry: (entry.p, -abs(entry.above - 0.5)))
    return Conditions(tuple(found), tuple(left_out))


def _values(
    name: str, period: Mapping[str, ArrayLike], weights: ArrayLike | None, which: str
) -> tuple[Float, Float]:  # fmt: skip
    if name not in period:
        raise ValueError(f"{which} has no values of condition {name!r}; it has {sorted(period)}")
    x = np.asarray(period[name], dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"condition {name!r} needs one value per session, got {x.ndim} dimensions")
    w = checked_weights(weights, x.size, f"{which}_weights")
    measured = np.isfinite(x)
    return x[measured], w[measured]


def _brunner_munzel(x: Float, y: Float, u: Float, v: Float) -> tuple[float, float]:
    """Weighted P(x < y) + P(x = y) / 2 and the two-sided p that it is one half."""
    u, v = u / u.sum(), v / v.sum()
    of_y, of_x = _below(x, u, y), 1.0 - _below(y, v, x)
    above = float(v @ of_y)
    first = float(np.square(u * (of_x - above)).sum())
    last = float(np.square(v * (of_y - above)).sum())
    n, m = 1.0 / float(u @ u), 1.0 / float(v @ v)
    # Where the periods do not overlap there is no variance to see; half a session's worth is the least it can be.
    first, last = max(first * n / (n - 1.0), 0.25 / n**2), max(last * m / (m - 1.0), 0.25 / m**2)
    df = (first + last) ** 2 / (first**2 / (n - 1.0) + last**2 / (m - 1.0))
    return above, min(1.0, 2.0 * float(stdtr(df, -abs(above - 0.5) / np.sqrt(first + last))))


def _permuted(x: Float, y: Float, u: Float, v: Float, rng: np.random.Generator) -> float:
    """Two-sided p of the weighted mean rank of the smaller period, sessions (with their weights) drawn anew for it.

    Exact for few sessions, where the other test's variance is not; the null is that both periods are alike.
    """
    values, weights = np.concatenate([x, y]), np.concatenate([u / u.sum() * x.size, v / v.sum() * y.size])
    order = np.argsort(values, kind="stable")
    _, first, inverse = np.unique(values[order], return_index=True, return_inverse=True)
    last = np.append(first[1:], values.size)
    rank = np.empty(values.size)
    rank[order] = ((first + last) / 2.0)[inverse] / values.size - 0.5
    few = np.arange(x.size) if x.size <= y.size else np.arange(x.size, values.size)
    seen = abs(float(rank[few] @ weights[few] / weights[few].sum()))
    chosen = np.argpartition(rng.random((DRAWS, values.size), dtype=np.float32), few.size, axis=1)[:, : few.size]
    drawn = (rank[chosen] * weights[chosen]).sum(axis=1) / weights[chosen].sum(axis=1)
    return float((1 + np.count_nonzero(np.abs(drawn) >= seen - 1e-12)) / (DRAWS + 1))


def _below(x: Float, u: Float, at: Float) -> Float:
    """The weight of ``x`` below each of ``at``, ties half."""
    order = np.argsort(x, kind="stable")
    cumulative = np.concatenate([[0.0], np.cumsum(u[order])])
    left, right = (cumulative[np.searchsorted(x[order], at, side=side)] for side in ("left", "right"))
    return np.asarray((left + right) / 2.0, dtype=np.float64)
