"""What archives hold: handwriting, typescripts and old print, as they were scanned or filmed."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from training import words
from training.documents.shapes import cloud, equation
from training.documents.sheet import LONG, Drawn, Sheet, aged, new_sheet
from training.documents.strokes import Hand, Script
from training.fonts import Fonts
from training.words import Rng

FILED = 0.6  # share of archival sheets that lie on a backing


def handwritten(rng: Rng, fonts: Fonts) -> Drawn:
    """A page written by hand: from strokes mostly, from a font that looks so else; notes, letters, notebooks."""
    written = _font_hand if rng.random() < 0.3 else _stroke_hand
    ink = ((20, 25, int(rng.integers(80, 190))) if rng.random() < 0.3
           else tuple(int(v) for v in rng.integers((15, 15, 10), (110, 80, 70))))  # fmt: skip
    paper = aged(rng) if rng.random() < 0.6 else None
    s, sees = written(rng, fonts, paper, ink)
    image = s.image
    if rng.random() < 0.12:
        image = beside(rng, image, written(rng, fonts, s.paper, ink)[0].image)
    blue = "blue" if ink[2] > 78 and ink[0] == 20 else "dark"
    return Drawn(
        filed(rng, image), "handwritten letter", (f"handwriting in {blue} ink", *sees), s.style.about, s.style.tongue
    )


def _stroke_hand(
    rng: Rng, fonts: Fonts, paper: tuple[int, int, int] | None, ink: tuple[int, int, int]
) -> tuple[Sheet, list[str]]:
    s = new_sheet(rng, fonts, style="sans", paper=paper, ink=ink, tongues=False)
    s.style.about = ""
    hand = Hand.draw(rng)
    w, h, sees = s.width, s.height, []
    m = w * float(rng.uniform(0.02, 0.14))
    step = hand.unit * hand.leading
    if rng.random() < 0.3:
        _ruled(s, step, m)
        sees.append("ruled paper")
    top = m
    if rng.random() < 0.15:
        top = _letterhead(s, fonts, m) - step
        sees.append("a printed letterhead")
    script = Script(w, h)
    if rng.random() < 0.4:  # place and date, a salutation
        script.line(rng, hand, w * 0.5, top + step, w - m)
        script.line(rng, hand, m, top + 2 * step, w * 0.45)
        top += step * 2.2
    end = script.block(rng, hand, (m, top, w - m, h * float(rng.choice([0.5, 0.75, 0.97], p=[0.15, 0.15, 0.7]))))
    if rng.random() < 0.3:
        script.line(rng, hand, w * 0.55, min(end + step * 0.4, h - 6), w - m * 0.5)
    if rng.random() < 0.15:  # the other side shows through
        ghost = ImageOps.mirror(script.on(Image.new("RGB", (w, h), s.paper), ink, 0.18))
        s.image = Image.fromarray(np.minimum(np.asarray(s.image), np.asarray(ghost)))
    strength = 1 - float(rng.uniform(0, 0.6)) * cloud(rng, (w, h), 4)
    s.image = script.on(s.image, ink, strength)
    return s, sees


def _font_hand(
    rng: Rng, fonts: Fonts, paper: tuple[int, int, int] | None, ink: tuple[int, int, int]
) -> tuple[Sheet, list[str]]:
    s = new_sheet(rng, fonts, style="hand", paper=paper, text=float(rng.uniform(9, 17)), ink=ink)
    if s.style.script:
        s.style.script, s.style.tongue, s.style.family = "", "French", fonts.pick("hand", rng)
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.03, 0.14))
    sees = []
    s.style.leading = float(rng.uniform(1.1, 1.9))
    if rng.random() < 0.35:
        _ruled(s, s.style.size * s.style.leading, m)
        sees.append("ruled paper")
    y = m + float(rng.uniform(0, h * 0.15))
    if rng.random() < 0.5:
        s.say(w * 0.5, y, words.choose(rng, words.CITIES) + ", " + words.date(rng))
        y += s.style.size * 2
    end = s.lines((m, y, w - m, h * float(rng.uniform(0.5, 0.97))), wobble=float(rng.uniform(0.3, 2.0)))
    if rng.random() < 0.5:
        s.say(w * 0.55, min(end + 4, h - 30), words.name(rng), s.style.size * 1.4)
    if rng.random() < 0.7:  # a hand's slant and waver
        slant = float(rng.uniform(-0.12, 0.3))
        s.image = s.image.transform(
            s.image.size, Image.Transform.AFFINE,
            (1, slant * 0.3, -slant * s.height / 2 * 0.3, float(rng.normal(0, 0.02)), 1, 0),
            Image.Resampling.BILINEAR, fillcolor=s.paper,
        )  # fmt: skip
    return s, sees


def _ruled(s: Sheet, step: float, top: float) -> None:
    colour = tuple(
        max(0, v - int(d)) for v, d in zip(s.paper, s.rng.integers(10, 70) * np.array([1.2, 0.9, 0.5]), strict=True)
    )
    for k in range(1, int((s.height - top) / step) + 1):
        s.rule(0, top + k * step, s.width, top + k * step, 1, colour)
    if s.rng.random() < 0.3:
        s.rule(s.width * 0.12, 0, s.width * 0.12, s.height, 1, (200, 120, 120))


def _letterhead(s: Sheet, fonts: Fonts, m: float) -> float:
    """Name and address of a firm or office in print; returns where it ends."""
    rng, w = s.rng, s.width
    family = fonts.pick("serif", rng)
    middle = rng.random() < 0.7
    x, anchor = (w / 2, "ma") if middle else (m, "la")
    s.say(x, m * 0.6, words.company(rng).upper(), float(rng.uniform(9, 17)), anchor=anchor, family=family)
    y = m * 0.6 + 20
    for line in words.address(rng):
        s.say(x, y, line, 6, anchor=anchor, family=family)
        y += 8
    if rng.random() < 0.4:
        s.rule(m, y + 2, w - m, y + 2)
    return y + 10


def typescript(rng: Rng, fonts: Fonts) -> Drawn:
    """A page from a typewriter: letters and manuscripts, carbon copies, with notes by hand."""
    ink = tuple(int(v) for v in rng.integers(15, 95, 3)) if rng.random() < 0.7 else (50, 45, 110)
    paper = aged(rng) if rng.random() < 0.7 else None
    text = float(rng.uniform(5.5, 9))
    pages = []
    sees = ["typewriter text"]
    for _ in range(2 if rng.random() < 0.12 else 1):
        s = new_sheet(rng, fonts, style="typewriter", paper=paper, text=text, ink=ink)
        if s.style.script:
            s.style.script, s.style.tongue, s.style.family = "", "French", fonts.pick("typewriter", rng)
        _typed(rng, fonts, s, sees)
        pages.append(s)
    image = pages[0].image if len(pages) == 1 else beside(rng, pages[0].image, pages[1].image)
    return Drawn(
        filed(rng, image), "typewritten page", tuple(dict.fromkeys(sees)), pages[0].style.about, pages[0].style.tongue
    )


def _typed(rng: Rng, fonts: Fonts, s: Sheet, sees: list[str]) -> None:
    s.style.leading = float(rng.choice([1.15, 1.25, 1.6, 2.0, 2.6]))
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.07, 0.19))
    y, step = m, s.style.size * s.style.leading
    start = rng.random()
    if start < 0.25:
        y = _letterhead(s, fonts, m)
        sees.append("a printed letterhead")
    if start < 0.45:  # a letter
        s.say(w - m, y, words.date(rng), anchor="ra")
        for k, line in enumerate((words.name(rng), *words.address(rng))):
            s.say(m, y + step * (1.5 + k), line)
        y += step * 5.5
        s.say(m, y, "Dear " + words.name(rng).split()[-1] + ":")
        y += step * 1.5
    elif start < 0.7:
        s.say(w / 2, y, s.sentence(3).upper(), anchor="ma")
        y += step * 2
    elif start < 0.85:
        s.say(w / 2, m * 0.5, f"-{rng.integers(2, 90)}-", anchor="ma")
    end = s.lines((m, y, w - m * 0.7, h * float(rng.choice([0.4, 0.7, 0.95], p=[0.1, 0.2, 0.7]))),
                  justify=False, wobble=0.3)  # fmt: skip
    script, hand = Script(w, h), Hand.draw(rng)
    by_hand = False
    if rng.random() < 0.4:
        s.say(w * 0.5, min(h - 24, end + 2), "Yours truly,")
        script.line(rng, hand, w * 0.5, min(h - 8, end + 18), w * 0.8)
        by_hand = True
        sees.append("a signature")
    if rng.random() < 0.25:
        x, top = float(rng.uniform(m, w * 0.6)), float(rng.uniform(8, h * 0.3))
        script.line(rng, hand, x, top, x + 60)
        by_hand = True
        sees.append("a note by hand")
    if by_hand:
        s.image = script.on(s.image, (30, 30, int(rng.integers(40, 140))))
    if rng.random() < 0.6:  # ribbons and keys print unevenly
        _uneven(rng, s)


def _uneven(rng: Rng, s: Sheet) -> None:
    paper = np.array(s.paper, np.float32)
    pixels = np.asarray(s.image, np.float32)
    share = float(rng.uniform(0.1, 0.6)) * cloud(rng, (s.width, s.height), int(rng.integers(4, 7)))
    s.image = Image.fromarray((pixels + (paper - pixels) * share[..., None]).astype(np.uint8))


def old_scan(rng: Rng, fonts: Fonts) -> Drawn:
    """A scan of an old printed page or document, grey and uneven, sometimes with formulas."""
    sums = rng.random() < 0.4
    style = str(rng.choice(["serif", "serif", "serif", "typewriter"]))
    paper, text = aged(rng), float(rng.uniform(5.5, 9.5))
    columns = 1 if sums or rng.random() < 0.7 else int(rng.integers(2, 4))
    pages = []
    for _ in range(1 if rng.random() < 0.8 else 2):
        s = new_sheet(rng, fonts, style=style, paper=paper, text=text)
        _printed(rng, s, columns, sums)
        if rng.random() < 0.5:
            _uneven(rng, s)
        pages.append(s)
    image = pages[0].image if len(pages) == 1 else beside(rng, pages[0].image, pages[1].image)
    kind = "old scan of mathematics" if sums else "old scanned document"
    sees = ("yellowed or grey paper", *(("printed formulas",) if sums else ()))
    return Drawn(filed(rng, image), kind, sees, pages[0].style.about, pages[0].style.tongue)


def _printed(rng: Rng, s: Sheet, columns: int, sums: bool) -> None:
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.07, 0.16))
    s.say(w / 2, m * 0.6, f"{words.title(rng, s.style.about, 2).upper()}   {rng.integers(1, 500)}", 7, anchor="ma")
    wide = (w - 2 * m - 8 * (columns - 1)) / columns
    for c in range(columns):
        x, y = m + c * (wide + 8), m + 14
        while y < h - m - 14:
            if sums and rng.random() < 0.55:
                equation(s, x + wide / 2, y + 2, wide * 0.7, tall=bool(rng.random() < 0.5))
                y += float(rng.uniform(18, 26))
            else:
                y = s.lines((x, y, x + wide, min(h - m, y + float(rng.uniform(20, 160))))) + 5


def beside(rng: Rng, first: Image.Image, second: Image.Image) -> Image.Image:
    """Two sheets side by side, or an open book, at the size of a drawing."""
    height = max(first.height, second.height)
    gap = int(rng.integers(0, 10))
    size = (first.width + gap + second.width, height)
    shade = int(rng.integers(30, 200))
    both = Image.new("RGB", size, (shade,) * 3)
    both.paste(first, (0, 0))
    both.paste(second, (first.width + gap, 0))
    both.thumbnail((LONG, LONG), Image.Resampling.BOX, reducing_gap=None)
    return both


def filed(rng: Rng, sheet: Image.Image) -> Image.Image:
    """Most sheets as an archive scans them: on a backing, a little turned, corners gone, often filmed in grey."""
    if rng.random() < 0.35:  # microfilm: grey, with its own contrast
        grey = np.asarray(sheet.convert("L"), np.float32)
        top = float(rng.uniform(205, 255))
        low, high = np.quantile(grey[::4, ::4], (0.01, 0.9))
        level = np.clip((grey - low) / max(8.0, high - low), 0, 1.05)
        grey = float(rng.uniform(0, 60)) * (1 - level) + top * level
        grey *= 1 - float(rng.uniform(0, 0.25)) * cloud(rng, sheet.size, 3)
        sheet = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    if rng.random() > FILED:
        return sheet
    w, h = sheet.size
    mask = Image.new("L", (w, h), 255)
    pen = ImageDraw.Draw(mask)
    for corner in ((0, 0), (w, 0), (0, h), (w, h)):
        if rng.random() < 0.12:
            cut = float(rng.uniform(8, 40))
            x, y = corner
            pen.polygon([corner, (abs(x - cut), y), (x, abs(y - cut * float(rng.uniform(0.5, 1.5))))], fill=0)
    edge = [int(v) for v in rng.integers(4, 30, 4)]
    size = (w + edge[0] + edge[1], h + edge[2] + edge[3])
    low, high = ((225, 256), (225, 256), (0, 45), (60, 225))[int(rng.integers(4))]
    shade = int(rng.integers(low, high))
    warm = int(rng.integers(0, 40)) if rng.random() < 0.3 else 0
    backing = Image.new("RGB", size, (shade, max(0, shade - warm // 2), max(0, shade - warm)))
    turn = float(rng.normal(0, 1.2))
    dark = tuple(max(0, v - 70) for v in (shade, shade, shade))
    turned = mask.rotate(turn, Image.Resampling.BILINEAR, expand=False, fillcolor=0)
    backing.paste(dark, (edge[0] + 1, edge[2] + 1), turned)  # its shadow
    backing.paste(
        sheet.rotate(turn, Image.Resampling.BILINEAR, fillcolor=sheet.getpixel((3, 3))), (edge[0], edge[2]), turned
    )
    if max(size) > LONG:
        backing.thumbnail((LONG, LONG), Image.Resampling.BOX, reducing_gap=None)
    return backing
