"""Consolidated cells and users of a group of rows (slots) of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import cells, heavy_hitters, packing
from detectors.summaries.cells import Cells
from detectors.summaries.heavy_hitters import CAPACITY, Users, UsersOfRows
from detectors.summaries.metrics import BUCKET_BITS, CELL_BITS, LABEL_MASK, METRIC_SHIFT
from detectors.summaries.packing import Labels

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]


class Shard:
    """Cells are keyed ``slot << CELL_BITS | cell``."""

    def __init__(self) -> None:
        self.cells = cells.empty()
        self._slots: NDArray[np.int64] = np.empty(0, np.int64)  # of the users below, which ascend by (slot, user)
        self._users: UInt64 = np.empty(0, np.uint64)
        self._weights: Int64 = np.empty((0, 4), np.int64)
        self._errors: dict[int, Int64] = {}  # slots whose users overflowed

    def add(self, *runs: Cells) -> None:
        if sum(run.keys.size for run in runs) * 8 < self.cells.keys.size:
            self.cells = cells.insert(self.cells, cells.add(*runs))
        else:
            self.cells = cells.add(self.cells, *runs)

    def drop(self, slots: Int64) -> None:
        kept = ~np.isin(self.cells.keys >> CELL_BITS, slots)
        self.cells = Cells(*(column[kept] for column in self.cells))
        self._keep_users(~np.isin(self._slots, slots))
        for slot in slots.tolist():
            self._errors.pop(slot, None)

    def _keep_users(self, kept: NDArray[np.bool_]) -> None:
        self._slots, self._users, self._weights = self._slots[kept], self._users[kept], self._weights[kept]

    def users(self, slot: int) -> Users:
        a, b = np.searchsorted(self._slots, (slot, slot + 1))
        return Users(self._users[a:b], self._weights[a:b], self._errors.get(slot, np.zeros(4, np.int64)))

    def set_users(self, slot: int, users: Users) -> None:
        """Replace the users of a slot."""
        self._keep_users(self._slots != slot)
        at = int(np.searchsorted(self._slots, slot))
        self._slots = np.insert(self._slots, at, np.full(users.keys.size, slot))
        self._users = np.insert(self._users, at, users.keys)
        self._weights = np.insert(self._weights, at, users.weights, axis=0)
        if users.errors.any():
            self._errors[slot] = users.errors

    def add_users(self, slots: Int64, users: UInt64, weights: Int64) -> None:
        """Add events in offset order. slots, users: [n]; weights: int64[n, 4]."""
        all_slots = np.concatenate([self._slots, slots])
        all_users = np.concatenate([self._users, users])
        order = _by_slot_and_user(all_slots, all_users)
        all_slots, all_users = all_slots[order], all_users[order]
        new = np.concatenate(([True], (all_users[1:] != all_users[:-1]) | (all_slots[1:] != all_slots[:-1])))
        starts = np.flatnonzero(new)
        all_slots = all_slots[starts]
        distinct, sizes = np.unique(all_slots, return_counts=True)
        overflowing = {slot: self.users(slot) for slot in distinct[sizes > CAPACITY].tolist()}
        all_weights = np.concatenate([self._weights, weights])[order]
        self._slots, self._users = all_slots, all_users[starts]
        self._weights = np.add.reduceat(all_weights, starts, axis=0)
        for slot, before in overflowing.items():
            at = slots == slot
            self.set_users(slot, heavy_hitters.streamed(before, users[at], weights[at]))

    def states(self, slots: Sequence[int], labels: Sequence[Labels]) -> list[bytes]:
        """Stored forms. slots: ascending; labels: per slot, sorted and in the order of the label codes."""
        run = self.cells
        wanted = np.asarray(slots, dtype=np.int64)
        starts = np.searchsorted(run.keys, wanted << CELL_BITS)
        ends = np.searchsorted(run.keys, (wanted + 1) << CELL_BITS)
        if int((ends - starts).sum()) < run.keys.size:
            kept = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
            run = Cells(*(column[kept] for column in run))
        return packing.pack_rows(run, list(slots), list(labels), self._users_of(wanted))

    def renumber(self, slots: Sequence[int], metric_ids: Sequence[int], codes: Int64) -> None:
        """New label codes for the cells of some metrics: codes[i, old] = new, a permutation, for the i-th slot."""
        keys, counts, sums = self.cells
        metrics = np.asarray(slots)[:, None] << (CELL_BITS - METRIC_SHIFT) | np.asarray(metric_ids)
        starts, ends = (np.searchsorted(keys, (metrics + i) << METRIC_SHIFT).ravel().tolist() for i in (0, 1))
        at = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
        slot = np.searchsorted(np.asarray(slots), keys[at] >> CELL_BITS)
        old = keys[at] >> BUCKET_BITS & LABEL_MASK
        renumbered = keys[at] ^ ((old ^ codes[slot, old]) << BUCKET_BITS)
        order = np.argsort(renumbered)
        for column, values in ((keys, renumbered), (counts, counts[at]), (sums, sums[at])):
            column[at] = values[order]  # the keys of a slot and metric stay where they were, in a new order

    def _users_of(self, slots: Int64) -> UsersOfRows:
        sizes = np.searchsorted(self._slots, slots, side="right") - np.searchsorted(self._slots, slots)
        errors = np.zeros((slots.size, 4), dtype=np.int64)
        for slot in self._errors.keys() & set(slots.tolist()):
            errors[np.searchsorted(slots, slot)] = self._errors[slot]
        if int(sizes.sum()) == self._slots.size:
            return UsersOfRows(sizes, self._users, self._weights, errors)
        kept = np.isin(self._slots, slots)
        return UsersOfRows(sizes, self._users[kept], self._weights[kept], errors)


def _by_slot_and_user(slots: Int64, users: UInt64) -> Int64:
    """Order by (slot, user). One sort of a 64-bit digest does, where no two users share its bits."""
    digest = (slots.astype(np.uint64) << np.uint64(58)) | (users >> np.uint64(6))
    order = np.argsort(digest)
    ordered, by = digest[order], users[order]
    if ((ordered[1:] == ordered[:-1]) & (by[1:] != by[:-1])).any():
        order = np.lexsort((users, slots))
    return order
