"""Sorted sparse cells: key -> (count, sum), and how runs of them are added together.

All arrays are int64 and of one length; keys ascend strictly. Adding is exact integer addition, so any order and
any grouping of additions gives the same cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


_FEW = 4  # runs


class Cells(NamedTuple):
    keys: Int64
    counts: Int64
    sums: Int64


def empty() -> Cells:
    return Cells(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


def _starts(keys: Int64) -> Int64:
    """Index of the first of every run of equal keys; keys ascend and are not empty."""
    new = np.empty(keys.size, dtype=np.bool_)
    new[0] = True
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return np.flatnonzero(new)


def _sums(values: Int64, starts: Int64) -> Int64:
    """Sum of each run of values. Differences of a running sum take half as long as np.add.reduceat, and are exact:
    int64 wraps around, and back."""
    ends = np.empty_like(starts)
    ends[:-1] = starts[1:]
    ends[-1] = values.size
    running = np.cumsum(values)
    out = running[ends - 1]
    out[1:] -= out[:-1].copy()
    return out


def _sizes(starts: Int64, n: int) -> Int64:
    out = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=out[:-1])
    out[-1] = n - starts[-1]
    return out


def of_events(keys: Int64, values: Int64, key_bits: int) -> Cells:
    """Cells of single events: each (key, value) adds 1 to the count and value to the sum of its key.

    keys: int64[n], 0 <= key < 2**key_bits. One sort of (key, position) packed in 64 bits is three times faster
    than an argsort of the keys; input too long to be packed is cut in pieces.
    """
    n = keys.size
    if n == 0:
        return empty()
    position_bits = 63 - key_bits
    if n >> position_bits:
        half = n // 2
        return add(of_events(keys[:half], values[:half], key_bits), of_events(keys[half:], values[half:], key_bits))
    packed = keys << position_bits
    packed |= np.arange(n)
    packed.sort()
    ordered = packed >> position_bits
    starts = _starts(ordered)
    packed &= (1 << position_bits) - 1
    return Cells(ordered[starts], _sizes(starts, n), _sums(values[packed], starts))


def reduced(keys: Int64, counts: Int64, sums: Int64, key_bits: int = 63) -> Cells:
    """Cells from triples in any order, equal keys added.

    Where `key_bits` says that key and position fit in 63 bits they are sorted as one number; else keys that come
    as a few ascending runs are merged in linear time (timsort).
    """
    if keys.size == 0:
        return empty()
    position_bits = 63 - key_bits
    if keys.size >> position_bits:
        order = np.argsort(keys, kind="stable")
    else:
        order = keys << position_bits | np.arange(keys.size)
        order.sort()
        order &= (1 << position_bits) - 1
    ordered = keys[order]
    starts = _starts(ordered)
    if starts.size == ordered.size:
        return Cells(ordered, counts[order], sums[order])
    return Cells(ordered[starts], _sums(counts[order], starts), _sums(sums[order], starts))


def add(*runs: Cells) -> Cells:
    """The sum of several runs of cells."""
    runs = tuple(run for run in runs if run.keys.size)
    if len(runs) == 1:
        return runs[0]
    if not runs:
        return empty()
    # A few runs are merged faster than their keys are sorted anew.
    key_bits = max(int(run.keys[-1]) for run in runs).bit_length() if len(runs) > _FEW else 63
    return reduced(
        np.concatenate([run.keys for run in runs]),
        np.concatenate([run.counts for run in runs]),
        np.concatenate([run.sums for run in runs]),
        key_bits,
    )


def insert(held: Cells, run: Cells) -> Cells:
    """The sum of two runs, the second much shorter: half the time of `add`, but it takes over the arrays of `held`."""
    place = np.searchsorted(held.keys, run.keys)
    known = place < held.keys.size
    known[known] = held.keys[place[known]] == run.keys[known]
    at = place[known]
    held.counts[at] += run.counts[known]
    held.sums[at] += run.sums[known]
    new = np.flatnonzero(~known)
    if new.size == 0:
        return held
    slots = place[new] + np.arange(new.size)
    old = np.ones(held.keys.size + new.size, dtype=np.bool_)
    old[slots] = False
    columns = []
    for before, added in zip(held, run, strict=True):
        column = np.empty(old.size, dtype=np.int64)
        column[slots] = added[new]
        column[old] = before
        columns.append(column)
    return Cells(*columns)
