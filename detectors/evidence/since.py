"""Since when: the onset of a change from the sequence of its log bets.

The log-likelihood of an onset just before look s, given an alarm at look t, is the sum of the log bets from s to
t (Page's CUSUM); its maximum is the estimate and the onsets within ``drop`` of it are the interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

# A profile likelihood of a change point is not chi-square; 3 nats covers about 95 % for steps (Monte Carlo in the
# tests) where 1.92 would not.
DROP = 3.0


@dataclass(frozen=True, slots=True)
class Onset:
    """Time in microseconds: the estimate, and the interval it lies in."""

    at_us: int
    low_us: int
    high_us: int


def onset(log_bets: ArrayLike, starts_us: ArrayLike, drop: float = DROP) -> Onset:
    """The onset from the looks up to an alarm.

    Args:
        log_bets: float64[t, k], one row a look, oldest first, the last one the look that alarmed.
        starts_us: int64[t], the time at which each look's data begin.
        drop: nats below the best onset that still count as plausible.

    Raises:
        ValueError: no looks, or shapes that do not agree.
    """
    logs = np.atleast_2d(np.asarray(log_bets, dtype=np.float64))
    starts = np.asarray(starts_us, dtype=np.int64)
    if logs.shape[0] == 0 or starts.shape != (logs.shape[0],):
        raise ValueError(f"need one start per look and at least one look, got {logs.shape} and {starts.shape}")
    if not np.isfinite(logs).all():
        raise ValueError("log_bets holds NaN or infinity")
    tails = np.cumsum(logs[::-1], axis=0)[::-1]
    best = int(np.argmax(tails.max(axis=0)))
    profile = tails[:, best]
    top = int(np.argmax(profile))
    near = np.flatnonzero(profile >= profile[top] - drop)
    return Onset(int(starts[top]), int(starts[near[0]]), int(starts[near[-1]]))


class OnsetTracker:
    """The same, kept online for ``n`` streams with bounded memory: the last ``looks`` looks of each.

    An onset older than the memory is reported at the oldest look kept.
    """

    def __init__(self, n: int = 0, k: int = 4, looks: int = 288) -> None:
        self._logs: NDArray[np.float32] = np.zeros((looks, n, k), dtype=np.float32)
        self._starts: Int64 = np.zeros(looks, dtype=np.int64)
        self._next = 0
        self._filled = 0

    def grow(self, n: int) -> None:
        """Make room for ``n`` streams in all."""
        looks, old, k = self._logs.shape
        self._logs = np.concatenate([self._logs, np.zeros((looks, n - old, k), dtype=np.float32)], axis=1)

    def add(self, log_bets: ArrayLike, start_us: int) -> None:
        """One look: float64[n, k], and when its data begin."""
        self._logs[self._next] = np.asarray(log_bets, dtype=np.float32)
        self._starts[self._next] = start_us
        self._next = (self._next + 1) % self._starts.size
        self._filled = min(self._filled + 1, self._starts.size)

    def reset(self, index: int) -> None:
        """Forget a stream's looks."""
        self._logs[:, index] = 0.0

    def onset(self, index: int, drop: float = DROP) -> Onset:
        """The onset of stream ``index`` given an alarm at the last look added."""
        order = (self._next - self._filled + np.arange(self._filled)) % self._starts.size
        return onset(self._logs[order, index], self._starts[order], drop)
