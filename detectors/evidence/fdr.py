"""Which streams changed within a past period, at a stated false discovery rate.

Every stream gets a mass of 1, spread over the period's looks as their funding; what is not spent yet is kept:

    E_i(t) = sum_k R_ik(t) + 1 - (spent so far),      R_ik <- (R_ik + a / K) L_ik,      E_i(0) = 1.

With E[L_ik | past of all streams] <= 1 this is a nonnegative supermartingale as long as nothing changed, so E_i stopped
at any time that depends on the past of all streams is an e-value (optional stopping). e-BH (Wang and Ramdas, JRSS B
2022) holds the false discovery rate on e-values of any dependence. Here it runs at every look, and a stream that it
names stops there (Wang, Dandapanthula and Ramdas, Anytime-valid FDR control with the stopped e-BH procedure, 2025): a
change that came and went is kept, though R has fallen since, and nothing is paid for it. The running maximum is no
e-value, and the price that makes it one (an adjuster; Dawid et al. 2011; Shafer et al. 2011) is a factor of about its
squared logarithm, which the list would owe for every stream.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.evidence.funding import MAX_LOG_BET

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]

NOT_NAMED = -1
MOST = 1e300  # evidence beyond it says nothing more, and would overflow
_ROUNDING = 1e-9


def e_bh(values: ArrayLike, level: float) -> Bool:
    """The hypotheses rejected by e-BH: the k greatest of n e-values for the largest k with all of them at least
    n / (level k).

    Args:
        values: float[n], >= 0.
        level: the false discovery rate, in (0, 1).

    Raises:
        ValueError: negative or NaN e-values, a level outside (0, 1).
    """
    e = np.asarray(values, dtype=np.float64)
    if e.ndim != 1 or not (e >= 0).all():
        raise ValueError("e-values must be one-dimensional and >= 0")
    if not 0 < level < 1:
        raise ValueError(f"a false discovery rate lies in (0, 1), got {level}")
    n = e.size
    if n == 0:
        return np.zeros(0, dtype=np.bool_)
    enough = np.sort(e)[::-1] * np.arange(1, n + 1) >= n / level
    if not enough.any():
        return np.zeros(n, dtype=np.bool_)
    k = int(np.flatnonzero(enough)[-1]) + 1
    return np.asarray(e >= n / (level * k), dtype=np.bool_)


class StoppedEBH:
    """Stopped e-BH over ``n`` streams with up to ``k`` bets each; see the module.

    ``n`` counts every stream that is judged in the period, also those that never look: it is fixed before.
    """

    def __init__(self, n: int, k: int, level: float) -> None:
        if n < 0 or k < 1:
            raise ValueError(f"need n >= 0 streams and k >= 1 bets, got n={n}, k={k}")
        e_bh(np.zeros(0), level)
        self.level = level
        self.look = 0
        self.named_at: Int64 = np.full(n, NOT_NAMED)  # the look, from 0, at which each was named
        self._r: Float = np.zeros((n, k))
        self._kept: Float = np.ones(n)

    @property
    def values(self) -> Float:
        """The e-value of each stream so far, float64[n]; of those named, as it was then."""
        return np.asarray(np.minimum(self._r.sum(axis=1) + self._kept, MOST), dtype=np.float64)

    @property
    def named(self) -> Bool:
        """Which streams changed, bool[n]. None is ever taken back."""
        return np.asarray(self.named_at != NOT_NAMED, dtype=np.bool_)

    def step(self, log_bets: ArrayLike, funding: ArrayLike, bets: ArrayLike | None = None) -> Int64:
        """One look at every stream.

        Args:
            log_bets: float64[n, k], 0 where there is no data.
            funding: float64[n], >= 0, fixed before the look; 0 for streams without data. At most 1 in all.
            bets: int[n], how many leading columns count for each stream; default all.

        Returns:
            positions of the streams named at this look.

        Raises:
            ValueError: wrong shapes, NaN or infinities, more funding than is left.
        """
        logs = np.asarray(log_bets, dtype=np.float64)
        fund = np.asarray(funding, dtype=np.float64)
        n, k = self._r.shape
        if logs.shape != (n, k) or not np.isfinite(logs).all():
            raise ValueError(f"log_bets must be finite and have shape ({n}, {k}), got {logs.shape}")
        if fund.shape != (n,) or not np.isfinite(fund).all() or (fund < 0).any():
            raise ValueError(f"funding must be finite, >= 0 and have shape ({n},), got {fund.shape}")
        count = np.full(n, k) if bets is None else np.asarray(bets, dtype=np.int64)
        if count.shape != (n,) or (count < 1).any() or (count > k).any():
            raise ValueError(f"bets must hold {n} numbers from 1 to {k}")
        going = ~self.named
        if (fund[going] > self._kept[going] + _ROUNDING).any():
            raise ValueError("a stream is funded with more than 1 over the period; divide 1 over its looks")
        fund = np.where(going, np.minimum(fund, self._kept), 0.0)
        share = np.where(np.arange(k) < count[:, None], (fund / count)[:, None], 0.0)
        with np.errstate(over="ignore"):
            moved = (self._r + share) * np.exp(np.clip(logs, -MAX_LOG_BET, MAX_LOG_BET))
        self._r = np.where(going[:, None], np.minimum(moved, MOST / k), self._r)
        self._kept -= fund
        new = np.flatnonzero(e_bh(self.values, self.level) & going)
        self.named_at[new] = self.look
        self.look += 1
        return new
