"""One summary row, or the sum of many."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import buckets, cells, heavy_hitters, packing
from detectors.summaries.cells import Cells
from detectors.summaries.heavy_hitters import HeavyHitter, Users, UsersOfRows
from detectors.summaries.histogram import Histogram, Rate, Total
from detectors.summaries.merging import Part, Selection, combined, merged_by
from detectors.summaries.metrics import (
    BUCKET_BITS,
    BUCKET_MASK,
    FAMILIES,
    JOINT_LATENCY_BITS,
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
from detectors.summaries.packing import NO_LABELS, Labels
from detectors.summaries.unpacking import unpack

Int64 = NDArray[np.int64]
K = TypeVar("K", bound=Hashable)

_BY_ID = {m.id: m for m in METRICS.values()}


@dataclass(frozen=True, slots=True)
class StagesByLatency:
    """Where time goes, by how slow the event was: k latency buckets x s stages.

    lower, upper: int64[k], total latency in us. counts, sums: int64[k, s], events with the stage and its us.
    """

    lower: Int64
    upper: Int64
    stages: tuple[str, ...]
    counts: Int64
    sums: Int64


@dataclass(frozen=True, slots=True)
class ByBucket:
    """One quantity's events and sum by another's bucket: lower, upper, counts, sums, each int64[k]."""

    lower: Int64
    upper: Int64
    counts: Int64
    sums: Int64


class Summary:
    """What is known of a set of events. Immutable; `merge` returns a new one.

    Merging is exact integer addition, hence associative and commutative, for everything but the users, which are
    so until they exceed `heavy_hitters.CAPACITY` and keep their error bound beyond it.
    """

    __slots__ = ("_cells", "_labels", "_selection", "_users")

    def __init__(self, cells_: Cells | None = None, labels: Labels = NO_LABELS, users: Users | None = None) -> None:
        self._cells = cells.empty() if cells_ is None else cells_
        self._labels = labels
        self._users = Users.none() if users is None else users
        self._selection: Selection | None = None

    @classmethod
    def from_state(cls, state: bytes) -> Summary:
        """Read a stored row. Raises StateError when it is damaged or of a newer format."""
        rows = unpack([state])
        users = rows.users
        return cls(rows.cells, rows.labels[0], Users(users.keys, users.weights, users.errors[0]))

    def to_state(self) -> bytes:
        """The stored form; equal summaries give equal bytes. ValueError for one that holds a selection only."""
        self._whole("stored")
        return packing.pack_rows(self._cells, [0], [self._labels], UsersOfRows.one(self._users))[0]

    def merge(self, other: Summary) -> Summary:
        """The summary of both sets of events."""
        return Summary.merge_all((self, other))

    @classmethod
    def merge_all(cls, parts: Iterable[bytes | Summary]) -> Summary:
        """The summary of all parts (stored rows or summaries) together.

        Stored rows are read in bulk: much faster than one after another. Raises StateError as `from_state` does, and
        ValueError for summaries of different selections.
        """
        taken = list(parts)
        found = [Part(part._cells, part._labels, part._users) for part in taken if isinstance(part, Summary)]
        found += merged_by((None, part) for part in taken if not isinstance(part, Summary)).values()
        if not found:
            return cls()
        selections = {part._selection if isinstance(part, Summary) else None for part in taken}
        if len(selections) > 1:
            raise ValueError("summaries of different selections cannot be added: read all rows with the same one")
        (selection,) = selections
        return cls._of(combined(found), selection)

    @classmethod
    def merge_groups(cls, groups: Sequence[Sequence[bytes]]) -> list[Summary]:
        """``[merge_all(group) for group in groups]``, read together: faster for many small groups."""
        found = cls.merge_by((i, state) for i, group in enumerate(groups) for state in group)
        return [found.get(i) or cls() for i in range(len(groups))]

    @classmethod
    def merge_by(cls, rows: Iterable[tuple[K, bytes]], selection: Selection | None = None) -> dict[K, Summary]:
        """The summary of the stored rows of every key, in the order in which keys came.

        rows: (key, state), read as they come: only their sums are held. With a selection a summary holds, and can be
        asked for, no more than that. Raises StateError as `from_state` does.
        """
        return {key: cls._of(part, selection) for key, part in merged_by(rows, selection).items()}

    @classmethod
    def _of(cls, part: Part, selection: Selection | None) -> Summary:
        found = cls(part.cells, part.labels, heavy_hitters.bounded(part.users))
        found._selection = selection
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Summary) and self.to_state() == other.to_state()

    __hash__ = None  # type: ignore[assignment]  # equal by content, and never a key

    # Reading

    def events(self, thinned: bool = False) -> int:
        """Events counted; with `thinned`, only those that represent their session."""
        return self.total("events", thinned=thinned).count

    def labels(self, name: str) -> tuple[str, ...]:
        """Label values under which the metric was seen, sorted, `other` last where labels were folded."""
        m = metric(name)
        present = np.unique(self._select(m).keys >> BUCKET_BITS & LABEL_MASK).tolist()
        if not m.family:
            return ("",) if present else ()
        return tuple(self._label_name(m, code) for code in present)

    def histogram(self, name: str, label: str = "", thinned: bool = False) -> Histogram:
        """The distribution of an exponential or linear metric; empty where it was absent from every event."""
        m = metric(name)
        if m.kind not in ("exponential", "linear"):
            raise ValueError(f"metric {name!r} is a {m.kind}, not a distribution; read it with .{_READER[m.kind]}()")
        bucket, counts, sums = self._by_bucket(m, label, thinned)
        if m.kind == "linear":
            lower = bucket * LINEAR_STEP
            upper = lower + LINEAR_STEP - 1
            if name == "confidence":
                np.minimum(upper, 1_000_000, out=upper)  # its last bucket holds 1 alone
            return Histogram(lower, upper, counts, sums, linear=True)
        return Histogram(buckets.smallest()[bucket], buckets.largest()[bucket], counts, sums)

    def rate(self, name: str, thinned: bool = False) -> Rate:
        """Hits and trials; no trials where the verdict was absent from every event."""
        m = metric(name)
        if m.kind != "rate":
            raise ValueError(f"metric {name!r} is a {m.kind}, not a rate; read it with .{_READER[m.kind]}()")
        found = self._total(m, "", thinned)
        return Rate(hits=found.sum, trials=found.count)

    def total(self, name: str, label: str = "", thinned: bool = False) -> Total:
        """Events that have the metric, and its exact sum, for any kind of metric but a joint one."""
        m = metric(name)
        if m.kind == "joint":
            raise ValueError(f"metric {name!r} is joint; read it with .{name}()")
        return self._total(m, label, thinned)

    def labelled(self, name: str, thinned: bool = False) -> dict[str, Total]:
        """Count and sum of a labelled metric by label (see `labels`)."""
        m = metric(name)
        if not m.family:
            raise ValueError(f"metric {name!r} has no labels; read it with .{_READER[m.kind]}()")
        chosen = self._select(m, thinned=thinned)
        codes, inverse = np.unique(chosen.keys >> BUCKET_BITS & LABEL_MASK, return_inverse=True)
        counts = np.zeros(codes.size, dtype=np.int64)
        sums = np.zeros(codes.size, dtype=np.int64)
        np.add.at(counts, inverse, chosen.counts)
        np.add.at(sums, inverse, chosen.sums)
        return {
            self._label_name(m, code): Total(count, sum_)
            for code, count, sum_ in zip(codes.tolist(), counts.tolist(), sums.tolist(), strict=True)
        }

    def heavy_hitters(self, weight: str = "spend", top: int = 10, thinned: bool = False) -> list[HeavyHitter]:
        """Users with the greatest `weight` ("spend" or "events"), heaviest first, ties by user."""
        name = f"thinned_{weight}" if thinned else weight
        if name not in heavy_hitters.WEIGHTS:
            raise ValueError(f"unknown weight {weight!r}; expected 'spend' or 'events'")
        self._selected(None, thinned)
        column = heavy_hitters.WEIGHTS.index(name)
        weights = self._users.weights[:, column]
        error = int(self._users.errors[column])
        order = np.argsort(-weights, kind="stable")[:top]
        return [
            HeavyHitter(int(self._users.keys[i]), int(weights[i]), int(weights[i]) + error)
            for i in order
            if weights[i] > 0
        ]

    def users(self) -> int | None:
        """Distinct users; None where they were too many to be counted exactly."""
        self._selected(None, False)
        return None if self._users.errors.any() else self._users.keys.size

    def cells_digest(self) -> str:
        """SHA-256, in hex, of every histogram, rate and joint summary: equal where all but the users is equal."""
        keys, counts, sums = self._cells
        self._whole("compared")
        found = sha256(repr(self._labels).encode("utf-8", "surrogatepass"))
        for column in (keys, counts, sums):
            found.update(column.astype("<i8", copy=False).tobytes())
        return found.hexdigest()

    def totals(self) -> dict[tuple[str, str, bool], Total]:
        """`total` of everything there is but joint summaries, by (metric, label, thinned), in one pass."""
        self._whole("listed")
        found: dict[tuple[str, str, bool], Total] = {}
        group = self._cells.keys >> BUCKET_BITS
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        if not starts.size:
            return found
        counts = np.add.reduceat(self._cells.counts, starts).tolist()
        sums = np.add.reduceat(self._cells.sums, starts).tolist()
        for key, count, sum_ in zip(group[starts].tolist(), counts, sums, strict=True):
            m = _BY_ID[key >> (METRIC_SHIFT - BUCKET_BITS)]
            if m.kind == "joint":
                continue
            label = self._label_name(m, key & LABEL_MASK) if m.family else ""
            if key >> (THINNED_SHIFT - BUCKET_BITS) & 1:
                found[m.name, label, True] = Total(count, sum_)
            # The cells of thinned events are not among the others': all events are both.
            rest = found.get((m.name, label, False), Total(0, 0))
            found[m.name, label, False] = Total(rest.count + count, rest.sum + sum_)
        return found

    def stage_by_latency(self) -> StagesByLatency:
        """Stage latencies summed within each bucket of total latency (events with both; no timeouts)."""
        m = METRICS["stage_by_latency"]
        chosen = self._select(m)
        bucket = chosen.keys & BUCKET_MASK
        rows, row = np.unique(bucket, return_inverse=True)
        columns, column = np.unique(chosen.keys >> BUCKET_BITS & LABEL_MASK, return_inverse=True)
        counts = np.zeros((rows.size, columns.size), dtype=np.int64)
        sums = np.zeros_like(counts)
        counts[row, column] = chosen.counts
        sums[row, column] = chosen.sums
        scale = buckets.JOINT_SCALE
        names = tuple(self._label_name(m, code) for code in columns.tolist())
        return StagesByLatency(buckets.smallest(scale)[rows], buckets.largest(scale)[rows], names, counts, sums)

    def latency_by_concurrency(self) -> dict[tuple[int, int], Histogram]:
        """Distribution of total latency (scale 3) for each range (low, high) of concurrency, ascending."""
        chosen = self._select(METRICS["latency_by_concurrency"])
        bucket = chosen.keys & BUCKET_MASK
        concurrency = bucket >> JOINT_LATENCY_BITS
        latency = bucket & ((1 << JOINT_LATENCY_BITS) - 1)
        coarse, fine = buckets.CONCURRENCY_SCALE, buckets.JOINT_SCALE
        out = {}
        for code in np.unique(concurrency).tolist():
            at = concurrency == code
            key = (int(buckets.smallest(coarse)[code]), int(buckets.largest(coarse)[code]))
            out[key] = Histogram(
                buckets.smallest(fine)[latency[at]],
                buckets.largest(fine)[latency[at]],
                chosen.counts[at],
                chosen.sums[at],
            )
        return out

    def cost_by_input_size(self) -> ByBucket:
        """Cost summed within each bucket (scale 3) of input bytes (events with both)."""
        chosen = self._select(METRICS["cost_by_input_size"])
        bucket = chosen.keys & BUCKET_MASK
        scale = buckets.JOINT_SCALE
        return ByBucket(buckets.smallest(scale)[bucket], buckets.largest(scale)[bucket], chosen.counts, chosen.sums)

    # Cells

    def _whole(self, done: str) -> None:
        if self._selection is not None:
            raise ValueError(f"a summary of a selection cannot be {done}: merge the rows without one")

    def _selected(self, m: Metric | None, thinned: bool) -> None:
        """Raise ValueError where the metric (None: users) was not read: left out is not absent."""
        s = self._selection
        if s is None:
            return
        if s.users if m is None else m.name in s.metrics:
            if s.thinned or not thinned:
                return
            raise ValueError("this summary holds no thinned events apart; merge its rows with Selection(thinned=True)")
        name = "users" if m is None else f"metric {m.name!r}"
        raise ValueError(f"{name} is not among what this summary was read for; add it to the Selection")

    def _select(self, m: Metric, label: int | None = None, thinned: bool = False) -> Cells:
        """Cells of a metric; over all events those of thinned and of other events follow one another."""
        self._selected(m, thinned)
        keys, counts, sums = self._cells
        low = m.id << METRIC_SHIFT | int(thinned) << THINNED_SHIFT
        a, b = np.searchsorted(keys, (low, (m.id + 1) << METRIC_SHIFT))
        found = Cells(keys[a:b], counts[a:b], sums[a:b])
        if label is None or (not m.family and not label):
            return found
        at = (found.keys >> BUCKET_BITS & LABEL_MASK) == label
        return Cells(found.keys[at], found.counts[at], found.sums[at])

    def _by_bucket(self, m: Metric, label: str, thinned: bool) -> Cells:
        """Cells of one label keyed by bucket, thinned and other events added."""
        found = self._select(m, self._label_code(m, label), thinned)
        if self._selection is not None and not self._selection.thinned:
            return Cells(found.keys & BUCKET_MASK, found.counts, found.sums)  # added already
        return cells.reduced(found.keys & BUCKET_MASK, found.counts, found.sums)

    def _total(self, m: Metric, label: str, thinned: bool) -> Total:
        found = self._select(m, self._label_code(m, label), thinned)
        return Total(int(found.counts.sum()), int(found.sums.sum()))

    def _label_code(self, m: Metric, label: str) -> int:
        if not m.family:
            if label:
                raise ValueError(f"metric {m.name!r} has no labels, got label {label!r}; leave it out")
            return 0
        names = self._labels[FAMILIES.index(m.family)]
        if label in names:
            return names.index(label)
        return OTHER_CODE if label == OTHER else -1

    def _label_name(self, m: Metric, code: int) -> str:
        return OTHER if code == OTHER_CODE else self._labels[FAMILIES.index(m.family)][code]


_READER = {"exponential": "histogram", "linear": "histogram", "rate": "rate", "total": "total", "joint": "<name>"}
