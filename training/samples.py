"""Training samples: a document under some condition, as pixels, with a caption; the same for a seed and an index."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training import captions, conditions, shards, split
from training.documents import screens
from training.documents.sheet import LONG
from training.model import FILL, HEIGHT, MEAN, STD, WIDTH

REAL_SHARE = 0.35
MOST = 30  # images of a kind; kinds with as many are drawn equally often, smaller ones less
_FLAT = ("olmocr_", "doclaynet_")  # real kinds that are sheets of paper


@dataclass(frozen=True)
class Pool:
    """Drawn and real entries; real ones are drawn by kind first, so that a large kind does not crowd out others."""

    drawn: list[shards.Entry]
    real: dict[str, list[shards.Entry]]
    kinds: tuple[str, ...]

    @classmethod
    def read(cls, drawn: Path, data: Path | None) -> Pool:
        entries = [entry for path in sorted(drawn.glob("drawn-*.bin")) for entry in shards.read_shard(path)]
        real = real_entries(data) if data is not None else {}
        kinds = (*captions.GENERATED, *captions.REAL)
        return cls(entries, real, kinds)


def real_entries(data: Path) -> dict[str, list[shards.Entry]]:
    """The trainable side of the real images, at the size of drawn ones, each sheet also photographed on a table."""
    found: dict[str, list[shards.Entry]] = {}
    for number, row in enumerate(split.read(data)):
        if row.side != "train":
            continue
        image = Image.open(data / row.file).convert("RGB")
        image.thumbnail((LONG, LONG), Image.Resampling.BOX, reducing_gap=None)
        kind = captions.real_kind(row.kind, row.file)
        sees = captions.REAL[kind][1]
        own = found.setdefault(kind, [])
        own.append(shards.Entry(shards.jpeg(image), kind, sees, document=row.document))
        if row.kind.startswith(_FLAT):
            desk = screens.on_desk(np.random.default_rng((11, number)), image)
            own.append(shards.Entry(shards.jpeg(desk), kind, ("photographed on a table",), document=row.document))
    return found


def sample(pool: Pool, seed: int, index: int) -> dict[str, Any]:
    """``pixels`` uint8[3, height, width], ``caption``, ``kind`` (number), ``conditions`` float32[13], ``document``."""
    rng = np.random.default_rng((seed, index))
    if pool.real and (not pool.drawn or rng.random() < REAL_SHARE):
        names = sorted(pool.real)
        weights = np.array([min(len(pool.real[name]), MOST) for name in names], float)
        own = pool.real[names[int(rng.choice(len(names), p=weights / weights.sum()))]]
        entry = own[int(rng.integers(len(own)))]
        if "photographed on a table" in entry.sees and rng.random() < 0.6:
            entry = own[int(rng.integers(len(own)))]
        phrases = captions.REAL[entry.kind][0]
    else:
        entry = pool.drawn[int(rng.integers(len(pool.drawn)))]
        phrases = captions.GENERATED[entry.kind]
    applied = conditions.draw(rng)
    image = view(entry.image(), applied, rng)
    severity = np.zeros(len(conditions.NAMES), np.float32)
    for name, amount in applied.items():
        severity[conditions.NAMES.index(name)] = 0.3 + 0.7 * amount
    return {
        "pixels": np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)),
        "caption": captions.caption(rng, phrases, entry.sees, entry.about, entry.tongue, applied),
        "kind": pool.kinds.index(entry.kind),
        "conditions": severity,
        "document": entry.document,
    }


def view(image: Image.Image, applied: conditions.Applied, rng: np.random.Generator) -> Image.Image:
    """Conditions, at drawing size where they are geometric, else at the tower's; slight changes of frame and light."""
    image = conditions.apply(image, applied, rng, conditions.GEOMETRIC)
    if rng.random() < 0.5 and "skew" not in applied:
        image = image.rotate(float(rng.normal(0, 0.7)), Image.Resampling.BILINEAR, fillcolor=image.getpixel((2, 2)))
    w, h = image.size
    edges = rng.uniform(0, 0.05, 4) * np.array([w, h, w, h])
    box = (float(edges[0]), float(edges[1]), w - float(edges[2]), h - float(edges[3]))
    stretch = float(np.exp(rng.normal(0, 0.03)))
    ratio = max((box[2] - box[0]) * stretch / WIDTH, (box[3] - box[1]) / HEIGHT)
    size = (
        max(8, min(WIDTH, round((box[2] - box[0]) * stretch / ratio))),
        max(8, min(HEIGHT, round((box[3] - box[1]) / ratio))),
    )
    image = image.resize(size, Image.Resampling.BILINEAR, box=box)
    image = conditions.apply(image, applied, rng, tuple(n for n in conditions.NAMES if n not in conditions.GEOMETRIC))
    if rng.random() < 0.6:
        gain, lift = float(rng.uniform(0.9, 1.08)), float(rng.uniform(-10, 10))
        image = image.point([int(min(255, max(0, v * gain + lift))) for v in range(256)] * 3)
    canvas = Image.new("RGB", (WIDTH, HEIGHT), (FILL,) * 3)
    canvas.paste(image, ((WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2))
    return canvas


@functools.cache
def scaling() -> tuple[np.ndarray, np.ndarray]:
    """(multiplier, offset) from 0..255 to what the tower expects, float32[3, 1, 1] each."""
    std, mean = np.array(STD, np.float32)[:, None, None], np.array(MEAN, np.float32)[:, None, None]
    return 1 / (255 * std), -mean / std
