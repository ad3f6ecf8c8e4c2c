"""Charts, slides, screenshots, code, maps, geometry, photographs and photographs on paper."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training import fonts as font_files
from training import words
from training.documents.shapes import COLOURS, chart_image, cloud, line_figure, scene
from training.documents.sheet import LONG, Drawn, new_sheet
from training.fonts import Fonts
from training.words import Rng


def chart(rng: Rng, fonts: Fonts) -> Drawn:
    size = (LONG, round(LONG * float(rng.uniform(0.55, 0.85))))
    image, what = chart_image(rng, fonts, size)
    return Drawn(image, "chart", (f"a {what}",))


def slide(rng: Rng, fonts: Fonts) -> Drawn:
    dark = rng.random() < 0.35
    paper = tuple(int(v) for v in (rng.integers(0, 90, 3) if dark else rng.integers(215, 256, 3)))
    size = (LONG, round(LONG * float(rng.choice([0.5625, 0.75]))))
    ink = (240, 240, 240) if dark else (30, 30, 45)
    s = new_sheet(
        rng, fonts, style="sans", size=size, paper=paper, text=float(rng.uniform(13, 18)), ink=ink, tongues=False
    )
    accent = COLOURS[int(rng.integers(len(COLOURS)))]
    w, h = s.width, s.height
    if rng.random() < 0.5:
        s.box((0, 0, w, h * 0.17), fill=accent)
    s.say(w * 0.05, h * 0.04, words.title(rng, s.style.about, 3), float(rng.uniform(22, 30)))
    sees = []
    split = rng.random() < 0.6
    y = h * 0.25
    for _ in range(int(rng.integers(2, 7))):
        if y > h * 0.88:
            break
        s.pen.ellipse((w * 0.05, y + 5, w * 0.05 + 6, y + 11), fill=accent)
        s.say(w * 0.09, y, s.sentence(6)[: 24 if split else 48])
        y += s.style.size * 1.8
    if split:
        box = (w * 0.56, h * 0.25, w * 0.95, h * 0.85)
        if rng.random() < 0.5:
            picture, what = chart_image(rng, fonts)
            sees.append(f"a {what}")
        else:
            picture = scene(rng)
            sees.append("a picture")
        s.paste(picture, box)
    return Drawn(s.image, "presentation slide", (*sees, "a title and bullet points"), s.style.about)


def screenshot(rng: Rng, fonts: Fonts) -> Drawn:
    phone = rng.random() < 0.35
    dark = rng.random() < 0.3
    size = (round(LONG * 0.5), LONG) if phone else (LONG, round(LONG * float(rng.uniform(0.55, 0.75))))
    paper, ink = ((28, 30, 36), (220, 220, 225)) if dark else ((250, 250, 252), (35, 35, 40))
    s = new_sheet(rng, fonts, style="sans", size=size, paper=paper, text=float(rng.uniform(7, 10)), ink=ink)
    w, h = s.width, s.height
    accent = COLOURS[int(rng.integers(len(COLOURS)))]
    bar = (45, 48, 56) if dark else (228, 230, 235)
    s.box((0, 0, w, 16), fill=bar)
    if phone:
        s.say(6, 3, f"{rng.integers(1, 24)}:{rng.integers(10, 60)}", 9)
        s.box((0, 16, w, 44), fill=accent)
        y = 52.0
        while y < h - 40:
            own = rng.random() < 0.5
            wide = w * float(rng.uniform(0.4, 0.7))
            tall = float(rng.uniform(18, 44))
            x = w - wide - 6 if own else 6
            s.pen.rounded_rectangle((x, y, x + wide, y + tall), 7, fill=accent if own else bar)
            s.lines((x + 5, y + 4, x + wide - 5, y + tall), 8, justify=False, indent=False)
            y += tall + 8
        return Drawn(s.image, "screenshot", ("a phone with chat messages",), s.style.about, s.style.tongue)
    for k, tone in enumerate(((255, 95, 86), (255, 189, 46), (39, 201, 63))):
        s.pen.ellipse((6 + k * 12, 4, 14 + k * 12, 12), fill=tone)
    s.pen.rounded_rectangle((60, 3, w - 60, 13), 4, fill=paper)
    side = w * float(rng.uniform(0.15, 0.28))
    s.box((0, 16, side, h), fill=bar)
    for y in range(28, h - 10, 18):
        s.say(8, y, s.sentence(2)[: int(side / 7)])
    y = 28.0
    while y < h - 40:
        kind = rng.integers(3)
        if kind == 0:
            s.pen.rounded_rectangle((side + 10, y, side + 90, y + 16), 3, fill=accent)
            s.say(side + 50, y + 8, s.sentence(1), 8, (255, 255, 255), "mm")
            y += 24
        elif kind == 1 and y < h - 90:
            s.table((side + 10, y, w - 10, y + 70), 6, 4, grid="rows", head=bar)
            y += 80
        else:
            y = s.lines((side + 10, y, w - 10, min(h - 8, y + 40)), justify=False) + 6
    return Drawn(s.image, "screenshot", ("a window with a menu and buttons",), s.style.about, s.style.tongue)


def code(rng: Rng, fonts: Fonts) -> Drawn:
    dark = rng.random() < 0.55
    paper, ink = ((30, 31, 40), (215, 218, 224)) if dark else ((252, 252, 250), (40, 42, 54))
    size = (LONG, round(LONG * float(rng.uniform(0.6, 1.0))))
    s = new_sheet(
        rng, fonts, style="mono", size=size, paper=paper, text=float(rng.uniform(8, 12)), ink=ink, tongues=False
    )
    tones = [(198, 120, 221), (97, 175, 239), (152, 195, 121), (229, 192, 123), ink]
    own = words.TOPICS["software"]
    depth, y, n = 0, 6.0, int(rng.integers(1, 200))
    step = s.style.size * 1.4
    unit = s.style.size * 0.6
    while y < s.height - step:
        s.say(4, y, str(n), ink=(120, 125, 135))
        x = 30 + depth * unit * 4
        if rng.random() < 0.88:
            for _ in range(int(rng.integers(1, 6))):
                token = str(rng.choice(["def", "return", "if", "for", "=", "()", "{", "}", "import", "0", "'x'", *own]))
                s.say(x, y, token, ink=tones[int(rng.integers(5))])
                x += unit * (len(token) + 1)
        depth = int(np.clip(depth + rng.choice([-1, 0, 0, 1]), 0, 4))
        y += step
        n += 1
    return Drawn(
        s.image,
        "source code",
        ("a dark editor" if dark else "a light editor", "indented lines in a fixed-width font"),
        "software",
    )


def map_sheet(rng: Rng, fonts: Fonts) -> Drawn:
    size = (LONG, round(LONG * float(rng.uniform(0.65, 1.0))))
    w, h = size
    land = cloud(rng, size, 6)
    sea = float(rng.uniform(0.25, 0.5))
    old = rng.random() < 0.3
    tones = ((205, 190, 150), (228, 215, 180)) if old else ((170, 211, 223), (242, 239, 233))
    field = np.where(
        (land < sea)[..., None],
        np.array(tones[0]),
        np.array(tones[1]) - (land[..., None] > 0.7) * np.array([40, 10, 50]),
    )
    image = Image.fromarray(field.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 22))):
        points = [
            (float(x), float(y)) for x, y in np.cumsum(rng.normal(0, 40, (8, 2)), axis=0) + rng.uniform(0, [w, h])
        ]
        tone = ((250, 200, 110), (255, 255, 255), (120, 120, 120), (200, 60, 60))[int(rng.integers(4))]
        pen.line(points, fill=tone, width=int(rng.integers(1, 5)), joint="curve")
    if rng.random() < 0.5:
        for x in range(0, w, 56):
            pen.line((x, 0, x, h), fill=(150, 150, 150))
        for y in range(0, h, 56):
            pen.line((0, y, w, y), fill=(150, 150, 150))
    family = fonts.pick("sans", rng)
    for _ in range(int(rng.integers(6, 24))):
        x, y = float(rng.uniform(0, w)), float(rng.uniform(0, h))
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(60, 60, 60))
        pen.text(
            (x + 4, y - 5),
            words.choose(rng, words.CITIES),
            fill=(50, 50, 50),
            font=font_files.load(family, int(rng.integers(7, 13))),
        )
    return Drawn(image, "map", ("roads and place names", "an old map" if old else "land and water"))


def geometry(rng: Rng, fonts: Fonts) -> Drawn:
    """A diagram of a maths problem: few shapes on white with labels."""
    size = (LONG, round(LONG * float(rng.uniform(0.3, 1.2))))
    w, h = size
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    font = font_files.load(fonts.pick(str(rng.choice(["serif", "sans"])), rng), int(rng.integers(12, 24)))
    wide = int(rng.integers(1, 4))
    coloured = rng.random() < 0.35

    def tone() -> tuple[int, int, int] | None:
        return tuple(int(v) for v in rng.integers(90, 250, 3)) if coloured or rng.random() < 0.2 else None  # type: ignore[return-value]

    kind = str(rng.choice(["triangles", "circles", "a grid", "a graph of a function", "cubes", "shapes"]))
    ink = (20, 20, 20)
    if kind == "a grid":
        n, m = int(rng.integers(2, 9)), int(rng.integers(2, 9))
        cell = min(w * 0.9 / n, h * 0.9 / m)
        for i in range(n):
            for j in range(m):
                box = (w * 0.05 + i * cell, h * 0.05 + j * cell, w * 0.05 + (i + 1) * cell, h * 0.05 + (j + 1) * cell)
                pen.rectangle(box, outline=ink, fill=tone() if rng.random() < 0.4 else None, width=wide)
                if rng.random() < 0.3:
                    pen.text(
                        ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
                        str(rng.integers(1, 20)),
                        fill=ink,
                        font=font,
                        anchor="mm",
                    )
    elif kind == "a graph of a function":
        pen.line((0, h / 2, w, h / 2), fill=ink)
        pen.line((w / 2, 0, w / 2, h), fill=ink)
        x = np.linspace(-1, 1, 80)
        curve = np.polyval(rng.normal(0, 1, 4), x) + rng.normal(0, 0.5) * np.sin(x * rng.uniform(2, 9))
        pen.line(
            [(w * (u + 1) / 2, h / 2 - h * 0.3 * float(v)) for u, v in zip(x, curve, strict=True)], fill=ink, width=wide
        )
    elif kind == "cubes":
        a = float(rng.uniform(20, 60))
        for i in range(int(rng.integers(1, 4))):
            for j in range(int(rng.integers(1, 4))):
                x, y = w * 0.2 + i * a, h * 0.3 + j * a
                pen.rectangle((x, y, x + a, y + a), outline=ink, fill=tone(), width=wide)
                pen.line((x, y, x + a * 0.4, y - a * 0.4, x + a * 1.4, y - a * 0.4, x + a, y), fill=ink, width=wide)
    else:
        for _ in range(int(rng.integers(1, 6))):
            x, y, r = rng.uniform(w * 0.2, w * 0.8), rng.uniform(h * 0.2, h * 0.8), rng.uniform(0.1, 0.45) * min(w, h)
            if kind == "circles" or (kind == "shapes" and rng.random() < 0.4):
                pen.ellipse((x - r, y - r, x + r, y + r), outline=ink, fill=tone(), width=wide)
            else:
                n = 3 if kind == "triangles" else int(rng.integers(3, 7))
                angles = np.sort(rng.uniform(0, 2 * np.pi, n))
                pen.polygon(
                    [(x + r * np.cos(t), y + r * np.sin(t)) for t in angles], outline=ink, fill=tone(), width=wide
                )
    for letter in "ABCDEFGHOPQ"[: int(rng.integers(0, 9))]:
        pen.text((float(rng.uniform(5, w - 20)), float(rng.uniform(2, h - 20))), letter, fill=ink, font=font)
    return Drawn(image, "geometry diagram", (kind, "labelled points"))


def photo(rng: Rng, fonts: Fonts) -> Drawn:
    size = (LONG, round(LONG * 0.7)) if rng.random() < 0.7 else (round(LONG * 0.72), LONG)
    return Drawn(scene(rng, size), "photograph", ("a natural scene",))


def photo_page(rng: Rng, fonts: Fonts) -> Drawn:
    """Photographs composed on paper: an album, a brochure, a catalogue."""
    s = new_sheet(rng, fonts, style="sans")
    w, h, m = s.width, s.height, s.width * 0.06
    count = int(rng.integers(1, 5))
    y = m
    for _ in range(count):
        tall = (h - 2 * m) / count
        wide = (w - 2 * m) * float(rng.uniform(0.45, 1))
        s.paste(scene(rng), (m, y, m + wide, y + tall * 0.75))
        s.lines((m, y + tall * 0.78, w - m, y + tall * 0.97))
        if wide < (w - 2 * m) * 0.7:
            s.lines((m + wide + 6, y, w - m, y + tall * 0.75))
        y += tall
    return Drawn(s.image, "brochure page", ("photographs with captions",), s.style.about, s.style.tongue)


def diagram(rng: Rng, fonts: Fonts) -> Drawn:
    size = (LONG, round(LONG * float(rng.uniform(0.6, 1.1))))
    return Drawn(line_figure(rng, fonts, size), "technical drawing", ("lines and reference numbers",))


def on_desk(rng: Rng, page: Image.Image) -> Image.Image:
    """A page photographed on a surface: perspective, a textured background, a shadow's edge, uneven light."""
    w, h = page.size
    out = (round(LONG * 0.75), LONG) if rng.random() < 0.8 else (LONG, round(LONG * 0.75))
    base = np.array(rng.integers(20, 215, 3), np.float32)
    if rng.random() < 0.5:
        base = np.array([150, 110, 75], np.float32) * rng.uniform(0.4, 1.3)
    grain = cloud(rng, out, 7)
    if rng.random() < 0.5:
        grain = np.tile(grain[:1], (out[1], 1)) if rng.random() < 0.5 else np.tile(grain[:, :1], (1, out[0]))
    desk = np.clip(base * (0.7 + 0.5 * grain[..., None]), 0, 255).astype(np.uint8)
    scale = float(rng.uniform(0.75, 1.08)) * min(out[0] / w, out[1] / h)
    angle = float(rng.normal(0, 8)) * np.pi / 180
    centre = np.array(out) / 2 + rng.normal(0, 12, 2)
    corners = np.array([(-w, -h), (w, -h), (w, h), (-w, h)]) * scale / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    quad = corners @ turn.T + centre + rng.normal(0, 10, (4, 2))
    terms = perspective(quad, np.array([(0, 0), (w, 0), (w, h), (0, h)], float))
    warped = page.transform(out, Image.Transform.PERSPECTIVE, terms, Image.Resampling.BILINEAR)
    mask = Image.new("L", page.size, 255).transform(out, Image.Transform.PERSPECTIVE, terms, Image.Resampling.BILINEAR)
    image = Image.fromarray(desk)
    soft = mask.filter(ImageFilter.GaussianBlur(6))
    image.paste((15, 15, 15), (4, 5), soft.point(lambda v: v * 0.45))
    image.paste(warped, (0, 0), mask)
    light = 0.55 + 0.6 * cloud(rng, out, 2)[..., None]
    tint = np.array([1, rng.uniform(0.9, 1), rng.uniform(0.75, 1.02)], np.float32)
    return Image.fromarray(np.clip(np.asarray(image, np.float32) * light * tint, 0, 255).astype(np.uint8))


def perspective(source: np.ndarray, target: np.ndarray) -> tuple[float, ...]:
    """Pillow's eight terms that take points of ``source`` (in the result) to ``target`` (in the original)."""
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    return tuple(float(t) for t in np.linalg.solve(np.array(rows), target.reshape(-1)))
