"""Weighted logistic regression with a ridge penalty, and its design-based covariance.

The estimate maximises the weighted log likelihood less half the sum of penalty x coefficient^2 (weights scaled to a
mean of 1), so that it exists when failures are few or separated. The covariance is the sandwich of Binder (1983) for
weights 1 / pi, with residuals divided by 1 - leverage (HC3; Mancl and DeRouen 2001), since the plain one is too small
where there are few failures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

Float = NDArray[np.float64]

_STEPS = 60
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted regression."""

    coefficients: Float  # float64[k]
    covariance: Float  # float64[k, k]
    influence: Float  # float64[n, k]: what each item moves the coefficients by


def fit(x: Float, y: Float, weights: Float, penalty: Float, centre: Float | None = None) -> Fit:
    """Fit by Newton's method with halved steps.

    Args:
        x: float[n, k], with a column of ones where there is an intercept. y: float[n] in [0, 1].
        weights: float[n], positive.
        penalty: float[k] >= 0, the inverse prior variance of each coefficient; 0 for none.
        centre: float[k], what the coefficients are drawn to; 0 where None.

    Raises:
        ValueError: shapes that do not agree.
    """
    n, k = x.shape
    if y.shape != (n,) or weights.shape != (n,) or penalty.shape != (k,):
        raise ValueError(f"need one outcome and weight per row of x {x.shape}, got {y.shape} and {weights.shape}")
    w = weights / weights.mean()
    towards = np.zeros(k) if centre is None else centre
    beta = towards.copy()

    def loss(b: Float) -> float:
        z = x @ b
        return float(-(w * (y * log_expit(z) + (1.0 - y) * log_expit(-z))).sum() + 0.5 * penalty @ (b - towards) ** 2)

    now = loss(beta)
    for _ in range(_STEPS):
        p = expit(x @ beta)
        gradient = x.T @ (w * (y - p)) - penalty * (beta - towards)
        information = _information(x, w, p, penalty)
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:  # columns that repeat each other
            step = np.linalg.pinv(information, hermitian=True) @ gradient
        scale = 1.0
        while (then := loss(beta + scale * step)) > now and scale > 1e-6:
            scale *= 0.5
        beta = beta + scale * step
        if now - then < _TOLERANCE:
            break
        now = then
    p = expit(x @ beta)
    bread = np.linalg.pinv(_information(x, w, p, penalty), hermitian=True)
    spread = x @ bread
    leverage = np.minimum(w * p * (1.0 - p) * (spread * x).sum(axis=1), 0.99)
    influence = (w * (y - p) / (1.0 - leverage))[:, None] * spread
    return Fit(beta, np.asarray(influence.T @ influence, dtype=np.float64), influence)


def _information(x: Float, w: Float, p: Float, penalty: Float) -> Float:
    return np.asarray((x * (w * p * (1.0 - p))[:, None]).T @ x + np.diag(penalty), dtype=np.float64)
