"""Reading stored summary rows (the format is described in `packing`), many at once.

All rows lie in one buffer and every section of all of them is found by arithmetic on their groups' heads, so that no
Python runs per group or cell, and cells of quantities that are not asked for are never decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from detectors.summaries.cells import Cells
from detectors.summaries.errors import StateError
from detectors.summaries.heavy_hitters import UsersOfRows
from detectors.summaries.metrics import BUCKET_BITS, FAMILIES, METRIC_SHIFT
from detectors.summaries.packing import BASE, BASE_ROW, CRC, HEAD, USERS, VERSION, Labels

Int64 = NDArray[np.int64]
Bytes = NDArray[np.uint8]

_WHOLE = 0x2144DF1C  # crc32 of anything followed by its own crc32, little endian
_TAIL = bytes(8)  # so that eight bytes can be read at the last byte of a row


@dataclass(slots=True)
class Groups:
    """Groups of cells of several rows, one after another, all int64[groups].

    code: metric << 6 | thinned << 5 | label; size: cells; row: which row.
    """

    code: Int64
    size: Int64
    row: Int64


@dataclass
class Rows:
    """Several rows, one after another: their cells by group, `sizes` int64[r] of them per row."""

    groups: Groups
    buckets: Int64
    counts: Int64
    sums: Int64
    sizes: Int64
    labels: list[Labels]
    users: UsersOfRows

    @cached_property
    def cells(self) -> Cells:
        """All cells, keyed without a row part."""
        keys = np.repeat(self.groups.code << BUCKET_BITS, self.groups.size) | self.buckets
        return Cells(keys, self.counts, self.sums)


def unpack(states: Sequence[bytes], wanted: NDArray[np.bool_] | None = None, *, users: bool = True) -> Rows:
    """Read stored rows. Raises StateError, naming which of them, when one cannot be read.

    wanted: bool[64], the metric ids whose cells are read; None: all. users: without them, rows have none.
    """
    _check(states)
    try:
        return _Reader(states).read(wanted, users)
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        raise StateError(f"summary state does not follow format version {VERSION}: {error}") from error


def _check(states: Sequence[bytes]) -> None:
    least = HEAD.size + USERS.size + CRC.size
    for i, state in enumerate(states):
        if crc32(state) == _WHOLE and len(state) >= least and state[0] == VERSION:
            continue
        if len(state) < least:
            raise StateError(f"summary state {i} is cut short: {len(state)} bytes; restore the row or replay it")
        if state[0] != VERSION:
            raise StateError(
                f"summary state {i} has format version {state[0]}, this driftline reads {VERSION}; it was written by "
                "a newer driftline (upgrade this one) or is damaged"
            )
        found, (stored,) = crc32(state[: -CRC.size]), CRC.unpack_from(state, len(state) - CRC.size)
        raise StateError(
            f"summary state {i} is damaged: crc32 {found:08x}, stored {stored:08x}; restore the row or replay it"
        )


@lru_cache(maxsize=4096)
def _labels(raw: bytes) -> Labels:
    at = 0
    out = []
    for _ in FAMILIES:
        names = []
        count = raw[at]
        at += 1
        for _ in range(count):
            length = int.from_bytes(raw[at : at + 2], "little")
            names.append(raw[at + 2 : at + 2 + length].decode())
            at += 2 + length
        out.append(tuple(names))
    return tuple(out)


def _ranges(starts: Int64, sizes: Int64) -> Int64:
    """start, start + 1, … (``size`` of them) for each range, one range after another."""
    ends = np.cumsum(sizes)
    out = np.arange(int(ends[-1]) if ends.size else 0)
    out += np.repeat(starts - (ends - sizes), sizes)
    return out


def _odd(values: Bytes | Int64, sizes: Int64) -> Int64:
    """How many of each group's values are odd."""
    # Running sums modulo 2**16, which no group has cells for: a narrow sum takes a fraction of the time.
    so_far = np.zeros(values.size + 1, dtype=np.uint16)
    np.cumsum((values & 1).astype(np.uint16), dtype=np.uint16, out=so_far[1:])
    until = np.zeros(sizes.size + 1, dtype=np.int64)
    np.cumsum(sizes, out=until[1:])
    return np.diff(so_far[until]).astype(np.int64)


class _Reader:
    """``at``: where each row's next section begins."""

    def __init__(self, states: Sequence[bytes]) -> None:
        self.states = states
        self.lengths = np.fromiter(map(len, states), np.int64, len(states))
        self.ends = np.cumsum(self.lengths)
        self.starts = self.ends - self.lengths
        joined = self.joined = b"".join([*states, _TAIL])
        self.bytes: Bytes = np.frombuffer(joined, np.uint8)
        # Eight bytes from any position on, which need not be aligned.
        self.words = np.ndarray((len(joined) - 7,), dtype="<u8", buffer=joined, strides=(1,))
        self.at = self.starts

    def word(self, at: Int64) -> Int64:
        return self.words[at].view(np.int64)

    def read(self, wanted: NDArray[np.bool_] | None, with_users: bool) -> Rows:
        rows = len(self.states)
        head = self.word(self.starts)
        n_groups, listed = head >> 8 & 0xFFFF, head >> 24 & 0xFFFFFFFF
        labels = [
            _labels(state[HEAD.size : HEAD.size + length])
            for state, length in zip(self.states, listed.tolist(), strict=True)
        ]
        self.at = self.starts + HEAD.size + listed
        self.first = np.arange(rows + 1)
        table = self.take(8 * n_groups).view("<i8")
        self.first = np.concatenate(([0], np.cumsum(n_groups)))
        size = table >> 16 & 0xFFFF
        fields = Groups(table & 0xFFFF, size, np.repeat(np.arange(rows), n_groups))
        widths = (table >> 48 & 0xFFFF).astype(np.uint16)

        keep = None if wanted is None else wanted[fields.code >> (METRIC_SHIFT - BUCKET_BITS) & 63]
        few = None
        if keep is not None and 3 * int(size[keep].sum()) < int(size.sum()):
            few = np.flatnonzero(keep)  # read alone; else all cells are read, which is faster a cell
        delta_width, count_width, sum_width = ((widths >> shift & 15).astype(np.uint8) for shift in (0, 4, 8))
        at = self.at
        delta = self.planes(delta_width, size, few)
        odd: Bytes | Int64 = delta
        if few is not None:  # the planes of counts are cut by how many cells of every group have one
            after, self.at = self.at, at
            odd = self.take(size * (delta_width > 0))
            self.at = after
        many_size = _odd(odd, size)
        many = np.flatnonzero(delta & 1)
        counts = np.ones(delta.size, dtype=np.int64)
        counts[many] = 2 + self.planes(count_width, many_size, few)
        sums = self.planes(sum_width, size, few)

        groups = fields
        if keep is not None:
            groups = Groups(fields.code[keep], size[keep], fields.row[keep])
            table = table[keep]
        if few is None and keep is not None:
            cells = np.repeat(keep, size)
            delta, counts, sums = delta[cells], counts[cells], sums[cells]
        # Running sums of the steps, restarted at every group's first bucket.
        starts = np.cumsum(groups.size) - groups.size
        first = table >> 32 & 0xFFFF
        delta >>= 1
        delta += 1
        delta[starts] = first
        bucket = np.cumsum(delta)
        bucket -= np.repeat(bucket[starts] - first, groups.size)
        smallest = BASE[np.repeat(BASE_ROW[groups.code >> (METRIC_SHIFT - BUCKET_BITS) & 63], groups.size) | bucket]
        smallest *= counts
        sums += smallest
        sizes = np.zeros(rows, dtype=np.int64)
        np.add.at(sizes, groups.row, groups.size)
        return Rows(groups, bucket, counts, sums, sizes, labels, self.users(with_users))

    def _advance(self, sizes: Int64) -> tuple[Int64, Int64]:
        """Pass over the next ``sizes`` bytes of every group; returns where each row's and each group's begin, the
        latter counted from the first group of all."""
        until = np.zeros(sizes.size + 1, dtype=np.int64)
        np.cumsum(sizes, out=until[1:])
        begin = self.at
        self.at = begin + np.diff(until[self.first])
        over = np.flatnonzero(self.at > self.ends - CRC.size)
        if over.size:
            raise ValueError(f"row {over[0]} ends within a section")
        return begin, until

    def take(self, sizes: Int64) -> Bytes:
        """The next ``sizes`` bytes of every group, those of a row together."""
        begin, _ = self._advance(sizes)
        joined = self.joined
        spans = zip(begin.tolist(), self.at.tolist(), strict=True)
        return np.frombuffer(b"".join([joined[a:b] for a, b in spans]), np.uint8)

    def planes(self, widths: Bytes, sizes: Int64, few: Int64 | None = None) -> Int64:
        """Values written by groups: of all of them, or of the ``few`` alone. widths, sizes: per group."""
        width, size = (widths, sizes) if few is None else (widths[few], sizes[few])
        of_cell = np.repeat(width, size)
        most = int(widths.max(initial=0))
        held = 1 << max(0, most - 1).bit_length()  # 1, 2, 4 or 8 bytes
        out = np.zeros((of_cell.size, held), dtype=np.uint8)
        for j in range(most):
            wide = sizes * (widths > j)
            if few is None:
                plane = self.take(wide)
            else:
                begin, until = self._advance(wide)
                some = few[width > j]
                row = np.searchsorted(self.first, some, side="right") - 1
                plane = self.bytes[_ranges(begin[row] + until[some] - until[self.first[row]], sizes[some])]
            if plane.size == of_cell.size:
                out[:, j] = plane
            else:
                out[of_cell > j, j] = plane
        return out.view(f"<u{held}").ravel().astype(np.int64)

    def users(self, wanted: bool) -> UsersOfRows:
        rows = len(self.states)
        head = self.word(self.at)
        sizes = head & 0xFFFFFFFF
        widths = np.stack([head >> (32 + 8 * j) & 0xFF for j in range(4)]).astype(np.uint8)
        errors = np.stack([self.word(self.at + 8 + 8 * j) for j in range(4)], axis=1)
        self.at = self.at + USERS.size
        left = self.ends - CRC.size - (self.at + 8 * sizes + (sizes * widths).sum(axis=0))
        wrong = np.flatnonzero(left)
        if wrong.size:
            raise ValueError(f"row {wrong[0]} has {left[wrong[0]]} bytes left over")
        if not wanted:
            none = np.zeros(rows, np.int64)
            return UsersOfRows(none, np.empty(0, np.uint64), np.empty((0, 4), np.int64), np.zeros((rows, 4), np.int64))
        self.first = np.arange(rows + 1)
        keys = self.take(8 * sizes).view("<u8").astype(np.uint64)
        weights = np.empty((keys.size, 4), dtype=np.int64)
        for j in range(4):
            weights[:, j] = self.planes(widths[j], sizes, np.arange(rows))
        return UsersOfRows(sizes, keys, weights, errors)
