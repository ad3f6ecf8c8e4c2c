"""Which of several forecasts of the next value to believe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

ROWS = 500  # over which errors are compared
BETTER = 0.95  # a forecast is believed if its error is below this part of a simpler one's
CLIP = 3.0  # times the first forecast's error: no row's error counts for more
FREE = 50  # rows before errors are clipped


class Forecast:
    """The forecast that erred least so far, simpler ones first; the first must always exist."""

    def __init__(self, errors: Sequence[float], judged: Sequence[int]) -> None:
        self._errors = list(errors)
        self._judged = list(judged)

    @classmethod
    def of(cls, count: int) -> Forecast:
        """Of this many forecasts, none judged yet."""
        return cls([0.0] * count, [0] * count)

    def step(self, value: float, simplest: float, *others: float | None) -> float:
        """The forecast to believe before ``value`` is seen; then learns how much each erred."""
        errors, judged = self._errors, self._judged
        best, expected = 0, simplest
        for number, forecast in enumerate(others, 1):
            if forecast is not None and judged[number] and errors[number] < BETTER * errors[best]:
                best, expected = number, forecast
        limit = CLIP * errors[0] if judged[0] > FREE else float("inf")
        judged[0] += 1
        errors[0] += max(1.0 / ROWS, 1.0 / judged[0]) * (min(abs(value - simplest), limit) - errors[0])
        for number, forecast in enumerate(others, 1):
            if forecast is None:
                continue
            if not judged[number]:
                errors[number] = errors[0]  # a new one starts as good as the simplest
            judged[number] += 1
            errors[number] += (min(abs(value - forecast), limit) - errors[number]) / ROWS
        return expected

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Arrays to keep."""
        return {"errors": np.array(self._errors), "judged": np.array(self._judged, dtype=np.int64)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Forecast:
        """The inverse of :meth:`to_arrays`."""
        return cls(arrays["errors"].tolist(), arrays["judged"].tolist())
