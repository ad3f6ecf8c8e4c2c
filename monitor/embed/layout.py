"""Where a page has text, how tall its letters are, and how wide its margins: from the edges of strokes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.embed.edges import Edges, Mask

Bytes = NDArray[np.uint8]

CELL: Final = 8  # pixels a side
_STRIP = 6  # cells: how wide a piece of a line is that is looked at for the height of its letters
_EDGE = 0.25  # of the image's contrast
_BODY = 0.5  # of a strip's fullest rows: rows at least as full are within the bodies of letters
_LEAST_HEIGHT, _MOST_HEIGHT = 3, 120  # pixels: less is a rule or a speck, more a picture
_LEAST_RUNS = 12
_MOST_SPREAD = 1.0  # of the quartiles, relative to the median: beyond it the runs are not letters
_INK = 4  # of the 64 pixels of a cell: edges that make it a cell with something in it


@dataclass(frozen=True, slots=True)
class Layout:
    """``text_density``: share of cells full of strokes, 0..1. ``text_height``: the height of small letters (x-height)
    in pixels of what was looked at, None where there are no lines of text. ``margins``: top, right, bottom, left, as
    shares of height or width."""

    text_density: float
    text_height: float | None
    margins: tuple[float, float, float, float]


EMPTY: Final = Layout(0.0, None, (1.0, 1.0, 1.0, 1.0))


def threshold(contrast: float) -> int:
    """Levels of 255 from which a step is an edge; ``contrast`` in 0..1."""
    return int(255.0 * max(_EDGE * contrast, 0.02))


def layout(edges: Edges, contrast: float, *, standing: bool = False) -> Layout:
    """The layout of dark text on light.

    Args:
        edges: those above ``threshold``.
        contrast: of the whole image, 0..1.
        standing: lines run from bottom to top or the other way.
    """
    if contrast < 0.02 or min(edges.lighter_right.shape) < 2 * CELL:
        return EMPTY
    counts = _by_eight(edges.lighter_right, edges.darker_right)
    cells = _cells(counts)
    density = float((cells > CELL * CELL // 8).mean())
    inked = cells >= _INK
    others = _cells(_by_eight(edges.lighter_below, edges.darker_below)) >= _INK
    rows, columns = min(len(inked), len(others)), min(inked.shape[1], others.shape[1])
    inked = inked[:rows, :columns] | others[:rows, :columns]
    strips = _by_eight(edges.lighter_below.T, edges.darker_below.T) if standing else counts
    return Layout(density, _text_height(strips), _margins(inked))


def _by_eight(lighter: Mask, darker: Mask) -> Bytes:
    """How many of each eight neighbouring pixels of a row are edges of either kind: uint8[rows, columns // 8]."""
    columns = lighter.shape[1] // CELL * CELL
    either = np.empty((len(lighter), columns), dtype=np.bool_)
    np.logical_or(lighter[:, :columns], darker[:, :columns], out=either)
    return np.bitwise_count(either.view(np.uint64))  # true is a byte of 1: eight pixels are eight bits of a word


def _cells(counts: Bytes) -> Bytes:
    rows = len(counts) // CELL
    return np.asarray(counts[: rows * CELL].reshape(rows, CELL, -1).sum(axis=1, dtype=np.uint8))


def _text_height(counts: Bytes) -> float | None:
    """Median length of the runs of full rows in strips of a line: letters' bodies, without what stands out of them.

    Strips are narrow, so that a line that is a few degrees askew stays level within one.
    """
    columns = counts.shape[1] // _STRIP
    if columns < 1:
        return None
    profile = np.zeros((columns, len(counts) + 2), dtype=np.uint8)  # one strip a row, with nothing before and after
    for part in range(_STRIP):
        profile[:, 1:-1] += counts[:, part : columns * _STRIP : _STRIP].T
    at = int(0.95 * len(counts))
    full = np.partition(profile, at, axis=1)[:, at]
    on = profile >= np.maximum((_BODY * full).astype(np.uint8), 2)[:, None]
    change = np.flatnonzero(on[:, 1:] != on[:, :-1])  # begins and ends by turns, since every strip ends as it began
    runs = change[1::2] - change[::2]
    runs = runs[(runs >= _LEAST_HEIGHT) & (runs <= _MOST_HEIGHT)]
    if runs.size < _LEAST_RUNS:
        return None
    number = np.bincount(runs)
    low, middle, high = (_grouped_quantile(number, share) for share in (0.25, 0.5, 0.75))
    return middle if high - low <= _MOST_SPREAD * middle else None


def _grouped_quantile(number: NDArray[np.intp], share: float) -> float:
    """A quantile of whole lengths, each of which stands for half a pixel less to half a pixel more."""
    below = np.cumsum(number)
    wanted = share * below[-1]
    at = int(np.searchsorted(below, wanted))
    return at - 0.5 + float((wanted - (below[at] - number[at])) / number[at])


def _margins(inked: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """How far from each side the first two neighbouring cells lie in which something is; a speck alone is nothing."""
    lines = np.asarray((inked[:, 1:] & inked[:, :-1]).any(axis=1))
    columns = np.asarray((inked[1:] & inked[:-1]).any(axis=0))
    if not lines.any() or not columns.any():
        return EMPTY.margins
    top, bottom = _first(lines), _first(lines[::-1])
    left, right = _first(columns), _first(columns[::-1])
    return top / lines.size, right / columns.size, bottom / lines.size, left / columns.size


def _first(found: NDArray[np.bool_]) -> int:
    return int(np.argmax(found))
