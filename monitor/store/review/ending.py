"""How items leave the queue unanswered: removed by somebody, expired, forgotten, past retention."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, literal_column, select, update

from monitor.store.engine import Store
from monitor.store.review import audit
from monitor.store.review.adding import tombstone
from monitor.store.review.items import ITEM_COLUMNS, check_name, item_of
from monitor.store.review.labelling import MOST_REASON, move
from monitor.store.review.leasing import lock
from monitor.store.review.pixels import drop
from monitor.store.tables import labels, review_audit, review_items, review_pixels, review_pools
from monitor.times import DAY_US

_CHUNK = 500


def remove(store: Store, item_id: str, by: str, reason: str, now_us: int, *, request_id: str = "") -> bool:
    """Take an item out of the queue for good, in whatever state it is; False where it is removed already.

    Its labels stay in the table and enter no estimate. Raises Declined (``unknown``).
    """
    check_name("who removes an item", by)
    with store.write() as connection:
        item = lock(connection, item_id)
        if item.state == "removed":
            return False
        detail = {"before": item.state, "after": "removed", "reason": reason[:MOST_REASON]}
        if not audit.first(connection, audit.row("remove", item_id, by, now_us, detail, request_id)):
            return False
        move(connection, item_id, "removed", ended="removed")
    return True


def expire(store: Store, now_us: int) -> int:
    """Let items go whose time is over and that nobody has a lease on. Returns how many.

    They are removed as ``expired``; one that has a label, but fewer than wanted, is done.
    """
    total = 0
    while True:
        with store.write() as connection:
            count = _expire_some(connection, now_us)
        total += count
        if count < _CHUNK:
            return total


def _expire_some(connection: Connection, now_us: int) -> int:
    is_open = review_items.c.state == literal_column("'open'")
    is_lapsed = and_(review_items.c.state == literal_column("'leased'"), review_items.c.lease_until_us <= now_us)
    count = 0
    for waits in (is_open, is_lapsed):  # each has its index
        query = select(*(review_items.c[name] for name in ITEM_COLUMNS))
        query = query.where(waits, review_items.c.expires_us <= now_us).limit(_CHUNK - count)
        items = [item_of(row) for row in connection.execute(query.with_for_update(skip_locked=True)).mappings()]
        for state, chosen in (
            ("done", [item for item in items if item.labelled]),
            ("removed", [item for item in items if not item.labelled]),
        ):
            if not chosen:
                continue
            connection.execute(
                update(review_items)
                .where(review_items.c.item_id.in_([item.item_id for item in chosen]))
                .values(state=state, ended="expired", leased_by="", lease_until_us=None)
            )
            audit.write(
                connection,
                [audit.row("expire", i.item_id, "", now_us, {"before": i.state, "after": state}) for i in chosen],
            )
        count += len(items)
        if count >= _CHUNK:
            break
    return count


def forget(connection: Connection, item_ids: Sequence[str], now_us: int) -> None:
    """Make tombstones of items whose user or event is forgotten, and blank what the audit quotes of their labels.

    In the transaction of monitor/store/forget.py, which deletes the labels. Of the event a tombstone keeps the
    segment, the day, the score and the probabilities: without them the estimates of its pool would be wrong.
    """
    for start in range(0, len(item_ids), _CHUNK):
        ids = list(item_ids[start : start + _CHUNK])
        days = select(review_items.c.item_id, review_items.c.day_us).where(review_items.c.item_id.in_(ids))
        for item_id, day_us in connection.execute(days).all():
            connection.execute(update(review_items).where(review_items.c.item_id == item_id).values(tombstone(day_us)))
        drop(connection, ids)
        connection.execute(update(review_audit).where(review_audit.c.item_id.in_(ids)).values(detail='{"v":1}'))
        audit.write(connection, [audit.row("forget", item_id, "", now_us, {}) for item_id in ids])


def retire(connection: Connection, bound_us: int) -> int:
    """Delete some of what is older than ``bound_us``: items with their labels and audit, then sums of pools.

    A day goes as a whole, so that no estimate sees half a pool. Labels and audit of no item go by the wall clock. For
    monitor/store/retention.py, which repeats it while as many rows as a chunk has went.
    """
    until_us = bound_us - DAY_US  # days that begin before it are over
    old = select(review_items.c.item_id).where(review_items.c.day_us < until_us).limit(_CHUNK)
    ids = list(connection.execute(old).scalars())
    if ids:
        connection.execute(delete(review_items).where(review_items.c.item_id.in_(ids)))
        for table in (labels, review_audit, review_pixels):
            connection.execute(delete(table).where(table.c.item_id.in_(ids)))
    count = len(ids)
    for table in (labels, review_audit):
        rows = select(table.c.id).where(table.c.item_id == "", table.c.time_us < until_us).limit(_CHUNK - count)
        found = list(connection.execute(rows).scalars())
        if found:
            count += connection.execute(delete(table).where(table.c.id.in_(found))).rowcount
    if count < _CHUNK:
        connection.execute(delete(review_pools).where(review_pools.c.day_us < until_us))
    return count
