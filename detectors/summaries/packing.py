"""The stored form of a summary row, format version 1. Little endian throughout.

::

    u8   version                     u16 number of groups
    4 x  label list of a family      u8 number of names, then per name u16 length, UTF-8
    per group (metric, thinned, label), ascending, four u16:
         group code (metric << 6 | thinned << 5 | label), cells, first bucket, widths (delta | count << 4 | sum << 8)
    deltas   per cell, `delta` bytes: (buckets since the previous cell - 1) << 1 | (count > 1); 0 buckets for a first
    counts   per cell whose count > 1, `count` bytes: count - 2
    sums     per cell, `sum` bytes: sum - count x smallest value of the bucket
    u32  users, 4 x u8 widths, 4 x u64 errors, then u64 users ascending, then each weight as a column
    u32  crc32 of all before it

A cell costs about three bytes. Labels are sorted by code point, so that equal summaries are equal bytes.
"""

from __future__ import annotations

import struct
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import buckets
from detectors.summaries.cells import Cells
from detectors.summaries.errors import StateError
from detectors.summaries.heavy_hitters import Users
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
UInt8 = NDArray[np.uint8]

VERSION = 1
_HEAD = struct.Struct("<BH")
_USERS = struct.Struct("<I4B4Q")
_CRC = struct.Struct("<I")

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


_BASE, _BASE_ROW = _base_table()


def _width(largest: Int64) -> Int64:
    """Bytes needed for each value, 0 for 0."""
    width = np.zeros(largest.shape, dtype=np.int64)
    for byte in range(8):
        width += largest >> (8 * byte) > 0
    return width


def _put(values: Int64, widths: Int64) -> UInt8:
    """The low `widths[i]` bytes of every value, one after another."""
    top = int(widths.max(initial=0))
    if top == 0:
        return np.empty(0, np.uint8)
    if int(widths.min()) == top == 1:
        return values.astype(np.uint8)
    planes = values.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :top]
    kept: UInt8 = planes[np.arange(top) < widths[:, None]]
    return kept


def _take(data: UInt8, widths: Int64) -> Int64:
    """Inverse of `_put`."""
    top = int(widths.max(initial=0))
    planes = np.zeros((widths.size, 8), dtype=np.uint8)
    if top:
        planes[:, :top][np.arange(top) < widths[:, None]] = data
    return planes.view("<i8").ravel().astype(np.int64)


def pack_labels(labels: Labels) -> bytes:
    out = bytearray()
    for names in labels:
        out.append(len(names))
        for name in names:
            raw = name.encode()
            out += len(raw).to_bytes(2, "little") + raw
    return bytes(out)


def pack_rows(cells: Cells, rows: list[int], labels: list[bytes], users: list[Users]) -> list[bytes]:
    """Stored form of many rows at once.

    cells: keys ``row << CELL_BITS | cell``, ascending, holding only rows in `rows`.
    rows: distinct, ascending. labels, users: one per row (see `pack_labels`).
    """
    keys, counts, sums = cells
    n = keys.size
    bucket = keys & BUCKET_MASK
    group = keys >> BUCKET_BITS
    starts = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1]))) if n else np.empty(0, np.int64)
    size = np.diff(starts, append=n)
    many = counts > 1
    delta = np.empty(n, dtype=np.int64)
    if n:
        np.subtract(bucket[1:], bucket[:-1], out=delta[1:])
        delta -= 1
        delta[starts] = 0
        delta <<= 1
        delta |= many
    head = group[starts]
    metric = head >> (METRIC_SHIFT - BUCKET_BITS) & 63
    rest = sums - counts * _BASE[np.repeat(_BASE_ROW[metric], size) | bucket]
    if n:
        delta_width = np.maximum(_width(np.maximum.reduceat(delta, starts)), 1)
        count_width = _width(np.maximum(np.maximum.reduceat(counts, starts) - 2, 0))
        sum_width = _width(np.maximum.reduceat(rest, starts))
        many_size = np.add.reduceat(many.astype(np.int64), starts)
    else:
        delta_width = count_width = sum_width = many_size = np.empty(0, np.int64)
    table = np.empty((starts.size, 4), dtype="<u2")
    table[:, 0] = head & ((1 << (CELL_BITS - BUCKET_BITS)) - 1)
    table[:, 1] = size
    table[:, 2] = bucket[starts]
    table[:, 3] = delta_width | count_width << 4 | sum_width << 8
    streams = (
        memoryview(table.tobytes()),
        memoryview(_put(delta, np.repeat(delta_width, size)).tobytes()),
        memoryview(_put(counts[many] - 2, np.repeat(count_width, many_size)).tobytes()),
        memoryview(_put(rest, np.repeat(sum_width, size)).tobytes()),
    )
    # Where each row ends in the group table, and hence in every stream.
    row_ends = np.searchsorted(head >> (CELL_BITS - BUCKET_BITS), np.asarray(rows, dtype=np.int64), side="right")
    ends = [
        np.concatenate(([0], np.cumsum(per_group)))[row_ends].tolist()
        for per_group in (np.full(starts.size, 8), size * delta_width, many_size * count_width, size * sum_width)
    ]
    groups = np.diff(row_ends, prepend=0).tolist()
    packed_users = _pack_users(users)
    out: list[bytes] = []
    at = [0, 0, 0, 0]
    for i in range(len(rows)):
        upto = [end[i] for end in ends]
        body = b"".join(
            (
                _HEAD.pack(VERSION, groups[i]),
                labels[i],
                *(stream[a:b] for stream, a, b in zip(streams, at, upto, strict=True)),
                packed_users[i],
            )
        )
        out.append(body + _CRC.pack(crc32(body)))
        at = upto
    return out


def _pack_users(users: list[Users]) -> list[bytes]:
    sizes = np.array([u.keys.size for u in users], dtype=np.int64)
    present = [u for u in users if u.keys.size]
    if not present:
        return [_USERS.pack(0, 0, 0, 0, 0, *u.errors.tolist()) for u in users]
    keys = memoryview(np.concatenate([u.keys for u in present]).astype("<u8").tobytes())
    weights = np.concatenate([u.weights for u in present])
    ends = np.cumsum(sizes[sizes > 0])
    largest = np.maximum.reduceat(weights, ends - sizes[sizes > 0], axis=0)
    widths = np.zeros((len(users), 4), dtype=np.int64)
    widths[sizes > 0] = _width(largest)
    columns = [
        memoryview(_put(np.ascontiguousarray(weights[:, j]), np.repeat(widths[:, j], sizes)).tobytes())
        for j in range(4)
    ]
    user_at = np.concatenate(([0], np.cumsum(sizes))).tolist()
    column_at = [np.concatenate(([0], np.cumsum(sizes * widths[:, j]))).tolist() for j in range(4)]
    out = []
    for i, (user, width) in enumerate(zip(users, widths.tolist(), strict=True)):
        out.append(
            b"".join(
                (
                    _USERS.pack(user.keys.size, *width, *user.errors.tolist()),
                    keys[8 * user_at[i] : 8 * user_at[i + 1]],
                    *(columns[j][column_at[j][i] : column_at[j][i + 1]] for j in range(4)),
                )
            )
        )
    return out


def unpack(state: bytes) -> tuple[Cells, Labels, Users]:
    """Read one stored row. Keys have no row part. Raises StateError."""
    if len(state) < _HEAD.size + _CRC.size:
        raise StateError(
            f"summary state of {len(state)} bytes is cut short; restore the row from a backup or replay it"
        )
    if state[0] != VERSION:
        raise StateError(
            f"summary state has format version {state[0]}, this driftline reads up to {VERSION}; "
            "it was written by a newer driftline (upgrade this one) or is damaged"
        )
    body, (stored,) = state[: -_CRC.size], _CRC.unpack_from(state, len(state) - _CRC.size)
    if crc32(body) != stored:
        raise StateError(
            f"summary state is damaged: crc32 {crc32(body):08x}, stored {stored:08x}; restore the row or replay it"
        )
    try:
        return _unpack(body)
    except (IndexError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise StateError(f"summary state does not follow format version {VERSION}: {error}") from error


def _unpack(body: bytes) -> tuple[Cells, Labels, Users]:
    _, n_groups = _HEAD.unpack_from(body)
    at = _HEAD.size
    labels: list[tuple[str, ...]] = []
    for _ in FAMILIES:
        names = []
        count = body[at]
        at += 1
        for _ in range(count):
            length = int.from_bytes(body[at : at + 2], "little")
            names.append(body[at + 2 : at + 2 + length].decode())
            at += 2 + length
        labels.append(tuple(names))
    table = np.frombuffer(body, dtype="<u2", count=4 * n_groups, offset=at).reshape(-1, 4).astype(np.int64)
    at += 8 * n_groups
    code, size, first, packed_widths = table.T
    delta_width, count_width, sum_width = packed_widths & 15, packed_widths >> 4 & 15, packed_widths >> 8 & 15

    def stream(widths: Int64) -> Int64:
        nonlocal at
        length = int(widths.sum())
        data = np.frombuffer(body, dtype=np.uint8, count=length, offset=at)
        at += length
        return _take(data, widths)

    delta = stream(np.repeat(delta_width, size))
    n = delta.size
    many = (delta & 1).astype(np.bool_)
    step = (delta >> 1) + 1
    starts = np.cumsum(size) - size
    counts = np.ones(n, dtype=np.int64)
    counts[many] = 2 + stream(np.repeat(count_width, size)[many])
    # Running sums of the steps, restarted at every group's first bucket.
    step[starts] = first
    running = np.cumsum(step)
    bucket = running - np.repeat(running[starts] - first, size)
    metric = code >> (METRIC_SHIFT - BUCKET_BITS)
    sums = stream(np.repeat(sum_width, size)) + counts * _BASE[np.repeat(_BASE_ROW[metric], size) | bucket]
    keys = np.repeat(code << BUCKET_BITS, size) | bucket

    n_users, *rest = _USERS.unpack_from(body, at)
    at += _USERS.size
    users = np.frombuffer(body, dtype="<u8", count=n_users, offset=at).astype(np.uint64)
    at += 8 * n_users
    weights = np.empty((n_users, 4), dtype=np.int64)
    for j in range(4):
        weights[:, j] = stream(np.full(n_users, rest[j]))
    if at != len(body):
        raise ValueError(f"{len(body) - at} bytes left over")
    return Cells(keys, counts, sums), tuple(labels), Users(users, weights, np.array(rest[4:], dtype=np.int64))
