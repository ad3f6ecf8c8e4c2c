"""Which attribute values began with a change: hardly any session had them just before, nearly all have them since.

A release that reaches everybody leaves nothing to compare it with: no session is without it, so that no test can tell
whether it carries the change (detectors/explain/attributes.py leaves it out). That it came at the same time is what can
be said, and is said as such. Fisher's exact test on the effective sessions, Bonferroni over all values there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import hypergeom

from detectors.explain.attributes import MISSING
from detectors.explain.holm import LEVEL
from detectors.explain.weighted import Share, checked_weights

HARDLY_ANY = 0.05
NEARLY_ALL = 0.8  # the onset is not known to the minute: some sessions of the old kind are counted as new ones
MIN_BEFORE = 20
MIN_NOW = 5


@dataclass(frozen=True, slots=True)
class Beginning:
    """One value that began with the change; ``before`` and ``now`` are weighted shares of the sessions."""

    attribute: str
    value: str
    before: float
    now: float
    adjusted: float  # p times the number of values tried


def began_with(
    before: Mapping[str, Sequence[str | None]],
    now: Mapping[str, Sequence[str | None]],
    *,
    before_weights: ArrayLike | None = None,
    now_weights: ArrayLike | None = None,
    level: float = LEVEL,
) -> tuple[Beginning, ...]:
    """The values that began with the change, the clearest first.

    Args:
        before: of each attribute the value of each of the n sessions just before; None where there is none.
        now: the same of the m sessions since. An attribute that one period does not have has no values there.
        before_weights: float[n], 1 / inclusion probability; equal where None.
        level: chance of naming any value where no value's share changed.

    Returns:
        Nothing where there are fewer than 20 sessions before or 5 since.

    Raises:
        ValueError: lengths that do not agree.
    """
    n, m = _length(before), _length(now)
    if n < MIN_BEFORE or m < MIN_NOW:
        return ()
    u, v = checked_weights(before_weights, n, "before_weights"), checked_weights(now_weights, m, "now_weights")
    found: list[Beginning] = []
    tried = 0
    for name in sorted(now):
        values, codes = np.unique([MISSING if text is None else text for text in now[name]], return_inverse=True)
        tried += values.size
        # Nearly all sessions have at most one value, so that only the commonest is worth a test.
        code = int(np.argmax(np.bincount(codes, v)))
        value = str(values[code])
        first = [text == value for text in before[name]] if name in before else [False] * n
        was, is_ = Share.of(first, u), Share.of(codes == code, v)
        if value == MISSING or was.value > HARDLY_ANY or is_.value < NEARLY_ALL:
            continue
        (a, b), (c, d) = was.table(), is_.table()
        # One-sided: that so many of the value's sessions would be of now.
        p = float(hypergeom.sf(c - 1, a + b + c + d, a + c, c + d))
        found.append(Beginning(name, value, was.value, is_.value, p))
    named = [replace(one, adjusted=min(1.0, one.adjusted * tried)) for one in found if one.adjusted * tried <= level]
    return tuple(sorted(named, key=lambda b: (b.before - b.now, b.adjusted, b.attribute, b.value)))


def _length(of: Mapping[str, Sequence[str | None]]) -> int:
    lengths = {len(values) for values in of.values()}
    if len(lengths) > 1:
        raise ValueError(f"every attribute needs one value per session, got {sorted(lengths)} values")
    return lengths.pop() if lengths else 0
