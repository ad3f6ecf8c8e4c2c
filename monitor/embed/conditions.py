"""Input conditions of a page or photo, measured on the decoded image at working size.

Angles are in degrees counter-clockwise, as ``PIL.Image.rotate`` counts them: an image turned by
``rotate(3)`` has skew +3, and ``image.rotate(-skew)`` straightens it. The known errors of each measurement are
in docs/encoders.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monitor.embed.images import Decoded

VERSION = 1

F32 = NDArray[np.float32]
Int16 = NDArray[np.int16]

_POINTS = 3000  # edge points used for angles: more do not change the answer, time grows with them
_COARSE = np.arange(-20.0, 20.5, 1.0)
_FINE = np.arange(-1.2, 1.21, 0.2)
_PROMINENCE = 1.30  # best over median score of all angles; below it there are no lines to measure
# Set on 455 real pages: an upright page is called rotated 3 % of the time, at the price of saying "cannot tell"
# often (docs/encoders.md). Most pages are upright, hence the asymmetry.
_AXIS_RATIO = 1.35  # least ratio of the two axes' prominences for a rotation to be told at all
_DOWN_MARGIN = 0.08  # relative difference of line tops over line bottoms that makes a page upside down
_SIDE_MARGIN = 0.05  # the same, either way, for a page on its side
_EDGE = 0.25  # of the image's contrast
_CELL = 8
_BLUR = 9  # width of the further blur
_HASH_SIDE = 32
# The eight lowest rows of the orthonormal DCT-II. A product of this size needs no library to be fast, and scipy would
# double what a decoder process holds.
_DCT = np.cos(np.pi * np.outer(np.arange(8), np.arange(_HASH_SIDE) + 0.5) / _HASH_SIDE) * np.sqrt(2.0 / _HASH_SIDE)
_DCT[0] *= np.sqrt(0.5)


def measure(decoded: Decoded) -> dict[str, Any]:
    """Every condition of one image, as a versioned dictionary that goes to JSON.

    ``width``, ``height`` in pixels of the original; ``megapixels``; ``brightness``, ``contrast``,
    ``text_density`` and ``blur`` in 0..1 (blur: 0 sharp, 1 featureless); ``skew_degrees`` in -20..20 from the
    nearest quarter turn, null where there are no lines; ``rotation`` 0, 90, 180 or 270, null where it cannot be
    told; ``phash`` 16 hex digits; ``orientation`` the EXIF value that was applied.
    """
    luminance = decoded.image.convert("L")
    counts = np.asarray(luminance.histogram(), dtype=np.float64)
    low, high = _extremes(counts)
    contrast = high - low
    grey = np.asarray(luminance, dtype=np.int16)  # signed, so that differences need no conversion
    if _middle(counts) < 0.4:  # light text on dark is measured as its negative
        grey = 255 - grey
    down, across = grey[1:] - grey[:-1], grey[:, 1:] - grey[:, :-1]
    skew, rotation = _angles(down, across, contrast)
    return {
        "v": VERSION,
        "width": decoded.width,
        "height": decoded.height,
        "megapixels": round(decoded.width * decoded.height / 1e6, 3),
        "orientation": decoded.orientation,
        "brightness": round(float(counts @ np.arange(256)) / (255.0 * grey.size), 4),
        "contrast": round(contrast, 4),
        "blur": round(_blur(grey), 4),
        "text_density": round(_text_density(across, contrast), 4),
        "skew_degrees": skew,
        "rotation": rotation,
        "phash": f"{perceptual_hash(luminance):016x}",
    }


def perceptual_hash(image: Image.Image) -> int:
    """64 bits, unsigned: signs of the lowest DCT coefficients of a 32 x 32 luminance image against their median.

    Copies of one picture at another size or JPEG quality differ in few bits (0 to 4
    is a near-duplicate: detectors/drift/duplicates.py).
    """
    small = np.asarray(image.convert("L").resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BOX), dtype=np.float64)
    # Rounded, so that where a coefficient is zero its bit does not depend on the last digit of a sum.
    low = np.round(np.einsum("ui,ij,vj->uv", _DCT, small, _DCT, optimize=True), 6).ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _extremes(counts: NDArray[np.float64]) -> tuple[float, float]:
    """The 0.5 % and 99.5 % quantiles of luminance, so that single pixels do not make contrast."""
    share = np.cumsum(counts) / counts.sum()
    low, high = np.searchsorted(share, (0.005, 0.995))
    return float(low) / 255.0, min(float(high), 255.0) / 255.0


def _middle(counts: NDArray[np.float64]) -> float:
    """Median luminance."""
    return float(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) / 255.0


def _blur(grey: Int16) -> float:
    """How little a further blur changes: 0 sharp, 1 already flat (after Crete et al., SPIE 6492, 2007).

    Every eighth row and column is looked at; the larger of both directions counts, so motion blur is seen.
    """
    worst = 0.0
    for lines in (np.ascontiguousarray(grey[::8].T), np.ascontiguousarray(grey[:, ::8])):
        if len(lines) < 16 or not lines.size:
            continue
        change = np.abs(lines[1:] - lines[:-1])
        # Neighbouring sums of nine pixels differ by their outermost ones: no sum is needed, and all stays integer.
        half = _BLUR // 2
        padded = np.concatenate([lines[:1]] * half + [lines] + [lines[-1:]] * half)
        blurred = np.abs(padded[_BLUR:] - padded[:-_BLUR])
        real = change > 2  # smaller steps are the rounding to 256 levels, which looks sharp
        total = float(change.sum(where=real, dtype=np.int64))
        if total < 1e-3 * change.size:
            return 1.0
        kept = np.maximum(_BLUR * change - blurred, 0).sum(where=real, dtype=np.int64) / _BLUR
        worst = max(worst, (total - kept) / total)
    return worst


def _text_density(across: Int16, contrast: float) -> float:
    """Share of 8 x 8 px cells in which at least an eighth of the pixels lie on a vertical stroke's edge."""
    rows, columns = across.shape[0] // _CELL, across.shape[1] // _CELL
    if contrast < 0.02 or rows < 1 or columns < 1:
        return 0.0
    edges = np.abs(across[: rows * _CELL, : columns * _CELL]) > 255.0 * max(_EDGE * contrast, 0.02)
    # Sum eight rows, then eight columns: two passes over small integers.
    cells = edges.reshape(rows, _CELL, columns * _CELL).sum(axis=1, dtype=np.int16)
    counts = cells.reshape(rows, columns, _CELL).sum(axis=2, dtype=np.int16)
    return float((counts > _CELL * _CELL // 8).mean())


def _angles(down: Int16, across: Int16, contrast: float) -> tuple[float | None, int | None]:
    """(skew, rotation) from where the edges of text lines pile up.

    Bottoms of letters stand on a common line, so projecting edge points along the lines gives sharp peaks.
    Their direction is the skew. Tops are spread over x-height, capitals and ascenders, which tells up from down.
    """
    if contrast < 0.05 or min(down.shape) < 32:
        return None, None
    threshold = 255.0 * max(_EDGE * contrast, 0.03)
    prominence, angle = [0.0, 0.0], [0.0, 0.0]
    edges = [_points(slope > threshold, axis) for axis, slope in enumerate((down, across))]
    for axis, points in enumerate(edges):
        if points is not None:
            prominence[axis], angle[axis] = _best_angle(*points)
    axis = 0 if prominence[0] >= prominence[1] else 1
    if prominence[axis] < _PROMINENCE:
        return None, None
    # Along columns the same turn has the opposite sign, because the axes are exchanged.
    skew = round(angle[0] if axis == 0 else -angle[1], 2) + 0.0  # no minus zero
    if prominence[axis] < _AXIS_RATIO * prominence[1 - axis]:
        return skew, None
    slope = down if axis == 0 else across
    bottoms, tops = edges[axis], _points(slope < -threshold, axis)
    if bottoms is None or tops is None:
        return skew, None
    turn = np.array([angle[axis]])
    first, second = float(_sharpness(*bottoms, turn, 1.0)[0]), float(_sharpness(*tops, turn, 1.0)[0])
    difference = (first - second) / (first + second)
    if axis == 0:
        return skew, 0 if difference > 0 else 180 if difference < -_DOWN_MARGIN else None
    return skew, 90 if difference > _SIDE_MARGIN else 270 if difference < -_SIDE_MARGIN else None


def _points(mask: NDArray[np.bool_], axis: int) -> tuple[F32, F32] | None:
    """At most ``_POINTS`` points of a mask, evenly taken, as (across the lines, along the lines).

    ``axis`` 0: lines run along rows; 1: along columns. None when there are too few.
    """
    flat = np.flatnonzero(mask)
    if flat.size < 100:
        return None
    if flat.size > _POINTS:
        flat = flat[(np.arange(_POINTS) * flat.size) // _POINTS]
    rows, columns = np.divmod(flat, mask.shape[1])
    first, second = (rows, columns) if axis == 0 else (columns, rows)
    return first.astype(np.float32), second.astype(np.float32)


def _sharpness(rows: F32, columns: F32, degrees: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Per angle: sum of squared counts of the points projected along lines turned by that angle."""
    radians = np.deg2rad(degrees)[:, None]
    position = rows * (np.cos(radians) / width).astype(np.float32)
    position += columns * (np.sin(radians) / width).astype(np.float32)
    position -= position.min()
    bins = position.astype(np.int64)  # none is negative, so cutting is rounding down
    size = int(bins.max()) + 1
    bins += np.arange(len(degrees))[:, None] * size
    counts = np.bincount(bins.ravel(), minlength=size * len(degrees)).reshape(len(degrees), size)
    return np.asarray((counts * counts).sum(axis=1), dtype=np.float64)


def _best_angle(rows: F32, columns: F32) -> tuple[float, float]:
    """(prominence, angle): the sharpest angle, refined to hundredths, and how far it stands out."""
    coarse = _sharpness(rows, columns, _COARSE, 3.0)
    at = int(np.argmax(coarse))
    prominence = float(coarse[at] / np.median(coarse))
    if prominence < _PROMINENCE:
        return prominence, 0.0
    angles = _COARSE[at] + _FINE
    fine = _sharpness(rows, columns, angles, 1.5)
    peak = int(np.argmax(fine))
    angle = float(angles[peak])
    if 0 < peak < len(fine) - 1:
        left, middle, right = fine[peak - 1 : peak + 2]
        bend = left - 2 * middle + right
        if bend < 0:
            angle += float(0.5 * (left - right) / bend) * 0.2
    return prominence, angle
