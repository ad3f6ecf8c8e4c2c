"""Labels that came before their item: they wait under the event's id, and join when the event is drawn.

Whether an event is drawn does not depend on them, so that its probability holds for them as for any other label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, select, text, update

from monitor.store.review import audit
from monitor.store.review.labelling import move, settled
from monitor.store.review.leasing import lock
from monitor.store.tables import labels

_ADDING: Final = 0x6472_6966_746D  # the advisory lock between adding items and labels that found none
_CHUNK = 200


def wait_for_adding(connection: Connection) -> None:
    """Wait for a transaction that adds items, and keep others from looking for labels until this one ends.

    Else a label could look for its item just before the item is there to see, and the item for its labels just before
    the label is, and they would never meet. SQLite has one writer at a time.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _ADDING})


def join(connection: Connection, item_of_event: Mapping[str, str], now_us: int) -> None:
    """Give new items the labels that wait for their events, in the transaction that adds them."""
    if not item_of_event:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADDING})
    events = sorted(item_of_event)
    waiting: dict[str, list[Any]] = {}
    for start in range(0, len(events), _CHUNK):
        query = select(labels.c.id, labels.c.event_id, labels.c.reviewer, labels.c.gold).where(
            labels.c.item_id == "", ~labels.c.undone, labels.c.event_id.in_(events[start : start + _CHUNK])
        )
        for row in connection.execute(query.order_by(labels.c.id)):
            waiting.setdefault(row.event_id, []).append(row)
    for event_id in sorted(waiting):
        _give(connection, item_of_event[event_id], waiting[event_id], now_us)


def _give(connection: Connection, item_id: str, rows: list[Any], now_us: int) -> None:
    item = lock(connection, item_id)
    connection.execute(update(labels).where(labels.c.id.in_([row.id for row in rows])).values(item_id=item_id))
    labelled = item.labelled + sum(not row.gold for row in rows)
    move(connection, item_id, settled(labelled, item), labelled=labelled)
    audit.write(
        connection,
        [audit.row("join", item_id, row.reviewer, now_us, {"label_id": row.id, "gold": row.gold}) for row in rows],
    )
