"""Events per hour: more, fewer, silence, against the same hour of the week (or day).

Counts of one day move together, so hours are not independent looks. The null of a stream is a day effect b,
heavy-tailed (Student t, scaled by the reference's own day-to-day variation), and given b negative binomial hours
with mean mu(hour) e^b; a small share of hours comes from a much wider negative binomial, so that one odd hour
proves little. Alternatives are the same with b moved by the log of a factor. The bet of an hour is the ratio of
the two predictive probabilities of that hour *given the day so far*, so that the payoffs of a day multiply to the
day's own likelihood ratio: a day in which everything is 30 % up counts as one such day, not as 24 hours.
The null is moved by the error of the reference's level and by ``min_effect`` on the side that is bet on.
Days on which a stream rests altogether (weekends, before a history knows weekdays) are no low draw of b: they are
left out of the level and its variation, and given a probability of their own under every hypothesis, so that one
more of them is worth at most the inverse of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, chdtri, gammaln, ndtri

from detectors.evidence.effect import Effect, Verdict
from detectors.evidence.packing import pack, unpack

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

HOURS = 168
MIN_DAYS = 5
WEEKLY_DAYS = 14  # from here on the profile is by hour of the week
UP: tuple[float, ...] = (1.5, 2.5, 6.0)
DOWN: tuple[float, ...] = (0.6, 0.25, 0.002)  # the last one is silence
MIN_EFFECT = 1.2
ODD_SHARE = 0.02  # hours from the wide component
ODD_SIZE = 0.3  # its negative binomial size
LEAST_DAY_SD = 0.05
RESTING_EVENTS = 12.0  # expected of a day on which there were none, for it to be a rest
MOST_SIZE = 50.0  # an hour is never taken to be steadier than 14 %, given its day
# Day effects, log: fine where days lie (an hour's likelihood is never much narrower), coarse down to silence. All
# hypotheses share this grid, so that its coarseness favours none of them.
_NODES = np.concatenate([np.arange(-7.0, -2.5, 0.25), np.arange(-50, 51) * 0.05, np.arange(2.75, 4.1, 0.25)])
_GAPS = np.gradient(_NODES)
_REST = -60.0  # one node more: a day that rests, on which any event is impossible
_DAYS = np.append(_NODES, _REST)
_FACTORS = np.exp(_DAYS)
_CHUNK = 128  # streams stepped together: their arrays fit the processor's cache
_HYPOTHESES = 2 + len(UP) + len(DOWN)
_REFERENCE = "volume-reference"
_BETS = "volume-bets"


@dataclass(frozen=True, slots=True)
class VolumeReference:
    """Expected events per hour of the week and how they vary."""

    mean: Float  # float64[168], events per hour
    day_sd: float  # scale of the day effect, log
    size: float  # negative binomial size of an hour given its day (variance = mean + mean^2 / size)
    level_error: float  # upper limit of the level's error, log
    days: int
    weekly: bool  # profile by hour of the week, else by hour of the day
    resting: float = 0.0  # upper limit of the share of days without any event; 0 where there was none

    @property
    def verdict(self) -> Verdict:
        """OK, or not enough data: fewer than 5 days, or fewer than 24 events in all."""
        enough = self.days >= MIN_DAYS and float(self.mean.mean()) * 24 * self.days >= 24
        return Verdict.OK if enough else Verdict.NOT_ENOUGH_DATA

    @classmethod
    def fit(
        cls,
        counts: ArrayLike,
        hour_of_week: ArrayLike,
        day: ArrayLike,
        confidence: float = 0.998,
        *,
        min_effect: float = MIN_EFFECT,
    ) -> VolumeReference:
        """Fit on the hours of the reference period.

        Args:
            counts: int[c], events per hour; quiet hours belong in it as 0, hours not observed are left out.
            hour_of_week: int[c] in 0..167.
            day: int[c], day of each hour.
            confidence: one-sided, of the level's error.
            min_effect: factor >= 1 of the volume that is never called a change.

        Raises:
            ValueError: shapes that disagree, negative or non-finite counts, no hours.
        """
        x = np.atleast_1d(np.asarray(counts, dtype=np.float64))
        slot = np.atleast_1d(np.asarray(hour_of_week, dtype=np.int64))
        days = np.atleast_1d(np.asarray(day, dtype=np.int64))
        if not (x.shape == slot.shape == days.shape) or x.ndim != 1 or x.size == 0:
            raise ValueError(f"need as many counts as hours and days, got {x.shape}, {slot.shape}, {days.shape}")
        if not np.isfinite(x).all() or (x < 0).any():
            raise ValueError("counts must be finite and >= 0; leave out hours that were not observed")
        if slot.min() < 0 or slot.max() >= HOURS:
            raise ValueError(f"hour_of_week must lie in 0..167, got {slot.min()}..{slot.max()}")
        if min_effect < 1:
            raise ValueError(f"min_effect is a factor of the volume, >= 1; got {min_effect}")
        ids, of_day = np.unique(days, return_inverse=True)
        weekly = int(ids[-1] - ids[0]) + 1 >= WEEKLY_DAYS
        mean, parameters = _profile(x, slot, weekly)
        rests = (np.bincount(of_day, x) == 0) & (np.bincount(of_day, mean[slot]) >= RESTING_EVENTS)
        resting = 0.0
        if rests.any():
            count = int(rests.sum())
            resting = float(betaincinv(count + 1, ids.size - count, confidence))
            works = ~rests[of_day]
            x, slot, days = x[works], slot[works], days[works]
            ids, of_day = np.unique(days, return_inverse=True)
            mean, parameters = _profile(x, slot, weekly)
        expected = np.maximum(mean[slot], 1e-9)
        day_x, day_e = np.bincount(of_day, x), np.bincount(of_day, expected)
        df = max(1, ids.size - (7 if weekly else 1))
        given_day = expected * (day_x / day_e)[of_day]
        spread = max(0.0, float(((x - given_day) ** 2 - given_day).sum()))
        freedom = x.size / max(1.0, x.size - parameters - ids.size)
        relative = spread * freedom / max(1e-9, float((given_day**2).sum()))
        # Relative variance of a day's total that its hours explain, then what is left for the day itself.
        within = 1.0 / np.maximum(day_e, 0.5) + relative * np.bincount(of_day, expected**2) / day_e**2
        weight = day_e / day_e.sum()
        between = float((weight * (day_x / day_e - 1.0) ** 2).sum()) * ids.size / df
        # Few days may all look alike by chance: the variance is taken at its upper 80 % limit.
        upper = between * df / float(chdtri(df, 0.8)) - float((weight * within).sum())
        day_sd = float(np.sqrt(max(LEAST_DAY_SD**2, upper)))
        level = float(ndtri(confidence)) * np.sqrt((day_sd**2 + float((weight * within).sum())) / ids.size)
        return cls(
            mean=mean,
            day_sd=day_sd,
            size=float(np.clip(1.0 / max(relative, 1e-6), 0.2, MOST_SIZE)),
            level_error=float(level) + float(np.log(min_effect)),
            days=int(ids.size),
            weekly=weekly,
            resting=resting,
        )

    def expected(self, hour_of_week: ArrayLike) -> Float:
        """Expected events in each of these hours."""
        return np.asarray(self.mean[np.asarray(hour_of_week, dtype=np.int64)], dtype=np.float64)

    def effect(self, counts: ArrayLike, hour_of_week: ArrayLike, confidence: float = 0.95) -> Effect:
        """Events per hour over these hours beside what was expected; exact Poisson interval of the total."""
        x = float(np.asarray(counts, dtype=np.float64).sum())
        hours = max(1, np.asarray(hour_of_week).size)
        tail = (1.0 - confidence) / 2.0
        low = 0.0 if x == 0 else float(chdtri(2 * x, 1.0 - tail)) / 2.0
        high = float(chdtri(2 * (x + 1), tail)) / 2.0
        baseline = float(self.expected(hour_of_week).sum())
        return Effect(x / hours, low / hours, high / hours, baseline / hours, "events/h")

    def to_state(self) -> bytes:
        """Versioned bytes."""
        scalars = {
            "day_sd": self.day_sd, "size": self.size, "level_error": self.level_error,
            "days": self.days, "weekly": self.weekly, "resting": self.resting,
        }  # fmt: skip
        return pack(_REFERENCE, scalars, {"mean": self.mean})

    @classmethod
    def from_state(cls, state: bytes) -> VolumeReference:
        """The inverse of :meth:`to_state`. Raises ValueError for other bytes."""
        scalars, arrays = unpack(_REFERENCE, state)
        return cls(**scalars, **arrays)


def _profile(x: Float, slot: Int64, weekly: bool) -> tuple[Float, float]:
    """Events per hour of the week, float64[168], and roughly how many parameters were fitted.

    Hour-of-day factors, then (with two weeks) weekday factors, then hours of the week, each shrunk towards the
    coarser profile as a gamma-Poisson model does.
    """

    def refine(base: Float, group: Int64, size: int) -> tuple[Float, float]:
        observed, fitted = np.bincount(group, x, size), np.bincount(group, base, size)
        scale = float((fitted**2).sum())
        # Overdispersed hours: charge each group with the dispersion seen inside the groups.
        inside = np.where(fitted > 0, observed / np.maximum(fitted, 1e-9), 1.0)[group] * base
        phi = max(1.0, float(((x - inside) ** 2).sum() / max(1e-9, inside.sum())))
        excess = float(((observed - fitted) ** 2).sum()) - phi * float(fitted.sum())
        if scale <= 0 or excess <= 0:
            return np.ones(size), 0.0
        strength = phi * scale / excess
        used = float((fitted / (fitted + strength)).sum())
        return (observed + strength) / (fitted + strength), used

    base = np.full(x.size, max(1e-9, float(x.mean())))
    week = np.arange(HOURS)
    factor, used = refine(base, slot % 24, 24)
    mean = base[0] * factor[week % 24]
    parameters = 1.0 + used
    if weekly:
        # A multiplicative fit on an unbalanced table: hours of the week next, which the weekday factors feed.
        factor, used = refine(mean[slot], slot // 24, 7)
        mean = mean * factor[week // 24]
        parameters += used
        factor, used = refine(mean[slot], slot, HOURS)
        mean = mean * factor
        parameters += used
    return np.asarray(mean, dtype=np.float64), parameters


class VolumeBets:
    """Hourly bets of ``n`` volume streams; keeps each stream's day so far."""

    K = len(UP) + len(DOWN)

    def __init__(self, references: Sequence[VolumeReference] = ()) -> None:
        self._mean: Float = np.zeros((0, HOURS))
        self._size: Float = np.zeros(0)
        self._prior: Float = np.zeros((0, _HYPOTHESES, _DAYS.size))
        self._usable: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._day: Int64 = np.zeros(0, dtype=np.int64)
        self._so_far: Float = np.zeros((0, _DAYS.size))
        for reference in references:
            self.append(reference)

    @property
    def n(self) -> int:
        """Number of streams."""
        return int(self._mean.shape[0])

    def append(self, reference: VolumeReference) -> int:
        """Add a stream; returns its index."""
        self._mean = np.vstack([self._mean, reference.mean[None]])
        self._size = np.append(self._size, 1.0)
        self._prior = np.concatenate([self._prior, np.zeros((1, _HYPOTHESES, _DAYS.size))])
        self._usable = np.append(self._usable, False)
        self._day = np.append(self._day, np.iinfo(np.int64).min)
        self._so_far = np.vstack([self._so_far, np.zeros((1, _DAYS.size))])
        self.replace(self.n - 1, reference)
        return self.n - 1

    def replace(self, index: int, reference: VolumeReference) -> None:
        """A new reference for a stream; its day starts again."""
        shift = reference.level_error
        up = shift + np.log(np.array((1.0, *UP)))
        down = -shift + np.log(np.array((1.0, *DOWN)))
        self._mean[index] = np.maximum(reference.mean, 1e-9)
        self._size[index] = reference.size
        freedom = float(np.clip(reference.days - 1, 3, 8))
        away = (_NODES[None, :] - np.concatenate([up, down])[:, None]) / reference.day_sd
        prior = _GAPS * (1.0 + away**2 / freedom) ** (-0.5 * (freedom + 1.0))
        self._prior[index, :, :-1] = (1.0 - reference.resting) * prior / prior.sum(axis=1, keepdims=True)
        self._prior[index, :, -1] = reference.resting
        self._usable[index] = reference.verdict is Verdict.OK
        self._day[index] = np.iinfo(np.int64).min
        self._so_far[index] = 0.0

    def repeated(self, times: int) -> VolumeBets:
        """The same streams, each ``times`` times in a row; they step on their own from here on."""
        other = VolumeBets()
        for name in ("_mean", "_size", "_prior", "_usable", "_day", "_so_far"):
            setattr(other, name, np.repeat(getattr(self, name), times, axis=0))
        return other

    def step(self, counts: ArrayLike, hour_of_week: int, day: int, present: ArrayLike | None = None) -> Float:
        """One hour of every stream.

        Args:
            counts: int[n], events in the hour; 0 is silence.
            hour_of_week: 0..167.
            day: any number that names the day (in the configured time zone); another one starts a new day.
            present: bool[n], whether the hour was observed; default all. Not observed: no evidence.

        Returns:
            log bets float64[n, 6]: up x1.5, x2.5, x6, down x0.6, x0.25, silence. Streams whose reference has
            not enough data bet nothing.

        Raises:
            ValueError: wrong shape, NaN, infinities, negative counts.
        """
        x = np.asarray(counts, dtype=np.float64)
        seen = np.ones(self.n, dtype=np.bool_) if present is None else np.asarray(present, dtype=np.bool_)
        if x.shape != (self.n,) or seen.shape != (self.n,):
            raise ValueError(f"need {self.n} counts, got shape {x.shape}")
        if not np.isfinite(x).all() or (x < 0).any():
            raise ValueError("counts must be finite and >= 0; say which streams were observed with `present`")
        new = self._day != day
        self._so_far[new] = 0.0
        self._day[new] = day
        index = np.flatnonzero(seen & self._usable)
        bets = np.zeros((self.n, self.K))
        if index.size == 0:
            return bets
        gain = np.empty((index.size, _HYPOTHESES))
        for at in range(0, index.size, _CHUNK):
            gain[at : at + _CHUNK] = self._gain(index[at : at + _CHUNK], x, hour_of_week)
        ups = len(UP) + 1
        bets[index, : len(UP)] = gain[:, 1:ups] - gain[:, :1]
        bets[index, len(UP) :] = gain[:, ups + 1 :] - gain[:, ups : ups + 1]
        return bets

    def _gain(self, index: NDArray[np.intp], x: Float, hour_of_week: int) -> Float:
        """Log predictive probability of the hour under each hypothesis, but for a constant per stream; the hour is
        added to the day so far."""
        mean, size, value = self._mean[index, hour_of_week], self._size[index], x[index]
        log_mean, expected = np.log(mean)[:, None] + _DAYS, mean[:, None] * _FACTORS
        usual = _log_nb(value, log_mean, expected, size) + np.log1p(-ODD_SHARE)
        odd = _log_nb(value, log_mean, expected, np.minimum(size, ODD_SIZE)) + np.log(ODD_SHARE)
        before = self._so_far[index]
        # As np.logaddexp, with functions that numpy has vectorised.
        likelier = np.maximum(usual, odd)
        after = before + likelier + np.log(np.exp(usual - likelier) + np.exp(odd - likelier))
        # A constant common to all nodes belongs to every hypothesis alike and cancels.
        after -= after.max(axis=1, keepdims=True)
        self._so_far[index] = after
        prior = self._prior[index]
        gain = np.log(np.matmul(prior, np.exp(after)[:, :, None])) - np.log(
            np.matmul(prior, np.exp(before)[:, :, None])
        )
        return np.asarray(gain[:, :, 0], dtype=np.float64)

    def to_state(self, index: int) -> bytes:
        """A stream's day so far as versioned bytes (its reference is kept apart)."""
        return pack(_BETS, {"day": int(self._day[index])}, {"so_far": self._so_far[index]})

    def from_state(self, index: int, state: bytes) -> None:
        """The inverse of :meth:`to_state`. Raises ValueError for other bytes."""
        scalars, arrays = unpack(_BETS, state)
        so_far = arrays["so_far"]
        if so_far.shape != (_DAYS.size,):
            return  # of a version with other day effects: the day starts again
        self._day[index] = scalars["day"]
        self._so_far[index] = so_far


def _log_nb(x: Float, log_mean: Float, mean: Float, size: Float) -> Float:
    """Log negative binomial probability but for a constant per row; x and size float[n], the means float[n, g]."""
    r, count = size[:, None], x[:, None]
    constant = gammaln(x + size) - gammaln(size) + size * np.log(size)
    logs = constant[:, None] + count * log_mean - (count + r) * np.log(r + mean)
    return np.asarray(logs, dtype=np.float64)
