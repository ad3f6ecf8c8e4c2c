"""Erasing what is stored about a user or an event, and keeping it from being stored again.

Erased: samples with their vectors and content, review items and labels, dead letters, their undelivered messages, and
rows copied into references. Kept: summaries (sums; of a user only a keyed hash), the hash by which the user or event is
recognised when its records are read again, and of a review item that it was drawn, from which segment and day, and with
which score and probabilities, since the estimates would be wrong without. Not reached: a dead letter in which no user
or event id could be read, a label from elsewhere whose event has no item and whose sample retention has deleted (unless
the event itself is named), and the input topic.

The order makes it hold against ingest that is writing meanwhile: first the hash is committed, which every later
commit looks up; then commits under way are waited for; then rows are deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, false, func, or_, select, text

from monitor.config.model import Config
from monitor.store import coverage
from monitor.store.engine import Store
from monitor.store.partitions import forgotten_event_key
from monitor.store.review import ending as review
from monitor.store.samples import sample_id
from monitor.store.secrets import hash_key, rendered, user_key
from monitor.store.tables import (
    dead_letters,
    forgotten,
    labels,
    outbox,
    partitions,
    reference_samples,
    review_items,
    sample_content,
    sample_parts,
    samples,
)

_CHUNK = 500


def forget_user(store: Store, config: Config, user_id: str) -> dict[str, int]:
    """Erase a user. Returns the rows erased per table; all 0 when nothing was stored. Raises StoreUnavailable."""
    key = rendered(user_key(hash_key(store, config.privacy.hash_key), user_id))
    tables = (samples, reference_samples, review_items, dead_letters)
    of_sample, of_reference, of_item, of_letter = (table.c.user_key == key for table in tables)
    return _forget(store, "user", key, of_sample, of_reference, of_item, of_letter, None)


def forget_event(store: Store, event_id: str) -> dict[str, int]:
    """Erase an event (in every partition that has its id). Returns the rows erased per table."""
    return _forget(
        store,
        "event",
        forgotten_event_key(event_id),
        samples.c.event_id == event_id,
        false(),
        review_items.c.event_id == event_id,
        dead_letters.c.event_id == event_id,
        event_id,
    )


def _forget(
    store: Store,
    kind: str,
    key: str,
    of_sample: ColumnElement[bool],
    of_reference: ColumnElement[bool],
    of_item: ColumnElement[bool],
    of_letter: ColumnElement[bool],
    event_id: str | None,
) -> dict[str, int]:
    with store.write() as connection:
        # Event time, so that the row says nothing about when someone asked; 0 before the first event.
        time_us = max((mark.watermark_us for mark in coverage.begun(connection)), default=0)
        store.insert_ignore(connection, forgotten, [{"kind": kind, "key": key, "time_us": time_us}])
    with store.write() as connection:
        if store.dialect == "postgresql":
            # Every ingest commit updates its partition's row first, so this waits for those under way.
            connection.execute(text(f"LOCK TABLE {partitions.name} IN SHARE ROW EXCLUSIVE MODE"))
            # Ticks that add items, and labels under way, which lock the item they are about first.
            connection.execute(text(f"LOCK TABLE {review_items.name} IN EXCLUSIVE MODE"))
        found = connection.execute(select(samples.c.sample_id, samples.c.event_id).where(of_sample)).all()
        ids = [row.sample_id for row in found]
        events = [row.event_id for row in found] + ([] if event_id is None else [event_id])
        # References keep sessions longer than samples are kept.
        places = connection.execute(select(partitions.c.topic, partitions.c.partition)).all()
        known = [] if event_id is None else [sample_id(row.topic, row.partition, event_id) for row in places]
        copied = sorted({*ids, *known})
        items = list(connection.execute(select(review_items.c.item_id).where(of_item)).scalars())
        items += _values(connection, review_items.c.item_id, review_items.c.sample_id, ids)
        items = sorted(set(items))
        review.forget(connection, items, time_us)
        counts = {
            "labels": _delete(connection, labels, labels.c.item_id, items)
            + _delete(connection, labels, labels.c.event_id, events),
            "review_items": len(items),
            "reference_samples": _delete(connection, reference_samples, reference_samples.c.sample_id, copied)
            + connection.execute(delete(reference_samples).where(of_reference)).rowcount,
            "sample_content": _delete(connection, sample_content, sample_content.c.sample_id, ids),
            "sample_parts": _delete(connection, sample_parts, sample_parts.c.sample_id, ids),
            "samples": _delete(connection, samples, samples.c.sample_id, ids),
        }
        letters = connection.execute(
            select(dead_letters.c.topic, dead_letters.c.partition, dead_letters.c.offset).where(of_letter)
        ).all()
        messages = [f"{row.topic}/{row.partition}/{row.offset}" for row in letters]
        counts["dead_letters"] = connection.execute(delete(dead_letters).where(of_letter)).rowcount
        counts["outbox"] = _delete(connection, outbox, outbox.c.key, messages, outbox.c.kind == "dead_letter")
        counts["outbox"] += _delete(connection, outbox, outbox.c.key, items, outbox.c.kind == "review_item")
    return counts


def _values(connection: Connection, wanted: Column[Any], column: Column[Any], values: Sequence[str]) -> list[str]:
    out: list[str] = []
    for start in range(0, len(values), _CHUNK):
        query = select(wanted).where(column.in_(values[start : start + _CHUNK]))
        out += connection.execute(query).scalars()
    return out


def _delete(
    connection: Connection,
    table: Table,
    column: Column[Any],
    values: Sequence[str],
    *conditions: ColumnElement[bool],
) -> int:
    return sum(
        connection.execute(delete(table).where(column.in_(values[start : start + _CHUNK]), *conditions)).rowcount
        for start in range(0, len(values), _CHUNK)
    )


def is_forgotten(connection: Connection, *, user: str = "", event_id: str = "") -> bool:
    """Whether a user (its key) or an event has been forgotten."""
    query = select(func.count()).select_from(forgotten)
    mine = [(forgotten.c.kind == "user") & (forgotten.c.key == user)] if user else []
    if event_id:
        mine.append((forgotten.c.kind == "event") & (forgotten.c.key == forgotten_event_key(event_id)))
    return bool(mine) and bool(connection.execute(query.where(or_(*mine))).scalar())
