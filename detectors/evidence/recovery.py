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

CAP = 5.0  # nats: how much contrary evidence ends "still there"
FADES_IN_US = 2 * 86_400_000_000  # event time with data in which support fades from the cap, at least


def fading(found_in_us: int) -> float:
    """Nats per µs of event time with data by which support fades, of a change found ``found_in_us`` after it began."""
    return CAP / max(FADES_IN_US, 4 * found_in_us)


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

    def step(self, log_bets: ArrayLike, fade: ArrayLike = 0.0) -> Bool:
        """Add one look, float64[n, k]; returns bool[n]: the change is still supported. Absent data change nothing.

        ``fade``: nats, float[n] or one for all, that support loses in this look (`fading` times the event time that it
        covers); 0 where a stream has no data.
        """
        logs = np.asarray(log_bets, dtype=np.float64)
        lost = np.broadcast_to(np.asarray(fade, dtype=np.float64), self.sums.shape[:1])
        if logs.shape != self.sums.shape:
            raise ValueError(f"log_bets must have shape {self.sums.shape}, got {logs.shape}")
        if not np.isfinite(logs).all():
            raise ValueError("log_bets holds NaN or infinity; give 0 where a stream has no data")
        if not ((lost >= 0.0) & np.isfinite(lost)).all():
            raise ValueError("fade must be finite and at least 0")
        self.sums = np.clip(self.sums + logs - lost[:, None], 0.0, self.cap)
        return np.asarray((self.sums > 0.0).any(axis=1), dtype=np.bool_)
