"""Which measured conditions of the inputs moved: skew, contrast, resolution, text density and the like.

Medians, now against before, with intervals; the test is that a session now is as likely to lie above one before as
below it (Brunner and Munzel, weighted), which also sees what the median of a coarse scale hides. Holm over all tried.
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

MIN_SESSIONS = 20  # in each period


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
    before_weights: ArrayLike | None = None,
    now_weights: ArrayLike | None = None,
    level: float = LEVEL,
) -> Conditions:
    """Compare each condition's values; NaN is a session where it was not measured.

    Args:
        before: of each condition's name float[n], one per session. now: float[m].
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


def _below(x: Float, u: Float, at: Float) -> Float:
    """The weight of ``x`` below each of ``at``, ties half."""
    order = np.argsort(x, kind="stable")
    cumulative = np.concatenate([[0.0], np.cumsum(u[order])])
    left, right = (cumulative[np.searchsorted(x[order], at, side=side)] for side in ("left", "right"))
    return np.asarray((left + right) / 2.0, dtype=np.float64)
