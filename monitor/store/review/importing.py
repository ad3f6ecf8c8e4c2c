"""Labels from elsewhere: files, Label Studio, a Kafka topic. They find their item by its id or by the event's id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, select, text, update

from monitor.store.engine import Store
from monitor.store.partitions import forgotten_among
from monitor.store.review import audit
from monitor.store.review.early import wait_for_adding
from monitor.store.review.items import ITEM_COLUMNS, MOST_EVENT_ID, Declined, Item, Label, check_name, encode, item_of
from monitor.store.review.labelling import MOST_REASON, move, record, settled
from monitor.store.review.leasing import lock
from monitor.store.tables import labels, review_items


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a label or skip. ``outcome``:

    ``labelled``: it is the item's label as one from the page would be. ``kept``: it is stored but enters no estimate,
    since no item has the event (``item_id`` '') or the item was removed. ``replaced``: as ``labelled``, in place of
    what this reviewer had said. ``repeated``: known, nothing changed. ``forgotten``: the event was erased; not stored.
    ``skipped``: the item was passed on. ``ignored``: a skip of what has no item, has ended, or has this reviewer's
    label; not stored.
    """

    item_id: str
    outcome: str


def import_label(
    store: Store,
    event_id: str,
    reviewer: str,
    given: Label,
    now_us: int,
    *,
    item_id: str = "",
    origin: str = "import",
    gold: bool | None = False,
    request_id: str = "",
) -> Imported:
    """`import_into` in a transaction of its own."""
    with store.write() as connection:
        return import_into(
            connection,
            event_id,
            reviewer,
            given,
            now_us,
            item_id=item_id,
            origin=origin,
            gold=gold,
            request_id=request_id,
        )


def import_into(
    connection: Connection,
    event_id: str,
    reviewer: str,
    given: Label,
    now_us: int,
    *,
    item_id: str = "",
    origin: str = "import",
    gold: bool | None = False,
    request_id: str = "",
) -> Imported:
    """Take in a label from elsewhere, in the caller's write transaction. It needs no lease.

    It joins the item ``item_id``, else that of its event. Where no sample of the event was drawn for review its
    probability is not known, so that it is kept and counted (`unmatched`) but enters no estimate, unless the event is
    drawn later (`early.join`). The same label again changes nothing; another one of the same reviewer takes the place
    of the first. Who has the item leased keeps it and may label it as well. ``gold``: as in `label`; None: it does not
    say, so that the same label stays what it is, and another one is none. Where two
    partitions have the event's id, the item drawn later is taken. Raises Declined (``unknown``) for an item id without
    an item and no event id, and ``answered`` where another transaction brought this reviewer's label meanwhile: try
    again. Raises ValueError where the item is of another event.
    """
    check_name("a reviewer's name", reviewer)
    found = _target(connection, event_id, item_id)
    if found is None:
        return Imported("", "forgotten")
    item, event_id = found
    item_id = "" if item is None else item.item_id
    before = _standing(connection, item_id, event_id, reviewer)
    known = before is not None and (before.kind, before.label) == ("label", given.encode())
    if gold is None:
        gold = known and before.gold
    if known and before.gold == gold:
        return Imported(item_id, "repeated")
    new: dict[str, object] = {"origin": origin} | ({} if before is None else {"replaces": before.id})
    if item is not None:  # without an item `driftline forget` would not find it in the audit
        new |= {"label": given.encode()}
    if not audit.first(connection, audit.row("import", item_id, reviewer, now_us, new, request_id)):
        return Imported(item_id, "repeated")
    labelled, skips = (0, 0) if item is None else (item.labelled, item.skips)
    if before is not None:
        connection.execute(update(labels).where(labels.c.id == before.id).values(undone=True))
        labelled -= before.kind == "label" and not before.gold
        skips -= before.kind == "skip"
    record(connection, item_id, event_id, reviewer, "label", given.encode(), now_us, origin, gold)
    if item is None:
        return Imported("", "kept")
    labelled += not gold
    _count(connection, item, reviewer, labelled, skips)
    if item.state == "removed":
        return Imported(item_id, "kept")
    return Imported(item_id, "labelled" if before is None else "replaced")


def skip_into(
    connection: Connection,
    event_id: str,
    reviewer: str,
    reason: str,
    now_us: int,
    most_skips: int,
    *,
    item_id: str = "",
    origin: str = "import",
    request_id: str = "",
) -> Imported:
    """Take in that a reviewer elsewhere passed an item on, in the caller's write transaction. It needs no lease.

    With ``most_skips`` skips that stand an item that nobody has leaves the queue, as by `skip`. Raises as
    `import_into` does.
    """
    check_name("a reviewer's name", reviewer)
    found = _target(connection, event_id, item_id)
    if found is None:
        return Imported("", "forgotten")
    item, event_id = found
    if item is None:
        return Imported("", "ignored")
    before = _standing(connection, item.item_id, event_id, reviewer)
    if before is not None:
        return Imported(item.item_id, "repeated" if before.kind == "skip" else "ignored")
    if item.state in ("done", "removed"):
        return Imported(item.item_id, "ignored")
    detail = {"before": item.state, "reason": reason[:MOST_REASON], "origin": origin}
    if not audit.first(connection, audit.row("skip", item.item_id, reviewer, now_us, detail, request_id)):
        return Imported(item.item_id, "repeated")
    document = encode({"v": 1, "reason": reason[:MOST_REASON]})
    record(connection, item.item_id, event_id, reviewer, "skip", document, now_us, origin, False)
    skips = item.skips + 1
    mine = item.leased_by == reviewer
    if item.state == "leased" and not mine:  # who has it may still label it
        connection.execute(update(review_items).where(review_items.c.item_id == item.item_id).values(skips=skips))
    elif skips >= most_skips:
        move(connection, item.item_id, "done" if item.labelled else "removed", ended="skipped", skips=skips)
    else:
        move(connection, item.item_id, "open", skips=skips, leased_by="" if mine else item.leased_by)
    return Imported(item.item_id, "skipped")


def _target(connection: Connection, event_id: str, item_id: str) -> tuple[Item | None, str] | None:
    """(item or None where there is none, its event), locked; None where the event is forgotten."""
    if event_id or not item_id:
        check_name("the id of a label's event", event_id, MOST_EVENT_ID)
    if connection.dialect.name == "postgresql":  # see `adding.add`
        connection.execute(text(f"LOCK TABLE {review_items.name} IN ROW EXCLUSIVE MODE"))
    if event_id and forgotten_among(connection, set(), {event_id}):
        return None
    if item_id:
        try:
            item = lock(connection, item_id)
        except Declined:
            if not event_id:
                raise
        else:
            if item.ended == "forgotten":
                return None
            if event_id not in ("", item.event_id):
                raise ValueError(f"item {item_id} is of another event than {event_id[:80]!r}; leave one of the two out")
            return item, item.event_id
    found = _item(connection, event_id)
    if found is None:
        wait_for_adding(connection)
        found = _item(connection, event_id)
    return found, event_id


def _standing(connection: Connection, item_id: str, event_id: str, reviewer: str) -> Any:
    query = select(labels.c.id, labels.c.kind, labels.c.label, labels.c.gold).where(
        labels.c.item_id == item_id, labels.c.reviewer == reviewer, ~labels.c.undone
    )
    return connection.execute(query if item_id else query.where(labels.c.event_id == event_id)).first()


def _count(connection: Connection, item: Item, reviewer: str, labelled: int, skips: int) -> None:
    values: dict[str, object] = {"labelled": labelled, "skips": skips}
    state = item.state
    if state != "removed" and settled(labelled, item) == "done":
        state = "done"
    elif state == "done" and not item.ended:
        state = "open"  # what was its label is now a gold one
    elif state == "leased" and item.leased_by == reviewer:
        state = "open"
    if state == item.state and item.leased_by != reviewer:
        connection.execute(update(review_items).where(review_items.c.item_id == item.item_id).values(**values))
        return
    # Whoever else is at it may still answer: `leased_by` stays.
    values["leased_by"] = "" if item.leased_by == reviewer else item.leased_by
    move(connection, item.item_id, state, **values)


def _item(connection: Connection, event_id: str) -> Item | None:
    """The event's item, locked. One that was removed is taken only where there is no other."""
    query = (
        select(*(review_items.c[name] for name in ITEM_COLUMNS))
        .where(review_items.c.event_id == event_id)
        .order_by(
            case((review_items.c.state == "removed", 1), else_=0),
            review_items.c.created_us.desc(),
            review_items.c.item_id,
        )
        .limit(1)
        .with_for_update()
    )
    found = connection.execute(query).mappings().first()
    return None if found is None else item_of(found)
