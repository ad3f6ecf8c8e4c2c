"""Samples on their way from ``pending`` to ``embedded`` or ``missing``.

Ingest writes a sample as pending, with its inputs in ``sample_content``, in its offset transaction. An embed
worker claims pending samples oldest window first and completes each in one transaction with its parts. Every
completion is conditional on the sample still being pending, so a repeated or overtaken one changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, bindparam, delete, func, select, update

from monitor.store.engine import Store
from monitor.store.tables import sample_content, sample_parts, samples


def sample_id(topic: str, partition: int, event_id: str) -> str:
    """The same in every run over the same input."""
    text = f"{topic}\x00{partition}\x00{event_id}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class PendingSample:
    """What the embed role needs of a sample. ``inputs`` is None when its content is gone (retention, forget)."""

    sample_id: str
    window_us: int
    inputs: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """One input part as it is stored; ``vector`` is float16, little endian, unit norm, or None."""

    part: int
    modality: str
    vector: bytes | None
    conditions: str
    agreement: float | None


@dataclass(frozen=True, slots=True)
class Completion:
    """The outcome of one sample. ``reason`` is '' exactly when it is embedded; ``phash`` is signed 64-bit."""

    sample_id: str
    reason: str
    encoder: str
    phash: int | None = None
    parts: tuple[Part, ...] = field(default=())
    thumbnail: bytes | None = None


@contextlib.contextmanager
def claim(store: Store, limit: int) -> Iterator[tuple[list[PendingSample], Connection | None]]:
    """Claim at most ``limit`` pending samples, oldest window first.

    On PostgreSQL the rows stay locked until the block ends, other workers skip them, and the second value is
    the connection on which ``complete`` belongs; a worker that dies loses its connection and with it the locks.
    On SQLite it is None: reading must not hold up other writers, so the rows are completed by compare-and-set
    in a transaction of their own.
    """
    if store.dialect == "postgresql":
        with store.write() as connection:
            yield _pending(connection, limit, lock=True), connection
    else:
        with store.read() as connection:
            rows = _pending(connection, limit, lock=False)
        yield rows, None


def _pending(connection: Connection, limit: int, *, lock: bool) -> list[PendingSample]:
    chosen = (
        select(samples.c.sample_id, samples.c.window_us)
        .where(samples.c.state == "pending")
        .order_by(samples.c.window_us, samples.c.sample_id)
        .limit(limit)
    )
    if lock:
        chosen = chosen.with_for_update(skip_locked=True)
    rows = connection.execute(chosen).all()
    inputs: dict[str, str] = {}
    ids = [row.sample_id for row in rows]
    for start in range(0, len(ids), 500):  # SQLite builds may limit variables to 999
        found = connection.execute(
            select(sample_content.c.sample_id, sample_content.c.inputs).where(
                sample_content.c.sample_id.in_(ids[start : start + 500])
            )
        )
        inputs.update((row.sample_id, row.inputs) for row in found)
    return [PendingSample(row.sample_id, row.window_us, inputs.get(row.sample_id)) for row in rows]


_COMPLETE = (
    update(samples)
    .where(and_(samples.c.sample_id == bindparam("id_"), samples.c.state == "pending"))
    .values(
        state=bindparam("state_"),
        reason=bindparam("reason_"),
        encoder=bindparam("encoder_"),
        phash=bindparam("phash_"),
    )
)
_THUMBNAIL = (
    update(sample_content)
    .where(sample_content.c.sample_id == bindparam("id_"))
    .values(thumbnail=bindparam("thumbnail_"))
)
_DROP_CONTENT = delete(sample_content).where(sample_content.c.sample_id == bindparam("id_"))


def complete(store: Store, connection: Connection, completions: Sequence[Completion], *, keep_content: bool) -> int:
    """Write outcomes whose samples are still pending, with their parts, in the caller's transaction.

    Samples that were completed, forgotten or removed since they were claimed are left alone. Without
    ``keep_content`` the content row goes, since it was only there for the inputs. Returns how many were written.
    """
    ids = [completion.sample_id for completion in completions]
    live: set[str] = set()
    for start in range(0, len(ids), 500):
        live.update(
            connection.execute(
                select(samples.c.sample_id).where(
                    and_(samples.c.sample_id.in_(ids[start : start + 500]), samples.c.state == "pending")
                )
            ).scalars()
        )
    rows = [completion for completion in completions if completion.sample_id in live]
    if not rows:
        return 0
    connection.execute(
        _COMPLETE,
        [
            {
                "id_": row.sample_id,
                "state_": "missing" if row.reason else "embedded",
                "reason_": row.reason[:60],
                "encoder_": row.encoder if any(part.vector is not None for part in row.parts) else "",
                "phash_": row.phash,
            }
            for row in rows
        ],
    )
    store.upsert(
        connection,
        sample_parts,
        [
            {
                "sample_id": row.sample_id,
                "part": part.part,
                "modality": part.modality,
                "vector": part.vector,
                "conditions": part.conditions,
                "agreement": part.agreement,
            }
            for row in rows
            for part in row.parts
        ],
    )
    if not keep_content:
        connection.execute(_DROP_CONTENT, [{"id_": row.sample_id} for row in rows])
    elif thumbnails := [{"id_": row.sample_id, "thumbnail_": row.thumbnail} for row in rows if row.thumbnail]:
        connection.execute(_THUMBNAIL, thumbnails)
    return len(rows)


def pending_count(connection: Connection) -> int:
    """How many samples wait to be embedded."""
    return int(
        connection.execute(select(func.count()).select_from(samples).where(samples.c.state == "pending")).scalar_one()
    )


def oldest_pending(connection: Connection) -> int | None:
    """Start (µs) of the oldest window with a pending sample; None when nothing waits. Ticks wait for it."""
    value = connection.execute(select(func.min(samples.c.window_us)).where(samples.c.state == "pending")).scalar()
    return None if value is None else int(value)


def coverage(connection: Connection) -> dict[tuple[str, str], int]:
    """Samples by (state, reason): embedded over all is the coverage, the rest says why not."""
    rows = connection.execute(
        select(samples.c.state, samples.c.reason, func.count()).group_by(samples.c.state, samples.c.reason)
    )
    return {(row[0], row[1]): int(row[2]) for row in rows}
