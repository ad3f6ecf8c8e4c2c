"""Putting items into the queue: the evaluator's tick, in its own transaction, so that it happens exactly once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql, sqlite

from monitor.store.partitions import forgotten_among
from monitor.store.review.items import NewItem, PoolSums, encode_list
from monitor.store.tables import review_items, review_pools


def item_id(sample_id: str) -> str:
    """The item of a sample: the same in every run, and whoever adds it."""
    return hashlib.blake2b(sample_id.encode("utf-8", "surrogatepass"), digest_size=16, person=b"review").hexdigest()


def add(
    connection: Connection, items: Sequence[NewItem], pools: Sequence[PoolSums], *, now_us: int, expires_us: int
) -> int:
    """Insert items and add to the sums of their pools, in the caller's write transaction. Returns how many are new.

    An item that is known, in whatever state, is left as it is, so that what was removed does not return. One whose
    user or event is forgotten is kept as a tombstone. Sums are added whatever becomes of the items: they are of the
    samples, and it is for the caller to add each of them once. ``now_us``: wall clock; ``expires_us``: when the items
    leave the queue, wall clock.
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
    new = 0
    if rows:
        statement = insert(review_items).on_conflict_do_nothing()
        done = connection.execute(statement, list(rows.values()), execution_options={"preserve_rowcount": True})
        new = done.rowcount
    sums = _together(pools)
    if sums:
        adding = insert(review_pools)
        keys = [column.name for column in review_pools.primary_key.columns]
        adding = adding.on_conflict_do_update(
            index_elements=keys,
            set_={name: review_pools.c[name] + adding.excluded[name] for name in sums[0] if name not in keys},
        )
        connection.execute(adding, sums)
    return new


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


def _together(pools: Sequence[PoolSums]) -> list[dict[str, Any]]:
    """A row per pool, in a fixed order, so that transactions that add to several pools cannot lock each other out."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for pool in pools:
        values = {
            "samples": pool.samples,
            "drawn": pool.drawn,
            "sum_weight": pool.weight,
            "sum_score_weight": pool.score_weight,
            "sum_square_score_weight": pool.square_score_weight,
            "sum_race_weight": pool.race_weight,
        }
        known = rows.setdefault((pool.segment, pool.day_us), {"segment": pool.segment, "day_us": pool.day_us})
        for name, value in values.items():
            known[name] = known.get(name, 0) + value
    return [rows[key] for key in sorted(rows)]
