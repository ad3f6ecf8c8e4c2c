"""The null of q = m |mean|^2, the squared length of the mean of m whitened rows.

Were the rows Gaussian, q would be a weighted sum of chi-squares; whitened rows of real inputs come in clusters, and
few of them make a mean that is not Gaussian either. So q is taken as offset + unit x chi-square(df) with the first
three cumulants that the held-out rows give for this m (Pearson's three-moment fit): without the third, the tail that
bets live on is too light.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Float = NDArray[np.float64]
F = TypeVar("F", NDArray[np.float32], NDArray[np.float64])
Int64 = NDArray[np.int64]

NEAR = 5  # rows at which the third cumulant is measured; it goes to its Gaussian value as 1 / m
DRAWS = 4000
MOST_ROWS = 1500  # for the third moment, which takes the cube of them


@dataclass(frozen=True, slots=True)
class LocationNull:
    """Cumulants of q as functions of m."""

    trace: float  # tr Sigma, the mean of q
    trace_square: float  # tr Sigma^2
    norm_variance: float  # Var |row|^2
    third: float  # third cumulant of q as m grows, 8 tr Sigma^3
    third_near: float  # third cumulant at m = 5

    @classmethod
    def fit(cls, y: Float, rng: np.random.Generator) -> LocationNull:
        """From centred held-out rows float64[n, k]; traces are unbiased, over distinct rows."""
        n = y.shape[0]
        if y.shape[1] == 0:
            return cls(0.0, 0.0, 0.0, 0.0, 0.0)
        square = (y**2).sum(axis=1)
        trace = float(square.mean())
        pairs = float(((y.T @ y) ** 2).sum() - (square**2).sum()) / (n * (n - 1))
        few = y[rng.permutation(n)[:MOST_ROWS]]
        gram = few @ few.T
        np.fill_diagonal(gram, 0.0)
        size = few.shape[0]
        triples = float(((gram @ gram) * gram).sum()) / (size * (size - 1.0) * (size - 2.0))
        subsets = rng.integers(0, n, (DRAWS, NEAR))
        subsets = subsets[(np.diff(np.sort(subsets, axis=1), axis=1) > 0).all(axis=1)]  # distinct rows: no bias
        q = ((y[subsets].sum(axis=1)) ** 2).sum(axis=1) / NEAR
        return cls(
            trace=trace,
            trace_square=max(pairs, trace**2 / y.shape[1] * 0.25),
            norm_variance=float(square.var()),
            third=8.0 * max(triples, 0.0),
            third_near=max(float(((q - q.mean()) ** 3).mean()), 0.0),
        )

    def at(self, m: int) -> tuple[float, float, float]:
        """(offset, unit, df) for m rows: q is about offset + unit x chi-square(df)."""
        second = self.norm_variance / m + 2.0 * (1.0 - 1.0 / m) * self.trace_square
        third = self.third + (self.third_near - self.third) * min(1.0, NEAR / m)
        # At least the two-moment fit's skewness, so that the offset is not negative.
        unit = max(third / (4.0 * second), second / (2.0 * self.trace))
        df = second / (2.0 * unit**2)
        return max(0.0, self.trace - unit * df), unit, df

    def to_scalars(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Movement:
    """How the means of days (or hours of the day) differ: variance, its degrees of freedom, where to."""

    between: float
    df: int
    direction: Float

    @classmethod
    def fit(cls, y: Float, group: Int64 | None, null: LocationNull) -> Movement:
        """By moments; none where the groups differ no more than chance lets them."""
        none = cls(0.0, 1, np.zeros(y.shape[1]))
        if group is None:
            return none
        ids, of_group = np.unique(group, return_inverse=True)
        count = np.bincount(of_group).astype(np.float64)
        sums = np.zeros((ids.size, y.shape[1]))
        np.add.at(sums, of_group, y)
        keep = count >= 3
        count, means = count[keep], sums[keep] / count[keep, None]
        size = count.size
        if size < 3:
            return none
        excess = float(((means**2).sum(axis=1) - null.trace / count).mean())
        chance = float(np.sqrt((2.0 * null.trace_square / count**2).sum())) / size
        # Less what chance gives one reference in twenty: the limit multiplies what is left by a squared t quantile.
        between = (excess - 1.64 * chance) * size / (size - 1)
        if between <= 0:
            return none
        _, _, vt = np.linalg.svd(means * np.sqrt(count)[:, None], full_matrices=False)
        return cls(between, size - 1, np.asarray(vt[0], dtype=np.float64))

    def limit(self, confidence: float) -> float:
        """Upper limit of the length of a day's shift. They may differ along one direction: then it is a Student t."""
        return float(np.sqrt(self.between) * stdtrit(self.df, confidence))


def pull(z: F, radius: float) -> F:
    """Rows of float[m, k] beyond the radius, pulled in to it, so that a few far rows cannot pretend to be a shift of
    all. In the precision of the rows."""
    norm = np.linalg.norm(z, axis=1)
    factor = np.where(norm > radius, radius / np.maximum(norm, np.finfo(z.dtype).tiny), 1.0)
    return z * factor[:, None].astype(z.dtype)
