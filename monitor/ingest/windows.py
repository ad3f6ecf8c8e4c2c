"""Event time of one partition: its watermark, which events are late, which windows are closed.

The watermark is a function of the partition's records in offset order: the greatest event time seen minus
``watermark_delay``. Only a stored advance (an idle stream, the end of the input) moves it otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.summaries.columns import Int64

WINDOW_US = 60_000_000
NEVER = -(2**62)


def window_start(times_us: Int64) -> Int64:
    """Start of the window each time falls into, in microseconds."""
    return times_us - times_us % WINDOW_US


def window_start_of(time_us: int) -> int:
    """Start of the window that one time falls into."""
    return time_us - time_us % WINDOW_US


@dataclass(slots=True)
class Clock:
    """``max_time_us`` is the greatest event time, ``advanced_us`` the furthest stored advance; NEVER: none yet."""

    max_time_us: int = NEVER
    advanced_us: int = NEVER

    def watermark(self, delay_us: int) -> int:
        """All windows that end at or before this are closed; NEVER before the first event."""
        if self.max_time_us == NEVER:
            return self.advanced_us
        return max(self.max_time_us - delay_us, self.advanced_us)

    def observe(self, times_us: Int64, delay_us: int) -> Int64:
        """Take in the times of events in offset order; returns the watermark that each of them met."""
        if not len(times_us):
            return times_us
        before = np.maximum.accumulate(np.concatenate([[self.max_time_us], times_us]))
        self.max_time_us = int(before[-1])
        met = before[:-1]
        return np.where(met == NEVER, self.advanced_us, np.maximum(met - delay_us, self.advanced_us))


def lateness(times_us: Int64, watermarks_us: Int64, allowed_us: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(late, too late) per event: behind the watermark it met, and behind it by more than is allowed."""
    return times_us < watermarks_us, times_us < watermarks_us - allowed_us
