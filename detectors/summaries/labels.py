"""Which labels (stages, tiers, models, error types) each open row has admitted, and their codes.

A row admits the first LABEL_CAP names of a family in offset order; a further name is counted as `other` for as
long as the row is open. Within one row a name keeps its code; stored rows list names sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detectors.summaries.metrics import LABEL_CAP, OTHER, OTHER_CODE

Int64 = NDArray[np.int64]
Int8 = NDArray[np.int8]

MAX_NAME = 200  # characters of a name that are kept
_COMPACT = 4096  # names known to the table beyond which those of closed rows are forgotten


@lru_cache(maxsize=4096)
def _kept(name: str) -> str:
    """The name as it is kept: cut, and without what UTF-8 cannot hold (lone surrogates)."""
    return name[:MAX_NAME].encode(errors="replace").decode()


class LabelCodes:
    """Codes of one family for every slot (open row) of a table."""

    def __init__(self, slots: int) -> None:
        self._columns: dict[str, int] = {}  # name -> column of `_codes`
        self._codes: Int8 = np.full((slots, 8), -1, dtype=np.int8)
        self._admitted: NDArray[np.int64] = np.zeros(slots, dtype=np.int64)
        self.names: list[tuple[str, ...]] = [()] * slots  # by slot, in the order of the codes
        self.unsorted: set[int] = set()  # slots whose names are not in order

    def grow(self, slots: int) -> None:
        more = slots - len(self.names)
        self._codes = np.concatenate([self._codes, np.full((more, self._codes.shape[1]), -1, dtype=np.int8)])
        self._admitted = np.concatenate([self._admitted, np.zeros(more, dtype=np.int64)])
        self.names.extend([()] * more)

    def clear(self, slots: Int64) -> None:
        """Forget the rows in these slots."""
        self._codes[slots] = -1
        self._admitted[slots] = 0
        for slot in slots.tolist():
            self.names[slot] = ()
        self.unsorted.difference_update(slots.tolist())
        if len(self._columns) > _COMPACT:
            self._compact()

    def load(self, slot: int, names: Sequence[str]) -> None:
        """Take over a stored row's names: name i has code i."""
        for name in names:
            self._admit(slot, name)

    def sort(self) -> tuple[list[int], Int64]:
        """Number the names of every row in sorted order.

        Returns the rows whose numbers changed, ascending, and their codes: int64[r, labels], old -> new.
        """
        slots = sorted(self.unsorted)
        codes = np.tile(np.arange(OTHER_CODE + 1), (len(slots), 1))
        for new_of, slot in zip(codes, slots, strict=True):
            before = self.names[slot]
            self.names[slot] = tuple(sorted(before))
            for old, name in enumerate(before):
                new_of[old] = self._codes[slot, self._columns[name]] = self.names[slot].index(name)
        self.unsorted.clear()
        return slots, codes

    def codes(self, slots: Int64, name_codes: Int64, names: Sequence[str]) -> Int64:
        """Row-local code of each (row, name), in offset order, admitting new names.

        slots, name_codes: int64[n]; name_codes index `names`, all >= 0.
        """
        kept = [_kept(name) for name in names]
        columns = np.array([self._columns.get(name, -1) for name in kept], dtype=np.int64)
        folded = np.array([name == OTHER for name in kept], dtype=np.bool_)
        column = columns[name_codes]
        code = self._codes[slots, column].astype(np.int64)
        code[column < 0] = -1
        code[folded[name_codes]] = OTHER_CODE
        unknown = np.flatnonzero(code < 0)
        if unknown.size == 0:
            return code
        full = self._admitted[slots[unknown]] >= LABEL_CAP
        code[unknown[full]] = OTHER_CODE
        unknown = unknown[~full]
        if unknown.size == 0:
            return code
        pairs = slots[unknown] * len(names) + name_codes[unknown]
        distinct, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        pair_slots, pair_names = (distinct // len(names)).tolist(), (distinct % len(names)).tolist()
        admitted: dict[int, list[str]] = {}
        for i in np.argsort(first).tolist():
            slot, name = pair_slots[i], kept[pair_names[i]]
            chosen = admitted.setdefault(slot, [])
            if name not in chosen and len(self.names[slot]) + len(chosen) < LABEL_CAP:
                chosen.append(name)
        for slot, chosen in admitted.items():
            for name in sorted(chosen):  # mostly spares a row the sorting of its codes when it is stored
                self._admit(slot, name)
        found = [
            self._codes[slot, self._columns[kept[name]]] if kept[name] in admitted[slot] else OTHER_CODE
            for slot, name in zip(pair_slots, pair_names, strict=True)
        ]
        code[unknown] = np.array(found, dtype=np.int64)[inverse]
        return code

    def _admit(self, slot: int, name: str) -> None:
        column = self._columns.setdefault(name, len(self._columns))
        if column >= self._codes.shape[1]:
            wider = np.full((self._codes.shape[0], 2 * self._codes.shape[1]), -1, dtype=np.int8)
            wider[:, : self._codes.shape[1]] = self._codes
            self._codes = wider
        self._codes[slot, column] = len(self.names[slot])
        if self.names[slot] and name < self.names[slot][-1]:
            self.unsorted.add(slot)
        self.names[slot] += (name,)
        self._admitted[slot] += 1

    def _compact(self) -> None:
        used = sorted({name for names in self.names for name in names})
        self._columns = {name: i for i, name in enumerate(used)}
        self._codes = np.full((len(self.names), max(8, len(used))), -1, dtype=np.int8)
        for slot, names in enumerate(self.names):
            for code, name in enumerate(names):
                self._codes[slot, self._columns[name]] = code
