"""What a series usually is at this time of the day or of the week."""

from __future__ import annotations

from typing import Any

import numpy as np

DAY_US = 86_400_000_000
WEEK_US = 7 * DAY_US
BIN_US = DAY_US // 48
GAIN = 0.2  # weight of the last day (or week) in a half-hour's mean, once five were seen


class Profile:
    """Means by half-hour of a period, the newest weighted most.

    A half-hour's mean is taken in when the next half-hour begins. Which one a row belongs to is decided by its time
    alone, so that gaps leave half-hours unseen and a clock that goes back visits one again.
    """

    def __init__(self, period_us: int) -> None:
        self.bins = period_us // BIN_US
        self._mean = [0.0] * self.bins
        self._seen = [0] * self.bins
        self._now = -1  # half-hours since the epoch; the sum and the count of its rows so far
        self._sum = 0.0
        self._count = 0

    def step(self, time_us: int, value: float) -> float | None:
        """The mean of this half-hour on earlier days (or weeks), None where it was not seen; then takes in the row."""
        number = time_us // BIN_US
        if number != self._now:
            self._close()
            self._now = number
        place = number % self.bins
        self._sum += value
        self._count += 1
        return self._mean[place] if self._seen[place] else None

    def _close(self) -> None:
        if self._count:
            place = self._now % self.bins
            self._seen[place] += 1
            gain = max(GAIN, 1.0 / self._seen[place])
            self._mean[place] += gain * (self._sum / self._count - self._mean[place])
        self._sum, self._count = 0.0, 0

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Scalars and arrays to keep."""
        return (
            {"now": self._now, "sum": self._sum, "count": self._count},
            {"mean": np.array(self._mean), "seen": np.array(self._seen, dtype=np.int64)},
        )

    @classmethod
    def from_arrays(cls, scalars: dict[str, Any], arrays: dict[str, Any]) -> Profile:
        """The inverse of :meth:`to_arrays`."""
        profile = cls(arrays["mean"].size * BIN_US)
        profile._mean, profile._seen = arrays["mean"].tolist(), arrays["seen"].tolist()
        profile._now, profile._sum, profile._count = scalars["now"], scalars["sum"], scalars["count"]
        return profile
