"""One summary row, or the sum of many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import buckets, cells, heavy_hitters, packing
from detectors.summaries.cells import Cells
from detectors.summaries.heavy_hitters import HeavyHitter, Users, UsersOfRows
from detectors.summaries.histogram import Histogram, Rate, Total
from detectors.summaries.label_merge import label_mapping, relabelled, united, with_labels
from detectors.summaries.metrics import (
    BUCKET_BITS,
    BUCKET_MASK,
    CELL_BITS,
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
from detectors.summaries.unpacking import Rows, unpack

Int64 = NDArray[np.int64]

_BULK = 256  # stored rows read together


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

    __slots__ = ("_cells", "_labels", "_users")

    def __init__(self, cells_: Cells | None = None, labels: Labels = NO_LABELS, users: Users | None = None) -> None:
        self._cells = cells.empty() if cells_ is None else cells_
        self._labels = labels
        self._users = Users.none() if users is None else users

    @classmethod
    def from_state(cls, state: bytes) -> Summary:
        """Read a stored row. Raises StateError when it is damaged or of a newer format."""
        rows = unpack([state])
        users = rows.users
        return cls(rows.cells, rows.labels[0], Users(users.keys, users.weights, users.errors[0]))

    def to_state(self) -> bytes:
        """The stored form; equal summaries give equal bytes."""
        return packing.pack_rows(self._cells, [0], [self._labels], UsersOfRows.one(self._users))[0]

    def merge(self, other: Summary) -> Summary:
        """The summary of both sets of events."""
        return Summary.merge_all((self, other))

    @classmethod
    def merge_all(cls, parts: Iterable[bytes | Summary]) -> Summary:
        """The summary of all parts (stored rows or summaries) together.

        Stored rows are read in bulk: much faster than one after another. Raises StateError as `from_state` does.
        """
        taken = list(parts)
        states = [part for part in taken if not isinstance(part, Summary)]
        summaries = [part for part in taken if isinstance(part, Summary)]
        for start in range(0, len(states), _BULK):
            rows = unpack(states[start : start + _BULK])
            summaries.extend(_sums(rows, np.zeros(rows.sizes.size, np.int64), 1))
        if not summaries:
            return cls()
        labels = united([s._labels for s in summaries])
        users = heavy_hitters.summed_all([s._users for s in summaries])
        return cls(
            cells.add(*(relabelled(s._cells, s._labels, labels) for s in summaries)),
            labels,
            heavy_hitters.bounded(users),
        )

    @classmethod
    def merge_groups(cls, groups: Sequence[Sequence[bytes]]) -> list[Summary]:
        """``[merge_all(group) for group in groups]``, read together: faster for many small groups."""
        out: list[Summary] = []
        at = 0
        while at < len(groups):
            stop, rows = at + 1, len(groups[at])
            while stop < len(groups) and rows + len(groups[stop]) <= _BULK:
                rows += len(groups[stop])
                stop += 1
            if stop == at + 1:
                out.append(cls.merge_all(groups[at]))
            else:
                chunk = groups[at:stop]
                states = [state for group in chunk for state in group]
                group_of = np.repeat(np.arange(len(chunk)), [len(group) for group in chunk])
                found = _sums(unpack(states), group_of, len(chunk))
                out.extend(cls(s._cells, s._labels, heavy_hitters.bounded(s._users)) for s in found)
            at = stop
        return out

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
        return None if self._users.errors.any() else self._users.keys.size

    def cells_digest(self) -> str:
        """SHA-256, in hex, of every histogram, rate and joint summary: equal where all but the users is equal."""
        keys, counts, sums = self._cells
        found = sha256(repr(self._labels).encode("utf-8", "surrogatepass"))
        for column in (keys, counts, sums):
            found.update(column.astype("<i8", copy=False).tobytes())
        return found.hexdigest()

    def totals(self) -> dict[tuple[str, str, bool], Total]:
        """`total` of everything there is but joint summaries, by (metric, label, thinned), in one pass."""
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

    def _select(self, m: Metric, label: int | None = None, thinned: bool = False) -> Cells:
        """Cells of a metric; over all events those of thinned and of other events follow one another."""
        keys, counts, sums = self._cells
        low = m.id << METRIC_SHIFT | int(thinned) << THINNED_SHIFT
        a, b = np.searchsorted(keys, (low, (m.id + 1) << METRIC_SHIFT))
        found = Cells(keys[a:b], counts[a:b], sums[a:b])
        if label is None:
            return found
        at = (found.keys >> BUCKET_BITS & LABEL_MASK) == label
        return Cells(found.keys[at], found.counts[at], found.sums[at])

    def _by_bucket(self, m: Metric, label: str, thinned: bool) -> Cells:
        """Cells of one label keyed by bucket, thinned and other events added."""
        found = self._select(m, self._label_code(m, label), thinned)
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


def _sums(rows: Rows, group_of: Int64, groups: int) -> list[Summary]:
    """The sum of the rows of each group, with all of their users (even beyond CAPACITY).

    group_of: int64[r], ascending.
    """
    ends = np.searchsorted(group_of, np.arange(groups), side="right").tolist()
    starts = [0, *ends[:-1]]
    labels = [united(sorted(set(rows.labels[a:b]))) for a, b in zip(starts, ends, strict=True)]
    pairs = [(old, labels[group]) for old, group in zip(rows.labels, group_of.tolist(), strict=True)]
    run = rows.cells
    if any(old != new for old, new in pairs):
        distinct = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        mapping = np.concatenate([label_mapping(old, new) for old, new in distinct])
        row = np.array([distinct[pair] for pair in pairs]) * (len(FAMILIES) + 1)
        run = with_labels(run, mapping, np.repeat(row, rows.sizes))
    keys = run.keys | np.repeat(group_of, rows.sizes) << CELL_BITS
    run = cells.reduced(keys, run.counts, run.sums, key_bits=CELL_BITS + groups.bit_length())
    cuts = np.searchsorted(run.keys, np.arange(groups + 1) << CELL_BITS).tolist()
    keys = run.keys & ((1 << CELL_BITS) - 1)
    users, users_at = rows.users, [0, *np.cumsum(rows.users.sizes).tolist()]
    out = []
    for g, (a, b) in enumerate(zip(starts, ends, strict=True)):
        low, high = cuts[g], cuts[g + 1]
        some = slice(users_at[a], users_at[b])
        user_keys, weights = heavy_hitters.summed(users.keys[some], users.weights[some])
        out.append(
            Summary(
                Cells(keys[low:high], run.counts[low:high], run.sums[low:high]),
                labels[g],
                Users(user_keys, weights, users.errors[a:b].sum(axis=0)),
            )
        )
    return out
