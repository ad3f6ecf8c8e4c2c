"""Charts as geometry: numbers in, coordinates out; ``chart.html`` draws them as SVG, with the numbers in a table below.

Each is drawn twice, for wide and for narrow windows, since text in a picture that shrinks cannot be read. Series differ
by dash as well as by colour. What was not measured is a gap, never a zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from monitor.serve.axes import Scale, Tick, path, time_ticks, value_ticks

SIZES = {"wide": (960.0, 260.0), "narrow": (360.0, 240.0)}
HALF = {"half": (440.0, 240.0)}
MOST_SERIES = 6  # that can be told apart
MOST_ROWS = 500  # of the table
_LEFT, _RIGHT, _TOP, _FOOT = 46.0, 18.0, 14.0, 30.0  # the left margin at least: it holds what is written beside it
_CHARACTER = 6.4  # width of one on an axis
Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Point:
    """``x`` in the units of the axis (µs on a time axis); ``low`` and ``high``: its interval, where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A named line (``dots``: unconnected points). Points in the order of x."""

    name: str
    points: Sequence[Point]
    kind: Literal["line", "step", "dots"] = "line"


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment (or, with ``end``, a stretch) on the x axis, with what it is; ``href``: where it leads."""

    x: float
    text: str
    kind: Literal["anomaly", "version", "deploy", "threshold", "begin"] = "anomaly"
    end: float | None = None
    href: str | None = None


@dataclass(frozen=True, slots=True)
class DrawnSeries:
    """Paths of SVG: lines, the interval's area around them, single points and the interval's line through each."""

    number: int
    lines: tuple[str, ...]
    areas: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]
    whiskers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DrawnMark:
    x: float
    width: float
    kind: str
    text: str
    href: str | None


@dataclass(frozen=True, slots=True)
class Drawing:
    """Coordinates of one size; y grows downward."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    series: tuple[DrawnSeries, ...]
    marks: tuple[DrawnMark, ...]
    limits: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws. ``rows``: the numbers, [x, the value of each series or '']; ``words`` what a screen
    reader says of the picture. ``cut``: rows that the table leaves out."""

    key: str
    title: str
    words: str
    x_name: str
    names: tuple[str, ...]
    sizes: Mapping[str, Drawing]
    rows: Sequence[tuple[str, Sequence[str]]]
    cut: int = 0
    marks: Sequence[Mark] = ()
    note: str = ""
    kinds: tuple[str, ...] = field(default=())

    @property
    def empty(self) -> bool:
        return not any(drawn.series for drawn in self.sizes.values())


def over_time(
    key: str,
    title: str,
    series: Sequence[Series],
    span: tuple[int, int],
    zone: ZoneInfo,
    written: Format,
    *,
    step_us: int,
    marks: Sequence[Mark] = (),
    limits: Sequence[tuple[float, str]] = (),
    log: bool = False,
    zero: bool = True,
    note: str = "",
    half: bool = False,
    x_written: Format | None = None,
) -> Chart:
    """Lines over event time [span), in the zone's hours and days. A line breaks where more than 2.5 steps lie between.

    ``written`` writes a value with its unit; ``limits``: horizontal lines (value, what it is); ``zero``: whether the
    value axis begins at 0 (never with ``log``); ``half``: drawn once, for half a page, where charts stand side by side;
    ``x_written``: how the table names a moment, else by the clock.
    """
    inside = [mark for mark in marks if mark.x < span[1] and (mark.end if mark.end is not None else mark.x) >= span[0]]
    sizes = {}
    for size, (width, height) in (HALF if half else SIZES).items():

        def ticks(x: Scale) -> tuple[Tick, ...]:
            return time_ticks(span[0], span[1], zone, x, (x.end - x.begin) / 78.0)

        x = Scale(span[0], span[1], _LEFT, width - _RIGHT)
        sizes[size] = _drawing(series, x, ticks, width, height, written, inside, limits, log, zero, 2.5 * step_us)
    return _chart(key, title, series, sizes, "time", x_written or _clock(zone), written, inside, note)


def curve(
    key: str,
    title: str,
    series: Sequence[Series],
    x_name: str,
    x_written: Format,
    written: Format,
    *,
    log_x: bool = False,
    log_y: bool = False,
    zero: bool = False,
    marks: Sequence[Mark] = (),
    limits: Sequence[tuple[float, str]] = (),
    note: str = "",
    half: bool = False,
) -> Chart:
    """Lines or points over any quantity: a tail over cost, quality over a threshold. Points that a logarithmic axis
    cannot show (not above 0) are left out of the drawing, and stand in the table. ``half``: as in `over_time`."""
    xs = [p.x for one in series for p in one.points if math.isfinite(p.x) and (p.x > 0 or not log_x)]
    sizes = {}
    if xs:
        low, high = min(xs), max(xs)
        if low == high:
            low, high = (low / 2, high * 2) if log_x else (low - 1.0, high + 1.0)
        for size, (width, height) in (HALF if half else SIZES).items():

            def ticks(x: Scale) -> tuple[Tick, ...]:
                return value_ticks(x, x_written, (x.end - x.begin) / 90.0)

            x = Scale(low, high, _LEFT, width - _RIGHT, log=log_x)
            sizes[size] = _drawing(series, x, ticks, width, height, written, marks, limits, log_y, zero, math.inf)
    return _chart(key, title, series, sizes, x_name, x_written, written, marks, note)


def _drawing(
    series: Sequence[Series],
    x: Scale,
    x_ticks: Callable[[Scale], tuple[Tick, ...]],
    width: float,
    height: float,
    written: Format,
    marks: Sequence[Mark],
    limits: Sequence[tuple[float, str]],
    log: bool,
    zero: bool,
    gap: float,
) -> Drawing:
    def drawable(p: Point) -> bool:
        return x.takes(p.x) and math.isfinite(p.y) and (p.y > 0 or not log)

    shown = [(n, one, [p for p in one.points if drawable(p)]) for n, one in enumerate(series[:MOST_SERIES])]
    values = [v for _, _, points in shown for p in points for v in (p.y, p.low, p.high) if v is not None]
    values += [value for value, _ in limits]
    values = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    top, bottom = _TOP, height - _FOOT
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if zero and not log:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = (low / 2, high * 2) if log else (low, high + (abs(high) or 1.0))
    y = Scale(low, high, bottom, top, log=log).rounded((bottom - top) / 42.0)
    y_ticks = value_ticks(y, written, (bottom - top) / (30.0 if log else 42.0))  # of decades every one, if it can be
    x = replace(x, begin=round(max(_LEFT, 12.0 + _CHARACTER * max(len(tick.text) for tick in y_ticks)), 1))
    return Drawing(
        width=width,
        height=height,
        left=x.begin,
        right=width - _RIGHT,
        top=top,
        bottom=bottom,
        x_ticks=x_ticks(x),
        y_ticks=y_ticks,
        series=tuple(_series(n, one.kind, points, x, y, gap) for n, one, points in shown if points),
        marks=tuple(_mark(mark, x) for mark in marks),
        limits=tuple((y(value), text) for value, text in limits),
    )


def _series(number: int, kind: str, points: list[Point], x: Scale, y: Scale, gap: float) -> DrawnSeries:
    if kind == "dots":
        return DrawnSeries(number, (), (), tuple((x(p.x), y(p.y)) for p in points), _whiskers(points, x, y))
    runs: list[list[Point]] = []
    for point in points:
        if runs and point.x - runs[-1][-1].x <= gap:
            runs[-1].append(point)
        else:
            runs.append([point])
    lines = tuple(path(_stepped(run, x, y) if kind == "step" else [(x(p.x), y(p.y)) for p in run]) for run in runs)
    areas = []
    for run in runs:
        bounded = [(p.x, p.low, p.high) for p in run if p.low is not None and p.high is not None]
        if len(bounded) > 1:
            there = [(x(at), y(high)) for at, _, high in bounded]
            back = [(x(at), y(low)) for at, low, _ in reversed(bounded)]
            areas.append(path(there + back) + "Z")
    return DrawnSeries(
        number,
        tuple(line for line, run in zip(lines, runs, strict=True) if len(run) > 1),
        tuple(areas),
        tuple((x(run[0].x), y(run[0].y)) for run in runs if len(run) == 1),
        _whiskers([run[0] for run in runs if len(run) == 1], x, y),
    )


def _whiskers(points: Sequence[Point], x: Scale, y: Scale) -> tuple[str, ...]:
    """A point has no area: its interval is a line through it."""
    return tuple(
        path([(x(p.x), y(p.low)), (x(p.x), y(p.high))]) for p in points if p.low is not None and p.high is not None
    )


def _stepped(run: Sequence[Point], x: Scale, y: Scale) -> list[tuple[float, float]]:
    found = [(x(run[0].x), y(run[0].y))]
    for point in run[1:]:
        found += [(x(point.x), found[-1][1]), (x(point.x), y(point.y))]
    return found


def _mark(mark: Mark, x: Scale) -> DrawnMark:
    begin = x(mark.x)
    width = 0.0 if mark.end is None else max(2.0, round(x(mark.end) - begin, 1))
    return DrawnMark(begin, width, mark.kind, mark.text, mark.href)


def _clock(zone: ZoneInfo) -> Format:
    return lambda us: f"{datetime.fromtimestamp(us / 1e6, zone):%Y-%m-%d %H:%M}"


def _chart(
    key: str,
    title: str,
    series: Sequence[Series],
    sizes: Mapping[str, Drawing],
    x_name: str,
    x_written: Format,
    written: Format,
    marks: Sequence[Mark],
    note: str,
) -> Chart:
    by_x: dict[float, list[str]] = {}
    for n, one in enumerate(series):
        for p in one.points:
            interval = "" if p.low is None or p.high is None else f" ({written(p.low)} – {written(p.high)})"
            by_x.setdefault(p.x, [""] * len(series))[n] = written(p.y) + interval
    rows = [(x_written(at), by_x[at]) for at in sorted(by_x)]
    last = [f"{one.name}: {written(one.points[-1].y)}" for one in series[:MOST_SERIES] if one.points]
    words = "; ".join(last) + (" at the end." if last else "Nothing was measured.")
    cut = max(0, len(rows) - MOST_ROWS)
    return Chart(
        key=key,
        title=title,
        words=words,
        x_name=x_name,
        names=tuple(one.name for one in series),
        sizes=sizes,
        rows=rows[cut:],
        cut=cut,
        marks=marks,
        note=note,
        kinds=tuple(one.kind for one in series),
    )
