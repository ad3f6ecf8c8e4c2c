"""What a report draws: days beside those of the period before, the tail of costs, what review and checks found.

Each is the SVG of a page with its numbers in a table below; all in the style of the app's charts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from markupsafe import Markup

from monitor.report.model import Above, CostTail, Day, Quality, Report, Segment, Share
from monitor.serve import cells, charts
from monitor.serve.charts import Chart, Mark, Point, Series
from monitor.serve.templating import template
from monitor.times import DAY_US

NOW, BEFORE = "this period", "the period before"


def of_days(report: Report) -> list[Markup]:
    """Spend and latency by day; empty for a report without days."""
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
        series = [Series(NOW, _points(starts, report.days, told))]
        if report.days_before:
            series.append(Series(BEFORE, _points(starts, report.days_before, told)))
        chart = charts.over_time(key, title, series, span, zone, written, step_us=DAY_US, half=True)
        if not chart.empty:
            drawn.append(_drawn(chart))
    return drawn


def of_all(report: Report) -> list[Markup]:
    """The tail of costs and quality over all segments; empty for a report without them."""
    return list(_figures(report, report.tail, report.quality, "all"))


def of_segment(report: Report, segment: Segment) -> list[Markup]:
    """The same of a segment that is told in full."""
    number = report.segments.index(segment)
    return list(_figures(report, segment.tail, segment.quality, f"s{number}"))


def _figures(report: Report, tail: CostTail | None, quality: Quality | None, key: str) -> Iterator[Markup]:
    if tail is not None:
        yield _drawn(_tail(report, tail, key), tail.sentence)
    if quality is not None and quality.reviewed:
        yield _drawn(_reviewed(report, quality, key))
    if quality is not None and (quality.checks or not quality.reviewed):
        nothing = f"{quality.sentence} No event of these days says what a check found."
        yield _drawn(_checks(report, quality, key), nothing)


def _drawn(chart: Chart, nothing: str = "") -> Markup:
    made = template("chart.html").module.chart(chart, nothing=nothing, heading="h4")
    return Markup(made)  # by a template that escapes


# -- days ---------------------------------------------------------------------------------------------------


def _points(starts: Sequence[int], told: Sequence[Day], of: Callable[[int, Day], Point | None]) -> list[Point]:
    """Days of a period where those of this one are: the first over the first."""
    return [point for at, day in zip(starts, told, strict=False) if (point := of(at, day)) is not None]


def _spent(at: int, day: Day) -> Point:
    return Point(at, day.spent)


def _latency(at: int, day: Day) -> Point | None:
    return None if day.latency_p95 is None else Point(at, day.latency_p95, day.latency_low, day.latency_high)


def _start(date: str, zone: ZoneInfo, days: int = 0) -> int:
    return round((datetime.fromisoformat(date).replace(tzinfo=zone) + timedelta(days=days)).timestamp()) * 1_000_000


# -- the tail of costs --------------------------------------------------------------------------------------


def _tail(report: Report, tail: CostTail, key: str) -> Chart:
    series = [Series(NOW, _above(tail.now))]
    if tail.before:
        series.append(Series(BEFORE, _above(tail.before)))
    if tail.reference:
        series.append(Series("reference (p50, p95, p99)", _above(tail.reference), "dots"))
    return charts.curve(
        f"{key}-tail",
        "Requests that cost more than this",
        series if tail.now else [],
        "cost more than",
        cells.written("currency", report.currency),
        _percent,
        log_x=True,
        log_y=True,
        half=True,
        note="Across: cost of a request; both axes are logarithmic.",
    )


def _above(points: Sequence[Above]) -> list[Point]:
    return sorted((Point(one.cost, one.share, one.low, one.high) for one in points), key=lambda point: point.x)


# -- quality ------------------------------------------------------------------------------------------------


def _reviewed(report: Report, quality: Quality, key: str) -> Chart:
    zone = ZoneInfo(report.timezone)
    placed = [(_middle(one, zone), one) for one in quality.reviewed]
    begin = _begin(report)
    series = [
        Series(name, [Point(at, one.rate, one.low, one.high) for at, one in placed if (at >= begin) is now], "dots")
        for name, now in ((NOW, True), ("earlier", False))
    ]
    if quality.reference is not None:
        held = quality.reference
        series.append(Series("reference", [Point(at, held.rate, held.low, held.high) for at, _ in placed]))
    series = [one for one in series if one.points]
    names = {at: one.since if one.since == one.until else f"{one.since} to {one.until}" for at, one in placed}
    return charts.over_time(
        f"{key}-review",
        f"Answers wrong by review, by {quality.step}",
        series,
        (_start(quality.reviewed[0].since, zone), _start(quality.reviewed[-1].until, zone, days=1)),
        zone,
        _percent,
        step_us=max(DAY_US, placed[-1][0] - placed[0][0]),
        note="Lines through points and the band are 95 % intervals.",
        half=True,
        x_written=lambda at: names[round(at)],
    )


def _checks(report: Report, quality: Quality, key: str) -> Chart:
    zone = ZoneInfo(report.timezone)
    series = [
        Series(
            one.signal.replace("_", " "),
            [Point(_start(day.since, zone), day.rate, day.low, day.high) for day in one.days],
        )
        for one in quality.checks
    ]
    begin = _begin(report)
    days = [point.x for one in series for point in one.points] or [begin]
    span = round(min(days)), round(max(days)) + DAY_US
    return charts.over_time(
        f"{key}-checks",
        "What checks find, by day",
        series,
        span,
        zone,
        _percent,
        step_us=DAY_US,
        marks=[Mark(begin, "this period begins", "begin")] if span[0] < begin else [],
        note="" if quality.reviewed else quality.sentence,
        half=True,
        x_written=lambda at: f"{datetime.fromtimestamp(at / 1e6, zone):%Y-%m-%d}",
    )


def _begin(report: Report) -> int:
    return round(datetime.fromisoformat(report.since).timestamp() * 1e6)


def _middle(one: Share, zone: ZoneInfo) -> int:
    return (_start(one.since, zone) + _start(one.until, zone, days=1)) // 2


def _percent(value: float) -> str:
    return f"{cells.percent(value)} %"
