"""Where luminance steps from one pixel to the next: what angles and layout are told from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Edges:
    """Steps larger than a threshold, bool[height - 1, width] downwards and bool[height, width - 1] across.

    ``lighter_below[r, c]``: row r + 1 is lighter than row r; of dark text on light that is the bottom of a stroke, and
    ``darker_below`` its top. ``lighter_right`` and ``darker_right`` are the same from column to column.
    """

    lighter_below: Mask
    darker_below: Mask
    lighter_right: Mask
    darker_right: Mask


def edges(grey: Bytes, threshold: int) -> Edges:
    """Steps of more than ``threshold`` levels, 0..255.

    All in eight bits, where a pass over an image costs least: a pixel is more than ``threshold`` lighter than another
    when it is lighter than the other raised by as much, and none is lighter than one that was raised beyond white.
    """
    raised = grey + np.uint8(threshold)
    beyond = raised < threshold  # the sum went once around
    raised |= np.negative(beyond.view(np.uint8))  # 255 there
    return Edges(
        grey[1:] > raised[:-1],
        grey[:-1] > raised[1:],
        grey[:, 1:] > raised[:, :-1],
        grey[:, :-1] > raised[:, 1:],
    )
