"""Hours of the week and days in the configured time zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

HOUR_US = 3_600_000_000


class Calendar:
    """Local hour of the week (0 is Monday 00:00) and local day of moments in event time (µs)."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._known: dict[int, tuple[int, int]] = {}

    def of(self, time_us: int) -> tuple[int, int]:
        """(hour of the week 0..167, number of the day)."""
        # Offsets change at multiples of 15 minutes at most.
        key = time_us // (HOUR_US // 4)
        found = self._known.get(key)
        if found is None:
            local = datetime.fromtimestamp(key * (HOUR_US // 4) / 1e6, self._zone)
            found = self._known[key] = (local.weekday() * 24 + local.hour, local.toordinal())
        return found

    def hours_of_week(self, times_us: Int64) -> Int64:
        """int64[n], the hour of the week of each time."""
        return np.array([self.of(int(time))[0] for time in times_us], dtype=np.int64)

    def days(self, times_us: Int64) -> Int64:
        """int64[n], the day of each time."""
        return np.array([self.of(int(time))[1] for time in times_us], dtype=np.int64)
