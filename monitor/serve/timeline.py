"""A range of event time in steps, each read once: what lines over time are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from detectors.summaries import Selection
from detectors.summaries.signals import Measurement, measure
from detectors.summaries.summary import Summary
from monitor.serve.charts import Point, Series
from monitor.serve.shell import View
from monitor.store import coverage, listing, reads
from monitor.times import DAY_US, HOUR_US, MINUTE_US

FINE_US = 5 * MINUTE_US
FINE_SPAN_US = 8 * HOUR_US
MOST_ROWS = 20_000  # that the sum of all segments is read from by hour; beyond, by day
ENOUGH = 400  # events that half of the steps should have at least: p99 has an interval from some 370 on
FEWEST_STEPS = 12  # that a line should have, be events few
_FACTORS = (1, 2, 3, 6, 12, 24)


@dataclass(frozen=True, slots=True)
class Step:
    """[start, end), µs; ``whole``: it is over, and all of it is read."""

    start_us: int
    end_us: int
    whole: bool
    summary: Summary


@dataclass(frozen=True, slots=True)
class Timeline:
    """Steps that have events, oldest first. ``begin_us`` is the first step's begin, at or before what was asked for;
    ``missing``: stretches that retention no longer tells apart."""

    begin_us: int
    end_us: int
    step_us: int
    steps: Sequence[Step]
    late_events: int
    missing: tuple[tuple[int, int], ...]

    @property
    def every(self) -> str:
        """The step in words: ``hour``, ``6 hours``."""
        for unit, name in ((DAY_US, "day"), (HOUR_US, "hour"), (MINUTE_US, "minute")):
            if self.step_us % unit == 0:
                return name if self.step_us == unit else f"{self.step_us // unit} {name}s"
        raise ValueError(f"{self.step_us} µs are no whole minutes")

    @property
    def span(self) -> tuple[int, int]:
        return self.begin_us, self.end_us

    def whole(self) -> Summary:
        """The sum of all steps."""
        return Summary.merge_all(step.summary for step in self.steps)

    def coarse(self) -> Timeline:
        """The same in steps so long that half of them have `ENOUGH` events, as far as `FEWEST_STEPS` are left."""
        counts = sorted(step.summary.events() for step in self.steps)
        if not counts:
            return self
        most = (self.end_us - self.begin_us) / self.step_us / FEWEST_STEPS
        usual = max(1, counts[len(counts) // 2])
        factor = next((f for f in _FACTORS if f * usual >= ENOUGH or f * 2 > most), _FACTORS[-1])
        if factor == 1 or self.step_us == DAY_US:
            return self
        length = self.step_us * factor
        groups: dict[int, list[Step]] = {}
        for step in self.steps:
            groups.setdefault(step.start_us - step.start_us % length, []).append(step)
        steps = [
            Step(
                max(start, self.begin_us),
                min(start + length, self.end_us),
                start >= self.begin_us and start + length <= self.end_us,
                Summary.merge_all(one.summary for one in group),
            )
            for start, group in groups.items()
        ]
        return replace(self, step_us=length, steps=steps)

    def line(self, signal: str, name: str, *, label: str = "", total: bool = False) -> Series:
        """A signal of the catalogue with its intervals; of totals and counts (``total``) only steps that are over."""
        return self.measured(name, lambda summary: measure(summary, signal, label=label), total=total)

    def measured(self, name: str, read: Callable[[Summary], Measurement], *, total: bool = False) -> Series:
        """What ``read`` finds in every step."""
        points = []
        for step in self.steps:
            found = read(step.summary)
            if found.value is None or (total and not step.whole):
                continue
            bounded = found.low != found.high
            points.append(
                Point(step.start_us, found.value, found.low if bounded else None, found.high if bounded else None)
            )
        return Series(name, points)


def read(connection: Connection, view: View, selection: Selection) -> Timeline:
    """The view's range in steps: 5 minutes up to 8 hours, hours up to 8 days, then days of the configured time zone.

    The sum of many segments is read by day already where hours would be more than `MOST_ROWS` rows.
    """
    state = coverage.load(connection)
    step = _step(connection, view)
    if step == DAY_US and state.zones:
        begin = state.day_of(view.begin_us)[0]
    else:
        begin = view.begin_us - view.begin_us % step
    found = reads.by_window(
        connection,
        begin,
        view.end_us,
        step_us=None if step == DAY_US else step,
        segment=view.one,
        selection=selection,
    )
    steps: list[Step] = []
    missing: set[tuple[int, int]] = set()
    for start, merged in found:
        end = state.day_of(start)[1] if step == DAY_US and state.zones else start + step
        steps.append(Step(start, min(end, view.end_us), end <= view.end_us, merged.summary))
        missing.update(merged.missing)
    late = sum(merged.late_events for _, merged in found)
    return Timeline(begin, view.end_us, step, steps, late, tuple(sorted(missing)))


def _step(connection: Connection, view: View) -> int:
    span = view.end_us - view.begin_us
    kept = coverage.load(connection).kept_from(coverage.MINUTE)
    if view.one is not None and span <= FINE_SPAN_US and view.begin_us >= kept:
        return FINE_US
    if view.one is None and view.step_us == HOUR_US and span > DAY_US + HOUR_US:
        segments = len(listing.names(connection, view.begin_us, view.end_us))
        return HOUR_US if segments * (span // HOUR_US) <= MOST_ROWS else DAY_US
    return view.step_us
