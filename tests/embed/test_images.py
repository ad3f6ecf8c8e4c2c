"""Every kind of image file has a stated outcome."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from monitor.embed.images import THUMBNAIL_SIDE, WORKING_SIDE, Decoded, Missing, decode, thumbnail

LIMIT = 50_000_000


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def photo(size: tuple[int, int] = (300, 200), mode: str = "RGB") -> Image.Image:
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    pixels = np.stack([rows * 255 / size[1], columns * 255 / size[0], (rows + columns) % 256], axis=2)
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def decoded(data: bytes, limit: int = LIMIT) -> Decoded:
    outcome = decode(data, limit)
    assert isinstance(outcome, Decoded), outcome
    assert outcome.image.mode == "RGB"
    assert max(outcome.image.size) <= WORKING_SIDE
    return outcome


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("PNG", "RGB"),
        ("PNG", "1"),
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "P"),
        ("PNG", "RGBA"),
        ("WEBP", "RGB"),
        ("WEBP", "RGBA"),
        ("GIF", "P"),
        ("TIFF", "RGB"),
        ("TIFF", "CMYK"),
        ("TIFF", "1"),
        ("BMP", "RGB"),
        ("PPM", "RGB"),
    ],
)
def test_formats_and_modes(format: str, mode: str) -> None:
    outcome = decoded(encoded(photo(mode=mode), format))
    assert (outcome.width, outcome.height, outcome.image.size) == (300, 200, (300, 200))
    want = np.asarray(photo(mode=mode).convert("RGB"), dtype=float)
    assert abs(np.asarray(outcome.image, dtype=float) - want).mean() < 12


def test_transparency_is_white_paper() -> None:
    clear = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    assert decoded(encoded(clear, "PNG")).image.getpixel((5, 5)) == (255, 255, 255)
    palette = Image.new("P", (10, 10), 3)
    palette.putpalette([channel for shade in range(8) for channel in (shade, shade, shade)])
    assert decoded(encoded(palette, "PNG", transparency=3)).image.getpixel((5, 5)) == (255, 255, 255)
    grey = Image.new("L", (10, 10), 7)
    assert decoded(encoded(grey, "PNG", transparency=7)).image.getpixel((5, 5)) == (255, 255, 255)


def test_sixteen_bits_and_floats_keep_their_range() -> None:
    ramp = np.linspace(0, 65535, 256 * 64).reshape(64, 256)
    deep = decoded(encoded(Image.fromarray(ramp.astype(np.uint16)), "PNG")).image
    floats = decoded(encoded(Image.fromarray((ramp / 65535).astype(np.float32)), "TIFF")).image
    for image in (deep, floats):
        values = np.asarray(image)[:, :, 0]
        assert values[0, 0] <= 1 and values[-1, -1] >= 254


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    for format in ("GIF", "WEBP", "TIFF"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        red, green, blue = decoded(data).image.getpixel((5, 5))
        assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_recorded(orientation: int) -> None:
    upright = Image.new("RGB", (1000, 600), "white")
    upright.paste("red", (0, 0, 500, 300))  # red is at the top left of what people see
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    outcome = decoded(encoded(stored, "JPEG", exif=exif))
    assert (outcome.width, outcome.height, outcome.orientation) == (1000, 600, orientation)
    assert outcome.image.width > outcome.image.height
    _, green, blue = outcome.image.getpixel((20, 20))
    assert green < 80 and blue < 80
    assert outcome.image.getpixel((outcome.image.width - 20, outcome.image.height - 20)) > (240, 240, 240)


def test_nonsense_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert decoded(encoded(photo(), "JPEG", exif=exif)).orientation == 1


def test_extreme_sizes() -> None:
    assert decoded(encoded(Image.new("RGB", (1, 1)), "PNG")).image.size == (1, 1)
    for size in ((20_000, 3), (3, 20_000)):
        outcome = decoded(encoded(Image.new("L", size, 200), "PNG"))
        assert (outcome.width, outcome.height) == size
        assert max(outcome.image.size) == WORKING_SIDE and min(outcome.image.size) == 1
    wide = decoded(encoded(Image.new("RGB", (20_000, 1000), "white"), "JPEG"))
    assert wide.image.size == (WORKING_SIDE, round(WORKING_SIDE / 20))


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A PNG whose compressed text chunk expands to 64 MB."""
    plain = encoded(photo((8, 8)), "PNG")
    body = b"Comment\x00\x00" + zlib.compress(bytes(64_000_000), 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    return plain[:33] + chunk + plain[33:]


JPEG = encoded(photo((640, 480)), "JPEG")


@pytest.mark.parametrize(
    ("data", "reasons"),
    [
        (b"", {"image_empty"}),
        (b"hello, I am a text", {"image_unknown_format"}),
        (b"%PDF-1.7 ...", {"pdf_not_covered"}),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), {"heic_codec_absent"}),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {"image_unknown_format"}),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", {"image_unknown_format"}),
        (b"GIF89a" + bytes(40), {"image_undecodable", "image_unknown_format", "image_empty", "image_truncated"}),
        (JPEG[: len(JPEG) // 2], {"image_truncated"}),
        (JPEG[:20], {"image_truncated", "image_undecodable", "image_unknown_format"}),
        (encoded(photo(), "PNG")[:400], {"image_truncated", "image_undecodable"}),
        (png_claiming(60_000, 60_000), {"image_too_large"}),
        (png_claiming(10_000, 10_000), {"image_too_large"}),
        (png_claiming(2**31 - 1, 2**31 - 1), {"image_too_large", "image_undecodable", "image_unknown_format"}),
        (text_bomb(), {"image_undecodable", "image_unknown_format"}),
    ],
)
def test_refusals(data: bytes, reasons: set[str]) -> None:
    outcome = decode(data, LIMIT)
    assert isinstance(outcome, Missing)
    assert outcome.reason in reasons


def test_the_pixel_limit_is_the_configured_one() -> None:
    data = encoded(Image.new("1", (2000, 2000)), "PNG")
    assert decode(data, 2000 * 2000 - 1) == Missing("image_too_large")
    assert isinstance(decode(data, 2000 * 2000), Decoded)


def test_a_polyglot_is_what_its_first_bytes_say() -> None:
    outcome = decoded(JPEG + b"<script>alert(1)</script>" + encoded(photo((64, 48)), "PNG"))
    assert outcome.image.size == decoded(JPEG).image.size


@settings(max_examples=150, deadline=None)
@given(
    which=st.sampled_from(("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP")),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 3000),
)
def test_mutilated_files_never_raise(which: str, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(encoded(photo((40, 30)), which))
    for at, value in changes:
        data[at % len(data)] = value
    outcome = decode(bytes(data[: len(data) - cut % len(data)]), 10**6)
    assert isinstance(outcome, Decoded | Missing)


def test_thumbnail() -> None:
    for size in ((700, 300), (5, 3), (768, 1)):
        small = Image.open(io.BytesIO(thumbnail(photo(size))))
        assert small.format == "JPEG" and max(small.size) == min(max(size), THUMBNAIL_SIDE)


def test_a_thumbnail_holds_nothing_of_the_file_but_its_pixels() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    data = encoded(photo((700, 300)), "JPEG", comment=b"a comment", exif=exif, icc_profile=b"a profile")
    found = decode(data, LIMIT)
    assert isinstance(found, Decoded)
    small = thumbnail(found.image)
    assert not any(secret in small for secret in (b"a comment", b"a description", b"a profile"))


def test_the_small_image_is_that_of_one_filter_and_holds_no_file() -> None:
    """Averaging 2 x 2 pixels first changes little of it, and no colour."""
    page = photo((1240, 1754))
    page.paste("white", (100, 100, 1140, 1600))
    for top in range(140, 1560, 40):
        page.paste((30, 30, 90), (160, top, 1000, top + 14))
    data = encoded(page, "JPEG", quality=95)
    whole, small = decoded(data), decode(data, LIMIT, 256)
    assert isinstance(small, Decoded)
    assert whole.image.size == whole.grey.size == small.grey.size == (543, WORKING_SIDE)
    assert small.image.size == (181, 256)
    source = Image.open(io.BytesIO(data))
    source.draft(None, (543, 768))
    expected = source.convert("RGB").resize((181, 256), Image.Resampling.BILINEAR)
    difference = np.asarray(small.image, dtype=float) - np.asarray(expected, dtype=float)
    assert abs(difference).mean() < 2.5
    assert abs(difference.mean(axis=(0, 1))).max() < 0.2
    grey = np.asarray(whole.grey, dtype=float) - np.asarray(small.grey, dtype=float)
    assert abs(grey).max() <= 4 and abs(grey.mean()) < 0.2
    plain = decoded(encoded(photo((60, 40)), "PNG"))
    for outcome in (whole, small, plain):
        assert type(outcome.image) is type(outcome.grey) is Image.Image
