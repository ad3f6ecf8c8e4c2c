"""Stored summary rows as the counts that detectors step on.

Only session-thinned cells of on-time rows are read. Rows of all partitions and versions of a segment are added,
which is exact, so the result does not depend on how rows were cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import buckets
from detectors.summaries.metrics import (
    BUCKET_BITS,
    BUCKET_MASK,
    FAMILIES,
    LABEL_MASK,
    LINEAR_STEP,
    METRIC_SHIFT,
    METRICS,
    OTHER,
    OTHER_CODE,
    THINNED_SHIFT,
    Metric,
    metric,
)
from detectors.summaries.unpacking import unpack

Int64 = NDArray[np.int64]
Float = NDArray[np.float64]

HOUR_US = 3_600_000_000

_JOINT = min(m.id for m in METRICS.values() if m.kind == "joint")
_THINNED = 1 << THINNED_SHIFT
_CHUNK = 1000  # rows read together: what bounds memory
_WANTED = np.arange(64) < _JOINT  # metrics that detectors step on


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """A stored row: which window of which segment, and its packed state."""

    window_us: int
    segment: str
    state: bytes


class Names:
    """Codes of names in order of appearance."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str, int] = {}

    def code(self, name: str) -> int:
        """The name's code, a new one for a new name."""
        found = self._codes.get(name)
        if found is None:
            found = self._codes[name] = len(self.names)
            self.names.append(name)
        return found

    def get(self, name: str) -> int:
        """The name's code, -1 for an unknown one."""
        return self._codes.get(name, -1)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(slots=True)
class Cells:
    """Thinned cells of many windows, one entry a cell, all int64[cells].

    ``segment`` and ``label`` are codes of the `Names` they were decoded with; ``sums`` are hits for rates and
    totals for totals; for distributions they are the sum of the values.
    """

    window: Int64
    segment: Int64
    metric: Int64
    label: Int64
    bucket: Int64
    counts: Int64
    sums: Int64

    @classmethod
    def none(cls) -> Cells:
        return cls(*(np.zeros(0, dtype=np.int64) for _ in range(7)))

    def __len__(self) -> int:
        return int(self.window.size)

    def where(self, chosen: NDArray[np.bool_] | Int64) -> Cells:
        """The cells chosen by a mask or by positions."""
        return Cells(
            self.window[chosen],
            self.segment[chosen],
            self.metric[chosen],
            self.label[chosen],
            self.bucket[chosen],
            self.counts[chosen],
            self.sums[chosen],
        )

    def by_hour(self) -> Cells:
        """The same with windows of an hour, equal cells added."""
        return added([self], HOUR_US)


_COLUMNS = ("window", "segment", "metric", "label", "bucket", "counts", "sums")


def added_runs(parts: Sequence[Cells]) -> Cells:
    """Several sets of cells one after another, without adding equal ones."""
    if not parts:
        return Cells.none()
    return Cells(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))


def added(parts: Sequence[Cells], window_us: int = 1) -> Cells:
    """The sum of several sets of cells, with windows cut to multiples of ``window_us``."""
    every = added_runs(parts)
    window, segment, metric_, label, bucket = every.window, every.segment, every.metric, every.label, every.bucket
    counts, sums = every.counts, every.sums
    if window.size == 0:
        return Cells.none()
    window = window // window_us * window_us
    # metric 6, label 14, bucket 14 bits; windows and segments sort above them
    low = (metric_ << 14 | label) << BUCKET_BITS | bucket
    order = np.lexsort((low, segment, window))
    window, segment, low = window[order], segment[order], low[order]
    new = np.ones(window.size, dtype=np.bool_)
    new[1:] = (window[1:] != window[:-1]) | (segment[1:] != segment[:-1]) | (low[1:] != low[:-1])
    starts = np.flatnonzero(new)
    low = low[starts]
    return Cells(
        window[starts],
        segment[starts],
        low >> (BUCKET_BITS + 14),
        low >> BUCKET_BITS & ((1 << 14) - 1),
        low & BUCKET_MASK,
        np.add.reduceat(counts[order], starts),
        np.add.reduceat(sums[order], starts),
    )


class Decoder:
    """Decodes rows with one set of codes for segments and labels."""

    def __init__(self) -> None:
        self.segments = Names()
        self.labels = Names()  # "<family>/<name>"
        self.labels.code("")  # 0: a metric without labels
        self._mappings: dict[tuple[tuple[str, ...], ...], Int64] = {}

    def decode(self, rows: Iterable[SummaryRow]) -> Cells:
        """Thinned cells of the rows, in the rows' order. Raises StateError for a row that cannot be read."""
        chunk = list(rows)
        if not chunk:
            return Cells.none()
        return added_runs([self._decode(chunk[at : at + _CHUNK]) for at in range(0, len(chunk), _CHUNK)])

    def _decode(self, rows: Sequence[SummaryRow]) -> Cells:
        found = unpack([row.state for row in rows], _WANTED, users=False)
        keys, counts, sums = found.cells
        chosen = np.flatnonzero(keys & _THINNED)
        key = keys[chosen]
        of = np.repeat(np.arange(len(rows)), found.sizes)[chosen]
        metric_ = key >> METRIC_SHIFT
        tables, which = _distinct([self._mapping(labels) for labels in found.labels])
        label = tables[which[of], _FAMILY_OF[metric_], key >> BUCKET_BITS & LABEL_MASK]
        windows = np.array([row.window_us for row in rows], dtype=np.int64)
        segments = np.array([self.segments.code(row.segment) for row in rows], dtype=np.int64)
        return Cells(windows[of], segments[of], metric_, label, key & BUCKET_MASK, counts[chosen], sums[chosen])

    def _mapping(self, labels: tuple[tuple[str, ...], ...]) -> Int64:
        """Codes of a row's labels by (family, code in the row); family 0 is none."""
        found = self._mappings.get(labels)
        if found is None:
            found = np.zeros((len(FAMILIES) + 1, LABEL_MASK + 1), dtype=np.int64)
            for i, (family, names) in enumerate(zip(FAMILIES, labels, strict=True), 1):
                found[i, OTHER_CODE] = self.labels.code(f"{family}/{OTHER}")
                for code, name in enumerate(names):
                    found[i, code] = self.labels.code(f"{family}/{name}")
            self._mappings[labels] = found
        return found


_FAMILY_OF = np.zeros(64, dtype=np.int64)
for _m in METRICS.values():
    _FAMILY_OF[_m.id] = FAMILIES.index(_m.family) + 1 if _m.family else 0


def _distinct(tables: list[Int64]) -> tuple[Int64, Int64]:
    positions: dict[int, int] = {}
    which = np.array([positions.setdefault(id(table), len(positions)) for table in tables], dtype=np.int64)
    first = {id(table): table for table in tables}
    return np.stack([first[key] for key in positions]), which


def upper_edges(name: str) -> Float:
    """Upper edge of every bucket of a distribution, in its unit: float64[codes], ascending."""
    m: Metric = metric(name)
    if m.kind == "linear":
        return np.asarray((np.arange(BUCKET_MASK + 1) + 1) * LINEAR_STEP, dtype=np.float64)
    return np.asarray(buckets.upper(), dtype=np.float64)


def bucket_of(name: str, threshold: float) -> int:
    """The code of the bucket whose upper edge is ``threshold`` (as upper_edges gave it)."""
    edges = upper_edges(name)
    return int(np.searchsorted(edges, threshold * (1.0 - 1e-12)))
