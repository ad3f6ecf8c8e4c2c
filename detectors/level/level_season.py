"""An online detector for one numeric series whose reference is its own past.

Five surprises a row, each a conformal p-value among the same figures of earlier rows:

    value    |x - what is expected now|: of the slow level, the day's and the week's profile the one that erred least
    season   |x - this half-hour on earlier days|
    level    |mean of about the last 12 rows - long-run median|
    spread   mean of |x - the row before| over about the last 50 rows
    quiet    the inverse of that over about the last 20 rows

They are merged by the weighted geometric mean times e, which is a p-value whatever their dependence (Vovk and Wang
2020, "Combining p-values via averaging").
"""

from __future__ import annotations

from dataclasses import dataclass
from math import e, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.evidence.packing import pack, unpack
from detectors.level.onsets import Onsets
from detectors.level.past import Past, log_size
from detectors.level.season import DAY_US, WEEK_US, Profile

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

ALARM = 0.955  # of an onset: what is alarmed on by default
MEMORY = 10_000  # rows
WEIGHTS = {"value": 2.0, "season": 2.0, "level": 2.0, "spread": 1.0, "quiet": 0.5}
LEVEL_ROWS, SPREAD_ROWS, QUIET_ROWS, SLOW_ROWS = 12, 50, 20, 1000
ERROR_ROWS = 500  # over which the expectations' errors are compared
LEAST_GAIN = 0.95  # a profile is believed if its error is below this part of a simpler one's
CLIP = 3.0  # times the slow level's error: no row's error counts for more
POWERS: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
_KIND = "level-season"


@dataclass(frozen=True, slots=True)
class Scores:
    """What is said of each row.

    ``score`` float64[n]: 1 - p, in [0, 1); on a series without a change a row's score is at least 1 - a with
    probability of at most a. ``onset`` float64[n]: the score of rows that begin something new, 0 elsewhere: what to
    alarm on. ``log_bets`` float64[n, 4]: log payoffs of the value's surprise by rank, for
    :class:`detectors.evidence.FundedSR`.
    """

    score: Float
    onset: Float
    log_bets: Float


class LevelSeason:
    """The state of one series; see the module.

    Any unit: a positive factor on all values changes nothing. Rows count, not time, but for the profiles of the day and
    the week, which take the times as they are (give local time where days are local). A gap is no evidence; after a
    clock that jumps, rows are compared with the half-hours that they then claim to be in.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        """Start with no past.

        Args:
            memory: how many rows are remembered, >= 100; what is older is forgotten.

        Raises:
            ValueError: a memory that is too short.
        """
        if memory < 100:
            raise ValueError(f"memory must be at least 100 rows, got {memory}")
        self.memory = memory
        self._rows = 0
        self._last = 0.0
        self._slow = self._level = self._spread = self._quiet = 0.0  # running means
        self._errors = [0.0, 0.0, 0.0]  # of the slow level, the day's profile, the week's
        self._judged = [0, 0, 0]
        self._day, self._week = Profile(DAY_US), Profile(WEEK_US)
        self._values = Past(memory)
        self._pasts = {name: Past(memory) for name in WEIGHTS}
        self._onsets = Onsets(memory)

    def update(self, times_us: ArrayLike, values: ArrayLike) -> Scores:
        """Judge rows by those before them, one after the other, and learn from them.

        Args:
            times_us: int[n], microseconds since the epoch.
            values: float[n], the series.

        Returns:
            The scores; the same whether rows come one at a time or together.

        Raises:
            ValueError: shapes that disagree, NaN, infinities or values beyond 1e300. Nothing is learned then.
        """
        times = np.atleast_1d(np.asarray(times_us))
        x = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if times.shape != x.shape or x.ndim != 1:
            raise ValueError(f"need as many times as values, got {times.shape} and {x.shape}")
        if times.size and times.dtype.kind not in "iu":
            raise ValueError(f"times_us must be integer microseconds, got {times.dtype}")
        bad = np.flatnonzero(~(np.abs(x) < 1e300))
        if bad.size:
            raise ValueError(f"values must be finite and below 1e300: value {bad[0]} is {x[bad[0]]}; leave such rows out")
        surprises, onsets, ranks = [], [], []
        for time, value in zip(times.tolist(), x.tolist(), strict=True):
            surprise, rank = self._step(time, value)
            surprises.append(surprise)
            ranks.append(rank)
            onsets.append(self._onsets.step(surprise))
        return Scores(-np.expm1(-np.array(surprises)), -np.expm1(-np.array(onsets)), log_bets(np.array(ranks)))

    def _step(self, time: int, value: float) -> tuple[float, float]:
        """(merged surprise, the value's surprise by rank), both minus log p."""
        count = self._rows
        median = self._values.median()
        if median is None:
            median = self._last = self._slow = value
        day, week = self._day.step(time, value), self._week.step(time, value)
        expected = self._expect(value, day, week)
        step = abs(value - self._last)
        self._rows = count = count + 1
        self._last = value
        self._values.add(value)
        self._slow += max(1.0 / count, 1.0 / SLOW_ROWS) * (value - self._slow)
        self._level += max(1.0 / count, 1.0 / LEVEL_ROWS) * (value - self._level)
        self._spread += max(1.0 / count, 1.0 / SPREAD_ROWS) * (step - self._spread)
        self._quiet += max(1.0 / count, 1.0 / QUIET_ROWS) * (step - self._quiet)
        figures = {
            "value": log_size(value - expected),
            "level": log_size(self._level - median),
            "spread": log_size(self._spread),
            "quiet": -log_size(self._quiet),
        }
        if day is not None:
            figures["season"] = log_size(value - day)
        total = rank = 0.0
        for name, figure in figures.items():
            past = self._pasts[name]
            fitted, ranked = past.surprise(figure)
            past.add(figure)
            total += WEIGHTS[name] * fitted
            if name == "value":
                rank = ranked
        return max(0.0, total / sum(WEIGHTS.values()) - log(e)), rank

    def _expect(self, value: float, day: float | None, week: float | None) -> float:
        """The expectation that erred least so far; then learns how much each errs."""
        errors, judged = self._errors, self._judged
        forecasts = (self._slow, day, week)
        best, expected = 0, self._slow
        for number, forecast in enumerate(forecasts):
            if forecast is not None and judged[number] and errors[number] < LEAST_GAIN * errors[best]:
                best, expected = number, forecast
        limit = CLIP * errors[0] if judged[0] > SPREAD_ROWS else float("inf")
        for number, forecast in enumerate(forecasts):
            if forecast is None:
                continue
            if not judged[number]:
                errors[number] = errors[0]  # a new one starts as good as the simplest
            judged[number] += 1
            gain = max(1.0 / ERROR_ROWS, 1.0 / judged[0]) if number == 0 else 1.0 / ERROR_ROWS
            errors[number] += gain * (min(abs(value - forecast), limit) - errors[number])
        return expected


def log_bets(surprise: Float) -> Float:
    """Log payoffs float64[n, 4] of p-values: k p^(k - 1) for k = 0.2, 0.4, 0.6, 0.8, from surprises -log p float64[n].

    Each has expectation <= 1 where P(p <= a | past) <= a (Vovk and Wang 2021, "E-values: calibration, combination and
    applications"). Small powers are for few extreme rows, large ones for many that are somewhat odd.
    """
    power = np.array(POWERS)
    return np.asarray(np.log(power) + (1.0 - power) * surprise[:, None], dtype=np.float64)
