"""Quantities with few distinct cells a row, counted in dense arrays: events, rates, tiers, error types, models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import buckets, cells
from detectors.summaries.cells import Cells
from detectors.summaries.columns import EventColumns
from detectors.summaries.metrics import (
    BUCKET_BITS,
    CELL_BITS,
    METRIC_SHIFT,
    METRICS,
    OTHER_CODE,
    RATES,
    THINNED_SHIFT,
    Family,
)

Int64 = NDArray[np.int64]

_N_LABELS = OTHER_CODE + 1
_LABELLED: tuple[Family, ...] = ("tier", "error_type")
_LABELLED_IDS = np.array([METRICS[name].id for name in _LABELLED])
_MODEL_COLUMNS = ("input_tokens", "output_tokens", "cost")
_MODEL_IDS = np.array([METRICS[f"model_{name}"].id for name in _MODEL_COLUMNS])
_RATE_IDS = np.array([m.id for m in RATES])
_EVENTS_ID = np.array([METRICS["events"].id])


class Tallies:
    """Counts per (slot, thinned), collected until `take`. ``events`` also keeps what was taken."""

    def __init__(self) -> None:
        self._total = np.zeros((0, 2), dtype=np.int64)
        self._events = np.zeros((0, 2), dtype=np.int64)
        self._rates = np.zeros((0, 2, len(RATES), 3), dtype=np.int64)  # absent, misses, hits
        self._labelled = np.zeros((0, 2, len(_LABELLED), _N_LABELS), dtype=np.int64)
        self._models = np.zeros((0, 2, len(_MODEL_COLUMNS), _N_LABELS, 2), dtype=np.int64)  # count, sum

    def grow(self, slots: int) -> None:
        more = slots - len(self._total)
        self._total, self._events, self._rates, self._labelled, self._models = (
            np.concatenate([a, np.zeros((more, *a.shape[1:]), dtype=np.int64)])
            for a in (self._total, self._events, self._rates, self._labelled, self._models)
        )

    def clear(self, slots: Int64) -> None:
        """Forget rows whose counts were taken."""
        self._total[slots] = 0

    def events(self, slot: int, thinned: bool) -> int:
        both = self._total[slot] + self._events[slot]
        return int(both[1] if thinned else both.sum())

    def load_events(self, slot: int, thinned: Int64, counts: Int64) -> None:
        self._total[slot, thinned] = counts

    def count_events(self, slots: Int64, cols: EventColumns) -> None:
        which = slots * 2 + cols.thinned
        np.add.at(self._events.reshape(-1), which, 1)
        flat = self._rates.reshape(-1)
        which *= 3 * len(RATES)
        which += 1  # an absent verdict is -1
        for i, m in enumerate(RATES):
            np.add.at(flat, which + (getattr(cols, m.name) + np.int64(3 * i)), 1)

    def count_labelled(self, family: Family, slots: Int64, cols: EventColumns, at: Int64, code: Int64) -> None:
        """at: the events that have a label; code: its row-local code."""
        which = (slots[at] * 2 + cols.thinned[at]) * len(_LABELLED) + _LABELLED.index(family)
        np.add.at(self._labelled.reshape(-1), which * _N_LABELS + code, 1)

    def count_models(self, slots: Int64, cols: EventColumns, at: Int64, code: Int64) -> None:
        """at: the events that name a model; code: its row-local code."""
        flat = self._models.reshape(-1)
        which = (slots[at] * 2 + cols.thinned[at]) * len(_MODEL_COLUMNS)
        for i, name in enumerate(_MODEL_COLUMNS):
            column: Int64 = getattr(cols, name)[at]
            where = ((which + i) * _N_LABELS + code) * 2
            present = column >= 0
            if not present.all():
                where, column = where[present], column[present]
            np.add.at(flat, where, 1)
            np.add.at(flat, where + 1, buckets.clipped(column))

    def take(self) -> Cells:
        """Everything counted since the last call, as cells keyed ``slot << CELL_BITS | cell``."""
        dirty = np.flatnonzero(self._events.any(axis=1))
        if dirty.size == 0:
            return cells.empty()
        rates, labelled, models = self._rates[dirty], self._labelled[dirty], self._models[dirty]
        events = self._events[dirty][:, :, None, None]
        hits = rates[..., 2:]
        runs = [
            _cells_of(dirty, events, np.zeros_like(events), _EVENTS_ID),
            _cells_of(dirty, rates[..., 1:2] + hits, hits, _RATE_IDS),
            _cells_of(dirty, labelled, np.zeros_like(labelled), _LABELLED_IDS),
            _cells_of(dirty, models[..., 0], models[..., 1], _MODEL_IDS),
        ]
        self._total[dirty] += self._events[dirty]
        for array in (self._events, self._rates, self._labelled, self._models):
            array[dirty] = 0
        return cells.add(*runs)


def _cells_of(slots: Int64, counts: Int64, sums: Int64, metric_ids: Int64) -> Cells:
    """counts, sums: [slot, thinned, metric, label]."""
    s, thinned, m, label = np.nonzero(counts)
    keys = slots[s] << CELL_BITS | metric_ids[m] << METRIC_SHIFT | thinned << THINNED_SHIFT | label << BUCKET_BITS
    return cells.reduced(keys, counts[s, thinned, m, label], sums[s, thinned, m, label])
