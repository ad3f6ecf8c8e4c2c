"""The log density of the noncentral chi-square, fast for arrays and stable far out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ive

Float = NDArray[np.float64]


def log_density(x: ArrayLike, df: ArrayLike, nc: ArrayLike) -> Float:
    """Log density of ncx2(df, nc) at ``x`` > 0; ``nc`` 0 gives chi-square.

    Written with the exponentially scaled Bessel function I_v(z), v = df/2 - 1, z = sqrt(nc x); where that
    underflows (z small beside v) its power series, where v is large the uniform expansion (DLMF 10.41.3).
    """
    q, k, lam = np.broadcast_arrays(
        np.maximum(np.asarray(x, dtype=np.float64), 1e-300),
        np.asarray(df, dtype=np.float64),
        np.asarray(nc, dtype=np.float64),
    )
    v = 0.5 * k - 1.0
    central = v * np.log(0.5 * q) - 0.5 * q - gammaln(v + 1.0) - np.log(2.0)
    z = np.sqrt(lam * q)
    with np.errstate(divide="ignore"):
        bessel = np.log(ive(v, z)) + z
        ratio = np.where(lam > 0, 0.5 * v * np.log(np.where(lam > 0, q / np.maximum(lam, 1e-300), 1.0)), 0.0)
    # I_v(z) ~ (z/2)^v / Gamma(v+1) (1 + z^2 / (4 (v+1)) + ...): exact enough where z^2 is below v
    quarter = 0.25 * z * z
    series = np.log1p(quarter / (v + 1.0) * (1.0 + 0.5 * quarter / (v + 2.0)))
    noncentral = -np.log(2.0) - 0.5 * (q + lam) + ratio + bessel
    small = (quarter < 1e-2) | ~np.isfinite(bessel)
    large = ~np.isfinite(bessel) & (quarter >= 1e-2)
    out = np.where(small, central - 0.5 * lam + series, noncentral)
    if large.any():
        out[large] = (-np.log(2.0) - 0.5 * (q + lam) + ratio)[large] + _log_bessel_uniform(v[large], z[large])
    return np.asarray(out, dtype=np.float64)


def _log_bessel_uniform(v: Float, z: Float) -> Float:
    """log I_v(z) for large v, uniformly in z (first correction included)."""
    v = np.maximum(v, 1.0)
    w = z / v
    root = np.sqrt(1.0 + w * w)
    t = 1.0 / root
    eta = root + np.log(w / (1.0 + root))
    correction = np.log1p((3.0 * t - 5.0 * t**3) / (24.0 * v))
    return np.asarray(v * eta - 0.5 * np.log(2.0 * np.pi * v * root) + correction, dtype=np.float64)
