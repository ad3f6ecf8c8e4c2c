"""What the calendar month will cost, per segment: from hourly spend, kept so that each look reads only finished hours;
at midnight from days."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from detectors.cost.projection import Projection, project_days, project_month
from detectors.summaries import Selection
from monitor.store import reads
from monitor.store.coverage import HOUR
from monitor.store.days import day_start, next_day
from monitor.store.tables import summaries
from monitor.times import DAY_US, HOUR_US

HISTORY_US = 28 * DAY_US
KEPT_US = 32 * DAY_US  # the history, and whatever of a month lies before it
ROWS_A_LOOK = 5_000  # a look begins no further hour after this many rows, about two tenths of a second

Place = tuple[str, str]
TOGETHER: Place = ("", "")  # what `months_at_midnight` says of all places
Known = Callable[[int, int], dict[Place, int] | None]

_COST = Selection(frozenset({"cost"}), thinned=False, users=False)


class MonthProjector:
    """Hourly spend per (route, segment), nano-units of the reporting currency; what arrives later than its hour is read
    is left out of it."""

    def __init__(self, zone: str, rows_a_look: int | None = None) -> None:
        self.zone = zone
        self.rows_a_look = ROWS_A_LOOK if rows_a_look is None else rows_a_look
        self.unread = 0  # hours, as of the last look
        self._spend: dict[int, dict[Place, int]] = {}
        self._found: tuple[int, int, dict[Place, Projection]] | None = None  # of [from, to), all of it read

    @property
    def spend(self) -> Mapping[int, Mapping[Place, int]]:
        """By hour (µs) what each place spent, as far as it was read; a later look leaves it as it is."""
        return self._spend

    def look(self, conn: Connection, until_us: int, known: Known | None = None) -> Mapping[Place, Projection]:
        """Projections at ``until_us`` (event time); empty while hours are still to be read, or there are too few.

        known: spend per place in [from, to) where the caller holds it already, else None.
        """
        first = conn.execute(select(func.min(summaries.c.window_us))).scalar()
        if first is None:
            return {}
        end = until_us - until_us % HOUR_US
        begin = max(first - first % HOUR_US, end - KEPT_US)
        self._spend = {hour: spend for hour, spend in self._spend.items() if begin <= hour < end}
        unread = [hour for hour in range(begin, end, HOUR_US) if hour not in self._spend]
        rows = 0
        while unread and rows < self.rows_a_look:
            hour = unread.pop()
            held = known(hour, hour + HOUR_US) if known is not None else None
            if held is None:
                rows += self._read(conn, hour)
            else:
                self._spend[hour] = held
        self.unread = len(unread)
        if unread:
            return {}
        if self._found is None or self._found[:2] != (begin, end):
            self._found = begin, end, dict(self._project(max(begin, end - HISTORY_US), end))
        return self._found[2]

    def _read(self, conn: Connection, hour: int) -> int:
        """Read one finished hour; returns how many rows it had."""
        found, _ = reads.merged_by(
            conn, hour, hour + HOUR_US, lambda row: (row.route, row.segment), coarsest=HOUR, selection=_COST
        )
        self._spend[hour] = {place: merged.summary.total("cost").sum for place, merged in found.items()}
        return sum(merged.rows for merged in found.values())

    def _project(self, begin_us: int, end_us: int) -> Iterator[tuple[Place, Projection]]:
        for place in sorted({place for spend in self._spend.values() for place in spend}):
            spend = {hour: found.get(place, 0) for hour, found in self._spend.items()}
            projection = projected(spend, begin_us, end_us, self.zone)
            if projection is not None:
                yield place, projection


def months_at_midnight(conn: Connection, until_us: int, zone: str) -> dict[Place, Projection]:
    """Projections at ``until_us`` (event time), a midnight of the zone: as `MonthProjector` makes them, from days.

    They are 24 times as few rows, and of hours that are no longer kept there may be days. Of all places together there
    is one more: the intervals of theirs do not add up.
    """
    first = conn.execute(select(func.min(summaries.c.window_us))).scalar()
    if first is None:
        return {}
    month, following = month_of(until_us, zone)
    # The first day is left out where it did not begin within what is stored.
    first_day = first if day_start(first, zone) == first else next_day(first, zone)
    begin = max(day_start(until_us - HISTORY_US, zone), first_day)
    found, _ = reads.merged_by(
        conn,
        min(begin, max(month, first)),
        until_us,
        lambda row: (row.route, row.segment, day_start(row.window_us, zone)),
        selection=_COST,
    )
    spend: dict[Place, dict[int, int]] = {}
    for (route, segment, day), merged in found.items():
        cost = merged.summary.total("cost").sum
        for place in ((route, segment), TOGETHER):
            of_place = spend.setdefault(place, {})
            of_place[day] = of_place.get(day, 0) + cost
    days = list(_days(begin, until_us, zone))
    history_days, remaining = _days_of_week(days, zone), _days_of_week(_days(until_us, following, zone), zone)
    projected: dict[Place, Projection] = {}
    for place, of_day in sorted(spend.items()):
        history = np.array([of_day.get(day, 0) for day in days], dtype=np.int64)
        spent = sum(value for day, value in of_day.items() if day >= month)
        one = project_days(spent, history, history_days, remaining)
        if one is not None:
            projected[place] = one
    return projected


def month_of(at_us: int, zone: str) -> tuple[int, int]:
    """[from, to) of the calendar month (µs) that a moment lies in."""
    now = datetime.fromtimestamp(at_us / 1e6, ZoneInfo(zone))
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (month + timedelta(days=32)).replace(day=1)
    return round(month.timestamp() * 1e6), round(following.timestamp() * 1e6)


def _days(begin_us: int, end_us: int, zone: str) -> Iterator[int]:
    """Starts of the days in [begin, end), both midnights."""
    while begin_us < end_us:
        yield begin_us
        begin_us = next_day(begin_us, zone)


def _days_of_week(days: Iterable[int], zone: str) -> NDArray[np.int64]:
    moments = (datetime.fromtimestamp(day / 1e6, ZoneInfo(zone)) for day in days)
    return np.array([moment.weekday() for moment in moments], dtype=np.int64)


def projected(spend: Mapping[int, int], begin_us: int, end_us: int, zone: str) -> Projection | None:
    """The month's projection at ``end_us``, a full hour, from hourly spend (nano-units) since ``begin_us``, the start
    of the history; hours of the month before it count as spent. None where there is too little."""
    month_us, following_us = month_of(end_us, zone)
    history = np.array([spend.get(hour, 0) for hour in range(begin_us, end_us, HOUR_US)], dtype=np.int64)
    spent = sum(amount for hour, amount in spend.items() if hour >= month_us)
    return project_month(
        spent, history, _hours_of_week(begin_us, end_us, zone), _hours_of_week(end_us, following_us, zone)
    )


@lru_cache(maxsize=8)
def _hours_of_week(begin_us: int, end_us: int, zone: str) -> NDArray[np.int64]:
    """Of every hour in [begin, end); the same for all places."""
    local = ZoneInfo(zone)
    moments = (datetime.fromtimestamp(hour / 1e6, local) for hour in range(begin_us, end_us, HOUR_US))
    return np.array([24 * moment.weekday() + moment.hour for moment in moments], dtype=np.int64)
