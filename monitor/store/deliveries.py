"""What people decide of deliveries that did not get through: sent again, put aside, or put back.

Decisions are rows that are only added, in the transaction that changes the row of the outbox. A row that changed
meanwhile (a newer state was given to it, somebody else decided) is left alone. Times are wall clock, µs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, insert, select

from monitor.store import outbox
from monitor.store.decision import Decision
from monitor.store.outbox import NEVER, OutboxRow
from monitor.store.tables import delivery_decisions

Action = Literal["resend", "dismiss", "undo"]


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided of one delivery. ``before``: the state it was in."""

    action: Action
    sink: str
    key: str
    who: str
    time_us: int
    note: str
    before: str


def resend(connection: Connection, row: OutboxRow, remote: Mapping[str, Any], by: Decision) -> bool:
    """Have a refused or dismissed row sent again; ``remote``: what its sink is to know of it. False where it has
    changed."""
    moved = outbox.move(connection, row, "pending", due_us=by.time_us, remote=remote, anew=True)
    return moved and _record(connection, "resend", row, by)


def dismiss(connection: Connection, row: OutboxRow, by: Decision) -> bool:
    """Put a row aside: it is not sent, and counts no more. False where it changed."""
    moved = outbox.move(connection, row, "dismissed", due_us=NEVER, remote=row.remote)
    return moved and _record(connection, "dismiss", row, by)


def restore(connection: Connection, row: OutboxRow, by: Decision) -> bool:
    """Put a dismissed row back into the state it was in. False where it changed."""
    past = [one for one in history(connection, row.key) if one.sink == row.sink and one.action == "dismiss"]
    waits = bool(past) and past[-1].before == "pending"
    state, due_us = ("pending", by.time_us) if waits else ("failed", NEVER)
    moved = outbox.move(connection, row, state, due_us=due_us, remote=row.remote)
    return moved and _record(connection, "undo", row, by)


def history(connection: Connection, key: str) -> list[Decided]:
    """What was decided of the deliveries of one key, oldest first."""
    query = select(delivery_decisions).where(delivery_decisions.c.key == key).order_by(delivery_decisions.c.id)
    found = []
    for row in connection.execute(query):
        detail = json.loads(row.detail)
        note, before = str(detail.get("note", "")), str(detail.get("before", ""))
        found.append(Decided(row.action, row.sink, row.key, row.who, row.time_us, note, before))
    return found


def _record(connection: Connection, action: Action, row: OutboxRow, by: Decision) -> bool:
    detail = {"v": 1, "note": by.note, "before": row.state, "error": row.error}
    connection.execute(
        insert(delivery_decisions).values(
            time_us=by.time_us,
            who=by.who,
            action=action,
            sink=row.sink,
            key=row.key,
            detail=json.dumps(detail, sort_keys=True, ensure_ascii=False),
        )
    )
    return True
