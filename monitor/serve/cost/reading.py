"""What the page of costs shows, read from summaries: kept for as long as what it is made of stays the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from detectors.cost import Parts, Projection
from detectors.summaries import Selection, Summary
from detectors.summaries.heavy_hitters import HeavyHitter
from detectors.summaries.histogram import Histogram
from monitor.config.model import Config
from monitor.evaluate.accounts import decomposed
from monitor.serve.beside import Beside
from monitor.serve.context import Context
from monitor.serve.hours import changes, in_hours
from monitor.serve.hours import step as step_of
from monitor.serve.projection import HISTORY_US, KEPT_US, MonthProjector, month_of, projected
from monitor.serve.shell import View
from monitor.spending import Ledger, Measure, WhatIf, ledger, what_if
from monitor.store import coverage, listing, reads, references
from monitor.store.engine import Store
from monitor.times import DAY_US, HOUR_US

MOST_SEGMENTS = 20  # that are told one by one
TOP_USERS = 10
MOST_MONTHS = 200  # of segments that are kept
SIZE = 1_000_000  # bytes, about, of the months of 500 segments
_COST = Selection(frozenset({"cost"}), thinned=False, users=False)
_NOTHING = Summary().histogram("cost")


@dataclass(frozen=True, slots=True)
class Driver:
    """A segment's or a model's bill, nano-units, and why it changed, where that is known."""

    name: str
    bill: int
    before: int
    requests: int
    parts: Parts | None = None


@dataclass(frozen=True, slots=True)
class Costs:
    """Of a view in full hours. Money in nano-units; histograms of the cost of a request.

    ``parts``: why the bill changed, None with ``why_not`` where that cannot be told. ``spend`` and ``earlier`` are
    (start of the step, spend), ``earlier`` of the range before moved by its length. ``kept``: the ledger of the dearest
    segments and the sum of the others. ``reference``: what the segment's reference was learned from, [from, to).
    """

    view: View
    kept: Ledger
    cost: Histogram
    cost_before: Histogram
    cost_reference: Histogram
    reference: tuple[int, int] | None
    requests: int
    bill: int
    before: int
    parts: Parts | None
    why_not: str
    segments: list[Driver]
    more_segments: int
    models: list[Driver]
    users: list[HeavyHitter]
    step_us: int
    spend: list[tuple[int, int]]
    earlier: list[tuple[int, int]]
    what_if: WhatIf


@dataclass(frozen=True, slots=True)
class Month:
    """The calendar month [begin, end): what was spent by the end of each day of it (µs, nano-units), and the
    projection at ``at_us``; None where there is too little to project from."""

    begin_us: int
    end_us: int
    at_us: int
    days: list[tuple[int, int]]
    projection: Projection | None


def costs(context: Context, view: View, measures: tuple[Measure, ...]) -> Costs:
    """What the page shows of a view."""
    config = context.config()
    with context.store.read() as connection:
        hours = in_hours(connection, view)
        changed = changes(connection, hours)
    of = (hours.begin_us, hours.end_us, changed, id(config))
    key = ("cost", *view.kept_as, measures)
    return context.remembered.value(key, of, lambda: _read(context.store, config, hours, measures))


def _read(store: Store, config: Config, view: View, measures: tuple[Measure, ...]) -> Costs:
    with store.read() as connection:
        whole = ledger(connection, view.begin_us, view.end_us, view.one, users=True)
        step = step_of(view, len(whole.now))
        length = view.end_us - view.begin_us
        line = _line(connection, replace(view, begin_us=view.begin_us - length), step)
        spend = [(at, amount) for at, amount in line if at >= view.begin_us]
        earlier = [(at + length, amount) for at, amount in line if at < view.begin_us]
    now, before = whole.pooled(), whole.pooled(earlier=True)
    every, every_before = Summary.merge_all(now.values()), Summary.merge_all(before.values())
    parts, by_name, why_not = _parts(whole)
    drivers = [
        Driver(
            name,
            whole.bill(name),
            whole.bill(name, earlier=True),
            _requests(whole.now.get(name, {})),
            by_name.get(name),
        )
        for name in sorted({*whole.now, *whole.earlier})
    ]
    drivers.sort(key=lambda one: (-one.bill, one.name))
    kept = _trimmed(whole, {one.name for one in drivers[:MOST_SEGMENTS]})
    reference, histogram = _reference(store, view)
    return Costs(
        view=view,
        kept=kept,
        cost=every.histogram("cost"),
        cost_before=every_before.histogram("cost"),
        cost_reference=histogram,
        reference=reference,
        requests=every.total("cost").count,
        bill=every.total("cost").sum,
        before=every_before.total("cost").sum,
        parts=parts,
        why_not=why_not,
        segments=drivers[:MOST_SEGMENTS],
        more_segments=max(0, len(drivers) - MOST_SEGMENTS),
        models=_models(now, before),
        users=every.heavy_hitters("spend", top=TOP_USERS),
        step_us=step,
        spend=spend,
        earlier=earlier,
        what_if=what_if(kept, config, view.one, measures),
    )


def _line(connection: Connection, view: View, step: int) -> list[tuple[int, int]]:
    found = reads.by_window(
        connection,
        view.begin_us,
        view.end_us,
        step_us=None if step == DAY_US else HOUR_US,
        segment=view.one,
        selection=_COST,
    )
    return [(at, one.summary.total("cost").sum) for at, one in found]


def _requests(versions: Mapping[str, Summary]) -> int:
    return sum(summary.total("cost").count for summary in versions.values())


def _parts(whole: Ledger) -> tuple[Parts | None, dict[str, Parts], str]:
    """(parts of the change of the whole bill, of each segment's, why there are none)."""
    if not whole.earlier:
        return None, {}, "there was nothing in the range before"
    if whole.lost:
        return None, {}, "some of the range before is no longer kept"
    periods = [
        {f"{segment}\x00{version}": summary for segment, of in period.items() for version, summary in of.items()}
        for period in (whole.earlier, whole.now)
    ]
    found = decomposed(*periods)
    if found is None:
        return None, {}, "not all of the bill is paid for tokens that events state"
    by_segment: dict[str, list[Parts]] = {}
    for name, parts in found.segments.items():
        by_segment.setdefault(name.partition("\x00")[0], []).append(parts)
    added = {
        name: Parts(*(sum(getattr(one, field) for one in of) for field in Parts.__dataclass_fields__))
        for name, of in by_segment.items()
    }
    return found.total, added, ""


def _models(now: Mapping[str, Summary], before: Mapping[str, Summary]) -> list[Driver]:
    bills: dict[str, list[int]] = {}
    for at, period in ((0, now), (1, before)):
        for version, summary in period.items():
            model = bills.setdefault(version.partition("@")[0], [0, 0, 0])
            model[at] += summary.total("cost").sum
            model[2] += 0 if at else summary.total("cost").count
    found = [Driver(name, bill, was, requests) for name, (bill, was, requests) in bills.items()]
    return sorted(found, key=lambda one: (-one.bill, one.name))[:MOST_SEGMENTS]


def _trimmed(whole: Ledger, names: set[str]) -> Ledger:
    """The named segments, and the sum of the others under no name; nothing of before."""
    rest = replace(whole, now={name: of for name, of in whole.now.items() if name not in names}).pooled()
    now = {name: whole.now[name] for name in names if name in whole.now}
    return replace(whole, now={**now, **({"": rest} if rest else {})}, earlier={})


def _reference(store: Store, view: View) -> tuple[tuple[int, int] | None, Histogram]:
    """What the segment's active reference was learned from, as far as it is kept."""
    if view.one is None:
        return None, _NOTHING
    found = references.list_references(store, view.one, state="active")
    if not found:
        return None, _NOTHING
    span = found[-1].from_us, found[-1].to_us
    sums, _ = reads.merged_by(store, *span, lambda row: "", segment=view.one, selection=_COST)
    return (span, sums[""].summary.histogram("cost")) if sums else (None, _NOTHING)


class Months:
    """The month's spend, read beside the requests, since that of many segments takes its time."""

    def __init__(self, store: Store, zone: str) -> None:
        self._store = store
        self._projector = MonthProjector(zone)
        self._zone = zone
        self._months: dict[str | None, Month] = {}
        self._beside = Beside(self._look, 60.0)

    def latest(self, segment: str | None, wait_s: float = 1.0) -> Month | None:
        """The month of a segment, None for all of them together; None while it is read."""
        found = self._beside.latest(wait_s)
        if found is None:
            return None
        end, spend = found
        if (known := self._months.get(segment)) is not None and known.at_us == end:
            return known
        if len(self._months) > MOST_MONTHS:
            self._months.clear()
        self._months[segment] = made = self._month(end, spend.get(segment, {}), min(spend[None], default=end))
        return made

    def _month(self, end: int, own: Mapping[int, int], first: int) -> Month:
        """``first``: the first hour that is known of any segment."""
        begin, following = month_of(end, self._zone)
        days: list[tuple[int, int]] = []
        total = 0
        for hour in range(max(begin, first), end, HOUR_US):
            total += own.get(hour, 0)
            if not days or hour + HOUR_US - days[-1][0] >= DAY_US or hour + HOUR_US >= end:
                days.append((hour + HOUR_US, total))
        history = max(first, end - HISTORY_US)
        return Month(begin, following, end, days, projected(own, history, end, self._zone))

    def _look(self) -> tuple[int, Mapping[str | None, Mapping[int, int]]] | None:
        """(until when, by segment, and under None of all, the spend of each hour)."""
        with self._store.read() as connection:
            closed = listing.closed_until(connection)
            first = coverage.first_window(connection)
        if closed is None or first is None:
            return None
        end = closed - closed % HOUR_US
        wanted = (end - max(first - first % HOUR_US, end - KEPT_US)) // HOUR_US
        while True:
            with self._store.read() as connection:
                self._projector.look(connection, closed)
            if len(self._projector.spend) >= wanted:
                return end, _by_segment(self._projector.spend)


def _by_segment(spend: Mapping[int, Mapping[tuple[str, str], int]]) -> Mapping[str | None, Mapping[int, int]]:
    found: dict[str | None, dict[int, int]] = {None: {}}
    for hour, places in spend.items():
        found[None][hour] = sum(places.values())
        for (_, segment), amount in places.items():
            of = found.setdefault(segment, {})
            of[hour] = of.get(hour, 0) + amount
    return found


def month(context: Context, segment: str | None) -> Month | None:
    """The month's spend and projection, kept for as long as nothing new was read."""
    zone = context.config().timezone
    make: Callable[[], Months] = lambda: Months(context.store, zone)  # noqa: E731
    months = context.remembered.value(("months",), (zone,), make, lambda _: SIZE)
    return months.latest(segment)
