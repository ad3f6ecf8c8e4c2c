"""What segments cost, why that changed, how heavy its tail is, and what a cap or a cheaper tier would have saved.

Read from stored summaries alone, for `driftline cost`, the page of costs and the report. Savings are of the requests
that were counted, had those been the same: a cut answer may be asked again, and an answer of a cheaper tier be worse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from detectors.cost import Parts, Projection, Saving, cap, fit_tail_index, reroute, reroute_by_size, together
from detectors.evidence import Verdict
from detectors.summaries import Selection, Summary
from detectors.summaries.signals import measure
from monitor.config.model import Config
from monitor.config.units import parse_size
from monitor.evaluate.accounts import NANO, PAID, decomposed
from monitor.events.prices import PriceBook
from monitor.serve.projection import TOGETHER, MonthProjector, months_at_midnight
from monitor.store import coverage, reads
from monitor.store.days import day_start
from monitor.store.engine import Store
from monitor.store.reads import Source
from monitor.times import DAY_US, HOUR_US, iso

CAPPED = ("cost", "input_tokens", "output_tokens", "image_tokens")
REROUTED = ("cost", "input_bytes")
DEFAULT_QUANTILE = 0.95  # caps that are shown where none is asked for
MOST_SEGMENTS = 10  # that are told one by one where a measure would have saved most
_NONE_OF = "no event of segment {segment!r} in the last {days} days; `driftline status` counts them"
_READ = Selection(frozenset({*PAID, "image_tokens", "cost_by_input_size"}), thinned=False, users=False)


Gaps = tuple[tuple[int, int], ...]
Versions = dict[str, Summary]


class SpendingError(ValueError):
    """What was asked for cannot be read; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A cap at ``limit`` units of ``quantity``, or requests below it at ``ratio`` of their price. ``limit`` None: the
    p95 of what it is applied to."""

    kind: Literal["cap", "cheaper"]
    quantity: str
    limit: float | None
    ratio: float = 1.0


DEFAULT = (Measure("cap", "input_tokens", None), Measure("cap", "output_tokens", None))


class Saved(msgspec.Struct, frozen=True):
    """What a measure would have saved, in the currency, with the bounds that buckets leave (no confidence limits).
    ``why_not`` where it cannot be said; ``leaves_out``: what of the bill or the requests it says nothing about."""

    measure: str
    saved: float | None
    low: float | None
    high: float | None
    share_of_bill: float | None
    share_of_requests: float | None
    why_not: str = ""
    leaves_out: list[str] = []


class SegmentSaved(msgspec.Struct, frozen=True):
    """What one measure would have saved on one segment's bill (both in the currency)."""

    segment: str
    bill: float
    saved: Saved


class Outlook(msgspec.Struct, frozen=True):
    """One measure over everything that was asked for, and the segments where it would have saved most."""

    whole: Saved
    segments: list[SegmentSaved]


class WhatIf(msgspec.Struct, frozen=True):
    """What measures would have saved in a stretch. ``segment`` None: over all. ``gaps``: stretches not kept."""

    since: str
    until: str
    currency: str
    segment: str | None
    requests: int
    bill: float
    measures: list[Outlook]
    gaps: list[tuple[str, str]]


class Change(msgspec.Struct, frozen=True):
    """Of the bill against as long a period before, in the currency; the five parts add up to ``change``."""

    before: float
    change: float
    traffic: float
    mix: float
    units: float
    tail: float
    price: float


class Tail(msgspec.Struct, frozen=True):
    """Part of the bill in the dearest 1 % of requests, and the tail index beyond the p95; at 2 or less the mean of such
    requests is no stable figure."""

    top1_share: float | None
    index: float | None
    low: float | None
    high: float | None


class Month(msgspec.Struct, frozen=True):
    """The calendar month's bill, in the currency: spent, and expected at its end with a 95 % interval."""

    spent: float
    projected: float
    low: float
    high: float


class SegmentSpending(msgspec.Struct, frozen=True):
    segment: str
    requests: int
    bill: float
    share: float
    change: Change | None
    tail: Tail
    month: Month | None


class Spending(msgspec.Struct, frozen=True):
    """Segments by what they cost, the dearest first. ``gaps``: stretches that are no longer kept. ``month``: of all
    together, at a midnight alone."""

    since: str
    until: str
    currency: str
    bill: float
    segments: list[SegmentSpending]
    gaps: list[tuple[str, str]]
    month: Month | None = None


def parse_measure(kind: Literal["cap", "cheaper"], text: str) -> Measure:
    """``output_tokens=2000``; for a cheaper tier ``input_bytes=100KB@0.3`` (requests below it, at 0.3 of the price).

    Costs are in the currency, bytes may be written as sizes. Raises SpendingError.
    """
    known = CAPPED if kind == "cap" else REROUTED
    example = "output_tokens=2000" if kind == "cap" else "input_bytes=100KB@0.3"
    match = re.fullmatch(r"(\w+)=([^@]+)(?:@(.+))?", text.strip())
    if match is None or match[1] not in known or (match[3] is None) != (kind == "cap"):
        raise SpendingError(f"expected one of {', '.join(known)}, as {example}; got {text!r}")
    try:
        limit = float(parse_size(match[2])) if match[1] == "input_bytes" and not _number(match[2]) else float(match[2])
        ratio = 1.0 if match[3] is None else float(match[3])
    except ValueError as error:
        raise SpendingError(f"{error} in {text!r}; write {example}") from None
    if not 0 <= limit < 1e18 or not 0 <= ratio < 1e6:
        raise SpendingError(f"the limit and the price must be finite and not negative, got {text!r}; write {example}")
    return Measure(kind, match[1], limit * NANO if match[1] == "cost" else limit, ratio)


def _number(text: str) -> bool:
    return re.fullmatch(r"[0-9.eE+-]+", text.strip()) is not None


def read_spending(store: Store, config: Config, days: int, segment: str | None = None) -> Spending:
    """The last ``days`` days of closed time, up to its last full hour. Raises SpendingError where there is none."""
    since, until = _last_days(store, days)
    found = spending_between(store, config, since, until, segment)
    if segment is not None and not found.segments:
        raise SpendingError(_NONE_OF.format(segment=segment, days=days))
    return found


def _last_days(store: Store, days: int) -> tuple[int, int]:
    with store.read() as connection:
        closed = coverage.closed_until(connection)
    if closed is None:
        raise SpendingError("nothing is closed yet: no event has been read, or the first minutes are still open")
    until = closed // HOUR_US * HOUR_US
    return until - days * DAY_US, until


@dataclass(frozen=True, slots=True)
class Ledger:
    """Summaries of [since, until) (event time, µs) by segment and version, and of as long a stretch ``earlier``.

    ``gaps``: stretches of the first that are no longer kept; ``lost``: whether some of the second are not.
    """

    since: int
    until: int
    now: Mapping[str, Versions]
    earlier: Mapping[str, Versions]
    gaps: Gaps
    lost: bool

    def bill(self, segment: str, *, earlier: bool = False) -> int:
        """What a segment cost, nano-units."""
        versions = (self.earlier if earlier else self.now).get(segment, {})
        return sum(s.total("cost").sum for s in versions.values())

    def pooled(self, *, earlier: bool = False) -> dict[str, Summary]:
        """By version alone, over all segments."""
        found: dict[str, list[Summary]] = {}
        for versions in (self.earlier if earlier else self.now).values():
            for version, summary in versions.items():
                found.setdefault(version, []).append(summary)
        return {version: Summary.merge_all(found[version]) for version in sorted(found)}


def ledger(source: Source, since: int, until: int, segment: str | None = None, *, users: bool = False) -> Ledger:
    """Read what was paid in [since, until). ``users``: with the users who spend most of it."""
    selection = Selection(_READ.metrics, thinned=False, users=users)
    now, gaps = _by_segment(source, since, until, segment, selection)
    earlier, lost = _by_segment(source, 2 * since - until, since, segment, _READ)
    return Ledger(since, until, now, earlier, gaps, bool(lost))


def spending_between(store: Store, config: Config, since: int, until: int, segment: str | None = None) -> Spending:
    """What was spent in [since, until) (event time, µs), against as long a stretch before it; the month is that of
    ``until``."""
    read, months = ledger(store, since, until, segment), _months(store, config, until)
    bills = {name: float(read.bill(name)) for name in read.now}
    whole = sum(bills.values())
    found = [
        SegmentSpending(
            segment=name,
            requests=sum(s.total("cost").count for s in versions.values()),
            bill=bills[name] / NANO,
            share=bills[name] / whole if whole else 0.0,
            change=None if read.lost or name not in read.earlier else change_of(read.earlier[name], versions),
            tail=tail_of(Summary.merge_all(versions.values())),
            month=months.get(name),
        )
        for name, versions in read.now.items()
    ]
    found.sort(key=lambda one: (-one.bill, one.segment))
    gaps = _told_gaps(read.gaps)
    currency = config.prices.currency
    return Spending(iso(since), iso(until), currency, whole / NANO, found, gaps, months.get(TOGETHER[1]))


def read_what_if(
    store: Store, config: Config, days: int, segment: str | None = None, measures: Sequence[Measure] = DEFAULT
) -> WhatIf:
    """What measures would have saved in the last ``days`` days of closed time. Raises SpendingError where there is
    none, or nothing of the segment."""
    since, until = _last_days(store, days)
    found = ledger(store, since, until, segment)
    if segment is not None and not found.now:
        raise SpendingError(_NONE_OF.format(segment=segment, days=days))
    return what_if(found, config, segment, measures)


def what_if(found: Ledger, config: Config, segment: str | None, measures: Sequence[Measure]) -> WhatIf:
    """What measures would have saved of what a ledger holds."""
    pooled, book = found.pooled(), PriceBook(config.prices, config.timezone)
    currency = config.prices.currency
    outlooks = []
    for one in measures:
        whole = saved_by(one, pooled, book, found.until, currency)
        each = [
            SegmentSaved(name, found.bill(name) / NANO, saved_by(one, versions, book, found.until, currency))
            for name, versions in found.now.items()
        ]
        each = [row for row in each if row.saved.saved]
        each.sort(key=lambda row: (-(row.saved.saved or 0.0), row.segment))
        outlooks.append(Outlook(whole, each[:MOST_SEGMENTS]))
    return WhatIf(
        iso(found.since),
        iso(found.until),
        currency,
        segment,
        sum(s.total("cost").count for s in pooled.values()),
        sum(s.total("cost").sum for s in pooled.values()) / NANO,
        outlooks,
        _told_gaps(found.gaps),
    )


def _told_gaps(gaps: Gaps) -> list[tuple[str, str]]:
    return [(iso(low), iso(high)) for low, high in gaps]


def _by_segment(
    source: Source, from_us: int, to_us: int, segment: str | None, selection: Selection
) -> tuple[dict[str, Versions], Gaps]:
    """Summaries by segment and version."""
    merged, gaps = reads.merged_by(
        source, from_us, to_us, lambda row: (row.segment, row.version), segment=segment, selection=selection
    )
    found: dict[str, Versions] = {}
    for (name, version), one in merged.items():
        found.setdefault(name, {})[version] = one.summary
    return found, gaps


def _months(store: Store, config: Config, until_us: int) -> dict[str, Month]:
    """Projections per segment; those of several routes are left out."""
    with store.read() as connection:
        if day_start(until_us, config.timezone) == until_us:
            found = months_at_midnight(connection, until_us, config.timezone)
        else:
            found = dict(MonthProjector(config.timezone, rows_a_look=10**9).look(connection, until_us))
    names = [name for _, name in found]
    return {name: _month(one) for (_, name), one in found.items() if names.count(name) == 1}


def _month(one: Projection) -> Month:
    return Month(one.spent / NANO, one.projected / NANO, one.low / NANO, one.high / NANO)


def change_of(before: Mapping[str, Summary], now: Mapping[str, Summary]) -> Change | None:
    """Why the bill of what is told apart by name changed; None where not all of it is paid for tokens."""
    found = decomposed(before, now)
    if found is None:
        return None
    total: Parts = found.total
    was = float(sum(s.total("cost").sum for s in before.values()))
    parts = (total.change, total.traffic, total.mix, total.units, total.tail, total.price)
    return Change(was / NANO, *(part / NANO for part in parts))


def tail_of(summary: Summary) -> Tail:
    """How heavy the tail of costs is."""
    index = fit_tail_index(summary.histogram("cost"))
    known = index.verdict is Verdict.OK
    return Tail(
        measure(summary, "cost_top1_share").value,
        index.index if known else None,
        index.low if known else None,
        index.high if known else None,
    )


def saved_by(measure: Measure, versions: Mapping[str, Summary], book: PriceBook, at_us: int, currency: str) -> Saved:
    """What a measure would have saved over versions, each at its model's price of ``at_us``."""
    whole = Summary.merge_all(versions.values())
    limit = measure.limit
    if limit is None:
        limit = whole.histogram(measure.quantity).quantile(DEFAULT_QUANTILE)
        if limit is None:
            return _not_said(measure, "", f"no request states {measure.quantity}")
    said = _said(measure, limit, currency)
    if measure.quantity == "cost":
        cost = whole.histogram("cost")
        return _told(said, cap(cost, limit) if measure.kind == "cap" else reroute(cost, limit, measure.ratio), whole)
    if measure.quantity == "input_bytes":
        return _told(said, reroute_by_size(whole.cost_by_input_size(), limit, measure.ratio), whole)
    # Each version has its model's price.
    found, unpriced = [], set()
    for version, summary in versions.items():
        model = version.partition("@")[0]
        price = book.per_token(model, at_us)
        if price is None:
            unpriced.add(model)
            continue
        per_unit = price[2] if measure.quantity == "output_tokens" else price[0]
        bill = float(summary.total("cost").sum)
        found.append(cap(summary.histogram(measure.quantity), limit, per_unit, bill))
    without = [f"no price of model {model!r}; add it to prices.models" for model in sorted(unpriced)]
    return _told(said, together(found), whole, without) if found else _not_said(measure, said, without[0])


def _said(measure: Measure, limit: float, currency: str) -> str:
    shown = f"{limit / NANO:.4g} {currency}" if measure.quantity == "cost" else f"{limit:,.0f}"
    own = " (the p95)" if measure.limit is None else ""
    what = "" if measure.quantity == "cost" else " " + measure.quantity.replace("_", " ")
    if measure.kind == "cap":
        return f"no request above {shown}{what}{own}"
    return f"requests below {shown}{what}{own} at {measure.ratio:g} of the price"


def _told(said: str, saving: Saving, whole: Summary, without: Sequence[str] = ()) -> Saved:
    of_bill, of_requests = saving.share_of_bill, saving.share_of_requests
    paid = whole.total("cost")
    left = list(without)
    if not left and saving.requests < paid.count:
        left.append(f"{paid.count - saving.requests:,} of {paid.count:,} requests do not state it")
    return Saved(
        said,
        saving.saved.value / NANO,
        saving.saved.low / NANO,
        saving.saved.high / NANO,
        None if of_bill is None else of_bill.value,
        None if of_requests is None else of_requests.value,
        leaves_out=left,
    )


def _not_said(measure: Measure, said: str, why: str) -> Saved:
    return Saved(said or f"{measure.kind} of {measure.quantity}", None, None, None, None, None, why)
