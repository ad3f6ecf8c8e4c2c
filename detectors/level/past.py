"""The last numbers of a series in order of size: their median, and how far out another number lies among them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from math import log

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

LEAST = 30  # numbers before the first p-value
TOP = 20  # largest numbers that the tail is fitted on
LEAST_SCALE = 0.05  # no tail is taken to be lighter than x^-20
MOST = 70.0  # nats: smaller p-values mean nothing
_ZERO = -700.0  # log of 0, below that of any other number


class Past:
    """The last ``memory`` numbers."""

    def __init__(self, memory: int, numbers: Iterable[float] = ()) -> None:
        self.memory = memory
        self._recent = deque(numbers)
        self._ordered = sorted(self._recent)

    def add(self, number: float) -> None:
        """Remember a number, and forget the oldest beyond the memory."""
        insort(self._ordered, number)
        self._recent.append(number)
        if len(self._recent) > self.memory:
            self._ordered.pop(bisect_left(self._ordered, self._recent.popleft()))

    @property
    def enough(self) -> bool:
        """Whether there are numbers enough for p-values."""
        return len(self._ordered) >= LEAST

    def median(self) -> float | None:
        """The median (the upper one of an even count); None before the first number."""
        return self._ordered[len(self._ordered) // 2] if self._ordered else None

    def surprise(self, number: float) -> tuple[float, float]:
        """Minus log of the p-value of a number that is large: with an extrapolated tail, and by rank alone.

        Of m numbers of which k are at least as large, the p-value by rank is (k + 1) / (m + 1): exact for exchangeable
        numbers, larger where numbers tie (Vovk, Gammerman and Shafer 2005). The numbers are taken to be logs; among
        the ``TOP`` largest the p-value is the smaller one of that and of an exponential tail of the logs, a Pareto tail
        with Hill's index, so that a number far beyond all others differs from one just beyond them.
        """
        ordered = self._ordered
        m = len(ordered)
        if m < LEAST:
            return 0.0, 0.0
        k = m - bisect_left(ordered, number)
        ranked = log((m + 1) / (k + 1))
        top = min(TOP, m // 4)
        if k >= top:
            return ranked, ranked
        threshold = ordered[m - top]
        scale = max(sum(ordered[m - top + 1 :]) / (top - 1) - threshold, LEAST_SCALE)
        return min(MOST, max(ranked, (number - threshold) / scale + log((m + 1) / top))), ranked

    def to_array(self) -> Float:
        """The numbers, oldest first."""
        return np.array(self._recent, dtype=np.float64)


def log_size(number: float) -> float:
    """Log of a number's absolute value, with a floor for 0."""
    return log(abs(number)) if number else _ZERO
