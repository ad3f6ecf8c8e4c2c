"""Which week is reported: local weeks, which are an hour longer or shorter when clocks change."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def last_week(done_us: int, zone: str) -> tuple[int, int]:
    """[from, to) of the last local week, Monday to Monday, that is over at ``done_us`` (event time, µs)."""
    local = datetime.fromtimestamp(done_us / 1e6, ZoneInfo(zone))
    monday = local.date() - timedelta(days=local.weekday())
    return _start(monday - timedelta(days=7), zone), _start(monday, zone)


def _start(day: date, zone: str) -> int:
    return int(datetime.combine(day, time(), ZoneInfo(zone)).timestamp()) * 1_000_000
