"""Which events of a partition are kept: for the sample, or for review alone because of what they say of themselves.

Both draws look at one hash of the event, so that it is kept with the greater of its two probabilities, and is in the
sample with the first: what is embedded and judged does not depend on what is doubtful.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from detectors.summaries.columns import Bool, EventColumns, Int32, Int64
from monitor.ingest.settings import Settings
from samplers.embedding import EmbeddingBudget, InclusionProbabilities, chosen

# Facts by which an answer is wrong, or cannot be trusted. Errors and timeouts left no answer to review.
DOUBTS = ("schema_violation", "citation_missing", "citation_ungrounded", "disagreement", "verification_failed")


class Kept(NamedTuple):
    """Events that are kept, by position, with the probabilities of being sampled (0: not in the sample) and kept."""

    positions: NDArray[np.intp]
    pi: NDArray[np.float64]
    pi_kept: NDArray[np.float64]


class Draws:
    """The two draws of one partition, stepped in offset order."""

    def __init__(self, state: Mapping[str, Any], settings: Settings, partitions: int) -> None:
        """``state``: what `to_state` gave; empty at the beginning. ``partitions`` share the budgets."""
        self._seed = settings.config.sampling.seed
        self._sample = _restored(state.get("sampling"), settings.budget(partitions))
        self._doubtful = _restored(state.get("doubtful"), settings.doubtful_budget(partitions))

    def to_state(self) -> dict[str, Any]:
        """JSON-ready; floats survive exactly."""
        return {"sampling": self._sample.to_state(), "doubtful": self._doubtful.to_state()}

    def draw(
        self,
        windows: Int64,
        segments: Int32,
        eligible: Bool,
        stakes: Sequence[str],
        found: EventColumns,
        sessions: Sequence[str | None],
        ids: Sequence[str],
    ) -> Kept:
        """Draw from events in offset order; ``eligible``: on time, and the first of their session."""
        pi = self._sample.step(windows, segments, eligible, stakes)
        doubtful = self._doubtful.step(windows, segments, eligible & _doubtful(found), stakes)
        kept = np.maximum(pi, doubtful)
        candidates = np.flatnonzero(kept > 0)
        digest = xxhash.xxh3_64_intdigest
        hashes = np.array(
            [
                digest(f"{self._seed}\x00{sessions[i] or ''}\x00{ids[i]}".encode("utf-8", "surrogatepass"))
                for i in candidates.tolist()
            ],
            dtype=np.uint64,
        )
        mine = chosen(hashes, kept[candidates])
        positions, sampled = candidates[mine], chosen(hashes[mine], pi[candidates[mine]])
        return Kept(positions, np.where(sampled, pi[positions], 0.0), kept[positions])


def _restored(state: Mapping[str, Any] | None, budget: EmbeddingBudget) -> InclusionProbabilities:
    return InclusionProbabilities(budget) if state is None else InclusionProbabilities.from_state(state, budget)


def _doubtful(found: EventColumns) -> Bool:
    """Whether an event's own facts say that its answer is wrong."""
    return np.asarray(np.any([getattr(found, name) == 1 for name in DOUBTS], axis=0), dtype=np.bool_)
