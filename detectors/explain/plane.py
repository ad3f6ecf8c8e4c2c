"""A reference's vectors as a map, and how far others lie from it in full space.

The map is the plane through the reference's mean along which its sessions vary most (the first two principal
components), so that where the reference lies does not depend on what it is compared with. A map is a shadow: what is
near on it may be far apart, and what is far apart in a direction in which the reference hardly varies shows as nothing.
Hence `Plane.part`, the share of the reference's variance that the plane shows, and `apart`, which measures in full
space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackError, eigsh

from detectors.explain.weighted import Limits, Share, checked_weights

Float = NDArray[np.float64]

INSIDE = 0.95  # part of the reference's sessions within `Apart.radius`
_LARGE = 32  # rows of a matrix
_ROUNDING = 1e-24  # of the squared size of a row
_FLAT = 1e-12  # of all variance, below which nothing varies along an axis


@dataclass(frozen=True, slots=True)
class Plane:
    """``centre``: float64[d]; ``axes``: float64[d, 2], orthonormal, zeros where nothing varies; ``part``: of the
    reference's variance the share along each axis, the greater first."""

    centre: Float
    axes: Float
    part: tuple[float, float]

    @classmethod
    def fit(cls, rows: ArrayLike, weights: ArrayLike | None = None) -> Plane:
        """The plane of a reference.

        Each axis points to the side on which its entry of greatest size is positive (the first, where several are), so
        that the same reference gives the same map on every machine.

        Args:
            rows: float[n, d], one per session, n >= 1.
            weights: float[n], 1 / inclusion probability; equal where None.

        Raises:
            ValueError: no rows, NaN, or weights that do not agree.
        """
        x = _rows(rows)
        w = checked_weights(weights, x.shape[0], "weights")
        w = w / w.sum()
        centre = w @ x
        y = np.sqrt(w)[:, None] * (x - centre)
        n, d = y.shape
        # The smaller of the two Gram matrices has the same eigenvalues: this is a singular value decomposition.
        tall = n > d
        gram = y.T @ y if tall else y @ y.T
        total = float(np.trace(gram))
        axes, part = np.zeros((d, 2)), [0.0, 0.0]
        if total <= _ROUNDING * float(centre @ centre):
            return cls(centre, axes, (0.0, 0.0))
        values, vectors = _greatest(gram)
        for i, (value, vector) in enumerate(zip(values[::-1], vectors.T[::-1], strict=True)):
            if value <= _FLAT * total:
                break
            axis = vector if tall else y.T @ vector / np.sqrt(value)
            axes[:, i] = axis * np.sign(axis[np.argmax(np.abs(axis))])
            part[i] = float(value / total)
        return cls(centre, axes, (part[0], part[1]))

    def coordinates(self, rows: ArrayLike) -> Float:
        """float64[n, 2]: where float[n, d] lie on the map; the reference's mean is at 0, 0. Raises ValueError."""
        x = _rows(rows, least=0)
        if x.shape[0] and x.shape[1] != self.centre.size:
            raise ValueError(f"rows have {x.shape[1]} dimensions, the reference {self.centre.size}; use one encoder")
        return np.asarray((x - self.centre) @ self.axes if x.shape[0] else np.zeros((0, 2)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Apart:
    """How far now lies from before, in full space, in the units of the vectors (unit vectors lie at most 2 apart)."""

    distance: float  # between the means
    chance: float  # what the means of two samples of these sizes lie apart where nothing changed: root mean square
    spread: float  # root mean square distance of before's sessions from their mean
    radius: float  # within which `INSIDE` of before's sessions lie
    beyond: Limits  # share of now's sessions farther than that from before's mean, 95 %


def apart(
    before: ArrayLike,
    now: ArrayLike,
    *,
    before_weights: ArrayLike | None = None,
    now_weights: ArrayLike | None = None,
) -> Apart:
    """Compare two samples of sessions, float[n, d] and float[m, d], weighted by 1 / inclusion probability.

    Raises ValueError: no rows, NaN, dimensions or weights that do not agree.
    """
    x, y = _rows(before), _rows(now)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"before has {x.shape[1]} dimensions, now {y.shape[1]}; use one encoder for both")
    u = checked_weights(before_weights, x.shape[0], "before_weights")
    v = checked_weights(now_weights, y.shape[0], "now_weights")
    was, is_ = np.average(x, axis=0, weights=u), np.average(y, axis=0, weights=v)
    far_x, far_y = np.square(x - was).sum(axis=1), np.square(y - is_).sum(axis=1)
    # A weighted mean's variance, summed over dimensions (Hajek's estimator, linearised).
    error = float(np.square(u) @ far_x / u.sum() ** 2 + np.square(v) @ far_y / v.sum() ** 2)
    order = np.argsort(far_x, kind="stable")
    inside = np.cumsum(u[order]) / u.sum()
    radius = float(np.sqrt(far_x[order][min(int(np.searchsorted(inside, INSIDE)), x.shape[0] - 1)]))
    beyond = Share.of(np.linalg.norm(y - was, axis=1) > radius * (1.0 + 1e-9), v).limits(0.95)
    return Apart(
        distance=float(np.linalg.norm(is_ - was)),
        chance=float(np.sqrt(error)),
        spread=float(np.sqrt(u @ far_x / u.sum())),
        radius=radius,
        beyond=beyond,
    )


def _greatest(gram: Float) -> tuple[Float, Float]:
    """The two greatest eigenvalues, rising, and their vectors. Lanczos' way needs 1 ms where the whole needs 10."""
    size = gram.shape[0]
    if size >= _LARGE:
        try:
            values, vectors = eigsh(gram / np.trace(gram), k=2, v0=np.cos(np.arange(size)))
            order = np.argsort(values)
            return values[order] * np.trace(gram), vectors[:, order]
        except ArpackError:  # hardly anything varies
            pass
    values, vectors = eigh(gram, subset_by_index=[max(0, size - 2), size - 1])
    return values, vectors


def _rows(rows: ArrayLike, least: int = 1) -> Float:
    x = np.asarray(rows, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] < least or not np.isfinite(x).all():
        raise ValueError(f"need a finite matrix with one row per session, at least {least}; got shape {x.shape}")
    return x
