"""Many open summary rows, updated together from batches of events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import buckets, cells, heavy_hitters, packing
from detectors.summaries.cells import Cells
from detectors.summaries.columns import EventColumns, Labelled
from detectors.summaries.labels import LabelCodes
from detectors.summaries.metrics import (
    BUCKET_BITS,
    CELL_BITS,
    FAMILIES,
    JOINT_LATENCY_BITS,
    LINEAR_STEP,
    MAX_CONCURRENCY_CODE,
    METRIC_SHIFT,
    METRICS,
    THINNED_SHIFT,
    Family,
)
from detectors.summaries.shard import Shard
from detectors.summaries.summary import Summary
from detectors.summaries.tallies import Tallies

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_SHARD_BITS = 6  # 64 rows are consolidated together: small enough for the cache, and for peak memory
_PENDING_CELLS = 1 << 20  # events' cells kept before they are consolidated: 16 MB
_CHUNK = 1 << 15  # events taken at once: a column is 256 kB

_COLUMNS = tuple(
    METRICS[name]
    for name in (
        "cost",
        "latency_first_token",
        "input_tokens",
        "output_tokens",
        "cached_input_tokens",
        "reasoning_tokens",
        "image_tokens",
        "audio_tokens",
        "concurrency",
        "input_bytes",
        "retries",
    )
)


def _key(name: str) -> int:
    return METRICS[name].id << METRIC_SHIFT


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
        self._keys: list[Int64] = []
        self._values: list[Int64] = []
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
        for start in range(0, cols.n, _CHUNK):
            self._count_columns(slots, cols, slice(start, min(start + _CHUNK, cols.n)))
        known = np.flatnonzero(cols.user)
        if known.size:
            self._users.append((slots[known], cols.user[known], cols.cost[known], cols.thinned[known]))
        if self._pending >= _PENDING_CELLS:
            self._consolidate()

    def state(self, row: int) -> bytes:
        """Stored form of an open row (see `Summary.from_state`). KeyError when it is not open."""
        return self.states([row])[0]

    def states(self, rows: Sequence[int]) -> list[bytes]:
        """Stored forms of open rows, in the order asked for: far cheaper than one by one."""
        self._consolidate()
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
        run, labels, users = packing.unpack(state)
        slot = self._open(row)
        for family, names in zip(self._labels, labels, strict=True):
            family.load(slot, names)
        events = run.keys >> METRIC_SHIFT == METRICS["events"].id
        self._tallies.load_events(slot, run.keys[events] >> THINNED_SHIFT & 1, run.counts[events])
        shard = self._shards[slot >> _SHARD_BITS]
        shard.add(Cells(run.keys | slot << CELL_BITS, run.counts, run.sums))
        shard.set_users(slot, users)

    def drop(self, rows: Iterable[int]) -> None:
        """Close rows and free their memory. Rows that are not open are passed over."""
        slots = np.array([self._slot_of.pop(row) for row in rows if row in self._slot_of], dtype=np.int64)
        if slots.size == 0:
            return
        self._consolidate()
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

    def _append(self, keys: Int64, values: Int64) -> None:
        self._keys.append(keys)
        self._values.append(values)
        self._pending += keys.size

    def _count_columns(self, slots: Int64, cols: EventColumns, at: slice) -> None:
        """Histograms and joint cells of single-valued columns."""
        row = slots[at] << CELL_BITS
        which = row | cols.thinned[at].astype(np.int64) << THINNED_SHIFT
        for m in _COLUMNS:
            column: Int64 = getattr(cols, m.name)[at]
            self._append_column(m.id, column, which)
        latency, timeout = cols.latency_total[at], cols.latency_timeout[at]
        if timeout.any():
            self._append_column(METRICS["latency_timeout"].id, np.where(timeout, latency, -1), which)
            latency = np.where(timeout, -1, latency)
        self._append_column(METRICS["latency_total"].id, latency, which)
        for name in ("context_used", "confidence"):
            column = getattr(cols, name)[at]
            present = np.flatnonzero(column >= 0)
            if present.size:
                values = column[present]
                self._append(which[present] | _key(name) | values // LINEAR_STEP, values)
        concurrency = cols.concurrency[at]
        both = np.flatnonzero((latency >= 0) & (concurrency >= 0))
        if both.size:
            values = buckets.clipped(latency[both])
            fine = buckets.coarser(buckets.codes(values), buckets.JOINT_SCALE)
            coarse = buckets.coarser(buckets.codes(buckets.clipped(concurrency[both])), buckets.CONCURRENCY_SCALE)
            np.minimum(coarse, MAX_CONCURRENCY_CODE, out=coarse)
            key = row[both] | _key("latency_by_concurrency") | coarse << JOINT_LATENCY_BITS | fine
            self._append(key, values)
        size, cost = cols.input_bytes[at], cols.cost[at]
        both = np.flatnonzero((size >= 0) & (cost >= 0))
        if both.size:
            code = buckets.coarser(buckets.codes(buckets.clipped(size[both])), buckets.JOINT_SCALE)
            self._append(row[both] | _key("cost_by_input_size") | code, buckets.clipped(cost[both]))

    def _append_column(self, metric_id: int, column: Int64, which: Int64) -> None:
        present = np.flatnonzero(column >= 0)
        if present.size:
            values = buckets.clipped(column[present])
            self._append(which[present] | metric_id << METRIC_SHIFT | buckets.codes(values), values)

    def _count_stages(self, slots: Int64, cols: EventColumns) -> None:
        """Stage latencies: marginal, and within buckets of total latency. Those of timeouts are left out."""
        stages = cols.stages
        kept = np.flatnonzero((stages.value >= 0) & ~cols.latency_timeout[stages.event])
        if kept.size == 0:
            return
        event = stages.event[kept].astype(np.int64)
        values = buckets.clipped(stages.value[kept])
        label = self._labels[FAMILIES.index("stage")].codes(
            slots[event], stages.code[kept].astype(np.int64), stages.names
        )
        row = slots[event] << CELL_BITS | label << BUCKET_BITS
        thinned = cols.thinned[event].astype(np.int64) << THINNED_SHIFT
        for start in range(0, kept.size, _CHUNK):
            at = slice(start, start + _CHUNK)
            self._append(row[at] | thinned[at] | _key("latency_stage") | buckets.codes(values[at]), values[at])
        latency = cols.latency_total
        code = np.full(cols.n, -1, dtype=np.int64)
        present = np.flatnonzero(latency >= 0)
        code[present] = buckets.coarser(buckets.codes(buckets.clipped(latency[present])), buckets.JOINT_SCALE)
        code = code[event]
        both = np.flatnonzero(code >= 0)
        if both.size:
            self._append(row[both] | _key("stage_by_latency") | code[both], values[both])

    # Consolidation

    def _consolidate(self) -> None:
        """Bring everything pending into the shards."""
        run = self._take_cells()
        few = self._tallies.take()
        if run.keys.size or few.keys.size:
            edges = np.arange(1, len(self._shards)) << (_SHARD_BITS + CELL_BITS)
            cuts, few_cuts = np.searchsorted(run.keys, edges), np.searchsorted(few.keys, edges)
            parts = zip(
                zip(*(np.split(a, cuts) for a in run), strict=True),
                zip(*(np.split(a, few_cuts) for a in few), strict=True),
                strict=True,
            )
            for shard, (a, b) in zip(self._shards, parts, strict=True):
                shard.add(Cells(*a), Cells(*b))
        self._give_users()

    def _take_cells(self) -> Cells:
        if not self._keys:
            return cells.empty()
        keys, values = np.concatenate(self._keys), np.concatenate(self._values)
        self._keys, self._values, self._pending = [], [], 0
        return cells.of_events(keys, values, CELL_BITS + self._capacity.bit_length())

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
