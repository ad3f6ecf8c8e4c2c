"""Putting items into the queue: the evaluator's tick, in its own transaction, so that it happens exactly once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from monitor.store.outbox import Message, enqueue_many
from monitor.store.partitions import forgotten_among
from monitor.store.review import early
from monitor.store.review.items import NewItem, PoolSums, encode_list
from monitor.store.tables import review_items, review_pools
from samplers.pools import Pools


def item_id(sample_id: str) -> str:
    """The item of a sample: the same in every run, and whoever adds it."""
    return hashlib.blake2b(sample_id.encode("utf-8", "surrogatepass"), digest_size=16, person=b"review").hexdigest()


def add(
    connection: Connection,
    items: Sequence[NewItem],
    pools: Sequence[PoolSums],
    *,
    now_us: int,
    expires_us: int,
    messages: Mapping[str, Message] = MappingProxyType({}),
) -> int:
    """Insert items and add to the sums of their pools, in the caller's write transaction. Returns how many are new.

    An item that is known, in whatever state, is left as it is, so that what was removed does not return. One whose
    user or event is forgotten is kept as a tombstone. Sums are added whatever becomes of the items: they are of the
    samples, and it is for the caller to add each of them once. ``now_us``: wall clock; ``expires_us``: when the items
    leave the queue, wall clock. ``messages``: by item id, what the outbox is to tell of those that are new and not
    forgotten. Labels that came before their item join it.
    """
    if items and connection.dialect.name == "postgresql":
        # `driftline forget` takes this table for itself after it has said whom: either it waits for us or we see that.
        connection.execute(text(f"LOCK TABLE {review_items.name} IN ROW EXCLUSIVE MODE"))
    gone = forgotten_among(
        connection, {item.user_key for item in items} - {""}, {item.event_id for item in items} - {""}
    )
    rows: dict[str, dict[str, Any]] = {}
    for item in items:
        row = _row(item, now_us, expires_us)
        if ("user", item.user_key) in gone or ("event", item.event_id) in gone:
            row |= tombstone(item.day_us)
        rows[row["item_id"]] = row
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new: set[str] = set()
    if rows:
        statement = insert(review_items).on_conflict_do_nothing().returning(review_items.c.item_id)
        new = set(connection.execute(statement, list(rows.values())).scalars())
    waits = sorted(name for name in new if rows[name]["state"] == "open")
    enqueue_many(connection, [messages[name] for name in waits if name in messages])
    # Of two items of one event the first by id, as a label that comes now would choose.
    early.join(connection, {rows[name]["event_id"]: name for name in reversed(waits) if rows[name]["event_id"]}, now_us)
    _add_sums(connection, pools)
    return len(new)


def tombstone(day_us: int) -> dict[str, Any]:
    """The columns of an item that was forgotten: nothing of the event but what its pool's estimate needs."""
    return {
        "sample_id": "",
        "event_id": "",
        "user_key": "",
        "language": "",
        "reasons": "[]",
        "time_us": day_us,
        "state": "removed",
        "ended": "forgotten",
        "leased_by": "",
        "lease_until_us": None,
        "labelled": 0,
        "skips": 0,
    }


def _row(item: NewItem, now_us: int, expires_us: int) -> dict[str, Any]:
    return {
        "item_id": item_id(item.sample_id),
        "sample_id": item.sample_id,
        "event_id": item.event_id,
        "user_key": item.user_key,
        "segment": item.segment,
        "route": item.route,
        "day_us": item.day_us,
        "time_us": item.time_us,
        "pool": item.pool,
        "language": item.language,
        "reasons": encode_list(item.reasons),
        "pi_sample": item.pi_sample,
        "pi_review": item.pi_review,
        "race": item.race,
        "score": item.score,
        "state": "open",
        "ended": "",
        "leased_by": "",
        "lease_until_us": None,
        "wanted": item.wanted,
        "labelled": 0,
        "skips": 0,
        "expires_us": expires_us,
        "created_us": now_us,
    }


def _add_sums(connection: Connection, pools: Sequence[PoolSums]) -> None:
    together: dict[tuple[str, int], Pools] = {}
    for pool in pools:
        key = (pool.segment, pool.day_us)
        together[key] = together[key].merge(pool.sums) if key in together else pool.sums
    # In a fixed order, so that transactions that add to several pools cannot lock each other out.
    for segment, day_us in sorted(together):
        of_pool = (review_pools.c.segment == segment, review_pools.c.day_us == day_us)
        known = connection.execute(select(review_pools.c.sums).where(*of_pool).with_for_update()).scalar()
        pool = PoolSums(segment, day_us, together[segment, day_us])
        if known is None:
            connection.execute(review_pools.insert().values(segment=segment, day_us=day_us, sums=pool.encode()))
        else:
            merged = PoolSums(segment, day_us, PoolSums.decode(segment, day_us, known).sums.merge(pool.sums))
            connection.execute(update(review_pools).where(*of_pool).values(sums=merged.encode()))
