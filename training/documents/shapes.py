"""Figures that pages carry: charts, line drawings, equations, scenes, textures."""

from __future__ import annotations

import itertools

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training import fonts as font_files
from training import words
from training.documents.sheet import Sheet
from training.fonts import Fonts
from training.words import Rng

COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (90, 90, 90), (23, 190, 207))
GREEK = "αβγδεζηθλμνξπρστφχψωΓΔΘΛΣΦΨΩ"


def chart_image(rng: Rng, fonts: Fonts, size: tuple[int, int] = (240, 160)) -> tuple[Image.Image, str]:
    """A chart and what it is: bar, line, pie or scatter."""
    w, h = size
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    font = font_files.load(fonts.pick("sans", rng), max(7, h // 20))
    grey = rng.random() < 0.25
    colours = [COLOURS[i] for i in rng.permutation(len(COLOURS))]
    if grey:
        colours = [(int(v),) * 3 for v in rng.integers(30, 170, 7)]
    kind = str(rng.choice(["bar chart", "line chart", "pie chart", "scatter plot"]))
    left, right, top, bottom = w * 0.12, w * 0.96, h * 0.12, h * 0.86
    if rng.random() < 0.7:
        pen.text((w / 2, 2), words.title(rng, words.topic(rng), 2), fill=(30, 30, 30), font=font, anchor="ma")
    if kind == "pie chart":
        radius, centre = h * 0.36, (w * float(rng.uniform(0.35, 0.6)), h * 0.53)
        box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        turn = float(rng.uniform(0, 360))
        for k, share in enumerate(rng.dirichlet(np.full(int(rng.integers(3, 7)), 2.0))):
            pen.pieslice(box, turn, turn + 360 * share, fill=colours[k], outline="white")
            turn += 360 * float(share)
        return image, kind
    if rng.random() < 0.6:
        for y in np.linspace(top, bottom, 6):
            pen.line((left, y, right, y), fill=(215, 215, 215))
    pen.line((left, top, left, bottom), fill=(40, 40, 40))
    pen.line((left, bottom, right, bottom), fill=(40, 40, 40))
    for y in np.linspace(top, bottom, 5):
        pen.text((left - 2, y), str(rng.integers(0, 99)), fill=(60, 60, 60), font=font, anchor="rm")
    series = int(rng.integers(1, 4))
    n = int(rng.integers(4, 12))
    if kind == "bar chart":
        step = (right - left) / n
        for k in range(n):
            for j in range(series):
                x = left + step * (k + 0.15 + 0.7 * j / series)
                pen.rectangle(
                    (x, bottom - (bottom - top) * float(rng.uniform(0.05, 1)), x + step * 0.7 / series, bottom),
                    fill=colours[j],
                )
    elif kind == "line chart":
        n *= 3
        for j in range(series):
            walk = np.cumsum(rng.normal(0, 1, n))
            walk = (walk - walk.min()) / (np.ptp(walk) + 1e-9)
            points = [
                (left + (right - left) * k / (n - 1), bottom - (bottom - top) * float(v)) for k, v in enumerate(walk)
            ]
            pen.line(points, fill=colours[j], width=int(rng.integers(1, 4)))
    else:
        for j in range(series):
            centre, spread = rng.uniform(0.2, 0.8, 2), rng.uniform(0.05, 0.2)
            for u, v in np.clip(rng.normal(centre, spread, (int(rng.integers(20, 90)), 2)), 0, 1):
                x, y = left + (right - left) * u, bottom - (bottom - top) * v
                pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colours[j])
    return image, kind


def line_figure(rng: Rng, fonts: Fonts, size: tuple[int, int] = (240, 180)) -> Image.Image:
    """A technical line drawing: outlines, leader lines, reference numbers, or boxes with arrows."""
    w, h = size
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    font = font_files.load(fonts.pick("sans", rng), 9)
    ink = (25, 25, 25)
    if rng.random() < 0.4:
        boxes = []
        for _ in range(int(rng.integers(3, 8))):
            x, y = float(rng.uniform(5, w - 60)), float(rng.uniform(5, h - 30))
            boxes.append((x + 25, y + 10))
            pen.rectangle((x, y, x + 50, y + 20), outline=ink, fill="white")
            pen.text((x + 25, y + 10), str(rng.integers(10, 400)), fill=ink, font=font, anchor="mm")
        for (x0, y0), (x1, y1) in itertools.pairwise(boxes):
            pen.line((x0, y0 + 10, x0, y1, x1, y1), fill=ink)
        return image
    for _ in range(int(rng.integers(4, 14))):
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        a, b = rng.uniform(8, w / 3), rng.uniform(8, h / 3)
        kind = rng.integers(4)
        if kind == 0:
            pen.ellipse((x - a, y - b, x + a, y + b), outline=ink)
        elif kind == 1:
            pen.rectangle((x - a, y - b, x + a, y + b), outline=ink)
        elif kind == 2:
            pen.polygon([(x + a * float(rng.normal()), y + b * float(rng.normal())) for _ in range(4)], outline=ink)
        else:
            for k in range(0, int(a), 4):
                pen.line((x + k, y, x + k + 8, y + b), fill=ink)
        if rng.random() < 0.7:
            end = (x + float(rng.normal(0, 40)), y + float(rng.normal(0, 30)))
            pen.line((x, y, *end), fill=ink)
            pen.text(end, str(rng.integers(1, 300)), fill=ink, font=font)
    return image


def equation(s: Sheet, x: float, y: float, width: float, tall: bool = False) -> None:
    """A displayed formula centred on x: letters, operators, fractions, sums, sub- and superscripts."""
    rng, size = s.rng, s.style.size + 1
    letters = "abcdefghkmnpqrstuvwxyzABCEFGHKLMNPQRSTUVX" + GREEK
    parts = int(rng.integers(3, 9))
    at = x - width / 2 + float(rng.uniform(0, 0.3)) * width
    for k in range(parts):
        if at > x + width / 2 - 14:
            break
        draw = rng.random()
        if draw < (0.4 if tall else 0.15):
            top = "".join(letters[i] for i in rng.integers(len(letters), size=int(rng.integers(1, 5))))
            s.say(at + 9, y - size * 0.55, top, size * 0.85, anchor="ma")
            s.rule(at, y + size * 0.5, at + 18, y + size * 0.5)
            s.say(at + 9, y + size * 0.6, letters[int(rng.integers(len(letters)))], size * 0.85, anchor="ma")
            at += 22
        elif draw < 0.35:
            s.say(at, y - size * 0.3, str(rng.choice(["∑", "∫", "∏"])), size * 1.7)
            s.say(at, y + size * 1.3, "i=1", size * 0.55)
            at += size * 1.5
        else:
            s.say(at, y, letters[int(rng.integers(len(letters)))], size)
            if rng.random() < 0.6:
                s.say(at + size * 0.6, y + float(rng.choice([-0.35, 0.45])) * size, str(rng.integers(0, 9)), size * 0.6)
            at += size * 1.1
        if k < parts - 1:
            s.say(at, y, str(rng.choice(["=", "+", "−", "≤", "·", "→", "("])), size)
            at += size
    if rng.random() < 0.5:
        s.say(x + width / 2 + 16, y, f"({rng.integers(1, 99)})", s.style.size, anchor="ra")


def cloud(rng: Rng, size: tuple[int, int], detail: int = 5) -> np.ndarray:
    """Smooth noise in 0..1, float32[height, width]: the sum of coarse grids, each twice as fine and half as strong."""
    w, h = size
    total = np.zeros((h, w), np.float32)
    for k in range(detail):
        n = 2 ** (k + 1)
        grid = Image.fromarray(rng.random((n + 1, n + 1)).astype(np.float32))
        total += np.asarray(grid.resize((w, h), Image.Resampling.BICUBIC)) * 0.55**k
    low, high = float(total.min()), float(total.max())
    return (total - low) / (high - low + 1e-9)


def scene(rng: Rng, size: tuple[int, int] = (200, 150)) -> Image.Image:
    """Something photograph-like: sky, ground, blobs of light, shapes with soft edges, grain."""
    w, h = size
    tones = rng.integers(0, 256, (4, 3)).astype(np.float32)
    a, b = cloud(rng, size, 6)[..., None], cloud(rng, size, 4)[..., None]
    field = tones[0] * a + tones[1] * (1 - a)
    field = field * (0.4 + 0.6 * b) + tones[2] * 0.4 * (1 - b)
    if rng.random() < 0.6:
        horizon = int(h * rng.uniform(0.3, 0.7))
        ramp = np.linspace(1, 0.5, horizon, dtype=np.float32)[:, None, None]
        field[:horizon] = field[:horizon] * 0.25 + tones[3] * 0.75 * ramp
    image = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 12))):
        x, y, r, q = rng.uniform(0, w), rng.uniform(h * 0.2, h), rng.uniform(4, w / 4), rng.uniform(4, h / 3)
        tone = tuple(int(v) for v in rng.integers(0, 256, 3))
        if rng.random() < 0.5:
            pen.ellipse((x - r, y - q, x + r, y + q), fill=tone)
        elif rng.random() < 0.5:
            pen.rectangle((x - r, y - q, x + r, y + q), fill=tone)
        else:
            pen.polygon([(x + r * float(rng.normal()), y + q * float(rng.normal())) for _ in range(5)], fill=tone)
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.6, 2.2))))
    grain = np.asarray(image, np.float32) * (0.75 + 0.5 * cloud(rng, size, 7)[..., None])
    grain += rng.normal(0, float(rng.uniform(2, 9)), (h, w, 1))
    return Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))
