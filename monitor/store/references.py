"""Reference sets: immutable, versioned per segment; at most one of a segment is active.

States: draft -> approved -> active -> retired. The content never changes once written; its digest is kept beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from monitor.store.engine import Store
from monitor.store.tables import reference_samples, references


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


def approve(store: Store, identity: str) -> ReferenceSet:
    """draft -> approved. Raises ReferenceFault for another state."""
    return _move(store, identity, ("draft",), "approved")


def activate(store: Store, identity: str, *, encoder: str | None = None) -> ReferenceSet:
    """approved (or retired) -> active; the one before is retired, and its streams start again from zero evidence.

    ``encoder`` is the identity of the encoder in use: a reference made with another one is refused, since its
    vectors cannot be compared.
    """
    found = get(store, identity)
    if encoder is not None and found.encoder and found.encoder != encoder:
        raise ReferenceFault(
            f"reference {found.reference_id} was made with encoder {found.encoder}, in use is {encoder}: vectors of "
            "different encoders cannot be compared; build a reference from samples embedded with the present one"
        )
    return _move(store, identity, ("approved", "retired"), "active")


def _move(store: Store, identity: str, states: tuple[str, ...], state: str) -> ReferenceSet:
    found = get(store, identity)
    if found.state not in states:
        raise ReferenceFault(
            f"reference {found.reference_id} is {found.state}; "
            f"only one that is {' or '.join(states)} can become {state}"
        )
    with store.write() as connection:
        if state == "active":
            _retire(connection, found.segment)
        connection.execute(
            update(references).where(references.c.reference_id == found.reference_id).values(state=state)
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
