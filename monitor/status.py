"""What has been read, stored and found: for `driftline status`, /api/status and the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from alerts.anomaly import SLICE_PREFIX
from monitor.serve.models import BudgetLine, Status
from monitor.store import coverage, letters, outbox, reads
from monitor.store.anomalies import count_by_state, count_opened
from monitor.store.tables import evaluation, partitions, samples, stream_states
from monitor.times import iso

if TYPE_CHECKING:
    from monitor.config.model import Config
    from monitor.store.engine import Store

DEFAULT_OWNER = "default"


def read_status(store: Store, config: Config | None = None) -> Status:
    """Everything at one moment: one snapshot of the store. Without ``config`` the budget is left out."""
    with store.read() as connection:
        return status_of(connection, config)


def status_of(connection: Connection, config: Config | None = None) -> Status:
    """Like `read_status`, within a snapshot that the caller holds."""
    rows = connection.execute(select(partitions).order_by(partitions.c.topic, partitions.c.partition)).all()
    offsets: dict[str, dict[str, int]] = {}
    watermarks: dict[str, dict[str, str | None]] = {}
    counters: dict[str, int] = {}
    for row in rows:
        number = str(row.partition)
        offsets.setdefault(row.topic, {})[number] = row.next_offset
        shown = row.watermark_us if row.begun else None
        watermarks.setdefault(row.topic, {})[number] = None if shown is None else iso(shown)
        for name, value in json.loads(row.counters).items():
            counters[name] = counters.get(name, 0) + value
    by_state, missing = _samples(connection)
    closed = coverage.closed_until(connection)
    settled = by_state["embedded"] + by_state["missing"]
    evaluated = evaluated_until(connection)
    return Status(
        events=sum(row.events for row in rows),
        duplicates=sum(row.duplicates for row in rows),
        dead_letters=sum(row.dead_letters for row in rows),
        late_events=sum(row.late_events for row in rows),
        offsets=offsets,
        watermarks=watermarks,
        closed_until=None if closed is None else iso(closed),
        evaluated_until=None if evaluated is None else iso(evaluated),
        segments=len(reads.places(connection)),
        samples=by_state,
        missing=missing,
        coverage=by_state["embedded"] / settled if settled else None,
        anomalies=count_by_state(connection),
        counters=dict(sorted(counters.items())),
        dead_letter_reasons=letters.count_by_reason(connection),
        outbox=_outbox(connection),
        budget=[] if config is None else budget_lines(connection, config, evaluated),
    )


def evaluated_until(connection: Connection) -> int | None:
    """Event time (µs) up to which ticks are evaluated; None before the first."""
    return connection.execute(select(func.max(evaluation.c.done_until_us))).scalar()


def budget_lines(connection: Connection, config: Config, until_us: int | None) -> list[BudgetLine]:
    """Per owner and severity: what was promised about false alarms, and what was opened in the last such period."""
    owners = {name: owner.budget for name, owner in config.owners.items()} or {DEFAULT_OWNER: config.budget}
    lines = []
    for name, budget in owners.items():
        for severity, allowance in (("page", budget.page), ("ticket", budget.ticket)):
            opened = 0
            if until_us is not None:
                opened = count_opened(
                    connection,
                    owner=name,
                    severity=severity,
                    from_us=until_us - allowance.period_us,
                    to_us=until_us + 1,
                )
            lines.append(BudgetLine(name, severity, str(allowance), opened))
    return lines


def watched_streams(connection: Connection) -> tuple[int, int]:
    """How many (streams over segments, streams over slices) have a state."""
    names = [row.segment for row in connection.execute(select(stream_states.c.segment))]
    slices = sum(name.startswith(SLICE_PREFIX) for name in names)
    return len(names) - slices, slices


def _samples(connection: Connection) -> tuple[dict[str, int], dict[str, int]]:
    states = {"pending": 0, "embedded": 0, "missing": 0}
    # Two questions that indexes answer: the reason is not in one, and few samples have any.
    by_state = select(samples.c.state, func.count()).group_by(samples.c.state)
    states |= {state: count for state, count in connection.execute(by_state)}  # noqa: C416 - rows are no pairs to mypy
    why = select(samples.c.reason, func.count()).where(samples.c.state == "missing", samples.c.reason != "")
    why = why.group_by(samples.c.reason).order_by(samples.c.reason)
    reasons = {reason: count for reason, count in connection.execute(why)}  # noqa: C416
    return states, reasons


def _outbox(connection: Connection) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for depth in outbox.depths(connection):
        found.setdefault(depth.sink, {})[depth.state] = depth.rows
    return found
