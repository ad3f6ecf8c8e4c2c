"""Every unusual kind of image has a stated outcome (docs/encoders.md), in the pool and under the default limits."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from monitor.config.inputs import Payloads
from monitor.embed.images import WORKING_SIDE, Missing
from monitor.embed.pool import DecoderPool, Look
from tests.embed.hostile import encoded
from tests.embed.pdfs import pdf, text_page

RED = (255, 0, 0)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    limits = Payloads()
    made = DecoderPool(
        1, memory=limits.decode_memory, seconds=10 * limits.decode_time / 1e6, max_pixels=limits.max_pixels
    )
    yield made
    made.close()


def seen(pool: DecoderPool, data: bytes) -> Look:
    (found,) = pool.looks(data)
    assert isinstance(found, Look), found
    return found


def colour(look: Look) -> tuple[int, ...]:
    middle = look.image.getpixel((look.image.width // 2, look.image.height // 2))
    assert isinstance(middle, tuple)
    return middle


def test_orientation_is_applied_and_recorded(pool: DecoderPool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    look = seen(pool, encoded(Image.new("RGB", (300, 200), "white"), "JPEG", exif=exif))
    assert (look.conditions["width"], look.conditions["height"], look.conditions["orientation"]) == (200, 300, 6)
    assert look.image.size == (200, 300)


def test_alpha_is_on_white(pool: DecoderPool) -> None:
    for mode, clear in (("RGBA", (9, 9, 9, 0)), ("LA", (9, 0))):
        for kind in ("PNG", "WEBP", "TIFF"):
            if (mode, kind) != ("LA", "WEBP"):
                assert min(colour(seen(pool, encoded(Image.new(mode, (60, 60), clear), kind)))) >= 254
    half = colour(seen(pool, encoded(Image.new("RGBA", (60, 60), (0, 0, 0, 128)), "PNG")))
    assert all(abs(value - 127) <= 1 for value in half)


def test_cmyk_is_converted(pool: DecoderPool) -> None:
    for kind in ("JPEG", "TIFF"):
        red = colour(seen(pool, encoded(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), kind)))
        assert red[0] > 240 and max(red[1:]) < 20


def test_sixteen_bits_become_eight(pool: DecoderPool) -> None:
    deep = np.full((50, 50), 0x8000, dtype=np.uint16)
    deep[:25] = 0xFFFF
    for kind in ("PNG", "TIFF"):
        grey = np.asarray(seen(pool, encoded(Image.fromarray(deep), kind)).image)
        assert (grey[10, 10, 0], grey[40, 40, 0]) == (255, 128)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_the_first_page_or_frame_counts(pool: DecoderPool, kind: str) -> None:
    rest = [Image.new("RGB", (50, 40), name) for name in ("blue", "green", "black")]
    data = encoded(Image.new("RGB", (50, 40), RED), kind, save_all=True, append_images=rest)
    found = colour(seen(pool, data))
    assert found[0] > 240 and max(found[1:]) < 20


def test_webp_with_and_without_loss(pool: DecoderPool) -> None:
    for lossless in (False, True):
        found = colour(seen(pool, encoded(Image.new("RGB", (64, 64), RED), "WEBP", lossless=lossless)))
        assert found[0] > 240 and max(found[1:]) < 20


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_one_pixel(pool: DecoderPool, kind: str) -> None:
    look = seen(pool, encoded(Image.new("RGB", (1, 1), "white"), kind))
    assert look.image.size == (1, 1) and look.thumbnail
    assert look.conditions["skew_degrees"] is None and look.conditions["rotation"] is None


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_sides_of_20000_pixels(pool: DecoderPool, mode: str) -> None:
    """Up to ``max_pixels`` they are reduced, beyond it refused before a pixel is decoded."""
    for size in ((20_000, 2_400), (2_400, 20_000)):
        image = Image.new(mode, size) if mode != "P" else Image.new("P", size, 1)
        options = {"transparency": 1} if mode == "P" else {}
        look = seen(pool, encoded(image, "PNG", compress_level=1, **options))
        assert max(look.image.size) == WORKING_SIDE and min(look.image.size) == round(WORKING_SIDE * 0.12)
        assert (look.conditions["width"], look.conditions["height"]) == size
    if mode == "1":
        assert pool.looks(encoded(Image.new("1", (20_000, 20_000)), "PNG")) == (Missing("image_too_large"),)


def test_heic_is_refused_clearly(pool: DecoderPool) -> None:
    assert pool.looks(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)) == (Missing("heic_codec_absent"),)


def test_polyglots_are_what_their_first_bytes_say(pool: DecoderPool) -> None:
    red = encoded(Image.new("RGB", (64, 48), RED), "JPEG")
    blue = encoded(Image.new("RGB", (30, 30), "blue"), "PNG")
    page = pdf([text_page("x")])
    for rest in (blue, page, b"PK\x03\x04" + bytes(50), b"<script>alert(1)</script>"):
        assert seen(pool, red + rest).conditions["width"] == 64
        assert seen(pool, blue + rest).conditions["width"] == 30
    assert seen(pool, page + red).conditions["pages"] == 1
    assert pool.looks(b"%PDF-1.4\n" + red) == (Missing("pdf_undecodable"),)


def test_a_comment_as_large_as_the_format_allows_is_ignored(pool: DecoderPool) -> None:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), RED).save(out, "JPEG", comment=b"x" * 65_000)
    assert seen(pool, out.getvalue()).image.size == (20, 20)
