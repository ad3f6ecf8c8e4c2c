"""Reading stored summary rows (the format is described in `packing`), many at once."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from detectors.summaries.cells import Cells
from detectors.summaries.errors import StateError
from detectors.summaries.heavy_hitters import UsersOfRows
from detectors.summaries.metrics import BUCKET_BITS, FAMILIES, METRIC_SHIFT
from detectors.summaries.packing import BASE, BASE_ROW, CRC, HEAD, USERS, VERSION, Labels

Int64 = NDArray[np.int64]


@dataclass(slots=True)
class Rows:
    """Several rows, one after another: cells (keys without a row part), `sizes` int64[r] of them per row."""

    cells: Cells
    sizes: Int64
    labels: list[Labels]
    users: UsersOfRows


def unpack(states: Sequence[bytes]) -> Rows:
    """Read stored rows. Raises StateError, naming which of them, when one cannot be read."""
    bodies = [_checked(state, i) for i, state in enumerate(states)]
    try:
        return _Reader(bodies).read()
    except (IndexError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise StateError(f"summary state does not follow format version {VERSION}: {error}") from error


def _checked(state: bytes, index: int) -> bytes:
    """The state without its checksum."""
    if len(state) < HEAD.size + USERS.size + CRC.size:
        raise StateError(f"summary state {index} is cut short: {len(state)} bytes; restore the row or replay it")
    if state[0] != VERSION:
        raise StateError(
            f"summary state {index} has format version {state[0]}, this driftline reads {VERSION}; it was written by "
            "a newer driftline (upgrade this one) or is damaged"
        )
    body, (stored,) = state[: -CRC.size], CRC.unpack_from(state, len(state) - CRC.size)
    if crc32(body) != stored:
        raise StateError(
            f"summary state {index} is damaged: crc32 {crc32(body):08x}, stored {stored:08x}; "
            "restore the row or replay it"
        )
    return body


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


class _Reader:
    """Reads the same section of every row at once; `at` is where each row's next section begins."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies = bodies
        self.at = [0] * len(bodies)

    def slices(self, lengths: Sequence[int]) -> bytes:
        out = []
        for i, (body, at, length) in enumerate(zip(self.bodies, self.at, lengths, strict=True)):
            if length:
                out.append(body[at : at + length])
                self.at[i] = at + length
        return b"".join(out)

    def planes(self, widths: Int64, sizes: Int64, row_of: Int64) -> Int64:
        """Values written by groups; widths, sizes, row_of: per group."""
        out = np.zeros((int(sizes.sum()), 8), dtype=np.uint8)
        for j in range(int(widths.max(initial=0))):
            wide = widths > j
            lengths = np.zeros(len(self.bodies), dtype=np.int64)
            np.add.at(lengths, row_of, np.where(wide, sizes, 0))
            data = np.frombuffer(self.slices(lengths.tolist()), dtype=np.uint8)
            plane = out[:, j]
            if wide.all():
                plane[:] = data
            else:
                plane[np.repeat(wide, sizes)] = data
        return out.view("<i8").ravel()

    def read(self) -> Rows:
        heads = [HEAD.unpack_from(body) for body in self.bodies]
        labels = []
        for i, (_, _, length) in enumerate(heads):
            labels.append(_labels(self.bodies[i][HEAD.size : HEAD.size + length]))
            self.at[i] = HEAD.size + length
        n_groups = np.array([groups for _, groups, _ in heads], dtype=np.int64)
        table = np.frombuffer(self.slices((8 * n_groups).tolist()), dtype="<u2").reshape(-1, 4).astype(np.int64)
        code, size, first, widths = np.ascontiguousarray(table.T)
        row_of = np.repeat(np.arange(n_groups.size), n_groups)
        starts = np.cumsum(size) - size

        delta = self.planes(widths & 15, size, row_of)
        many = (delta & 1).astype(np.bool_)
        before = np.concatenate(([0], np.cumsum(many)))
        counts = np.ones(delta.size, dtype=np.int64)
        counts[many] = 2 + self.planes(widths >> 4 & 15, before[starts + size] - before[starts], row_of)
        # Running sums of the steps, restarted at every group's first bucket.
        step = (delta >> 1) + 1
        step[starts] = first
        running = np.cumsum(step)
        bucket = running - np.repeat(running[starts] - first, size)
        base_row = BASE_ROW[code >> (METRIC_SHIFT - BUCKET_BITS)]
        sums = self.planes(widths >> 8 & 15, size, row_of) + counts * BASE[np.repeat(base_row, size) | bucket]
        keys = np.repeat(code << BUCKET_BITS, size) | bucket
        sizes = np.zeros(n_groups.size, dtype=np.int64)
        np.add.at(sizes, row_of, size)
        return Rows(Cells(keys, counts, sums), sizes, labels, self.users())

    def users(self) -> UsersOfRows:
        heads = [USERS.unpack_from(body, at) for body, at in zip(self.bodies, self.at, strict=True)]
        self.at = [at + USERS.size for at in self.at]
        fixed = np.array(heads, dtype=np.int64).reshape(-1, 9)
        sizes = np.ascontiguousarray(fixed[:, 0])
        keys = np.frombuffer(self.slices((8 * sizes).tolist()), dtype="<u8").astype(np.uint64)
        weights = np.empty((keys.size, 4), dtype=np.int64)
        for j in range(4):
            weights[:, j] = self.planes(np.ascontiguousarray(fixed[:, 1 + j]), sizes, np.arange(sizes.size))
        for i, (body, at) in enumerate(zip(self.bodies, self.at, strict=True)):
            if at != len(body):
                raise ValueError(f"row {i} has {len(body) - at} bytes left over")
        return UsersOfRows(sizes, keys, weights, fixed[:, 5:])
