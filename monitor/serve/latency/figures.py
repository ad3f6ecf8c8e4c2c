"""Pictures of latency that are no lines over time: the waterfall of the tail, stages, and latency by load."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from detectors.latency import AtLoad, latency_at_load, waterfall
from detectors.summaries.signals import measure
from detectors.summaries.summary import Summary
from monitor.evaluate.sentences import number, percent
from monitor.serve import charts
from monitor.serve.cells import plain, written
from monitor.serve.charts import Chart, Point, Series
from monitor.serve.latency.words import Compared, seconds

MOST_STAGES = 32
_ROUNDING = 0.02  # of the extra time: as much may be missing since totals are told by bucket
_ALIKE = 0.025  # two percentiles within 1.1 % of theirs may be the same
_QUANTILES = ("p50", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the waterfall: from ``begin`` on ``width`` per cent of the picture. ``kind``: total, extra or less."""

    name: str
    begin: float
    width: float
    kind: str
    usual: str
    slow: str
    extra: str
    share: str


@dataclass(frozen=True, slots=True)
class Fall:
    slow_events: int
    rows: list[Bar]


def fall(whole: Summary) -> Fall | None:
    """From a usual request to a slow one, stage by stage; None where there are too few."""
    found = waterfall(whole.stage_by_latency())
    if found is None:
        return None
    total = found.slow - found.usual
    parts = [(step.stage, step.usual, step.slow, step.extra) for step in found.steps[:MOST_STAGES]]
    left = sum(step.extra for step in found.steps[MOST_STAGES:])
    if abs(found.rest + left) > _ROUNDING * abs(total):
        usual, slow = (sum(getattr(step, of) for step in found.steps[:MOST_STAGES]) for of in ("usual", "slow"))
        parts.append(("in no stage", found.usual - usual, found.slow - slow, found.rest + left))
    levels = [found.usual]
    for _, _, _, extra in parts:
        levels.append(levels[-1] + extra)
    widest = max(*levels, found.slow) or 1.0

    def bar(name: str, low: float, high: float, kind: str, usual: str, slow: str, extra: str, share: str) -> Bar:
        begin, end = (max(0.0, 100 * value / widest) for value in sorted((low, high)))
        return Bar(name, round(begin, 2), round(max(end - begin, 0.3), 2), kind, usual, slow, extra, share)

    rows = [bar("A usual request", 0.0, found.usual, "total", seconds(found.usual), "", "", "")]
    for (name, usual, slow, extra), level in zip(parts, levels, strict=False):
        share = percent(extra / total) if total > 0 and extra > 0 else "–"
        kind = "extra" if extra >= 0 else "less"
        rows.append(
            bar(name, level, level + extra, kind, _signed(usual), _signed(slow), _signed(extra, plus=True), share)
        )
    rows.append(bar("A slow request", 0.0, found.slow, "total", "", seconds(found.slow), "", ""))
    return Fall(found.slow_events, rows)


def _signed(us: float, *, plus: bool = False) -> str:
    sign = "−" if us < 0 else "+" if plus and us > 0 else ""
    return sign + seconds(abs(us))


@dataclass(frozen=True, slots=True)
class StageRow:
    """Percentiles of a stage now, its p95 in what it is held against, and how many times that is."""

    stage: str
    events: int
    quantiles: tuple[str, ...]
    before: str
    times: str


def stages(whole: Summary, against: Compared | None) -> list[StageRow]:
    """Stages by what their p95 is, the slowest first."""
    rows = []
    for stage, total in whole.labelled("latency_stage").items():
        found = [measure(whole, f"latency_stage_{q}", label=stage).value for q in _QUANTILES]
        was = None if against is None else measure(against.summary, "latency_stage_p95", label=stage).value
        now = found[1]
        rows.append(
            (
                now or 0.0,
                StageRow(
                    stage,
                    total.count,
                    tuple("–" if value is None else seconds(value * 1e6) for value in found),
                    "–" if was is None else seconds(was * 1e6),
                    "–" if not was or now is None else _times(now / was),
                ),
            )
        )
    rows.sort(key=lambda row: (-row[0], row[1].stage))
    return [row for _, row in rows]


def _times(ratio: float) -> str:
    return "the same" if abs(ratio - 1) <= _ALIKE else f"{number(ratio)} times"


def by_load(whole: Summary, against: Compared | None) -> Chart | None:
    """p50 and p95 over requests in flight, now and before; None where load is not measured, or is always the same."""
    found = latency_at_load(whole.latency_by_concurrency())
    if len(found) < 2:
        return None
    series = [_at_load(found, "p50", ""), _at_load(found, "p95", "")]
    if against is not None:
        was = latency_at_load(against.summary.latency_by_concurrency())
        name = against.name.removeprefix("the ")
        before = (_at_load(was, which, f", {name}") for which in ("p50", "p95"))
        series += [line for line in before if line.points]
    return charts.curve(
        "load",
        "Latency by requests in flight",
        series,
        "requests in flight",
        plain,
        written("s", ""),
        log_x=True,
        zero=True,
        note="Each point is a range of concurrency (1, 2 to 3, 4 to 7, …) at its middle, with 30 requests at least.",
    )


def _at_load(found: list[AtLoad], which: str, ending: str) -> Series:
    points = []
    for at in found:
        value, limits = (at.p50, at.p50_limits) if which == "p50" else (at.p95, at.p95_limits)
        points.append(
            Point(
                sqrt(max(at.low, 1) * max(at.high, 1)),
                value / 1e6,
                None if limits is None or ending else limits.low / 1e6,
                None if limits is None or ending else limits.high / 1e6,
            )
        )
    return Series(f"{which}{ending}", points)
