"""Evidence over time as the geometry of a figure: numbers in, coordinates out. The template draws it.

Above: the greatest evidence of each hour on a logarithmic scale against the threshold, until the anomaly opened. Below,
on a time axis of its own since that may be weeks: how firmly the change is still supported, from 0 (over) to its cap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from zoneinfo import ZoneInfo

from detectors.evidence.recovery import CAP
from monitor.serve.axes import Scale, Tick, path, time_ticks
from monitor.times import DAY_US, HOUR_US

LOWEST = 1e-3  # of the threshold: below it evidence says nothing, and a logarithm has no end
MOST_POINTS = 400
_LEFT, _RIGHT, _TOP, _STRIP, _GAP, _FOOT = 46.0, 14.0, 14.0, 38.0, 48.0, 30.0
AFTER_US = 3 * HOUR_US  # of the opening that the upper panel shows


@dataclass(frozen=True, slots=True)
class Point:
    """``time_us``: where it begins; of what is evidence, ``value`` is the greatest in it."""

    time_us: int
    value: float


@dataclass(frozen=True, slots=True)
class Moments:
    """What is marked on the time axis (µs)."""

    begin_us: int
    end_us: int
    since_us: tuple[int, int]
    opened_us: int
    resolved_us: int | None
    deploys_us: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """Coordinates of one size of the figure; y grows downward."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    threshold: float
    values: tuple[Tick, ...]
    times: tuple[Tick, ...]
    later: tuple[Tick, ...]  # of the strip's own axis
    lines: tuple[str, ...]  # paths of SVG; where nothing was measured there is a gap
    dots: tuple[tuple[float, float], ...]
    support: tuple[str, ...]
    strip: tuple[float, float] | None  # top and bottom of the support's strip
    since: tuple[float, float]
    opened: float
    resolved: float | None
    deploys: tuple[float, ...]


def draw(
    hours: Sequence[Point],
    ticks: Sequence[Point],
    threshold: float,
    moments: Moments,
    zone: ZoneInfo,
    width: float,
    height: float,
) -> Drawing:
    """The figure at one size. ``hours`` and ``ticks`` in the order of time."""
    left, right, top = _LEFT, width - _RIGHT, _TOP
    bottom = height - _FOOT - (_STRIP + _GAP if ticks else 0.0)
    begin, opened = moments.begin_us, moments.opened_us
    until = max(begin + HOUR_US, opened + AFTER_US)
    x = Scale(begin, until, left, right)
    hours = [point for point in hours if point.time_us < until]
    greatest = max((point.value for point in hours), default=threshold)
    low = math.floor(math.log10(threshold * LOWEST))
    high = max(math.ceil(math.log10(max(greatest, threshold))), math.ceil(math.log10(threshold)) + 1)

    def y(value: float) -> float:
        level = math.log10(max(value, threshold * LOWEST))
        return round(bottom - (level - low) / (high - low) * (bottom - top), 1)

    def within(hour: Point) -> float:
        """Where in its hour a value is drawn: in the middle, but that which opened the anomaly came before it."""
        middle = hour.time_us + HOUR_US / 2
        return min(middle, opened) if hour.time_us <= opened < hour.time_us + HOUR_US else middle

    every = max(1, math.ceil((high - low) / 5))
    shown = thinned(hours)
    parts = _unbroken(shown, 2.5 * HOUR_US)
    strip: tuple[float, float] | None = None
    support: tuple[str, ...] = ()
    later: tuple[Tick, ...] = ()
    over: float | None = None
    if ticks:
        strip = (bottom + _GAP, bottom + _GAP + _STRIP)
        end = max(moments.end_us, opened + HOUR_US)
        x_later = Scale(opened, end, left, right)
        runs = _unbroken(thinned(ticks), 2.5 * HOUR_US)
        support = tuple(
            path([(x_later(p.time_us), _share(p.value, *strip)) for p in run]) for run in runs if len(run) > 1
        )
        later = time_ticks(opened, end, zone, x_later, (right - left) / 78.0)
        over = None if moments.resolved_us is None else x_later(moments.resolved_us)
    return Drawing(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        threshold=y(threshold),
        values=tuple(Tick(y(10.0**level), power(level)) for level in range(low, high + 1, every)),
        times=time_ticks(begin, until, zone, x, (right - left) / 78.0),
        later=later,
        lines=tuple(path([(x(within(p)), y(p.value)) for p in part]) for part in parts if len(part) > 1),
        dots=tuple((x(within(part[0])), y(part[0].value)) for part in parts if len(part) == 1),
        support=support,
        strip=strip,
        since=(x(moments.since_us[0]), x(moments.since_us[1])),
        opened=x(moments.opened_us),
        resolved=over,
        deploys=tuple(x(at) for at in moments.deploys_us if begin <= at < until),
    )


def power(level: int) -> str:
    """``1,000``, ``0.01``, ``1e9``: short enough for an axis."""
    if 0 <= level <= 5:
        return f"{10**level:,}"
    return f"{10.0**level:.{-level}f}" if -4 <= level < 0 else f"1e{level}"


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most ``most`` points: the greatest of each run of equal length, so that no peak is lost."""
    step = math.ceil(len(points) / most) if points else 1
    return [max(points[i : i + step], key=lambda point: point.value) for i in range(0, len(points), step)]


def _share(value: float, top: float, bottom: float) -> float:
    return round(bottom - min(max(value / CAP, 0.0), 1.0) * (bottom - top), 1)


def _usual_step(points: Sequence[Point]) -> float:
    gaps = sorted(after.time_us - before.time_us for before, after in pairwise(points))
    return float(gaps[len(gaps) // 2]) if gaps else 0.0


def _unbroken(points: Sequence[Point], most_us: float) -> list[list[Point]]:
    """Runs without a step longer than ``most_us``, or than what thinning left of them."""
    most_us = max(most_us, 2.5 * _usual_step(points))
    found: list[list[Point]] = []
    for point in points:
        if found and point.time_us - found[-1][-1].time_us <= most_us:
            found[-1].append(point)
        else:
            found.append([point])
    return found


def span(since_low: int, end_us: int) -> tuple[int, int]:
    """(begin, end) of the time axis: a day before the change, and some of what came after."""
    after = max(HOUR_US, (end_us - since_low) // 20)
    return (since_low - DAY_US) // HOUR_US * HOUR_US, -(-(end_us + after) // HOUR_US) * HOUR_US
