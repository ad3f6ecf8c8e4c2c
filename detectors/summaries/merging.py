"""Sums of many stored rows, by key, in bounded memory.

Rows are read in portions of `_PORTION_BYTES` whatever their keys, so that neither many small groups nor one large one
takes longer than its cells do. Everything is added exactly and users are kept however many they are until the end, so
that the sums do not depend on the order of the rows nor on where they were cut.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import cells, heavy_hitters
from detectors.summaries.cells import Cells
from detectors.summaries.heavy_hitters import Users
from detectors.summaries.label_merge import label_mapping, relabelled, relabelled_codes, united
from detectors.summaries.metrics import BUCKET_BITS, CELL_BITS, FAMILIES, THINNED_SHIFT, metric
from detectors.summaries.packing import Labels
from detectors.summaries.unpacking import Rows, unpack

Int64 = NDArray[np.int64]
K = TypeVar("K", bound=Hashable)

_HELD_BYTES = 24 << 20  # rows that wait to be read together, the more of a key the better
_PORTION_BYTES = 512 << 10  # rows read together: their cells stay in the cache
_FEW = 8  # sums of one key that are kept apart


@dataclass(frozen=True, slots=True)
class Selection:
    """What is read of stored rows: a sum of it takes a fraction of the time and memory, and can be asked for no more.

    metrics: names (KeyError for an unknown one). thinned: whether session-thinned events can be told from the others.
    users: whether heavy hitters are read.
    """

    metrics: frozenset[str]
    thinned: bool = True
    users: bool = True

    def mask(self) -> NDArray[np.bool_]:
        """bool[64]: the metric ids that are read."""
        out = np.zeros(64, dtype=np.bool_)
        out[[metric(name).id for name in self.metrics]] = True
        return out

    def families(self) -> tuple[bool, ...]:
        """Of each family of labels, whether a metric that is read has it."""
        found = {metric(name).family for name in self.metrics}
        return tuple(family in found for family in FAMILIES)


class Part(NamedTuple):
    """A sum, with all of its users (even beyond CAPACITY)."""

    cells: Cells
    labels: Labels
    users: Users


class Merger(Generic[K]):
    """Sums of stored rows by key. ``add`` them in any order, then ``finish``. Raises StateError for a row that cannot
    be read."""

    def __init__(self, selection: Selection | None = None) -> None:
        self._families = None if selection is None else selection.families()
        self._mask = None if selection is None else selection.mask()
        self._fold = selection is not None and not selection.thinned
        self._users = selection is None or selection.users
        self._waiting: dict[K, list[bytes]] = {}
        self._bytes = 0
        self._sums: dict[K, list[Part]] = {}

    def add(self, key: K, state: bytes) -> None:
        self._waiting.setdefault(key, []).append(state)
        self._bytes += len(state)
        if self._bytes >= _HELD_BYTES:
            self._read()

    def finish(self) -> dict[K, Part]:
        """The sum of every key, in the order in which keys came."""
        self._read()
        found = {key: combined(parts) for key, parts in self._sums.items()}
        self._sums = {}
        return found

    def _read(self) -> None:
        keys = list(self._waiting)
        states = [state for of_key in self._waiting.values() for state in of_key]
        key_of = np.repeat(np.arange(len(keys)), [len(of_key) for of_key in self._waiting.values()])
        self._waiting, self._bytes = {}, 0
        for key in keys:
            self._sums.setdefault(key, [])
        until = np.cumsum(np.fromiter(map(len, states), np.int64, len(states)))
        start = 0
        while start < len(states):
            before = int(until[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(until, before + _PORTION_BYTES, side="right")))
            rows = unpack(states[start:stop], self._mask, users=self._users)
            members, group_of = np.unique(key_of[start:stop], return_inverse=True)
            if self._families is not None:
                rows.labels = [_of_families(labels, self._families) for labels in rows.labels]
            sums = row_sums(rows, group_of, members.size, self._fold)
            for i, part in zip(members.tolist(), sums, strict=True):
                self._sums[keys[i]].append(part)
            start = stop
        for key in keys:
            if len(self._sums[key]) >= _FEW:
                self._sums[key] = [combined(self._sums[key])]


@lru_cache(maxsize=4096)
def _of_families(labels: Labels, read: tuple[bool, ...]) -> Labels:
    return tuple(names if wanted else () for names, wanted in zip(labels, read, strict=True))


def merged_by(rows: Iterable[tuple[K, bytes]], selection: Selection | None = None) -> dict[K, Part]:
    """The sum of the stored rows of every key, in the order in which keys came."""
    merger: Merger[K] = Merger(selection)
    for key, state in rows:
        merger.add(key, state)
    return merger.finish()


def combined(parts: list[Part]) -> Part:
    """The sum of at least one part."""
    if len(parts) == 1:
        return parts[0]
    labels = united(list({part.labels for part in parts}))
    return Part(
        cells.add(*(relabelled(part.cells, part.labels, labels) for part in parts)),
        labels,
        heavy_hitters.summed_all([part.users for part in parts]),
    )


def row_sums(rows: Rows, group_of: Int64, groups: int, fold: bool = False) -> list[Part]:
    """The sum of the rows of each group. group_of: int64[r], ascending; fold: add thinned events to the others."""
    ends = np.searchsorted(group_of, np.arange(groups), side="right")
    starts = np.concatenate(([0], ends[:-1]))
    code, labels = _relabelled(rows, group_of, starts.tolist(), ends.tolist())
    if fold:
        code &= ~(1 << (THINNED_SHIFT - BUCKET_BITS))
    code |= group_of[rows.groups.row] << (CELL_BITS - BUCKET_BITS)
    keys = np.repeat(code << BUCKET_BITS, rows.groups.size)
    keys |= rows.buckets
    run = cells.reduced(keys, rows.counts, rows.sums, key_bits=CELL_BITS + groups.bit_length())
    cuts = np.searchsorted(run.keys, np.arange(groups + 1) << CELL_BITS).tolist()
    keys = run.keys & ((1 << CELL_BITS) - 1)
    users = heavy_hitters.summed_groups(rows.users, group_of, groups)
    return [
        Part(Cells(keys[low:high], run.counts[low:high], run.sums[low:high]), names, of_group)
        for low, high, names, of_group in zip(cuts[:-1], cuts[1:], labels, users, strict=True)
    ]


def _relabelled(rows: Rows, group_of: Int64, starts: list[int], ends: list[int]) -> tuple[Int64, list[Labels]]:
    """The codes of the rows' groups of cells in labels that all rows of a group share, and these."""
    labels = [united(list(set(rows.labels[a:b]))) for a, b in zip(starts, ends, strict=True)]
    pairs = [(old, labels[group]) for old, group in zip(rows.labels, group_of.tolist(), strict=True)]
    distinct = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
    if all(old == new for old, new in distinct):
        return rows.groups.code.copy(), labels
    mapping = np.concatenate([label_mapping(old, new) for old, new in distinct])
    row = np.array([distinct[pair] for pair in pairs]) * (len(FAMILIES) + 1)
    return relabelled_codes(rows.groups.code, mapping, row[rows.groups.row]), labels
