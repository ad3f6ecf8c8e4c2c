"""Whether a change that was found is still there.

While an anomaly is open its stream is not funded, but its bets go on. Each bet's log payoffs are summed between
0 and a cap: the sum stays above 0 while the data keep favouring the change, and falls back to 0 soon after they
stop, however much evidence there was before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Index = int | NDArray[np.int64] | NDArray[np.bool_] | list[int]

CAP = 3.0  # nats: how much contrary evidence ends "still there"


class Recovery:
    """Bounded sums of log bets for ``n`` streams; see the module."""

    def __init__(self, n: int = 0, k: int = 4, cap: float = CAP) -> None:
        if not cap > 0:
            raise ValueError(f"cap must be above 0, got {cap}")
        self.sums: Float = np.zeros((n, k))
        self.cap = cap

    def grow(self, n: int) -> None:
        """Make room for ``n`` streams in all."""
        self.sums = np.vstack([self.sums, np.zeros((n - self.sums.shape[0], self.sums.shape[1]))])

    def start(self, index: Index) -> None:
        """Begin watching: the anomaly has just opened, so the change counts as present."""
        self.sums[index] = self.cap

    def step(self, log_bets: ArrayLike) -> Bool:
        """Add one look, float64[n, k]; returns bool[n]: the change is still supported. Absent data change nothing."""
        logs = np.asarray(log_bets, dtype=np.float64)
        if logs.shape != self.sums.shape:
            raise ValueError(f"log_bets must have shape {self.sums.shape}, got {logs.shape}")
        if not np.isfinite(logs).all():
            raise ValueError("log_bets holds NaN or infinity; give 0 where a stream has no data")
        self.sums = np.clip(self.sums + logs, 0.0, self.cap)
        return np.asarray((self.sums > 0.0).any(axis=1), dtype=np.bool_)
