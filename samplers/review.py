"""Whose labels are asked for: a second draw over samples, from rates known before the samples it is made of.

Every sample of an hour gets an inclusion probability from the sampler's state at that hour's beginning: how many
samples each segment has had, and how unsure their scores were. Labels are shared out over segments by Neyman
allocation with floors by stakes (``samplers.design``), and within a segment by what a sample stands for times the
deviation of its score. Whatever speaks for looking at an item (low confidence, failed checks, an open anomaly, inputs
out of the reference's range) speaks through its score: several reasons make one exact probability.

The daily budget acts on probabilities, before the draw: what is spoken for is their sum so far, not who was drawn.
Probabilities follow the mean of a week and not the hour's traffic, so that an event's chance does not depend on when it
came; only a flood makes them fall.
A near-duplicate of an earlier sample of the day is worth less (its probability falls towards the floor, never below),
so that nobody labels the same page ten times and the sums stay unbiased.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samplers.design import (
    LEAST_DEVIATION,
    deviations,
    level,
    proportional_floors,
    race_times,
    shared_out,
    summed,
)
from samplers.pools import Pools, pools_of

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
MEMORY_HOURS = 7 * 24.0  # time constant of what is remembered of segments
BINS = 28  # of deviation times what a sample stands for, half an octave each
_LOWEST = math.log2(LEAST_DEVIATION)
FLOOD = 1.5  # times the day's labels may be spoken for before probabilities fall ...
DELUGE = 3.0  # ... and at so many times they are at
LEAST_SCALE = 0.05  # of what they were: nothing becomes unmeasurable
STATE_VERSION = 1


def permanent_random_number(seed: str, sample_id: str) -> float:
    """u in [0, 1) of a sample: the same in every run, and independent of the draw of the sample itself."""
    digest = hashlib.blake2b(f"{seed}\x00{sample_id}".encode(), digest_size=8, person=b"review").digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


@dataclass(frozen=True, slots=True)
class Candidates:
    """Samples of one hour, arrays of one length n.

    ``segment`` are codes into the names given with them, ``repeats`` how many earlier samples of the day each one is
    a near-duplicate of, ``u`` permanent random numbers.
    """

    segment: Int64
    pi_sample: Float64
    score: Float64
    repeats: Int64
    u: Float64


@dataclass(frozen=True, slots=True)
class Draw:
    """``pi`` and ``race`` of every candidate, ``drawn`` indices, ``pools`` by segment code; ``uncertain``: whose score
    asks for more than its segment's floor."""

    pi: Float64
    race: Float64
    drawn: Int64
    uncertain: NDArray[np.bool_]
    pools: Pools


@dataclass(slots=True)
class _Known:
    """Of one segment: samples by bin of deviation, decayed, up to ``until_us``."""

    counts: Float64 = field(default_factory=lambda: np.zeros(BINS))
    sums: Float64 = field(default_factory=lambda: np.zeros(BINS))  # of deviations


class ReviewSampler:
    """Steps hour by hour in event time; state is what the hours before have shown.

    Args:
        labels: what reviewers can label in a day, over all segments.
        expected: samples an hour that are assumed before any hour was seen.

    Raises:
        ValueError: ``labels`` below 0 or ``expected`` not above 0.
    """

    def __init__(self, labels: float, expected: float = 100.0) -> None:
        if labels < 0 or expected <= 0:
            raise ValueError(f"need labels >= 0 a day and more than 0 samples expected, got {labels} and {expected}")
        self.labels = labels
        self.expected = expected
        self._hours = 0.0  # decayed hours seen
        self._known: dict[str, _Known] = {}
        self._until_us = 0
        self._day_us = -1
        self._spoken_for = 0.0  # sum of this day's probabilities

    @property
    def segments(self) -> frozenset[str]:
        """Names of the segments that are remembered."""
        return frozenset(self._known)

    def draw(
        self, hour_us: int, day_us: int, candidates: Candidates, names: Sequence[str], worth: Mapping[str, float]
    ) -> Draw:
        """Probabilities and draw of the samples of the hour that begins at ``hour_us``.

        Args:
            hour_us: beginning of the hour; hours come in order.
            day_us: beginning of its day, which the budget is of.
            candidates: every sample of the hour that may be reviewed.
            names: of the segment codes.
            worth: labels a day that a segment gets at least, by its stakes; absent is 0.
        """
        if day_us != self._day_us:
            self._day_us, self._spoken_for = day_us, 0.0
        a = 1 / candidates.pi_sample
        deviation = np.maximum(deviations(candidates.score) * a / (1 + candidates.repeats), LEAST_DEVIATION)
        scale, least = self._levels(names, worth)
        limit = self._limit()
        floor = np.minimum(least[candidates.segment] * limit, 1.0)
        wanted = np.minimum(scale[candidates.segment] * limit * deviation, 1.0)
        pi = np.maximum(floor, wanted)
        race = race_times(candidates.u, pi)
        drawn = np.flatnonzero(race <= 1)
        pools = (
            pools_of(candidates.pi_sample, pi, candidates.score, candidates.segment, len(names))
            if self.labels > 0
            else Pools.empty(len(names))
        )
        self._note(hour_us, candidates, deviation, names)
        self._spoken_for += float(pi.sum())
        return Draw(pi, race, drawn, wanted > floor, pools)

    def _limit(self) -> float:
        """By what probabilities are scaled, so that a day's do not run far over its budget."""
        over = self._spoken_for / self.labels if self.labels > 0 else 0.0
        return float(np.interp(over, (FLOOD, DELUGE), (1.0, LEAST_SCALE)))

    def _levels(self, names: Sequence[str], worth: Mapping[str, float]) -> tuple[Float64, Float64]:
        """(scale, least) of each name's segment: pi = clip(scale * deviation, least, 1)."""
        known = sorted(name for name, found in self._known.items() if found.counts.sum() > 0)
        hours = max(self._hours, 1.0)
        scale, least = np.zeros(len(names)), np.zeros(len(names))
        total = sum(float(self._known[name].counts.sum()) for name in known) / hours * 24 if known else 0.0
        mean = min(self.labels / (max(total, 1.0) if known else self.expected * 24), 1.0)
        levels: dict[str, tuple[float, float]] = {}
        if known and self.labels > 0:
            counts = [self._known[name].counts / hours * 24 for name in known]
            sizes = np.array([float(c.sum()) for c in counts])
            sums = np.array([float(self._known[name].sums.sum()) / hours * 24 for name in known])
            floors = np.maximum(
                proportional_floors(self.labels, sizes), np.array([worth.get(name, 0.0) for name in known])
            )
            granted = shared_out(self.labels, sizes, sums, floors)
            for name, c, size, share in zip(known, counts, sizes, granted, strict=True):
                found = self._known[name]
                some = found.counts > 0
                means = found.sums[some] / found.counts[some]
                levels[name] = level(means, c[some], float(share)) if share < size else (math.inf, 1.0)
        for code, name in enumerate(names):
            # A segment never seen is taken to be like all of them together.
            scale[code], least[code] = levels.get(name, (0.0, mean))
        return scale, np.maximum(least, 1e-6)

    def _note(self, hour_us: int, candidates: Candidates, deviation: Float64, names: Sequence[str]) -> None:
        passed = max((hour_us + HOUR_US - self._until_us) / HOUR_US, 0.0) if self._until_us else 1.0
        decay = math.exp(-passed / MEMORY_HOURS)
        self._hours = self._hours * decay + passed
        self._until_us = max(hour_us + HOUR_US, self._until_us)
        for found in self._known.values():
            found.counts *= decay
            found.sums *= decay
        bins = np.clip(np.floor(2 * (np.log2(np.maximum(deviation, LEAST_DEVIATION)) - _LOWEST)), 0, BINS - 1)
        cells = candidates.segment * BINS + bins.astype(np.int64)
        counts = summed(np.ones(len(bins)), cells, len(names) * BINS).reshape(len(names), BINS)
        sums = summed(deviation, cells, len(names) * BINS).reshape(len(names), BINS)
        for code, name in enumerate(names):
            found = self._known.setdefault(name, _Known())
            found.counts += counts[code]
            found.sums += sums[code]
        self._known = {name: found for name, found in self._known.items() if found.counts.sum() > 1e-3}

    def to_state(self) -> dict[str, Any]:
        """JSON-ready; floats survive exactly."""
        return {
            "v": STATE_VERSION,
            "hours": self._hours,
            "until": self._until_us,
            "day": self._day_us,
            "spoken_for": self._spoken_for,
            "known": {
                name: [found.counts.tolist(), found.sums.tolist()] for name, found in sorted(self._known.items())
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], labels: float, expected: float = 100.0) -> ReviewSampler:
        """Raises ValueError for a state of another version."""
        if state.get("v") != STATE_VERSION:
            raise ValueError(
                f"the review sampler's state has version {state.get('v')!r}, this driftline reads {STATE_VERSION}"
            )
        self = cls(labels, expected)
        self._hours = float(state["hours"])
        self._until_us = int(state["until"])
        self._day_us = int(state["day"])
        self._spoken_for = float(state["spoken_for"])
        self._known = {
            name: _Known(np.array(counts, np.float64), np.array(sums, np.float64))
            for name, (counts, sums) in state["known"].items()
        }
        return self
