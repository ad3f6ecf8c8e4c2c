"""How far the labels topic is read. The offset moves where the labels are written, as a compare-and-set."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

from sqlalchemy import Connection, select, text, update

from monitor.store.engine import Store
from monitor.store.tables import label_partitions, review_items


def position(store: Store, topic: str, partition: int) -> int:
    """The first offset that is not among the labels yet; 0 for a partition that nobody has read."""
    here = (label_partitions.c.topic == topic, label_partitions.c.partition == partition)
    query = select(label_partitions.c.next_offset).where(*here)
    with store.read() as connection:
        known = connection.execute(query).scalar()
    if known is not None:
        return int(known)
    with store.write() as connection:
        row = {"topic": topic, "partition": partition, "next_offset": 0, "counts": "{}"}
        store.insert_ignore(connection, label_partitions, [row])
        return int(connection.execute(query).scalar_one())


def advance(connection: Connection, topic: str, partition: int, from_offset: int, next_offset: int) -> bool:
    """Move on from ``from_offset``; False, and nothing is changed, where another consumer has done so.

    The row is locked from here to the end of the transaction: call it first.
    """
    if connection.dialect.name == "postgresql":
        # `driftline forget` takes this table for itself after it has said whom: either it waits for us or we see that.
        connection.execute(text(f"LOCK TABLE {review_items.name} IN ROW EXCLUSIVE MODE"))
    statement = (
        update(label_partitions)
        .where(
            label_partitions.c.topic == topic,
            label_partitions.c.partition == partition,
            label_partitions.c.next_offset == from_offset,
        )
        .values(next_offset=next_offset)
    )
    return connection.execute(statement).rowcount == 1


def count(connection: Connection, topic: str, partition: int, outcomes: Mapping[str, int]) -> None:
    """Add to what became of the partition's records, in the transaction of `advance`."""
    here = (label_partitions.c.topic == topic, label_partitions.c.partition == partition)
    known = json.loads(connection.execute(select(label_partitions.c.counts).where(*here)).scalar_one())
    text = json.dumps(dict(Counter(known) + Counter(outcomes)), sort_keys=True)
    connection.execute(update(label_partitions).where(*here).values(counts=text))


def counts(connection: Connection) -> dict[tuple[str, int], dict[str, int]]:
    """(topic, partition): outcome: records."""
    query = select(label_partitions).order_by(label_partitions.c.topic, label_partitions.c.partition)
    return {(row.topic, row.partition): json.loads(row.counts) for row in connection.execute(query)}
