"""Figures of evidence with their table, and what is behind an anomaly as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerts import explained
from detectors.evidence.recovery import CAP
from monitor.evaluate.sentences import number, percent
from monitor.serve.anomalies import figure
from monitor.serve.anomalies.figure import Drawing, Moments, Point
from monitor.serve.anomalies.reading import Around, Course
from monitor.serve.anomalies.words import Clock
from monitor.times import HOUR_US

MOST_ROWS = 72  # of a figure's table
_WIDE, _NARROW = (880.0, 300.0), (350.0, 290.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """A course as it is drawn in two sizes, told and tabled."""

    key: str  # of its ids in the page
    title: str
    words: str
    caption: str
    wide: Drawing
    narrow: Drawing
    rows: list[dict[str, str]]
    timezone: str


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as texts; the first of a row heads it."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def figures(document: Mapping[str, Any], around: Around, clock: Clock, timezone: str) -> list[Figure]:
    """One for each fact whose course was read, in their order."""
    facts: Sequence[Mapping[str, Any]] = document.get("facts") or ()
    return [
        _figure(f"f{i}", fact, course, around, clock, timezone)
        for i, (fact, course) in enumerate(zip(facts, around.courses, strict=False))
    ]


def _figure(key: str, fact: Mapping[str, Any], course: Course, around: Around, clock: Clock, timezone: str) -> Figure:
    threshold = float(fact["evidence"]["threshold"])
    threshold = threshold if threshold > 0 else 1.0
    since = fact["since"]
    moments = Moments(
        begin_us=around.begin_us,
        end_us=around.end_us,
        since_us=(int(since["low"]), int(since["high"])),
        opened_us=int(fact["opened"]),
        resolved_us=fact.get("resolved"),
        deploys_us=tuple(one.time_us for one in around.deploys if around.begin_us <= one.time_us < around.end_us),
    )

    def drawn(size: tuple[float, float]) -> Drawing:
        return figure.draw(course.hours, course.ticks, threshold, moments, clock.zone, *size)

    greatest = max((point.value for point in course.hours), default=0.0)
    over = "" if moments.resolved_us is None else f" It was over at {clock.at(moments.resolved_us)}."
    span = f"from {clock.at(around.begin_us)} to {clock.at(around.end_us)}"
    return Figure(
        key=key,
        title=f"Evidence of {fact['signal']} in {fact['subject']} against its threshold, {span}",
        words=(
            f"The greatest evidence of an hour is {number(greatest)}, against a threshold of {number(threshold)}. The "
            f"change began {clock.since(since)}; the anomaly opened at {clock.at(moments.opened_us)}.{over} "
            "All values are in the table below."
        ),
        caption=f"{fact['signal']} in {fact['subject']}; once it is open, what counts is how firmly it is still seen",
        wide=drawn(_WIDE),
        narrow=drawn(_NARROW),
        rows=list(_rows(course, threshold, around, clock)),
        timezone=timezone,
    )


def _rows(course: Course, threshold: float, around: Around, clock: Clock) -> Iterator[dict[str, str]]:
    """The greatest of each step, newest first; a step is an hour, or longer where there would be too many rows."""
    hours = -(-(around.end_us - around.begin_us) // HOUR_US)
    step = -(-hours // MOST_ROWS) * HOUR_US
    held, seen = _greatest(course.hours, around.begin_us, step), _greatest(course.ticks, around.begin_us, step)
    for at in sorted({*held, *seen}, reverse=True):
        value, support = held.get(at), seen.get(at)
        yield {
            "time": clock.short(around.begin_us + at * step),
            "value": "–" if value is None else number(value),
            "share": "–" if value is None else percent(value / threshold),
            "support": "–" if support is None else percent(support / CAP),
        }


def _greatest(points: Sequence[Point], begin: int, step: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for point in points:
        at = (point.time_us - begin) // step
        found[at] = max(point.value, found.get(at, 0.0))
    return found


def behind(explanation: Mapping[str, Any]) -> list[Table]:
    """Attributes, conditions and concepts; those without a row are left out."""
    return [
        table
        for table in (
            Table("Attributes", ("value", "before", "now", "left without it"), [*_attributes(explanation)]),
            Table(
                "Conditions of the inputs, with 95 % intervals of the change",
                ("condition", "before", "now", "change"),
                [*_conditions(explanation)],
            ),
            Table(
                "What inputs look like, with 95 % intervals of the change",
                ("concept", "before", "now", "change"),
                [*_concepts(explanation)],
            ),
        )
        if table.rows
    ]


def _attributes(explanation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for entry in explanation.get("attributes") or ():
        left = entry.get("left")
        yield (
            f"{explained.how(entry)} {entry['attribute']} {entry['value']}",
            _share(entry["before"]),
            _share(entry["now"]),
            "–" if left is None else f"{_share(max(0.0, left))} of the change",
        )


def _conditions(explanation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for entry in explanation.get("conditions") or ():
        told = _relative if entry["told"] == "relative" else _number
        unit = f" {entry['unit']}" if entry["unit"] else ""
        yield (
            str(entry["name"]),
            f"{_number(entry['before'])}{unit}",
            f"{_number(entry['now'])}{unit}",
            f"{told(entry['change'])} ({told(entry['low'])} to {told(entry['high'])})",
        )


def _concepts(explanation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for entry in explanation.get("concepts") or ():
        before, now = entry["before"], entry["now"]
        change = "–" if before is None or now is None else f"{100 * (now - before):+.3g} points"
        yield (
            str(entry["name"]),
            _share(before),
            _share(now),
            f"{change} ({_share(entry['low'])} to {_share(entry['high'])})",
        )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.3g}\u00a0%"


def _relative(change: float | None) -> str:
    """``-2.4 %``, or ``48-fold`` of what more than doubled."""
    return f"{number(1 + change)}-fold" if change is not None and change >= 1 else _share(change)


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)
