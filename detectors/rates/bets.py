"""Exact binomial bets on a rate, and how far a rate is from its reference.

For odds factor theta and null limit p+, the alternative is p1 = theta p+ / (1 - p+ + theta p+) and the payoff of n
trials with x hits is (p1/p+)^x ((1-p1)/(1-p+))^(n-x). Its expectation at a true rate p is at most 1 exactly if
p <= p+, whatever n, so the size of the look needs no correction.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from detectors.evidence.effect import Effect
from detectors.rates.reference import RateReference

Float = NDArray[np.float64]
Direction = Literal["up", "down", "both"]

ODDS: tuple[float, ...] = (1.5, 2.5, 5.0, 12.0)


def _one_sided(hits: Float, trials: Float, limit: Float, temper: Float, odds: tuple[float, ...]) -> Float:
    theta = np.asarray(odds)[None, :]
    inside = (limit > 0.0) & (limit < 1.0)
    p = np.where(inside, limit, 0.5)[:, None]
    # log((1-p1)/(1-p)) = -log(1-p+theta p), and log(p1/p) = log(theta) + that
    base = -np.log1p(p * (theta - 1.0))
    logs = hits[:, None] * np.log(theta) + trials[:, None] * base
    return np.asarray(np.where(inside[:, None], logs / temper[:, None], 0.0), dtype=np.float64)


def log_bets(
    hits: ArrayLike,
    trials: ArrayLike,
    p_plus: ArrayLike,
    p_minus: ArrayLike | None = None,
    *,
    direction: Direction = "up",
    temper: ArrayLike = 1.0,
    odds: tuple[float, ...] = ODDS,
) -> Float:
    """Log payoffs of one look at ``n`` streams.

    Args:
        hits, trials: int[n]; sessions that count, and sessions seen. 0 trials: no evidence.
        p_plus: float[n], the upper limit of the reference rate; 1 means no bet.
        p_minus: float[n], the lower limit, needed for ``down`` and ``both``; 0 means no bet.
        direction: ``up`` bets on a higher rate, ``down`` on a lower one, ``both`` on either.
        temper: float[n] >= 1, divides the log payoff (:attr:`RateReference.temper`).
        odds: factors of the odds that are bet on.

    Returns:
        float64[n, K], K = len(odds), twice that for ``both`` (up first).

    Raises:
        ValueError: NaN, infinities, negative counts, more hits than trials, limits outside [0, 1].
    """
    x = np.atleast_1d(np.asarray(hits, dtype=np.float64))
    n = np.atleast_1d(np.asarray(trials, dtype=np.float64))
    upper = np.broadcast_to(np.asarray(p_plus, dtype=np.float64), x.shape)
    tempers = np.broadcast_to(np.asarray(temper, dtype=np.float64), x.shape)
    if n.shape != x.shape:
        raise ValueError(f"hits and trials must have one shape, got {x.shape} and {n.shape}")
    if not (np.isfinite(x).all() and np.isfinite(n).all()):
        raise ValueError("hits or trials hold NaN or infinity; give 0 trials where a stream has no data")
    if (x < 0).any() or (x > n).any():
        raise ValueError("need 0 <= hits <= trials")
    if not ((upper >= 0) & (upper <= 1)).all():
        raise ValueError("p_plus must lie in [0, 1]; give 1 for a stream without a reference")
    if not (tempers >= 1).all():
        raise ValueError("temper must be >= 1")
    parts: list[Float] = []
    if direction in ("up", "both"):
        parts.append(_one_sided(x, n, upper, tempers, odds))
    if direction in ("down", "both"):
        if p_minus is None:
            raise ValueError(f"direction {direction!r} needs p_minus, the lower limit of the reference rate")
        low = np.broadcast_to(np.asarray(p_minus, dtype=np.float64), x.shape)
        if not ((low >= 0) & (low <= 1)).all():
            raise ValueError("p_minus must lie in [0, 1]; give 0 for a stream without a reference")
        parts.append(_one_sided(n - x, n, 1.0 - low, tempers, odds))
    return np.concatenate(parts, axis=1)


def interval(hits: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a rate (never covers less than it says; parts of trials are what weights leave of
    whole ones, and it is then no more than near). (0, 1) without trials."""
    if trials <= 0:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if hits == 0 else float(betaincinv(hits, trials - hits + 1, tail))
    high = 1.0 if hits == trials else float(betaincinv(hits + 1, trials - hits, 1.0 - tail))
    return low, high


def effect(
    hits: int, trials: int, reference: RateReference, *, hour_of_week: int | None = None, confidence: float = 0.95
) -> Effect:
    """The rate now with its Clopper-Pearson interval, beside the reference's rate (of that hour of the week)."""
    low, high = interval(hits, trials, confidence)
    baseline = reference.rate if hour_of_week is None else float(reference.baseline[hour_of_week])
    return Effect(hits / trials if trials else baseline, low, high, baseline, "share")
