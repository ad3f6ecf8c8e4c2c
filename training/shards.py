"""Drawn documents on disk, so that drawing is paid once: files of JPEGs with their facts."""

from __future__ import annotations

import concurrent.futures
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training import fonts as font_files
from training.documents import catalogue

PER_SHARD = 250
QUALITY = 90


@dataclass(frozen=True, slots=True)
class Entry:
    """A JPEG with its facts; ``kind`` is a drawn kind, or a real one (``captions.REAL``) with its source document."""

    jpeg: bytes
    kind: str
    sees: tuple[str, ...] = ()
    about: str = ""
    tongue: str = "English"
    document: str = ""

    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.jpeg)).convert("RGB")


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def write_shard(folder: Path, seed: int, number: int) -> Path:
    """Documents number x PER_SHARD and on, unless the shard is there already."""
    path = folder / f"drawn-{seed}-{number:04d}.bin"
    if path.exists():
        return path
    fonts = font_files.discover()
    blobs, facts = [], []
    for index in range(number * PER_SHARD, (number + 1) * PER_SHARD):
        drawn = catalogue.draw(seed, index, fonts)
        blobs.append(jpeg(drawn.image))
        facts.append([len(blobs[-1]), drawn.kind, list(drawn.sees), drawn.about, drawn.tongue])
    head = json.dumps(facts).encode()
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(blobs))
    part.replace(path)
    return path


def read_shard(path: Path) -> list[Entry]:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    at, found = 8 + size, []
    for length, kind, sees, about, tongue in json.loads(data[8:at]):
        found.append(Entry(data[at : at + length], kind, tuple(sees), about, tongue))
        at += length
    return found


def write(folder: Path, seed: int, shards: int, processes: int = 2) -> list[Path]:
    """The first ``shards`` shards of a collection, drawing those that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        return list(pool.map(write_shard, [folder] * shards, [seed] * shards, range(shards)))


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Draw documents into shards.")
    parser.add_argument("--folder", type=Path, default=Path(".cache/encoder/drawn"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=40)
    chosen = parser.parse_args()
    print(font_files.discover().found(), flush=True)
    write(chosen.folder, chosen.seed, chosen.shards)
