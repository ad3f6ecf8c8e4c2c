"""Receipts, invoices, forms, letters, identity cards, tenders, financial reports and tables."""

from __future__ import annotations

from training import words
from training.documents.sheet import LONG, Drawn, new_sheet, page_size, white
from training.fonts import Fonts
from training.words import Rng


def receipt(rng: Rng, fonts: Fonts) -> Drawn:
    ratio = float(rng.uniform(1.3, 3.6))
    style = str(rng.choice(["mono", "mono", "typewriter", "sans"]))
    size = (round(LONG / ratio), LONG)
    text = size[0] / float(rng.uniform(22, 38)) * 1.7
    grey = int(rng.integers(215, 256))
    s = new_sheet(rng, fonts, style=style, size=size, paper=(grey, grey, grey), text=min(text, 15), tongues=False)
    s.style.about = "food" if rng.random() < 0.7 else s.style.about
    w, step = s.width, s.style.size * s.style.leading
    side, y = w * float(rng.uniform(0.02, 0.1)), float(rng.uniform(4, 30))
    shop = words.company(rng)
    s.say(w / 2, y, shop.upper(), s.style.size * float(rng.uniform(1.0, 1.7)), anchor="ma")
    y += step * 1.8
    for line in (*words.address(rng), f"TEL {rng.integers(10**6, 10**7)}", f"GST NO {rng.integers(10**8, 10**9)}"):
        s.say(w / 2, y, line, anchor="ma")
        y += step
    if rng.random() < 0.5:
        s.say(w / 2, y, str(rng.choice(["TAX INVOICE", "RECEIPT", "CASH BILL", "SALES RECEIPT"])), anchor="ma")
        y += step
    s.rule(side, y + step / 2, w - side, y + step / 2)
    y += step
    s.say(side, y, words.date(rng))
    s.say(w - side, y, f"{rng.integers(8, 22)}:{rng.integers(10, 60)}", anchor="ra")
    y += step * 1.5
    for _ in range(int(rng.integers(2, 14))):
        if y > s.height - step * 9:
            break
        own = words.TOPICS[s.style.about]
        s.say(side, y, " ".join(own[i] for i in rng.integers(len(own), size=2)).upper())
        if rng.random() < 0.5:
            y += step
            s.say(side + w * 0.1, y, f"{rng.integers(1, 9)} x {words.amount(rng, 40)}")
        s.say(w - side, y, words.amount(rng, 80), anchor="ra")
        y += step
    s.rule(side, y + step / 2, w - side, y + step / 2)
    y += step
    for label in ("SUBTOTAL", "TAX", "TOTAL", "CASH", "CHANGE")[: int(rng.integers(2, 6))]:
        big = 1.3 if label == "TOTAL" else 1.0
        s.say(side, y, label, s.style.size * big)
        s.say(w - side, y, words.amount(rng, 200), s.style.size * big, anchor="ra")
        y += step * big
    y += step
    if rng.random() < 0.3 and y < s.height - 40:
        _barcode(s, w * 0.2, y, w * 0.8, y + 22)
        y += 30
    s.say(w / 2, y, "THANK YOU", anchor="ma")
    if y < s.height * 0.8 and rng.random() < 0.7:  # a till cuts the paper where the text ends
        s.image = s.image.crop((0, 0, w, round(y + step * 2.5)))
    return Drawn(s.image, "receipt", ("prices and a total",), s.style.about)


def _barcode(s: object, x0: float, y0: float, x1: float, y1: float) -> None:
    x = x0
    while x < x1:
        w = int(s.rng.integers(1, 4))  # type: ignore[attr-defined]
        s.box((x, y0, x + w - 1, y1), fill=(20, 20, 20))  # type: ignore[attr-defined]
        x += w + int(s.rng.integers(1, 4))  # type: ignore[attr-defined]


def invoice(rng: Rng, fonts: Fonts) -> Drawn:
    s = new_sheet(rng, fonts, style=str(rng.choice(["sans", "sans", "serif"])), text=float(rng.uniform(6, 8)))
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.06, 0.1))
    accent = tuple(int(v) for v in rng.integers(0, 170, 3))
    if rng.random() < 0.5:
        s.box((0, 0, w, h * 0.05), fill=accent)
    if rng.random() < 0.6:
        s.pen.ellipse((m, m, m + 34, m + 34), fill=accent)
    s.say(w - m, m, str(rng.choice(["INVOICE", "Invoice", "TAX INVOICE", "Rechnung", "FACTURE"])), 20, accent, "ra")
    for i, line in enumerate(
        (words.company(rng), *words.address(rng), f"No. {rng.integers(1000, 99999)}", words.date(rng))
    ):
        s.say(m if i < 3 else w - m, m + 42 + (i % 3) * 10, line, anchor="la" if i < 3 else "ra")
    s.say(m, m + 90, "Bill to: " + words.name(rng))
    top = m + 112
    rows = int(rng.integers(4, 14))
    bottom = min(h * 0.75, top + rows * 14)
    s.table(
        (m, top, w - m, bottom),
        rows,
        int(rng.integers(4, 6)),
        grid=str(rng.choice(["full", "rows", "none"])),
        head=accent,
    )
    for i, label in enumerate(("Subtotal", "VAT 20%", "Total due")):
        s.say(w * 0.62, bottom + 10 + i * 11, label)
        s.say(w - m, bottom + 10 + i * 11, words.amount(rng, 3000), anchor="ra")
    s.lines((m, h * 0.88, w - m, h * 0.95))
    return Drawn(
        s.image, "invoice", ("line items and a total due", "a table of amounts"), s.style.about, s.style.tongue
    )


def form(rng: Rng, fonts: Fonts) -> Drawn:
    s = new_sheet(rng, fonts, style=str(rng.choice(["sans", "serif"])), text=float(rng.uniform(5.5, 7.5)))
    w, h, m = s.width, s.height, s.width * 0.07
    s.say(w / 2, m, s.sentence(3).upper() + " FORM", 13, anchor="ma")
    y, filled = m + 24, rng.random() < 0.5
    hand = fonts.pick("hand", rng)
    blue = (30, 40, int(rng.integers(90, 200)))
    checks = False
    while y < h - 40:
        row = float(rng.uniform(15, 24))
        kind = rng.integers(3)
        columns = int(rng.integers(1, 4))
        for c in range(columns):
            x0, x1 = m + (w - 2 * m) * c / columns, m + (w - 2 * m) * (c + 1) / columns - 4
            label = s.sentence(2)[: int((x1 - x0) / 7)] + ":"
            if kind == 0:
                s.box((x0, y, x1, y + row), outline=s.style.ink)
                s.say(x0 + 2, y + 1, label, 5)
            elif kind == 1:
                s.say(x0, y + row - 9, label)
                s.rule(x0 + (x1 - x0) * 0.4, y + row - 2, x1, y + row - 2)
            else:
                checks = True
                s.box((x0, y + 4, x0 + 7, y + 11), outline=s.style.ink)
                if rng.random() < 0.4:
                    s.rule(x0, y + 4, x0 + 7, y + 11, 1, blue)
                s.say(x0 + 11, y + 4, label[:-1])
            if filled and kind != 2:
                s.say(x0 + (x1 - x0) * 0.42, y + row - 11, words.name(rng)[: int((x1 - x0) / 9)], 9, blue, family=hand)
        y += row + float(rng.uniform(2, 8))
        if rng.random() < 0.15:
            s.box((m, y, w - m, y + 11), fill=(200, 205, 215))
            s.say(m + 3, y + 2, s.sentence(3).upper())
            y += 16
    sees = ["empty boxes to fill in" if not filled else "fields filled in by hand"]
    if checks:
        sees.append("check boxes")
    return Drawn(s.image, "form", tuple(sees), s.style.about, s.style.tongue)


def letter(rng: Rng, fonts: Fonts) -> Drawn:
    s = new_sheet(rng, fonts, style=str(rng.choice(["serif", "sans"])), text=float(rng.uniform(6.5, 8.5)))
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.09, 0.15))
    accent = tuple(int(v) for v in rng.integers(0, 150, 3))
    if rng.random() < 0.6:
        s.say(w / 2 if rng.random() < 0.5 else m, m * 0.5, words.company(rng), 14, accent)
        s.rule(m, m * 0.5 + 18, w - m, m * 0.5 + 18, 1, accent)
    y = m + 16
    for line in (words.name(rng), *words.address(rng)):
        s.say(m, y, line)
        y += 10
    s.say(w - m, y, words.date(rng), anchor="ra")
    s.say(m, y + 18, "Dear " + words.name(rng) + ",")
    end = s.lines((m, y + 34, w - m, h * float(rng.uniform(0.45, 0.8))), justify=bool(rng.random() < 0.4))
    s.say(m, end + 10, "Yours sincerely,")
    s.say(m, end + 22, words.name(rng), 14, (20, 20, 110), family=fonts.pick("hand", rng))
    return Drawn(s.image, "letter", ("a signature", "a salutation and paragraphs"), s.style.about, s.style.tongue)


def id_card(rng: Rng, fonts: Fonts) -> Drawn:
    width = LONG
    tint = tuple(int(v) for v in rng.integers(170, 250, 3))
    s = new_sheet(rng, fonts, style="sans", size=(width, round(width / 1.586)), paper=tint, text=11, tongues=False)
    w, h = s.width, s.height
    accent = tuple(int(v) for v in rng.integers(20, 150, 3))
    for k in range(0, w, 9):
        s.pen.arc((k - 60, -80, k + 300, h + 60), 0, 180, fill=tuple(max(0, v - 18) for v in tint))
    s.box((0, 0, w, h * 0.16), fill=accent)
    label = str(rng.choice(["IDENTITY CARD", "DRIVER LICENCE", "STUDENT CARD", "MEMBER CARD", "PASSPORT"]))
    s.say(14, h * 0.04, label, 18, (250, 250, 250))
    left = rng.random() < 0.7
    px = 18 if left else w - 18 - w * 0.27
    _portrait(s, (px, h * 0.24, px + w * 0.27, h * 0.76))
    x = w * 0.36 if left else 18
    facts = (
        ("Surname", words.choose(rng, words.LAST)),
        ("Given name", words.choose(rng, words.FIRST)),
        ("Date of birth", words.date(rng)),
        ("No.", str(rng.integers(10**7, 10**8))),
    )
    for i, (key, value) in enumerate(facts):
        s.say(x, h * (0.24 + 0.14 * i), key, 8, (90, 90, 90))
        s.say(x, h * (0.24 + 0.14 * i) + 10, value, 14)
    if rng.random() < 0.6:
        mono = fonts.pick("mono", rng)
        for i in range(2):
            code = "".join("ABCDEFGHKLMN0123456789<<<<<"[j] for j in rng.integers(27, size=34))
            s.say(12, h * (0.82 + 0.08 * i), code, 14, family=mono)
    return Drawn(s.image, "id card", ("a portrait", "a name and a number"), "")


def _portrait(s: object, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    rng = s.rng  # type: ignore[attr-defined]
    skin = tuple(int(v * k) for v, k in zip((235, 190, 160), (rng.uniform(0.4, 1.0),) * 3, strict=True))
    s.box(box, fill=tuple(int(v) for v in rng.integers(150, 235, 3)))  # type: ignore[attr-defined]
    w, h, x = right - left, bottom - top, (left + right) / 2
    pen = s.pen  # type: ignore[attr-defined]
    pen.ellipse(
        (x - w * 0.45, top + h * 0.68, x + w * 0.45, bottom + h * 0.3),
        fill=tuple(int(v) for v in rng.integers(20, 160, 3)),
    )
    pen.ellipse(
        (x - w * 0.27, top + h * 0.1, x + w * 0.27, top + h * 0.5), fill=tuple(int(v) for v in rng.integers(10, 120, 3))
    )
    pen.ellipse((x - w * 0.22, top + h * 0.2, x + w * 0.22, top + h * 0.72), fill=skin)
    s.box((left - 2, bottom, right + 2, bottom + h * 0.3 + 2), fill=s.paper)  # type: ignore[attr-defined]


def table(rng: Rng, fonts: Fonts) -> Drawn:
    size = page_size(rng, landscape=0.35)
    s = new_sheet(rng, fonts, style=str(rng.choice(["sans", "serif"])), size=size)
    w, h, m = s.width, s.height, s.width * 0.07
    y = m
    alone = rng.random() < 0.4
    if not alone:
        y = s.lines((m, m, w - m, m + h * float(rng.uniform(0.08, 0.35)))) + 8
    s.say(m, y, f"Table {rng.integers(1, 9)}. " + s.sentence(5), s.style.size)
    y += 12
    bottom = h - m if alone else min(h - m, y + h * float(rng.uniform(0.25, 0.6)))
    rows = max(4, int((bottom - y) / float(rng.uniform(8, 14))))
    grid = str(rng.choice(["full", "rows", "none"]))
    head = tuple(int(v) for v in rng.integers(60, 230, 3)) if rng.random() < 0.5 else None
    s.table(
        (m, y, w - m, bottom), rows, int(rng.integers(3, 10)), grid=grid, head=head, numbers=bool(rng.random() < 0.85)
    )
    if not alone:
        s.lines((m, bottom + 8, w - m, h - m))
    sees = ("rows and columns of numbers", "ruled lines" if grid == "full" else "columns without lines")
    return Drawn(s.image, "table", sees, s.style.about, s.style.tongue)


def financial_report(rng: Rng, fonts: Fonts) -> Drawn:
    s = new_sheet(rng, fonts, style=str(rng.choice(["sans", "serif", "sans"])), text=float(rng.uniform(5.5, 7)))
    s.style.about = "finance"
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.06, 0.12))
    accent = tuple(int(v) for v in rng.integers(0, 170, 3))
    s.say(m, m * 0.45, "Annual Report " + str(rng.integers(1998, 2025)), 6, accent)
    s.say(w - m, m * 0.45, str(rng.integers(1, 200)), 6, accent, "ra")
    s.say(m, m, "Consolidated " + words.title(rng, "finance", 2), float(rng.uniform(9, 15)), accent)
    y = m + 24
    columns = int(rng.integers(1, 3))
    while y < h - m - 30:
        if rng.random() < 0.6:
            rows = int(rng.integers(5, 16))
            bottom = min(h - m, y + rows * 10)
            s.table((m, y, w - m, bottom), rows, int(rng.integers(3, 6)), grid=str(rng.choice(["none", "rows"])))
            y = bottom + 12
        else:
            bottom = min(h - m, y + h * float(rng.uniform(0.12, 0.4)))
            for c in range(columns):
                x0 = m + (w - 2 * m + 10) * c / columns
                s.lines((x0, y, x0 + (w - 2 * m - 10 * (columns - 1)) / columns, bottom))
            y = bottom + 10
    return Drawn(s.image, "financial report", ("statements with columns of amounts",), "finance", s.style.tongue)


def tender(rng: Rng, fonts: Fonts) -> Drawn:
    """Public procurement: numbered clauses, boxes, short lists."""
    s = new_sheet(
        rng, fonts, style=str(rng.choice(["sans", "serif"])), text=float(rng.uniform(6.5, 8.5)), paper=white(rng)
    )
    s.style.about = "building"
    w, h, m = s.width, s.height, s.width * float(rng.uniform(0.09, 0.14))
    if rng.random() < 0.5:
        s.pen.ellipse((w / 2 - 14, m * 0.4, w / 2 + 14, m * 0.4 + 28), outline=s.style.ink)
    s.say(
        w / 2,
        m + 10,
        str(rng.choice(["INVITATION TO TENDER", "REQUEST FOR PROPOSALS", "NOTICE TO BIDDERS"])),
        11,
        anchor="ma",
    )
    y, n = m + 34, int(rng.integers(1, 5))
    while y < h - m - 16:
        n += 1
        s.say(m, y, f"{n}.", s.style.size)
        if rng.random() < 0.35:
            s.say(m + 16, y, s.sentence(4).upper())
            y += 12
        y = s.lines((m + 16, y, w - m, min(h - m, y + float(rng.uniform(18, 60)))), justify=False, indent=False) + 6
        if rng.random() < 0.2 and y < h - m - 50:
            s.table((m + 16, y, w - m, y + 40), 4, 2, numbers=False)
            y += 48
    s.say(w / 2, h - m * 0.6, f"Page {rng.integers(1, 60)} of 60", 6, anchor="ma")
    return Drawn(s.image, "government tender", ("numbered clauses",), "building", s.style.tongue)
