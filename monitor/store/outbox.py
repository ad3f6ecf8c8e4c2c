"""The transactional outbox: what is to be told to whom, written in the transaction that decided it.

There is one row per (sink, key). Enqueueing again replaces the payload of that row and raises its
``revision``, so an older update which was not sent yet is superseded by the newest state, and what the
target answered before (``remote``: an annotation's id, which peers have it) stays with it. A claim is a
lease: whoever sends must say how it went before the lease ends, else the row is due again. Delivery is
therefore at least once, and every sink makes a repeated delivery harmless.

States: ``pending`` (to be sent), ``sent`` (delivered; ``due_us`` is when to send again, or ``NEVER``),
``failed`` (the target refused the content itself; a newer revision makes it pending again), ``dismissed`` (somebody put
it aside; likewise). What people decide of rows is in `monitor.store.deliveries`.
Times are wall-clock microseconds, passed in by the caller.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, case, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from monitor.store.tables import outbox

NEVER: Final = 2**62
"""A ``due_us`` that does not come: the row needs no further delivery."""

UNDELIVERED: Final = ("pending", "failed")
_KEPT = ("anomaly", "report")  # kinds whose sent rows stay for a while, so that the same is not sent again
_MAX_ERROR = 500  # characters of an error kept; a whole HTML page of a proxy helps nobody


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to be told to one sink.

    ``key`` makes it idempotent: the id of an anomaly or review item, ``topic/partition/offset`` of a dead letter.
    """

    sink: str
    key: str
    kind: str  # anomaly | deploy | dead_letter | review_item | report | test
    payload: Mapping[str, Any]
    created_us: int
    due_us: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A row of the outbox as a sink sees it. ``lease_until_us`` identifies the claim."""

    id: int
    sink: str
    key: str
    kind: str
    payload: dict[str, Any]
    state: str
    attempts: int
    due_us: int
    lease_until_us: int
    error: str
    created_us: int
    revision: int
    remote: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Depth:
    """How many rows of a sink are in a state, since when the oldest has been to be sent, and the most attempts made.

    What waits for the end of a mute is to be sent from then on: its ``oldest_us`` lies ahead.
    """

    sink: str
    state: str
    rows: int
    oldest_us: int
    attempts: int


def encode(document: Mapping[str, Any]) -> str:
    """JSON with sorted keys, so that equal documents are equal text. NaN is refused (ValueError)."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def enqueue(
    conn: Connection,
    *,
    sink: str,
    key: str,
    kind: str,
    payload: Mapping[str, Any],
    created_us: int,
    due_us: int,
) -> None:
    """Put one message into the outbox, in the caller's transaction. See `enqueue_many`."""
    enqueue_many(conn, [Message(sink, key, kind, payload, created_us, due_us)])


def enqueue_many(conn: Connection, messages: Iterable[Message]) -> None:
    """Put messages into the outbox, in the caller's transaction.

    For a (sink, key) that is already there the newest payload wins: the row becomes pending again with its
    attempts counted from zero. An equal payload changes nothing unless the row had failed.
    """
    newest = {(m.sink, m.key): m for m in messages}  # one statement must not touch a row twice
    rows = [
        {
            "sink": m.sink,
            "key": m.key,
            "kind": m.kind,
            "payload": encode(m.payload),
            "state": "pending",
            "attempts": 0,
            "due_us": m.due_us,
            "lease_until_us": 0,
            "error": "",
            "created_us": m.created_us,
            "revision": 1,
            "remote": "{}",
        }
        for m in newest.values()
    ]
    if not rows:
        return
    insert = postgresql.insert(outbox) if conn.dialect.name == "postgresql" else sqlite.insert(outbox)
    statement = insert.on_conflict_do_update(
        index_elements=[outbox.c.sink, outbox.c.key],
        set_={
            "kind": insert.excluded.kind,
            "payload": insert.excluded.payload,
            "state": "pending",
            "attempts": 0,
            "due_us": insert.excluded.due_us,
            "error": "",
            "created_us": insert.excluded.created_us,
            "revision": outbox.c.revision + 1,
            # The lease stays: who is sending the old revision reports on it first, then the new one is due.
        },
        where=or_(outbox.c.payload != insert.excluded.payload, outbox.c.state == "failed"),
    )
    conn.execute(statement, rows)


def has_due(conn: Connection, *, sink: str, now_us: int) -> bool:
    """Whether `claim_due` would return anything; a read, so that an idle dispatcher takes no write lock."""
    return conn.execute(select(outbox.c.id).where(_due(now_us), outbox.c.sink == sink).limit(1)).first() is not None


def claim_due(
    conn: Connection, *, sink: str, now_us: int, lease_us: Callable[[int], int], limit: int = 100
) -> list[OutboxRow]:
    """Lease up to ``limit`` due rows of a sink, the longest due first; call inside a write transaction.

    ``lease_us`` gives the length of the lease for the number of rows there are.

    Two dispatchers never hold one row: PostgreSQL skips rows another one is claiming,
    SQLite admits one writer.
    """
    query = (
        select(outbox).where(_due(now_us), outbox.c.sink == sink).order_by(outbox.c.due_us, outbox.c.id).limit(limit)
    )
    if conn.dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True)
    rows = [_row(found) for found in conn.execute(query).mappings()]
    if not rows:
        return []
    until = now_us + lease_us(len(rows))
    conn.execute(update(outbox).where(outbox.c.id.in_([row.id for row in rows])).values(lease_until_us=until))
    return [replace(row, lease_until_us=until) for row in rows]


def mark_sent(conn: Connection, sent: Sequence[tuple[OutboxRow, Mapping[str, Any], int | None]]) -> None:
    """Record deliveries: (row, what the target answered, when to send again or None).

    A row that was enqueued again meanwhile stays pending and keeps the answer. A delivered dead letter or
    review item is deleted: the store has a table of its own for it, and the outbox must not grow without bound.
    """
    finished = [row for row, _, again_us in sent if row.kind not in _KEPT and again_us is None]
    kept = [entry for entry in sent if entry[0].kind in _KEPT or entry[2] is not None]
    if finished:
        conn.execute(
            delete(outbox).where(_MINE, outbox.c.revision == bindparam("b_revision")),
            [_identify(row) for row in finished],
        )
        conn.execute(update(outbox).where(_MINE).values(lease_until_us=0), [_claim_of(row) for row in finished])
    _settle(
        conn,
        [
            (
                row,
                remote,
                {"state": "sent", "error": "", "attempts": 0, "due_us": NEVER if again is None else again},
            )
            for row, remote, again in kept
        ],
    )


def mark_retry(conn: Connection, row: OutboxRow, *, due_us: int, error: str, remote: Mapping[str, Any]) -> None:
    """Record an attempt that did not get through; the row is due again at ``due_us``."""
    _settle(
        conn,
        [(row, remote, {"state": row.state, "error": error, "attempts": row.attempts + 1, "due_us": due_us})],
    )


def mark_failed(conn: Connection, row: OutboxRow, *, error: str, remote: Mapping[str, Any]) -> None:
    """Record that the target refused the content itself: sending it again would be refused again."""
    _settle(
        conn,
        [(row, remote, {"state": "failed", "error": error, "attempts": row.attempts + 1, "due_us": NEVER})],
    )


def depths(conn: Connection) -> list[Depth]:
    """Rows by sink and state, ordered by both."""
    query = (
        select(
            outbox.c.sink,
            outbox.c.state,
            func.count(),
            func.min(case((_UNTRIED, outbox.c.due_us), else_=outbox.c.created_us)),
            func.max(outbox.c.attempts),
        )
        .group_by(outbox.c.sink, outbox.c.state)
        .order_by(outbox.c.sink, outbox.c.state)
    )
    return [Depth(*row) for row in conn.execute(query)]


def deliveries(conn: Connection, key: str) -> list[OutboxRow]:
    """What is known of one key (an anomaly's id) at every sink, ordered by sink."""
    query = select(outbox).where(outbox.c.key == key).order_by(outbox.c.sink)
    return [_row(found) for found in conn.execute(query).mappings()]


def sinks_of(conn: Connection, keys: Sequence[str]) -> dict[str, set[str]]:
    """The sinks that each key was put into the outbox for."""
    found: dict[str, set[str]] = {}
    for begin in range(0, len(keys), 500):  # a statement takes a bounded number of values
        wanted = outbox.c.key.in_(keys[begin : begin + 500])
        for key, sink in conn.execute(select(outbox.c.key, outbox.c.sink).where(wanted)):
            found.setdefault(key, set()).add(sink)
    return found


def withdraw(conn: Connection, keys: Collection[str]) -> None:
    """Take back what was never tried: nobody can have been told, and now nobody is."""
    for key in keys:
        conn.execute(delete(outbox).where(outbox.c.key == key, _UNTRIED))


def put_off(conn: Connection, keys: Collection[str], due_us: int) -> None:
    """Make what was never tried due at ``due_us`` instead."""
    for key in keys:
        conn.execute(update(outbox).where(outbox.c.key == key, _UNTRIED).values(due_us=due_us))


def undelivered(
    conn: Connection, *, sink: str | None = None, states: Collection[str] = UNDELIVERED, limit: int = 100
) -> list[OutboxRow]:
    """Rows that are pending or failed (or in other ``states``), the oldest first."""
    query = select(outbox).where(outbox.c.state.in_(sorted(states))).order_by(outbox.c.created_us, outbox.c.id)
    if sink is not None:
        query = query.where(outbox.c.sink == sink)
    return [_row(found) for found in conn.execute(query.limit(limit)).mappings()]


def beginning(conn: Connection, key: str, *, sink: str | None = None, limit: int = 100) -> list[OutboxRow]:
    """Rows in any state whose key begins with ``key``, ordered by key and sink."""
    query = select(outbox).where(outbox.c.key.startswith(key, autoescape=True)).order_by(outbox.c.key, outbox.c.sink)
    if sink is not None:
        query = query.where(outbox.c.sink == sink)
    found = [_row(found) for found in conn.execute(query.limit(limit)).mappings()]
    return [row for row in found if row.key.startswith(key)]  # some databases do not tell capitals apart


def move(
    conn: Connection, row: OutboxRow, state: str, *, due_us: int, remote: Mapping[str, Any], anew: bool = False
) -> bool:
    """Put a row that nobody sends into another state; ``anew``: as if it had not been tried. False where it has changed
    since it was read."""
    values: dict[str, Any] = {"state": state, "due_us": due_us, "remote": encode(remote)}
    if anew:
        values |= {"attempts": 0, "error": ""}
    same = and_(outbox.c.id == row.id, outbox.c.state == row.state, outbox.c.revision == row.revision)
    return conn.execute(update(outbox).where(same).values(values)).rowcount == 1


def bring_forward(conn: Connection, *, now_us: int, by_us: int) -> int:
    """Make what is due after ``now_us`` due earlier by ``by_us``, now at the earliest; return how many rows."""
    later = and_(outbox.c.due_us > now_us, outbox.c.due_us < NEVER)
    earlier = case((outbox.c.due_us - by_us > now_us, outbox.c.due_us - by_us), else_=now_us)
    return conn.execute(update(outbox).where(later).values(due_us=earlier)).rowcount


def prune(conn: Connection, *, before_us: int) -> int:
    """Delete rows that need no further delivery and were created before ``before_us``; return how many."""
    finished = and_(outbox.c.due_us == NEVER, outbox.c.created_us < before_us)
    return conn.execute(delete(outbox).where(finished)).rowcount


_UNTRIED = and_(
    outbox.c.state == "pending", outbox.c.attempts == 0, outbox.c.lease_until_us == 0, outbox.c.remote == "{}"
)
_MINE = and_(outbox.c.id == bindparam("b_id"), outbox.c.lease_until_us == bindparam("b_lease"))


def _due(now_us: int) -> Any:
    return and_(outbox.c.state.in_(("pending", "sent")), outbox.c.due_us <= now_us, outbox.c.lease_until_us <= now_us)


def _claim_of(row: OutboxRow) -> dict[str, Any]:
    return {"b_id": row.id, "b_lease": row.lease_until_us}


def _identify(row: OutboxRow) -> dict[str, Any]:
    return {**_claim_of(row), "b_revision": row.revision}


def _settle(conn: Connection, outcomes: Sequence[tuple[OutboxRow, Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Write how deliveries went, unless the claim was lost; a superseded row only keeps its answer."""
    if not outcomes:
        return
    outcome_of_this_revision = (
        update(outbox)
        .where(_MINE, outbox.c.revision == bindparam("b_revision"))
        .values({name: bindparam(f"b_{name}") for name in ("state", "error", "attempts", "due_us", "remote")})
    )
    release = update(outbox).where(_MINE).values(lease_until_us=0, remote=bindparam("b_remote"))
    parameters = [
        {
            **_identify(row),
            "b_remote": encode(remote),
            "b_state": values["state"],
            "b_error": values["error"][:_MAX_ERROR],
            "b_attempts": values["attempts"],
            "b_due_us": values["due_us"],
        }
        for row, remote, values in outcomes
    ]
    conn.execute(outcome_of_this_revision, parameters)
    conn.execute(release, [{key: p[key] for key in ("b_id", "b_lease", "b_remote")} for p in parameters])


def _row(found: Mapping[Any, Any]) -> OutboxRow:
    return OutboxRow(
        id=found["id"],
        sink=found["sink"],
        key=found["key"],
        kind=found["kind"],
        payload=json.loads(found["payload"]),
        state=found["state"],
        attempts=found["attempts"],
        due_us=found["due_us"],
        lease_until_us=found["lease_until_us"],
        error=found["error"],
        created_us=found["created_us"],
        revision=found["revision"],
        remote=json.loads(found["remote"]),
    )
