"""The stored form of a summary row, format version 1. Little endian throughout.

::

    u8   version, u16 number of groups, u32 length of the labels
    4 x  labels of a family: u8 number of names, then per name u16 length, UTF-8
    per group (metric, thinned, label), ascending, four u16:
         group code (metric << 6 | thinned << 5 | label), cells, first bucket, widths (delta | count << 4 | sum << 8)
    deltas   per cell, `delta` bytes: (buckets since the previous cell - 1) << 1 | (count > 1); 0 buckets for a first
    counts   per cell whose count > 1, `count` bytes: count - 2
    sums     per cell, `sum` bytes: sum - count x smallest value of the bucket
    u32  users, 4 x u8 widths, 4 x u64 errors, then u64 users ascending, then each weight
    u32  crc32 of all before it

Deltas, counts, sums and weights are written as planes: the lowest byte of every value that has one, then the next
byte of every value of two or more, and so on. A cell costs about three bytes. Labels are sorted by code point, so
that equal summaries are equal bytes.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import buckets
from detectors.summaries.cells import Cells
from detectors.summaries.heavy_hitters import UsersOfRows
from detectors.summaries.metrics import (
    BUCKET_BITS,
    BUCKET_MASK,
    BY_ID,
    CELL_BITS,
    FAMILIES,
    LINEAR_STEP,
    METRIC_SHIFT,
)

Int64 = NDArray[np.int64]

VERSION = 1
HEAD = struct.Struct("<BHI")
USERS = struct.Struct("<I4B4Q")
CRC = struct.Struct("<I")

Labels = tuple[tuple[str, ...], ...]  # per family in FAMILIES order: names, sorted
NO_LABELS: Labels = tuple(() for _ in FAMILIES)


def _base_table() -> tuple[Int64, Int64]:
    """Smallest value by (base row, bucket), flattened; and each metric id's base row."""
    table = np.zeros((3, 1 << BUCKET_BITS), dtype=np.int64)
    exponential = buckets.smallest()
    table[1, : exponential.size] = exponential
    table[2] = np.arange(1 << BUCKET_BITS) * LINEAR_STEP
    row = np.zeros(64, dtype=np.int64)
    for m in BY_ID.values():
        row[m.id] = {"exponential": 1, "linear": 2}.get(m.kind, 0)
    return table.ravel(), row << BUCKET_BITS


BASE, BASE_ROW = _base_table()


def _width(largest: Int64) -> Int64:
    """Bytes needed for each value, 0 for 0."""
    width = np.zeros(largest.shape, dtype=np.int64)
    for byte in range(8):
        width += largest >> (8 * byte) > 0
    return width


class _Columns:
    """Byte columns of many rows, each cut where a row ends."""

    def __init__(self) -> None:
        self.data: list[memoryview] = []
        self.ends: list[list[int]] = []

    def add(self, column: NDArray[Any], row_ends: Int64) -> None:
        self.data.append(memoryview(column.tobytes()))
        self.ends.append((row_ends * column.itemsize).tolist())

    def add_planes(self, values: Int64, widths: Int64, sizes: Int64, group_ends: Int64) -> None:
        """Values in as many bytes as their group's width, one plane a byte, the least significant first.

        widths, sizes: per group; group_ends: per row, the number of groups up to its end.
        """
        raw = np.ascontiguousarray(values, dtype="<i8").view(np.uint8).reshape(-1, 8)
        for j in range(int(widths.max(initial=0))):
            wide = widths > j
            plane = raw[:, j]
            self.add(
                plane if wide.all() else plane[np.repeat(wide, sizes)],
                np.concatenate(([0], np.cumsum(np.where(wide, sizes, 0))))[group_ends],
            )

    def rows(self, count: int) -> list[list[memoryview]]:
        starts = [[0, *ends] for ends in self.ends]
        return [[data[at[i] : at[i + 1]] for data, at in zip(self.data, starts, strict=True)] for i in range(count)]


@lru_cache(maxsize=4096)
def pack_labels(labels: Labels) -> bytes:
    out = bytearray()
    for names in labels:
        out.append(len(names))
        for name in names:
            raw = name.encode()
            out += len(raw).to_bytes(2, "little") + raw
    return bytes(out)


def pack_rows(cells: Cells, rows: list[int], labels: list[Labels], users: UsersOfRows) -> list[bytes]:
    """Stored form of many rows at once.

    cells: keys ``row << CELL_BITS | cell``, ascending, holding only rows in `rows`.
    rows: distinct, ascending. labels: one per row. users: those of the rows, in their order.
    """
    n_groups, cell_columns = _cell_columns(cells, rows)
    widths, user_columns = _user_columns(users)
    heads = zip(users.sizes.tolist(), widths.tolist(), users.errors.tolist(), strict=True)
    parts = zip(n_groups, labels, cell_columns, heads, user_columns, strict=True)
    out: list[bytes] = []
    for groups, names, of_cells, (size, width, errors), of_users in parts:
        fixed = USERS.pack(size, *width, *errors)
        listed = pack_labels(names)
        body = b"".join((HEAD.pack(VERSION, groups, len(listed)), listed, *of_cells, fixed, *of_users))
        out.append(body + CRC.pack(crc32(body)))
    return out


def _cell_columns(cells: Cells, rows: list[int]) -> tuple[list[int], list[list[memoryview]]]:
    """Per row: how many groups it has, and its bytes."""
    keys, counts, sums = cells
    if keys.size == 0:
        return [0] * len(rows), [[] for _ in rows]
    bucket = keys & BUCKET_MASK
    group = keys >> BUCKET_BITS
    starts = np.concatenate(([0], np.flatnonzero(group[1:] != group[:-1]) + 1))
    size = np.diff(starts, append=keys.size)
    head = group[starts]
    base_row = BASE_ROW[head >> (METRIC_SHIFT - BUCKET_BITS) & 63]
    rest = BASE[np.repeat(base_row, size) | bucket]
    rest *= counts
    np.subtract(sums, rest, out=rest)
    sum_width = _width(np.maximum.reduceat(rest, starts))

    many = np.flatnonzero(counts > 1)
    delta = np.empty_like(bucket)
    np.subtract(bucket[1:], bucket[:-1], out=delta[1:])
    delta -= 1
    delta[starts] = 0
    delta <<= 1
    delta[many] |= 1
    delta_width = np.ones(starts.size, dtype=np.int64)
    delta_width[np.searchsorted(starts, np.flatnonzero(delta > 255), side="right") - 1] = 2

    many_starts = np.searchsorted(many, starts)
    many_size = np.diff(many_starts, append=many.size)
    extra = counts[many] - 2
    count_width = np.zeros(starts.size, dtype=np.int64)
    some = many_size > 0
    if extra.size:
        count_width[some] = _width(np.maximum.reduceat(extra, many_starts[some]))

    table = np.empty((starts.size, 4), dtype="<u2")
    table[:, 0] = head & ((1 << (CELL_BITS - BUCKET_BITS)) - 1)
    table[:, 1] = size
    table[:, 2] = bucket[starts]
    table[:, 3] = delta_width | count_width << 4 | sum_width << 8
    group_ends = np.searchsorted(head >> (CELL_BITS - BUCKET_BITS), np.asarray(rows, dtype=np.int64), side="right")
    columns = _Columns()
    columns.add(table.view("<u8"), group_ends)
    columns.add_planes(delta, delta_width, size, group_ends)
    columns.add_planes(extra, count_width, many_size, group_ends)
    columns.add_planes(rest, sum_width, size, group_ends)
    return np.diff(group_ends, prepend=0).tolist(), columns.rows(len(rows))


def _user_columns(users: UsersOfRows) -> tuple[Int64, list[list[memoryview]]]:
    """Per row: the widths of its weights, int64[rows, 4], and its users' bytes."""
    count = users.sizes.size
    widths = np.zeros((count, 4), dtype=np.int64)
    some = users.sizes > 0
    ends = np.cumsum(users.sizes)
    if users.keys.size:
        widths[some] = _width(np.maximum.reduceat(users.weights, (ends - users.sizes)[some], axis=0))
    columns = _Columns()
    columns.add(users.keys.astype("<u8", copy=False), ends)
    for j in range(4):
        columns.add_planes(users.weights[:, j], widths[:, j], users.sizes, np.arange(1, count + 1))
    return widths, columns.rows(count)
