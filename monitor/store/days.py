"""Calendar days in an IANA time zone, in epoch microseconds. A day has 23, 24 or 25 hours where clocks change."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND_US = 1_000_000


@lru_cache(maxsize=4096)
def _starts(day: date, zone: str) -> int:
    # Where midnight does not exist (some zones change clocks at 0:00), `fold=0` resolves to the first moment after.
    midnight = datetime.combine(day, time(), tzinfo=ZoneInfo(zone))
    return round(midnight.timestamp()) * SECOND_US


def _date(us: int, zone: str) -> date:
    return datetime.fromtimestamp(us // SECOND_US, ZoneInfo(zone)).date()


def day_start(us: int, zone: str) -> int:
    """The first moment of the day that ``us`` lies in."""
    day = _date(us, zone)
    start = _starts(day, zone)
    return start if start <= us else _starts(day - timedelta(days=1), zone)


def next_day(us: int, zone: str) -> int:
    """The first moment of the day after the one that ``us`` lies in."""
    day = _date(us, zone)
    following = _starts(day + timedelta(days=1), zone)
    return following if following > us else _starts(day + timedelta(days=2), zone)
