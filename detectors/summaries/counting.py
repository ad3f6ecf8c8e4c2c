"""Events to cells: histograms and joint sums of a batch.

Events are taken in the order of their rows, a few thousand at a time: what is sorted then fits in the cache, and
the runs that come out follow one another, which makes adding them up linear.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import buckets, cells
from detectors.summaries.cells import Cells
from detectors.summaries.columns import EventColumns
from detectors.summaries.metrics import (
    BUCKET_BITS,
    CELL_BITS,
    JOINT_LATENCY_BITS,
    LINEAR_STEP,
    MAX_CONCURRENCY_CODE,
    MAX_LINEAR,
    METRIC_SHIFT,
    METRICS,
    THINNED_SHIFT,
)

Int64 = NDArray[np.int64]

_CHUNK_CELLS = 1 << 17  # 1 MB of keys

_PLAIN = tuple(
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
_LINEAR = (METRICS["context_used"], METRICS["confidence"])
_CELLS_PER_EVENT = len(_PLAIN) + len(_LINEAR) + 3  # and latency, and two joint cells


def _key(name: str) -> int:
    return METRICS[name].id << METRIC_SHIFT


def by_slot(slots: Int64) -> Int64:
    """Stable order of events by slot (a radix sort where 16 bits are enough)."""
    narrow = slots.astype(np.uint16) if slots.size and int(slots.max()) < 1 << 16 else slots
    return np.argsort(narrow, kind="stable")


def _joint_code(values: Int64) -> Int64:
    """Scale-3 codes; -1 where the value is absent."""
    code = buckets.coarser(buckets.codes(np.maximum(values, 0)), buckets.JOINT_SCALE)
    code[values < 0] = -1
    return code


class _Keys:
    """Keys and values collected until they are made cells."""

    def __init__(self) -> None:
        self.keys: list[Int64] = []
        self.values: list[Int64] = []

    def add(self, keys: Int64, values: Int64) -> None:
        self.keys.append(keys)
        self.values.append(values)

    def add_column(self, metric_id: int, rows: Int64, column: Int64) -> None:
        """An exponential histogram's column, absent values left out."""
        if int(column.min()) < 0:
            present = np.flatnonzero(column >= 0)
            rows, column = rows[present], column[present]
        if rows.size:
            self.add(rows | metric_id << METRIC_SHIFT | buckets.codes(column), column)

    def cells(self, key_bits: int) -> Cells:
        return cells.of_events(np.concatenate(self.keys), np.concatenate(self.values), key_bits)


def columns(slots: Int64, cols: EventColumns, key_bits: int) -> Iterator[Cells]:
    """Cells of the single-valued quantities. slots: int64[n]; keys have at most `key_bits` bits."""
    order = by_slot(slots)
    step = _CHUNK_CELLS // _CELLS_PER_EVENT
    for start in range(0, cols.n, step):
        at = order[start : start + step]
        row = slots[at] << CELL_BITS
        which = row | cols.thinned[at].astype(np.int64) << THINNED_SHIFT
        keys = _Keys()
        taken: dict[str, Int64] = {}
        for m in _PLAIN:
            column = taken[m.name] = buckets.clipped(getattr(cols, m.name)[at])
            keys.add_column(m.id, which, column)
        for m in _LINEAR:
            column = getattr(cols, m.name)[at]
            present = np.flatnonzero(column >= 0)
            values = np.minimum(column[present], MAX_LINEAR)
            keys.add(which[present] | m.id << METRIC_SHIFT | values // LINEAR_STEP, values)
        latency, timeout = buckets.clipped(cols.latency_total[at]), cols.latency_timeout[at]
        if timeout.any():
            keys.add_column(METRICS["latency_timeout"].id, which, np.where(timeout, latency, -1))
            latency = np.where(timeout, -1, latency)
        keys.add_column(METRICS["latency_total"].id, which, latency)

        both = np.flatnonzero((latency >= 0) & (taken["concurrency"] >= 0))
        coarse = buckets.coarser(buckets.codes(taken["concurrency"][both]), buckets.CONCURRENCY_SCALE)
        bucket = np.minimum(coarse, MAX_CONCURRENCY_CODE) << JOINT_LATENCY_BITS | _joint_code(latency[both])
        keys.add(row[both] | _key("latency_by_concurrency") | bucket, latency[both])
        size, cost = taken["input_bytes"], taken["cost"]
        both = np.flatnonzero((size >= 0) & (cost >= 0))
        keys.add(row[both] | _key("cost_by_input_size") | _joint_code(size[both]), cost[both])
        yield keys.cells(key_bits)


def stages(slots: Int64, labels: Int64, kept: Int64, cols: EventColumns, key_bits: int) -> Iterator[Cells]:
    """Cells of stage latencies: their distribution, and their sums within buckets of total latency.

    slots, labels: int64[k], row and row-local label of the entries `kept` of ``cols.stages``.
    """
    code = _joint_code(buckets.clipped(cols.latency_total))
    order = by_slot(slots)
    step = _CHUNK_CELLS // 2
    for start in range(0, kept.size, step):
        at = order[start : start + step]
        entry = kept[at]
        event = cols.stages.event[entry]
        values = buckets.clipped(cols.stages.value[entry])
        row = slots[at] << CELL_BITS | labels[at] << BUCKET_BITS
        keys = _Keys()
        thinned = cols.thinned[event].astype(np.int64) << THINNED_SHIFT
        keys.add_column(METRICS["latency_stage"].id, row | thinned, values)
        within = code[event]
        both = np.flatnonzero(within >= 0)
        keys.add(row[both] | _key("stage_by_latency") | within[both], values[both])
        yield keys.cells(key_bits)
