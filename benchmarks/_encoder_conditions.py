"""Input conditions against known truth on real pages: turned, faded, blurred, made noisy, resized and padded."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from benchmarks import _encoder_data as data
from monitor.embed.conditions import measure
from monitor.embed.images import Decoded
from training.split import RealImage, read

EVERY = 4  # real pages are looked at one in so many
NO_PAGES = ("photos_coco", "math_diagrams")
NOISE = (2.0, 5.0, 10.0, 20.0)  # levels of 255
FADES, BLURS, SCALES = (0.8, 0.6, 0.4, 0.2), (1.0, 2.0, 4.0), (0.8, 0.65)


def measured() -> dict[str, Any]:
    """Errors of every condition; ``skew_error_degrees`` is the median over all pages, untold ones counted as 20."""
    rows = [row for row in read(data.DATA / "images") if row.kind not in NO_PAGES][::EVERY]
    pages = [data.load(row) for row in rows]
    rng = np.random.default_rng(11)
    skew = _skew(rows, pages, rng)
    return {
        "skew_error_degrees": skew["median"],
        "conditions_error": {
            "pages": len(pages),
            "skew_degrees": skew,
            "noise_relative": _noise(pages, rng),
            "contrast": _spread(
                [measure(of(fade(p, s)))["contrast"] - s * now(p, "contrast") for p in pages[::4] for s in FADES]
            ),
            "blur_grows": _grows(pages[::4]),
            "text_height": _text_height(pages),
            "margins": _margins(pages),
            "page_ness": _page_ness(),
        },
    }


def of(image: Image.Image) -> Decoded:
    return Decoded(image, image.convert("L"), image.width, image.height, "PNG", 1)


def now(image: Image.Image, name: str) -> float:
    return float(measure(of(image))[name])


def fade(image: Image.Image, share: float) -> Image.Image:
    """Contrast at ``share``, around the middle of the range."""
    return Image.eval(image, lambda value: round(127.5 + share * (value - 127.5)))


def _skew(rows: Sequence[RealImage], pages: Sequence[Image.Image], rng: np.random.Generator) -> dict[str, Any]:
    by_kind: dict[str, list[float]] = {}
    for row, image in zip(rows, pages, strict=True):
        degrees = float(rng.uniform(-8, 8))
        turned = image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=_paper(image))
        found = measure(of(turned))["skew_degrees"]
        by_kind.setdefault(row.kind, []).append(20.0 if found is None else abs(found - degrees))
    errors = np.concatenate([np.array(found) for found in by_kind.values()])
    return {
        "median": round(float(np.median(errors)), 3), "q90": round(float(np.quantile(errors, 0.9)), 3),
        "untold": round(float((errors == 20.0).mean()), 3),
        "median_by_kind": {kind: round(float(np.median(found)), 3) for kind, found in sorted(by_kind.items())},
    }  # fmt: skip


def _paper(image: Image.Image) -> tuple[int, int, int]:
    """The colour of a page's corners, so that a border is not content."""
    pixels = np.asarray(image)
    corners = np.concatenate([pixels[:8, :8].reshape(-1, 3), pixels[-8:, -8:].reshape(-1, 3)])
    red, green, blue = np.median(corners, axis=0).astype(int).tolist()
    return red, green, blue


def _noise(pages: Sequence[Image.Image], rng: np.random.Generator) -> dict[str, Any]:
    """Measured over true deviation less one, paper that is clipped to white apart; the page's own noise is added to
    the truth."""
    found: dict[str, Any] = {}
    for deviation in NOISE:
        errors: dict[bool, list[float]] = {True: [], False: []}
        for image in pages[::3]:
            pixels = np.asarray(image, dtype=np.float64)
            noise = rng.normal(0, deviation, pixels.shape[:2])[:, :, None]
            noisy = Image.fromarray(np.clip(pixels + noise, 0, 255).round().astype(np.uint8))
            truth = float(np.hypot(255 * now(image, "noise"), deviation))
            errors[bool(np.median(pixels) > 249)].append(255 * now(noisy, "noise") / truth - 1)
        found[f"{deviation:g}"] = {"paper": _spread(errors[False]), "clipped": _spread(errors[True])}
    return found


def _grows(pages: Sequence[Image.Image]) -> float:
    """How often blur grows from each radius to the next."""
    right = []
    for image in pages:
        values = [now(image, "blur")] + [now(image.filter(ImageFilter.GaussianBlur(r)), "blur") for r in BLURS]
        right += [a < b for a, b in itertools.pairwise(values)]
    return round(float(np.mean(right)), 3)


def _text_height(pages: Sequence[Image.Image]) -> dict[str, Any]:
    """Height of the page made smaller over the height expected of it, less one: truth is only known between sizes."""
    errors, untold = [], 0
    for image in pages:
        whole = measure(of(image))["text_height"]
        untold += whole is None
        for scale in SCALES if whole is not None else ():
            small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
            part = measure(of(small))["text_height"]
            if part is not None:
                errors.append(part / (scale * whole) - 1)
    return {"relative": _spread(errors), "untold": round(untold / len(pages), 3)}


def _margins(pages: Sequence[Image.Image]) -> dict[str, float]:
    """Error of the left and top margin after a border of paper is added, as shares of the side."""
    errors = []
    for image in pages:
        before = measure(of(image))["margins"]
        wide = Image.new("RGB", (image.width + 96, image.height + 64), _paper(image))
        wide.paste(image, (96, 64))
        after = measure(of(wide))["margins"]
        errors.append(after[0] - (before[0] * image.height + 64) / wide.height)
        errors.append(after[3] - (before[3] * image.width + 96) / wide.width)
    return _spread(errors)


def _page_ness() -> dict[str, float]:
    """Share of images that read above one half, by kind, on the side that fitted nothing."""
    by_kind: dict[str, list[bool]] = {}
    for row in data.evaluation_images():
        by_kind.setdefault(row.kind, []).append(now(data.load(row), "page_ness") > 0.5)
    return {kind: round(float(np.mean(found)), 3) for kind, found in sorted(by_kind.items())}


def _spread(errors: Sequence[float]) -> dict[str, float]:
    if not errors:
        return {}
    low, middle, high = np.quantile(errors, (0.05, 0.5, 0.95)).round(4).tolist()
    return {"q05": low, "median": middle, "q95": high, "median_absolute": round(float(np.median(np.abs(errors))), 4)}
