"""Dead letters that are read again: asked for by people, carried out by the owner of the partition.

Whoever owns a partition writes its rows, so that nobody else may count an event of it. Asking therefore only adds a
row; the owner reads the letter's bytes under the configuration of that moment, and what came of it is written in the
transaction that writes the event: it enters once, or not at all. Rows stay as long as letters do, as the record of who
asked for what.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select, update

from monitor.store.tables import dead_letters, letter_retries

MOST: Final = 1000  # letters that are asked for at once
# asked: waits for the partition's owner. entered: the event is counted. duplicate: it was counted already.
# refused: it is no event still; reason and detail say why.
STATES: Final = ("asked", "entered", "duplicate", "refused")


@dataclass(frozen=True, slots=True)
class Retry:
    """One reading of a dead letter again. ``asked_us``, ``done_us``: wall clock; ``reason`` and ``detail`` of what was
    refused."""

    topic: str
    partition: int
    offset: int
    who: str
    asked_us: int
    state: str
    reason: str
    detail: str
    done_us: int | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A letter that the owner of its partition is to read again."""

    retry_id: int
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a retry. ``event_key`` and ``at_offset``, where the partition was read to, of what entered."""

    retry_id: int
    state: str
    reason: str = ""
    detail: str = ""
    event_key: str = ""
    at_offset: int | None = None


def ask(
    connection: Connection, letters: Sequence[tuple[str, int, int]], topics: Collection[str], who: str, now_us: int
) -> int:
    """Ask for letters to be read again; call inside a write transaction. Returns how many were added: not those that
    wait already, have entered, are not there (or not with their bytes) any more, or of other than the ``topics`` that
    events are read from."""
    asked = 0
    for topic, partition, offset in letters:
        found = connection.execute(
            select(dead_letters.c.time_us).where(
                dead_letters.c.topic == topic,
                dead_letters.c.partition == partition,
                dead_letters.c.offset == offset,
                dead_letters.c.original.is_not(None),
            )
        ).first()
        if (
            found is None
            or topic not in topics
            or connection.execute(_standing(topic, partition, offset)).first() is not None
        ):
            continue
        row = {
            "topic": topic, "partition": partition, "offset": offset, "time_us": found.time_us, "who": who,
            "asked_us": now_us, "state": "asked", "reason": "", "detail": "", "done_us": None, "event_key": "",
            "at_offset": None,
        }  # fmt: skip
        connection.execute(letter_retries.insert().values(row))
        asked += 1
    return asked


def open_letters(
    connection: Connection, reason: str, topics: Collection[str], limit: int = MOST
) -> list[tuple[str, int, int]]:
    """Letters of some topics and a reason that were not read again since, or were refused, the oldest first."""
    t = dead_letters.c
    query = (
        select(t.topic, t.partition, t.offset)
        .where(t.reason == reason, t.topic.in_(sorted(topics)), t.original.is_not(None), ~_settled())
        .order_by(t.time_us, t.topic, t.partition, t.offset)
        .limit(limit)
    )
    return [(row.topic, row.partition, row.offset) for row in connection.execute(query)]


def open_by_reason(connection: Connection) -> dict[str, int]:
    """How many letters are kept that did not become events, by reason."""
    t = dead_letters.c
    query = select(t.reason, func.count()).where(~_settled(("entered", "duplicate"))).group_by(t.reason)
    return {str(row[0]): int(row[1]) for row in connection.execute(query.order_by(t.reason))}


def waiting(connection: Connection, owned: Collection[tuple[str, int]], limit: int = 100) -> list[Waiting]:
    """What was asked for of owned partitions, in order; a letter whose bytes are gone has none."""
    r, d = letter_retries.c, dead_letters.c
    mine = or_(*(and_(r.topic == topic, r.partition == partition) for topic, partition in sorted(owned)))
    query = (
        select(r.id, r.topic, r.partition, r.offset, r.time_us, d.reason, d.key, d.original)
        .select_from(letter_retries.outerjoin(dead_letters, _same_record()))
        .where(r.state == "asked", mine)
        .order_by(r.topic, r.partition, r.offset)
        .limit(limit)
    )
    return [
        Waiting(
            row.id,
            row.topic,
            row.partition,
            row.offset,
            row.time_us // 1000 if row.time_us >= 0 else -1,
            row.reason or "",
            row.key,
            row.original,
        )
        for row in connection.execute(query)
    ]


def settle(connection: Connection, outcomes: Iterable[Outcome], now_us: int) -> None:
    """Write what came of retries; part of the owner's commit."""
    rows = [
        {
            "b_id": one.retry_id, "b_state": one.state, "b_reason": one.reason, "b_detail": one.detail,
            "b_key": one.event_key, "b_at": one.at_offset, "b_done": now_us,
        }
        for one in outcomes
    ]  # fmt: skip
    if rows:
        connection.execute(
            update(letter_retries)
            .where(letter_retries.c.id == bindparam("b_id"))
            .values(
                state=bindparam("b_state"), reason=bindparam("b_reason"), detail=bindparam("b_detail"),
                event_key=bindparam("b_key"), at_offset=bindparam("b_at"), done_us=bindparam("b_done"),
            ),
            rows,
        )  # fmt: skip


def entered(connection: Connection, topic: str, partition: int, from_offset: int) -> dict[str, int]:
    """Keys of events that entered a partition by a retry, and where it was read to then: ``from_offset`` or after."""
    r = letter_retries.c
    query = select(r.event_key, r.at_offset).where(
        r.topic == topic, r.partition == partition, r.state == "entered", r.at_offset >= from_offset
    )
    return {row.event_key: int(row.at_offset) for row in connection.execute(query)}


def uncounted(connection: Connection, topic: str, partition: int, offsets: Collection[int]) -> set[int]:
    """Those of the offsets whose records are dead letters that no retry has made events of."""
    t = dead_letters.c
    query = select(t.offset).where(
        t.topic == topic, t.partition == partition, t.offset.in_(sorted(offsets)), ~_settled(("entered",))
    )
    return {int(row.offset) for row in connection.execute(query)}


def newest(connection: Connection, letters: Collection[tuple[str, int, int]]) -> dict[tuple[str, int, int], Retry]:
    """The last retry of each of some letters; those without one are left out."""
    found: dict[tuple[str, int, int], Retry] = {}
    for topic, partition, offset in letters:
        rows = history(connection, topic, partition, offset)
        if rows:
            found[topic, partition, offset] = rows[-1]
    return found


def history(connection: Connection, topic: str, partition: int, offset: int) -> list[Retry]:
    """Every retry of a letter, in the order in which they were asked for."""
    r = letter_retries.c
    columns = [r[name] for name in Retry.__dataclass_fields__]
    query = select(*columns).where(r.topic == topic, r.partition == partition, r.offset == offset).order_by(r.id)
    return [Retry(*row) for row in connection.execute(query)]


def _standing(topic: str, partition: int, offset: int) -> Any:
    r = letter_retries.c
    here = and_(r.topic == topic, r.partition == partition, r.offset == offset)
    return select(r.id).where(here, r.state != "refused").limit(1)


def _same_record() -> ColumnElement[bool]:
    r, d = letter_retries.c, dead_letters.c
    return and_(r.topic == d.topic, r.partition == d.partition, r.offset == d.offset)


def _settled(states: Sequence[str] = ("asked", "entered", "duplicate")) -> ColumnElement[bool]:
    """Whether a letter has a retry in one of the states."""
    return (
        select(letter_retries.c.id)
        .where(_same_record(), letter_retries.c.state.in_(states))
        .correlate(dead_letters)
        .exists()
    )
