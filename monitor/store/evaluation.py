"""What the evaluator reads and writes: the lease, closed time, rows of ticks, stream states, evidence, anomalies.

Everything a batch of ticks led to is written in one transaction whose first statement is a compare-and-set on
(generation, done_until): whoever lost the lead, or repeats a batch, writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from monitor.store import coverage, reads
from monitor.store.anomalies import mute
from monitor.store.engine import Store
from monitor.store.outbox import Message, enqueue_many, sinks_of, withdraw
from monitor.store.tables import (
    anomalies,
    evaluation,
    evidence,
    sample_parts,
    samples,
    stream_states,
    summaries,
)

LEADER = "leader"
_SKEW_US = 600_000_000  # by how much clocks of two machines may differ


class NotLeader(Exception):
    """Another process took the lead, or these ticks are done already: nothing was written."""


@dataclass(frozen=True, slots=True)
class Lead:
    """A held lease and where the work stands. ``done_until_us`` is None before the first tick."""

    holder: str
    generation: int
    done_until_us: int | None
    state: bytes


@dataclass(frozen=True, slots=True)
class StreamState:
    owner: str
    segment: str
    signal: str
    detector: str
    state: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """How far event time is closed, read in one snapshot (µs; None: nothing yet).

    ``until_us``: every window that ends by then is closed. ``first_us``: the first on-time window.
    ``pending_us``: the oldest window with a sample that is not embedded yet.
    """

    until_us: int | None
    first_us: int | None
    pending_us: int | None


@dataclass(slots=True)
class Results:
    """What a batch of ticks led to. Row dictionaries are those of the tables.

    ``muted``: anomalies that opened in a deploy's mute, and when that ends (wall clock, µs). ``unheard``: those that
    were over before theirs ended; only sinks that were told of them all the same are told.
    """

    done_until_us: int
    state: bytes
    streams: list[StreamState] = field(default_factory=list)
    dropped: list[tuple[str, str, str]] = field(default_factory=list)
    evidence_rows: list[dict[str, Any]] = field(default_factory=list)
    anomaly_rows: list[dict[str, Any]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    muted: dict[str, int] = field(default_factory=dict)
    unheard: list[str] = field(default_factory=list)


def take_lead(store: Store, holder: str, now_us: int, lease_us: int) -> Lead | None:
    """Become the leader where nobody holds the lease (wall clock, µs); None while another does.

    A lease that ends later than one taken now (and `_SKEW_US`, for clocks of other machines) was taken before the clock
    was set back, and holds nobody off: who is still there has renewed it. Taking it raises the generation, so that what
    a former leader still writes fails.
    """
    mine = evaluation.c.name == LEADER
    with store.write() as connection:
        store.insert_ignore(
            connection,
            evaluation,
            [{"name": LEADER, "holder": "", "generation": 0, "lease_until_us": 0, "done_until_us": None, "state": b""}],
        )
        taken = connection.execute(
            update(evaluation)
            .where(
                mine,
                or_(
                    evaluation.c.lease_until_us <= now_us,
                    evaluation.c.lease_until_us > now_us + lease_us + _SKEW_US,
                    evaluation.c.holder == holder,
                ),
            )
            .values(holder=holder, generation=evaluation.c.generation + 1, lease_until_us=now_us + lease_us)
        ).rowcount
        if not taken:
            return None
        row = connection.execute(select(evaluation).where(mine)).one()
    return Lead(row.holder, row.generation, row.done_until_us, bytes(row.state))


def renew(store: Store, lead: Lead, now_us: int, lease_us: int) -> None:
    """Keep the lease. Raises NotLeader."""
    with store.write() as connection:
        kept = connection.execute(
            update(evaluation)
            .where(evaluation.c.name == LEADER, evaluation.c.generation == lead.generation)
            .values(lease_until_us=now_us + lease_us)
        ).rowcount
    if not kept:
        raise NotLeader("another process took the lead of the evaluation")


def give_up(store: Store, lead: Lead) -> None:
    """Let the next one lead at once."""
    with store.write() as connection:
        connection.execute(
            update(evaluation)
            .where(evaluation.c.name == LEADER, evaluation.c.generation == lead.generation)
            .values(lease_until_us=0)
        )


def holder(store: Store) -> tuple[str, int, int | None] | None:
    """(holder, lease end in wall-clock µs, done until) of the evaluation; None before anybody led."""
    with store.read() as connection:
        row = connection.execute(select(evaluation).where(evaluation.c.name == LEADER)).first()
    return None if row is None else (row.holder, row.lease_until_us, row.done_until_us)


def standing(store: Store) -> Lead:
    """Where the evaluation stands, for reading alone: nothing can be written with it."""
    with store.read() as connection:
        row = connection.execute(select(evaluation).where(evaluation.c.name == LEADER)).first()
    return Lead("", -1, None, b"") if row is None else Lead("", -1, row.done_until_us, bytes(row.state))


def closed(store: Store) -> Closed:
    """How far event time is closed, with what holds ticks back."""
    with store.read() as connection:
        until = coverage.closed_until(connection)
        first = connection.execute(
            select(func.min(summaries.c.window_us)).where(summaries.c.level == 0, ~summaries.c.late)
        ).scalar()
        hourly = connection.execute(
            select(func.min(summaries.c.window_us)).where(summaries.c.level == 1, ~summaries.c.late)
        ).scalar()
        pending = connection.execute(select(func.min(samples.c.window_us)).where(samples.c.state == "pending")).scalar()
    return Closed(until, min((t for t in (first, hourly) if t is not None), default=None), pending)


def on_time_rows(store: Store, from_us: int, to_us: int) -> list[tuple[int, str, str, bytes]]:
    """(window, route, segment, state) of on-time minutes with from <= window < to."""
    columns = (summaries.c.window_us, summaries.c.route, summaries.c.segment, summaries.c.state)
    query = select(*columns).where(
        summaries.c.level == 0, ~summaries.c.late, summaries.c.window_us >= from_us, summaries.c.window_us < to_us
    )
    with store.read() as connection:
        rows = connection.execute(query.order_by(summaries.c.window_us)).all()
    return [(row.window_us, row.route, row.segment, bytes(row.state)) for row in rows]


def on_time_hours(store: Store, from_us: int, to_us: int, segment: str) -> list[tuple[int, str, bytes]]:
    """(window, segment, state) of on-time rows of a segment in [from, to), full hours: rolled up where that is done,
    else minutes. Sums are exact, so it makes no difference to what an hour adds up to."""
    rows, _ = reads.covering(store, from_us, to_us, coarsest=coverage.HOUR, segment=segment, late=False)
    return [(row.window_us, row.segment, row.state) for row in rows]


@dataclass(frozen=True, slots=True)
class SampleRow:
    """An embedded sample: one session. ``parts``: (modality, float16 vector or None, agreement, conditions JSON)."""

    sample_id: str
    window_us: int
    route: str
    segment: str
    pi: float
    encoder: str
    facts: str
    parts: tuple[tuple[str, bytes | None, float | None, str], ...]
    user: str = ""  # keyed hash


def embedded_samples(store: Store, from_us: int, to_us: int, segment: str | None = None) -> list[SampleRow]:
    """Embedded samples with from <= window < to, by window and id."""
    return _samples(store, from_us, to_us, segment, embedded=True)


def all_samples(store: Store, from_us: int, to_us: int, segment: str | None = None) -> list[SampleRow]:
    """Samples in any state with from <= window < to, by window and id: their facts are there when the window closes,
    vectors and conditions when they come."""
    return _samples(store, from_us, to_us, segment, embedded=False)


def kept_samples(store: Store, from_us: int, to_us: int, segment: str | None = None) -> list[SampleRow]:
    """As `all_samples`, with what is kept for review alone; ``pi`` is the probability of being kept at all."""
    return _samples(store, from_us, to_us, segment, embedded=False, kept=True)


def _samples(
    store: Store, from_us: int, to_us: int, segment: str | None, *, embedded: bool, kept: bool = False
) -> list[SampleRow]:
    span = [samples.c.window_us >= from_us, samples.c.window_us < to_us]
    if not kept:
        span.append(samples.c.pi > 0)
    if embedded:
        span.append(samples.c.state == "embedded")
    if segment is not None:
        span.append(samples.c.segment == segment)
    query = (
        select(
            samples.c.sample_id,
            samples.c.window_us,
            samples.c.route,
            samples.c.segment,
            (func.coalesce(samples.c.pi_kept, samples.c.pi) if kept else samples.c.pi).label("pi"),
            samples.c.encoder,
            samples.c.facts,
            samples.c.user_key,
            sample_parts.c.modality,
            sample_parts.c.vector,
            sample_parts.c.agreement,
            sample_parts.c.conditions,
        )
        .join(sample_parts, sample_parts.c.sample_id == samples.c.sample_id, isouter=not embedded)
        .where(*span)
        .order_by(samples.c.window_us, samples.c.sample_id, sample_parts.c.part)
    )
    found: dict[str, tuple[Any, list[tuple[str, bytes | None, float | None, str]]]] = {}
    with store.read() as connection:
        for row in connection.execute(query):
            entry = found.setdefault(row.sample_id, (row, []))
            if row.modality is None:  # none of its parts is known yet, or ever
                continue
            vector = None if row.vector is None else bytes(row.vector)
            entry[1].append((row.modality, vector, row.agreement, row.conditions))
    return [
        SampleRow(r.sample_id, r.window_us, r.route, r.segment, r.pi, r.encoder, r.facts, tuple(parts), r.user_key)
        for r, parts in found.values()
    ]


def latest_encoder(store: Store, segment: str) -> str:
    """Identity of the encoder of the segment's newest embedded sample, '' where there is none."""
    query = (
        select(samples.c.encoder)
        .where(samples.c.segment == segment, samples.c.state == "embedded", samples.c.encoder != "")
        .order_by(samples.c.window_us.desc(), samples.c.sample_id)
        .limit(1)
    )
    with store.read() as connection:
        return connection.execute(query).scalar() or ""


def stream_rows(store: Store) -> list[StreamState]:
    """Every kept stream."""
    with store.read() as connection:
        rows = connection.execute(
            select(stream_states).order_by(stream_states.c.owner, stream_states.c.segment, stream_states.c.signal)
        ).all()
    return [StreamState(r.owner, r.segment, r.signal, r.detector, bytes(r.state)) for r in rows]


def open_documents(store: Store) -> list[tuple[str, str]]:
    """(id, document) of every open anomaly."""
    with store.read() as connection:
        rows = connection.execute(
            select(anomalies.c.anomaly_id, anomalies.c.document)
            .where(anomalies.c.state == "open")
            .order_by(anomalies.c.anomaly_id)
        ).all()
    return [(row.anomaly_id, row.document) for row in rows]


def write(store: Store, lead: Lead, results: Results, now_us: int, lease_us: int, also: Sequence[Any] = ()) -> Lead:
    """Write a batch in one transaction and return the lead as it then stands.

    ``also`` are callables that write to the same connection (references that were learned). Raises NotLeader.
    """
    before = (
        evaluation.c.done_until_us.is_(None)
        if lead.done_until_us is None
        else evaluation.c.done_until_us == lead.done_until_us
    )
    with store.write() as connection:
        moved = connection.execute(
            update(evaluation)
            .where(evaluation.c.name == LEADER, evaluation.c.generation == lead.generation, before)
            .values(
                done_until_us=results.done_until_us,
                state=results.state,
                holder=lead.holder,
                lease_until_us=now_us + lease_us,
            )
        ).rowcount
        if not moved:
            raise NotLeader("another process took the lead of the evaluation; its results stand")
        for step in also:
            step(connection)
        for owner, segment, signal in results.dropped:
            connection.execute(
                delete(stream_states).where(
                    stream_states.c.owner == owner,
                    stream_states.c.segment == segment,
                    stream_states.c.signal == signal,
                )
            )
        store.upsert(
            connection,
            stream_states,
            [
                {"owner": s.owner, "segment": s.segment, "signal": s.signal, "detector": s.detector, "state": s.state}
                for s in results.streams
            ],
        )
        store.upsert(connection, evidence, results.evidence_rows)
        store.upsert(connection, anomalies, results.anomaly_rows)
        mute(connection, results.muted)
        enqueue_many(connection, _heard(connection, results))
    return Lead(lead.holder, lead.generation, results.done_until_us, results.state)


def _heard(connection: Connection, results: Results) -> list[Message]:
    """The messages without those that end what nobody heard of. Decided here, where no dispatcher comes in between."""
    withdraw(connection, results.unheard)
    told = sinks_of(connection, results.unheard)
    unheard = set(results.unheard)
    return [m for m in results.messages if m.key not in unheard or m.sink in told.get(m.key, ())]
