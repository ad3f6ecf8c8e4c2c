"""Why the bill changed: traffic, mix, units per request, their tail, or price, in parts that add up to the change.

A segment's bill is requests x its share of them x (units per request up to a threshold + units per request beyond it)
x price per unit. What each of these five explains is its Shapley value: its effect averaged over every order in which
they could have changed one after another. Hence there is no residual, no order to choose, nothing for what did not
change, and the parts change sign when the periods are exchanged. Segments that appear or vanish need no logarithms of
zero. (Shapley, A value for n-person games, 1953; for decompositions Sun, Energy Economics 20, 1998, and Albrecht,
Francois and Schoors, Energy Policy 30, 2002.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil, factorial, fsum, isfinite

import numpy as np
from numpy.typing import NDArray

from detectors.summaries.histogram import Histogram

Floats = NDArray[np.float64]

TAIL = 0.99  # units beyond this quantile of the earlier period are the tail's


@dataclass(frozen=True, slots=True)
class Usage:
    """A segment in a period: requests, the units they used, how many of these were tail, and what they cost (nano).

    All of the same events. Tail units are each request's units beyond a threshold that is the same in both periods,
    added up (see `usage`).
    """

    requests: float
    units: float
    tail_units: float
    bill: float


@dataclass(frozen=True, slots=True)
class Parts:
    """A change of the bill in nano-units, and what of it each factor explains; the five add up to `change`.

    traffic: requests over all segments. mix: the segment's share of them, so that over all segments it says whether
    requests moved to dearer segments. units: units per request up to the threshold. tail: those beyond it.
    price: nano-units a unit.
    """

    change: float
    traffic: float
    mix: float
    units: float
    tail: float
    price: float


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The change of the whole bill, and of every segment's, ordered by name."""

    total: Parts
    segments: dict[str, Parts]


def tail_threshold(before: Histogram) -> int | None:
    """The upper edge of the bucket that holds the earlier period's p99 of units per request.

    On an edge tail units are exact, and so they are in every other histogram of the same kind. It lies at most one
    bucket (2.2 %) above the p99. None without observations.
    """
    n = before.count
    if not n:
        return None
    rank = min(ceil(TAIL * n - 1e-9), n)
    return int(before.upper[np.searchsorted(np.cumsum(before.counts), rank)])


def usage(h: Histogram, bill: float, threshold: int | None) -> Usage:
    """A segment's `Usage` from its histogram of units per request.

    bill: nano-units that the requests counted in `h` cost. threshold: `tail_threshold` of the segment in the earlier
    period, for both periods; None where it had no requests then, and all that it uses is mix anyway.
    """
    if threshold is None:
        return Usage(h.count, h.sum, 0, bill)
    over = h.lower > threshold
    return Usage(h.count, h.sum, int(h.sums[over].sum()) - threshold * int(h.counts[over].sum()), bill)


def decompose(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> Decomposition:
    """Split the change of the bill from one period to another.

    before, after: usage by segment; one that is absent had no requests. A segment that appears or vanishes changed its
    share of requests alone: what it used per request and paid per unit is taken from the period in which it had some.
    So is the mix where a period had no requests at all, and the price where a segment used no units.
    ValueError where a number is negative or not finite, tail units exceed units, or a segment has units without
    requests or a bill without units.
    """
    names = sorted({*before, *after})
    old, new = (_columns(names, period) for period in (before, after))
    factors = _factors(old, new)
    parts = np.stack([_shapley(factors, i) for i in range(_N)], axis=1) if names else np.zeros((0, _N))
    change = new[3] - old[3]
    segments = {name: Parts(c, *row) for name, c, row in zip(names, change.tolist(), parts.tolist(), strict=True)}
    total = Parts(fsum(change), *(fsum(column) for column in parts.T))
    return Decomposition(total, segments)


# Factors, in the order of the fields of Parts; each is (before, after), an array over segments.
_TRAFFIC, _MIX, _BODY, _TAIL, _PRICE = range(5)
_N = 5


def _columns(names: list[str], period: Mapping[str, Usage]) -> Floats:
    """float64[4, k]: requests, units, tail units and bill of every segment."""
    columns = np.zeros((4, len(names)))
    for i, name in enumerate(names):
        if name not in period:
            continue
        u = period[name]
        row = (u.requests, u.units, u.tail_units, u.bill)
        if not all(isfinite(x) and x >= 0 for x in row):
            raise ValueError(f"segment {name!r} has {u}: give finite numbers of 0 or more")
        if u.tail_units > u.units:
            raise ValueError(f"segment {name!r} has {u}: tail units are a part of the units and cannot exceed them")
        if u.units and not u.requests:
            raise ValueError(f"segment {name!r} has {u}: units without requests; count both over the same events")
        if u.bill and not u.units:
            raise ValueError(f"segment {name!r} has {u}: a bill without units; choose units that all of it is paid for")
        columns[:, i] = row
    return columns


def _factors(old: Floats, new: Floats) -> list[tuple[Floats, Floats]]:
    """Both values of every factor; where one cannot be known for want of requests or units, it did not change."""
    traffic, mix, body, tail, price = ([] for _ in range(_N))
    for requests, units, tail_units, bill in (old, new):
        total = np.full_like(requests, fsum(requests))
        traffic.append(total)
        mix.append(_ratio(requests, total))
        body.append(_ratio(units - tail_units, requests))
        tail.append(_ratio(tail_units, requests))
        price.append(_ratio(bill, units))
    return [(traffic[0], traffic[1]), *(_filled(*pair) for pair in (mix, body, tail, price))]


def _ratio(a: Floats, b: Floats) -> Floats:
    """a / b; nan where b is 0."""
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)


def _filled(old: Floats, new: Floats) -> tuple[Floats, Floats]:
    """Each with the other's where it is nan; 0 where both are."""
    return np.nan_to_num(np.where(np.isnan(old), new, old)), np.nan_to_num(np.where(np.isnan(new), old, new))


def _shapley(factors: list[tuple[Floats, Floats]], factor: int) -> Floats:
    """float64[k]: the factor's own change times the mean, over all orders, of what multiplies it.

    The bill is linear in each factor, so no bills are subtracted: what did not change gets exactly 0.
    """
    others = [i for i in range(_N) if i != factor]
    multiplier = np.zeros_like(factors[factor][0])
    for changed in product((0, 1), repeat=_N - 1):
        at = {i: factors[i][c] for i, c in zip(others, changed, strict=True)}
        k = sum(changed)
        weight = factorial(k) * factorial(_N - 1 - k) / factorial(_N)
        if factor in (_BODY, _TAIL):
            multiplier += weight * at[_TRAFFIC] * at[_MIX] * at[_PRICE]
        else:
            a, b = (at[i] for i in others if i not in (_BODY, _TAIL))
            multiplier += weight * a * b * (at[_BODY] + at[_TAIL])
    change: Floats = factors[factor][1] - factors[factor][0]
    return change * multiplier
