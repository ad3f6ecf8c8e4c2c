"""Which words of a concept bank gained and lost share: each session's nearest concept, now against before.

Only the order of cosines is used (the nearest concept), never their size, which is the encoder's own. Shares with
intervals, Fisher's exact test on the effective numbers of sessions, Holm over all words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import fisher_exact

from detectors.explain.holm import LEVEL, holm
from detectors.explain.weighted import Limits, Share, checked_weights, difference

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Concept:
    """One word's share of the sessions; limits are 95 %."""

    name: str
    before: Limits
    now: Limits
    change: Limits
    p: float
    adjusted: float
    named: bool


@dataclass(frozen=True, slots=True)
class Concepts:
    """Words in the order of what they gained and lost; ``named`` in each says whether it is beyond chance."""

    gained: tuple[Concept, ...]
    lost: tuple[Concept, ...]

    @property
    def named(self) -> tuple[Concept, ...]:
        """Those beyond chance, gains first; empty is an answer."""
        return tuple(concept for concept in (*self.gained, *self.lost) if concept.named)


def concepts(
    before: Sequence[str],
    now: Sequence[str],
    *,
    before_weights: ArrayLike | None = None,
    now_weights: ArrayLike | None = None,
    level: float = LEVEL,
) -> Concepts:
    """Compare the shares of words.

    Args:
        before: the nearest concept of each of n sessions. now: of each of m.
        before_weights: float[n], 1 / inclusion probability; equal where None.
        level: chance of naming any word where no share changed.

    Raises:
        ValueError: a period without sessions, or weights that do not agree.
    """
    if not len(before) or not len(now):
        raise ValueError(f"need sessions in both periods, got {len(before)} and {len(now)}")
    u = checked_weights(before_weights, len(before), "before_weights")
    v = checked_weights(now_weights, len(now), "now_weights")
    names, codes = np.unique(np.array([*before, *now], dtype=object).astype(str), return_inverse=True)
    first, last = codes[: len(before)], codes[len(before) :]
    found: list[tuple[str, Limits, Limits, Limits, float]] = []
    for code, name in enumerate(names):
        was, is_ = Share.of(first == code, u), Share.of(last == code, v)
        limits = was.limits(0.95), is_.limits(0.95)
        p = float(fisher_exact([was.table(), is_.table()])[1])
        found.append((str(name), limits[0], limits[1], difference(limits[1], limits[0]), min(p, 1.0)))
    adjusted = holm([entry[-1] for entry in found])
    every = [Concept(*entry, float(q), bool(q <= level)) for entry, q in zip(found, adjusted, strict=True)]
    gained = sorted((c for c in every if c.change.value > 0), key=lambda c: (not c.named, -c.change.value, c.name))
    lost = sorted((c for c in every if c.change.value < 0), key=lambda c: (not c.named, c.change.value, c.name))
    return Concepts(tuple(gained), tuple(lost))
