"""The Pearson III law: a shifted gamma with given mean, variance and skewness, for tails of sums of unlike terms.

A sum of few rare terms is as skewed as a Poisson count, and a normal tail is then too small on one side and too large
on the other. Matching the third moment as well makes the error one of the second order (Hall 1983).
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammainc, gammaincc, ndtr

_FLAT = 1e-3  # skewness below which it is the normal law


def lower_tail(z: float, skewness: float) -> float:
    """P(Z <= z) of a Pearson III variable with mean 0, variance 1 and this skewness."""
    if abs(skewness) < _FLAT or np.isinf(z):
        return float(ndtr(z))
    shape = 4.0 / skewness**2
    at = max(0.0, shape + np.sign(skewness) * z * np.sqrt(shape))
    return float(gammainc(shape, at) if skewness > 0 else gammaincc(shape, at))
