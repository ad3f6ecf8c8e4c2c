"""Reference sets: immutable, versioned per segment; at most one of a segment is active.

States: draft -> approved -> active -> retired. The content never changes once written; its digest is kept beside it.
What people decide (approve, activate) is kept in rows that are only added.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, func, insert, select, update

from monitor.store.decision import Decision
from monitor.store.engine import Store
from monitor.store.tables import reference_decisions, reference_samples, references

MOST_NAME: Final = 100
MOST_NOTE: Final = 1000
_AT_ONCE = 500


class ReferenceFault(Exception):
    """A reference does not exist or cannot do what was asked of it; the message says why."""


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """One row of ``reference_sets``. Times in event time, µs."""

    reference_id: str
    segment: str
    version: int
    state: str  # draft | approved | active | retired
    encoder: str
    from_us: int
    to_us: int
    origin: str  # learned | built
    rows: int
    content: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class ReferenceHead:
    """A reference without its content, which is large. ``rows``: the embedded sessions that it keeps."""

    reference_id: str
    segment: str
    version: int
    state: str
    encoder: str
    from_us: int
    to_us: int
    origin: str
    rows: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision of the past. ``replaced``: id of the reference that was active before, '' where none was."""

    action: Literal["approve", "activate"]
    who: str
    time_us: int
    note: str
    replaced: str


@dataclass(frozen=True, slots=True)
class ReferenceSample:
    sample_id: str
    split: str  # fit | held
    vectors: bytes | None
    user: str = ""  # keyed hash


def digest(content: bytes) -> str:
    """sha256 of a content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def reference_id(segment: str, version: int, content: bytes) -> str:
    """16 hex digits: the same in every run over the same input."""
    return hashlib.sha256(f"{segment}\x00{version}\x00{digest(content)}".encode()).hexdigest()[:16]


def next_version(connection: Connection, segment: str) -> int:
    """The version that the segment's next reference gets: 1, 2, …"""
    last = connection.execute(select(func.max(references.c.version)).where(references.c.segment == segment)).scalar()
    return (last or 0) + 1


def add(
    connection: Connection,
    *,
    segment: str,
    encoder: str,
    from_us: int,
    to_us: int,
    origin: str,
    rows: int,
    content: bytes,
    samples: Sequence[ReferenceSample],
    state: str = "draft",
) -> str:
    """Write a new reference in the caller's transaction and return its id. ``active`` retires the one before."""
    version = next_version(connection, segment)
    identity = reference_id(segment, version, content)
    if state == "active":
        _retire(connection, segment)
    connection.execute(
        insert(references).values(
            reference_id=identity,
            segment=segment,
            version=version,
            state=state,
            encoder=encoder,
            from_us=from_us,
            to_us=to_us,
            origin=origin,
            rows=rows,
            content=content,
            digest=digest(content),
        )
    )
    if samples:
        connection.execute(
            insert(reference_samples),
            [
                {
                    "reference_id": identity,
                    "sample_id": s.sample_id,
                    "split": s.split,
                    "vectors": s.vectors,
                    "user_key": s.user,
                }
                for s in samples
            ],
        )
    return identity


def list_references(store: Store, segment: str | None = None, state: str | None = None) -> list[ReferenceSet]:
    """References by segment and version."""
    query = select(references).order_by(references.c.segment, references.c.version)
    if segment is not None:
        query = query.where(references.c.segment == segment)
    if state is not None:
        query = query.where(references.c.state == state)
    with store.read() as connection:
        return [_row(row) for row in connection.execute(query)]


def active_ids(store: Store) -> dict[str, str]:
    """Id of the active reference by segment."""
    query = select(references.c.segment, references.c.reference_id).where(references.c.state == "active")
    with store.read() as connection:
        return {row.segment: row.reference_id for row in connection.execute(query)}


def newest_id(store: Store, segment: str) -> str | None:
    """Id of the segment's newest reference, whatever its state."""
    query = select(references.c.reference_id).where(references.c.segment == segment)
    with store.read() as connection:
        return connection.execute(query.order_by(references.c.version.desc()).limit(1)).scalar()


def get(store: Store, identity: str) -> ReferenceSet:
    """The reference whose id begins with ``identity``. Raises ReferenceFault where none or several do."""
    query = select(references).where(references.c.reference_id.startswith(identity, autoescape=True)).limit(2)
    with store.read() as connection:
        rows = connection.execute(query).all()
    if len(rows) != 1:
        what = "no reference" if not rows else "several references"
        raise ReferenceFault(f"{what} with an id that begins with {identity!r}; see `driftline reference list`")
    found = _row(rows[0])
    if digest(found.content) != found.digest:
        raise ReferenceFault(f"reference {found.reference_id} is damaged: its content does not match its digest")
    return found


def sample_rows(store: Store, identity: str, limit: int | None = None) -> list[ReferenceSample]:
    """The copied rows of a reference. Their ids are hashes, so that the first ``limit`` are a uniform choice."""
    query = (
        select(reference_samples)
        .where(reference_samples.c.reference_id == identity)
        .order_by(reference_samples.c.sample_id)
        .limit(limit)
    )
    with store.read() as connection:
        return [
            ReferenceSample(row.sample_id, row.split, row.vectors, row.user_key or "")
            for row in connection.execute(query)
        ]


def heads(
    connection: Connection,
    *,
    segment: str | None = None,
    segments: Collection[str] | None = None,
    states: Collection[str] | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[ReferenceHead]:
    """References by segment, the newest version of each first, without their contents."""
    columns = [references.c[name] for name in ReferenceHead.__dataclass_fields__]
    query = select(*columns).order_by(references.c.segment, references.c.version.desc())
    if segment is not None:
        query = query.where(references.c.segment == segment)
    if segments is not None:
        query = query.where(references.c.segment.in_(segments))
    if states is not None:
        query = query.where(references.c.state.in_(states))
    return [ReferenceHead(*row) for row in connection.execute(query.limit(limit).offset(offset)).all()]


def segments_with(connection: Connection, *, limit: int, offset: int = 0) -> list[tuple[str, int]]:
    """(segment, how many versions) of those that have references, in the order of names."""
    c = references.c
    query = select(c.segment, func.count()).group_by(c.segment).order_by(c.segment).limit(limit).offset(offset)
    return [(segment, int(count)) for segment, count in connection.execute(query)]


def count_segments(connection: Connection) -> int:
    """How many segments (and slices) have references."""
    return int(connection.execute(select(func.count(references.c.segment.distinct()))).scalar_one())


def decisions(connection: Connection, identities: Collection[str]) -> dict[str, list[Decided]]:
    """What was decided of each of these references, oldest first."""
    found: dict[str, list[Decided]] = {}
    wanted = sorted(set(identities))
    for start in range(0, len(wanted), _AT_ONCE):
        query = (
            select(reference_decisions)
            .where(reference_decisions.c.reference_id.in_(wanted[start : start + _AT_ONCE]))
            .order_by(reference_decisions.c.id)
        )
        for row in connection.execute(query):
            detail = json.loads(row.detail)
            decided = Decided(row.action, row.who, row.time_us, str(detail["note"]), str(detail.get("replaced", "")))
            found.setdefault(row.reference_id, []).append(decided)
    return found


def approve(store: Store, identity: str, by: Decision | None = None) -> ReferenceSet:
    """draft -> approved. ``by``: what is recorded of the decision. Raises ReferenceFault for another state."""
    return _move(store, identity, ("draft",), "approved", "approve", by)


def activate(store: Store, identity: str, *, encoder: str | None = None, by: Decision | None = None) -> ReferenceSet:
    """approved (or retired) -> active; the one before is retired, and its streams start again from zero evidence.

    ``encoder`` is the identity of the encoder in use: a reference made with another one is refused, since its
    vectors cannot be compared. ``by``: what is recorded of the decision.
    """
    found = get(store, identity)
    if encoder is not None and found.encoder and found.encoder != encoder:
        raise ReferenceFault(
            f"reference {found.reference_id} was made with encoder {found.encoder}, in use is {encoder}: vectors of "
            "different encoders cannot be compared; build a reference from samples embedded with the present one"
        )
    return _move(store, identity, ("approved", "retired"), "active", "activate", by)


def _move(
    store: Store,
    identity: str,
    states: tuple[str, ...],
    state: str,
    action: Literal["approve", "activate"],
    by: Decision | None,
) -> ReferenceSet:
    if by is not None and not 0 < len(by.who) <= MOST_NAME:
        raise ReferenceFault(f"a name has 1 to {MOST_NAME} characters, got {len(by.who)}; say who decides")
    if by is not None and len(by.note) > MOST_NOTE:
        raise ReferenceFault(f"a note has at most {MOST_NOTE} characters, got {len(by.note)}; shorten it")
    found = get(store, identity)
    c = references.c
    with store.write() as connection:
        replaced = ""
        if state == "active":
            in_use = select(c.reference_id).where(c.segment == found.segment, c.state == "active")
            replaced = connection.execute(in_use).scalar() or ""
        now = connection.execute(select(c.state).where(c.reference_id == found.reference_id)).scalar()
        if now not in states:
            raise ReferenceFault(
                f"reference {found.reference_id} is {now}; only one that is {' or '.join(states)} can become {state}"
            )
        if state == "active":
            _retire(connection, found.segment)
        moved = connection.execute(
            update(references).where(c.reference_id == found.reference_id, c.state.in_(states)).values(state=state)
        ).rowcount
        if not moved:
            raise ReferenceFault(f"somebody else moved reference {found.reference_id} just now; look at it again")
        if by is not None:
            connection.execute(
                insert(reference_decisions).values(
                    time_us=by.time_us,
                    who=by.who,
                    action=action,
                    reference_id=found.reference_id,
                    detail=json.dumps(
                        {"v": 1, "note": by.note, "replaced": replaced}, sort_keys=True, ensure_ascii=False
                    ),
                )
            )
    return get(store, found.reference_id)


def _retire(connection: Connection, segment: str) -> None:
    connection.execute(
        update(references)
        .where(references.c.segment == segment, references.c.state == "active")
        .values(state="retired")
    )


def _row(row: Any) -> ReferenceSet:
    return ReferenceSet(
        row.reference_id, row.segment, row.version, row.state, row.encoder, row.from_us, row.to_us, row.origin,
        row.rows, bytes(row.content), row.digest,
    )  # fmt: skip
