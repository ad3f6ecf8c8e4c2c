"""Reads of dead letters: records that could not be used, with their original bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from monitor.store.tables import dead_letters


@dataclass(frozen=True, slots=True)
class LetterRow:
    """One dead letter. ``size`` and ``original`` are None for a tombstone; ``original`` also where not asked for."""

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    time_us: int
    event_id: str
    size: int | None
    original: bytes | None = None

    @property
    def position(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


_FACTS = (
    dead_letters.c.topic,
    dead_letters.c.partition,
    dead_letters.c.offset,
    dead_letters.c.reason,
    dead_letters.c.detail,
    dead_letters.c.time_us,
    dead_letters.c.event_id,
    func.length(dead_letters.c.original).label("size"),
)


def parse_position(text: str) -> tuple[str, int, int]:
    """(topic, partition, offset) of ``topic/partition/offset``. Raises ValueError."""
    parts = text.rsplit("/", 2)
    if len(parts) != 3 or not parts[0] or not parts[1].isdigit() or not parts[2].isdigit():
        raise ValueError(f"expected TOPIC/PARTITION/OFFSET, got {text!r}; as inference/3/18271")
    return parts[0], int(parts[1]), int(parts[2])


def list_letters(
    connection: Connection, *, reason: str | None = None, limit: int = 100, offset: int = 0
) -> list[LetterRow]:
    """Dead letters without their bytes, newest record first."""
    query = _matching(select(*_FACTS), reason)
    query = query.order_by(
        dead_letters.c.time_us.desc(), dead_letters.c.topic, dead_letters.c.partition, dead_letters.c.offset.desc()
    )
    return [LetterRow(*row) for row in connection.execute(query.limit(limit).offset(offset))]


def get_letter(connection: Connection, topic: str, partition: int, offset: int) -> LetterRow | None:
    """The dead letter of one record with its original bytes, or None."""
    query = select(*_FACTS, dead_letters.c.original).where(
        dead_letters.c.topic == topic, dead_letters.c.partition == partition, dead_letters.c.offset == offset
    )
    found = connection.execute(query).first()
    return None if found is None else LetterRow(*found)


def stream_letters(connection: Connection, *, reason: str | None = None) -> Iterator[LetterRow]:
    """Every dead letter with its bytes, by topic, partition and offset."""
    query = _matching(select(*_FACTS, dead_letters.c.original), reason)
    query = query.order_by(dead_letters.c.topic, dead_letters.c.partition, dead_letters.c.offset)
    for row in connection.execution_options(yield_per=200).execute(query):
        yield LetterRow(*row)


def count_by_reason(connection: Connection) -> dict[str, int]:
    """How many dead letters are kept, by reason."""
    query = select(dead_letters.c.reason, func.count()).group_by(dead_letters.c.reason)
    return {str(row[0]): int(row[1]) for row in connection.execute(query.order_by(dead_letters.c.reason))}


def _matching(query: Select[Any], reason: str | None) -> Select[Any]:
    return query if reason is None else query.where(dead_letters.c.reason == reason)
