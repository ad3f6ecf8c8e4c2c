"""Conditions against known truth: pages turned, blurred and faded by known amounts."""

from __future__ import annotations

import csv
import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from monitor.embed.conditions import VERSION, measure, perceptual_hash
from monitor.embed.images import Decoded, decode
from tests.data import shared_data

PAGE_KINDS = (
    "doclaynet_laws_and_regulations",
    "doclaynet_scientific_articles",
    "olmocr_arxiv_math",
    "olmocr_multi_column",
    "olmocr_headers_footers",
    "receipts",
)


def of(image: Image.Image) -> Decoded:
    return Decoded(image, image.width, image.height, "PNG", 1)


WORDS = "the invoice total of all items listed below is due within thirty days unless stated otherwise by both"


def page(seed: int = 1, size: tuple[int, int] = (560, 740)) -> Image.Image:
    """Lines of words in Pillow's own font."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13)
    for top in range(40, size[1] - 40, 18):
        line = ""
        while font.getlength(line) < size[0] - 140:
            line += f"{rng.choice(WORDS.split())} "
        draw.text((40, top), line, fill="black", font=font)
    return image


def turned(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white")


@pytest.mark.parametrize("degrees", [-9.5, -3.0, -0.7, 0.0, 0.4, 2.0, 6.3, 14.0])
@pytest.mark.parametrize("quarter", [0, 90, 180, 270])
def test_angles_of_a_drawn_page(degrees: float, quarter: int) -> None:
    found = measure(of(turned(page(), degrees + quarter)))
    assert found["skew_degrees"] == pytest.approx(degrees, abs=0.25)
    assert found["rotation"] in (quarter, None)  # small print in one font: often it cannot be told


def test_white_on_black_is_measured_too() -> None:
    negative = Image.eval(turned(page(), 3), lambda value: 255 - value)
    found = measure(of(negative))
    assert found["skew_degrees"] == pytest.approx(3, abs=0.25)
    assert found["rotation"] == measure(of(turned(page(), 3)))["rotation"]


@pytest.mark.real
def test_angles_of_real_pages() -> None:
    """Median error at most 0.1 degrees and 90 % within 0.5; rotation, where told, right nine times in ten."""
    folder = shared_data("images")
    with (folder / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] in PAGE_KINDS][::12]
    rng = np.random.default_rng(5)
    errors, told, right = [], 0, 0
    for row in rows:
        decoded = decode((folder / row["file"]).read_bytes(), 50_000_000)
        assert isinstance(decoded, Decoded)
        degrees, quarter = float(rng.uniform(-8, 8)), int(rng.choice((0, 90, 180, 270)))
        found = measure(of(turned(decoded.image, degrees + quarter)))
        errors.append(20.0 if found["skew_degrees"] is None else abs(found["skew_degrees"] - degrees))
        told += found["rotation"] is not None
        right += found["rotation"] == quarter
    assert len(errors) >= 20
    assert np.median(errors) <= 0.1
    assert np.quantile(errors, 0.9) <= 0.5
    assert right >= 0.85 * told and told >= len(rows) / 3


def test_blur_grows_with_blurring() -> None:
    values = [measure(of(page().filter(ImageFilter.GaussianBlur(radius))))["blur"] for radius in (0, 1, 2, 4, 8)]
    assert all(a < b for a, b in itertools.pairwise(values)), values
    assert values[0] >= 0 and values[-1] <= 1


def test_contrast_falls_with_fading_and_brightness_with_darkness() -> None:
    faded = [measure(of(ImageEnhance.Contrast(page()).enhance(share))) for share in (1.0, 0.5, 0.25, 0.1)]
    contrasts = [found["contrast"] for found in faded]
    assert contrasts == sorted(contrasts, reverse=True)
    assert contrasts[0] == pytest.approx(1.0, abs=0.02)
    assert contrasts[2] == pytest.approx(0.25, abs=0.03)
    dark = measure(of(ImageEnhance.Brightness(page()).enhance(0.4)))
    assert dark["brightness"] == pytest.approx(0.4 * faded[0]["brightness"], abs=0.02)


def test_text_density_grows_with_text_and_not_with_contrast() -> None:
    full = page()
    half = full.copy()
    half.paste("white", (0, 0, full.width, full.height // 2))
    empty = Image.new("RGB", full.size, "white")
    values = [measure(of(image))["text_density"] for image in (empty, half, full)]
    assert values[0] == 0
    assert values[1] == pytest.approx(values[2] / 2, rel=0.15)
    assert values[2] > 0.3
    faded = measure(of(ImageEnhance.Contrast(full).enhance(0.3)))["text_density"]
    assert faded == pytest.approx(values[2], rel=0.1)


def test_near_duplicates_share_most_bits() -> None:
    original = page(3, (1200, 1600))
    out = io.BytesIO()
    original.resize((500, 667)).save(out, "JPEG", quality=40)
    copy = Image.open(io.BytesIO(out.getvalue()))
    first = perceptual_hash(original)
    assert (first ^ perceptual_hash(copy)).bit_count() <= 6
    assert (first ^ perceptual_hash(turned(original, 90))).bit_count() > 10
    assert 0 <= first < 2**64


@pytest.mark.parametrize("size", [(1, 1), (768, 1), (1, 768), (31, 31), (40, 2), (768, 768)])
@pytest.mark.parametrize("fill", ["white", "black", "noise"])
def test_any_image_has_conditions(size: tuple[int, int], fill: str) -> None:
    if fill == "noise":
        noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3))
        image = Image.fromarray(noise.astype(np.uint8))
    else:
        image = Image.new("RGB", size, fill)
    found = measure(of(image))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["v"] == VERSION
    assert (found["width"], found["height"]) == size
    for name in ("brightness", "contrast", "blur", "text_density"):
        assert 0 <= found[name] <= 1
    if fill != "noise":
        assert found["skew_degrees"] is None and found["rotation"] is None
