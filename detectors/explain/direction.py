"""A direction that tells now's sessions from before's, fitted on other sessions than those it scores.

Linear discriminant in the first principal components of both periods, with a ridge; five folds, so that every session
has a score from a direction that never saw it. What leaves the mean where it was (only the spread changes) has no
such direction; give a novelty score instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.explain.weighted import checked_weights

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

FOLDS = 5
COMPONENTS = 64
REDUCED = 64  # principal components of both periods, within which each fold looks
# Of the mean variance of the components kept: near the difference of the means. With a few hundred sessions a full
# whitening fits their noise, which costs more on real pages than it gains in any simulated world.
RIDGE = 5.0
MIN_SESSIONS = 40  # in each period


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold: indices it scores, and the scores of fit and scored sessions, in sd of before's fit sessions."""

    before: Int64
    now: Int64
    before_scores: Float
    now_scores: Float
    fit_before_scores: Float
    fit_before_weights: Float


def checked_rows(rows: ArrayLike, name: str) -> Float:
    """float64[n, d] from float[n, d] or a score float[n].

    Raises:
        ValueError: another shape, NaN or infinities, fewer than 40 sessions.
    """
    x = np.asarray(rows, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2:
        raise ValueError(f"{name} must be rows or scores, one per session; got {x.ndim} dimensions")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} hold NaN or infinity; leave out sessions that could not be scored")
    if x.shape[0] < MIN_SESSIONS:
        raise ValueError(f"{name} holds {x.shape[0]} sessions; an explanation needs {MIN_SESSIONS} in each period")
    return x


def cross_fit(
    before: ArrayLike,
    now: ArrayLike,
    *,
    rng: np.random.Generator,
    before_weights: ArrayLike | None = None,
    now_weights: ArrayLike | None = None,
) -> list[Fold]:
    """Five folds over float[n, d] and float[m, d] (or scores float[n], float[m]: only the sign is fitted).

    Raises:
        ValueError: as :func:`checked_rows`; dimensions or weights that do not agree.
    """
    x, y = checked_rows(before, "before"), checked_rows(now, "now")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"before has dimension {x.shape[1]}, now {y.shape[1]}; use one encoder for both")
    u = checked_weights(before_weights, x.shape[0], "before_weights")
    v = checked_weights(now_weights, y.shape[0], "now_weights")
    x, y = reduced(x, y, u, v)
    of_x, of_y = rng.permutation(x.shape[0]) % FOLDS, rng.permutation(y.shape[0]) % FOLDS
    folds = []
    for fold in range(FOLDS):
        fit_x, fit_y = of_x != fold, of_y != fold
        centre, axis = _discriminant(x[fit_x], y[fit_y], u[fit_x], v[fit_y])
        i, j = np.flatnonzero(~fit_x), np.flatnonzero(~fit_y)
        folds.append(Fold(i, j, (x[i] - centre) @ axis, (y[j] - centre) @ axis, (x[fit_x] - centre) @ axis, u[fit_x]))
    return folds


def reduced(x: Float, y: Float, u: Float, v: Float) -> tuple[Float, Float]:
    """Both periods' rows float[n, d], float[m, d] in their common principal components, at most 64; as they are where
    d is no more than that.

    Sessions of both periods go in alike, so that who is before and who is now has no part in the choice of axes, and
    scores of sessions stay exchangeable where nothing changed. Each period weighs the same: a cluster that is a
    twentieth of now has its own axis if it lies farther off than the usual variation there.
    """
    if x.shape[1] <= REDUCED:
        return x, y
    u, v = u / u.sum(), v / v.sum()
    middle = (u @ x + v @ y) / 2.0
    stacked = np.vstack([(x - middle) * np.sqrt(u)[:, None], (y - middle) * np.sqrt(v)[:, None]]).astype(np.float32)
    _, vectors = np.linalg.eigh(stacked.T @ stacked)
    axes = vectors[:, ::-1][:, :REDUCED].astype(np.float64)
    return (x - middle) @ axes, (y - middle) @ axes


def _discriminant(x: Float, y: Float, u: Float, v: Float) -> tuple[Float, Float]:
    """Before's mean float[d], and the axis float[d] along which before has unit variance."""
    u, v = u / u.sum(), v / v.sum()
    mean_x, mean_y = u @ x, v @ y
    if x.shape[1] == 1:
        sd = float(np.sqrt(u @ np.square(x[:, 0] - mean_x[0])))
        sign = 1.0 if mean_y[0] >= mean_x[0] else -1.0
        return mean_x, np.array([sign / sd if sd > 0 else sign])
    # Both periods on common axes, so that a cluster off before's own subspace is seen.
    inside = np.vstack([(x - mean_x) * np.sqrt(u)[:, None], (y - mean_y) * np.sqrt(v)[:, None]])
    gap = mean_y - mean_x
    values, vectors = np.linalg.eigh(inside.T @ inside / 2.0 + np.outer(gap, gap) / 4.0)
    most = min(COMPONENTS, x.shape[0] // 4, x.shape[1])
    axes = vectors[:, ::-1][:, :most][:, values[::-1][:most] > 1e-9 * max(float(values[-1]), 1e-300)]
    if axes.shape[1] == 0:
        return mean_x, np.zeros(x.shape[1])
    scatter = (inside @ axes).T @ (inside @ axes) / 2.0
    scatter += RIDGE * np.trace(scatter) / axes.shape[1] * np.eye(axes.shape[1])
    axis = axes @ np.linalg.lstsq(scatter, axes.T @ gap, rcond=None)[0]
    sd = float(np.sqrt(u @ np.square((x - mean_x) @ axis)))
    length = float(np.linalg.norm(axis))
    if length == 0:
        return mean_x, axis
    return mean_x, axis / (sd if sd > 1e-9 * length else length)
