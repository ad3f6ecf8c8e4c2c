"""Which keys were seen among the previous records of a partition: duplicates and sessions.

Defined by offsets, so that it is a function of the log alone and can be rebuilt by reading the previous records
again. Bounded memory and no Python object per key: two sorted numpy runs, a large one and a recent one that is
merged into it now and then, each entry 24 bytes.
"""

from __future__ import annotations

import numpy as np

from detectors.summaries.columns import Int64

_RECENT = 1 << 15  # merging a run of this size into half a million entries costs under a microsecond per entry


class RecentKeys:
    """The last occurrence (offset, time) of every 64-bit key among the last ``records`` offsets.

    Keys are hashes: two different strings are taken for one with probability 2^-64 a pair.
    """

    def __init__(self, records: int) -> None:
        self.records = records
        self._runs = [_Run.empty(), _Run.empty()]  # large, recent

    def previous(self, keys: Int64, offsets: Int64, times: Int64) -> tuple[Int64, Int64]:
        """For each record its key's last occurrence before it: (offsets, -1 where none; times), and remember it.

        ``offsets`` ascend and continue those of earlier calls. Occurrences more than ``records`` offsets before
        a record are none.
        """
        n = len(keys)
        found = np.full(n, -1, dtype=np.int64)
        when = np.zeros(n, dtype=np.int64)
        if not n or not self.records:
            return found, when
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        same = ordered[1:] == ordered[:-1]
        first = np.concatenate([[True], ~same])
        last = np.concatenate([~same, [True]])
        # Within the batch: the neighbour before in stable order.
        after, before = order[1:][same], order[:-1][same]
        found[after], when[after] = offsets[before], times[before]
        unseen, wanted = order[first], ordered[first]
        for run in self._runs:  # the recent run, looked up last, overrides
            run.look_up(wanted, unseen, found, when)
        too_old = (found >= 0) & (offsets - found > self.records)
        found[too_old] = -1
        ends = order[last]
        self._runs[1] = self._runs[1].merged(_Run(ordered[last], offsets[ends], times[ends]), -1)
        if len(self._runs[1].keys) > _RECENT:
            oldest = int(offsets[-1]) - self.records
            self._runs = [self._runs[0].merged(self._runs[1], oldest), _Run.empty()]
        return found, when

    def seen(self, keys: Int64) -> Int64:
        """For each key the offset of its last occurrence, -1 where there is none; nothing is remembered."""
        found = np.full(len(keys), -1, dtype=np.int64)
        when = np.zeros(len(keys), dtype=np.int64)
        order = np.argsort(keys, kind="stable")
        for run in self._runs:
            run.look_up(keys[order], order, found, when)
        return found

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return sum(run.keys.nbytes + run.offsets.nbytes + run.times.nbytes for run in self._runs)


class _Run:
    """Distinct keys in ascending order with their last occurrences."""

    __slots__ = ("keys", "offsets", "times")

    def __init__(self, keys: Int64, offsets: Int64, times: Int64) -> None:
        self.keys, self.offsets, self.times = keys, offsets, times

    @classmethod
    def empty(cls) -> _Run:
        nothing = np.zeros(0, dtype=np.int64)
        return cls(nothing, nothing, nothing)

    def look_up(self, wanted: Int64, rows: Int64, found: Int64, when: Int64) -> None:
        """Write the occurrences of ``wanted`` (ascending) into ``found`` and ``when`` at ``rows``."""
        if not len(self.keys):
            return
        at = np.searchsorted(self.keys, wanted)
        at[at == len(self.keys)] = 0
        hit = self.keys[at] == wanted
        found[rows[hit]], when[rows[hit]] = self.offsets[at[hit]], self.times[at[hit]]

    def merged(self, newer: _Run, oldest: int) -> _Run:
        """Both runs as one, the newer occurrence of a key winning, those before offset ``oldest`` dropped.

        The arrays of this run are taken over.
        """
        place = np.searchsorted(self.keys, newer.keys)
        known = place < len(self.keys)
        known[known] = self.keys[place[known]] == newer.keys[known]
        at = place[known]
        self.offsets[at], self.times[at] = newer.offsets[known], newer.times[known]
        new = np.flatnonzero(~known)
        slots = place[new] + np.arange(len(new))
        old = np.ones(len(self.keys) + len(new), dtype=bool)
        old[slots] = False
        columns = []
        for before, added in ((self.keys, newer.keys), (self.offsets, newer.offsets), (self.times, newer.times)):
            column = np.empty(len(old), dtype=np.int64)
            column[slots], column[old] = added[new], before
            columns.append(column)
        merged = _Run(*columns)
        fresh = merged.offsets >= oldest
        if fresh.all():
            return merged
        return _Run(merged.keys[fresh], merged.offsets[fresh], merged.times[fresh])
