"""A period day by day, and the figures that draw it beside the period before."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlalchemy import Connection

from detectors.summaries import Selection
from detectors.summaries.signals import measure
from monitor.report.model import Day, Report
from monitor.serve import cells, charts
from monitor.serve.charts import Point, Series
from monitor.serve.templating import template
from monitor.store import reads
from monitor.times import DAY_US

MOST_DAYS = 62  # of a period that is drawn day by day
FEWEST_DAYS = 3
_READ = Selection(frozenset({"cost", "latency_total", "events"}), thinned=False, users=False)
_NANO = 1e9


def days(connection: Connection, from_us: int, to_us: int, zone: str) -> list[Day]:
    """The local days of [from, to), over all segments; empty where they are fewer than `FEWEST_DAYS` or more than
    `MOST_DAYS`, or summaries no longer tell days apart."""
    edges = _edges(from_us, to_us, ZoneInfo(zone))
    if not FEWEST_DAYS < len(edges) <= MOST_DAYS + 1:
        return []
    found, missing = reads.merged_by(
        connection, edges[0], edges[-1], lambda row: bisect_right(edges, row.window_us) - 1, selection=_READ
    )
    if missing:
        return []
    told = []
    for day in range(len(edges) - 1):
        if day not in found:
            told.append(Day(_date(edges[day], zone), 0, 0.0, None, None, None))
            continue
        summary = found[day].summary
        p95 = measure(summary, "latency_total_p95")
        spent = summary.total("cost").sum / _NANO
        told.append(Day(_date(edges[day], zone), found[day].events, spent, p95.value, p95.low, p95.high))
    return told


def days_before(connection: Connection, from_us: int, count: int, zone: str) -> list[Day]:
    """The ``count`` local days before ``from_us``, by the clock on the wall, which may have been changed between."""
    begin = datetime.fromtimestamp(from_us // 1_000_000, ZoneInfo(zone)) - timedelta(days=count)
    return days(connection, round(begin.timestamp()) * 1_000_000, from_us, zone)


def figures(report: Report) -> list[Markup]:
    """Spend and latency by day, as the SVG of a page with its table; empty for a report without days."""
    if not report.days:
        return []
    zone = ZoneInfo(report.timezone)
    starts = [_start(day.day, zone) for day in report.days]
    span = starts[0], _start(report.days[-1].day, zone, days=1)
    found = [
        ("spend-by-day", "Spend a day", _spent, cells.written("currency", report.currency)),
        ("latency-by-day", "Latency, p95 of a day", _latency, cells.written("s", report.currency)),
    ]
    drawn = []
    for key, title, told, written in found:
        series = [Series("this period", _points(starts, report.days, told))]
        if report.days_before:
            series.append(Series("the period before", _points(starts, report.days_before, told)))
        chart = charts.over_time(key, title, series, span, zone, written, step_us=DAY_US, half=True)
        if not chart.empty:
            drawn.append(Markup(template("chart.html").module.chart(chart)))  # by a template that escapes
    return drawn


def _points(starts: Sequence[int], told: Sequence[Day], of: Callable[[int, Day], Point | None]) -> list[Point]:
    """Days of a period where those of this one are: the first over the first."""
    return [point for at, day in zip(starts, told, strict=False) if (point := of(at, day)) is not None]


def _spent(at: int, day: Day) -> Point:
    return Point(at, day.spent)


def _latency(at: int, day: Day) -> Point | None:
    return None if day.latency_p95 is None else Point(at, day.latency_p95, day.latency_low, day.latency_high)


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


def _date(start_us: int, zone: str) -> str:
    return f"{datetime.fromtimestamp(start_us // 1_000_000, ZoneInfo(zone)):%Y-%m-%d}"


def _start(date: str, zone: ZoneInfo, days: int = 0) -> int:
    return round((datetime.fromisoformat(date).replace(tzinfo=zone) + timedelta(days=days)).timestamp()) * 1_000_000
