"""A report as Markdown for a pull request or a chat, and as one HTML file that prints and reads on a phone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from alerts.sinks.folder import write_whole
from alerts.sinks.people import inert
from monitor.report import figures, sending, telling
from monitor.report.model import Figure, Quality, Report, Segment
from monitor.report.reading import ordered

LEAST_PART = 0.005  # of a bill: a smaller part of its change is not worth a reader's time
_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|~&$"})


FORMATS = ("md", "html", "json")


def rendered(report: Report, form: str) -> str:
    """In one of `FORMATS`. Raises ValueError for another."""
    if form not in FORMATS:
        raise ValueError(f"a report is written as {', '.join(FORMATS)}, got {form!r}")
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
    return html(report) if form == "html" else markdown(report)


def write(report: Report, forms: Iterable[str], folder: Path) -> list[Path]:
    """A file of each form in ``folder``, as `written` names them."""
    begin, end = (round(datetime.fromisoformat(text).timestamp() * 1e6) for text in (report.since, report.until))
    return written({form: rendered(report, form) for form in forms}, begin, end, report.timezone, folder)


def written(pages: Mapping[str, str], from_us: int, to_us: int, zone: str, folder: Path) -> list[Path]:
    """A file of each page in ``folder``, which is made: ``report-FROM-TO.FORM``, by the first day and the day after the
    last. Returns them. Raises OSError; each file is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"report-{sending.name(from_us, to_us, zone)}.{form}" for form in pages]
    for path in paths:
        write_whole(path, pages[path.suffix[1:]])
    return paths


def markdown(report: Report) -> str:
    """CommonMark with tables as GitHub has them. Everything that came from events is escaped."""
    return _environment(escaped=False).get_template("report.md").render(**_given(report))


def html(report: Report) -> str:
    """One self-contained file: no script, nothing that is fetched."""
    page = _environment(escaped=True).get_template("report.html").render(**_given(report))
    return page.replace(" %", "\N{NO-BREAK SPACE}%")  # a figure is not parted from its unit at a line's end


def _given(report: Report) -> dict[str, Any]:
    full, others = ordered(report.segments)
    zone = ZoneInfo(report.timezone)

    def local(text: str | None) -> str:
        return "" if text is None else f"{datetime.fromisoformat(text).astimezone(zone):%Y-%m-%d %H:%M}"

    def money(value: float | None) -> str:
        return "–" if value is None else telling.money(value, report.currency)

    return {
        "report": report,
        "days": lambda: [*figures.of_days(report), *figures.of_all(report)],
        "drawn": lambda segment: figures.of_segment(report, segment),
        "period": stretch(report.since, report.until, zone),
        "held": held(report),
        "opened_before": {one.id for one in report.alarms if one.opened_before},
        "notable": lambda bill: {
            name: value for name, value in bill.parts.items() if abs(value) >= LEAST_PART * max(bill.spent, 1e-9)
        },
        "full": full,
        "others": others,
        "local": local,
        "money": money,
        "figure": lambda one: figure(one, report.currency),
        "moved": lambda one: moved(one, report.currency),
        "usual": lambda one: usual(one, report.currency),
        "held_against": lambda segment: any(one.reference is not None for one in segment.figures),
        "striking": telling.striking,
        "signed": lambda value: telling.signed(value, report.currency),
        "others_changed": [one for one in report.changes if one.anomaly is None],
        "alarmed": [one for one in report.changes if one.anomaly is not None],
        "known_ahead": [one for one in report.ahead if one.expected is not None],
        "named": lambda one: one.signal.replace("_", " "),
        "count": lambda value: "–" if value is None else f"{value:,}",
        "coming": lambda one, value: coming(one.unit, value, report.currency),
        "percent": telling.percent,
        "against": against,
        "moving": moving,
        "parts": telling.PARTS,
        "limits": lambda one: "" if one.low is None else f" [{telling.percent(one.low)}, {telling.percent(one.high)}]",
        "by_day": by_day,
        "told": lambda segment: [one for one in segment.figures if one.value is not None],
    }


def held(report: Report) -> str:
    """What the period is held against."""
    if report.requests_before is None:
        return "nothing before is known to hold it against"
    return f"held against {stretch(report.before, report.since, ZoneInfo(report.timezone))}"


def stretch(since: str, until: str, zone: ZoneInfo) -> str:
    """From a day to a day, both among them; with times where it is not of whole days."""
    begin, end = (datetime.fromisoformat(text).astimezone(zone) for text in (since, until))
    if begin.hour or begin.minute or end.hour or end.minute:
        return f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
    return f"{begin:%Y-%m-%d} to {end - timedelta(days=1):%Y-%m-%d}"


def against(now: float, before: float | None) -> str:
    """How much more or less than before: ``+12 %``."""
    if not before:
        return "–"
    change = 100 * (now - before) / before
    return f"{'+' if change >= 0 else '−'}{abs(change):.0f} %"


def moving(now: float, before: float | None, what: str = "") -> str:
    """`against` in brackets; nothing where nothing is known of before."""
    return f" ({against(now, before)}{what})" if before else ""


def figure(one: Figure, currency: str) -> str:
    """A value with its interval: ``4.2 s [4.1, 4.3]``."""
    if one.value is None:
        return "not enough data" if one.status == "not_enough_data" else "–"
    shown = telling.percent if one.unit == "1" else lambda value: f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
    unit = {"1": "", "currency": f" {currency}"}.get(one.unit, f" {one.unit}")
    limits = f" [{shown(one.low)}, {shown(one.high)}]" if one.low is not None and one.high != one.low else ""
    return f"{shown(one.value)}{unit}{limits}"


def coming(unit: str, value: float, currency: str) -> str:
    """A value of next week, with as many digits as it is known to."""
    if unit != "1":
        return telling.money(value, currency)
    return f"{value:,.0f}"


def moved(one: Figure, currency: str) -> str:
    """What it was before, where it was known."""
    if one.value is None or one.before is None:
        return "–"
    return figure(msgspec.structs.replace(one, value=one.before, low=None, high=None), currency)


def usual(one: Figure, currency: str) -> str:
    """What its reference says, where that holds it."""
    if one.value is None or one.reference is None:
        return "–"
    return figure(msgspec.structs.replace(one, value=one.reference, low=None, high=None), currency)


def by_day(quality: Quality) -> list[tuple[str, list[float | None]]]:
    """Each day with the rate of each check; None where it was not measured."""
    rates = [{day.since: day.rate for day in one.days} for one in quality.checks]
    return [(day, [of.get(day) for of in rates]) for day in sorted({day for of in rates for day in of})]


def plain(segment: Segment) -> str:
    """A segment's name for an anchor."""
    return "".join(character if character.isalnum() else "-" for character in segment.segment)


def _escaped(text: object) -> str:
    return inert(str(text)).translate(_SPECIAL)


@cache
def _environment(*, escaped: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("monitor.report", "templates"),
        autoescape=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = _escaped
    environment.filters["anchor"] = plain
    return environment
