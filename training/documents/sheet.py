"""A sheet of paper to draw on: text blocks, rules, tables and figures at page scale."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from training import fonts as font_files
from training import words
from training.words import Rng

LONG = 448  # pixels of the longer side; 11-point text on A4 is then 6 px high
Colour = tuple[int, int, int]


@dataclass
class Drawn:
    """An image with what can be seen on it.

    ``kind`` is the document type, ``sees`` are phrases for what is visible (two columns, a bar chart), ``about`` is
    the topic of its words, ``tongue`` their language.
    """

    image: Image.Image
    kind: str
    sees: tuple[str, ...] = ()
    about: str = ""
    tongue: str = "English"


@dataclass
class Style:
    """What all text of a sheet shares."""

    family: str
    size: int
    ink: Colour = (25, 25, 30)
    about: str = "law"
    tongue: str = "English"
    script: str = ""
    leading: float = 1.25


@dataclass
class Sheet:
    """Width x height in pixels. Coordinates are pixels from the top left."""

    width: int
    height: int
    paper: Colour
    rng: Rng
    style: Style
    image: Image.Image = field(init=False)
    pen: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self.image = Image.new("RGB", (self.width, self.height), self.paper)
        self.pen = ImageDraw.Draw(self.image)

    def font(self, size: float | None = None, family: str | None = None) -> object:
        return font_files.load(self.style.family if family is None else family, max(4, round(size or self.style.size)))

    def say(self, x: float, y: float, text: str, size: float | None = None, ink: Colour | None = None,
            anchor: str = "la", family: str | None = None) -> None:  # fmt: skip
        """One line of text; ``anchor`` as in Pillow."""
        self.pen.text((x, y), text, fill=ink or self.style.ink, font=self.font(size, family), anchor=anchor)

    def sentence(self, count: int) -> str:
        s = self.style
        text = " ".join(words.words(self.rng, count, s.about, s.tongue, s.script))
        return text[:1].upper() + text[1:]

    def lines(self, box: tuple[float, float, float, float], size: float | None = None, *, justify: bool = True,
              ragged_end: bool = True, wobble: float = 0.0, indent: bool = True) -> float:  # fmt: skip
        """Fill a box (left, top, right, bottom) with running text; returns where it ended."""
        left, top, right, bottom = box
        size = size or self.style.size
        step = max(3.0, size * self.style.leading)
        font = self.font(size)
        y, rest = top, int(self.rng.integers(3, 10))
        per = max(3, int((right - left) / (size * 1.2)))
        pool = words.words(self.rng, per * 14, self.style.about, self.style.tongue, self.style.script)
        starts = self.rng.integers(0, len(pool) - per, size=512)
        # Letters that fill a line, by the mean width of a letter: cheaper than measuring every line.
        sample = " ".join(pool[: 4 * per])
        letters = max(3, int((right - left) * len(sample) / max(1.0, self.pen.textlength(sample, font=font))))
        k = 0
        while y + size <= bottom:
            start = int(starts[k % 512])
            k += 1
            text = " ".join(pool[start : start + per])
            last = rest == 0
            x = left
            if last:
                text = text[: int(letters * (0.2 + 0.7 * self.rng.random()))] + "."
                rest = int(self.rng.integers(3, 12))
            elif justify or len(text) > letters:
                text = text[:letters]
            else:
                text = text[: int(letters * (0.86 + 0.14 * self.rng.random()))]
            if indent and rest >= 9 and not last:
                x += size
                text = text[:-2]
            rest -= 0 if last else 1
            offset = float(self.rng.normal(0, wobble)) if wobble else 0.0
            self.pen.text((x, y + offset), text, fill=self.style.ink, font=font)
            y += step
            if last and ragged_end and self.rng.random() < 0.4:
                y += step * 0.6
        return y

    def rule(self, x0: float, y0: float, x1: float, y1: float, width: int = 1, ink: Colour | None = None) -> None:
        self.pen.line((x0, y0, x1, y1), fill=ink or self.style.ink, width=width)

    def box(self, box: tuple[float, float, float, float], fill: Colour | None = None, outline: Colour | None = None,
            width: int = 1) -> None:  # fmt: skip
        left, top, right, bottom = box
        if right > left and bottom > top:
            self.pen.rectangle((left, top, right, bottom), fill=fill, outline=outline, width=width)

    def table(self, box: tuple[float, float, float, float], rows: int, columns: int, *, grid: str = "full",
              head: Colour | None = None, numbers: bool = True, size: float | None = None) -> None:  # fmt: skip
        """Cells of text and numbers; ``grid`` is full, rows, or none."""
        left, top, right, bottom = box
        size = size or max(4, min(self.style.size, (bottom - top) / rows * 0.7))
        shares = self.rng.dirichlet(np.full(columns, 8.0))
        shares[0] += 0.15
        edges = left + np.concatenate([[0], np.cumsum(shares / shares.sum())]) * (right - left)
        ys = np.linspace(top, bottom, rows + 1)
        if head is not None:
            self.box((left, top, right, ys[1]), fill=head)
        if grid != "none":
            for y in ys if grid in ("full", "rows") else ys[:2]:
                self.rule(left, y, right, y)
        if grid == "full":
            for x in edges:
                self.rule(x, top, x, bottom)
        pale = head is not None and sum(head) < 300
        for r in range(rows):
            for c in range(columns):
                if r and c and self.rng.random() < 0.08:
                    continue
                if c == 0 or r == 0 or not numbers:
                    text = self.sentence(int(self.rng.integers(1, 4)))
                    text = text[: max(2, int((edges[c + 1] - edges[c] - 3) / (size * 0.52)))]
                    self.say(edges[c] + 2, ys[r] + 1, text, size, (245, 245, 245) if pale and r == 0 else None)
                else:
                    text = words.amount(self.rng, float(self.rng.choice([10, 1000, 100000])))
                    text = text[: max(2, int((edges[c + 1] - edges[c] - 3) / (size * 0.5)))]
                    self.say(edges[c + 1] - 2, ys[r] + 1, text, size, anchor="ra")

    def paste(self, image: Image.Image, box: tuple[float, float, float, float]) -> None:
        left, top, right, bottom = (round(v) for v in box)
        if right > left and bottom > top:
            self.image.paste(image.resize((right - left, bottom - top), Image.Resampling.BILINEAR), (left, top))


def white(rng: Rng) -> Colour:
    """Paper of a digital page, mostly pure white."""
    if rng.random() < 0.6:
        return 255, 255, 255
    level = int(rng.integers(232, 255))
    return level, level, min(255, level + int(rng.integers(-8, 3)))


def aged(rng: Rng) -> Colour:
    """Yellowed, grey or brown paper of an old scan."""
    level = int(rng.integers(165, 250))
    warm = int(rng.integers(0, 45)) if rng.random() < 0.6 else 0
    return level, max(0, level - warm // 2), max(0, level - warm - int(rng.integers(0, 10)))


def page_size(rng: Rng, landscape: float = 0.0) -> tuple[int, int]:
    """A4, letter or a book's page."""
    ratio = float(rng.choice([1.414, 1.414, 1.294, 1.294, 1.5, 1.35, 1.6])) * float(rng.normal(1, 0.01))
    short = round(LONG / ratio)
    return (LONG, short) if rng.random() < landscape else (short, LONG)


def new_sheet(rng: Rng, fonts: font_files.Fonts, *, style: str = "serif", size: tuple[int, int] | None = None,
              paper: Colour | None = None, text: float | None = None, ink: Colour | None = None,
              tongues: bool = True) -> Sheet:  # fmt: skip
    """A sheet with its fonts, topic and language drawn."""
    tongue, script = words.language(rng, fonts.scripts) if tongues else ("English", "")
    family = fonts.pick(f"script:{script}" if script else style, rng)
    width, height = size or page_size(rng)
    body = text or float(rng.uniform(5.5, 8.0))
    chosen = Style(family, round(body), ink or (int(rng.integers(0, 60)),) * 3, words.topic(rng), tongue, script,
                   float(rng.uniform(1.15, 1.5)))  # fmt: skip
    return Sheet(width, height, paper or white(rng), rng, chosen)
