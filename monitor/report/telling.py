"""The first page of a report in sentences: what changed and cost, what there is to decide, what was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from monitor.estimates import Estimate, of_all
from monitor.evaluate.changes import Changes
from monitor.report.model import Alarm, Change, Figure, Promise, Segment
from monitor.spending import Change as SpendingChange
from monitor.spending import Spending
from monitor.times import iso

MOST_TOLD = 8  # sentences of one kind on the first page
NOTABLE = 0.05  # of a bill: less is not told on the first page
OWN = 0.1  # of a segment's own bill, and
OF_ALL = 0.01  # of the whole: its change is told from there on
STRIKING = 1.5
PARTS = {
    "traffic": "traffic",
    "mix": "the mix of models and prompts",
    "units": "tokens per request",
    "tail": "the largest requests",
    "price": "cost per token",
}


def striking(one: Figure) -> bool:
    """Whether what it was before lies outside the interval, and half as much away again: worth a look in a long table.
    Nothing is judged by it."""
    if one.before is None or not one.value or one.low is None or one.high is None:
        return False
    outside = one.before < one.low or one.before > one.high
    return outside and not one.value / STRIKING < one.before < one.value * STRIKING


def silent(share: float) -> None:
    """Progress that nobody watches."""


def parts(change: SpendingChange) -> dict[str, float]:
    """The parts of a change of a bill, by name."""
    return {name: float(getattr(change, name)) for name in PARTS}


def money(value: float, currency: str) -> str:
    """``1,234.50 USD``; small sums with three digits."""
    text = f"{value:,.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"
    return f"{text} {currency}"


def percent(share: float | None) -> str:
    """``1.2 %``."""
    if share is None:
        return "–"
    value = 100 * share
    return f"{value:.0f} %" if value in (0, 100) else f"{value:.2g} %" if value < 10 else f"{value:.0f} %"


def between(low: float, high: float) -> str:
    """``1 % to 2.3 %``."""
    return f"{percent(low)} to {percent(high)}"


def counted(count: int, what: str) -> str:
    """``1 label``, ``1,200 labels``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def share(now: float, before: float) -> str:
    """`` (+10 %)``: how much more or less than before."""
    return f" ({'+' if now >= before else '−'}{abs(100 * (now - before) / before):.0f} %)"


def changed(listed: Sequence[Change], alarms: Sequence[Alarm], judged: int, zone: str) -> list[str]:
    """Alarms that opened, each with what is behind it; changes that were no alarm; and what became of alarms from
    before, which were told when they opened."""
    counted = [one for one in alarms if one.severity != "report" and one.marked != "false"]
    new = [one for one in counted if not one.opened_before]
    found = [f"{one.short} {_stands(one, zone)}" for one in new]
    others = [one.sentence for one in listed if one.anomaly is None]
    if not judged and not counted:
        return ["Nothing could be judged yet: no segment had a reference, which is learned from its first days."]
    told = _cut([*found, *others], "changes")
    carried = [one for one in counted if one.opened_before]
    open_, over = ([one for one in carried if (one.state == "open") is still] for still in (True, False))
    if open_:
        told.append(f"Still there from before: {_listed(open_, zone)}.")
    if over:
        told.append(f"Over, from before: {_listed(over, zone)}.")
    if not found and not others:
        told.insert(0, "Nothing new changed that could be told from chance.")
    return told


def alarm(one: Alarm) -> str:
    """``image drift in invoices``."""
    return f"{one.signal.replace('_', ' ')} in {one.segment}"


def _stands(one: Alarm, zone: str) -> str:
    if one.resolved is not None:
        return f"(Over since {_local(one.resolved, zone)}.)"
    return "(Still there, accepted as the new normal.)" if one.accepted else "(Still there.)"


def _listed(alarms: Sequence[Alarm], zone: str) -> str:
    told = [f"{alarm(one)} (opened {_local(one.opened, zone)[:10]})" for one in alarms[:MOST_TOLD]]
    more = len(alarms) - len(told)
    return ", ".join(told) + (f" and {more} more" if more else "")


def _local(text: str, zone: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M %Z}"


def cost(spending: Spending) -> list[str]:
    """The bill, why it changed, and the segments that made it."""
    currency = spending.currency
    if not spending.segments:
        return ["No request in this period."]
    known = [one for one in spending.segments if one.change is not None]
    found = []
    if len(known) == len(spending.segments):
        before = sum(one.change.before for one in known if one.change)
        change = spending.bill - before
        part = share(spending.bill, before) if before > 0 else ""
        found.append(f"{money(spending.bill, currency)}, {signed(change, currency)}{part} against the period before.")
        added = {name: sum(parts(one.change)[name] for one in known if one.change) for name in PARTS}
        largest = sorted(added, key=lambda name: -abs(added[name]))[:2]
        told = [
            f"{PARTS[name]} {signed(added[name], currency)}" for name in largest if abs(added[name]) > NOTABLE * before
        ]
        if told:
            found.append(f"Of the change: {', '.join(told)}.")
    else:
        of_all = " of every segment" if known else ""
        found.append(f"{money(spending.bill, currency)}; the period before is not known{of_all}.")
    if spending.month is not None:
        month = spending.month
        found.append(
            f"The month is expected to end at {money(month.projected, currency)} (95 % interval "
            f"{money(month.low, currency)} to {money(month.high, currency)}); {money(month.spent, currency)} are spent."
        )
    movers = [one for one in known if one.change and _moved_enough(one.change, spending.bill)]
    movers.sort(key=lambda one: -abs(one.change.change if one.change else 0.0))
    for one in movers[:3]:
        assert one.change is not None
        why = max(parts(one.change).items(), key=lambda entry: abs(entry[1]))[0]
        before = one.change.before
        part = share(before + one.change.change, before) if before > 0 else ""
        found.append(
            f"{one.segment}: {signed(one.change.change, currency)}{part}, mostly by {PARTS[why]} "
            f"({signed(parts(one.change)[why], currency)})."
        )
    heavy = [one for one in spending.segments if (one.tail.top1_share or 0) >= 0.2 and one.share >= NOTABLE]
    found += [
        f"The dearest 1 % of requests of {one.segment} are {100 * (one.tail.top1_share or 0):.0f} % of its bill."
        for one in heavy[:2]
    ]
    return found


def _moved_enough(change: SpendingChange, bill: float) -> bool:
    moved = abs(change.change)
    return moved > OF_ALL * bill and moved > (OWN if moved < NOTABLE * bill else 0.0) * change.before


def decide(
    alarms: Sequence[Alarm],
    promises: Sequence[Promise],
    found: Changes,
    rated: Mapping[str, Estimate],
    *,
    approved: bool,
) -> list[str]:
    """What only a person can settle. ``approved``: whether a learned reference waits for somebody's approval."""
    told = []
    waiting = [one for one in alarms if one.state == "open" and not one.accepted and one.severity != "report"]
    if waiting:
        listed = "; ".join(f"{alarm(one)} ({one.severity}, {one.id[:8]})" for one in waiting[:5])
        more = f"; and {len(waiting) - 5} more" if len(waiting) > 5 else ""
        what = "1 anomaly that is" if len(waiting) == 1 else f"{len(waiting)} anomalies that are"
        told.append(
            f"Mend the cause, or accept the new normal (driftline alerts accept ID), of {what} still open: "
            f"{listed}{more}."
        )
    unmarked = [one for one in alarms if one.marked is None and one.severity != "report"]
    if unmarked:
        told.append(
            f"{len(unmarked)} of {len([one for one in alarms if one.severity != 'report'])} alarms are not marked real "
            "or false (driftline alerts mark ID --real); only marks tell whether the budget keeps its promise."
        )
    told += [
        f"{one.owner}: {one.marked_false} {one.severity} alarms were false, {one.allowed:.2g} are allowed in such a "
        "period. Look at what they have in common."
        for one in promises
        if one.marked_false > max(one.allowed, 1.0)
    ]
    queue = of_all(rated)
    if queue is not None and queue.waiting > queue.labels:
        told.append(
            f"{queue.waiting:,} items wait for review, {queue.labels:,} are labelled: label more, or draw fewer "
            "(review.labels)."
        )
    if found.without_reference and approved:
        told.append(
            f"{len(found.without_reference)} segments are not judged for want of a reference: "
            f"{_names(found.without_reference)}. What waits for approval is in driftline reference list."
        )
    return told or ["Nothing."]


def not_measured(
    found: Changes,
    gaps: Sequence[tuple[int, int]],
    rows: Sequence[Segment],
    done: int | None,
    to_us: int,
    *,
    whole: bool,
) -> list[str]:
    """What the report cannot know."""
    told = []
    if not whole:
        told.append("What is stored does not go back to the whole period before: nothing is held against it.")
    if done is None or done < to_us:
        told.append(
            "The end of the period was not evaluated yet" + ("." if done is None else f", from {iso(done)} on.")
        )
    if found.without_reference:
        told.append(
            f"Not judged for want of a reference, which is learned from a segment's first days: "
            f"{_names(found.without_reference)}."
        )
    for low, high in (*found.gaps, *((iso(low), iso(high)) for low, high in gaps)):
        told.append(f"Hours that are no longer kept: {low} to {high}.")
    partly = [row.segment for row in rows if row.coverage is not None and row.coverage < 0.9]
    if partly:
        told.append(f"Less than 90 % of the samples could be looked at in {_names(partly)}.")
    blind = [row.segment for row in rows if row.coverage is None]
    if blind:
        told.append(f"No sample was looked at in {_names(blind)}.")
    return told


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def signed(value: float, currency: str) -> str:
    """``+2.85 USD``, ``−1.99 USD``."""
    return ("+" if value >= 0 else "−") + money(abs(value), currency)


def _cut(sentences: list[str], what: str) -> list[str]:
    more = len(sentences) - MOST_TOLD
    return list(sentences) if more <= 0 else [*sentences[:MOST_TOLD], f"And {more} more {what}, listed below."]
