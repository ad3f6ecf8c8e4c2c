"""When the weekly report is due: a local day and time, the same on the clock whatever clocks do."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from monitor.config.report import WEEKDAYS, Schedule
from monitor.report.period import last_week


def last_due(schedule: Schedule, now_us: int, zone: str) -> int:
    """The last moment at or before ``now_us`` (wall clock, µs) at which a report was due."""
    local = datetime.fromtimestamp(now_us / 1e6, ZoneInfo(zone)).date()
    day = local - timedelta(days=(local.weekday() - WEEKDAYS.index(schedule.on)) % 7)
    due = _moment(day, schedule, zone)
    return due if due <= now_us else _moment(day - timedelta(days=7), schedule, zone)


def next_due(schedule: Schedule, now_us: int, zone: str) -> int:
    """The first moment after ``now_us`` at which one is due."""
    last = datetime.fromtimestamp(last_due(schedule, now_us, zone) / 1e6, ZoneInfo(zone)).date()
    return _moment(last + timedelta(days=7), schedule, zone)


def reported_at(due_us: int, zone: str) -> tuple[int, int]:
    """[from, to) of the week that is reported at a moment: the last local one, Monday to Monday, that is over then."""
    return last_week(due_us, zone)


def _moment(day: date, schedule: Schedule, zone: str) -> int:
    """A time that clocks skip is as long after midnight as on other days, one that they show twice is the first."""
    hour, minute = (int(part) for part in schedule.at.split(":"))
    return int(datetime.combine(day, time(hour, minute), ZoneInfo(zone)).timestamp()) * 1_000_000
