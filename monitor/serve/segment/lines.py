"""A segment's signals as charts: what was measured, what was not, against its reference, with what happened marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from detectors.summaries.catalogue import Signal, signal
from detectors.summaries.signals import Measurement, labels, measure
from detectors.summaries.summary import Summary
from monitor.serve import cells, charts
from monitor.serve.charts import MOST_SERIES, Chart, Format, Mark, Point, Series
from monitor.serve.marks import Marked
from monitor.serve.reference_levels import Levels
from monitor.serve.segment.panels import PANELS, SAMPLED, SECTIONS, Line, Panel, belongs
from monitor.serve.timeline import Timeline
from monitor.store.tables import evidence

_SHARES = ("rate", "mix", "tail_share")
_LEAST_EVIDENCE = 1e-3  # what is less is drawn, and written, as this


@dataclass(slots=True)
class Section:
    """A part of the page: charts, the names of those left for later, and what there is nothing of."""

    title: str
    charts: list[Chart] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)
    too_few: list[str] = field(default_factory=list)


def written(found: Signal, currency: str) -> Format:
    """What writes a signal's values: shares in percent, counts without a unit."""
    if found.unit != "1" or found.kind in _SHARES or found.metric == "context_used":
        return cells.written(found.unit, currency)
    return cells.plain


def fact(whole: Summary, name: str, text: str, currency: str) -> tuple[str, str, str]:
    """(value, ``text``, its interval or why there is no value) of a signal of the catalogue."""
    found = measure(whole, name)
    write = written(signal(name), currency)
    if found.value is None or found.low is None or found.high is None:
        return "–", text, "not enough data" if found.n else "not measured"
    return write(found.value), text, f"{write(found.low)} to {write(found.high)}" if found.low != found.high else ""


def sections(
    timeline: Timeline,
    coarse: Timeline,
    whole: Summary,
    marked: Marked,
    levels: Levels | None,
    zone: ZoneInfo,
    currency: str,
    *,
    lesser: bool = True,
) -> list[Section]:
    """Every panel in its section; without ``lesser`` those that are not looked at first are named alone.

    ``coarse`` is the timeline in steps that shares and percentiles can be told of, ``whole`` its sum.
    """
    found = {title: Section(title) for title in SECTIONS}
    for panel in PANELS:
        section = found[panel.section]
        steps = timeline if panel.totals else coarse
        title = panel.title.format(every=steps.every)
        named = title[0].lower() + title[1:]
        if not (panel.first or lesser):
            counted = any(chosen(line.signal, whole) for line in panel.lines)
            (section.later if counted else section.unmeasured).append(named)
            continue
        chart, counted = drawn(panel, steps, whole, marked, levels, zone, currency)
        if chart is not None:
            section.charts.append(chart)
        else:
            (section.too_few if counted else section.unmeasured).append(named)
    return list(found.values())


def drawn(
    panel: Panel,
    timeline: Timeline,
    whole: Summary,
    marked: Marked,
    levels: Levels | None,
    zone: ZoneInfo,
    currency: str,
    *,
    half: bool = True,
) -> tuple[Chart | None, bool]:
    """(the chart, None where there is nothing to draw; whether any event had what it shows). ``whole``: the sum of
    all steps; ``half``: for half a page."""
    lines, counted = _series(panel, timeline, whole)
    if not any(line.points for line in lines):
        return None, counted
    return _chart(panel, lines, timeline, marked, levels, zone, currency, half), True


def _series(panel: Panel, timeline: Timeline, whole: Summary) -> tuple[list[Series], bool]:
    """The lines, and whether any event had what they show."""
    lines, counted = [], False
    for line in panel.lines:
        for label in chosen(line.signal, whole):
            counted = True
            name = label if not line.name else line.name
            lines.append(timeline.measured(name, _reader(line.signal, label), total=panel.totals))
    return lines, counted


def chosen(name: str, whole: Summary) -> list[str]:
    """Labels of a signal that are drawn, [''] for one without; the most frequent first. Empty: not measured."""
    found = signal(name)
    if found.by_label or found.kind == "mix":
        counts = {label: total.count for label, total in whole.labelled(found.metric).items()}
        return sorted(counts, key=lambda label: (-counts[label], label))[:MOST_SERIES]
    return [label for label in labels(whole, found) if measure(whole, found, label=label).n]


def _reader(name: str, label: str) -> Callable[[Summary], Measurement]:
    found = signal(name)
    if found.kind != "mix":
        return lambda summary: measure(summary, found, label=label if found.by_label else "")

    def share(summary: Summary) -> Measurement:
        mix = measure(summary, found)
        if mix.distribution is None:
            return mix
        value, low, high = mix.distribution.get(label, (0.0, 0.0, 0.0))
        return Measurement(value, low, high, mix.n, "measured")

    return share


def _chart(
    panel: Panel,
    lines: Sequence[Series],
    timeline: Timeline,
    marked: Marked,
    levels: Levels | None,
    zone: ZoneInfo,
    currency: str,
    half: bool,
) -> Chart:
    write = written(signal(panel.lines[0].signal), currency)
    shown = [line for line in lines if line.points]
    bounds = [] if levels is None else _bounds(panel.lines, shown, levels)
    notes = []
    if bounds and levels is not None:
        told = ", ".join(f"{name} {write(value)}" if name else write(value) for value, name in bounds)
        notes.append(f"Dashed across, the reference: {told}.")
    lacking = [line.name for line in lines if not line.points]
    if lacking:
        notes.append(f"Too few events in any {timeline.every} for {', '.join(lacking)}.")
    if panel.totals and timeline.steps and not timeline.steps[-1].whole:
        notes.append(f"The last {timeline.every} is not over and is left out.")
    stretches = [mark for stream, mark in marked.stretches if belongs(stream, panel)]
    return charts.over_time(
        panel.key,
        panel.title.format(every=timeline.every),
        shown,
        timeline.span,
        zone,
        write,
        step_us=timeline.step_us,
        marks=[*stretches, *marked.moments],
        limits=[(value, f"reference: {name} {write(value)}") for value, name in bounds],
        log=panel.log,
        note=" ".join(notes),
        half=half,
    )


def _bounds(wanted: Sequence[Line], shown: Sequence[Series], levels: Levels) -> list[tuple[float, str]]:
    """The reference's level of each line that is drawn."""
    found = []
    for line in wanted:
        names = [line.name] if line.name else [series.name for series in shown]
        for name in names:
            level = levels.of(line.signal, "" if line.name else name)
            if level is not None and any(series.name == name for series in shown):
                found.append((level, name if len(shown) > 1 else ""))
    return found


def drift(connection: Connection, segment: str, timeline: Timeline, marked: Marked, zone: ZoneInfo) -> Chart | None:
    """Evidence that images, texts or their agreement changed; None where nothing of it is judged."""
    t = evidence.c
    query = select(t.signal, t.tick_us, t.value, t.threshold).where(
        t.segment == segment,
        t.signal.in_([name for name, _ in SAMPLED]),
        t.resolution == "hour",
        t.tick_us >= timeline.begin_us,
        t.tick_us < timeline.end_us,
    )
    points: dict[str, list[Point]] = {}
    for name, at, value, threshold in connection.execute(query.order_by(t.tick_us)):
        share = value / threshold if threshold > 0 else value
        points.setdefault(name, []).append(Point(at, max(share, _LEAST_EVIDENCE)))
    lines = [Series(text, points[name]) for name, text in SAMPLED if name in points]
    if not lines:
        return None
    names = {name for name, _ in SAMPLED}
    stretches: list[Mark] = [mark for stream, mark in marked.stretches if stream in names]
    return charts.over_time(
        "drift",
        "Evidence that inputs look different from the reference",
        lines,
        timeline.span,
        zone,
        _evidence,
        step_us=timeline.step_us,
        marks=[*stretches, *marked.moments],
        limits=[(1.0, "an anomaly opens")],
        log=True,
        note="Evidence over its threshold, on a logarithmic scale; dashed across: 1, at which an anomaly opens. While "
        "an anomaly is open none is gathered.",
        half=True,
    )


def _evidence(value: float) -> str:
    return f"≤ {_LEAST_EVIDENCE:g}" if value <= _LEAST_EVIDENCE else f"{value:,.0f}" if value >= 10 else f"{value:.3g}"
