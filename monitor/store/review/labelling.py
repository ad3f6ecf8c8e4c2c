"""What reviewers answer: labels, and skips, which are non-response.

An answer, the item's new state, the audit and the lease on what comes next are one transaction, so that a kill leaves
all of it or nothing, and a request that is sent again because its answer was lost changes nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Update, bindparam, update
from sqlalchemy.dialects import postgresql, sqlite

from monitor.store.engine import Store
from monitor.store.review import audit
from monitor.store.review.items import ORIGINS, Answered, Declined, Filters, Item, Label, check_name, encode
from monitor.store.review.leasing import lease, lock, require_holder
from monitor.store.tables import labels, review_items

# Made once: making and compiling a statement takes longer than the database does to run it.
_RECORD = {
    "postgresql": postgresql.insert(labels).on_conflict_do_nothing().returning(labels.c.id),
    "sqlite": sqlite.insert(labels).on_conflict_do_nothing().returning(labels.c.id),
}
MOST_REASON = 200  # characters of why an item was skipped or removed


def label(
    store: Store,
    item_id: str,
    reviewer: str,
    given: Label,
    now_us: int,
    *,
    request_id: str = "",
    origin: str = "page",
    gold: bool = False,
) -> Answered:
    """Record a label on an item that the reviewer has, or had when nobody took it since; done with ``wanted`` labels.

    ``request_id``: made by the client, so that the same request may be sent again. ``gold``: the label is taken as the
    truth to judge reviewers by; it needs no lease and finishes nothing. Raises Declined (``unknown``, ``not_leased``,
    ``done``, ``removed``, ``answered``).
    """
    with store.write() as connection:
        return _label(connection, item_id, reviewer, given, now_us, request_id, origin, gold)


def label_and_next(
    store: Store,
    item_id: str,
    reviewer: str,
    given: Label,
    filters: Filters,
    now_us: int,
    lease_us: int,
    *,
    count: int = 1,
    request_id: str = "",
    origin: str = "page",
) -> Answered:
    """`label` and `next_items` in one transaction. A repeated request gets the items that are next by now."""
    with store.write() as connection:
        done = _label(connection, item_id, reviewer, given, now_us, request_id, origin, False)
        items = lease(connection, reviewer, filters, now_us, lease_us, count)
    return Answered(done.item_id, done.state, done.repeated, tuple(items))


def skip(
    store: Store, item_id: str, reviewer: str, reason: str, now_us: int, most_skips: int, *, request_id: str = ""
) -> Answered:
    """Pass on an item: this reviewer does not get it again, others do.

    With ``most_skips`` skips that stand it leaves the queue: removed as ``skipped``, or done where it has a label but
    fewer than wanted. Raises Declined as `label` does.
    """
    with store.write() as connection:
        return _skip(connection, item_id, reviewer, reason, now_us, most_skips, request_id)


def skip_and_next(
    store: Store,
    item_id: str,
    reviewer: str,
    reason: str,
    filters: Filters,
    now_us: int,
    lease_us: int,
    most_skips: int,
    *,
    count: int = 1,
    request_id: str = "",
) -> Answered:
    """`skip` and `next_items` in one transaction."""
    with store.write() as connection:
        done = _skip(connection, item_id, reviewer, reason, now_us, most_skips, request_id)
        items = lease(connection, reviewer, filters, now_us, lease_us, count)
    return Answered(done.item_id, done.state, done.repeated, tuple(items))


def _label(
    connection: Connection,
    item_id: str,
    reviewer: str,
    given: Label,
    now_us: int,
    request_id: str,
    origin: str,
    gold: bool,
) -> Answered:
    item = lock(connection, item_id)
    repeated = _refused(connection, item, reviewer, request_id, "label", gold)
    if repeated:
        return repeated
    labelled = item.labelled + (not gold)
    # A gold label changes nothing for others; who gave it has answered, and keeps no lease.
    held = item.leased_by == reviewer and item.state != "removed"
    after = settled(labelled, item) if held else item.state
    detail = {"before": item.state, "after": after, "label": given.encode()} | ({"gold": True} if gold else {})
    if not audit.first(connection, audit.row("label", item_id, reviewer, now_us, detail, request_id)):
        audit.carried_out(connection, reviewer, request_id, "label", item_id)
        return Answered(item_id, item.state, True)
    record(connection, item_id, item.event_id, reviewer, "label", given.encode(), now_us, origin, gold)
    if held:
        move(connection, item_id, after, labelled=labelled)
    return Answered(item_id, after, False)


def _skip(
    connection: Connection,
    item_id: str,
    reviewer: str,
    reason: str,
    now_us: int,
    most_skips: int,
    request_id: str,
) -> Answered:
    item = lock(connection, item_id)
    repeated = _refused(connection, item, reviewer, request_id, "skip", False)
    if repeated:
        return repeated
    skips = item.skips + 1
    after, ended = settled(item.labelled, item), item.ended
    if after == "open" and skips >= most_skips:
        after, ended = ("done" if item.labelled else "removed"), "skipped"
    detail = {"before": item.state, "after": after, "reason": reason[:MOST_REASON]}
    if not audit.first(connection, audit.row("skip", item_id, reviewer, now_us, detail, request_id)):
        audit.carried_out(connection, reviewer, request_id, "skip", item_id)
        return Answered(item_id, item.state, True)
    document = encode({"v": 1, "reason": reason[:MOST_REASON]})
    record(connection, item_id, item.event_id, reviewer, "skip", document, now_us, "page", False)
    move(connection, item_id, after, ended=ended, skips=skips)
    return Answered(item_id, after, False)


def _refused(
    connection: Connection, item: Item, reviewer: str, request_id: str, action: str, gold: bool
) -> Answered | None:
    """None: go on. An answer: this request was carried out before. Raises Declined for anything else."""
    check_name("a reviewer's name", reviewer)
    try:
        if gold:
            if item.state == "removed":
                raise Declined("removed", f"item {item.item_id} was taken out of the queue ({item.ended})")
        elif item.state != "done" or item.leased_by != reviewer:
            # Done and still his: a label from elsewhere finished it while he was at it, and his counts as well.
            require_holder(item, reviewer)
    except Declined:
        if audit.carried_out(connection, reviewer, request_id, action, item.item_id) is None:
            raise
        return Answered(item.item_id, item.state, True)
    return None


def settled(labelled: int, item: Item) -> str:
    """The state of an item that has so many labels and nobody's lease."""
    return "done" if labelled >= item.wanted else "open"


def record(
    connection: Connection,
    item_id: str,
    event_id: str,
    reviewer: str,
    kind: str,
    document: str,
    now_us: int,
    origin: str,
    gold: bool,
) -> None:
    """Write an answer. Raises Declined (``answered``) where one of the reviewer stands."""
    if origin not in ORIGINS:
        raise ValueError(f"expected where a label comes from, got {origin!r}; one of {', '.join(ORIGINS)}")
    written = connection.execute(
        _RECORD[connection.dialect.name],
        {
            "item_id": item_id,
            "event_id": event_id,
            "reviewer": reviewer,
            "kind": kind,
            "label": document,
            "time_us": now_us,
            "undone": False,
            "origin": origin,
            "gold": gold,
        },
    ).first()
    if written is None:
        raise Declined("answered", f"{reviewer!r} has answered item {item_id or event_id} already; undo that first")


def move(connection: Connection, item_id: str, state: str, **values: Any) -> None:
    """Give a locked item a state in which nobody has it."""
    values = {"state": state, "leased_by": "", "lease_until_us": None, **values}
    connection.execute(_update(tuple(values)), {f"{name}_": value for name, value in values.items()} | {"id_": item_id})


@cache
def _update(names: tuple[str, ...]) -> Update:
    values: dict[str, Any] = {name: bindparam(f"{name}_") for name in names}
    return update(review_items).where(review_items.c.item_id == bindparam("id_")).values(values)
