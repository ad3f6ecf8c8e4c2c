"""Which sessions to look at: what was typical before, what is typical now, and what changed most.

Typical ones are near the mean and far from each other, so that a few pictures show the middle of the traffic and not
one page five times. The most changed are those with the highest scores (a novelty, a distance along the change), spread
in the same way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

CENTRAL = 0.5  # part of the rows, those nearest to the mean, among which typical ones are chosen
POOL = 4  # candidates for each most changed one that is shown


def typical(rows: ArrayLike, count: int, weights: ArrayLike | None = None) -> Int64:
    """Indices of at most ``count`` rows of float[n, d] that show the middle of them, the most central first.

    ``weights``: float[n], 1 / inclusion probability. Ties go to the earlier row. Raises ValueError for NaN.
    """
    x = _rows(rows)
    if x.shape[0] == 0 or count <= 0:
        return np.zeros(0, dtype=np.int64)
    w = np.ones(x.shape[0]) if weights is None else np.asarray(weights, dtype=np.float64)
    distance = np.linalg.norm(x - np.average(x, axis=0, weights=w), axis=1)
    order = np.argsort(distance, kind="stable")
    return _spread(x, order[: max(count, int(np.ceil(CENTRAL * x.shape[0])))], count)


def most_changed(rows: ArrayLike, scores: ArrayLike, count: int) -> Int64:
    """Indices of at most ``count`` rows of float[n, d] with high ``scores`` float[n], the highest first, none alike.

    Raises ValueError for NaN.
    """
    x, s = _rows(rows), np.asarray(scores, dtype=np.float64)
    if s.shape != (x.shape[0],) or not np.isfinite(s).all():
        raise ValueError(f"need one finite score per row: {x.shape[0]} rows, scores of shape {s.shape}")
    return _spread(x, np.argsort(-s, kind="stable")[: POOL * max(count, 0)], count)


def _rows(rows: ArrayLike) -> Float:
    x = np.asarray(rows, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError("rows must be a finite matrix, one row per session; leave out what could not be embedded")
    return x


def _spread(x: Float, candidates: Int64, count: int) -> Int64:
    """The first candidate, then by turns the one farthest from those chosen (Gonzalez 1985)."""
    if candidates.size == 0 or count <= 0:
        return np.zeros(0, dtype=np.int64)
    chosen = [0]
    near = np.linalg.norm(x[candidates] - x[candidates[0]], axis=1)
    while len(chosen) < min(count, candidates.size):
        chosen.append(int(np.argmax(near)) if near.max() > 0 else min(set(range(candidates.size)) - set(chosen)))
        near = np.minimum(near, np.linalg.norm(x[candidates] - x[candidates[chosen[-1]]], axis=1))
        near[chosen] = -1.0
    return np.asarray(candidates[chosen], dtype=np.int64)
