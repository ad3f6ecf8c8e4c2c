"""Who is embedded: a budgeted Poisson sample of sessions whose inclusion probabilities are known exactly.

An event is chosen iff a uniform hash of it is below its inclusion probability pi. For one partition, pi of a
segment is set when a new window begins, from the rates of session-thinned events in that partition's earlier
records only; so it neither depends on who was chosen nor on how the stream was cut into batches, and sums of
1/pi over the sample are unbiased (Horvitz-Thompson).

Budget. ``per_hour`` is divided evenly over partitions. Each segment first gets its floor (by stakes); floors that
do not fit together are scaled down; what is left is shared by water-filling: every segment that has more events
than its share gets the same amount. A segment never seen before is taken to be at least as busy as the whole
partition, so that a burst of new segments cannot overrun the budget.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

WINDOW_US = 60_000_000
HOUR_US = 3_600_000_000
MEMORY_US = HOUR_US  # time constant of the rates
UNKNOWN_PER_HOUR = 60_000.0  # rate assumed of a partition before its first window is over
NEW_PER_HOUR = 600.0  # least rate assumed of a segment that is new


@dataclass(frozen=True, slots=True)
class EmbeddingBudget:
    """``per_hour`` sampled sessions per hour of event time over all partitions; ``floors`` per segment by stakes."""

    per_hour: float
    floors: Mapping[str, float]
    partitions: int

    def __post_init__(self) -> None:
        if self.per_hour < 0 or self.partitions < 1:
            raise ValueError(f"need per_hour >= 0 and partitions >= 1, got {self.per_hour} and {self.partitions}")


def allocate(rates: Float64, floors: Float64, budget: float) -> Float64:
    """Sampled events per hour of each segment: at most its rate, in sum at most ``budget``."""
    base: Float64 = np.minimum(rates, floors)
    total = float(base.sum())
    if total >= budget:
        return base * np.float64(budget / total) if total > 0 else base
    spare = rates - base
    rest = budget - total
    if float(spare.sum()) <= rest:
        return rates.copy()
    # Water-filling: the level L with sum(min(spare, L)) = rest.
    ordered = np.sort(spare)
    below = np.concatenate([[0.0], np.cumsum(ordered)[:-1]])
    left = len(ordered) - np.arange(len(ordered))
    levels = (rest - below) / left
    index = int(np.argmax(levels <= ordered))
    shared: Float64 = base + np.minimum(spare, levels[index])
    return shared


class InclusionProbabilities:
    """pi per segment of one partition, stepped in offset order. Segments are small codes, never reused."""

    def __init__(self, budget: EmbeddingBudget) -> None:
        self.budget = budget
        self._window = -1  # greatest window start seen
        self._weight = 0.0  # exponentially weighted hours observed
        self._seen = np.zeros(0)  # exponentially weighted thinned events per segment, windows before the current
        self._counts = np.zeros(0)  # thinned events since the current window began
        self._pi: Float64 | None = None

    def step(
        self, windows_us: Int64, segments: NDArray[np.int32], eligible: NDArray[np.bool_], stakes: Sequence[str]
    ) -> Float64:
        """pi of each event, 0 where not eligible.

        ``windows_us`` are window starts of accepted events in offset order, ``eligible`` marks on-time
        session-thinned events, ``stakes[code]`` is what a segment is worth.
        """
        n = len(windows_us)
        result = np.zeros(n)
        if not n:
            return result
        self._grow(len(stakes))
        greatest = np.maximum.accumulate(np.concatenate([[self._window], windows_us]))
        begins = np.flatnonzero(greatest[1:] > greatest[:-1])
        cuts = [0, *begins.tolist(), n] if not len(begins) or begins[0] else [*begins.tolist(), n]
        starting = set(begins.tolist())
        for start, end in pairwise(cuts):
            if start in starting:
                self._begin(int(windows_us[start]))
            who = segments[start:end][eligible[start:end]]
            if len(who):
                if self._pi is None or len(self._pi) < len(stakes):
                    self._pi = self._probabilities(stakes)
                self._counts += np.bincount(who, minlength=len(self._counts))
                result[start:end][eligible[start:end]] = self._pi[who]
        return result

    def _grow(self, size: int) -> None:
        missing = size - len(self._seen)
        if missing > 0:
            self._seen = np.concatenate([self._seen, np.zeros(missing)])
            self._counts = np.concatenate([self._counts, np.zeros(missing)])

    def _begin(self, window_us: int) -> None:
        if self._window >= 0:
            elapsed = window_us - self._window
            decay = math.exp(-elapsed / MEMORY_US)
            # Events of the finished stretch are spread over it; so is the time itself.
            self._seen = self._seen * decay + self._counts * decay**0.5
            self._weight = self._weight * decay + (elapsed / HOUR_US) * decay**0.5
            self._counts = np.zeros_like(self._counts)
        self._window = window_us
        self._pi = None

    def _probabilities(self, stakes: Sequence[str]) -> Float64:
        # A function of the windows before this one and, for a segment that is new, of its own stakes: never of
        # which other segments have turned up since, which would depend on where batches were cut.
        share = self.budget.per_hour / self.budget.partitions
        floors = np.array([self.budget.floors[name] for name in stakes]) / self.budget.partitions
        seen = self._seen[: len(stakes)]
        known = seen > 0
        rates = seen[known] / self._weight if known.any() else np.zeros(0)
        busy = max(float(rates.sum()), NEW_PER_HOUR) if known.any() else UNKNOWN_PER_HOUR
        granted = np.minimum(np.maximum(floors, share / (1 + len(rates))), share)
        pi = np.clip(granted / busy, 0.0, 1.0)
        if known.any():
            pi[known] = np.clip(allocate(rates, floors[known], share) / rates, 0.0, 1.0)
        return pi

    def to_state(self) -> dict[str, Any]:
        """JSON-ready; floats survive exactly."""
        return {
            "v": 1,
            "window": self._window,
            "weight": self._weight,
            "seen": self._seen.tolist(),
            "counts": self._counts.tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], budget: EmbeddingBudget) -> InclusionProbabilities:
        if state["v"] != 1:
            raise ValueError(f"sampling state has version {state['v']!r}, this driftline reads version 1")
        self = cls(budget)
        self._window = int(state["window"])
        self._weight = float(state["weight"])
        self._seen = np.array(state["seen"], dtype=np.float64)
        self._counts = np.array(state["counts"], dtype=np.float64)
        return self


def chosen(hashes: NDArray[np.uint64], pi: Float64) -> NDArray[np.bool_]:
    """Whether each event is in the sample: its hash, read as a uniform number in [0, 1), is below pi."""
    # 53 bits of the hash are exact in float64, so that pi = 1 takes everything and pi = 0 nothing.
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53 < pi


def chosen_parts(seed: str, event_id: str, parts: int, most: int) -> list[int]:
    """Indices (ascending) of the at most ``most`` input parts of an event that are embedded, chosen by hash."""
    if parts <= most:
        return list(range(parts))

    def rank(index: int) -> bytes:
        return hashlib.blake2b(f"{seed}\x00{event_id}\x00{index}".encode(), digest_size=8).digest()

    return sorted(sorted(range(parts), key=rank)[:most])
