"""Which of many odd rows begin something new."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from math import log

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

SHARE = 0.05  # of the rows so far: how long after a row only odder ones count, within the limits
SHORTEST, LONGEST = 20, 200  # rows


class Onsets:
    """Keeps of a sequence of surprises (minus log p, >= 0) those that begin something new, and weakens repetitions.

    A row begins something if it is odder than all rows of the last 20 to 200 (a twentieth of the rows so far). Its
    p-value is multiplied by the square root of one more than the number of earlier beginnings at least as odd within
    ``memory`` rows: what has happened three times is no news the fourth time. Both only raise the p-value.
    """

    def __init__(
        self,
        memory: int,
        rows: int = 0,
        highest: Iterable[tuple[int, float]] = (),
        begun: Iterable[tuple[int, float]] = (),
    ) -> None:
        self.memory = memory
        self.rows = rows
        self._highest = deque(highest)  # (row, surprise), falling: the running maximum
        self._begun = deque(begun)  # (row, surprise)
        self._sizes = sorted(surprise for _, surprise in self._begun)

    def step(self, surprise: float) -> float:
        """The surprise of a row as a beginning, 0 if it is none."""
        row = self.rows
        self.rows += 1
        highest, begun, sizes = self._highest, self._begun, self._sizes
        since = row - min(LONGEST, max(SHORTEST, SHARE * row))
        while highest and highest[0][0] < since:
            highest.popleft()
        while begun and begun[0][0] < row - self.memory:
            sizes.pop(bisect_left(sizes, begun.popleft()[1]))
        new = surprise > 0.0 and (not highest or surprise > highest[0][1])
        while highest and highest[-1][1] <= surprise:
            highest.pop()
        highest.append((row, surprise))
        if not new:
            return 0.0
        before = len(sizes) - bisect_left(sizes, surprise)
        insort(sizes, surprise)
        begun.append((row, surprise))
        return max(0.0, surprise - 0.5 * log(1 + before))

    def to_arrays(self) -> dict[str, Float]:
        """Arrays to keep: (row, surprise) of the running maximum and of the beginnings."""
        return {
            "highest": np.array(self._highest, dtype=np.float64).reshape(-1, 2),
            "begun": np.array(self._begun, dtype=np.float64).reshape(-1, 2),
        }

    @classmethod
    def from_arrays(cls, memory: int, rows: int, arrays: dict[str, Float]) -> Onsets:
        """The inverse of :meth:`to_arrays`."""
        pairs = ([(int(row), surprise) for row, surprise in arrays[name].tolist()] for name in ("highest", "begun"))
        return cls(memory, rows, *pairs)
