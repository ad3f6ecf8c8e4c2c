"""What happens to a document before a model sees it: thirteen conditions with a severity from 0 to 1."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from training.documents.shapes import cloud
from training.words import Rng

Applied = dict[str, float]


def _skew(image: Image.Image, rng: Rng, amount: float) -> Image.Image:
    angle = float(rng.choice([-1, 1])) * (1.5 + 16 * amount)
    edge = tuple(int(v) for v in np.asarray(image.resize((8, 8)), np.float32)[0].mean(0))
    fill = edge if rng.random() < 0.7 else tuple(int(v) for v in rng.integers(0, 256, 3))
    return image.rotate(angle, Image.Resampling.BILINEAR, expand=bool(rng.random() < 0.6), fillcolor=fill)


def _rotation(image: Image.Image, rng: Rng, amount: float) -> Image.Image:
    turn = (
        Image.Transpose.ROTATE_180
        if rng.random() < 0.34
        else (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)[int(rng.integers(2))]
    )
    return image.transpose(turn)


def _crop(image: Image.Image, rng: Rng, amount: float) -> Image.Image:
    keep = 1 - 0.15 - 0.5 * amount
    w, h = image.size
    cw, ch = max(8, int(w * keep)), max(8, int(h * keep))
    left, top = int(rng.integers(0, w - cw + 1)), int(rng.integers(0, h - ch + 1))
    return image.crop((left, top, left + cw, top + ch))


def _blur(image: Image.Image, rng: Rng, amount: float) -> Image.Image:
    if rng.random() < 0.25:
        return image.filter(ImageFilter.BoxBlur((0.5 + 4 * amount, 0) if rng.random() < 0.5 else (0, 0.5 + 4 * amount)))
    return image.filter(ImageFilter.GaussianBlur(0.5 + 3.0 * amount))


def _low_resolution(image: Image.Image, rng: Rng, amount: float) -> Image.Image:
    w, h = image.size
    share = 0.6 - 0.42 * amount
    small = image.resize((max(4, int(w * share)), max(4, int(h * share))), Image.Resampling.BOX)
    return small.resize((w, h), Image.Resampling.NEAREST if rng.random() < 0.3 else Image.Resampling.BILINEAR)


def _jpeg(image: Image.Image, rng: Rng, amount: float) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=int(28 - 24 * amount))
    return Image.open(out).convert("RGB")


def _arrays(
    work: Callable[[np.ndarray, Rng, float, tuple[int, int]], np.ndarray],
) -> Callable[[Image.Image, Rng, float], Image.Image]:
    def run(image: Image.Image, rng: Rng, amount: float) -> Image.Image:
        pixels = work(np.asarray(image, np.float32), rng, amount, image.size)
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    return run


def _low_contrast(p: np.ndarray, rng: Rng, amount: float, size: tuple[int, int]) -> np.ndarray:
    level = float(rng.uniform(100, 230))
    return level + (p - level) * (0.6 - 0.5 * amount)


def _fading(p: np.ndarray, rng: Rng, amount: float, size: tuple[int, int]) -> np.ndarray:
    """Ink pales towards the paper, unevenly."""
    share = (0.35 + 0.6 * amount) * (0.6 + 0.4 * cloud(rng, size, 3)[..., None])
    paper = np.quantile(p.reshape(-1, 3)[::17], 0.9, axis=0)
    return p + (paper - p) * share


def _shadow(p: np.ndarray, rng: Rng, amount: float, size: tuple[int, int]) -> np.ndarray:
    w, h = size
    turn = float(rng.uniform(0, 2 * np.pi))
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    edge = (x / w - rng.uniform(0.25, 0.75)) * np.cos(turn) + (y / h - rng.uniform(0.25, 0.75)) * np.sin(turn)
    return p * (1 - (0.25 + 0.5 * amount) / (1 + np.exp(-edge * float(rng.uniform(8, 60)))))[..., None]


def _wrinkle(p: np.ndarray, rng: Rng, amount: float, size: tuple[int, int]) -> np.ndarray:
    """Creases: bright and dark sides along lines, with a shift of what is printed."""
    w, h = size
    light = np.ones((h, w), np.float32)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    for _ in range(int(2 + 7 * amount)):
        turn = float(rng.uniform(0, np.pi))
        away = (x - rng.uniform(0, w)) * np.cos(turn) + (y - rng.uniform(0, h)) * np.sin(turn)
        light += (0.12 + 0.3 * amount) * np.tanh(away / 3) * np.exp(-np.abs(away) / float(rng.uniform(5, 25)))
    if rng.random() < 0.5:
        roll = np.round(2.5 * amount * np.sin(np.arange(h) / float(rng.uniform(8, 40)))).astype(int)
        p = p[np.arange(h)[:, None], (np.arange(w)[None] + roll[:, None]) % w]
    return p * light[..., None]


def _noise(p: np.ndarray, rng: Rng, amount: float, size: tuple[int, int]) -> np.ndarray:
    if rng.random() < 0.3:  # specks of a fax or copier
        hit = rng.random(p.shape[:2]) < 0.01 + 0.08 * amount
        return np.where(hit[..., None], 255 * (rng.random(p.shape[:2]) < 0.5)[..., None], p)
    return p + rng.standard_normal((*p.shape[:2], 1), dtype=np.float32) * (10 + 50 * amount)


def _glare(p: np.ndarray, rng: Rng, amount: float, size: tuple[int, int]) -> np.ndarray:
    w, h = size
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    spot = ((x / w - rng.uniform(0.15, 0.85)) / rng.uniform(0.1, 0.4)) ** 2 + (
        (y / h - rng.uniform(0.15, 0.85)) / rng.uniform(0.1, 0.4)
    ) ** 2
    return p + (255 - p) * ((0.5 + 0.5 * amount) * np.exp(-spot))[..., None]


def _dark(p: np.ndarray, rng: Rng, amount: float, size: tuple[int, int]) -> np.ndarray:
    return p * (0.6 - 0.48 * amount) + rng.standard_normal((*p.shape[:2], 1), dtype=np.float32) * 6 * amount


# Geometry first, then light, then the camera: the order in which they are applied.
CONDITIONS: dict[str, Callable[[Image.Image, Rng, float], Image.Image]] = {
    "rotation": _rotation,
    "crop": _crop,
    "skew": _skew,
    "wrinkle": _arrays(_wrinkle),
    "fading": _arrays(_fading),
    "low contrast": _arrays(_low_contrast),
    "shadow": _arrays(_shadow),
    "glare": _arrays(_glare),
    "dark": _arrays(_dark),
    "low resolution": _low_resolution,
    "blur": _blur,
    "noise": _arrays(_noise),
    "jpeg": _jpeg,
}
GEOMETRIC = ("rotation", "crop", "skew")
NAMES = tuple(CONDITIONS)
_COUNT = (0.36, 0.42, 0.17, 0.05)  # how often none, one, two, three conditions at once


def draw(rng: Rng) -> Applied:
    """Which conditions with which severity: mostly none or one."""
    count = int(rng.choice(len(_COUNT), p=_COUNT))
    chosen = rng.permutation(len(NAMES))[:count]
    return {NAMES[i]: float(rng.random()) for i in sorted(chosen)}


def apply(image: Image.Image, conditions: Applied, rng: Rng, names: tuple[str, ...] = NAMES) -> Image.Image:
    """The image under those of ``conditions`` that are in ``names``, in the order of ``CONDITIONS``."""
    for name, work in CONDITIONS.items():
        if name in conditions and name in names:
            image = work(image, rng, conditions[name])
    return image
