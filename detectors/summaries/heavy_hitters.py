"""Weighted heavy hitters: which users send most events and spend most, with an error bound.

A Misra-Gries summary over four weights at once (events and spend, over all events and over the thinned ones).
It is exact until a row holds more than CAPACITY users. At the event that exceeds it, every weight's (KEEP + 1)-th
largest value is subtracted from all users' weights (not below zero) and users left without any weight are
dropped. Each subtraction takes at least KEEP + 1 times itself from the total, hence for every weight::

    stored <= true <= stored + error,   error <= total / (KEEP + 1)

(Misra and Gries 1982; merging by adding and compressing keeps the bound: Agarwal et al., Mergeable summaries,
2012). Compression happens at a position in the stream, never at the edge of a batch, so that the outcome does not
depend on how the stream was cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import buckets

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

CAPACITY = 2048
KEEP = 400  # per weight; four weights keep at most 1600 users, so at least 448 new ones fit before the next
WEIGHTS = ("events", "spend", "thinned_events", "thinned_spend")
_WINDOW = 8 * CAPACITY  # events looked at together while a row overflows


@dataclass(slots=True)
class Users:
    """Users of one row, ascending, with their weights (int64[n, 4], in the order of WEIGHTS) and errors (int64[4])."""

    keys: UInt64
    weights: Int64
    errors: Int64

    @staticmethod
    def none() -> Users:
        return Users(np.empty(0, np.uint64), np.empty((0, 4), np.int64), np.zeros(4, np.int64))


@dataclass(slots=True)
class UsersOfRows:
    """Users of r rows one after another: sizes int64[r], keys uint64[n], weights int64[n, 4], errors int64[r, 4]."""

    sizes: Int64
    keys: UInt64
    weights: Int64
    errors: Int64

    @staticmethod
    def one(users: Users) -> UsersOfRows:
        return UsersOfRows(np.array([users.keys.size]), users.keys, users.weights, users.errors[None])


def event_weights(cost: Int64, thinned: NDArray[np.bool_]) -> Int64:
    """Weights int64[n, 4] of events. An absent cost adds no spend."""
    out = np.empty((cost.size, 4), dtype=np.int64)
    out[:, 0] = 1
    np.clip(cost, 0, buckets.MAX_VALUE, out=out[:, 1])
    out[:, 2] = thinned
    np.multiply(out[:, 1], thinned, out=out[:, 3])
    return out


def summed(keys: UInt64, weights: Int64) -> tuple[UInt64, Int64]:
    """Distinct users, ascending, with their weights added."""
    if keys.size == 0:
        return keys, weights
    order = np.argsort(keys)
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.add.reduceat(weights[order], starts, axis=0)


def compressed(users: Users) -> Users:
    """One subtraction, as described above."""
    n = users.keys.size
    if n <= KEEP:
        return users
    cut = np.partition(users.weights, n - KEEP - 1, axis=0)[n - KEEP - 1]
    weights = np.maximum(users.weights - cut, 0)
    kept = weights.any(axis=1)
    return Users(users.keys[kept], weights[kept], users.errors + cut)


def bounded(users: Users) -> Users:
    """Compressed once, if there are more than CAPACITY."""
    return compressed(users) if users.keys.size > CAPACITY else users


def streamed(users: Users, keys: UInt64, weights: Int64) -> Users:
    """Add events in offset order, compressing at each event that brings a user beyond CAPACITY."""
    at = 0
    while at < keys.size:
        window = keys[at : at + _WINDOW]
        distinct, first = np.unique(window, return_index=True)
        new = np.sort(first[~np.isin(distinct, users.keys, assume_unique=True)])
        room = CAPACITY - users.keys.size
        overflows = new.size > room
        until = at + (int(new[room]) + 1 if overflows else window.size)
        summed_keys, summed_weights = summed(
            np.concatenate([users.keys, keys[at:until]]), np.concatenate([users.weights, weights[at:until]])
        )
        users = Users(summed_keys, summed_weights, users.errors)
        if overflows:
            users = compressed(users)
        at = until
    return users


def summed_all(parts: list[Users]) -> Users:
    """All users of several rows, however many; independent of the order of `parts`."""
    keys, weights = summed(np.concatenate([p.keys for p in parts]), np.concatenate([p.weights for p in parts]))
    return Users(keys, weights, np.sum([p.errors for p in parts], axis=0, dtype=np.int64))


def summed_groups(rows: UsersOfRows, group_of: Int64, groups: int) -> list[Users]:
    """All users of each group of rows. group_of: int64[r], ascending."""
    errors = np.zeros((groups, 4), dtype=np.int64)
    np.add.at(errors, group_of, rows.errors)
    group = np.repeat(group_of, rows.sizes)
    order = np.argsort(rows.keys)
    order = order[np.argsort(group[order].astype(np.uint16 if groups < 1 << 16 else np.int64), kind="stable")]
    keys, group = rows.keys[order], group[order]
    starts = np.flatnonzero(np.concatenate(([True], (keys[1:] != keys[:-1]) | (group[1:] != group[:-1])))[: keys.size])
    keys = keys[starts]
    weights = np.add.reduceat(rows.weights[order], starts, axis=0) if starts.size else rows.weights
    cuts = np.searchsorted(group[starts], np.arange(groups + 1)).tolist()
    return [Users(keys[a:b], weights[a:b], errors[g]) for g, (a, b) in enumerate(pairwise(cuts))]


@dataclass(frozen=True, slots=True)
class HeavyHitter:
    """A user whose true weight lies between `low` and `high` (equal while the row is exact)."""

    user: int
    low: int
    high: int
