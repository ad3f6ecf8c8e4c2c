"""Label codes across rows: each row numbers its own labels, and rows that are added must agree first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import cells
from detectors.summaries.cells import Cells
from detectors.summaries.metrics import (
    BUCKET_BITS,
    BUCKET_MASK,
    BY_ID,
    CELL_BITS,
    FAMILIES,
    LABEL_BITS,
    LABEL_MASK,
    MERGED_LABEL_CAP,
    OTHER_CODE,
)
from detectors.summaries.packing import Labels

Int64 = NDArray[np.int64]

# Family index by metric id; len(FAMILIES) for metrics without labels.
_FAMILY_OF = np.full(64, len(FAMILIES), dtype=np.int64)
for _m in BY_ID.values():
    _FAMILY_OF[_m.id] = FAMILIES.index(_m.family) if _m.family else len(FAMILIES)


def united(labels: Sequence[Labels]) -> Labels:
    """All names of each family, sorted; of more than MERGED_LABEL_CAP the first ones.

    A name that is among the first of all is among the first of any part of them, so that folding the rest into
    `other` gives the same whichever parts are merged first.
    """
    families = range(len(FAMILIES))
    return tuple(tuple(sorted({name for names in labels for name in names[f]})[:MERGED_LABEL_CAP]) for f in families)


@lru_cache(maxsize=4096)
def label_mapping(old: Labels, new: Labels) -> Int64:
    """New label code by family (the last row: metrics without labels) and old code."""
    mapping = np.zeros((len(FAMILIES) + 1, LABEL_MASK + 1), dtype=np.int64)
    for f, (before, after) in enumerate(zip(old, new, strict=True)):
        mapping[f, OTHER_CODE] = OTHER_CODE
        for code, name in enumerate(before):
            mapping[f, code] = after.index(name) if name in after else OTHER_CODE
    mapping.setflags(write=False)
    return mapping


def relabelled(run: Cells, old: Labels, new: Labels) -> Cells:
    """The cells with label codes of `new` in place of those of `old`."""
    if old == new:
        return run
    group = run.keys >> BUCKET_BITS
    keys = relabelled_codes(group, label_mapping(old, new)) << BUCKET_BITS | run.keys & BUCKET_MASK
    return cells.reduced(keys, run.counts, run.sums, key_bits=CELL_BITS)


def relabelled_codes(code: Int64, mapping: Int64, mapping_row: Int64 | None = None) -> Int64:
    """Codes of groups of cells (see `packing`) whose label is ``mapping[mapping_row + family, label]`` (row 0 where
    none is given); they may no longer ascend."""
    family = _FAMILY_OF[code >> LABEL_BITS + 1 & 63]
    at = np.flatnonzero(family < len(FAMILIES))
    out = code.copy()
    label = code[at] & LABEL_MASK
    row = 0 if mapping_row is None else mapping_row[at]
    out[at] ^= label ^ mapping[row + family[at], label]
    return out
