"""Where the last looks of a stream have been moving, and a bet that the next one moves there too.

A look by itself tells of a small shift hardly more than of chance, since it does not know the direction: of 64, chance
moves it in all. What the looks before have in common does. So the sums of their rows are remembered, over three
memories of 4, 16 and 64 looks; the one that stands out most gives a direction, known before the look that is bet on.

The null is that of the location: the mean of a look's rows lies within ``limit`` of the reference's centre, wherever
(the reference's own error and the movement of days and hours). Then the mean of their projections x on any direction
that is known before is at most ``limit`` as well, and the product of 1 + lambda (x - limit) over the rows has a mean of
at most 1, whatever the rows' distribution, as long as lambda, too, is known before and no factor can fall below 0: rows
are pulled in to a radius, so that no x lies below -bound (betting on a bounded mean: Waudby-Smith and Ramdas 2024).
lambda is what Kelly would bet on the shift that the remembered looks estimate; where that is within the limit, nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

MEMORIES = (4.0, 16.0, 64.0)  # looks after which a look counts for 1/e
MOST = 0.9  # of the greatest lambda that cannot lose everything
_KEPT = np.exp(-1.0 / np.array(MEMORIES))


@dataclass(slots=True)
class Heading:
    """What is remembered of a stream's looks, for each memory."""

    sums: Float  # float64[3, k], of whitened rows, less the reference's middle
    rows: Float  # float64[3], how many rows they are worth
    squares: Float  # float64[3], the same of squared weights: the variance of the sums is this times a row's

    @classmethod
    def none(cls, components: int) -> Heading:
        """Before any look, of a reference with so many components."""
        return cls(np.zeros((len(MEMORIES), components)), np.zeros(len(MEMORIES)), np.zeros(len(MEMORIES)))

    def bet(self, y: Float, trace: float, trace_square: float, limit: float, bound: float) -> float:
        """The log payoff of a look along what is remembered; nothing is taken in.

        Args:
            y: float64[m, k], the look's whitened rows, pulled in, less the reference's middle.
            trace, trace_square: of a row's covariance matrix, and of its square.
            limit: greatest length of the mean that is no change.
            bound: greatest length of a row.
        """
        if not self.rows.any():
            return 0.0
        # |sum|^2 less what chance gives it, in its standard deviations.
        excess = (self.sums**2).sum(axis=1) - trace * self.squares
        i = int(np.argmax(excess / (np.sqrt(2.0 * max(trace_square, 1e-300)) * np.maximum(self.squares, 1e-300))))
        if excess[i] <= 0.0:
            return 0.0
        length = float(np.linalg.norm(self.sums[i]))
        beyond = float(excess[i]) / (float(self.rows[i]) * length) - limit
        if beyond <= 0.0:
            return 0.0
        rate = min(beyond / (trace / y.shape[1] + beyond**2), MOST / (bound + limit))
        return float(np.log1p(rate * (y @ (self.sums[i] / length) - limit)).sum())

    def update(self, y: Float) -> None:
        """Take a look in: float64[m, k]."""
        self.sums = self.sums * _KEPT[:, None] + y.sum(axis=0)
        self.rows = self.rows * _KEPT + y.shape[0]
        self.squares = self.squares * _KEPT**2 + y.shape[0]

    def to_state(self) -> Float:
        """float64[3, k + 2]."""
        return np.column_stack([self.sums, self.rows, self.squares])

    @classmethod
    def from_state(cls, state: Float) -> Heading:
        """The inverse of :meth:`to_state`."""
        return cls(state[:, :-2].copy(), state[:, -2].copy(), state[:, -1].copy())
