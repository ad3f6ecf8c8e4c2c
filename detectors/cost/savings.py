"""What a cap, or a cheaper tier for small requests, would save, with bounds that hold whatever the buckets hide.

A bucket tells how many values it holds, their exact sum and the integers they lie between. Only the bucket that the
cap or the limit falls into leaves anything open, and there the bounds are sharp: some integer values in that bucket
with that count and sum attain each of them (the spread-out and the extreme allocation; Marshall, Olkin and Arnold,
Inequalities: Theory of Majorization and Its Applications, 2011, 3.C and 5.C). They are no confidence limits: they say
what would have been saved on the requests that were counted, had those requests been the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, isfinite
from typing import NamedTuple

import numpy as np

from detectors.summaries.histogram import Histogram
from detectors.summaries.summary import ByBucket


class Bounded(NamedTuple):
    """A figure known to lie within [low, high]; `value` is their middle, never further off than half the width."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Saving:
    """What a measure would save on `requests` that cost `bill` nano-units.

    saved: nano-units; negative where the other price is higher. touched: how many requests the measure changes.
    The bounds of both are sharp each by itself; they need not be attained together.
    """

    saved: Bounded
    touched: Bounded
    requests: int
    bill: float

    @property
    def share_of_bill(self) -> Bounded | None:
        """saved / bill; None where nothing was spent."""
        return _divided(self.saved, self.bill)

    @property
    def share_of_requests(self) -> Bounded | None:
        """touched / requests; None without requests."""
        return _divided(self.touched, self.requests)


def cap(h: Histogram, at: float, price: float = 1.0, bill: float | None = None) -> Saving:
    """What would be saved had no request used more than `at` units: price * sum of max(v - at, 0).

    h: a segment's units per request (output tokens, image tokens, pixels, or nano-units of cost with price 1).
    at: units, >= 0. price: nano-units a unit, >= 0. bill: nano-units that the same requests cost in all, where `h` is
    only a part of it; h.sum * price where not given. A request is touched where its value is above `at`. Values above
    `buckets.MAX_VALUE` count as that. ValueError for a number that is negative or not finite.
    """
    _check("cap", at)
    _check("price", price)
    bill = _bill(h.sum * price, bill)
    edge, x = floor(at), Fraction(at)
    over = h.lower > edge
    n_over = int(h.counts[over].sum())
    surely = int(h.sums[over].sum()) - n_over * x
    low = high = surely
    few = many = n_over
    for b in _open_buckets(h, edge):
        even, more = divmod(b.sum, b.count)
        low += (b.count - more) * max(even - x, Fraction(0)) + more * max(even + 1 - x, Fraction(0))
        full, rest = divmod(b.sum - b.count * b.lower, b.upper - b.lower)
        high += full * (b.upper - x) + max(b.lower + rest - x, Fraction(0))
        fewest, most = b.count_over(edge)
        few, many = few + fewest, many + most
    return Saving(_bounded(low, high, price), _bounded(few, many), h.count, bill)


def reroute(h: Histogram, below: float, ratio: float, price: float = 1.0, bill: float | None = None) -> Saving:
    """What would be saved had requests of less than `below` units gone to a price `ratio` times as high.

    That is price * (1 - ratio) * (sum of the values below). h: a segment's units per request whose price applies to
    each unit, or its cost per request in nano-units with price 1. below: units, >= 0. ratio: >= 0, above 1 for a dearer
    tier. price and bill as in `cap`. ValueError for a number that is negative or not finite.
    """
    _check("limit", below)
    _check("ratio", ratio)
    _check("price", price)
    bill = _bill(h.sum * price, bill)
    edge = ceil(below) - 1  # the greatest integer below the limit
    under = h.upper <= edge
    n_under, surely = int(h.counts[under].sum()), int(h.sums[under].sum())
    low = high = surely
    few = many = n_under
    for b in _open_buckets(h, edge):
        fewest, most = b.count_over(edge)
        low += max(b.sum - most * b.upper, (b.count - most) * b.lower)
        high += min(b.sum - fewest * (edge + 1), (b.count - fewest) * edge)
        few, many = few + b.count - most, many + b.count - fewest
    return Saving(_bounded(low, high, price * (1 - ratio)), _bounded(few, many), h.count, bill)


def reroute_by_size(joint: ByBucket, below: float, ratio: float) -> Saving:
    """As `reroute`, where requests are chosen by another quantity than the one they are billed by.

    joint: cost in nano-units by the bucket of the quantity, as ``Summary.cost_by_input_size()`` gives it for bytes of
    input; below: in that quantity. Of the bucket that the limit falls into any part may lie below it, at any share of
    its cost: joint buckets are 9 % wide. The bill is the cost of the events that state both quantities.
    """
    _check("limit", below)
    _check("ratio", ratio)
    edge = ceil(below) - 1
    under = joint.upper <= edge
    partly = joint.lower <= edge
    few, many = int(joint.counts[under].sum()), int(joint.counts[partly].sum())
    low, high = int(joint.sums[under].sum()), int(joint.sums[partly].sum())
    requests, bill = int(joint.counts.sum()), float(joint.sums.sum())
    return Saving(_bounded(low, high, 1 - ratio), _bounded(few, many), requests, bill)


def together(savings: Iterable[Saving]) -> Saving:
    """The saving over several segments, each with a measure of its own; no request may be in two of them."""
    taken = list(savings)
    saved, touched = (_added(getattr(s, name) for s in taken) for name in ("saved", "touched"))
    return Saving(saved, touched, sum(s.requests for s in taken), sum(s.bill for s in taken))


@dataclass(frozen=True, slots=True)
class _Bucket:
    """A bucket with an edge inside: Python integers, since count times value may exceed 64 bits."""

    lower: int
    upper: int
    count: int
    sum: int

    def count_over(self, edge: int) -> tuple[int, int]:
        """The fewest and the most of its values that may be above `edge`, lower <= edge < upper."""
        fewest = -(-(self.sum - self.count * edge) // (self.upper - edge))  # the others at the edge, these at the top
        most = (self.sum - self.count * self.lower) // (edge + 1 - self.lower)  # the others at the bottom
        return max(fewest, 0), min(most, self.count)


def _open_buckets(h: Histogram, edge: int) -> Iterable[_Bucket]:
    """The non-empty bucket, if there is one, that holds values at or below the integer `edge` and values above it."""
    for i in np.flatnonzero((h.lower <= edge) & (h.upper > edge) & (h.counts > 0)).tolist():
        yield _Bucket(int(h.lower[i]), int(h.upper[i]), int(h.counts[i]), int(h.sums[i]))


def _bounded(low: Fraction | int, high: Fraction | int, price: float = 1.0) -> Bounded:
    # Each end is rounded once from an exact sum, and rounding keeps order: the truth, rounded so, lies between.
    ends = sorted((float(low) * price, float(high) * price))
    return Bounded((ends[0] + ends[1]) / 2, ends[0], ends[1])


def _divided(b: Bounded, by: float) -> Bounded | None:
    return Bounded(b.value / by, b.low / by, b.high / by) if by else None


def _added(parts: Iterable[Bounded]) -> Bounded:
    taken = list(parts)
    return Bounded(sum(b.value for b in taken), sum(b.low for b in taken), sum(b.high for b in taken))


def _bill(of_units: float, given: float | None) -> float:
    if given is None:
        return float(of_units)
    _check("bill", given)
    return float(given)


def _check(what: str, number: float) -> None:
    if not isfinite(number) or number < 0:
        raise ValueError(f"the {what} is {number!r}; give a finite number of 0 or more")
