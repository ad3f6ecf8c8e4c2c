"""Sampled inputs for pages: what was found out about them over a range, in reads of bounded size.

Of a range with more samples than a page can read, all samples of some minutes are taken, the same minutes each time:
every session of the range is then in with the same chance, so that 1 / `pi` weighs them as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from monitor.store.evaluation import SampleRow
from monitor.store.tables import forgotten, reference_samples, references, sample_content, sample_parts, samples
from monitor.times import MINUTE_US

_AT_ONCE = 500
_OF = 997  # minutes, a prime: of every hour and day each minute is taken as often as any other
_STEP = 421


@dataclass(frozen=True, slots=True)
class Looked:
    """A sample as far as pages show it. ``sample`` has no facts, and of its parts no vectors."""

    sample: SampleRow
    state: str  # pending | embedded | missing
    reason: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """``total``: the samples of the range; ``part``: of its minutes the share that ``looked`` holds, 1: all."""

    looked: list[Looked]
    total: int
    part: float


def inputs(connection: Connection, segment: str | None, from_us: int, to_us: int, most: int) -> Inputs:
    """Samples of a segment (None: of all) with from <= window < to, about ``most`` of them, by window and id."""
    span = [samples.c.window_us >= from_us, samples.c.window_us < to_us]
    if segment is not None:
        span.append(samples.c.segment == segment)
    total = connection.execute(select(func.count()).select_from(samples).where(*span)).scalar_one()
    minutes = _OF if total <= most else max(1, _OF * most // total)
    query = (
        select(
            samples.c.sample_id,
            samples.c.window_us,
            samples.c.route,
            samples.c.segment,
            samples.c.pi,
            samples.c.state,
            samples.c.reason,
            samples.c.encoder,
            sample_parts.c.modality,
            sample_parts.c.agreement,
            sample_parts.c.conditions,
        )
        .join(sample_parts, sample_parts.c.sample_id == samples.c.sample_id, isouter=True)
        .where(*span, samples.c.pi > 0)
    )
    if minutes < _OF:
        query = query.where(_minute() < minutes)
    found: dict[str, tuple[Any, list[tuple[str, bytes | None, float | None, str]]]] = {}
    query = query.order_by(samples.c.window_us, samples.c.sample_id, sample_parts.c.part)
    for row in connection.execute(query).all():
        entry = found.setdefault(row.sample_id, (row, []))
        if row.modality is not None:
            entry[1].append((row.modality, None, row.agreement, row.conditions))
    looked = [
        Looked(
            SampleRow(r.sample_id, r.window_us, r.route, r.segment, r.pi, r.encoder, "", tuple(parts)),
            r.state,
            r.reason,
        )
        for r, parts in found.values()
    ]
    return Inputs(looked, total, minutes / _OF)


def extent(connection: Connection, segment: str | None, from_us: int, to_us: int) -> tuple[int, int, int]:
    """(samples of the range, samples of its windows that wait, what was forgotten): another where `inputs` may be
    another, once the windows of the range are closed."""
    span = [samples.c.window_us >= from_us, samples.c.window_us < to_us]
    of_segment = [] if segment is None else [samples.c.segment == segment]
    queries = (
        select(func.count()).select_from(samples).where(*span, *of_segment),
        select(func.count()).select_from(samples).where(*span, samples.c.state == "pending"),
        select(func.count()).select_from(forgotten),
    )
    total, waiting, gone = (int(connection.execute(query).scalar_one()) for query in queries)
    return total, waiting, gone


def any_sample(connection: Connection, segment: str) -> bool:
    """Whether any sample of the segment is kept."""
    return (
        connection.execute(select(samples.c.sample_id).where(samples.c.segment == segment).limit(1)).first() is not None
    )


def _minute() -> ColumnElement[int]:
    """A window's place in an order of minutes, 0 to `_OF` - 1: of those below k no two lie close."""
    return ((samples.c.window_us // MINUTE_US) % _OF * _STEP) % _OF


def with_vectors(connection: Connection, chosen: Sequence[SampleRow]) -> list[SampleRow]:
    """The same samples with the vectors of their parts."""
    parts: dict[str, list[tuple[str, bytes | None, float | None, str]]] = {}
    t = sample_parts.c
    for ids in _chunks([sample.sample_id for sample in chosen]):
        query = select(t.sample_id, t.modality, t.vector, t.agreement, t.conditions).where(t.sample_id.in_(ids))
        for row in connection.execute(query.order_by(t.sample_id, t.part)).all():
            vector = None if row.vector is None else bytes(row.vector)
            parts.setdefault(row.sample_id, []).append((row.modality, vector, row.agreement, row.conditions))
    return [
        SampleRow(s.sample_id, s.window_us, s.route, s.segment, s.pi, s.encoder, s.facts, tuple(parts[s.sample_id]))
        for s in chosen
        if s.sample_id in parts
    ]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is still there of a sample: its event's id, and whether there is a thumbnail."""

    event_id: str
    pictured: bool


def kept(connection: Connection, ids: Sequence[str]) -> dict[str, Kept]:
    """Of these samples those that retention (and `driftline forget`) left."""
    found: dict[str, Kept] = {}
    for some in _chunks(ids):
        query = (
            select(
                samples.c.sample_id, samples.c.event_id, sample_content.c.thumbnail.is_not(None).label("pictured")
            )
            .join(sample_content, sample_content.c.sample_id == samples.c.sample_id, isouter=True)
            .where(samples.c.sample_id.in_(some))
        )  # fmt: skip
        for row in connection.execute(query).all():
            found[row.sample_id] = Kept(row.event_id, bool(row.pictured))
    return found


@dataclass(frozen=True, slots=True)
class Copied:
    """Of a segment's active reference what the page of inputs needs, and its copied sessions as stored."""

    reference_id: str
    version: int
    encoder: str
    from_us: int
    to_us: int
    rows: int
    vectors: list[tuple[str, bytes]]  # (sample id, packed session)


def active_copy(connection: Connection, segment: str, most: int) -> Copied | None:
    """The segment's active reference with ``most`` of its sessions: ids are hashes, so the first are a uniform choice.

    Without its content, which is large and not needed here.
    """
    c = references.c
    row = connection.execute(
        select(c.reference_id, c.version, c.encoder, c.from_us, c.to_us, c.rows).where(
            and_(c.segment == segment, c.state == "active")
        )
    ).first()
    if row is None:
        return None
    return Copied(*row, vectors=copied(connection, row.reference_id, most))


def copied(connection: Connection, reference_id: str, most: int) -> list[tuple[str, bytes]]:
    """(sample id, packed session) of ``most`` of a reference's sessions, the same ones each time."""
    t = reference_samples.c
    query = (
        select(t.sample_id, t.vectors)
        .where(t.reference_id == reference_id, t.vectors.is_not(None))
        .order_by(t.sample_id)
        .limit(most)
    )
    return [(row.sample_id, bytes(row.vectors)) for row in connection.execute(query).all()]


def _chunks(values: Sequence[str]) -> list[Sequence[str]]:
    return [values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE)]
