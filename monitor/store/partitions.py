"""The rows an ingest worker owns, and the one transaction that writes them.

A worker *claims* a partition, which raises its generation. Everything a stretch of records led to (summary rows,
samples, dead letters, what is to be announced) is written together with the offset that follows them, as a
compare-and-set on (next offset, generation): whoever lost the partition writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, or_, select, update

from monitor.store import coverage, retries
from monitor.store.engine import Store
from monitor.store.outbox import Message, enqueue_many
from monitor.store.tables import (
    config_versions,
    dead_letters,
    forgotten,
    partitions,
    sample_content,
    samples,
    summaries,
    watermark_advances,
)

_CHUNK = 200  # keys in one IN list: far below every database's limit on parameters


class Fenced(Exception):
    """Another owner has claimed a partition (or its offset moved): nothing was written; drop its state."""

    def __init__(self, lost: Sequence[tuple[str, int]]) -> None:
        self.lost = list(lost)
        names = ", ".join(f"{topic}/{partition}" for topic, partition in lost)
        super().__init__(f"no longer the owner of {names}; another worker claimed it")


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition as its new owner finds it."""

    topic: str
    partition: int
    owner: str
    generation: int
    next_offset: int
    watermark_us: int | None
    max_time_us: int | None
    begun: bool
    events: int
    duplicates: int
    dead_letters: int
    late_events: int
    state: bytes
    counters: dict[str, int]


@dataclass(slots=True)
class PartitionCommit:
    """What a stretch of one partition's records led to. Row dictionaries are those of the tables."""

    topic: str
    partition: int
    generation: int
    from_offset: int
    next_offset: int
    watermark_us: int | None
    max_time_us: int | None
    begun: bool
    state: bytes
    events: int
    duplicates: int
    dead_letters: int
    late_events: int
    counters: Mapping[str, int]
    summary_rows: list[dict[str, Any]] = field(default_factory=list)
    sample_rows: list[dict[str, Any]] = field(default_factory=list)
    content_rows: list[dict[str, Any]] = field(default_factory=list)
    dead_letter_rows: list[dict[str, Any]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    advance: tuple[int, str] | None = None  # watermark, reason
    config_version: str = ""
    config_document: str = ""
    first_window_us: int | None = None
    retries: list[retries.Outcome] = field(default_factory=list)
    now_us: int = 0  # wall clock: when those were carried out


def retire(store: Store, topics: Collection[str]) -> None:
    """Let the partitions of all topics but the configured ``topics`` hold event time no longer."""
    with store.write() as connection:
        connection.execute(
            update(partitions)
            .where(partitions.c.topic.not_in(sorted(topics)), partitions.c.watermark_us.is_not(None))
            .values(watermark_us=None)
        )


def expect(store: Store, ends: Mapping[tuple[str, int], int]) -> None:
    """Say what there is to read before any of it is read: ``ends`` maps every (topic, partition) that the brokers
    know of the configured topics to the offset after its last record.

    A partition with records that nobody has read holds event time where it is closed now, so that no tick is
    evaluated without them, however late its owner comes.
    """
    with store.write() as connection:
        known = {(row.topic, row.partition): row for row in connection.execute(select(partitions))}
        frontier = coverage.closed_until(connection) or 0
        for (topic, partition), end in sorted(ends.items()):
            row = known.get((topic, partition))
            if row is None:
                unread = frontier if end > 0 else None
                store.insert_ignore(connection, partitions, [_fresh(topic, partition, unread)])
            elif row.watermark_us is None and (row.begun or end > row.next_offset):
                connection.execute(update(partitions).where(_at(topic, partition)).values(watermark_us=frontier))


def hold(store: Store, topic: str, partition: int) -> int:
    """Before the first records of a partition that was empty: the watermark that it holds from now on, which is how
    far event time is closed (µs; 0 where nothing is). What lies behind it came too late for the ticks already done.
    """
    with store.write() as connection:
        frontier = coverage.closed_until(connection) or 0
        connection.execute(
            update(partitions)
            .where(_at(topic, partition), partitions.c.watermark_us.is_(None))
            .values(watermark_us=frontier)
        )
        return int(connection.execute(select(partitions.c.watermark_us).where(_at(topic, partition))).scalar_one())


def _at(topic: str, partition: int) -> ColumnElement[bool]:
    return and_(partitions.c.topic == topic, partitions.c.partition == partition)


def _fresh(topic: str, partition: int, watermark_us: int | None) -> dict[str, Any]:
    return {
        "topic": topic,
        "partition": partition,
        "next_offset": 0,
        "generation": 0,
        "owner": "",
        "watermark_us": watermark_us,
        "max_time_us": None,
        "begun": False,
        "events": 0,
        "duplicates": 0,
        "dead_letters": 0,
        "late_events": 0,
        "state": b"",
        "counters": "{}",
    }


def claim(store: Store, topic: str, partition: int, owner: str) -> Claim:
    """Become the owner of a partition: its generation grows, so that commits of the previous owner fail."""
    here = _at(topic, partition)
    with store.write() as connection:
        store.insert_ignore(connection, partitions, [_fresh(topic, partition, None)])
        connection.execute(update(partitions).where(here).values(generation=partitions.c.generation + 1, owner=owner))
        row = connection.execute(select(partitions).where(here)).one()
    return _claim(row)


def _claim(row: Row[Any]) -> Claim:
    return Claim(
        row.topic,
        row.partition,
        row.owner,
        row.generation,
        row.next_offset,
        row.watermark_us,
        row.max_time_us,
        bool(row.begun),
        row.events,
        row.duplicates,
        row.dead_letters,
        row.late_events,
        bytes(row.state),
        dict(json.loads(row.counters)),
    )


def commit(store: Store, commits: Sequence[PartitionCommit]) -> None:
    """Write all of them in one transaction. Raises Fenced (nothing written) or StoreUnavailable (try again)."""
    with store.write() as connection:
        # In a fixed order, so that two workers that overlap for a moment cannot wait for each other.
        ordered = sorted(commits, key=lambda c: (c.topic, c.partition))
        lost = [(c.topic, c.partition) for c in ordered if not _advance(connection, c)]
        if lost:
            raise Fenced(lost)
        store.upsert(
            connection,
            summaries,
            [row for c in ordered for row in c.summary_rows],
            update=("events", "state"),
        )
        _insert_unforgotten(store, connection, ordered)
        for c in ordered:
            retries.settle(connection, c.retries, c.now_us)
        enqueue_many(connection, [message for c in ordered for message in c.messages])
        advances = [
            {
                "topic": c.topic,
                "partition": c.partition,
                "offset": c.next_offset,
                "watermark_us": c.advance[0],
                "reason": c.advance[1],
            }
            for c in ordered
            if c.advance is not None
        ]
        if advances:
            connection.execute(insert(watermark_advances), advances)
        _record_config(store, connection, ordered)


def _advance(connection: Connection, c: PartitionCommit) -> bool:
    statement = (
        update(partitions)
        .where(
            partitions.c.topic == c.topic,
            partitions.c.partition == c.partition,
            partitions.c.next_offset == c.from_offset,
            partitions.c.generation == c.generation,
        )
        .values(
            next_offset=c.next_offset,
            watermark_us=c.watermark_us,
            max_time_us=c.max_time_us,
            begun=c.begun,
            state=c.state,
            events=c.events,
            duplicates=c.duplicates,
            dead_letters=c.dead_letters,
            late_events=c.late_events,
            counters=json.dumps(dict(c.counters), sort_keys=True),
        )
    )
    return connection.execute(statement).rowcount == 1


def _insert_unforgotten(store: Store, connection: Connection, commits: Sequence[PartitionCommit]) -> None:
    sample_rows = [row for c in commits for row in c.sample_rows]
    content_rows = [row for c in commits for row in c.content_rows]
    letters = [row for c in commits for row in c.dead_letter_rows]
    users = {row["user_key"] for row in (*sample_rows, *letters)} - {""}
    events = {row["event_id"] for row in (*sample_rows, *letters)} - {""}
    gone = forgotten_among(connection, users, events)
    if gone:
        kept = {row["sample_id"] for row in sample_rows if not _is_gone(row, gone)}
        sample_rows = [row for row in sample_rows if row["sample_id"] in kept]
        content_rows = [row for row in content_rows if row["sample_id"] in kept]
        letters = [
            {**row, "key": None, "original": None, "event_id": "", "user_key": "", "detail": "forgotten"}
            if _is_gone(row, gone)
            else row
            for row in letters
        ]
    store.insert_ignore(connection, samples, sample_rows)
    store.insert_ignore(connection, sample_content, content_rows)
    store.upsert(connection, dead_letters, letters)


def _is_gone(row: Mapping[str, Any], gone: set[tuple[str, str]]) -> bool:
    return ("user", row["user_key"]) in gone or ("event", row["event_id"]) in gone


def forgotten_among(connection: Connection, users: set[str], events: set[str]) -> set[tuple[str, str]]:
    """Of these user keys and event ids, the forgotten ones; an event is kept there by its id's hash."""
    if connection.execute(select(forgotten.c.kind).limit(1)).first() is None:
        return set()
    hashed = {forgotten_event_key(event): event for event in events}
    found: set[tuple[str, str]] = set()
    for kind, keys in (("user", sorted(users)), ("event", sorted(hashed))):
        for start in range(0, len(keys), _CHUNK):
            query = select(forgotten.c.key).where(
                forgotten.c.kind == kind, forgotten.c.key.in_(keys[start : start + _CHUNK])
            )
            for (key,) in connection.execute(query):
                found.add((kind, key if kind == "user" else hashed[key]))
    return found


def _record_config(store: Store, connection: Connection, commits: Iterable[PartitionCommit]) -> None:
    first: dict[str, dict[str, Any]] = {}
    for c in commits:
        if c.config_version and c.first_window_us is not None:
            row = first.setdefault(
                c.config_version,
                {
                    "version": c.config_version,
                    "first_window_us": c.first_window_us,
                    "document": c.config_document,
                },
            )
            row["first_window_us"] = min(row["first_window_us"], c.first_window_us)
    for row in first.values():
        if not store.insert_ignore(connection, config_versions, [row]):
            connection.execute(
                update(config_versions)
                .where(
                    config_versions.c.version == row["version"],
                    or_(
                        config_versions.c.first_window_us.is_(None),
                        config_versions.c.first_window_us > row["first_window_us"],
                    ),
                )
                .values(first_window_us=row["first_window_us"])
            )


def open_rows(
    store: Store, topic: str, partition: int, *, from_window_us: int | None = None, late_windows: Iterable[int] = ()
) -> list[tuple[int, str, str, str, bool, bytes]]:
    """(window, route, segment, version, late, state) of a partition's rows that may still change.

    On-time rows of windows that start at or after ``from_window_us``, and late rows of ``late_windows``.
    """
    columns = (
        summaries.c.window_us,
        summaries.c.route,
        summaries.c.segment,
        summaries.c.version,
        summaries.c.late,
        summaries.c.state,
    )
    mine = and_(summaries.c.topic == topic, summaries.c.partition == partition, summaries.c.level == 0)
    rows: list[Any] = []
    with store.read() as connection:
        if from_window_us is not None:
            rows += connection.execute(
                select(*columns).where(mine, summaries.c.window_us >= from_window_us, ~summaries.c.late)
            ).all()
        windows = sorted(late_windows)
        for start in range(0, len(windows), _CHUNK):
            chunk = windows[start : start + _CHUNK]
            rows += connection.execute(
                select(*columns).where(mine, summaries.c.window_us.in_(chunk), summaries.c.late)
            ).all()
    return [(w, route, segment, version, bool(late), bytes(state)) for w, route, segment, version, late, state in rows]


def status(store: Store) -> dict[str, Any]:
    """Totals over all partitions: ``events, duplicates, dead_letters, late_events, counters, offsets``.

    ``offsets`` maps ``topic/partition`` to the first offset not yet in the rows.
    """
    with store.read() as connection:
        rows = connection.execute(select(partitions).order_by(partitions.c.topic, partitions.c.partition)).all()
    counters: dict[str, int] = {}
    for row in rows:
        for name, value in json.loads(row.counters).items():
            counters[name] = counters.get(name, 0) + value
    return {
        "events": sum(row.events for row in rows),
        "duplicates": sum(row.duplicates for row in rows),
        "dead_letters": sum(row.dead_letters for row in rows),
        "late_events": sum(row.late_events for row in rows),
        "counters": dict(sorted(counters.items())),
        "offsets": {f"{row.topic}/{row.partition}": row.next_offset for row in rows},
    }


def greatest_watermark(store: Store) -> tuple[int | None, int | None]:
    """(greatest watermark, greatest event time) over all partitions; None before any event."""
    with store.read() as connection:
        rows = connection.execute(select(partitions.c.watermark_us, partitions.c.max_time_us)).all()
    marks = [row.watermark_us for row in rows if row.watermark_us is not None]
    times = [row.max_time_us for row in rows if row.max_time_us is not None]
    return max(marks, default=None), max(times, default=None)


def forgotten_event_key(event_id: str) -> str:
    """The key under which a forgotten event is kept in the table ``forgotten``."""
    return sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()
