"""Taking back the last answer: the row stays, marked, and the reviewer has the item again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select, update

from monitor.store.engine import Store
from monitor.store.review import audit
from monitor.store.review.items import Declined, Item, Undone, check_name
from monitor.store.review.labelling import move
from monitor.store.review.leasing import lock
from monitor.store.tables import labels, review_items


def undo(store: Store, reviewer: str, now_us: int, within_us: int, lease_us: int, *, request_id: str = "") -> Undone:
    """Take back a reviewer's last label or skip, made on a page or by command at most ``within_us`` ago.

    The item is leased to him again, unless it wanted several labels and somebody else has it by now. Undoing again
    takes back the one before. What was removed or expired meanwhile does not come back, but what left because of the
    skip itself does. Raises Declined (``nothing``, ``too_late``, ``removed``).
    """
    check_name("a reviewer's name", reviewer)
    with store.write() as connection:
        while True:
            before = audit.carried_out(connection, reviewer, request_id, "undo")
            if before is not None:
                item = lock(connection, before.item_id)
                return Undone(item, str(before.detail.get("kind", "label")), item.leased_by == reviewer, True)
            answer = _last(connection, reviewer, now_us, within_us)
            item = lock(connection, answer.item_id)
            if item.state == "removed" and not (answer.kind == "skip" and item.ended == "skipped"):
                raise Declined(
                    "removed", f"item {item.item_id} was taken out of the queue ({item.ended}) and does not come back"
                )
            stood = select(labels.c.id).where(labels.c.id == answer.id, ~labels.c.undone)
            if connection.execute(stood).first() is not None:
                break
            # Another request took it back while this one waited for the item: see which is the last one now.
        return _take_back(connection, item, answer, reviewer, now_us, lease_us, request_id)


def _take_back(
    connection: Connection, item: Item, answer: Any, reviewer: str, now_us: int, lease_us: int, request_id: str
) -> Undone:
    counter = "labelled" if answer.kind == "label" else "skips"
    values: dict[str, Any] = {counter: getattr(item, counter) - (0 if answer.gold else 1)}
    leased = not answer.gold and not (item.state == "leased" and item.leased_by != reviewer)
    detail = {"before": item.state, "after": "leased" if leased else item.state, "kind": answer.kind}
    detail |= {"label_id": answer.id}
    if not audit.first(connection, audit.row("undo", item.item_id, reviewer, now_us, detail, request_id)):
        # The same request, twice at once: the other was carried out meanwhile, and took back what it found to be last.
        before = audit.carried_out(connection, reviewer, request_id, "undo")
        undone = item if before is None else lock(connection, before.item_id)
        return Undone(undone, answer.kind, undone.leased_by == reviewer, True)
    connection.execute(update(labels).where(labels.c.id == answer.id).values(undone=True))
    if leased:
        values |= {"ended": "", "leased_by": reviewer, "lease_until_us": now_us + lease_us}
        move(connection, item.item_id, "leased", **values)
    else:
        connection.execute(update(review_items).where(review_items.c.item_id == item.item_id).values(**values))
    return Undone(lock(connection, item.item_id), answer.kind, leased, False)


def _last(connection: Connection, reviewer: str, now_us: int, within_us: int) -> Any:
    query = (
        select(labels.c.id, labels.c.item_id, labels.c.kind, labels.c.time_us, labels.c.gold)
        .where(
            labels.c.reviewer == reviewer,
            ~labels.c.undone,
            labels.c.origin.in_(("page", "cli")),
            labels.c.item_id != "",
        )
        .order_by(labels.c.time_us.desc(), labels.c.id.desc())
        .limit(1)
    )
    found = connection.execute(query).first()
    if found is None:
        raise Declined("nothing", f"{reviewer!r} has no label or skip that could be undone")
    if found.time_us < now_us - within_us:
        raise Declined("too_late", "the last label is older than review.undo allows; label the item anew by import")
    return found
