"""References as pages and the API read them: contents one or two at a time, since each is a few hundred kilobytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from detectors.summaries import Selection, Summary
from detectors.summaries.metrics import METRICS
from monitor.evaluate.levels import Level, Line, compared, levels
from monitor.evaluate.references import Reference, ReferenceFormatError, is_slice
from monitor.store import coverage, inputs, reads, responses
from monitor.store.anomalies import overlapping
from monitor.store.engine import Store
from monitor.store.references import ReferenceFault, ReferenceHead, ReferenceSample, ReferenceSet, get
from monitor.times import HOUR_US

MOST_ROWS = 600  # of a reference's sessions, for distances
_QUANTILES = Selection(
    frozenset(m.name for m in METRICS.values() if m.kind in ("exponential", "linear")), thinned=True, users=False
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A reference with its content. ``fault``: why that cannot be read, '' where it can."""

    row: ReferenceSet
    content: Reference | None
    fault: str


def opened(store: Store, identity: str) -> Opened:
    """Raises ReferenceFault where there is none, or several begin so."""
    row = get(store, identity)
    try:
        return Opened(row, Reference.from_content(row.content), "")
    except ReferenceFormatError as error:
        return Opened(row, None, str(error))


def levels_of(connection: Connection, found: Reference) -> list[Level]:
    """Its signals by name."""
    return list(levels(found, sums(connection, found)).values())


def lines_of(connection: Connection, before: Opened, after: Opened) -> list[Line]:
    """Signal by signal. Raises ReferenceFault where one cannot be read, or they are of different segments."""
    if before.row.segment != after.row.segment:
        raise ReferenceFault(
            f"{before.row.reference_id} is of {before.row.segment}, {after.row.reference_id} of {after.row.segment}; "
            "give two of one segment"
        )
    if before.content is None or after.content is None:
        raise ReferenceFault(before.fault or after.fault)
    after.content.rows = [
        ReferenceSample(sample_id, "", packed)
        for sample_id, packed in inputs.copied(connection, after.row.reference_id, MOST_ROWS)
    ]
    both = sums(connection, before.content), sums(connection, after.content)
    return compared(before.content, after.content, both)


def sums(connection: Connection, found: Reference) -> Summary | None:
    """The thinned sums of its stretch, where the store has the whole of it still."""
    if is_slice(found.segment):
        return None
    merged, missing = reads.merged_by(
        connection,
        found.from_us,
        found.to_us,
        lambda row: "",
        coarsest=coverage.DAY,
        segment=found.segment,
        late=False,
        selection=_QUANTILES,
    )
    return None if missing or "" not in merged else merged[""].summary


@dataclass(frozen=True, slots=True)
class Accepted:
    """An anomaly that somebody accepted as the new normal, from which a reference was learned."""

    anomaly_id: str
    who: str
    time_us: int  # wall clock
    note: str


def accepted(connection: Connection, heads: Sequence[ReferenceHead]) -> dict[str, Accepted]:
    """By id of the reference, of one segment's references those that were learned from an accepted change on."""
    begins: dict[int, list[ReferenceHead]] = {}
    for head in heads:
        if head.origin == "learned":
            begins.setdefault(head.from_us, []).append(head)
    if not begins:
        return {}
    rows = overlapping(connection, heads[0].segment, min(begins), max(head.to_us for head in heads), limit=200)
    stands = responses.standing(connection, [row.anomaly_id for row in rows])
    found: dict[str, Accepted] = {}
    for row in rows:
        said = stands[row.anomaly_id].accepted if row.anomaly_id in stands else None
        if said is None:
            continue
        for fact in row.document.get("facts") or ():
            if fact.get("subject") != heads[0].segment:
                continue
            begin = -(-int(fact["since"]["high"]) // HOUR_US) * HOUR_US
            for head in begins.get(begin, []):
                found[head.reference_id] = Accepted(row.anomaly_id, said.who, said.time_us, said.note)
    return found
