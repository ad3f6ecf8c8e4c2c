"""The report of a period, read from the store. Nothing is judged here that was not judged before, but for the list of
changes, which is made anew at its own false discovery rate (`monitor.evaluate.changes`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, func, select

from detectors.summaries import Selection, Summary
from detectors.summaries.signals import measure, signal
from monitor import estimates
from monitor.config.model import Config
from monitor.evaluate.changes import changes
from monitor.evaluate.streams import Ownership
from monitor.report import daily, telling
from monitor.report.ahead import next_weeks_figures
from monitor.report.alarms import alarms_between, promises_between
from monitor.report.model import (
    FORMAT,
    Bill,
    Change,
    CostTail,
    Deploy,
    Figure,
    Quality,
    Report,
    Reviewed,
    Segment,
)
from monitor.report.quality import CHECKS, History, checked
from monitor.report.tail import cost_tail
from monitor.serve import reference_levels
from monitor.spending import SegmentSpending, Spending, spending_between
from monitor.store import deploys, evaluation, reads
from monitor.store.engine import Store
from monitor.store.tables import samples, summaries
from monitor.times import DAY_US, HOUR_US, iso

SHOWN = (
    "latency_total_p50", "latency_total_p95", "latency_total_p99", "cost_p95", "error_rate", "timeout_rate",
    "refusal_rate", "abstention_rate", "schema_violation_rate", "citation_ungrounded_rate", "disagreement_rate",
    "verification_failure_rate",
)  # fmt: skip
LARGEST = 10  # segments told in full beside those that changed
_READ = Selection(frozenset({"events", *(signal(name).metric for name in SHOWN)}), thinned=False, users=False)


def read_report(
    store: Store,
    config: Config,
    from_us: int,
    to_us: int,
    level: float = 0.1,
    told: Callable[[float], None] = telling.silent,
) -> Report:
    """The report of [from, to), full hours of event time, against as long a stretch before it.

    ``level`` is the false discovery rate of the list of changes; ``told`` is called now and then with the share of its
    work that is done. Raises PeriodError where nothing of the period is evaluated.
    """
    done = evaluation.standing(store).done_until_us
    end = to_us if done is None else min(to_us, done)
    found = changes(store, config, from_us, end, level, told)
    spending = spending_between(store, config, from_us, to_us)
    rated = {one.segment: one for one in estimates.estimates(store, from_us, to_us, config.timezone)}
    with store.read() as connection:
        now, gaps = _summaries(connection, from_us, to_us)
        begun = connection.execute(select(func.min(summaries.c.window_us))).scalar()
        # A stretch that began before the first event is no whole one to compare with.
        whole = begun is not None and begun < 2 * from_us - to_us + HOUR_US
        before, lost = _summaries(connection, 2 * from_us - to_us, from_us) if whole else ({}, ())
        alarms = alarms_between(connection, from_us, to_us, config.alerts.app_url)
        promises = promises_between(connection, config, from_us, to_us, begun)
        seen = _coverage(connection, from_us, to_us)
        announced = deploys.list_deploys(connection, from_us=from_us, to_us=to_us)
        by_day = daily.days(connection, from_us, end, config.timezone)
        by_day_before = daily.days_before(connection, from_us, len(by_day), config.timezone) if whole and by_day else []
        ahead = []
        if done is not None and done >= to_us:
            currency = config.prices.currency
            ahead = next_weeks_figures(connection, from_us, to_us, config.timezone, currency, begun)
    if not whole:
        alone = [msgspec.structs.replace(one, change=None) for one in spending.segments]
        spending = msgspec.structs.replace(spending, segments=alone)
    paid = {one.segment: one for one in spending.segments}
    touched = {one.segment for one in found.changes} | {alarm.segment for alarm in alarms}
    by_traffic = sorted(now.items(), key=lambda entry: (-_events(entry[1]), entry[0]))
    full = {name for place, (name, _) in enumerate(by_traffic) if name in touched or place < LARGEST}
    history = History(store, from_us, to_us, config.timezone, rated, full, whole=whole)
    before_us = daily.shifted(from_us, -round((to_us - from_us) / DAY_US), config.timezone)
    in_full = _InFull(store, config, (before_us, from_us, end), history)
    ownership = Ownership(config)
    rows: list[Segment] = []
    for name, mine in by_traffic:
        earlier = before.get(name)
        summed = Summary.merge_all(mine.versions.values())
        was = None if earlier is None else Summary.merge_all(earlier.versions.values())
        known = set() if earlier is None else set(earlier.versions)
        versions = _named(mine.versions)
        figures = [_figure(one, summed, was) for one in SHOWN]
        tail, quality = None, None
        if name in full:
            figures, tail, quality = in_full.of(name, summed, was, figures)
        rows.append(
            Segment(
                segment=name,
                route=mine.route,
                stakes=ownership.stakes(name, mine.route),
                requests=summed.events(),
                requests_before=None if lost or was is None else was.events(),
                coverage=seen.get(name),
                bill=_bill(paid.get(name)),
                figures=figures,
                reviewed=_reviewed(rated.get(name)),
                versions=versions,
                new_versions=[version for version in versions if known and version not in known],
                full=name in full,
                tail=tail,
                quality=quality,
            )
        )
    _, tail, quality = in_full.of(None, _all(now), _all(before) if before else None, [])
    listed = [
        Change(one.segment, one.signal, one.severity, one.sentence, one.since, one.until, one.anomaly)
        for one in found.changes
    ]
    bill = _whole_bill(spending)
    requests_before = None if lost or not before else sum(_events(one) for one in before.values())
    return Report(
        format=FORMAT,
        since=iso(from_us),
        until=iso(to_us),
        before=iso(2 * from_us - to_us),
        timezone=config.timezone,
        currency=config.prices.currency,
        evaluated_until=None if done is None else iso(done),
        complete=done is not None and done >= to_us,
        changed=telling.changed(listed, alarms, found.streams, config.timezone),
        cost=telling.cost(spending),
        decide=telling.decide(alarms, promises, found, rated, approved=not config.reference.auto_activate),
        false_discovery_rate=level,
        judged=found.streams,
        requests=sum(_events(one) for one in now.values()),
        requests_before=requests_before,
        bill=bill,
        changes=listed,
        alarms=alarms,
        promises=promises,
        segments=rows,
        reviewed=_reviewed(estimates.of_all(rated)),
        deploys=[_deploy(one) for one in announced],
        ahead=ahead,
        days=by_day,
        days_before=by_day_before,
        tail=tail,
        quality=quality,
        not_measured=telling.not_measured(found, gaps, rows, done, to_us, whole=whole),
    )


class _Segment:
    """A segment's summaries by version."""

    def __init__(self, route: str) -> None:
        self.route = route
        self.versions: dict[str, Summary] = {}


class _InFull:
    """Reads what is told in full: figures, the tail of costs and quality, beside the reference of the segment."""

    def __init__(self, store: Store, config: Config, edges: tuple[int, int, int], history: History) -> None:
        """``edges``: begin of the period before, of the period, and its end as far as it is evaluated."""
        self._store, self._config, self._history = store, config, history
        self._edges = edges

    def of(
        self, name: str | None, now: Summary, before: Summary | None, figures: Sequence[Figure]
    ) -> tuple[list[Figure], CostTail, Quality]:
        """Of a segment; of all together under None."""
        before_us, from_us, to_us = self._edges
        with self._store.read() as connection:
            levels = reference_levels.read(connection, name)
            if levels is not None and levels.from_us >= from_us:
                levels = None  # learned from the period itself: held against it, it says nothing
            checks = []
            if not self._history.tells(name) or any(one.signal in CHECKS and telling.striking(one) for one in figures):
                begin = from_us if before is None else before_us
                checks = checked(connection, begin, to_us, self._config.timezone, name, levels)
        earlier = None if before is None else before.histogram("cost")
        tail = cost_tail(now.histogram("cost"), earlier, levels, self._config.prices.currency)
        held = [
            one if levels is None else msgspec.structs.replace(one, reference=levels.of(one.signal)) for one in figures
        ]
        return held, tail, self._history.of(name, levels, checks)


Gaps = tuple[tuple[int, int], ...]


def _summaries(connection: Connection, from_us: int, to_us: int) -> tuple[dict[str, _Segment], Gaps]:
    merged, gaps = reads.merged_by(
        connection, from_us, to_us, lambda row: (row.segment, row.route, row.version), selection=_READ
    )
    found: dict[str, _Segment] = {}
    for (name, route, version), one in merged.items():
        mine = found.setdefault(name, _Segment(route))
        known = mine.versions.get(version)
        mine.versions[version] = one.summary if known is None else Summary.merge_all((known, one.summary))
    return found, gaps


def _all(segments: Mapping[str, _Segment]) -> Summary:
    return Summary.merge_all(one for mine in segments.values() for one in mine.versions.values())


def _events(mine: _Segment) -> int:
    return sum(summary.events() for summary in mine.versions.values())


def _named(versions: dict[str, Summary]) -> list[str]:
    return sorted((v for v in versions if v), key=lambda version: (-versions[version].events(), version))


def _figure(name: str, now: Summary, before: Summary | None) -> Figure:
    found = measure(now, name)
    was = None if before is None else measure(before, name).value
    return Figure(name, signal(name).unit, found.value, found.low, found.high, was, found.status)


def _bill(one: SegmentSpending | None) -> Bill:
    if one is None:
        return Bill(0.0, None, None, {}, None, None, None, None)
    change, month = one.change, one.month
    return Bill(
        spent=one.bill,
        before=None if change is None else change.before,
        change=None if change is None else change.change,
        parts={} if change is None else telling.parts(change),
        top1_share=one.tail.top1_share,
        month_projected=None if month is None else month.projected,
        month_low=None if month is None else month.low,
        month_high=None if month is None else month.high,
    )


def _whole_bill(spending: Spending) -> Bill:
    """All segments together: changes add up where each is known."""
    known = [one.change for one in spending.segments if one.change is not None]
    whole = bool(known) and len(known) == len(spending.segments)
    month = spending.month
    added: Counter[str] = Counter()
    for one in known:
        added.update(telling.parts(one))
    return Bill(
        spent=spending.bill,
        before=sum(one.before for one in known) if whole else None,
        change=sum(one.change for one in known) if whole else None,
        parts=dict(added) if whole else {},
        top1_share=None,
        month_projected=None if month is None else month.projected,
        month_low=None if month is None else month.low,
        month_high=None if month is None else month.high,
    )


def _reviewed(one: estimates.Estimate | None) -> Reviewed | None:
    if one is None:
        return None
    # A period is reported once, so that the interval of one look holds.
    return Reviewed(one.rate, one.once.low, one.once.high, one.labels, one.waiting)


def _coverage(connection: Connection, from_us: int, to_us: int) -> dict[str, float]:
    query = (
        select(samples.c.segment, samples.c.state, func.count())
        .where(samples.c.window_us >= from_us, samples.c.window_us < to_us)
        .where(samples.c.state != "pending", samples.c.pi > 0)
        .group_by(samples.c.segment, samples.c.state)
    )
    counts: dict[str, Counter[str]] = {}
    for name, state, count in connection.execute(query):
        counts.setdefault(name, Counter())[state] += count
    return {name: found["embedded"] / found.total() for name, found in counts.items()}


def _deploy(one: deploys.Deploy) -> Deploy:
    where = ", ".join(part for part in (one.route, one.segment) if part) or "all routes"
    return Deploy(iso(one.time_us), one.version, where, one.who, one.note)


def ordered(rows: Sequence[Segment]) -> tuple[list[Segment], list[Segment]]:
    """Segments that are told in full, and the others, each in the order of their traffic."""
    return [row for row in rows if row.full], [row for row in rows if not row.full]
