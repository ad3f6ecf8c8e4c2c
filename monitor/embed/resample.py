"""Luminance to working size: the filter of ``PIL.Image.Resampling.BILINEAR``, as products of small matrices.

Pillow filters a pixel at a time, which was a tenth of the time that an image took in all; this takes half of that.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

F32 = NDArray[np.float32]

_ROWS: Final = 24  # of the result that one product computes: each is a sum of few rows of the source
_COLUMNS: Final = 16
_AT_ONCE: Final = 16  # products of rows, whose results the products of columns then take
_SHARES: Final = 256  # weights are multiples of 1/256


class _Block(NamedTuple):
    """``weights`` @ source[first:last] are the lines ``start`` to ``end`` of the result.

    ``across`` is the transpose in an order of its own, with which products of short sides are faster.
    """

    start: int
    end: int
    first: int
    last: int
    weights: F32
    across: F32


def ready() -> None:
    """Have the library behind matrix products take its working memory, 32 MB of addresses for good.

    It does so with the first large product, and ends the process where there is none: so this comes before a limit.
    """
    square = np.ones((512, 512), dtype=np.float32)
    np.matmul(square, square)


def shrunk(grey: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An image of mode L at ``size``, which is (width, height) and larger than it in neither.

    Within two levels of what Pillow gives. Weights are whole numbers of 1/256 and levels whole numbers, so that every
    sum is a whole number of 1/65536 below 256: single precision holds it exactly, and in whatever order a processor's
    library adds up, the result is the same.
    """
    width, height = size
    source = np.asarray(grey)
    found = np.empty((height, width), dtype=np.uint8)
    across = _blocks(grey.width, width, _COLUMNS)
    down = _blocks(grey.height, height, _ROWS)
    # A few hundred rows at a time, through both products: more would not stay in a processor's cache.
    for at in range(0, len(down), _AT_ONCE):
        part = down[at : at + _AT_ONCE]
        begin, end = part[0].start, part[-1].end
        tall = np.empty((end - begin, grey.width), dtype=np.float32)
        for block in part:
            rows = source[block.first : block.last].astype(np.float32)
            rows += np.float32(0.5)  # weights add up to 1, so it is still there at the end, where cutting then rounds
            np.matmul(block.weights, rows, out=tall[block.start - begin : block.end - begin])
        small = np.empty((end - begin, width), dtype=np.float32)
        for block in across:
            np.matmul(tall[:, block.first : block.last], block.across, out=small[:, block.start : block.end])
        found[begin:end] = small
    return Image.fromarray(found)


@lru_cache(maxsize=16)
def _blocks(before: int, after: int, lines: int) -> tuple[_Block, ...]:
    """The products that make ``after`` lines of ``before``, at most ``lines`` each.

    A line is the mean of those around its centre, weighted by a triangle that ends as far from it as lines of the
    result lie apart.
    """
    scale = before / after
    found = []
    for start in range(0, after, lines):
        end = min(after, start + lines)
        centres = (np.arange(start, end) + 0.5) * scale
        first, last = max(0, int(centres[0] - scale + 0.5)), min(before, int(centres[-1] + scale + 0.5))
        distances = np.abs(np.arange(first, last) + 0.5 - centres[:, None]) / scale
        below = np.cumsum(np.maximum(0.0, 1.0 - distances), axis=1)
        # Rounding sums rather than weights keeps the whole of each line at one.
        shares = np.diff(np.rint(_SHARES * below / below[:, -1:]), axis=1, prepend=0.0) / _SHARES
        weights = shares.astype(np.float32)
        found.append(_Block(start, end, first, last, weights, np.ascontiguousarray(weights.T)))
    return tuple(found)
