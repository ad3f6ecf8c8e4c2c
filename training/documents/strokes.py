"""Handwriting from pen strokes: no font, so that no two hands are alike.

A hand is some thirty numbers (slant, roundness, loops, how often the pen is lifted, pressure, how straight a line
runs). A word is a chain of points, three to six for a letter, joined by a Catmull-Rom spline; what is written says
nothing, it has the rhythm of writing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from training.words import Rng

FINE = 3  # strokes are drawn at so many times the size
# What each letter of a word is: low, with an upper loop or stem, with a lower loop, a dot above, a cross stroke.
_LOW, _UP, _DOWN, _DOT, _CROSS = range(5)
_SHARES = np.cumsum([0.55, 0.2, 0.1, 0.08, 0.07])


@dataclass(frozen=True)
class Hand:
    """One writer: ``unit`` is the height of a small letter in pixels, other lengths are in units, slants tangents."""

    unit: float
    slant: float
    wide: float  # of a letter
    tall: float  # of upper loops
    deep: float  # of lower loops
    round: float  # 0: zigzag, 1: full bows
    loop: float  # width of loops
    lift: float  # share of letters after which the pen is lifted
    space: float  # between words
    leading: float  # between lines
    uneven: float  # of every point
    climb: float  # of a line
    drift: float  # of the left margin, units per line
    pen: float  # width of an upstroke in pixels
    press: float  # what a downstroke is wider

    @classmethod
    def draw(cls, rng: Rng, unit: float | None = None) -> Hand:
        return cls(
            unit=float(rng.uniform(2.4, 7.5)) if unit is None else unit,
            slant=float(rng.normal(0.35, 0.3)),
            wide=float(rng.uniform(0.7, 1.7)),
            tall=float(rng.uniform(1.5, 3.2)),
            deep=float(rng.uniform(0.8, 2.2)),
            round=float(rng.uniform(0.1, 1.0)),
            loop=float(rng.uniform(0.0, 0.6)),
            lift=float(rng.choice([0.0, 0.05, 0.3, 0.9])),
            space=float(rng.uniform(1.0, 2.6)),
            leading=float(rng.uniform(2.6, 6.0)),
            uneven=float(rng.uniform(0.03, 0.2)),
            climb=float(rng.normal(0, 0.02)),
            drift=float(rng.normal(0, 0.15)),
            pen=float(rng.uniform(0.5, 1.2)),
            press=float(rng.choice([0.0, 0.4, 1.0])) * float(rng.random()),
        )


def _letter(rng: Rng, hand: Hand, kind: int) -> list[tuple[float, float]]:
    """Points of one letter in units, x from its left and y up from the line; it ends on the line at its right."""
    w, bow = hand.wide, 0.25 * hand.round * hand.wide
    if kind in (_UP, _CROSS):
        top = hand.tall * (0.8 if kind == _CROSS else 1.0)
        stem = [
            (0.45 * w + hand.loop, 0.75 * top),
            (0.4 * w, top),
            (0.35 * w - hand.loop * 0.6, 0.7 * top),
            (0.35 * w, 0.1),
        ]
        return [*stem, (0.6 * w + bow, 0.9), (0.8 * w, 0.1)] if rng.random() < 0.5 else [*stem, (0.7 * w, 0.0)]
    if kind == _DOWN:
        return [
            (0.5 * w, 0.95), (0.2 * w - bow, 0.5), (0.5 * w, 0.1), (0.7 * w, 0.9), (0.65 * w, -hand.deep),
            (0.3 * w - hand.loop, -0.8 * hand.deep), (0.9 * w, 0.0),
        ]  # fmt: skip
    form = rng.random()
    if form < 0.35:  # a bow, as of a, c, e, o
        return [(0.6 * w, 0.95), (0.15 * w - bow, 0.55), (0.4 * w, 0.0), (0.75 * w + bow, 0.6), (0.9 * w, 0.05)]
    if form < 0.75:  # humps, as of m, n, r
        humps = int(rng.integers(1, 3))
        step = w / humps
        return [
            point
            for k in range(humps)
            for point in (
                (k * step + 0.15 * step, 0.0),
                (k * step + 0.4 * step + bow / 2, 1.0),
                (k * step + 0.8 * step, 0.05),
            )
        ]
    return [(0.3 * w, 0.9), (0.35 * w, 0.1), (0.7 * w, 0.0), (0.8 * w, 0.9), (w, 0.05)]  # cups, as of i, u, w


def _word(rng: Rng, hand: Hand, letters: int) -> tuple[list[np.ndarray], float]:
    """(strokes, each float[n, 2] in units, y up; the width of the word)."""
    strokes: list[list[tuple[float, float]]] = [[(0.0, 0.0)]]
    extra: list[np.ndarray] = []
    x = 0.0
    for k in range(letters):
        kind = int(np.searchsorted(_SHARES, rng.random()))
        if kind == _DOT:
            extra.append(np.array([[x + 0.5 * hand.wide, 1.7], [x + 0.5 * hand.wide + 0.15, 1.6]]))
        if kind == _CROSS:
            y = hand.tall * 0.6
            extra.append(np.array([[x - 0.1 * hand.wide, y], [x + 0.9 * hand.wide, y + 0.1]]))
        grown = 1.5 if k == 0 and rng.random() < 0.12 else 1.0  # a capital
        strokes[-1].extend((x + px, py * grown) for px, py in _letter(rng, hand, kind))
        x += hand.wide * float(rng.uniform(0.85, 1.15)) * grown
        if rng.random() < hand.lift:
            x += 0.25
            strokes.append([(x, 0.0)])
    made = [np.array(points) + rng.normal(0, hand.uneven, (len(points), 2)) for points in strokes if len(points) > 2]
    return made + extra, x


def _spline(points: np.ndarray, steps: int = 4) -> np.ndarray:
    """Catmull-Rom through all points: float[m, 2]."""
    p = np.concatenate([points[:1], points, points[-1:]])
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    made = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.concatenate([made.reshape(-1, 2), points[-1:]])


class Script:
    """A layer of writing over a page of width x height pixels: 0 paper, 255 full ink."""

    def __init__(self, width: int, height: int) -> None:
        self._layer = Image.new("L", (width * FINE, height * FINE), 0)
        self._pen = ImageDraw.Draw(self._layer)
        self._size = (width, height)

    def line(self, rng: Rng, hand: Hand, x: float, y: float, right: float) -> None:
        """Words from x to about ``right``; y is the line they stand on."""
        start, rise = x, 0.0
        while x < right:
            strokes, wide = _word(rng, hand, int(rng.integers(1, 10)))
            if x + wide * hand.unit > right + 4 * hand.unit and x > start:
                return
            rise += float(rng.normal(0, 0.05))
            for stroke in strokes:
                points = _spline(stroke) if len(stroke) > 2 else stroke
                across = x + (points[:, 0] + hand.slant * points[:, 1]) * hand.unit
                down = y - (points[:, 1] + rise) * hand.unit - (across - start) * hand.climb
                self._stroke(np.stack([across, down], 1) * FINE, hand)
            x += (wide + hand.space * float(rng.uniform(0.7, 1.4))) * hand.unit

    def _stroke(self, points: np.ndarray, hand: Hand) -> None:
        thin = max(1, round(hand.pen * FINE))
        self._pen.line([tuple(p) for p in points], fill=255, width=thin, joint="curve")
        if hand.press > 0.1:
            thick = max(thin, round((hand.pen + hand.press) * FINE))
            for a, b in itertools.pairwise(points):
                if b[1] - a[1] > abs(b[0] - a[0]) * 0.4:
                    self._pen.line([tuple(a), tuple(b)], fill=255, width=thick)

    def block(self, rng: Rng, hand: Hand, box: tuple[float, float, float, float]) -> float:
        """Lines that fill a box (left, top, right, bottom); where it ended."""
        left, y, right, bottom = box
        step = hand.unit * hand.leading
        y += step
        while y < bottom:
            short = rng.random() < 0.12
            self.line(rng, hand, left, y, left + (right - left) * (float(rng.uniform(0.2, 0.8)) if short else 1.0))
            left = max(box[0] * 0.5, left + hand.drift * hand.unit)
            if rng.random() < 0.03 and right - left > 60:  # crossed out
                x = float(rng.uniform(left, right - 50))
                row = y - hand.unit * 0.5
                self._pen.line([x * FINE, row * FINE, (x + 40) * FINE, (row + 1) * FINE], fill=255, width=FINE)
            y += step * float(rng.uniform(0.94, 1.06)) * (1.6 if short and rng.random() < 0.5 else 1.0)
        return y

    def on(self, image: Image.Image, ink: tuple[int, int, int], strength: np.ndarray | float = 1.0) -> Image.Image:
        """The page with the writing on it; ``strength`` 0..1, a number or float[height, width] as pressure varies."""
        layer = np.asarray(self._layer.resize(self._size, Image.Resampling.BOX), np.float32) / 255
        share = (layer * strength)[..., None]
        pixels = np.asarray(image, np.float32)
        return Image.fromarray((pixels + (np.array(ink, np.float32) - pixels) * share).astype(np.uint8))
