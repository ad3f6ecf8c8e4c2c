"""What the page of quality shows: error rates from labels, checks from summaries, calibration and advice, kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from detectors.summaries import Selection, Summary
from detectors.summaries.signals import signal
from monitor import advice, reviewers
from monitor.advice import NoAdvice
from monitor.estimates import Estimate, estimates, weeks
from monitor.serve import timeline
from monitor.serve.context import Context
from monitor.serve.hours import changes, in_hours
from monitor.serve.shell import View
from monitor.serve.timeline import Timeline
from monitor.status import evaluated_until
from monitor.store import reads, review
from monitor.store.days import day_start, next_day
from monitor.store.engine import Store
from monitor.times import DAY_US, HOUR_US
from samplers.agreement import Agreement
from samplers.calibration import Reliability, reliability
from samplers.repair import Repairs
from samplers.threshold import Advice, Costs, Point, advise, curve

CHECKS = (
    "schema_violation_rate", "citation_missing_rate", "citation_ungrounded_rate", "disagreement_rate",
    "verification_failure_rate", "refusal_rate", "abstention_rate", "error_rate", "timeout_rate",
)  # fmt: skip
DRAWN = ("schema_violation_rate", "citation_missing_rate", "citation_ungrounded_rate", "disagreement_rate",
         "verification_failure_rate")  # fmt: skip
WEEKS = 8  # that a line of error rates has at least
SEED = 1  # which labels calibrate where no score can: as the command line does
_READ = Selection(frozenset({"events", *(signal(name).metric for name in CHECKS)}), thinned=False, users=False)


@dataclass(frozen=True, slots=True)
class Rated:
    """Error rates of the local days [from, to) in the view, and of the weeks up to its end."""

    from_us: int
    to_us: int
    rates: list[Estimate]
    weeks: list[Estimate]


@dataclass(frozen=True, slots=True)
class Agreed:
    """How far so many ``people`` agreed who labelled, over all segments."""

    people: int
    alpha: Agreement


@dataclass(frozen=True, slots=True)
class Checked:
    """Sums of the view in full hours and of the range before, and the view in steps."""

    now: Summary
    before: Summary
    line: Timeline


@dataclass(frozen=True, slots=True)
class Advised:
    """What follows from one segment's labels. ``why_not`` where nothing does; ``unsaid`` where no event says how
    confident the model was, and ``few`` why there is no picture of reliability."""

    labels: int
    undecided: int
    reliability: Reliability | None
    few: str
    advice: Advice | None
    curve: tuple[Point, ...]
    repairs: Repairs | None
    unsaid: bool
    why_not: str


def rated(context: Context, view: View) -> Rated | None:
    """Error rates; None before anything is evaluated."""
    zone = context.config().timezone
    with context.store.read() as connection:
        done = evaluated_until(connection)
    if done is None:
        return None
    span = day_start(view.begin_us, zone), min(view.end_us, done + 1)
    first = day_start(max(0, min(span[0], span[1] - 7 * WEEKS * DAY_US)), zone)
    with context.store.read() as connection:
        # Sums over samples change when an hour's are drawn from; labels, when somebody gives one.
        of = (span, done // HOUR_US, tuple(review.labelled_segments(connection, first, span[1], view.one)))
    return context.remembered.value(
        ("rates", *view.kept_as), of, lambda: _rated(context.store, view, span, first, zone)
    )


def _rated(store: Store, view: View, span: tuple[int, int], first: int, zone: str) -> Rated:
    rates = estimates(store, *span, zone, segment=view.one)
    by_week = [
        one
        for begin, end in weeks(_aligned(first, span[1], zone), span[1], zone)
        for one in estimates(store, begin, end, zone, segment=view.one, together=view.one is None)
    ]
    return Rated(*span, rates, by_week)


def agreed(context: Context, found: Rated) -> Agreed:
    """Whether reviewers agree on items of the days of some rates; of all segments together, so made once for all."""
    span = (found.from_us, found.to_us)
    with context.store.read() as connection:
        of = (span, tuple(review.labelled_segments(connection, *span)))

    def read() -> Agreed:
        people = reviewers.read(context.store, *span, context.config().timezone)
        return Agreed(len(people.reviewers), people.alpha)

    return context.remembered.value(("agreed", found.to_us - found.from_us), of, read)


def _aligned(first: int, until: int, zone: str) -> int:
    """The first day from which whole weeks reach up to the end, so that the last one is no rest of a week."""
    days, at = 0, first
    while at < until:
        at = next_day(at, zone)
        days += 1
    for _ in range(days % 7):
        first = next_day(first, zone)
    return first


def checked(context: Context, view: View) -> Checked:
    """Sums of the checks."""
    with context.store.read() as connection:
        hours = in_hours(connection, view)
        of = (hours.begin_us, hours.end_us, changes(connection, hours))
    return context.remembered.value(("checks", *view.kept_as), of, lambda: _checked(context.store, hours))


def _checked(store: Store, view: View) -> Checked:
    before = view.before()
    with store.read() as connection:
        line = timeline.read(connection, view, _READ)
        found, _ = reads.merged_by(
            connection, before.begin_us, before.end_us, lambda row: "", segment=view.one, selection=_READ
        )
    return Checked(line.whole(), found[""].summary if found else Summary(), line.coarse())


def advised(context: Context, view: View, found: Rated, target: float, costs: Costs | None) -> Advised | None:
    """What follows from the labels of the view's segment; None for all segments together."""
    if view.one is None:
        return None
    labels = tuple((one.labels, one.waiting, one.events) for one in found.rates)
    span = (found.from_us, found.to_us)
    of = (span, labels)
    material = partial(_advised, context.store, view.one, span, context.config().timezone, target, costs)
    return context.remembered.value(("advice", *view.kept_as, target, costs), of, material)


def _advised(
    store: Store, segment: str, span: tuple[int, int], zone: str, target: float, costs: Costs | None
) -> Advised:
    try:
        material = advice.read(store, segment, *span, zone)
    except NoAdvice as error:
        return Advised(0, 0, None, "", None, (), None, False, str(error))
    repairs = advice.inputs(material)
    labels, traffic = material.labels, material.traffic
    if labels is None or traffic is None:
        return Advised(len(material.rows), material.undecided, None, "", None, (), repairs, True, "")
    picture, few = None, ""
    try:
        picture = reliability(labels)
    except ValueError as error:
        few = str(error)
    found = advise(labels, traffic, target, rng=np.random.default_rng(SEED), costs=costs)
    points = curve(labels, traffic, rng=np.random.default_rng(SEED), costs=costs)
    return Advised(labels.size, material.undecided, picture, few, found, points, repairs, False, "")
