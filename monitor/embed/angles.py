"""Which way a page's text lines run: skew and quarter turns, from where the edges of letters pile up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.embed.edges import Edges

F32 = NDArray[np.float32]

_POINTS = 3000  # edge points used for angles: more do not change the answer, time grows with them
_COARSE_POINTS = 1500  # of them, for the first look
_COARSE = np.arange(-20.0, 20.5, 1.0)
_FINE = np.arange(-1.2, 1.21, 0.2)
_PROMINENCE = 1.30  # best over median score of all angles; below it there are no lines to measure
# Set on 455 real pages: an upright page is called rotated 3 % of the time, at the price of saying "cannot tell"
# often (docs/encoders.md). Most pages are upright, hence the asymmetry.
_AXIS_RATIO = 1.35  # least ratio of the two axes' prominences for a rotation to be told at all
_DOWN_MARGIN = 0.08  # relative difference of line tops over line bottoms that makes a page upside down
_SIDE_MARGIN = 0.05  # the same, either way, for a page on its side
_EDGE = 0.25  # of the image's contrast


@dataclass(frozen=True, slots=True)
class Angles:
    """``skew`` in degrees and ``rotation`` (0, 90, 180, 270), None where they cannot be told; ``standing``: lines run
    from bottom to top or the other way; ``prominence``: how far the best angle stands out, 1 where none does."""

    skew: float | None
    rotation: int | None
    standing: bool
    prominence: float


UNKNOWN: Final = Angles(None, None, False, 1.0)


def threshold(contrast: float) -> int:
    """Levels of 255 from which a step is an edge; ``contrast`` in 0..1."""
    return int(255.0 * max(_EDGE * contrast, 0.03))


def angles(edges: Edges, contrast: float) -> Angles:
    """Of dark text on light: its edges above ``threshold``, and its contrast in 0..1.

    Bottoms of letters stand on a common line, so projecting edge points along the lines gives sharp peaks.
    Their direction is the skew. Tops are spread over x-height, capitals and ascenders, which tells up from down.
    """
    if contrast < 0.05 or min(edges.lighter_below.shape) < 32:
        return UNKNOWN
    # Every second pixel along the lines: there are more edges than points are taken.
    found = [_points(edges.lighter_below[:, ::2], 0), _points(edges.lighter_right[::2], 1)]
    coarse = [(1.0, 0.0) if points is None else _coarse_angle(points) for points in found]
    axis = 0 if coarse[0][0] >= coarse[1][0] else 1
    prominence, turn = coarse[axis]
    bottoms = found[axis]
    if bottoms is None or prominence < _PROMINENCE:
        return Angles(None, None, False, round(prominence, 4))
    angle = _fine_angle(bottoms, turn)
    # Along columns the same turn has the opposite sign, because the axes are exchanged.
    skew = round(angle if axis == 0 else -angle, 2) + 0.0  # no minus zero
    told = Angles(skew, None, axis == 1, round(prominence, 4))
    if prominence < _AXIS_RATIO * coarse[1 - axis][0]:
        return told
    tops = _points((edges.darker_below[:, ::2], edges.darker_right[::2])[axis], axis)
    if tops is None:
        return told
    along = np.array([angle])
    first, second = float(_sharpness(bottoms, along, 1.0)[0]), float(_sharpness(tops, along, 1.0)[0])
    difference = (first - second) / (first + second)
    if axis == 0:
        return replace(told, rotation=0 if difference > 0 else 180 if difference < -_DOWN_MARGIN else None)
    return replace(told, rotation=90 if difference > _SIDE_MARGIN else 270 if difference < -_SIDE_MARGIN else None)


def _points(mask: NDArray[np.bool_], axis: int) -> F32 | None:
    """At most ``_POINTS`` points of a mask, evenly taken, as float32[2, points]: across the lines, along the lines.

    ``axis`` 0: lines run along rows; 1: along columns; along the lines every second pixel is there. None when there
    are too few.
    """
    flat = np.flatnonzero(mask)
    if flat.size < 100:
        return None
    if flat.size > _POINTS:
        flat = flat[(np.arange(_POINTS) * flat.size) // _POINTS]
    rows, columns = np.divmod(flat, mask.shape[1])
    return np.array((rows, 2 * columns) if axis == 0 else (columns, 2 * rows), dtype=np.float32)


def _sharpness(points: F32, degrees: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Per angle: sum of squared counts of the points projected along lines turned by that angle."""
    radians = np.deg2rad(degrees)
    turns = np.array((np.cos(radians), np.sin(radians))).T / width
    position = turns.astype(np.float32) @ points
    position -= position.min()
    bins = position.astype(np.intp)  # none is negative, so cutting is rounding down
    size = int(bins.max()) + 1
    bins += np.arange(len(degrees))[:, None] * size
    counts = np.bincount(bins.ravel(), minlength=size * len(degrees)).reshape(len(degrees), size)
    return np.asarray(np.einsum("ij,ij->i", counts, counts), dtype=np.float64)


def _coarse_angle(points: F32) -> tuple[float, float]:
    """(prominence, angle): the sharpest of whole degrees, and how far it stands out."""
    every = -(-points.shape[1] // _COARSE_POINTS)
    found = _sharpness(points[:, ::every], _COARSE, 3.0)
    at, middle = int(np.argmax(found)), np.partition(found, _COARSE.size // 2)[_COARSE.size // 2]  # of an odd number
    return float(found[at] / middle), float(_COARSE[at])


def _fine_angle(points: F32, near: float) -> float:
    """The sharpest angle around ``near``, to hundredths of a degree."""
    angles = near + _FINE
    found = _sharpness(points, angles, 1.5)
    peak = int(np.argmax(found))
    angle = float(angles[peak])
    if 0 < peak < len(found) - 1:
        left, middle, right = found[peak - 1 : peak + 2]
        bend = left - 2 * middle + right
        if bend < 0:
            angle += float(0.5 * (left - right) / bend) * 0.2
    return angle
