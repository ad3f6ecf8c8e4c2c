"""Filters for the image tower, learned without labels: centres of whitened patches (Coates and Ng 2011).

Patches of pages at two scales are freed of their mean and contrast, whitened, and clustered; the centres, taken back
through the whitening, are what a patch is compared with. The same for a seed and the same samples.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.cluster import MiniBatchKMeans

from training.samples import Pool, sample

SIDE, COUNT = 8, 128
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def learn(patches: np.ndarray, seed: int) -> np.ndarray:
    """float32[n, 64] patches to float32[COUNT, 64] filters whose answer to a patch of unit contrast is its likeness."""
    x = patches - patches.mean(1, keepdims=True)
    x = x[x.std(1) > 0.02]
    x /= np.sqrt((x * x).mean(1, keepdims=True) + 1e-3)
    values, axes = np.linalg.eigh(np.cov(x.T))
    whiten = (axes / np.sqrt(np.maximum(values, 0) + 0.05)) @ axes.T
    z = x @ whiten
    z /= np.linalg.norm(z, axis=1, keepdims=True) + 1e-6
    found = MiniBatchKMeans(COUNT, random_state=seed, batch_size=4096, n_init=1, max_iter=30).fit(z).cluster_centers_
    found /= np.linalg.norm(found, axis=1, keepdims=True) + 1e-6
    filters = found @ whiten
    filters -= filters.mean(1, keepdims=True)
    return (filters / np.linalg.norm(filters, axis=1, keepdims=True)).astype(np.float32)


def patches(pool: Pool, seed: int, images: int, each: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Random patches of samples at full and at half size, values 0..1."""
    rng = np.random.default_rng(seed)
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for index in range(images):
        pixels = sample(pool, seed, index)["pixels"].astype(np.float32)
        grey = np.tensordot(LUMA, pixels, 1) / 255
        half = np.asarray(Image.fromarray(grey).resize((grey.shape[1] // 2, grey.shape[0] // 2), Image.Resampling.BOX))
        for level, out in zip((grey, half), found, strict=True):
            y = rng.integers(0, level.shape[0] - SIDE, each)
            x = rng.integers(0, level.shape[1] - SIDE, each)
            out.extend(level[i : i + SIDE, j : j + SIDE].ravel() for i, j in zip(y, x, strict=True))
    return np.array(found[0], np.float32), np.array(found[1], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn the image tower's filters.")
    parser.add_argument("--drawn", type=Path, default=Path(".cache/encoder/drawn"))
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path(".cache/encoder/filters.npz"))
    parser.add_argument("--images", type=int, default=1200)
    chosen = parser.parse_args()
    full, half = patches(Pool.read(chosen.drawn, chosen.data), 99, chosen.images)
    np.savez(chosen.out, full=learn(full, 1), half=learn(half, 2))
    print(f"filters from {len(full)} patches", flush=True)


if __name__ == "__main__":
    main()
