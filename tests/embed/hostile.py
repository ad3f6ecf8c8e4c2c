"""500 files that mean no good: bombs, truncated, mutated, wrong type, giant, animated, polyglot, random bytes."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.embed.pdfs import encrypted, pdf, text_page

FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def photo(rng: np.random.Generator, width: int = 160, height: int = 120) -> Image.Image:
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def files(rng: np.random.Generator) -> list[bytes]:
    """One good file of each format, plain and in its less usual forms."""
    image = photo(rng)
    found = [encoded(image, kind) for kind in FORMATS]
    found += [
        encoded(image, "JPEG", progressive=True, quality=95),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image.convert("RGBA"), "PNG"),
        encoded(image.quantize(16), "PNG"),
        encoded(image.convert("L"), "TIFF", compression="tiff_lzw"),
        encoded(image, "TIFF", compression="jpeg"),
        encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        encoded(image.convert("1"), "TIFF", compression="group4"),
        encoded(image, "WEBP", lossless=True),
        encoded(image, "GIF", save_all=True, append_images=[photo(rng) for _ in range(3)]),
        pdf([text_page("x"), text_page("y")]),
    ]
    return found


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, body: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    """A little-endian TIFF of one directory with (tag, type, count, value) and the offset of the next directory."""
    body = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(entries))
    return body + b"".join(struct.pack("<HHII", *e) for e in entries) + struct.pack("<I", following) + bytes(200)


def bombs() -> Iterator[bytes]:
    zeros = zlib.compress(bytes(8_000_000), 9)
    for side in (9_000, 20_000, 60_000, 2**31 - 1):
        for depth, colour in ((1, 0), (8, 2), (16, 6)):
            yield png(side, side, depth, colour, zeros)
    for width, height in ((7_000, 7_000), (6_900, 7_200), (50_000_000, 1), (1, 50_000_000), (49_999, 1_000)):
        yield png(width, height, 1, 0, zlib.compress(bytes((width // 8 + 2) * height), 9))
        yield png(width, height, 8, 6, zeros)  # far less data than pixels
    large = zlib.compress(bytes(70_000_000), 9)
    image = encoded(Image.new("RGB", (8, 8)), "PNG")
    for name, head in ((b"zTXt", b"c\0\0"), (b"iCCP", b"p\0\0"), (b"iTXt", b"c\0\1\0\0\0")):
        yield image[:33] + chunk(name, head + large) + image[33:]
        yield image[:33] + chunk(name, head + large) * 30 + image[33:]
    yield image[:33] + chunk(b"tEXt", b"a\0" + b"b" * 1000) * 20_000 + image[33:]
    for width, height in ((65_535, 65_535), (65_535, 700), (0, 0), (65_535, 1)):
        yield (
            b"GIF89a"
            + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
            + bytes(6)
            + b","
            + struct.pack("<HHHHB", 0, 0, width, height, 0)
            + b"\x02\x02\x4c\x01\x00;"
        )
        yield (
            b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f"
            + struct.pack("<I", (width & 16383) | (height & 16383) << 14)
            + bytes(9)
        )
        yield (
            b"BM"
            + struct.pack("<IIIIiiHHIIiiII", 1000, 0, 54, 40, width, -height, 1, 24, 0, 0, 0, 0, 0, 0)
            + bytes(900)
        )
        yield b"P6\n%d %d\n255\n" % (width, height) + bytes(1000)
        yield tiff([(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
                    (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, width)])  # fmt: skip
    yield tiff([(256, 4, 1, 9), (257, 4, 1, 9)], following=8)  # a ring of directories
    yield tiff([(254, 4, 2**31, 8)] * 3)
    flate = zlib.compress(b"0 0 595 842 re f " * 1_500_000, 9)
    twice = zlib.compress(flate, 9)
    for body, filters in ((flate, "/FlateDecode"), (twice, "[/FlateDecode /FlateDecode]")):
        yield pdf([""]).replace(
            b"<< /Length 0 >>\nstream\n",
            b"<< /Length %d /Filter %s >>\nstream\n" % (len(body), filters.encode()) + body,
        )
    yield pdf(["q " * 300_000])
    yield pdf(["0 0 m " + "9 9 l 500 700 l " * 200_000 + "s"])
    yield pdf([text_page("x")], box="0 0 1e30 1e30")
    yield pdf([text_page("x")] * 6000)
    yield pdf([text_page("x")]).replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]")  # a page tree that holds itself
    yield pdf([text_page("x")]).replace(b"/Contents 5 0 R", b"/Contents 4 0 R")
    yield encrypted()


def wrong_types(rng: np.random.Generator) -> Iterator[bytes]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in (("word/document.xml", b"<w:document/>"), ("zeros", bytes(10_000_000))):
            archive.writestr(zipfile.ZipInfo(name), body, zipfile.ZIP_DEFLATED)  # whose date is fixed
    yield from (
        b"",
        b"\0",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"P6",
        b"II*\0",
        b"%PDF-",
    )
    yield from (
        b"plain words",
        b"<html><body>404</body></html>",
        b'{"error": "not found"}',
        "Gr\u00fc\u00dfe".encode("utf-16"),
    )
    yield b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    yield b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(/etc/passwd) (r) file\n"
    yield b"push graphic-context\nviewbox 0 0 9 9\nfill 'url(https://127.0.0.1/x.jpg\"|id\")'\n"
    yield packed.getvalue()
    yield gzip.compress(bytes(10_000_000), mtime=0)
    yield b"\x7fELF\x02\x01\x01" + bytes(500)
    yield b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0"
    for brand in (b"heic", b"heix", b"mif1", b"avif", b"avis", b"isom", b"M4A "):
        yield b"\0\0\0\x18ftyp" + brand + bytes(4) + b"mif1" + bytes(400)
    yield b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\0\0\x16\0\0\0" + bytes(1200)  # ICO
    yield b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3) + bytes(100)
    yield b"\xd7\xcd\xc6\x9a" + bytes(100)  # WMF
    yield b"SIMPLE  =                    T" + b" " * 3000
    yield b"\x0a\x05\x01\x08" + rng.bytes(200)  # PCX


def giants() -> Iterator[bytes]:
    for width, height in ((20_000, 1), (1, 20_000), (20_000, 2_000), (2_000, 20_000), (20_000, 20_000)):
        for mode in ("1", "L"):
            yield encoded(Image.new(mode, (width, height), 1), "PNG")
    for kind in ("JPEG", "TIFF", "GIF"):
        yield encoded(
            Image.new("L", (9_000, 5_000), 200), kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {})
        )
    yield encoded(Image.new("RGB", (7_000, 6_000), "white"), "JPEG", progressive=True)
    yield encoded(Image.new("RGBA", (7_000, 6_000), (1, 2, 3, 4)), "PNG", compress_level=1)
    yield encoded(Image.new("P", (7_000, 7_000), 1), "PNG", transparency=1)
    yield encoded(Image.new("RGB", (65_535 // 4, 100), "white"), "WEBP")
    for size in ((1, 1), (2, 1), (1, 3)):
        for kind in FORMATS:
            yield encoded(Image.new("RGB", size, "red"), kind)


def animated(rng: np.random.Generator) -> Iterator[bytes]:
    for frames in (2, 40, 400):
        for kind in ("GIF", "WEBP", "TIFF", "PNG"):
            pictures = [photo(rng, 40, 30) for _ in range(frames)]
            yield encoded(pictures[0], kind, save_all=True, append_images=pictures[1:])
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\x00"
    yield b"GIF89a" + struct.pack("<HHBBB", 5_000, 5_000, 0x80, 0, 0) + bytes(6) + frame * 200_000 + b";"


def polyglots(rng: np.random.Generator) -> Iterator[bytes]:
    good = files(rng)
    for first in good[:10]:
        for second in (good[0], good[1], good[2], good[-1]):
            yield first + second
    for image in good[:6]:
        yield b"%PDF-1.4\n" + image
        yield b"GIF89a" + image
        yield image[:10] + b"<script>alert(1)</script>" + image[10:]
        yield b"\xff\xd8\xff\xe1" + struct.pack(">H", min(65_535, len(image) + 2)) + image


def hostile() -> list[bytes]:
    """The 500 files, in a fixed order."""
    rng = np.random.default_rng(500)
    found = [*bombs(), *wrong_types(rng), *giants(), *animated(rng), *polyglots(rng)]
    good = files(rng)
    magics = [entry[:12] for entry in good]
    found += [rng.bytes(int(rng.integers(1, 5000))) for _ in range(50)]
    found += [magics[int(rng.integers(0, len(magics)))] + rng.bytes(int(rng.integers(1, 5000))) for _ in range(30)]
    for _ in range(60):
        entry = good[int(rng.integers(0, len(good)))]
        found.append(entry[: int(rng.integers(1, len(entry)))])
    while len(found) < 500:
        entry = bytearray(good[int(rng.integers(0, len(good)))])
        reach = min(len(entry), 64) if rng.random() < 0.7 else len(entry)
        for at in rng.integers(0, reach, int(rng.integers(1, 9))):
            entry[at] = int(rng.integers(0, 256))
        found.append(bytes(entry))
    return found[:500]
