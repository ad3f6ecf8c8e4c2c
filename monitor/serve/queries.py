"""Rows of the store as the types of the API."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any, Literal

from sqlalchemy import Connection, select

from alerts.anomaly import AnomalyError, from_json
from detectors.summaries import Selection
from detectors.summaries.signals import Measurement, measure, measure_all, signal
from detectors.summaries.summary import Summary as Measured
from monitor.config.model import Config
from monitor.evaluate.streams import Ownership
from monitor.serve import measured, models
from monitor.serve.parameters import MOST, SampleQuery
from monitor.store import listing, reads
from monitor.store.anomalies import AnomalyRow
from monitor.store.letters import LetterRow
from monitor.store.retries import Retry
from monitor.store.tables import anomalies, sample_content, sample_parts
from monitor.store.tables import samples as sample_table
from monitor.times import DAY_US, HOUR_US, MINUTE_US, iso

# What a person wants to know of a segment first; everything else is behind /api/summaries.
MAIN = (
    "cost_total", "cost_p95", "latency_total_p50", "latency_total_p95", "error_rate", "schema_violation_rate",
    "citation_ungrounded_rate",
)  # fmt: skip
_MAIN_METRICS = Selection(frozenset({"events", *(signal(name).metric for name in MAIN)}), thinned=False, users=False)
_STAKES = {"high": 0, "medium": 1, "low": 2}


def asked_range(connection: Connection, low: int | None, high: int | None) -> tuple[int, int] | None:
    """The range asked for; by default the 24 hours before the newest closed window. None before any event."""
    if high is None:
        high = listing.closed_until(connection)
        if high is None:
            return None
        high -= high % MINUTE_US
    low = high - DAY_US if low is None else low
    return (low - low % MINUTE_US, high) if low < high else None


def segments(
    connection: Connection, config: Config, span: tuple[int, int], limit: int | None = None, offset: int = 0
) -> list[models.Segment]:
    """Segments of the range [from, to) with their `MAIN` figures, at most ``limit`` after the first ``offset``; ``all``
    is the first."""
    places = measured.by_place(connection, *span, _MAIN_METRICS)
    if not places:
        return []
    ownership = Ownership(config)
    waiting = _open_by_segment(connection)

    def order(place: tuple[str, str]) -> tuple[int, int, str]:
        route, segment = place
        return _STAKES[ownership.stakes(segment, route)], -places[place].summary.events(), segment

    wanted: list[tuple[str, str] | None] = [None, *sorted(places, key=order)]
    rows = []
    for place in wanted[offset : None if limit is None else offset + limit]:
        if place is None:
            whole = Measured.merge_all(found.summary for found in places.values())
            late = sum(found.late_events for found in places.values())
            rows.append(models.Segment("all", "", "", whole.events(), late, sum(waiting.values()), main_figures(whole)))
            continue
        route, segment = place
        found = places[place]
        rows.append(
            models.Segment(
                segment,
                route,
                ownership.stakes(segment, route),
                found.summary.events(),
                found.late_events,
                waiting.get(segment, 0),
                main_figures(found.summary),
            )
        )
    return rows


def main_figures(summary: Measured) -> list[models.Figure]:
    return [_figure(name, "", _unit(name), measure(summary, name)) for name in MAIN]


def summaries(
    connection: Connection,
    segment: str,
    version: str | None,
    by: Literal["range", "hour", "day"],
    low: int | None,
    high: int | None,
) -> list[models.Summary]:
    """Every signal of a segment. Raises ValueError where the range has more steps than one answer may hold."""
    found = asked_range(connection, low, high)
    if found is None:
        return []
    since, until = found
    step = {"range": until - since, "hour": HOUR_US, "day": DAY_US}[by]
    begin = since if by == "range" else since - since % step
    if (until - begin) / step > MOST:
        raise ValueError(f"the range holds more than {MOST} steps of one {by}; ask for a shorter range or longer steps")
    rows = []
    wanted = None if segment == "all" else segment
    for start in range(begin, until, step):
        low_us, high_us = max(start, since), min(start + step, until)
        merged = reads.merged_with_notes(connection, low_us, high_us, segment=wanted, version=version)
        summary = merged.summary
        if summary.events():
            figures = [_figure(s.name, label, s.unit, m) for s, label, m in measure_all(summary) if m.n]
            rows.append(
                models.Summary(
                    segment,
                    version,
                    iso(low_us),
                    iso(high_us),
                    merged.events,
                    merged.late_events,
                    merged.other_events,
                    [models.Gap(iso(begin), iso(end)) for begin, end in merged.missing],
                    figures,
                )
            )
    return rows


def samples(
    connection: Connection, query: SampleQuery, low: int | None, high: int | None, most: int
) -> list[models.SampleHead]:
    t = sample_table.c
    statement = select(sample_table)
    for column, value in ((t.segment, query.segment), (t.state, query.state), (t.event_id, query.event_id)):
        if value is not None:
            statement = statement.where(column == value)
    if low is not None:
        statement = statement.where(t.time_us >= low)
    if high is not None:
        statement = statement.where(t.time_us < high)
    statement = statement.order_by(t.time_us.desc(), t.sample_id).limit(most).offset(query.offset)
    return [_sample_head(row) for row in connection.execute(statement)]


def sample(connection: Connection, sample_id: str, *, content: bool) -> models.Sample | None:
    row = connection.execute(select(sample_table).where(sample_table.c.sample_id == sample_id)).first()
    if row is None:
        return None
    parts = connection.execute(
        select(
            sample_parts.c.part,
            sample_parts.c.modality,
            sample_parts.c.vector.is_not(None),
            sample_parts.c.conditions,
            sample_parts.c.agreement,
        )
        .where(sample_parts.c.sample_id == sample_id)
        .order_by(sample_parts.c.part)
    )
    kept = connection.execute(select(sample_content).where(sample_content.c.sample_id == sample_id)).first()
    return models.Sample(
        _sample_head(row),
        json.loads(row.facts),
        [
            models.SamplePart(part, modality, bool(embedded), json.loads(conditions), agreement)
            for part, modality, embedded, conditions, agreement in parts
        ],
        _content(kept) if content and kept is not None else None,
    )


def anomaly_head(row: AnomalyRow) -> models.AnomalyHead:
    since = (row.document.get("since") or {}).get("low", row.opened_us)
    return models.AnomalyHead(
        row.anomaly_id,
        row.owner,
        row.segment,
        row.signal,
        row.state,
        row.severity,
        row.historic,
        iso(since),
        iso(row.opened_us),
        iso(row.updated_us),
        None if row.resolved_us is None else iso(row.resolved_us),
        str((row.document.get("explanation") or {}).get("sentence", "")),
    )


def letter_head(row: LetterRow, retry: Retry | None = None) -> models.DeadLetterHead:
    """``retry``: the last one of it."""
    time = iso(row.time_us) if row.time_us >= 0 else None
    return models.DeadLetterHead(
        row.topic,
        row.partition,
        row.offset,
        time,
        row.reason,
        row.detail,
        row.size,
        "" if retry is None else retry.state,
    )


def _figure(name: str, label: str, unit: str, m: Measurement) -> models.Figure:
    signal = f"{name}[{label}]" if label else name
    return models.Figure(signal, unit, m.value, m.low, m.high, m.n, m.status)


def _unit(name: str) -> str:
    return signal(name).unit


def _open_by_segment(connection: Connection) -> dict[str, int]:
    """Open anomalies by the segments and slices that they show in."""
    found: Counter[str] = Counter()
    t = anomalies.c
    for segment, document in connection.execute(select(t.segment, t.document).where(t.state == "open")):
        try:
            found.update({fact.subject for fact in from_json(document).facts if fact.resolved is None})
        except AnomalyError:  # another version wrote it: one row must not take the page away
            found[segment] += 1
    return dict(found)


def _sample_head(row: Any) -> models.SampleHead:
    return models.SampleHead(
        row.sample_id,
        row.event_id,
        iso(row.time_us),
        row.route,
        row.segment,
        row.version,
        row.pi,
        row.state,
        row.reason,
        row.encoder,
    )


def _content(row: Any) -> models.SampleContent:
    thumbnail = None if row.thumbnail is None else base64.b64encode(row.thumbnail).decode()
    return models.SampleContent(json.loads(row.inputs), json.loads(row.output), json.loads(row.citations), thumbnail)
