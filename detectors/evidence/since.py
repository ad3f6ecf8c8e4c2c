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
RATE_DROP = 4.0  # as above, for a rate that was estimated from the same looks
ROUNDS = 3  # of estimating the changed rate and its onset by turns


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


def rate_onset(
    hits: ArrayLike, trials: ArrayLike, baseline: ArrayLike, starts_us: ArrayLike, guess: Onset, temper: float = 1.0
) -> Onset:
    """The onset of a changed rate: likelihood ratio of the rate found since against what is usual.

    Bets compare with the upper limit of what is usual, so that a moderate change looks like nothing in the hours in
    which that limit is wide, and its onset seems later than it was. Here the odds since ``guess`` (of `onset`) are
    compared with the usual ones, and estimated again at what is found (Hinkley 1970, with the usual rate known).

    Args:
        hits, trials: int[t], one a look, oldest first, the last one the look that alarmed.
        baseline: float[t], the usual rate of each look's hour.
        starts_us: int64[t], the time at which each look's data begin.
        temper: what payoffs are divided by where looks are overdispersed, >= 1.

    Returns:
        The guess where nothing was seen since.

    Raises:
        ValueError: shapes that do not agree, or impossible counts.
    """
    x, n = np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    starts, p = np.asarray(starts_us, dtype=np.int64), np.asarray(baseline, dtype=np.float64)
    if not x.shape == n.shape == p.shape == starts.shape or x.ndim != 1 or x.size == 0:
        raise ValueError(f"need one entry per look and at least one, got {x.shape}, {n.shape}, {p.shape}")
    if (x < 0).any() or (x > n).any() or not np.isfinite(p).all() or temper < 1:
        raise ValueError("need 0 <= hits <= trials, finite rates and a temper of at least 1")
    least = 0.5 / max(float(n.sum()), 1.0)
    p = np.clip(p, least, 1.0 - least)
    for _ in range(ROUNDS):
        since = starts >= guess.at_us
        seen = float(n[since].sum())
        if seen == 0:
            return guess
        rate = (float(x[since].sum()) + 0.5) / (seen + 1.0)
        usual = float((n * p)[since].sum()) / seen
        odds = rate / (1.0 - rate) * (1.0 - usual) / usual
        changed = odds * p / (1.0 - p + odds * p)
        logs = (x * np.log(changed / p) + (n - x) * np.log((1.0 - changed) / (1.0 - p))) / temper
        found = onset(logs[:, None], starts, RATE_DROP)
        if found.at_us == guess.at_us:
            return found
        guess = found
    return guess


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
