"""The real images as vectors of the shipped encoder: augmented, so that a source gives several rows, and conditioned.

Every image gives AUGMENTED rows (turned by up to 2 degrees, cropped, brighter or darker, less or more contrast), and
under every condition CONDITIONED more, augmented likewise and then blurred, turned or faded. Kept on disk.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from benchmarks._encoder_data import DATA, load, mini_encoder, vectors
from benchmarks._encoder_images import CONDITIONS
from training.split import RealImage, read

AUGMENTED, CONDITIONED, SIDE = 6, 2, 448
CONDITIONS_USED: dict[str, float] = {"contrast": 0.6, "skew": 5.0, "blur": 2.0}
CACHE_KEY = "detect-1"

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RealVectors:
    """``plain`` float32[images, 6, d]; ``changed`` by condition float32[images, 2, d]; of each image its kind and
    document."""

    plain: Rows
    changed: dict[str, Rows]
    kinds: NDArray[np.str_]
    documents: NDArray[np.str_]


def real_vectors() -> RealVectors | None:
    """None where the images or the encoder's weights are absent."""
    folder: Path = DATA / "images"
    encoder = mini_encoder(None) if folder.is_dir() else None
    if encoder is None:
        return None
    rows = sorted(read(folder), key=lambda row: row.file)

    def embedded(name: str, copies: int, change: Callable[[Image.Image], Image.Image]) -> Rows:
        makers = [_maker(row, copy, name, change) for row in rows for copy in range(copies)]
        found = vectors(encoder.identity, encoder.encode_images, f"{CACHE_KEY} {name} {SIDE}", makers)
        return found.reshape(len(rows), copies, -1)

    changed = {
        name: embedded(f"{name} {level}", CONDITIONED, lambda image, n=name, v=level: CONDITIONS[n][1](image, v))  # type: ignore[misc]
        for name, level in CONDITIONS_USED.items()
    }
    return RealVectors(
        plain=embedded("plain", AUGMENTED, lambda image: image),
        changed=changed,
        kinds=np.array([row.kind for row in rows]),
        documents=np.array([row.document for row in rows]),
    )


def _maker(
    row: RealImage, copy: int, name: str, change: Callable[[Image.Image], Image.Image]
) -> Callable[[], Image.Image]:
    seed = zlib.crc32(f"{row.file} {copy} {name}".encode())
    return lambda: change(augment(load(row, SIDE), np.random.default_rng(seed)))


def augment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What the same page looks like uploaded again: another crop, angle and exposure."""
    turned = image.rotate(float(rng.uniform(-2, 2)), Image.Resampling.BILINEAR, fillcolor=(255, 255, 255))
    left, top, right, bottom = rng.uniform(0, 0.04, 4)
    w, h = turned.size
    cut = turned.crop((round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h)))
    bright = ImageEnhance.Brightness(cut).enhance(float(rng.uniform(0.9, 1.1)))
    return ImageEnhance.Contrast(bright).enhance(float(rng.uniform(0.85, 1.1)))
