"""Holm's step-down correction: the chance of any false claim among all that were tried stays at the level."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

LEVEL = 0.05  # chance of any false claim, where nothing else is asked for


def holm(p: ArrayLike) -> Float:
    """Adjusted p-values float64[n]; claim those at most the level. Valid under any dependence (Holm 1979).

    Raises:
        ValueError: p-values outside [0, 1], or NaN.
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p must be a vector of p-values in [0, 1]")
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
