"""What the next week will bring, told from the weeks before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

LEAST_WEEKS = 4  # below it the weeks' own differences, three of them, say nothing of the next one


@dataclass(frozen=True, slots=True)
class Ahead:
    """A sum that is to come, within [low, high]; ``weeks``: how many it is told from."""

    expected: float
    low: float
    high: float
    weeks: int


def next_week(weeks: Sequence[float], *, confidence: float = 0.95) -> Ahead | None:
    """The next week's sum from those of the weeks before it, whole ones, the oldest first, none negative.

    The next week is expected to be as the last one. The interval is Student's, from how much each week differed from
    the one before it: of any series whose week-to-week differences are alike, be it steady, growing or wandering, the
    next difference is one of these, whatever days of the week and correlated days are within them. Differences are of
    logarithms where no week is empty, so that the interval is of factors. Neighbouring differences of steady weeks
    share a week and correlate by -1/2, so that the squares of k of them are worth those of 2 k / 3 independent ones
    (Bartlett 1946): its degrees of freedom. None with fewer than LEAST_WEEKS: not enough.
    """
    if any(week < 0 for week in weeks):
        raise ValueError(f"a week's sum is not negative, got {min(weeks)!r}")
    if len(weeks) < LEAST_WEEKS:
        return None
    last = float(weeks[-1])
    factors = min(weeks) > 0
    scale = np.log(np.asarray(weeks, dtype=np.float64)) if factors else np.asarray(weeks, dtype=np.float64)
    moved = np.diff(scale)
    freedom = 2 * moved.size / 3
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * sqrt(float(moved @ moved) / moved.size)
    if factors:
        # A factor beyond a thousand is no limit that anybody can use, and would overflow.
        half = min(half, log(1000))
        return Ahead(last, last * exp(-half), last * exp(half), len(weeks))
    return Ahead(last, max(last - half, 0.0), last + half, len(weeks))
