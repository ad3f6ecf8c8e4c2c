"""Renders the documents of the simulated feature: receipts, forms, tables, charts, letters, packing slips.

Every page is drawn from a generator, so that a seed gives the same page everywhere. A style belongs to a tenant
(paper, ink, type size, margins), which is what makes one tenant's pages look alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

WIDTH, HEIGHT = 480, 660

_TEXT = """
invoice total amount due net tax date order number customer delivery address payment account reference quantity price
item service period contract office street city country phone page copy original received signature approved department
balance credit charge discount subtotal currency terms conditions notice
"""
_WORDS = tuple(_TEXT.split())


@dataclass(frozen=True, slots=True)
class Style:
    """How one tenant's documents look."""

    paper: tuple[int, int, int] = (250, 250, 247)
    ink: tuple[int, int, int] = (28, 28, 34)
    accent: tuple[int, int, int] = (40, 80, 140)
    size: int = 12
    margin: int = 36


@dataclass(frozen=True, slots=True)
class Page:
    """One rendered page: JPEG bytes, its pixel size, what is printed on it and its total."""

    jpeg: bytes
    width: int
    height: int
    text: str
    total: str


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _words(rng: np.random.Generator, count: int) -> str:
    return " ".join(_WORDS[i] for i in rng.integers(0, len(_WORDS), count))


def _money(rng: np.random.Generator) -> str:
    return f"{rng.lognormal(3.2, 0.9):.2f}"


Draw = ImageDraw.ImageDraw


def _receipt(draw: Draw, rng: np.random.Generator, style: Style, total: str) -> str:
    left, right = WIDTH // 2 - 120, WIDTH // 2 + 120
    y, lines = style.margin, [_words(rng, 2).upper()]
    draw.text((left + 40, y), lines[0], style.ink, _font(style.size + 4))
    y += 40
    for _ in range(int(rng.integers(6, 18))):
        item, price = _words(rng, 2), _money(rng)
        draw.text((left, y), item, style.ink, _font(style.size))
        draw.text((right - 50, y), price, style.ink, _font(style.size))
        lines.append(f"{item} {price}")
        y += style.size + 8
    draw.line((left, y, right, y), style.ink, 2)
    draw.text((left, y + 8), f"Total {total}", style.ink, _font(style.size + 6))
    for x in range(left, right, 4):  # a bar code
        draw.line((x, y + 60, x, y + 100), style.ink, int(rng.integers(1, 4)))
    return "\n".join(lines)


def _form(draw: Draw, rng: np.random.Generator, style: Style, total: str) -> str:
    y, lines = style.margin, [_words(rng, 3).title()]
    draw.text((style.margin, y), lines[0], style.accent, _font(style.size + 10))
    y += 50
    for _ in range(int(rng.integers(8, 14))):
        label, value = _words(rng, 1), _words(rng, int(rng.integers(1, 4)))
        draw.text((style.margin, y), label, style.ink, _font(style.size - 1))
        draw.rectangle((style.margin + 130, y - 4, WIDTH - style.margin, y + style.size + 8), outline=style.accent)
        draw.text((style.margin + 138, y), value, style.ink, _font(style.size))
        lines.append(f"{label} {value}")
        y += style.size + 24
    draw.text((style.margin, y + 10), f"Total {total}", style.ink, _font(style.size + 2))
    return "\n".join(lines)


def _table(draw: Draw, rng: np.random.Generator, style: Style, total: str) -> str:
    rows, columns = int(rng.integers(10, 22)), int(rng.integers(3, 6))
    width, height = (WIDTH - 2 * style.margin) // columns, style.size + 12
    top, lines = style.margin + 50, [_words(rng, 3).title()]
    draw.text((style.margin, style.margin), lines[0], style.ink, _font(style.size + 8))
    draw.rectangle((style.margin, top, style.margin + width * columns, top + height), fill=style.accent)
    for row in range(rows):
        y = top + row * height
        draw.line((style.margin, y, style.margin + width * columns, y), style.ink)
        cells = [_words(rng, 1) if column == 0 or row == 0 else _money(rng) for column in range(columns)]
        for column, cell in enumerate(cells):
            colour = (255, 255, 255) if row == 0 else style.ink
            draw.text((style.margin + column * width + 6, y + 5), cell, colour, _font(style.size))
        lines.append(" ".join(cells))
    for column in range(columns + 1):
        x = style.margin + column * width
        draw.line((x, top, x, top + rows * height), style.ink)
    draw.text((style.margin, top + rows * height + 10), f"Total {total}", style.ink, _font(style.size + 2))
    return "\n".join(lines)


def _chart(draw: Draw, rng: np.random.Generator, style: Style, total: str) -> str:
    lines = [_words(rng, 4).title()]
    draw.text((style.margin, style.margin), lines[0], style.ink, _font(style.size + 8))
    bars = int(rng.integers(5, 12))
    left, bottom = style.margin + 20, HEIGHT // 2 + 120
    width = (WIDTH - 2 * style.margin - 20) // bars
    draw.line((left, bottom, WIDTH - style.margin, bottom), style.ink, 2)
    draw.line((left, bottom, left, bottom - 340), style.ink, 2)
    for bar in range(bars):
        height = int(rng.uniform(30, 330))
        x = left + bar * width
        shade = tuple(int(c + (255 - c) * rng.uniform(0, 0.5)) for c in style.accent)
        draw.rectangle((x + 4, bottom - height, x + width - 4, bottom), fill=shade)
        draw.text((x + 4, bottom + 6), _words(rng, 1)[:6], style.ink, _font(style.size - 3))
    draw.text((style.margin, bottom + 60), f"Total {total}", style.ink, _font(style.size + 2))
    return "\n".join(lines)


def _letter(draw: Draw, rng: np.random.Generator, style: Style, total: str) -> str:
    y, lines = style.margin + 60, []
    for offset in range(3):
        draw.text((style.margin, style.margin + offset * 18), _words(rng, 2), style.ink, _font(style.size))
    y += 40
    for _ in range(int(rng.integers(3, 6))):
        for _ in range(int(rng.integers(3, 7))):
            line = _words(rng, 8)
            draw.text((style.margin, y), line, style.ink, _font(style.size))
            lines.append(line)
            y += style.size + 5
        y += 14
    draw.text((style.margin, y), f"Total {total}", style.ink, _font(style.size))
    return "\n".join(lines)


def _packing_slip(draw: Draw, rng: np.random.Generator, style: Style, total: str) -> str:
    """The document type that arrives unannounced: landscape blocks, heavy rules, a square code."""
    draw.rectangle((14, 14, WIDTH - 14, HEIGHT - 14), outline=style.ink, width=6)
    for y in (150, 300, 450):
        draw.line((14, y, WIDTH - 14, y), style.ink, 5)
    draw.line((WIDTH // 2, 150, WIDTH // 2, 450), style.ink, 5)
    side, cell = 21, 9
    code = rng.integers(0, 2, (side, side))
    for row, column in zip(*np.nonzero(code), strict=True):
        x, y = 40 + int(column) * cell, 460 + int(row) * cell
        draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=style.ink)
    lines = [_words(rng, 3).upper() for _ in range(5)]
    for (x, y), line in zip(((30, 40), (30, 170), (WIDTH // 2 + 16, 170), (30, 320), (260, 480)), lines, strict=True):
        draw.text((x, y), line, style.ink, _font(style.size + 9))
    draw.text((260, 560), f"Total {total}", style.ink, _font(style.size + 4))
    return "\n".join(lines)


_KINDS: dict[str, Callable[[Draw, np.random.Generator, Style, str], str]] = {
    "receipt": _receipt,
    "form": _form,
    "table": _table,
    "chart": _chart,
    "letter": _letter,
    "packing_slip": _packing_slip,
}
KINDS = tuple(_KINDS)


def render(kind: str, rng: np.random.Generator, style: Style, *, new_scanner: bool = False) -> Page:
    """Draw one page of ``kind`` (one of KINDS). ``new_scanner`` makes it skewed and low in contrast."""
    page = Image.new("RGB", (WIDTH, HEIGHT), style.paper)
    total = _money(rng)
    text = _KINDS[kind](ImageDraw.Draw(page), rng, style, total)
    angle = rng.normal(0, 0.4)
    if new_scanner:
        angle += rng.choice((-1, 1)) * rng.uniform(6, 11)
        page = ImageEnhance.Contrast(page).enhance(rng.uniform(0.35, 0.5))
    page = page.rotate(angle, Image.Resampling.BILINEAR, fillcolor=page.getpixel((2, 2)))
    noise = rng.normal(0, 3, (HEIGHT, WIDTH, 1)).astype(np.float32)
    page = Image.fromarray(np.clip(np.asarray(page, np.float32) + noise, 0, 255).astype(np.uint8))
    out = BytesIO()
    page.save(out, "JPEG", quality=78)
    return Page(out.getvalue(), WIDTH, HEIGHT, f"{text}\nTotal {total}", total)
