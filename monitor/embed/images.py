"""Payload bytes to a small RGB image, within limits.

Whatever arrives, the outcome is an image or a reason; nothing here raises on content. Decoding is bounded
twice: the pixel count in the header is checked before a pixel is decoded, and what is kept is at most
``WORKING_SIDE`` on its longest side, so memory per image does not depend on the input.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

# 768 px keeps 10-point text of an A4 page readable to the condition measurements (about 9 px high) and lets
# a 150 dpi scan (1,240 x 1,754) be decoded at half size by the JPEG decoder itself.
WORKING_SIDE = 768
THUMBNAIL_SIDE = 256

Size = tuple[int, int]  # width, height

# A closed list: Pillow also opens formats that start other programs (EPS) or are rarely exercised. Builds without
# a codec (WEBP, AVIF) lack its name. MPO, several JPEGs in one file, opens as JPEG.
Image.init()
FORMATS = tuple(name for name in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF") if name in Image.OPEN)

# Pillow only warns between one and two times its own limit; here that is a refusal as well.
warnings.simplefilter("error", Image.DecompressionBombWarning)

T = TypeVar("T")

_AVERAGED = ("RGB", "RGBA", "L", "LA", "CMYK", "YCbCr")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a part or a sample could not be looked at: one of the reasons listed in docs/encoders.md.

    Of a page of a document: which (from 1), and of how many.
    """

    reason: str
    page: int = 0
    pages: int = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """``grey`` is luminance at working size, ``image`` RGB at the size asked for. ``width`` and ``height`` are
    those of the original after EXIF orientation."""

    image: Image.Image
    grey: Image.Image
    width: int
    height: int
    format: str
    orientation: int  # EXIF value 1..8; 1: none


@dataclass(frozen=True, slots=True)
class View:
    """An image encoded anew as a JPEG, for people: what a browser is given."""

    data: bytes
    width: int
    height: int


def decode(data: bytes, max_pixels: int, side: int = WORKING_SIDE) -> Decoded | Missing:
    """Decode the first frame of an image file to RGB on white, EXIF orientation applied.

    Args:
        data: the whole file.
        max_pixels: largest width x height that is decoded; a larger image is ``Missing("image_too_large")``.
        side: longest side of ``Decoded.image``, at most ``WORKING_SIDE``.
    """
    return _within(data, max_pixels, lambda source: _decode(source, max_pixels, side))


def full_view(data: bytes, max_pixels: int, side: int, most_bytes: int) -> View | Missing:
    """The first frame of an image file for people to read: turned as EXIF has it, its longest side at most ``side``,
    encoded anew, in at most ``most_bytes``. Nothing of the file's own bytes is in it."""
    return _within(data, max_pixels, lambda source: _full_view(source, max_pixels, side, most_bytes))


def _within(data: bytes, max_pixels: int, work: Callable[[Image.Image], T | Missing]) -> T | Missing:
    """``work`` on an opened file, or why that cannot be."""
    if not data:
        return Missing("image_empty")
    if data[:5] == b"%PDF-":
        return Missing("pdf_not_covered")
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return Missing("heic_codec_absent")
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as source:
            return work(source)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Missing("image_too_large")
    except UnidentifiedImageError:
        return Missing("image_unknown_format")
    except OSError as error:
        return Missing("image_truncated" if "truncated" in str(error) else "image_undecodable")
    except MemoryError:
        return Missing("image_out_of_memory")
    except Exception:  # decoders raise anything (struct.error, zlib.error, SyntaxError, …) on hostile files
        return Missing("image_undecodable")


def _full_view(source: Image.Image, max_pixels: int, side: int, most_bytes: int) -> View | Missing:
    width, height = source.size
    if width < 1 or height < 1:
        return Missing("image_empty")
    if width * height > max_pixels:
        return Missing("image_too_large")
    orientation = source.getexif().get(0x0112, 1)
    target = fitted((width, height), side)
    if source.format in ("JPEG", "MPO") and target != (width, height):
        source.draft(None, target)
    source.load()
    image = _resized(_flatten(source), target, 2.0)
    if isinstance(orientation, int) and 2 <= orientation <= 8:
        image = _oriented(image, orientation)
    return encoded_view(image, most_bytes)


def encoded_view(image: Image.Image, most_bytes: int) -> View:
    """An RGB image as a JPEG for a browser; worse, then smaller, until it fits ``most_bytes``."""
    while True:
        for quality in (80, 60, 40):
            out = io.BytesIO()
            _written(image, out, quality)
            if out.tell() <= most_bytes:
                return View(out.getvalue(), image.width, image.height)
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BILINEAR)


def _decode(source: Image.Image, max_pixels: int, side: int) -> Decoded | Missing:
    width, height = source.size
    if width < 1 or height < 1:
        return Missing("image_empty")
    if width * height > max_pixels:
        return Missing("image_too_large")
    file_format = source.format or ""
    orientation = source.getexif().get(0x0112, 1)
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        orientation = 1
    target = fitted((width, height), WORKING_SIDE)
    if file_format in ("JPEG", "MPO") and target != (width, height):
        source.draft(None, target)  # the decoder itself drops to 1/2, 1/4 or 1/8; never below the target
    source.load()  # of an animation or a multi-page file: the first frame only
    # Shrinking first keeps the copies below small; palettes and 16-bit samples cannot be averaged as they are.
    if source.mode in _AVERAGED and "transparency" not in source.info and max(source.size) > 2 * max(target):
        image = _flatten(source.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0))
    else:
        image = _flatten(source)
    if orientation >= 5:
        width, height = height, width
    return views(image, side, width, height, file_format, orientation)


def views(image: Image.Image, side: int, width: int, height: int, file_format: str, orientation: int = 1) -> Decoded:
    """What is looked at of an RGB image, turned as EXIF has it: luminance at working size, and the image itself with
    its longest side at most ``side``, each resized once. ``image`` is left alone."""
    target, wanted = fitted(image.size, WORKING_SIDE), fitted(image.size, side)
    if wanted == target:
        image = _resized(image, target, 2.0)
        grey = image.convert("L")
    else:
        grey = _resized(image.convert("L"), target, 2.0)
        # Means of 2 x 2 pixels first, where the size falls to a third or less: a third less time, and nearly the same.
        image = _resized(image, wanted, 1.5)
    if orientation != 1:
        image, grey = _oriented(image, orientation), _oriented(grey, orientation)
    return Decoded(image, grey, width, height, file_format, orientation)


def fitted(size: Size, side: int) -> Size:
    """The size of the same shape whose longest side is at most ``side``; never larger, at least a pixel each way."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resized(image: Image.Image, size: Size, gap: float) -> Image.Image:
    """A new image; whole pixels are averaged first where that leaves ``gap`` times ``size`` at least."""
    if image.size == size:
        return image.copy()
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=gap)


def _flatten(source: Image.Image) -> Image.Image:
    """Any mode to RGB, RGB as it is; alpha over white; 16-bit and floating-point samples scaled to 8 bits."""
    mode = source.mode
    if mode == "RGB" and "transparency" not in source.info:
        return source
    if mode.startswith("I;16"):
        return Image.fromarray((np.asarray(source) >> 8).astype(np.uint8)).convert("RGB")
    if mode in ("I", "F"):  # no stated white point: stretch what there is
        samples = np.nan_to_num(np.asarray(source, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(samples.min()), float(samples.max())
        samples = (samples - low) * (255.0 / (high - low)) if high > low else np.zeros_like(samples)
        return Image.fromarray(np.clip(samples, 0, 255).astype(np.uint8)).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in source.info:
        rgba = source.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return source.convert("RGB")


_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _oriented(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TRANSPOSES[orientation])


def thumbnail(image: Image.Image) -> bytes:
    """A JPEG with its longest side at most ``THUMBNAIL_SIDE`` px."""
    scale = THUMBNAIL_SIDE / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
    out = io.BytesIO()
    _written(image, out, 60)
    return out.getvalue()


def _written(image: Image.Image, out: io.BytesIO, quality: int) -> None:
    """As a JPEG of the pixels alone: Pillow would write the comment of the file that they came from."""
    image.save(out, "JPEG", quality=quality, comment=b"", exif=b"")
