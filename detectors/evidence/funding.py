"""The false-alarm budget as a funded Shiryaev-Roberts procedure, vectorised over streams.

At each look stream i receives funding alpha_i, known before the look, split evenly over K bets:

    R_ik <- (R_ik + alpha_i / K) * L_ik,      alarm when sum_k R_ik >= 1, then R_i <- 0.

With E[L_ik | past] <= 1 when nothing changed, sum R - (funding spent) + (alarms) is a supermartingale for any
dependence between streams, so the expected number of false alarms in any period is at most what was funded in
it (plus the evidence already held at its start).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.evidence.packing import pack, pack_bytes, unpack

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Index = int | NDArray[np.int64] | NDArray[np.bool_] | list[int]

# exp(700) is finite and R < 1 + funding, so that a product never overflows; evidence beyond it means nothing.
MAX_LOG_BET = 700.0
_KIND = "funded-sr"


@dataclass(frozen=True, slots=True)
class Step:
    """One look: which streams alarmed, and each stream's evidence (threshold 1) before an alarm zeroed it."""

    alarms: Bool
    value: Float


class FundedSR:
    """Funded Shiryaev-Roberts for ``n`` streams with up to ``k`` bets each.

    A stream with fewer bets than ``k`` leaves the rest at log bet 0 with ``bets`` saying how many count.
    """

    def __init__(self, n: int = 0, k: int = 4) -> None:
        if n < 0 or k < 1:
            raise ValueError(f"need n >= 0 streams and k >= 1 bets, got n={n}, k={k}")
        self._r: Float = np.zeros((n, k))
        self._suspended: Bool = np.zeros(n, dtype=np.bool_)

    @property
    def n(self) -> int:
        """Number of streams."""
        return int(self._r.shape[0])

    @property
    def k(self) -> int:
        """Bets per stream."""
        return int(self._r.shape[1])

    @property
    def value(self) -> Float:
        """Evidence of each stream now, float64[n], below 1."""
        return np.asarray(self._r.sum(axis=1), dtype=np.float64)

    @property
    def suspended(self) -> Bool:
        """Which streams are suspended, bool[n]."""
        return self._suspended.copy()

    def step(self, log_bets: ArrayLike, funding: ArrayLike, bets: ArrayLike | None = None) -> Step:
        """One look at every stream.

        Args:
            log_bets: float64[n, k], the log of each bet's payoff; 0 where there is no data. Values beyond
                +-700 are clipped.
            funding: float64[n], >= 0, fixed before the look; 0 for streams without data in the look. (Whether
                data came may decide, what it says may not.) Ignored for suspended streams.
            bets: int[n], how many leading columns count for each stream; default all ``k``.

        Returns:
            alarms bool[n] and value float64[n].

        Raises:
            ValueError: wrong shapes, NaN or infinities, negative funding.
        """
        logs = np.asarray(log_bets, dtype=np.float64)
        fund = np.asarray(funding, dtype=np.float64)
        if logs.shape != self._r.shape:
            raise ValueError(f"log_bets must have shape {self._r.shape}, got {logs.shape}; call grow() for new streams")
        if fund.shape != (self.n,):
            raise ValueError(f"funding must have shape ({self.n},), got {fund.shape}")
        if not np.isfinite(logs).all():
            raise ValueError("log_bets holds NaN or infinity; give 0 where a stream has no data")
        if not np.isfinite(fund).all() or (fund < 0).any():
            raise ValueError("funding must be finite and >= 0")
        logs = np.clip(logs, -MAX_LOG_BET, MAX_LOG_BET)
        if bets is None:
            share: Float = np.repeat(fund[:, None] / self.k, self.k, axis=1)
        else:
            count = np.asarray(bets, dtype=np.int64)
            if count.shape != (self.n,) or (count < 1).any() or (count > self.k).any():
                raise ValueError(f"bets must hold {self.n} numbers from 1 to {self.k}")
            share = np.where(np.arange(self.k) < count[:, None], (fund / count)[:, None], 0.0)
        moved = (self._r + share) * np.exp(logs)
        moved[self._suspended] = 0.0
        value = moved.sum(axis=1)
        alarms = value >= 1.0
        moved[alarms] = 0.0
        self._r = moved
        return Step(alarms=np.asarray(alarms, dtype=np.bool_), value=np.asarray(value, dtype=np.float64))

    def suspend(self, index: Index) -> None:
        """Take streams with an open anomaly out: no funding, no evidence, until :meth:`resume`."""
        self._r[index] = 0.0
        self._suspended[index] = True

    def resume(self, index: Index) -> None:
        """Start suspended streams again, from zero evidence."""
        self._r[index] = 0.0
        self._suspended[index] = False

    def reset(self, index: Index) -> None:
        """Forget the evidence of streams (a new reference); whether they are suspended stays."""
        self._r[index] = 0.0

    def grow(self, n: int) -> None:
        """Make room for ``n`` streams in all; new ones start at zero, old ones keep their index."""
        if n < self.n:
            raise ValueError(f"cannot shrink from {self.n} to {n} streams; use drop()")
        extra = n - self.n
        self._r = np.vstack([self._r, np.zeros((extra, self.k))])
        self._suspended = np.concatenate([self._suspended, np.zeros(extra, dtype=np.bool_)])

    def drop(self, index: Index) -> None:
        """Remove streams; later ones move up, as in ``numpy.delete``."""
        where = np.asarray(index, dtype=np.int64)
        self._r = np.delete(self._r, where, axis=0)
        self._suspended = np.delete(self._suspended, where)

    def to_state(self, index: int) -> bytes:
        """One stream as versioned bytes (streams persist singly)."""
        return pack(_KIND, {"suspended": bool(self._suspended[index])}, {"r": self._r[index]})

    def to_states(self) -> list[bytes]:
        """Every stream as :meth:`to_state`, in order."""
        rows, size, shape = self._r.tobytes(), 8 * self.k, (self.k,)
        return [
            pack_bytes(_KIND, {"suspended": suspended}, {"r": ("<f8", shape, rows[i * size : (i + 1) * size])})
            for i, suspended in enumerate(self._suspended.tolist())
        ]

    def from_state(self, index: int, state: bytes) -> None:
        """Put a stream's bytes back at ``index``.

        Raises:
            ValueError: not such a state, or made with another number of bets.
        """
        scalars, arrays = unpack(_KIND, state)
        if arrays["r"].shape != (self.k,):
            raise ValueError(
                f"the stream was kept with {arrays['r'].size} bets, this procedure has {self.k}; start it from zero"
            )
        self._r[index] = arrays["r"]
        self._suspended[index] = scalars["suspended"]
