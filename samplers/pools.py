"""What is known of every item that could have been reviewed, as sums: all that estimates need of items not drawn.

A pool is the samples of one segment in one day (or of several: pools merge by addition). ``a`` = 1 / pi_sample is what
a sample stands for, ``pi`` its inclusion probability in the second draw, ``m`` its score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samplers.design import race_weights, summed

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

STATE_VERSION = 1
LEAST_VARIANCE = 1e-3  # of an item's error, whatever its score


@dataclass(frozen=True, slots=True)
class Pools:
    """Sums over the items of each of g pools, float64[g] each. Raises ValueError when lengths differ."""

    items: Float64
    drawn: Float64  # sum of pi: labels that were expected
    weight: Float64  # sum of a: events (one a session) that the pool stands for
    score: Float64  # sum of a m
    variance: Float64  # sum of a^2 (1 - pi) / pi m (1 - m): what the second draw adds, were the score right
    first: Float64  # sum of a^2 (1 - pi_sample): what the first draw adds, per squared deviation ...
    first_score: Float64  # ... and the same times m
    race: Float64  # sum of race weights of items with pi < 1
    largest_below: Float64  # largest a m / race weight, of items with pi < 1
    largest_above: Float64  # largest a (1 - m) / race weight, of items with pi < 1
    largest_weight: Float64  # largest a

    def __post_init__(self) -> None:
        if len({len(getattr(self, field.name)) for field in fields(self)}) > 1:
            raise ValueError("every sum has one value for each pool; got different lengths")

    def __len__(self) -> int:
        return len(self.items)

    def merge(self, other: Pools) -> Pools:
        """Pool by pool, of two sets of items that have none in common."""
        found = {}
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            found[field.name] = np.maximum(mine, theirs) if field.name.startswith("largest") else mine + theirs
        return Pools(**found)

    def grouped(self, groups: Int64, count: int) -> Pools:
        """Pools of pools: ``groups`` says which of ``count`` each of these belongs to."""
        found = {}
        for field in fields(self):
            values = getattr(self, field.name)
            if field.name.startswith("largest"):
                found[field.name] = np.zeros(count)
                np.maximum.at(found[field.name], groups, values)
            else:
                found[field.name] = summed(values, groups, count)
        return Pools(**found)

    def to_state(self) -> dict[str, Any]:
        """JSON-ready; floats survive exactly."""
        return {"v": STATE_VERSION, **{field.name: getattr(self, field.name).tolist() for field in fields(self)}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Pools:
        """Raises ValueError for a state of another version."""
        if state.get("v") != STATE_VERSION:
            raise ValueError(f"pool sums have version {state.get('v')!r}, this driftline reads {STATE_VERSION}")
        return cls(**{field.name: np.array(state[field.name], dtype=np.float64) for field in fields(cls)})

    @classmethod
    def empty(cls, count: int) -> Pools:
        """Of no items."""
        return cls(**{field.name: np.zeros(count) for field in fields(cls)})


def variance_of(score: Float64) -> Float64:
    """m (1 - m), at least ``LEAST_VARIANCE``."""
    return np.maximum(score * (1 - score), LEAST_VARIANCE)


def pools_of(pi_sample: Float64, pi_review: Float64, score: Float64, groups: Int64, count: int) -> Pools:
    """Sums over items, by ``groups`` (codes below ``count``). Every item counts, drawn or not.

    Raises:
        ValueError: probabilities outside (0, 1], or scores outside [0, 1].
    """
    for name, values in (("pi_sample", pi_sample), ("pi_review", pi_review)):
        if not bool(np.all((values > 0) & (values <= 1))):
            raise ValueError(f"{name} is a probability within (0, 1]; an item that cannot be drawn says nothing")
    if not bool(np.all((score >= 0) & (score <= 1))):
        raise ValueError("scores are chances within [0, 1]; got others, or NaN")
    a = 1 / pi_sample
    uncertain = pi_review < 1
    race = np.where(uncertain, race_weights(np.where(uncertain, pi_review, 0.5)), 0.0)
    over = np.divide(a, race, out=np.zeros_like(a), where=uncertain)

    def total(values: Float64) -> Float64:
        return summed(values, groups, count)

    def largest(values: Float64) -> Float64:
        found = np.zeros(count)
        np.maximum.at(found, groups, values)
        return found

    return Pools(
        items=total(np.ones_like(a)),
        drawn=total(pi_review),
        weight=total(a),
        score=total(a * score),
        variance=total(a * a * (1 - pi_review) / pi_review * variance_of(score)),
        first=total(a * a * (1 - pi_sample)),
        first_score=total(a * a * (1 - pi_sample) * score),
        race=total(race),
        largest_below=largest(over * score),
        largest_above=largest(over * (1 - score)),
        largest_weight=largest(a),
    )
