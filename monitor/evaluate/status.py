"""How each stream is doing, for `/metrics`, the pages and `driftline status`: read from the store alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
from sqlalchemy import Connection, func, select

from alerts.anomaly import from_json
from detectors.evidence.packing import unpack
from monitor.config.model import Config
from monitor.evaluate.learning import period
from monitor.evaluate.references import Reference, is_slice
from monitor.evaluate.session import SegmentInfo
from monitor.evaluate.slices import NEED_SHARED_SPACE
from monitor.evaluate.streams import CATALOGUE, SLICE_PREFIX
from monitor.store import references
from monitor.store.engine import Store
from monitor.store.evaluation import LEADER
from monitor.store.tables import anomalies, evaluation, sample_parts, samples, stream_states
from monitor.store.tables import references as reference_sets

State = Literal["learning", "draft", "ok", "not_enough_data", "open", "encoder_mismatch", "not_measured"]

DAY_US = 86_400_000_000
NEWEST = 200  # samples that show what the encoder in use can do


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream. ``evidence`` is between 0 and 1, where an anomaly opens; ``reference_id`` '' without one.

    ``status``: ``learning`` (no reference yet), ``draft`` (one waits for approval), ``ok``, ``not_enough_data`` (the
    reference does not support a judgement), ``open`` (an anomaly is), ``encoder_mismatch`` (samples are embedded with
    another encoder than the reference's: nothing is compared), ``not_measured`` (the segment has no such signal, or the
    slice needs an encoder whose towers share a space).
    """

    owner: str
    segment: str
    signal: str
    status: State
    evidence: float
    reference_id: str


def streams(store: Store) -> list[StreamStatus]:
    """Every stream of every segment that has been seen, by segment and signal."""
    with store.read() as connection:
        kept = {
            (row.segment, row.signal): (row.owner, _evidence(bytes(row.state)))
            for row in connection.execute(select(stream_states))
        }
        query = select(anomalies.c.document).where(anomalies.c.state == "open")
        documents = [from_json(document) for document in connection.execute(query).scalars()]
        open_ones = {fact.stream for found in documents for fact in found.facts if fact.resolved is None}
        seen = _segments(connection)
        encoders = _encoders(connection)
        impossible = set() if _shared_space(connection) else {SLICE_PREFIX + name for name in NEED_SHARED_SPACE}
    everywhere = {identity for found_here in encoders.values() for identity in found_here}
    active = {row.segment: row for row in references.list_references(store, state="active")}
    drafts = {row.segment for state in ("draft", "approved") for row in references.list_references(store, state=state)}
    found: list[StreamStatus] = []
    for segment in sorted({*seen, *active}):
        row = active.get(segment)
        if row is None:
            state: State = "draft" if segment in drafts else "learning"
            if state == "learning" and segment in impossible:
                state = "not_measured"
            found += [StreamStatus("", segment, name, state, 0.0, "") for name in _signals(segment)]
            continue
        reference = Reference.from_content(row.content)
        used = everywhere if is_slice(segment) else encoders.get(segment, set())
        mismatch = bool(reference.encoder) and bool(used) and reference.encoder not in used
        for signal in sorted({*_signals(segment), *reference.streams}):
            owner, evidence = kept.get((segment, signal), ("", 0.0))
            fitted = reference.streams.get(signal)
            if fitted is None:
                state = "not_measured"
            elif (segment, signal) in open_ones:
                state = "open"
            elif not fitted.enough:
                state = "not_enough_data"
            elif mismatch and fitted.spec.kind in ("embedding", "agreement", "slice"):
                state = "encoder_mismatch"
            else:
                state = "ok"
            found.append(StreamStatus(owner, segment, signal, state, evidence, row.reference_id))
    return found


@dataclass(frozen=True, slots=True)
class Learning:
    """A segment or slice without a reference. ``until_us``: when its first days are over (event time)."""

    segment: str
    until_us: int


def learning(connection: Connection, config: Config) -> list[Learning]:
    """Segments that were seen, and slices that are measured, which have no reference and none that waits, by name.

    Without reading a reference's content. Slices that the encoder in use cannot measure are left out.
    """
    state = connection.execute(select(evaluation.c.state).where(evaluation.c.name == LEADER)).scalar()
    seen = msgspec.json.decode(state)["segments"] if state else {}
    c = reference_sets.c
    have = set(connection.execute(select(c.segment).where(c.state != "retired").distinct()).scalars())
    names = [name for name in sorted(seen) if name not in have]
    impossible = {SLICE_PREFIX + name for name in NEED_SHARED_SPACE}
    if impossible.intersection(names) and not _shared_space(connection):
        names = [name for name in names if name not in impossible]
    return [Learning(name, period(config, SegmentInfo(*seen[name]))[1]) for name in names]


def _signals(segment: str) -> list[str]:
    return [spec.signal for spec in CATALOGUE if spec.kind == "rate" or not is_slice(segment)]


def _evidence(state: bytes) -> float:
    scalars, _ = unpack("stream", state)
    _, arrays = unpack("funded-sr", scalars["sr"])
    return float(arrays["r"].sum())


def _segments(connection: Connection) -> list[str]:
    state = connection.execute(select(evaluation.c.state).where(evaluation.c.name == LEADER)).scalar()
    return sorted(msgspec.json.decode(state)["segments"]) if state else []


def _shared_space(connection: Connection) -> bool:
    """Whether the newest embedded images were compared with words."""
    newest = (
        select(samples.c.sample_id)
        .where(samples.c.state == "embedded")
        .order_by(samples.c.window_us.desc())
        .limit(NEWEST)
        .subquery()
    )
    query = (
        select(sample_parts.c.sample_id)
        .join(newest, newest.c.sample_id == sample_parts.c.sample_id)
        .where(sample_parts.c.conditions.contains('"concepts":', autoescape=True))
        .limit(1)
    )
    return connection.execute(query).first() is not None


def _encoders(connection: Connection) -> dict[str, set[str]]:
    """Encoders of each segment's samples of the last day that has any."""
    newest = connection.execute(select(func.max(samples.c.window_us)).where(samples.c.state == "embedded")).scalar()
    if newest is None:
        return {}
    found: dict[str, set[str]] = {}
    query = (
        select(samples.c.segment, samples.c.encoder)
        .where(samples.c.state == "embedded", samples.c.window_us > newest - DAY_US, samples.c.encoder != "")
        .distinct()
    )
    for row in connection.execute(query):
        found.setdefault(row.segment, set()).add(row.encoder)
    return found
