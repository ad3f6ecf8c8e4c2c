"""Inputs that every encoder is tried with, and how close two encoders are on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from monitor.embed.encoders.base import Encoder, Vectors


@dataclass(frozen=True, slots=True)
class Parity:
    """Cosines between the exported and the original vectors of the same inputs."""

    images: int
    texts: int
    image_min: float
    image_mean: float
    text_min: float
    text_mean: float


def measure_parity(first: Encoder, second: Encoder, images: Sequence[Image.Image], texts: Sequence[str]) -> Parity:
    """Cosines between two encoders' vectors, row by row."""
    of_images = cosines(first.encode_images(images), second.encode_images(images))
    of_texts = cosines(first.encode_texts(texts), second.encode_texts(texts))
    return Parity(
        len(images),
        len(texts),
        round(float(of_images.min()), 6),
        round(float(of_images.mean()), 6),
        round(float(of_texts.min()), 6),
        round(float(of_texts.mean()), 6),
    )


def cosines(first: Vectors, second: Vectors) -> Vectors:
    """float32[n], row by row; both are float32[n, dim] of unit rows."""
    return np.asarray((first * second).sum(axis=1), dtype=np.float32)


PROBE_TEXTS = (
    "Extract the total and the date from this receipt.",
    "Which of the two clauses limits the liability of the supplier, and to what amount?",
    "Beschreibe das Diagramm in einem Satz.",
    "a photo of a dog",
    "x^2 + y^2 = r^2; solve for y",
    "表の合計を求めてください",
    "",
    "Summarise the letter. " * 30,
)


def probe_pages() -> list[Image.Image]:
    """Eight drawn pages that differ in layout, size and brightness: the parity check's own inputs."""
    rng = np.random.default_rng(20)
    pages = []
    for number in range(8):
        width, height = (int(v) for v in rng.integers(240, 700, 2))
        page = Image.new("RGB", (width, height), (255 - 20 * number,) * 3)
        draw = ImageDraw.Draw(page)
        for top in range(20, height - 10, 12 + 3 * number):
            left = 20
            while left < width - 40:
                word = int(rng.integers(8, 50))
                draw.rectangle((left, top, left + word, top + 6), fill=tuple(int(v) for v in rng.integers(0, 120, 3)))
                left += word + 8
        pages.append(page)
    return pages
