"""What a rate was, as limits that contain what it may do without a change.

The null of a rate stream is: on any day the rate lies below ``upper`` (above ``lower``). The limits add up, on the
logit scale,
  1. the estimate's own error (Clopper-Pearson, one-sided, at ``confidence``),
  2. day-to-day variation: the between-day variance by moments (DerSimonian-Laird, less what chance
     gives one reference in five), times a
     Student t quantile with days - 1 degrees of freedom at ``day_confidence``, so that few days give wide limits,
  3. variation between hours of the day and week: with 21 days or more as a shrunken profile (each hour of the week
     has limits of its own, with the profile's error), with fewer as part of one wide limit.
Variation between the hours of one day that is left over is answered by ``temper`` (a quasi-likelihood: log payoffs
are divided by the dispersion found).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, chdtr, chdtri, expit, logit, ndtri, stdtrit

from detectors.evidence.effect import Verdict
from detectors.evidence.packing import pack, unpack

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

HOURS = 168  # hours of a week; hour 0 is Monday 00:00 in the configured time zone
MIN_TRIALS = 100
MIN_DAYS = 3
SEASON_DAYS = 21
# How many days of its own a pooled day effect is worth to a stream. More would be worth more if streams varied alike;
# a segment's do not (the tails of latency vary three times as much as its rates), and they share their days.
PRIOR_DAYS = 4
STEADIER = 0.05  # chance of days as steady as a stream's own, below which what is lent to it counts for less
# A day that exceeds its limit is no error of the estimate but the null itself happening, day after day: one in
# 20,000 rather than one in 500, since 600 streams live 72,000 days in 120 and one such day may alarm.
DAY_CONFIDENCE = 0.99995
_KIND = "rate-reference"


@dataclass(frozen=True, slots=True)
class RateReference:
    """Limits of a rate per hour of the week (all equal without a seasonal profile)."""

    rate: float  # hits / trials over the whole reference
    hits: int
    trials: int
    days: int
    confidence: float
    baseline: Float  # float64[168]
    upper: Float  # float64[168], p+
    lower: Float  # float64[168], p-
    day_sd: float  # standard deviation of the day effect, logit scale
    temper: float  # >= 1
    seasonal: bool

    @property
    def verdict(self) -> Verdict:
        """OK, or not enough data (fewer than 100 trials or 3 days): its limits then are 0 and 1, which bet nothing."""
        return Verdict.OK if self.trials >= MIN_TRIALS and self.days >= MIN_DAYS else Verdict.NOT_ENOUGH_DATA

    @property
    def p_plus(self) -> float:
        """The greatest upper limit over the week."""
        return float(self.upper.max())

    @property
    def p_minus(self) -> float:
        """The smallest lower limit over the week."""
        return float(self.lower.min())

    @classmethod
    def fit(
        cls,
        hits: ArrayLike,
        trials: ArrayLike,
        confidence: float = 0.998,
        *,
        day: ArrayLike | None = None,
        hour_of_week: ArrayLike | None = None,
        min_effect: float = 1.0,
        day_confidence: float = DAY_CONFIDENCE,
        prior_day_sd: float | None = None,
    ) -> RateReference:
        """Fit on cells of the reference period.

        Args:
            hits, trials: int[c] per cell: a day each, or an hour each if ``day`` is given.
            confidence: one-sided, of the estimate's error.
            day: int[c], which day a cell belongs to; default: every cell is a day.
            hour_of_week: int[c] in 0..167 of each cell, for the seasonal profile; needs ``day``.
            min_effect: odds factor >= 1 around the baseline that is never called a change.
            day_confidence: one-sided, of the limit for the day effect.
            prior_day_sd: what streams like this one vary by between days, from :func:`pooled_day_sd`; worth four
                days of its own. Seven days alone can hide a day effect of 30 %.

        Raises:
            ValueError: shapes that disagree, negative or non-finite counts, hits above trials.
        """
        x = np.atleast_1d(np.asarray(hits, dtype=np.float64))
        n = np.atleast_1d(np.asarray(trials, dtype=np.float64))
        if x.shape != n.shape or x.ndim != 1:
            raise ValueError(f"hits and trials must be one-dimensional and alike, got {x.shape} and {n.shape}")
        if not (np.isfinite(x).all() and np.isfinite(n).all()) or (x < 0).any() or (x > n).any():
            raise ValueError("need finite counts with 0 <= hits <= trials in every cell")
        if not (0.5 < confidence < 1 and 0.5 < day_confidence < 1):
            raise ValueError(f"confidences must lie in (0.5, 1), got {confidence} and {day_confidence}")
        if min_effect < 1:
            raise ValueError(f"min_effect is a factor of the odds, >= 1; got {min_effect}")
        days = np.arange(x.size) if day is None else np.asarray(day, dtype=np.int64)
        slot = None if hour_of_week is None or day is None else np.asarray(hour_of_week, dtype=np.int64)
        if days.shape != x.shape or (slot is not None and slot.shape != x.shape):
            raise ValueError("day and hour_of_week need one entry per cell")
        if slot is not None and slot.size and (slot.min() < 0 or slot.max() >= HOURS):
            raise ValueError(f"hour_of_week must lie in 0..167, got {slot.min()}..{slot.max()}")
        seen = n > 0
        x, n, days = x[seen], n[seen], days[seen]
        slot = slot[seen] if slot is not None else None
        if prior_day_sd is not None and not (np.isfinite(prior_day_sd) and prior_day_sd >= 0):
            raise ValueError(f"prior_day_sd must be finite and >= 0, got {prior_day_sd}")
        by_hour = day is not None
        return cls._fit(x, n, days, slot, confidence, day_confidence, min_effect, prior_day_sd, by_hour=by_hour)

    @classmethod
    def _fit(
        cls,
        x: Float,
        n: Float,
        days: Int64,
        slot: Int64 | None,
        confidence: float,
        day_confidence: float,
        min_effect: float,
        prior_day_sd: float | None,
        *,
        by_hour: bool,
    ) -> RateReference:
        total, sum_hits = float(n.sum()), float(x.sum())
        day_ids, of_day = np.unique(days, return_inverse=True)
        count = int(day_ids.size)
        if total < MIN_TRIALS or count < MIN_DAYS:
            rate = sum_hits / total if total else 0.0
            return cls(
                rate, int(sum_hits), int(total), count, confidence, np.full(HOURS, rate), np.ones(HOURS),
                np.zeros(HOURS), 0.0, 1.0, False,
            )  # fmt: skip
        p = (sum_hits + 0.5) / (total + 1.0)
        high = 1.0 if sum_hits == total else float(betaincinv(sum_hits + 1, total - sum_hits, confidence))
        low = 0.0 if sum_hits == 0 else float(betaincinv(sum_hits, total - sum_hits + 1, 1.0 - confidence))
        ratio, ratio_sd = np.ones(HOURS), np.zeros(HOURS)
        if slot is not None:
            ratio, ratio_sd = _profile(x, n, p, slot)
        per_cell = p if slot is None else np.clip(p * ratio[slot], 1e-9, 1 - 1e-9)
        expected, variance = n * per_cell, n * per_cell * (1.0 - per_cell)
        day_x, day_e, day_v = (_sums(of_day, values, count) for values in (x, expected, variance))
        day_sd, freedom = _day_sd(day_x, day_e, day_v, p, prior_day_sd)
        temper = 1.0
        if by_hour:
            # Leave the day effect out of what the hours are charged with.
            scaled = expected * (day_x / np.maximum(day_e, 1e-12))[of_day]
            temper = _temper(x, scaled, variance, count)

        reach = float(stdtrit(freedom, day_confidence)) * day_sd * np.sqrt(1.0 + 1.0 / count)
        season_z = float(ndtri(confidence))
        span = int(day_ids[-1] - day_ids[0]) + 1
        seasonal = slot is not None and span >= SEASON_DAYS and bool((ratio != 1.0).any())
        centre = logit(p)
        if seasonal:
            base = logit(np.clip(p * ratio, 1e-9, 1 - 1e-9))
            wide_up = wide_down = season_z * ratio_sd
            shift_up = shift_down = np.zeros(HOURS)
        else:
            base = np.full(HOURS, centre)
            wide_up = wide_down = np.zeros(HOURS)
            extremes = logit(np.clip(p * np.array([ratio.max(), ratio.min()]), 1e-9, 1 - 1e-9))
            shift_up = np.full(HOURS, max(0.0, float(extremes[0]) - centre))
            shift_down = np.full(HOURS, max(0.0, centre - float(extremes[1])))
        # A limit of 1 (0) is at infinity on this scale: then nothing is bet on that side.
        above = logit(high) - centre if high < 1 else np.inf
        below = centre - logit(low) if low > 0 else np.inf
        up = np.hypot(np.hypot(above, reach), wide_up) + shift_up
        down = np.hypot(np.hypot(below, reach), wide_down) + shift_down
        least = float(np.log(min_effect))
        return cls(
            rate=sum_hits / total,
            hits=int(sum_hits),
            trials=int(total),
            days=count,
            confidence=confidence,
            baseline=expit(base) if seasonal else np.full(HOURS, sum_hits / total),
            upper=expit(base + np.maximum(up, least)),
            lower=expit(base - np.maximum(down, least)),
            day_sd=day_sd,
            temper=temper,
            seasonal=seasonal,
        )

    def complement(self) -> RateReference:
        """The reference of the share that does not count: misses for hits."""
        return replace(
            self, rate=1.0 - self.rate, hits=self.trials - self.hits, baseline=1.0 - self.baseline,
            upper=1.0 - self.lower, lower=1.0 - self.upper,
        )  # fmt: skip

    def to_state(self) -> bytes:
        """Versioned bytes."""
        scalars = {
            "rate": self.rate, "hits": self.hits, "trials": self.trials, "days": self.days,
            "confidence": self.confidence, "day_sd": self.day_sd, "temper": self.temper, "seasonal": self.seasonal,
        }  # fmt: skip
        return pack(_KIND, scalars, {"baseline": self.baseline, "upper": self.upper, "lower": self.lower})

    @classmethod
    def from_state(cls, state: bytes) -> RateReference:
        """The inverse of :meth:`to_state`. Raises ValueError for other bytes."""
        scalars, arrays = unpack(_KIND, state)
        return cls(**scalars, **arrays)


def rate_by_day(hits: NDArray[np.bool_], day: Int64, hour: Int64 | None, confidence: float) -> RateReference:
    """A rate from single rows: bool[n], the day of each, and its hour of the day where known."""
    if hour is None:
        _, cell = np.unique(day, return_inverse=True)
        return RateReference.fit(np.bincount(cell, hits), np.bincount(cell), confidence)
    key, cell = np.unique(day * 24 + hour, return_inverse=True)
    return RateReference.fit(
        np.bincount(cell, hits), np.bincount(cell), confidence, day=key // 24, hour_of_week=key % 24
    )


def _profile(x: Float, n: Float, p: float, slot: Int64) -> tuple[Float, Float]:
    """Factors of the rate per hour of the week and their log standard deviation, shrunk twice (gamma-Poisson):
    hours of the day towards 1, hours of the week towards their hour of the day."""

    def shrink(observed: Float, expected: Float) -> tuple[Float, Float]:
        chance = expected * (1.0 - p)
        spread = np.sqrt(float((2.0 * chance**2 + chance).sum()))
        excess = float(((observed - expected) ** 2).sum() - chance.sum()) - 1.5 * spread
        scale = float((expected**2).sum())
        var = excess / scale if scale > 0 else 0.0
        if var <= 0.0:
            return np.ones(observed.size), np.zeros(observed.size)
        strength = 1.0 / var
        return (observed + strength) / (expected + strength), 1.0 / np.sqrt(expected + strength)

    hour = slot % 24
    ratio_day, sd_day = shrink(_sums(hour, x, 24), _sums(hour, n * p, 24))
    fitted = n * p * ratio_day[hour]
    ratio_week, sd_week = shrink(_sums(slot, x, HOURS), _sums(slot, fitted, HOURS))
    of_day = np.arange(HOURS) % 24
    return ratio_day[of_day] * ratio_week, np.hypot(sd_day[of_day], sd_week)


def _sums(group: NDArray[np.intp] | Int64, values: Float, size: int) -> Float:
    return np.asarray(np.bincount(group, values, size), dtype=np.float64)


def pooled_day_sd(streams: Iterable[tuple[ArrayLike, ArrayLike]]) -> float:
    """Standard deviation of the day effect (logit scale) common to streams, by moments, less one standard error.

    Args:
        streams: (hits int[days], trials int[days]) of each stream's reference, one cell a day. Streams without hits
            say nothing and may be given.
    """
    surplus = information = freedom = 0.0
    for hits, trials in streams:
        x, n = np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64)
        x, n = x[n > 0], n[n > 0]
        if x.size < MIN_DAYS or not 0 < x.sum() < n.sum():
            continue
        p = float(x.sum() / n.sum())
        q, c, df = _day_moments(x, n * p, n * p * (1.0 - p))
        # c is in inverse squares of the relative deviation; on the logit scale that is (1 - p)^2 times smaller.
        surplus += q - df
        information += c * (1.0 - p) ** 2
        freedom += df
    if information <= 0:
        return 0.0
    return float(np.sqrt(max(0.0, surplus - np.sqrt(2.0 * freedom)) / information))


def _day_moments(x: Float, expected: Float, variance: Float) -> tuple[float, float, int]:
    """DerSimonian-Laird: Q, the factor by which Q grows with the between-day variance, degrees of freedom."""
    weight = expected**2 / variance  # inverse variance of the relative deviation x / expected - 1
    q = float((weight * (x / expected - 1.0) ** 2).sum())
    return q, float(weight.sum() - (weight**2).sum() / weight.sum()), x.size - 1


def _day_sd(x: Float, expected: Float, variance: Float, p: float, prior: float | None) -> tuple[float, float]:
    """Standard deviation of the day effect on the logit scale, and the degrees of freedom behind it."""
    keep = expected > 0
    q, c, df = _day_moments(x[keep], expected[keep], variance[keep])
    if c <= 0:
        return prior or 0.0, df
    # The upper fifth of chi-square instead of its mean: chance alone seldom widens the limits. A day effect that
    # this misses is small beside a day's counting error, and so earns a bet little in a day of the same traffic.
    own = np.sqrt(max(0.0, (q - float(chdtri(df, 0.2))) / c)) / (1.0 - p)
    if not prior:
        return float(own), df
    between = max(0.0, (q - df) / c) / (1.0 - p) ** 2
    # A prior that the stream's own days contradict is worth less: the steady rates of a segment say nothing of a
    # latency whose days differ plainly.
    worth = PRIOR_DAYS * min(1.0, prior**2 / between) if between > 0 else float(PRIOR_DAYS)
    # So is one whose days would have differed more than these, hardly ever less: many days that agree.
    usual = 1.0 + c * (prior * (1.0 - p)) ** 2 / df
    worth *= min(1.0, float(chdtr(df, q / usual)) / STEADIER)
    mixed = np.sqrt((df * between + worth * prior**2) / (df + worth))
    return float(max(own, mixed)), df + worth


def _temper(x: Float, expected: Float, variance: Float, days: int) -> float:
    """Dispersion of cells about their day, 1 unless it is beyond chance (3 standard errors)."""
    keep = variance > 1e-9
    df = int(keep.sum()) - days
    if df < 20:
        return 1.0
    phi = float(((x[keep] - expected[keep]) ** 2 / variance[keep]).sum()) / df
    error = float(np.sqrt((2.0 + np.mean(1.0 / variance[keep])) / df))
    return phi + error if phi - 1.0 > 3.0 * error else 1.0
