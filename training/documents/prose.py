"""Pages of running text: articles, newspapers, dictionaries, patents, laws, manuals, books."""

from __future__ import annotations

from training import words
from training.documents.shapes import chart_image, equation, line_figure, scene
from training.documents.sheet import Drawn, aged, new_sheet
from training.fonts import Fonts
from training.words import Rng


def article(rng: Rng, fonts: Fonts) -> Drawn:
    """A scientific paper, mostly in two columns, with headings, figures and references."""
    s = new_sheet(rng, fonts, style="serif", text=float(rng.uniform(5, 6.5)), paper=(255, 255, 255))
    s.style.about = str(rng.choice(["physics", "biology", "medicine", "software"]))
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.07, 0.11))
    columns, y = (2 if rng.random() < 0.75 else 1), m
    first = rng.random() < 0.4
    sees = ["two columns" if columns == 2 else "one column"]
    if first:
        s.say(w / 2, y, words.title(rng, s.style.about, 4), 12, anchor="ma")
        s.say(w / 2, y + 17, f"{words.name(rng)}, {words.name(rng)}", 7, anchor="ma")
        s.say(w / 2, y + 30, "Abstract", 7, anchor="ma")
        y = s.lines((m * 1.6, y + 40, w - m * 1.6, y + 84)) + 10
        sees.append("a title and an abstract")
    gap = 10.0
    width = (w - 2 * m - gap * (columns - 1)) / columns
    for c in range(columns):
        x, top = m + c * (width + gap), y
        while top < h - m - 12:
            draw = rng.random()
            if draw < 0.2 and top < h - m - 90:
                tall = float(rng.uniform(50, 90))
                picture = chart_image(rng, fonts)[0] if rng.random() < 0.6 else line_figure(rng, fonts)
                s.paste(picture, (x, top, x + width, top + tall))
                top = s.lines((x, top + tall + 3, x + width, top + tall + 18), 5) + 4
                sees.append("a figure")
            elif draw < 0.3:
                s.say(x, top, f"{rng.integers(1, 7)} {words.title(rng, s.style.about, 2)}", 7)
                top += 12
            elif draw < 0.42:
                equation(s, x + width / 2, top + 2, width)
                top += 18
            else:
                top = s.lines((x, top, x + width, min(h - m, top + float(rng.uniform(40, 160))))) + 4
    return Drawn(s.image, "scientific article", tuple(dict.fromkeys(sees)), s.style.about, s.style.tongue)


def maths(rng: Rng, fonts: Fonts) -> Drawn:
    """A page of a mathematical paper: one column, theorems, displayed equations."""
    s = new_sheet(rng, fonts, style="serif", text=float(rng.uniform(6, 7.5)), paper=(255, 255, 255), tongues=False)
    s.style.about = "physics"
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.1, 0.17))
    y = m
    s.say(w / 2, m * 0.5, str(rng.integers(1, 60)), 6, anchor="ma")
    while y < h - m - 18:
        if rng.random() < 0.55:
            equation(s, w / 2, y + 2, (w - 2 * m) * 0.8, tall=bool(rng.random() < 0.4))
            y += float(rng.uniform(18, 28))
        else:
            if rng.random() < 0.3:
                s.say(
                    m,
                    y,
                    str(rng.choice(["Theorem", "Proof.", "Lemma", "Definition"]))
                    + f" {rng.integers(1, 5)}.{rng.integers(1, 9)}",
                    7,
                )
                y += 10
            y = s.lines((m, y, w - m, min(h - m, y + float(rng.uniform(10, 60))))) + 4
    return Drawn(s.image, "page of mathematics", ("formulas and equations",), "physics")


def newspaper(rng: Rng, fonts: Fonts) -> Drawn:
    s = new_sheet(
        rng, fonts, style="serif", text=float(rng.uniform(4.5, 6)), paper=aged(rng) if rng.random() < 0.3 else None
    )
    w, h, m = s.width, s.height, s.width * 0.05
    columns, y = int(rng.integers(3, 6)), m
    if rng.random() < 0.5:
        s.say(w / 2, y, "The " + words.choose(rng, words.CITIES) + " Times", 22, anchor="ma")
        s.rule(m, y + 28, w - m, y + 28)
        y += 34
    s.say(m, y, s.sentence(7)[:40], float(rng.uniform(11, 18)))
    y += 24
    width = (w - 2 * m - 6 * (columns - 1)) / columns
    pictured = False
    for c in range(columns):
        x, top = m + c * (width + 6), y
        if c and rng.random() < 0.4:
            s.rule(x - 3, y, x - 3, h - m)
        while top < h - m - 10:
            if rng.random() < 0.2 and top < h - m - 60:
                tall = float(rng.uniform(35, 70))
                s.paste(
                    scene(rng).convert("L").convert("RGB") if rng.random() < 0.6 else scene(rng),
                    (x, top, x + width, top + tall),
                )
                top += tall + 4
                pictured = True
            top = s.lines((x, top, x + width, min(h - m, top + float(rng.uniform(60, 200))))) + 6
    return Drawn(
        s.image,
        "newspaper page",
        (f"{columns} columns", *(("photographs",) if pictured else ())),
        s.style.about,
        s.style.tongue,
    )


def tiny_text(rng: Rng, fonts: Fonts) -> Drawn:
    """Dictionaries, directories and old encyclopedias: a page full of very small text."""
    s = new_sheet(
        rng, fonts, style="serif", text=float(rng.uniform(3.6, 4.9)), paper=aged(rng) if rng.random() < 0.5 else None
    )
    s.style.leading = float(rng.uniform(1.02, 1.15))
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.04, 0.09))
    columns = int(rng.integers(1, 5))
    s.say(w / 2, m * 0.4, words.title(rng, s.style.about, 2).upper(), 7, anchor="ma")
    width = (w - 2 * m - 5 * (columns - 1)) / columns
    for c in range(columns):
        x = m + c * (width + 5)
        s.lines((x, m, x + width, h - m), ragged_end=False)
        if c and rng.random() < 0.4:
            s.rule(x - 2, m, x - 2, h - m)
    return Drawn(
        s.image, "page of tiny text", (f"{columns} dense columns of very small print",), s.style.about, s.style.tongue
    )


def patent(rng: Rng, fonts: Fonts) -> Drawn:
    s = new_sheet(
        rng,
        fonts,
        style=str(rng.choice(["serif", "serif", "mono"])),
        text=float(rng.uniform(6, 7.5)),
        paper=(255, 255, 255),
    )
    s.style.about = str(rng.choice(["energy", "software", "building", "physics"]))
    w, h, m = s.width, s.height, s.width * 0.1
    s.say(
        w / 2, m * 0.5, f"US {rng.integers(2, 10)},{rng.integers(100, 999)},{rng.integers(100, 999)} B2", 8, anchor="ma"
    )
    if rng.random() < 0.45:
        for k in range(int(rng.integers(1, 3))):
            s.paste(line_figure(rng, fonts), (m, m + 10 + k * h * 0.42, w - m, m + h * 0.4 + k * h * 0.42))
            s.say(w / 2, m + h * 0.41 + k * h * 0.42, f"FIG. {k + 1}", 10, anchor="ma")
        return Drawn(s.image, "patent", ("line drawings with reference numbers",), s.style.about, s.style.tongue)
    columns = 2 if rng.random() < 0.6 else 1
    width = (w - 2 * m - 14 * (columns - 1)) / columns
    for c in range(columns):
        x = m + c * (width + 14)
        s.say(x + width / 2, m, str(c + 1), 7, anchor="ma")
        s.lines((x, m + 12, x + width, h - m))
    for k in range(5, 65, 5):
        s.say(w / 2, m + 12 + k * (h - 2 * m - 12) / 66, str(k), 6, anchor="ma")
    return Drawn(
        s.image,
        "patent",
        (f"claims in {'two columns' if columns == 2 else 'one column'} with line numbers",),
        s.style.about,
        s.style.tongue,
    )


def law(rng: Rng, fonts: Fonts) -> Drawn:
    s = new_sheet(rng, fonts, style="serif", text=float(rng.uniform(6, 7.5)))
    s.style.about = "law"
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.1, 0.16))
    s.say(
        w / 2,
        m * 0.55,
        str(rng.choice(["OFFICIAL JOURNAL", "REGULATION (EU)", "PUBLIC LAW", "STATUTES"])),
        7,
        anchor="ma",
    )
    s.rule(m, m * 0.85, w - m, m * 0.85)
    y = m
    while y < h - m - 14:
        if rng.random() < 0.3:
            s.say(w / 2, y + 3, f"Article {rng.integers(1, 99)}", 8, anchor="ma")
            y += 16
        dent = m + float(rng.choice([0, 12, 24]))
        s.say(dent, y, str(rng.choice(["(1)", "(a)", "(b)", "§ 4", "1.", "(ii)"])))
        y = s.lines((dent + 14, y, w - m, min(h - m, y + float(rng.uniform(14, 70))))) + 4
    return Drawn(s.image, "law or regulation", ("articles and numbered paragraphs",), "law", s.style.tongue)


def manual(rng: Rng, fonts: Fonts) -> Drawn:
    s = new_sheet(rng, fonts, style="sans", text=float(rng.uniform(6, 7.5)))
    s.style.about = str(rng.choice(["software", "energy", "building"]))
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.07, 0.12))
    accent = tuple(int(v) for v in rng.integers(0, 190, 3))
    y = m
    s.say(m, y, f"{rng.integers(1, 9)}.{rng.integers(1, 9)} " + words.title(rng, s.style.about, 2), 12, accent)
    s.rule(m, y + 17, w - m, y + 17, 1, accent)
    y += 26
    side = m + float(rng.choice([0, 0, w * 0.2]))
    while y < h - m - 16:
        draw = rng.random()
        if draw < 0.3 and y < h - m - 80:
            tall = float(rng.uniform(50, 100))
            wide = float(rng.uniform(0.4, 1.0)) * (w - m - side)
            s.paste(line_figure(rng, fonts), (side, y, side + wide, y + tall))
            y += tall + 8
        elif draw < 0.42:
            s.box((side, y, w - m, y + 22), fill=tuple(min(255, v + 150) for v in accent), outline=accent)
            s.say(side + 4, y + 3, str(rng.choice(["WARNING", "NOTE", "CAUTION"])), 7)
            s.lines((side + 50, y + 3, w - m - 3, y + 20), 6)
            y += 28
        else:
            for k in range(int(rng.integers(1, 5))):
                if y > h - m - 14:
                    break
                s.say(side, y, f"{k + 1}." if draw < 0.8 else "•")
                y = (
                    s.lines(
                        (side + 12, y, w - m, min(h - m, y + float(rng.uniform(9, 26)))), justify=False, indent=False
                    )
                    + 3
                )
            y += 4
    return Drawn(s.image, "manual", ("steps with illustrations",), s.style.about, s.style.tongue)


def book(rng: Rng, fonts: Fonts) -> Drawn:
    """A page with running header and footer."""
    s = new_sheet(rng, fonts, style=str(rng.choice(["serif", "serif", "sans"])), text=float(rng.uniform(6, 8)))
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.09, 0.16))
    s.say(m, m * 0.5, words.title(rng, s.style.about, 3), 6)
    s.say(w - m, m * 0.5, str(rng.integers(1, 400)), 6, anchor="ra")
    if rng.random() < 0.5:
        s.rule(m, m * 0.5 + 10, w - m, m * 0.5 + 10)
    y = m + 6
    if rng.random() < 0.4:
        s.say(w / 2, y + 6, words.title(rng, s.style.about, 3), 11, anchor="ma")
        y += 30
    if rng.random() < 0.25:
        tall = float(rng.uniform(60, 140))
        s.paste(scene(rng), (m, y, w - m, y + tall))
        y += tall + 8
    s.lines((m, y, w - m, h - m * 1.5))
    s.rule(m, h - m * 1.4, m + 60, h - m * 1.4)
    s.lines((m, h - m * 1.3, w - m, h - m * 0.9), 5)
    s.say(w / 2, h - m * 0.6, s.sentence(4), 6, anchor="ma")
    return Drawn(
        s.image, "page with header and footer", ("a running header and a footer",), s.style.about, s.style.tongue
    )
