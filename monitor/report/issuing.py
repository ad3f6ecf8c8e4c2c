"""Issuing a report: it is archived as it is, and issued again only as a revision that says what it changed.

What is archived has no pictures: they are of people's documents, which `retention` and `driftline forget` are to erase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection

from monitor.config.model import Config
from monitor.report import rendering, sending, telling
from monitor.report.model import Alarm, Compared, Report
from monitor.report.reading import read_report
from monitor.store import outbox, reports
from monitor.store.engine import Store
from monitor.store.reports import Issue
from monitor.times import iso

MOST_TOLD = 12  # sentences about what a revision changed
TOLD_OF_ALARMS = ("state", "marked", "accepted", "sentence")


class NotDue(Exception):
    """Whoever asked for it did not get its claim: nothing was written."""


def issue(
    store: Store,
    config: Config,
    from_us: int,
    to_us: int,
    who: str,
    now_us: int,
    level: float = 0.1,
    told: Callable[[float], None] = telling.silent,
    *,
    send: bool = False,
    claim: Callable[[Connection], bool] | None = None,
) -> tuple[Issue, bool]:
    """Issue the report of [from, to): the revision that stands, and whether it is new.

    What says the same as the last revision is not issued again. ``send``: put what stands into the outbox for the
    report's sinks, in the same transaction; what was sent before is not sent again. ``claim`` is asked first in that
    transaction. Raises PeriodError as `read_report` does, NotDue where the claim fails.
    """
    found = read_report(store, config, from_us, to_us, level, told)
    return archive(store, config, found, (from_us, to_us), who, now_us, send=send, claim=claim)


def archive(
    store: Store,
    config: Config,
    found: Report,
    period: tuple[int, int],
    who: str,
    now_us: int,
    *,
    send: bool = False,
    claim: Callable[[Connection], bool] | None = None,
) -> tuple[Issue, bool]:
    """Issue a report that was read, of ``period`` [from, to); otherwise as `issue`."""
    found, (from_us, to_us) = _without_pictures(found), period
    with store.read() as connection:
        last = reports.newest(connection, from_us, to_us)
        before = None if last is None else _decoded(reports.page(connection, last, "json"))
    same = last is not None and before is not None and _content(before) == _content(found)
    new = Issue(from_us, to_us, 1 if last is None else last.revision + 1, now_us, who)
    pages: dict[str, str] = {}
    if not same:
        report = msgspec.structs.replace(
            found,
            issued=iso(now_us),
            revision=new.revision,
            revised=[] if before is None else revised(before, found),
        )
        pages = {form: rendering.rendered(report, form) for form in reports.FORMS}
    with store.write() as connection:
        if claim is not None and not claim(connection):
            raise NotDue
        written = bool(pages) and reports.add(store, connection, new, pages)
        # Where it says the same, or somebody else issued this revision a moment ago, that one stands.
        stands = new if written else reports.newest(connection, from_us, to_us)
        assert stands is not None
        if send:
            kept = {form: reports.page(connection, stands, form) for form in reports.FORMS}
            outbox.enqueue_many(connection, sending.messages(config, stands, kept, now_us))
    return stands, written


def compared(store: Store, found: Report, period: tuple[int, int]) -> Report:
    """A report that was only read, held against the last issue of its ``period`` [from, to), if there is one."""
    with store.read() as connection:
        last = reports.newest(connection, *period)
        before = None if last is None else _decoded(reports.page(connection, last, "json"))
    if last is None:
        return found
    if before is None:
        told = ["Another version of driftline issued it."]
    else:
        bare = _without_pictures(found)
        told = [] if _content(before) == _content(bare) else revised(before, bare)
    return msgspec.structs.replace(found, compared=Compared(last.revision, iso(last.issued_us)), revised=told)


def _decoded(document: str) -> Report | None:
    try:
        return msgspec.json.decode(document, type=Report)
    except msgspec.ValidationError:  # another version issued it
        return None


def _without_pictures(report: Report) -> Report:
    alarms = [msgspec.structs.replace(alarm, pictures=[]) for alarm in report.alarms]
    return msgspec.structs.replace(report, alarms=alarms)


def _content(report: Report) -> Report:
    """What a report says, without when it was said and where its pages are."""
    until = None if report.complete else report.evaluated_until
    alarms = [msgspec.structs.replace(alarm, page=None) for alarm in report.alarms]
    return msgspec.structs.replace(report, alarms=alarms, issued=None, revision=0, revised=[], evaluated_until=until)


def revised(before: Report, after: Report) -> list[str]:
    """What a revision changed, a sentence each."""
    told: list[str] = []
    if before.requests != after.requests:
        told.append(f"Requests: {before.requests:,} before, {after.requests:,} now.")
    if before.bill.spent != after.bill.spent:
        was, now = (telling.money(report.bill.spent, report.currency) for report in (before, after))
        told.append(f"The bill: {was} before, {now} now.")
    told += _alarms({one.id: one for one in before.alarms}, {one.id: one for one in after.alarms})
    told += _streams("is no longer among the changes", before.changes, after.changes)
    told += _streams("is now among the changes", after.changes, before.changes)
    if before.reviewed != after.reviewed:
        was, now = (_rate(report) for report in (before, after))
        told.append(f"Wrong by review: {was} before, {now} now.")
    if before.complete != after.complete:
        told.append("All of the period is evaluated now." if after.complete else "The period is no longer whole.")
    if len(told) > MOST_TOLD:
        told = [*told[: MOST_TOLD - 1], f"And {len(told) - MOST_TOLD + 1} more."]
    return told or ["Figures of segments, within what is told above."]


def _alarms(before: dict[str, Alarm], after: dict[str, Alarm]) -> list[str]:
    told = [f"Alarm {one[:10]} of {after[one].segment} is new." for one in after if one not in before]
    told += [f"Alarm {one[:10]} of {before[one].segment} is gone." for one in before if one not in after]
    for one in after:
        if one in before:
            moved = [what for what in TOLD_OF_ALARMS if getattr(before[one], what) != getattr(after[one], what)]
            if moved:
                told.append(
                    f"Alarm {one[:10]} of {after[one].segment}: {', '.join(_said(after[one], w) for w in moved)}."
                )
    return told


def _said(alarm: Alarm, what: str) -> str:
    match what:
        case "state":
            return f"{alarm.state} now"
        case "marked":
            return f"marked {alarm.marked}" if alarm.marked else "no longer marked"
        case "accepted":
            return "accepted as the new normal"
        case _:
            return "its story is told anew"


def _streams(what: str, some: Iterable[Any], others: Iterable[Any]) -> list[str]:
    known = {(one.segment, one.signal) for one in others}
    return [f"{one.signal} of {one.segment} {what}." for one in some if (one.segment, one.signal) not in known]


def _rate(report: Report) -> str:
    found = report.reviewed
    if found is None or found.rate is None:
        return "not known"
    return f"{telling.percent(found.rate)} ({found.labels:,} labels)"
