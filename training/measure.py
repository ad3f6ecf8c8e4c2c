"""Samples with their fixed measurements, on disk: made once, learned from in every epoch. Stops and resumes by file."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from training.samples import Pool, sample, scaling

PER_FILE = 256
SEED = 20


def write(folder: Path, number: int, pool: Pool, tower: object) -> None:
    """Samples number x PER_FILE and on: measurements float16, kinds, conditions, captions, documents."""
    import torch

    path = folder / f"measured-{number:04d}.npz"
    if path.exists():
        return
    rows = [sample(pool, SEED, index) for index in range(number * PER_FILE, (number + 1) * PER_FILE)]
    gain, lift = scaling()
    parts = []
    with torch.inference_mode():
        for start in range(0, PER_FILE, 64):
            pixels = np.stack([row["pixels"] for row in rows[start : start + 64]]).astype(np.float32) * gain + lift
            parts.append(tower.measure(torch.from_numpy(pixels)).numpy())  # type: ignore[attr-defined]
    part = folder / f"{number:04d}.{os.getpid()}.part.npz"
    np.savez(
        part,
        measured=np.concatenate(parts).astype(np.float16),
        kinds=np.array([row["kind"] for row in rows]),
        conditions=np.stack([row["conditions"] for row in rows]).astype(np.float16),
        captions=json.dumps([row["caption"] for row in rows]),
        documents=json.dumps([row["document"] for row in rows]),
    )
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure samples; goes on where it was stopped.")
    parser.add_argument("--drawn", type=Path, default=Path(".cache/encoder/drawn"))
    parser.add_argument("--data", type=Path, default=None, help="the folder of real images with its manifest.csv")
    parser.add_argument("--filters", type=Path, default=Path(".cache/encoder/filters.npz"))
    parser.add_argument("--out", type=Path, default=Path(".cache/encoder/measured"))
    parser.add_argument("--files", type=int, default=150)
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), help="which part of how many processes this is")
    chosen = parser.parse_args()
    import torch

    from training.model import ImageTower

    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    data = chosen.data if chosen.data is not None and chosen.data.is_dir() else None
    pool = Pool.read(chosen.drawn, data)
    counts = {kind: len(entries) for kind, entries in pool.real.items()}
    print(f"{len(pool.drawn)} drawn, {sum(counts.values())} real {counts}", flush=True)
    tower = ImageTower(256, dict(np.load(chosen.filters))).eval()
    part, parts = chosen.share
    for number in range(part, chosen.files, parts):
        write(chosen.out, number, pool, tower)
        print(f"file {number} of {chosen.files}", flush=True)


if __name__ == "__main__":
    main()
