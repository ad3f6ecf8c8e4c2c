"""Upper tail probabilities from a sample, beyond its largest value too.

Below the threshold the empirical distribution; above it a generalised Pareto distribution, by probability-weighted
moments (Hosking & Wallis 1987, Technometrics 29:339). A shape below zero, an end of the tail that a few rows suggest,
is not believed: the tail is exponential then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

SHARE, FEWEST = 0.1, 10  # of the sample that fits the tail
HEAVIEST = 0.45  # where the moments cease to hold


@dataclass(frozen=True, slots=True)
class UpperTail:
    """``values`` float64[n], ascending; the tail begins at ``start``, which ``share`` of them exceed."""

    values: Float
    start: float
    share: float
    shape: float
    scale: float

    @classmethod
    def fit(cls, sample: Float, rounding: float) -> UpperTail:
        """From float[n], n >= 20; differences below ``rounding`` are none."""
        values = np.sort(np.asarray(sample, dtype=np.float64))
        n = values.size
        many = max(int(SHARE * n), FEWEST)
        start = float(values[n - many - 1])
        beyond = values[n - many :] - start
        mean = float(beyond.mean())
        weighted = float(((many - np.arange(1, many + 1)) / (many - 1) * beyond).mean())
        shape, scale = 0.0, mean
        if mean - 2.0 * weighted > 0 and weighted > 0:
            shape = float(np.clip(2.0 - mean / (mean - 2.0 * weighted), 0.0, HEAVIEST))
            scale = mean * (1.0 - shape)
        return cls(values, start, many / n, shape, max(scale, rounding))

    def log_p(self, x: NDArray[np.floating]) -> Float:
        """Log of the probability of a value as large; of tied values the largest probability. Any shape."""
        n = self.values.size
        as_large = n - np.searchsorted(self.values, x, side="left")
        inside = np.log((as_large + 0.5) / (n + 0.5))
        y = np.maximum(x - self.start, 0.0) / self.scale
        fall = y if self.shape == 0 else np.log1p(self.shape * y) / self.shape
        beyond = np.log(self.share) - fall
        return np.asarray(np.where(x > self.start, beyond, np.maximum(inside, np.log(self.share))), dtype=np.float64)

    def log_p_small(self, x: NDArray[np.floating]) -> Float:
        """Log of the probability of a value as small, within the sample only. Any shape."""
        n = self.values.size
        return np.asarray(np.log((np.searchsorted(self.values, x, side="right") + 0.5) / (n + 0.5)), dtype=np.float64)
