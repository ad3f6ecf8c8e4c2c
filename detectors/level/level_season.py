"""An online detector for one numeric series whose reference is its own past.

Five surprises a row, each a conformal p-value among the same figures of earlier rows:

    value    |x - what is expected|: of the slow level, the day's and the week's profile the one that erred least
    season   |x - this half-hour on earlier days|
    level    |mean of about the last 12 rows - long-run median|
    spread   mean of |x - the row before| over about the last 50 rows
    quiet    the inverse of that over the last 20 rows

The first four are merged by the weighted geometric mean times e, which is a p-value whatever their dependence (Vovk
and Wang 2020, "Combining p-values via averaging"). A standstill moves none of them, so that the last one speaks for
itself, with a thousandth of the error (weighted Bonferroni).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.evidence.packing import pack, unpack
from detectors.level.forecast import Forecast
from detectors.level.onsets import Onsets
from detectors.level.past import Past, log_size
from detectors.level.season import DAY_US, WEEK_US, Profile

Float = NDArray[np.float64]

ALARM = 0.966  # of an onset: what is alarmed on by default
MEMORY = 10_000  # rows
WEIGHTS = {"value": 2.0, "season": 2.0, "level": 2.0, "spread": 1.0}
TOTAL = sum(WEIGHTS.values())
QUIET_SHARE = 0.001  # of the error, for the last figure alone
_ALONE, _OTHERS = log(QUIET_SHARE), log(1.0 - QUIET_SHARE)
SLOW, LEVEL, SPREAD, QUIET = 1000, 12, 50, 20  # rows of the running means
LARGEST = 1e300
POWERS: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
_KIND = "level-season"
_QUIET, _BETS = "quiet", "bets"


@dataclass(frozen=True, slots=True)
class Scores:
    """What is said of each row.

    ``score`` float64[n]: 1 - p, in [0, 1]. Where nothing changes a row's score is meant to be at least 1 - a with a
    probability of at most a: so by rank, and measured for a from 0.01 on where the tail is extrapolated. ``onset``
    float64[n]: the score of rows that begin something new, 0 elsewhere; alarm where it is at least ``ALARM``.
    ``log_bets`` float64[n, 4]: log payoffs on the value alone, by rank, for :class:`detectors.evidence.FundedSR`.
    """

    score: Float
    onset: Float
    log_bets: Float


class LevelSeason:
    """The state of one series; see the module.

    Any unit: a positive factor on all values changes nothing. Rows count, not time, but for the profiles of the day and
    the week, which take times as they are (give local time where days are local). A gap is no evidence; after a clock
    that jumps, rows are compared with the half-hours that they then claim to be in.
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
        self.rows = 0
        self._last = 0.0
        self._means = dict.fromkeys(("slow", "level", "spread"), 0.0)
        self._steps: deque[float] = deque(maxlen=QUIET)
        self._day, self._week = Profile(DAY_US), Profile(WEEK_US)
        self._value, self._bet = Forecast.of(3), Forecast.of(3)
        self._values = Past(memory)
        self._pasts = {name: Past(memory) for name in (*WEIGHTS, _QUIET, _BETS)}
        self._onsets = Onsets(memory)

    def update(self, times_us: ArrayLike, values: ArrayLike) -> Scores:
        """Judge rows by those before them, one after the other, and learn from them.

        Args:
            times_us: int[n], microseconds since the epoch.
            values: float[n], the series.

        Returns:
            The scores; the same whether rows come one at a time or together.

        Raises:
            ValueError: shapes that disagree, times that are no integers, NaN, infinities or values beyond 1e300.
                Nothing is learned then.
        """
        times, x = np.atleast_1d(np.asarray(times_us)), np.atleast_1d(np.asarray(values, dtype=np.float64))
        if times.shape != x.shape or x.ndim != 1:
            raise ValueError(f"need as many times as values, got shapes {times.shape} and {x.shape}")
        if times.size and times.dtype.kind not in "iu":
            raise ValueError(f"times_us must be integer microseconds since the epoch, got {times.dtype}")
        bad = np.flatnonzero(~(np.abs(x) <= LARGEST))
        if bad.size:
            raise ValueError(f"values must be finite and at most 1e300: row {bad[0]} is {x[bad[0]]}; leave it out")
        surprises, bets = np.zeros(x.size), np.zeros(x.size)
        onsets = np.zeros(x.size)
        for row, (time, value) in enumerate(zip(times.tolist(), x.tolist(), strict=True)):
            surprise, bets[row] = self._step(time, value)
            surprises[row] = surprise
            onsets[row] = self._onsets.step(surprise)
        return Scores(-np.expm1(-surprises), -np.expm1(-onsets), log_bets(bets))

    def _step(self, time: int, value: float) -> tuple[float, float]:
        """(merged surprise, the bets' surprise by rank, NaN without a past), both minus log p."""
        means = self._means
        median = self._values.median()
        if median is None:
            median = means["slow"] = self._last = value
        day, week = self._day.step(time, value), self._week.step(time, value)
        expected = self._value.step(value, means["slow"], day, week)
        robust = self._bet.step(value, median, day, week)
        step = abs(value - self._last)
        self._last = value
        self._values.add(value)
        self.rows += 1
        first = 1.0 / self.rows
        means["slow"] += max(first, 1.0 / SLOW) * (value - means["slow"])
        means["level"] += max(first, 1.0 / LEVEL) * (value - means["level"])
        means["spread"] += max(first, 1.0 / SPREAD) * (step - means["spread"])
        self._steps.append(step)
        figures = {
            "value": log_size(value - expected),
            "level": log_size(means["level"] - median),
            "spread": log_size(means["spread"]),
        }
        if day is not None:
            figures["season"] = log_size(value - day)
        total = sum(WEIGHTS[name] * self._surprise(name, figure)[0] for name, figure in figures.items())
        quiet = self._surprise(_QUIET, -log_size(sum(self._steps)))[0] if self.rows > QUIET else 0.0
        enough = self._pasts[_BETS].enough
        bet = self._surprise(_BETS, log_size(value - robust))[1]
        merged = max(0.0, total / TOTAL - 1.0 + _OTHERS, quiet + _ALONE)
        return merged, bet if enough else float("nan")

    def _surprise(self, name: str, figure: float) -> tuple[float, float]:
        """Of a figure among those before it, extrapolated and by rank; then remembers it."""
        past = self._pasts[name]
        surprise = past.surprise(figure)
        past.add(figure)
        return surprise

    def to_state(self) -> bytes:
        """Versioned bytes."""
        scalars: dict[str, Any] = {"memory": self.memory, "rows": self.rows, "last": self._last, "means": self._means}
        arrays: dict[str, Any] = {"values": self._values.to_array(), "steps": np.array(self._steps)}
        for name, past in self._pasts.items():
            arrays[f"past {name}"] = past.to_array()
        for name, profile in (("day", self._day), ("week", self._week)):
            scalars[name], parts = profile.to_arrays()
            arrays.update({f"{name} {part}": array for part, array in parts.items()})
        for name, forecast in (("value", self._value), ("bet", self._bet)):
            arrays.update({f"{name} {part}": array for part, array in forecast.to_arrays().items()})
        arrays.update(self._onsets.to_arrays())
        return pack(_KIND, scalars, arrays)

    @classmethod
    def from_state(cls, state: bytes) -> LevelSeason:
        """The inverse of :meth:`to_state`.

        Raises:
            ValueError: other bytes.
        """
        scalars, arrays = unpack(_KIND, state)

        def parts(name: str) -> dict[str, Any]:
            return {
                part: arrays[f"{name} {part}"]
                for part in ("mean", "seen", "errors", "judged")
                if f"{name} {part}" in arrays
            }

        series = cls(scalars["memory"])
        series.rows, series._last, series._means = scalars["rows"], scalars["last"], scalars["means"]
        series._day = Profile.from_arrays(scalars["day"], parts("day"))
        series._week = Profile.from_arrays(scalars["week"], parts("week"))
        series._steps.extend(arrays["steps"].tolist())
        series._value, series._bet = Forecast.from_arrays(parts("value")), Forecast.from_arrays(parts("bet"))
        series._values = Past(series.memory, arrays["values"].tolist())
        series._pasts = {
            name: Past(series.memory, arrays[f"past {name}"].tolist()) for name in (*WEIGHTS, _QUIET, _BETS)
        }
        series._onsets = Onsets.from_arrays(series.memory, series.rows, arrays)
        return series


def log_bets(surprise: Float) -> Float:
    """Log payoffs float64[n, 4] of p-values: k p^(k - 1) for k = 0.2, 0.4, 0.6, 0.8, from surprises -log p float64[n].

    Each has expectation <= 1 where P(p <= a | past) <= a (Vovk and Wang 2021, "E-values: calibration, combination and
    applications"). Small powers are for few extreme rows, large ones for many that are somewhat odd. NaN, of rows
    before there is a past, bets nothing: log payoff 0.
    """
    power = np.array(POWERS)
    logs: Float = np.nan_to_num(np.log(power) + (1.0 - power) * surprise[:, None], nan=0.0)
    return logs
