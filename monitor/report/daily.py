"""A period day by day."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from detectors.summaries import Selection
from detectors.summaries.signals import measure
from monitor.evaluate.accounts import NANO
from monitor.report.model import Day
from monitor.store import reads
from monitor.store.reads import Merged

MOST_DAYS = 62  # of a period that is drawn day by day
FEWEST_DAYS = 3
_READ = Selection(frozenset({"cost", "latency_total", "events"}), thinned=False, users=False)


def summed(
    connection: Connection, from_us: int, to_us: int, zone: str, selection: Selection, segment: str | None = None
) -> list[tuple[int, Merged | None]]:
    """(start, sum) of the local days of [from, to), None for one without an event; empty where days are fewer than
    `FEWEST_DAYS` or more than `MOST_DAYS`, or summaries no longer tell them apart."""
    edges = _edges(from_us, to_us, ZoneInfo(zone))
    if not FEWEST_DAYS < len(edges) <= MOST_DAYS + 1:
        return []
    found, missing = reads.merged_by(
        connection, edges[0], edges[-1], lambda row: bisect_right(edges, row.window_us) - 1, segment=segment,
        selection=selection,
    )  # fmt: skip
    return [] if missing else [(at, found.get(day)) for day, at in enumerate(edges[:-1])]


def days(connection: Connection, from_us: int, to_us: int, zone: str) -> list[Day]:
    """The local days of [from, to), over all segments, as `summed` finds them."""
    told = []
    for at, found in summed(connection, from_us, to_us, zone, _READ):
        if found is None:
            told.append(Day(date(at, zone), 0, 0.0, None, None, None))
            continue
        p95 = measure(found.summary, "latency_total_p95")
        spent = found.summary.total("cost").sum / NANO
        told.append(Day(date(at, zone), found.events, spent, p95.value, p95.low, p95.high))
    return told


def days_before(connection: Connection, from_us: int, count: int, zone: str) -> list[Day]:
    """The ``count`` local days before ``from_us``, by the clock on the wall, which may have been changed between."""
    return days(connection, shifted(from_us, -count, zone), from_us, zone)


def shifted(at_us: int, days: int, zone: str) -> int:
    """So many days later by the clock on the wall."""
    at = datetime.fromtimestamp(at_us // 1_000_000, ZoneInfo(zone))
    return round((at + timedelta(days=days)).timestamp()) * 1_000_000


def _edges(from_us: int, to_us: int, zone: ZoneInfo) -> list[int]:
    """Starts of the local days from ``from_us`` on, and the end; a day that is not whole is left out."""
    at = datetime.fromtimestamp(from_us // 1_000_000, zone)
    if at.hour or at.minute or at.second:
        at = at.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    edges = []
    while (start := round(at.timestamp()) * 1_000_000) <= to_us:
        edges.append(start)
        at += timedelta(days=1)
    return edges


def date(start_us: int, zone: str) -> str:
    """``2026-11-02``."""
    return f"{datetime.fromtimestamp(start_us // 1_000_000, ZoneInfo(zone)):%Y-%m-%d}"
