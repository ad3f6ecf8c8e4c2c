"""alibi-detect's online MMD and LSDD (PyTorch backend, version 0.13), for many streams at once.

Written anew from the published statistics (Gretton et al. 2012, JMLR 13:723; Bu et al. 2017, IEEE TNNLS 28:2787) and
the peer's choices: bandwidth by the median distance, a reference without 2 w - 1 rows, windows that begin with
reference rows, for LSDD 2 w kernel centres and normalised columns. ``_detect_peer_check`` compares the statistics
with those of the peer itself. Thresholds are not the peer's: the benchmark sets everyone's on the same streams.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Float = NDArray[np.float64]
Int = NDArray[np.int64]

LAMBDAS = tuple(4.0**-i for i in range(10))
MOST_DIFFERENCE = 0.2


def bandwidth(distance: Rows) -> float:
    """sigma^2 of the median heuristic from squared distances [n, n] with a zero diagonal."""
    n = distance.shape[0]
    at = n + (n * n - n) // 2 - 1
    return 0.5 * float(np.partition(distance, at, axis=None)[at])


def squared_distance(x: Rows, y: Rows) -> Rows:
    out = x @ y.T
    out *= -2.0
    out += np.einsum("ij,ij->i", x, x)[:, None]
    out += np.einsum("ij,ij->i", y, y)
    return np.maximum(out, 0.0, out=out)


def kernel(x: Rows, y: Rows, sigma_square: float) -> Rows:
    out = squared_distance(x, y)
    out *= np.float32(-0.5 / sigma_square)
    return np.exp(out, out=out)


class MMD:
    """Online MMD with several windows on one reference.

    Args:
        reference: float32[n, d].
        order: int[n]; for a window w the reference is order[: n - 2 w + 1] and the window begins as order[-w:].
    """

    def __init__(self, reference: Rows, windows: tuple[int, ...], order: Int) -> None:
        n = len(reference)
        self.names = tuple(f"mmd_{w}" for w in windows)
        self.windows, self.longest, self.reference = windows, max(windows), reference
        distance = squared_distance(reference, reference)
        np.fill_diagonal(distance, 0.0)
        self.sigma_square = bandwidth(distance)
        gram = kernel(reference, reference, self.sigma_square)
        np.fill_diagonal(gram, 0.0)
        self.means = np.zeros((n, len(windows)), dtype=np.float32)
        self.own = np.zeros(len(windows))
        for j, w in enumerate(windows):
            kept = order[: n - 2 * w + 1]
            self.own[j] = gram[np.ix_(kept, kept)].sum(dtype=np.float64) / (kept.size * (kept.size - 1))
            self.means[kept, j] = 1.0 / kept.size
        self.first = reference[order[-self.longest :]]
        self.first_cross = self._cross(self.first)

    def start(self, streams: int) -> None:
        self.recent = np.repeat(self.first[None], streams, axis=0)
        self.cross = np.repeat(self.first_cross[None], streams, axis=0)

    def keep(self, mask: NDArray[np.bool_]) -> None:
        self.recent, self.cross = self.recent[mask], self.cross[mask]

    def update(self, x: Rows) -> Float:
        """Statistics float64[windows, s, t] of rows float32[s, t, d]."""
        s, t, d = x.shape
        full = np.concatenate([self.recent, x], axis=1)
        cross = np.concatenate([self.cross, self._cross(x.reshape(s * t, d)).reshape(s, t, -1)], axis=1)
        out = np.empty((len(self.windows), s, t))
        ends = np.arange(self.longest + 1, self.longest + t + 1)
        sums = np.concatenate([np.zeros((s, 1, len(self.windows))), np.cumsum(cross, axis=1, dtype=np.float64)], axis=1)
        for stream in range(s):
            gram = kernel(full[stream], full[stream], self.sigma_square)
            np.fill_diagonal(gram, 0.0)
            table = np.zeros((len(gram) + 1, len(gram) + 1))
            table[1:, 1:] = gram.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
            for j, w in enumerate(self.windows):
                begin = ends - w
                pairs = table[ends, ends] - 2.0 * table[begin, ends] + table[begin, begin]
                mean = (sums[stream, ends, j] - sums[stream, begin, j]) / w
                out[j, stream] = self.own[j] + pairs / (w * (w - 1)) - 2.0 * mean
        self.recent, self.cross = full[:, -self.longest :], cross[:, -self.longest :]
        return out

    def _cross(self, x: Rows) -> Rows:
        """Mean kernel with each window's reference: float32[m, windows]."""
        parts = [
            kernel(x[at : at + 4096], self.reference, self.sigma_square) @ self.means for at in range(0, len(x), 4096)
        ]
        return np.concatenate(parts)


@dataclass(slots=True)
class _Centres:
    """One window of LSDD; ``recent`` float32[s, w, c] are the kernels of the rows in the window."""

    window: int
    centres: Rows
    weights: Float
    target: Float
    first: Rows
    recent: Rows


class LSDD:
    """Online LSDD with several windows on one reference.

    Args:
        reference: float32[n, d].
        order: int[n]; for a window w the centres are order[: 2 w], of the others the last w begin the window and all
            but 2 w - 1 are the reference.
        draws: of the bootstrap that chooses the regularisation.
    """

    def __init__(self, reference: Rows, windows: tuple[int, ...], order: Int, draws: int = 200) -> None:
        self.names = tuple(f"lsdd_{w}" for w in windows)
        self.mean, self.sd = reference.mean(axis=0), reference.std(axis=0, ddof=1) + np.float32(1e-12)
        y = (reference - self.mean) / self.sd
        distance = squared_distance(y, y)
        np.fill_diagonal(distance, 0.0)
        self.sigma_square = bandwidth(distance)
        self.parts = [self._part(y, w, order, draws) for w in windows]

    def _part(self, y: Rows, w: int, order: Int, draws: int) -> _Centres:
        centres, others = y[order[: 2 * w]], y[order[2 * w :]]
        known = len(others) - (2 * w - 1)
        near = kernel(others, centres, self.sigma_square)
        h_matrix = kernel(centres, centres, 2.0 * self.sigma_square).astype(np.float64)
        rng = np.random.default_rng(w)
        gaps = np.stack([self._gap(near, known, w, rng.permutation(len(others))) for _ in range(draws)])
        target = near[:known].mean(axis=0, dtype=np.float64)
        weights = regularised(h_matrix, gaps)
        return _Centres(w, centres, weights, target, near[len(others) - w :], near[:0][None])

    @staticmethod
    def _gap(near: Rows, known: int, w: int, order: Int) -> Float:
        a, b = near[order[:known]], near[order[known : known + w]]
        return np.asarray(a.mean(axis=0, dtype=np.float64) - b.mean(axis=0, dtype=np.float64))

    def start(self, streams: int) -> None:
        for part in self.parts:
            part.recent = np.repeat(part.first[None], streams, axis=0)

    def keep(self, mask: NDArray[np.bool_]) -> None:
        for part in self.parts:
            part.recent = part.recent[mask]

    def update(self, x: Rows) -> Float:
        """Statistics float64[windows, s, t] of rows float32[s, t, d]."""
        s, t, d = x.shape
        y = (x.reshape(s * t, d) - self.mean) / self.sd
        out = np.empty((len(self.parts), s, t))
        for j, part in enumerate(self.parts):
            w = part.window
            near = kernel(y, part.centres, self.sigma_square).reshape(s, t, -1)
            full = np.concatenate([part.recent, near], axis=1)
            sums = np.zeros((s, w + t + 1, full.shape[2]))
            np.cumsum(full, axis=1, dtype=np.float64, out=sums[:, 1:])
            h = part.target - (sums[:, w + 1 :] - sums[:, 1 : t + 1]) / w
            out[j] = np.einsum("stc,stc->st", h @ part.weights, h)
            part.recent = full[:, -w:]
        return out


def regularised(h_matrix: Float, gaps: Float) -> Float:
    """The matrix of the quadratic form, with the largest lambda whose two estimates differ by less than a fifth."""
    identity = np.eye(len(h_matrix))
    for strength in LAMBDAS:
        inverse = np.linalg.inv(h_matrix + strength * identity)
        omega = gaps @ inverse.T
        differences = 1.0 - np.einsum("bi,ij,bj->b", omega, h_matrix, omega) / np.einsum("bi,bi->b", gaps, omega)
        if float(differences.mean()) < MOST_DIFFERENCE:
            return np.asarray(2.0 * inverse - inverse.T @ h_matrix @ inverse)
    raise ValueError("no regularisation keeps the two estimates of LSDD together; the reference repeats rows")
