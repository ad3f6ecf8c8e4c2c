"""What common rules say of the same streams: every hour compared with the reference, each hour by itself.

``ks``: two-sample Kolmogorov-Smirnov at p < 0.05; ``psi``: population stability index above 0.2; ``three_sigma``: more
than three standard errors from the reference. They look at what a stream counts, hits of trials, or at distances from
the reference's centre; a run of flagged hours is one alarm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstwobign

from detectors.rates import RateReference
from monitor.evaluate.bank import HOURLY_RING, StreamBank
from monitor.evaluate.calendar import HOUR_US

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

NAMES = ("ks", "psi", "three_sigma")
PSI = 0.2
SIGMA = 3.0
LEAST = 1e-4  # of a share, without which its logarithm is nothing
_KS = float(kstwobign.isf(0.05))


def of_shares(hits: Float, trials: Float, rate: Float, known: Float) -> dict[str, Bool]:
    """Which hours each rule flags: ``hits`` of ``trials`` in it, ``rate`` over ``known`` sessions before."""
    n = np.maximum(trials, 1.0)
    now = hits / n
    seen = trials > 0
    ks = np.abs(now - rate) * np.sqrt(n * known / (n + known)) > _KS
    p, q = np.clip(now, LEAST, 1 - LEAST), np.clip(rate, LEAST, 1 - LEAST)
    psi = (p - q) * (np.log(p / q) - np.log((1 - p) / (1 - q))) > PSI
    sigma = np.abs(now - rate) > SIGMA * np.sqrt(q * (1 - q) / n)
    return {"ks": ks & seen, "psi": psi & seen, "three_sigma": sigma & seen}


def of_values(now: Float, before: Float) -> dict[str, bool]:
    """The rules on an hour's values, against the reference's: ten bins of equal share for PSI."""
    pooled = np.concatenate([now, before])
    a, b = (np.searchsorted(np.sort(x), pooled, side="right") / x.size for x in (now, before))
    ks = np.abs(a - b).max() * np.sqrt(now.size * before.size / (now.size + before.size)) > _KS
    edges = np.quantile(before, np.arange(1, 10) / 10)
    share = np.clip(np.bincount(np.searchsorted(edges, now), minlength=10) / now.size, LEAST, None)
    psi = float(((share - 0.1) * np.log(share / 0.1)).sum()) > PSI
    sigma = abs(now.mean() - before.mean()) > SIGMA * before.std() / np.sqrt(now.size)
    return {"ks": bool(ks), "psi": psi, "three_sigma": bool(sigma)}


class Rules:
    """The rules on every stream of a bank that counts shares, hour by hour."""

    def __init__(self) -> None:
        self.alarms = {name: {"page": 0, "ticket": 0} for name in NAMES}
        self.hours = {"page": 0, "ticket": 0}  # of streams, with data
        self._flagged: dict[str, Bool] = {}
        self._keys: list[tuple[str, str, str]] = []
        self._composition = -1

    def look(self, bank: StreamBank, hour_us: int) -> None:
        """The hour that ends at ``hour_us``, as the bank remembers it."""
        if bank.composition != self._composition:
            self._composition = bank.composition
            fits = [stream.fitted.fit if not stream.hourly else None for stream in bank.streams]
            self._mine = np.array([isinstance(fit, RateReference) for fit in fits], dtype=np.bool_)
            rates = [fit for fit in fits if isinstance(fit, RateReference)]
            self._rate = np.array([fit.rate for fit in rates])
            self._known = np.array([fit.trials for fit in rates], dtype=np.float64)
            self._page = np.array([s.severity == "page" for s in bank.streams], dtype=np.bool_)[self._mine]
            keys = [stream.key for stream, mine in zip(bank.streams, self._mine, strict=True) if mine]
            was = {name: dict(zip(self._keys, flags.tolist(), strict=True)) for name, flags in self._flagged.items()}
            self._flagged = {
                name: np.array([was.get(name, {}).get(key, False) for key in keys], dtype=np.bool_) for name in NAMES
            }
            self._keys = keys
        if not self._keys:
            return
        slot = (hour_us // HOUR_US) % HOURLY_RING
        hits = bank.hour_hits[self._mine, slot].astype(np.float64)
        trials = bank.counts[self._mine, slot].astype(np.float64)
        for severity, chosen in (("page", self._page), ("ticket", ~self._page)):
            self.hours[severity] += int((trials[chosen] > 0).sum())
        for name, flags in of_shares(hits, trials, self._rate, self._known).items():
            new = flags & ~self._flagged[name]
            self.alarms[name]["page"] += int((new & self._page).sum())
            self.alarms[name]["ticket"] += int((new & ~self._page).sum())
            # An hour without sessions says nothing of what was flagged.
            self._flagged[name] = np.where(trials > 0, flags, self._flagged[name])
