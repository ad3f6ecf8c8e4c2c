"""What the store holds of one anomaly and of the hours around it, for its page: one snapshot, bounded reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from alerts import rendering
from alerts.anomaly import SLICE_PREFIX
from monitor.serve.anomalies import figure
from monitor.serve.anomalies.figure import Point
from monitor.serve.review.showing import cut
from monitor.store import listing, outbox
from monitor.store.anomalies import AnomalyRow
from monitor.store.deploys import Deploy, list_deploys
from monitor.store.outbox import OutboxRow
from monitor.store.responses import NOTHING, Marks, Said, Standing, history, marks, standing
from monitor.store.tables import evidence, sample_content, samples
from monitor.times import DAY_US, HOUR_US

MOST_ROWS = 20_000  # of evidence of one signal: a tick is a few minutes, and anomalies may stay open for months
MOST_FIGURES = 6  # facts whose evidence is drawn
MOST_EXEMPLARS = 6  # of a role
MOST_TEXT = 400  # characters of a sample's text
BEFORE_US, AFTER_US = 12 * HOUR_US, 6 * HOUR_US  # deploys around the change
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Course:
    """Evidence of one fact: by hour until it opened, and by tick while it is open (`figure`)."""

    hours: tuple[Point, ...]
    ticks: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A sampled session to look at. ``texts``: (what it is, the text, characters left out)."""

    sample_id: str
    event_id: str
    time_us: int
    version: str
    pictured: bool
    texts: tuple[tuple[str, str, int], ...]
    kept: bool  # its content is there; always False for who may not see it


@dataclass(frozen=True, slots=True)
class Around:
    """Everything that is shown beside the document."""

    courses: tuple[Course, ...]  # of the first facts, in their order
    begin_us: int
    end_us: int
    deploys: tuple[Deploy, ...]  # newest first
    versions_before: tuple[str, ...]
    versions_since: tuple[str, ...]
    deliveries: tuple[OutboxRow, ...]
    said: tuple[Said, ...]
    standing: Standing
    marks: Marks
    exemplars: Mapping[str, tuple[Exemplar, ...]]  # by role
    left_out: int  # exemplars


def read(
    connection: Connection, row: AnomalyRow, document: Mapping[str, Any], period_us: int, *, content: bool
) -> Around:
    """``document``: of the row, in today's format; ``period_us``: of the allowance that it was opened under.

    ``content``: the caller may see what users sent.
    """
    low = rendering.since(document)
    high = max(low, int(document["since"]["high"]))
    begin, end = figure.span(low, max(row.updated_us, row.resolved_us or 0, row.opened_us))
    facts: Sequence[Mapping[str, Any]] = document.get("facts") or ()
    route = str(document.get("route") or "")
    found = list_deploys(connection, from_us=low - BEFORE_US, to_us=high + AFTER_US, limit=200)
    before, since = _versions(connection, route, row.segment, low, min(end, high + DAY_US))
    entries = (document.get("explanation") or {}).get("exemplars") or ()
    found_exemplars, left_out = exemplars(connection, entries, content=content)
    return Around(
        courses=tuple(
            _course(connection, str(fact["subject"]), str(fact["signal"]), begin, end) for fact in facts[:MOST_FIGURES]
        ),
        begin_us=begin,
        end_us=end,
        deploys=tuple(deploy for deploy in found if deploy.covers(route, row.segment)),
        versions_before=before,
        versions_since=since,
        deliveries=tuple(d for d in outbox.deliveries(connection, row.anomaly_id) if d.kind == "anomaly"),
        said=tuple(history(connection, row.anomaly_id)),
        standing=standing(connection, [row.anomaly_id]).get(row.anomaly_id, NOTHING),
        marks=marks(
            connection,
            owner=row.owner,
            severity=row.severity,
            from_us=row.opened_us - period_us,
            to_us=row.opened_us + 1,
        ),
        exemplars=found_exemplars,
        left_out=left_out,
    )


def thumbnail(connection: Connection, sample_id: str) -> bytes | None:
    """The thumbnail of a sample, or None. It is never anything but a JPEG."""
    query = select(sample_content.c.thumbnail).where(sample_content.c.sample_id == sample_id)
    found = connection.execute(query).scalar()
    return bytes(found) if found is not None and bytes(found[:3]) == _JPEG else None


def _course(connection: Connection, subject: str, signal: str, begin: int, end: int) -> Course:
    t = evidence.c
    query = (
        select(t.tick_us, t.resolution, t.value)
        .where(t.segment == subject, t.signal == signal, t.tick_us >= begin, t.tick_us < end)
        .order_by(t.tick_us)
        .limit(MOST_ROWS)
    )
    rows = connection.execute(query).all()
    return Course(
        tuple(Point(at, value) for at, resolution, value in rows if resolution == "hour"),
        tuple(Point(at, value) for at, resolution, value in rows if resolution == "tick"),
    )


def _versions(
    connection: Connection, route: str, segment: str, since: int, until: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Versions of the segment in the day before the change, and from then on; a slice has no summaries."""
    if segment.startswith(SLICE_PREFIX):
        return (), ()
    hour = since // HOUR_US * HOUR_US

    def seen(low: int, high: int) -> tuple[str, ...]:
        rows = listing.segments(connection, low, high) if low < high else []
        return tuple(
            sorted({v for r in rows if r.segment == segment and route in ("", r.route) for v in r.versions if v})
        )

    return seen(hour - DAY_US, hour), seen(hour, until)


def exemplars(
    connection: Connection, entries: Iterable[Mapping[str, Any]], *, content: bool
) -> tuple[dict[str, tuple[Exemplar, ...]], int]:
    """By role the sessions that entries {role, sample_id, window} name, as far as they are kept, and how many of them
    are left out. ``content``: the caller may see what users sent."""
    by_role: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        by_role.setdefault(str(entry["role"]), []).append(entry)
    left_out = sum(max(0, len(entries) - MOST_EXEMPLARS) for entries in by_role.values())
    chosen = {role: entries[:MOST_EXEMPLARS] for role, entries in by_role.items()}
    ids = [str(entry["sample_id"]) for entries in chosen.values() for entry in entries]
    columns = (samples.c.sample_id, samples.c.event_id, samples.c.time_us, samples.c.version)
    heads = {row.sample_id: row for row in connection.execute(select(*columns).where(samples.c.sample_id.in_(ids)))}
    bodies = {}
    if content:
        t = sample_content.c
        query = select(t.sample_id, t.inputs, t.output, func.length(t.thumbnail).label("bytes"))
        bodies = {row.sample_id: row for row in connection.execute(query.where(t.sample_id.in_(ids)))}
    return {
        role: tuple(_exemplar(entry, heads.get(str(entry["sample_id"])), bodies) for entry in entries)
        for role, entries in chosen.items()
    }, left_out


def _exemplar(entry: Mapping[str, Any], head: Any, bodies: Mapping[str, Any]) -> Exemplar:
    sample_id = str(entry["sample_id"])
    body = bodies.get(sample_id)
    return Exemplar(
        sample_id=sample_id,
        event_id="" if head is None else head.event_id,
        time_us=int(entry["window"]) if head is None else head.time_us,
        version="" if head is None else head.version,
        pictured=body is not None and bool(body.bytes),
        texts=() if body is None else (*_texts("Prompt", body.inputs), *_texts("Output", body.output)),
        kept=body is not None,
    )


def _texts(what: str, stored: str) -> list[tuple[str, str, int]]:
    """The texts among the parts of an input ({"parts": […]}) or an output ([…])."""
    try:
        found = json.loads(stored)
    except (ValueError, RecursionError):
        return []
    parts = found.get("parts") if isinstance(found, dict) else found
    if not isinstance(parts, list):
        return []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return [(what, *cut(text, MOST_TEXT)) for text in texts if isinstance(text, str) and text.strip()][:3]
