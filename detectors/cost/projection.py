"""What this month will cost: spend so far, and the rest at the pace of the same hours of the week."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Int64 = NDArray[np.int64]

MIN_DAYS = 3  # days of history below which there is no interval, hence no projection
_WEEK_HOURS = 168


@dataclass(frozen=True, slots=True)
class Projection:
    """Spend of a month in nano-units: what was spent, and the total expected at its end within [low, high]."""

    spent: int
    projected: float
    low: float
    high: float


def project_month(
    spent: int,
    history: Int64,
    history_hours: Int64,
    remaining_hours: Int64,
    *,
    confidence: float = 0.95,
) -> Projection | None:
    """Project the spend of a calendar month.

    spent: nano-units spent in the month so far. history: int64[n], spend of each of the last n hours, oldest first,
    hours without events being 0. history_hours: int64[n], and remaining_hours: int64[m], their hours of the week
    (0..167, Monday 00:00 first) in the configured time zone; a remaining hour is one of the month still to come.

    Each remaining hour is expected to cost the mean of its hour of the week, or of its hour of the day where the
    history does not hold that hour of the week. The interval is Student's, from whole days' sums of residuals (so
    that correlation within a day is in it), for both the days to come and the error of the history's own mean.
    Returns None with less than MIN_DAYS days of history: not enough data.
    """
    if history.shape != history_hours.shape:
        raise ValueError(f"history has shape {history.shape}, history_hours {history_hours.shape}; one hour each")
    days = history.size // 24
    if days < MIN_DAYS:
        return None
    of_week = _means(history, history_hours, _WEEK_HOURS)
    of_day = _means(history, history_hours % 24, 24)
    expected = np.where(np.isnan(of_week), of_day[np.arange(_WEEK_HOURS) % 24], of_week)
    # Fewer than two weeks leave no residual against the hour of the week: judge the spread against the hour of day.
    base = of_week if history.size >= 2 * _WEEK_HOURS else of_day[np.arange(_WEEK_HOURS) % 24]
    residual = (history - base[history_hours])[history.size - 24 * days :].reshape(days, 24).sum(axis=1)
    freedom = days - 7 if history.size >= 2 * _WEEK_HOURS else days - 1
    rest = float(expected[remaining_hours].sum())
    return _projected(spent, rest, residual, freedom, remaining_hours.size / 24, confidence)


def project_days(
    spent: int, history: Int64, history_days: Int64, remaining_days: Int64, *, confidence: float = 0.95
) -> Projection | None:
    """`project_month` where a month is left in whole days: all in days, of the week 0..6, Monday first.

    It is what `project_month` says of the same days' hours, since these add up to them, and needs a 24th of the rows.
    Days of 23 and 25 hours are days.
    """
    if history.shape != history_days.shape:
        raise ValueError(f"history has shape {history.shape}, history_days {history_days.shape}; one day each")
    days = history.size
    if days < MIN_DAYS:
        return None
    of_week, mean = _means(history, history_days, 7), float(history.mean())
    expected = np.where(np.isnan(of_week), mean, of_week)
    weekly = days >= 14
    usual = of_week[history_days] if weekly else np.full(days, mean)
    residual = history.astype(np.float64) - usual
    freedom = days - 7 if weekly else days - 1
    return _projected(spent, float(expected[remaining_days].sum()), residual, freedom, remaining_days.size, confidence)


def _projected(
    spent: int, rest: float, residual: NDArray[np.float64], freedom: int, ahead: float, confidence: float
) -> Projection:
    """``residual``: of whole days; ``ahead``: how many days are left."""
    spread = sqrt(float(residual @ residual) / freedom)
    error = spread * sqrt(ahead + ahead * ahead / residual.size)
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Projection(spent, spent + rest, spent + max(rest - half, 0.0), spent + rest + half)


def _means(values: Int64, group: Int64, groups: int) -> NDArray[np.float64]:
    """Mean of the values of each group; nan for one without any."""
    count = np.bincount(group, minlength=groups)
    total = np.bincount(group, weights=values.astype(np.float64), minlength=groups)
    mean: NDArray[np.float64] = np.divide(total, count, out=np.full(groups, np.nan), where=count > 0)
    return mean
