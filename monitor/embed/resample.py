"""Luminance to working size: the filter of ``PIL.Image.Resampling.BILINEAR``, as products of small matrices.

Pillow filters a pixel at a time, which is a tenth of the time an image takes in all; here it is half of that.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

F32 = NDArray[np.float32]

_ROWS: Final = 24  # of the result, of which each is a sum of few rows of the source: what one product computes
_COLUMNS: Final = 16
_SHARES: Final = 256  # weights are multiples of 1/256


class _Block(NamedTuple):
    """``weights`` @ source[first:last] are the lines ``start`` to ``end`` of the result; ``across`` is its transpose, in
    an order of its own, which products with short sides are faster with."""

    start: int
    end: int
    first: int
    last: int
    weights: F32
    across: F32


def shrunk(grey: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An image of mode L at ``size``, which is (width, height) and larger than it in neither.

    Within two levels of what Pillow gives. Weights are whole numbers of 1/256 and levels whole numbers, so that every
    sum is a whole number of 1/65536 below 256: single precision holds it exactly, and in whatever order a processor's
    library adds up, the result is the same.
    """
    width, height = size
    pixels = np.asarray(grey).astype(np.float32)
    pixels += np.float32(0.5)  # weights add up to 1, so it is still there at the end, where cutting then rounds
    if height < grey.height:
        source, pixels = pixels, np.empty((height, grey.width), dtype=np.float32)
        for block in _blocks(grey.height, height, _ROWS):
            np.matmul(block.weights, source[block.first : block.last], out=pixels[block.start : block.end])
    if width < grey.width:
        source, pixels = pixels, np.empty((height, width), dtype=np.float32)
        for block in _blocks(grey.width, width, _COLUMNS):
            np.matmul(source[:, block.first : block.last], block.across, out=pixels[:, block.start : block.end])
    return Image.fromarray(pixels.astype(np.uint8))


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
