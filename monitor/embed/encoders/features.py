"""The built-in encoder: hand-made image and text features on numpy and Pillow.

It is not a learned model. Images are described by where edges of which direction lie, by the spectrum of
spatial frequencies, and by intensity and colour; texts by hashed character n-grams. That is enough to see a
new document type or a new scanner, and knows nothing of meaning. The two towers share no space.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monitor.embed.encoders.base import Vectors, unit_rows
from monitor.embed.images import WORKING_SIDE

DIM = 256
_SIDE = 128  # images are looked at as 128 x 128 luminance
_GRID, _ORIENTATIONS = 4, 8
_RINGS, _SECTORS = 24, 2
_LUMA_BINS, _CHROMA_SIDE = 16, 4
_THUMB = 4
_NGRAMS = (2, 3, 4)
_WEIGHTS = {"orientation": 1.0, "spectrum": 1.2, "luma": 0.8, "chroma": 0.8, "layout": 0.6, "shape": 0.5}

F32 = NDArray[np.float32]


def _ring_index() -> NDArray[np.int64]:
    """For every cell of a half spectrum: its ring (log-spaced radius) and sector (horizontal or vertical)."""
    fy = np.fft.fftfreq(_SIDE)[:, None]
    fx = np.fft.rfftfreq(_SIDE)[None, :]
    radius = np.hypot(fy, fx)
    edges = np.geomspace(1.0 / _SIDE, 0.5, _RINGS + 1)
    ring = np.clip(np.searchsorted(edges, radius, side="right") - 1, 0, _RINGS - 1)
    sector = (np.abs(fx) > np.abs(fy)).astype(np.int64)
    return np.asarray(ring * _SECTORS + sector, dtype=np.int64)


class FeatureEncoder:
    """Deterministic hand-made features; ``shared_space`` is False."""

    dim = DIM
    shared_space = False
    side = WORKING_SIDE  # averaged over boxes, of which small images have too few
    description = (
        "built-in hand-made features (edge directions, spectrum, colours; hashed character n-grams): sees "
        "changes of layout and wording, not of meaning; images and texts share no space"
    )

    def __init__(self) -> None:
        settings = repr(
            (1, DIM, _SIDE, _GRID, _ORIENTATIONS, _RINGS, _SECTORS, _LUMA_BINS, _CHROMA_SIDE, _THUMB, _NGRAMS, _WEIGHTS)
        )
        self.identity = "features/1:" + hashlib.sha256(settings.encode()).hexdigest()[:16]
        self._rings = _ring_index().ravel()
        self._ring_size = np.maximum(np.bincount(self._rings, minlength=_RINGS * _SECTORS), 1)
        window = np.hanning(_SIDE).astype(np.float32)
        self._window = window[:, None] * window[None, :]
        rows = np.arange(_SIDE) * _GRID // _SIDE
        self._cell = ((rows[:, None] * _GRID + rows[None, :]) * _ORIENTATIONS).astype(np.int64)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        return unit_rows(np.stack([self._image(image) for image in images]) if images else np.zeros((0, DIM)))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return unit_rows(np.stack([_text(text) for text in texts]) if texts else np.zeros((0, DIM)))

    def _image(self, image: Image.Image) -> F32:
        width, height = image.size
        # One pass over the full image; both views are taken from this square.
        ycc = image.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0).convert("YCbCr")
        pixels = np.asarray(ycc, dtype=np.float32)
        luma = pixels[:, :, 0] / 255.0
        parts = {
            "orientation": self._orientations(luma),
            "spectrum": self._spectrum(luma),
            "luma": np.sqrt(np.histogram(luma, bins=_LUMA_BINS, range=(0.0, 1.0))[0].astype(np.float32)),
            "chroma": _chroma(pixels),
            "layout": _layout(luma),
            "shape": _shape(width / height),
        }
        out = np.zeros(DIM, dtype=np.float32)
        at = 0
        for name, block in parts.items():
            norm = float(np.sqrt(np.dot(block, block)))
            if norm > 1e-12:
                out[at : at + block.size] = block * (_WEIGHTS[name] / norm)
            at += block.size
        return out

    def _orientations(self, luma: F32) -> F32:
        """Histogram of gradient directions (not their sign) in a grid of cells, square-rooted."""
        dy = np.zeros_like(luma)
        dx = np.zeros_like(luma)
        dy[1:-1] = luma[2:] - luma[:-2]
        dx[:, 1:-1] = luma[:, 2:] - luma[:, :-2]
        magnitude = np.hypot(dx, dy)
        turn = np.arctan2(dy, dx) * (1.0 / np.pi)  # -1..1; opposite directions are one turn apart
        bins = np.floor((turn % 1.0) * _ORIENTATIONS + 0.5).astype(np.int64) % _ORIENTATIONS
        counts = np.bincount(
            (self._cell + bins).ravel(), weights=magnitude.ravel(), minlength=_GRID * _GRID * _ORIENTATIONS
        )
        return np.sqrt(counts).astype(np.float32)

    def _spectrum(self, luma: F32) -> F32:
        """Mean log power by ring and sector, centred: the shape of the spectrum, not the contrast."""
        power = np.abs(np.fft.rfft2((luma - luma.mean()) * self._window)) ** 2
        sums = np.bincount(self._rings, weights=power.ravel(), minlength=_RINGS * _SECTORS)
        level = np.log(sums / self._ring_size + 1e-4)
        return np.asarray(level - level.mean(), dtype=np.float32)


def _chroma(pixels: F32) -> F32:
    """Joint histogram of the two colour axes, square-rooted twice so that a little colour on paper counts."""
    index = np.clip(((pixels[:, :, 1:] - 128.0) / 24.0 + _CHROMA_SIDE / 2).astype(np.int64), 0, _CHROMA_SIDE - 1)
    counts = np.bincount((index[:, :, 0] * _CHROMA_SIDE + index[:, :, 1]).ravel(), minlength=_CHROMA_SIDE**2)
    return np.sqrt(np.sqrt(counts)).astype(np.float32)


def _layout(luma: F32) -> F32:
    """Ink per cell of a coarse grid, and its variation: where the page is full."""
    size = _SIDE // _THUMB
    cells = luma.reshape(_THUMB, size, _THUMB, size)
    spread = cells.std(axis=(1, 3)).ravel()
    level = cells.mean(axis=(1, 3)).ravel()
    return np.concatenate([level - level.mean(), spread]).astype(np.float32)


def _shape(aspect: float) -> F32:
    """Log aspect ratio spread over 16 soft bins from 1:4 to 4:1."""
    centres = np.linspace(-2.0, 2.0, 16)
    return np.asarray(np.exp(-0.5 * ((np.log2(aspect) - centres) / 0.2) ** 2), dtype=np.float32)


def _text(text: str) -> F32:
    """Signed hashed counts of character 2-, 3- and 4-grams, square-rooted, in ``DIM`` buckets."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = "\x02" + " ".join(folded.split()) + "\x03"
    codes = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    out = np.zeros(DIM, dtype=np.float64)
    rolling = codes
    for size in range(2, max(_NGRAMS) + 1):
        if codes.size < size:
            break
        # Multiply-add over the n-gram, then a 64-bit finaliser; unsigned arithmetic wraps by definition.
        rolling = rolling[: codes.size - size + 1] * np.uint64(0x100000001B3) + codes[size - 1 :]
        if size not in _NGRAMS:
            continue
        mixed = rolling ^ (rolling >> np.uint64(29))
        mixed = mixed * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        bucket = (mixed % np.uint64(DIM)).astype(np.int64)
        sign = np.where((mixed >> np.uint64(40)) & np.uint64(1), 1.0, -1.0)
        counts = np.bincount(bucket, weights=sign, minlength=DIM)
        out += counts
    return (np.sign(out) * np.sqrt(np.abs(out))).astype(np.float32)
