"""Many open summary rows, updated together from batches of events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import counting, heavy_hitters
from detectors.summaries.cells import Cells
from detectors.summaries.columns import EventColumns, Labelled
from detectors.summaries.heavy_hitters import Users
from detectors.summaries.labels import LabelCodes
from detectors.summaries.metrics import (
    CELL_BITS,
    FAMILIES,
    METRIC_SHIFT,
    METRICS,
    THINNED_SHIFT,
    Family,
)
from detectors.summaries.shard import Shard
from detectors.summaries.summary import Summary
from detectors.summaries.tallies import Tallies
from detectors.summaries.unpacking import unpack

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_SHARD_BITS = 6  # 64 rows are consolidated together: small enough for the cache, and for peak memory
_PENDING_CELLS = 1 << 19  # events' cells kept before they are consolidated: 12 MB; twice as many are no faster


class SummaryTable:
    """Open summary rows, each named by a non-negative integer that the caller chooses.

    ``update`` takes events of any rows in offset order. What a row's state will be depends on its events and their
    order alone, never on how they were cut into calls, nor on the other rows.
    """

    def __init__(self) -> None:
        self._slot_of: dict[int, int] = {}
        self._free: list[int] = []
        self._capacity = 0
        self._shards: list[Shard] = []
        self._labels = [LabelCodes(0) for _ in FAMILIES]
        self._tallies = Tallies()
        self._runs: list[Cells] = []
        self._pending = 0
        self._users: list[tuple[Int64, NDArray[np.uint64], Int64, Bool]] = []  # slot, user, cost, thinned

    def __len__(self) -> int:
        return len(self._slot_of)

    def row_ids(self) -> list[int]:
        """Open rows, ascending."""
        return sorted(self._slot_of)

    def events(self, row: int, thinned: bool = False) -> int:
        """Events counted in an open row; with `thinned`, those that represent their session. 0 for other rows."""
        slot = self._slot_of.get(row)
        if slot is None:
            return 0
        return self._tallies.events(slot, thinned)

    def update(self, rows: Int64, cols: EventColumns) -> None:
        """Add a batch. rows: int64[cols.n], the row of each event; rows not yet open are opened."""
        if rows.shape != (cols.n,):
            raise ValueError(f"rows has shape {rows.shape}, expected ({cols.n},): one row id per event")
        if cols.n == 0:
            return
        distinct, inverse = np.unique(rows, return_inverse=True)
        slots = np.array([self._open(row) for row in distinct.tolist()], dtype=np.int64)[inverse]
        self._tallies.count_events(slots, cols)
        for family in ("tier", "error_type"):
            self._tallies.count_labelled(family, slots, cols, *self._codes(family, slots, getattr(cols, family)))
        self._tallies.count_models(slots, cols, *self._codes("model", slots, cols.model))
        self._count_stages(slots, cols)
        self._add_runs(counting.columns(slots, cols, self._key_bits()))
        known = np.flatnonzero(cols.user)
        if known.size:
            self._users.append((slots[known], cols.user[known], cols.cost[known], cols.thinned[known]))
        if self._pending >= _PENDING_CELLS:
            self.settle()

    def state(self, row: int) -> bytes:
        """Stored form of an open row (see `Summary.from_state`). KeyError when it is not open."""
        return self.states([row])[0]

    def states(self, rows: Sequence[int]) -> list[bytes]:
        """Stored forms of open rows, in the order asked for: far cheaper than one by one."""
        self.settle()
        slots = [self._slot(row) for row in rows]
        by_shard: dict[int, list[int]] = {}
        for slot in sorted(set(slots)):
            by_shard.setdefault(slot >> _SHARD_BITS, []).append(slot)
        out: dict[int, bytes] = {}
        for shard, members in by_shard.items():
            names = [tuple(family.names[slot] for family in self._labels) for slot in members]
            packed = self._shards[shard].states(members, names)
            out.update(zip(members, packed, strict=True))
        return [out[slot] for slot in slots]

    def summary(self, row: int) -> Summary:
        """An open row as it stands. KeyError when it is not open."""
        return Summary.from_state(self.state(row))

    def load(self, row: int, state: bytes) -> None:
        """Open a row from its stored form, to be continued. ValueError when it is open already, StateError when the
        state cannot be read."""
        if row in self._slot_of:
            raise ValueError(f"row {row} is open already; drop it before loading it")
        stored = unpack([state])
        run, labels, users = stored.cells, stored.labels[0], stored.users
        slot = self._open(row)
        for family, names in zip(self._labels, labels, strict=True):
            family.load(slot, names)
        events = run.keys >> METRIC_SHIFT == METRICS["events"].id
        self._tallies.load_events(slot, run.keys[events] >> THINNED_SHIFT & 1, run.counts[events])
        shard = self._shards[slot >> _SHARD_BITS]
        shard.add(Cells(run.keys | slot << CELL_BITS, run.counts, run.sums))
        shard.set_users(slot, Users(users.keys, users.weights, users.errors[0]))

    def drop(self, rows: Iterable[int]) -> None:
        """Close rows and free their memory. Rows that are not open are passed over."""
        slots = np.array([self._slot_of.pop(row) for row in rows if row in self._slot_of], dtype=np.int64)
        if slots.size == 0:
            return
        self.settle()
        for shard in np.unique(slots >> _SHARD_BITS).tolist():
            self._shards[shard].drop(slots[slots >> _SHARD_BITS == shard])
        for family in self._labels:
            family.clear(slots)
        self._tallies.clear(slots)
        self._free.extend(slots.tolist())
        self._free.sort(reverse=True)  # low slots first, so that few shards are in use

    # Rows and slots

    def _slot(self, row: int) -> int:
        try:
            return self._slot_of[row]
        except KeyError:
            raise KeyError(f"row {row} is not open; {len(self._slot_of)} rows are") from None

    def _open(self, row: int) -> int:
        slot = self._slot_of.get(row)
        if slot is None:
            if not self._free:
                self._grow()
            slot = self._slot_of[row] = self._free.pop()
        return slot

    def _grow(self) -> None:
        size = max(1 << _SHARD_BITS, 2 * self._capacity)
        self._free.extend(range(size - 1, self._capacity - 1, -1))
        more = size - self._capacity
        self._shards.extend(Shard() for _ in range(more >> _SHARD_BITS))
        for family in self._labels:
            family.grow(size)
        self._tallies.grow(size)
        self._capacity = size

    # Counting

    def _codes(self, family: Family, slots: Int64, labelled: Labelled) -> tuple[Int64, Int64]:
        """Events that have a label, and its row-local code."""
        at = np.flatnonzero(labelled.codes >= 0)
        if at.size == 0:
            return at, at
        names = labelled.codes[at].astype(np.int64)
        return at, self._labels[FAMILIES.index(family)].codes(slots[at], names, labelled.names)

    def _count_stages(self, slots: Int64, cols: EventColumns) -> None:
        """Stage latencies; those of timeouts are left out."""
        given = cols.stages
        kept = np.flatnonzero((given.value >= 0) & ~cols.latency_timeout[given.event])
        if kept.size == 0:
            return
        rows = slots[given.event[kept]]
        codes = self._labels[FAMILIES.index("stage")].codes(rows, given.code[kept].astype(np.int64), given.names)
        self._add_runs(counting.stages(rows, codes, kept, cols, self._key_bits()))

    def _key_bits(self) -> int:
        return CELL_BITS + self._capacity.bit_length()

    def _add_runs(self, runs: Iterable[Cells]) -> None:
        """Runs of one call hold ascending rows: cut at shards, they are nearly in order."""
        for run in runs:
            self._runs.append(run)
            self._pending += run.keys.size

    # Settling

    def settle(self) -> None:
        """Add everything pending to the rows: done when states are asked for, and when much is pending."""
        runs = [*self._runs, self._tallies.take()]
        self._runs, self._pending = [], 0
        edges = np.arange(len(self._shards) + 1) << (_SHARD_BITS + CELL_BITS)
        cuts = [np.searchsorted(run.keys, edges).tolist() for run in runs]
        for i, shard in enumerate(self._shards):
            parts = [
                Cells(run.keys[cut[i] : cut[i + 1]], run.counts[cut[i] : cut[i + 1]], run.sums[cut[i] : cut[i + 1]])
                for run, cut in zip(runs, cuts, strict=True)
                if cut[i] < cut[i + 1]
            ]
            if parts:
                shard.add(*parts)
        self._sort_labels()
        self._give_users()

    def _sort_labels(self) -> None:
        """Rows that admitted a label since they were last settled are numbered in the order of stored labels."""
        for family, codes_of in zip(FAMILIES, self._labels, strict=True):
            slots, codes = codes_of.sort()
            metric_ids = [m.id for m in METRICS.values() if m.family == family]
            shard_of = np.array(slots, dtype=np.int64) >> _SHARD_BITS
            for i in np.unique(shard_of).tolist():
                a, b = np.searchsorted(shard_of, (i, i + 1)).tolist()
                self._shards[i].renumber(slots[a:b], metric_ids, codes[a:b])

    def _give_users(self) -> None:
        if not self._users:
            return
        slots, users, cost, thinned = (np.concatenate(column) for column in zip(*self._users, strict=True))
        self._users = []
        weights = heavy_hitters.event_weights(cost, thinned)
        shard_of = slots >> _SHARD_BITS
        order = np.argsort(shard_of.astype(np.uint16), kind="stable")  # offset order within a shard
        cuts = np.searchsorted(shard_of[order], np.arange(1, len(self._shards)))
        for shard, at in zip(self._shards, np.split(order, cuts), strict=True):
            if at.size:
                shard.add_users(slots[at], users[at], weights[at])
