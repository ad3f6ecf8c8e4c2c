"""Input conditions of a page or photo, measured on the decoded image at working size.

Angles are in degrees counter-clockwise, as ``PIL.Image.rotate`` counts them: an image turned by
``rotate(3)`` has skew +3, and ``image.rotate(-skew)`` straightens it. The known errors of each measurement are
in docs/encoders.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monitor.embed import angles, layout
from monitor.embed.edges import edges
from monitor.embed.images import Decoded

VERSION = 2

Bytes = NDArray[np.uint8]
Int16 = NDArray[np.int16]

_BLUR = 9  # width of the further blur
_CELL = 8
_SPARSE = 3  # every third row and column tells how luminance is distributed
_BANDS = 32  # rows: noise is looked for in the first eight of each so many
_FLAT = 26  # mean step from pixel to pixel up to which a cell is flat
_LEAST_FLAT = 20  # cells
_EVEN = 5  # times the mean step of a cell that its largest may be (of 64 normal ones it is 3.4 times, 1 in 100 over 5)
# Mean size of a second difference of normal noise of deviation 1, at the lower quartile of cells of 64 pixels.
_STEP = 0.95 * math.sqrt(6.0 * 2.0 / math.pi)
_HASH_SIDE = 32
# The eight lowest rows of the orthonormal DCT-II. A product of this size needs no library to be fast, and scipy would
# double what a decoder process holds.
_DCT = np.cos(np.pi * np.outer(np.arange(8), np.arange(_HASH_SIDE) + 0.5) / _HASH_SIDE) * np.sqrt(2.0 / _HASH_SIDE)
_DCT[0] *= np.sqrt(0.5)


def ready() -> None:
    """Have the library behind matrix products take its working memory, 32 MB of addresses for good.

    It does so with the first large product, and ends the process where there is none: so this comes before a limit.
    """
    square = np.ones((512, 512), dtype=np.float32)
    np.matmul(square, square)


def measure(decoded: Decoded) -> dict[str, Any]:
    """Every condition of one image, as a versioned dictionary that goes to JSON.

    ``width``, ``height`` in pixels of the original; ``megapixels``; ``brightness``, ``contrast``, ``noise`` (standard
    deviation), ``text_density``, ``page_ness`` and ``blur`` in 0..1 (blur: 0 sharp, 1 featureless); ``skew_degrees``
    in -20..20 from the nearest quarter turn, null where there are no lines; ``rotation`` 0, 90, 180 or 270, null where
    it cannot be told; ``text_height`` (x-height) in pixels of the original, null where there are no lines; ``margins``:
    top, right, bottom, left, as shares of height or width; ``phash`` 16 hex digits; ``orientation`` the EXIF value that
    was applied.
    """
    grey = np.asarray(decoded.grey)
    counts = np.bincount(grey[::_SPARSE, ::_SPARSE].ravel(), minlength=256).astype(np.float64)
    low, high = _extremes(counts)
    contrast = high - low
    brightness = float(counts @ np.arange(256) / counts.sum()) / 255.0
    if _middle(counts) < 0.4:  # light text on dark is measured as its negative
        grey = 255 - grey
    steps = strokes = edges(grey, angles.threshold(contrast))
    if layout.threshold(contrast) != angles.threshold(contrast):  # where there is hardly any contrast
        strokes = edges(grey, layout.threshold(contrast))
    turned = angles.angles(steps, contrast)
    found = layout.layout(strokes, contrast, standing=turned.standing)
    scale = max(decoded.width, decoded.height) / max(decoded.grey.size)
    flat, noise = _noise(grey)
    return {
        "v": VERSION,
        "width": decoded.width,
        "height": decoded.height,
        "megapixels": round(decoded.width * decoded.height / 1e6, 3),
        "orientation": decoded.orientation,
        "brightness": round(brightness, 4),
        "contrast": round(contrast, 4),
        "blur": round(float(_blur(grey)), 4),
        "noise": round(noise, 4),
        "text_density": round(found.text_density, 4),
        "text_height": None if found.text_height is None else round(found.text_height * scale, 1),
        "margins": [round(share, 3) for share in found.margins],
        "skew_degrees": turned.skew,
        "rotation": turned.rotation,
        "page_ness": round(_page_ness(1.0 - flat - found.text_density, turned.prominence, _paper(counts)), 4),
        "phash": f"{perceptual_hash(decoded.grey):016x}",
    }


def perceptual_hash(image: Image.Image) -> int:
    """64 bits, unsigned: signs of the lowest DCT coefficients of a 32 x 32 luminance image against their median.

    Copies of one picture at another size or JPEG quality differ in few bits (0 to 4
    is a near-duplicate: detectors/drift/duplicates.py).
    """
    small = np.asarray(image.convert("L").resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BOX), dtype=np.float64)
    # Rounded, so that where a coefficient is zero its bit does not depend on the last digit of a sum.
    low = np.round(_DCT @ small @ _DCT.T, 6).ravel()
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


def _blur(grey: Bytes) -> float:
    """How little a further blur changes: 0 sharp, 1 already flat (after Crete et al., SPIE 6492, 2007).

    Every eighth row and column is looked at; the larger of both directions counts, so motion blur is seen.
    """
    worst = 0.0
    for sampled in (grey[::8].T, grey[:, ::8]):
        lines = np.ascontiguousarray(sampled, dtype=np.int16)  # signed, for differences
        if len(lines) < 16 or not lines.size:
            continue
        change = np.abs(lines[1:] - lines[:-1])
        # Neighbouring sums of nine pixels differ by their outermost ones: no sum is needed, and all stays integer.
        half = _BLUR // 2
        padded = np.concatenate([lines[:1]] * half + [lines] + [lines[-1:]] * half)
        blurred = np.abs(padded[_BLUR:] - padded[:-_BLUR])
        change *= change > 2  # smaller steps are the rounding to 256 levels, which looks sharp
        total = float(change.sum(dtype=np.int64))
        if total < 1e-3 * change.size:
            return 1.0
        kept = np.maximum(_BLUR * change - blurred, 0).sum(dtype=np.int64) / _BLUR
        worst = max(worst, (total - kept) / total)
    return worst


def _noise(grey: Bytes) -> tuple[float, float]:
    """(share of cells that are flat, standard deviation of the noise in them as a share of full scale).

    Second differences along rows, which hold nothing of a slope; in cells without an edge they are noise, of variance
    six times its own (after Immerkaer, CVIU 64, 1996). Paper that is clipped to white hides its noise and is left out
    where there is any other.
    """
    rows, columns = grey.shape[0] // _BANDS, (grey.shape[1] - 2) // _CELL
    if rows < 1 or columns < 1:
        return 0.0, 0.0
    bands = grey[: rows * _BANDS].reshape(rows, _BANDS, -1)[:, :_CELL, : columns * _CELL + 2].astype(np.int16)
    first = bands[:, :, 1:] - bands[:, :, :-1]
    sums = _by_cell(np.abs(first[:, :, 1:] - first[:, :, :-1]))
    steps = np.abs(first[:, :, :-1])
    total = _by_cell(steps)
    flat = total <= _FLAT * _CELL * _CELL
    level = _by_cell(bands[:, :, :-2]) / (_CELL * _CELL)
    # Noise has no step much above the others; a cell that a stroke runs through has.
    even = _by_cell(steps, np.maximum) * _CELL * _CELL <= _EVEN * np.maximum(total, _CELL * _CELL)
    told = flat & even & (level > 6) & (level < 249)
    if told.sum() < max(_LEAST_FLAT, 0.25 * flat.sum()):
        told = flat & even
    share = float(flat.mean())
    if told.sum() < _LEAST_FLAT:
        return share, 0.0
    return share, float(np.quantile(sums[told], 0.25)) / (_CELL * _CELL * _STEP * 255.0)


def _by_cell(bands: Int16, join: np.ufunc = np.add) -> NDArray[np.int64]:
    """[rows, 8, 8 x columns] to the sums (or ``join``) of cells of 8 x 8."""
    lines = join.reduce(bands, axis=1, dtype=np.int16)
    return np.asarray(join.reduceat(lines, np.arange(0, lines.shape[1], _CELL), axis=1, dtype=np.int64))


def _paper(counts: NDArray[np.float64]) -> float:
    """Share of pixels within five hundredths of the most common luminance."""
    most = int(np.argmax(counts))
    return float(counts[max(0, most - 12) : most + 13].sum() / counts.sum())


def _page_ness(textured: float, prominence: float, paper: float) -> float:
    """How much an image looks like a page: 1 a print or scan, 0 a photograph.

    ``textured`` is the share of cells that are neither flat nor text. A logistic model whose three weights were fitted
    on pages, photographs and drawn pages on a table; how well it tells others apart is in docs/encoders.md.
    """
    score = -3.9 - 55.0 * textured + 1.9 * math.log(max(1.0, prominence)) + 3.1 * paper
    return 1.0 / (1.0 + math.exp(-min(max(score, -30.0), 30.0)))
