"""Canonical JSON lines: two runs over the same input give the same bytes.

Left out, because they differ between runs: wall-clock times, owners and generations, and everything made with the
store's own secret (user and session hashes). Rows that retention is due to delete are left out whether or not it has
run yet. Summaries are given in minutes where those are kept, else in hours, else in days, so that each event is in
one line, whatever has been rolled up so far. (Where midnight is not on a UTC hour, the part of an hour between the
last day and the first hour is in no line once its minutes are deleted.)

A summary line carries the count and sum of every metric over all of its events and, as ``NAME (thinned)``, over
those that represent their session (of a rate: trials and hits), and ``cells``: the SHA-256 of every histogram, rate
and joint summary, so that a difference of one event in one bucket shows. Of users it says how many there are (null
when too many to be counted exactly) and the SHA-256 of their weights, without their keys.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

from sqlalchemy import Connection, func, or_, select

from detectors.summaries import Summary
from monitor.store import coverage
from monitor.store.coverage import DAY, HOUR, MINUTE
from monitor.store.engine import Store
from monitor.store.reads import EARLIEST, LATEST, Row, covering, merge_order, summary_rows
from monitor.store.retention import kept_from
from monitor.store.rollups import ROLLED_PARTITION, ROLLED_TOPIC
from monitor.store.tables import anomalies, sample_content, sample_parts, samples, summaries
from monitor.times import DAY_US, HOUR_US, iso

FORMAT = 1
Kind = Literal["summaries", "samples", "anomalies"]
KINDS: tuple[Kind, ...] = ("summaries", "samples", "anomalies")
_LEVEL_NAMES = {MINUTE: "minute", HOUR: "hour", DAY: "day"}


def export(
    store: Store,
    kind: str,
    out: BinaryIO,
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    vectors: bool = False,
) -> int:
    """Write one kind of rows as JSON lines; returns how many. See :func:`export_lines`."""
    count = 0
    for line in export_lines(store, kind, from_us=from_us, to_us=to_us, vectors=vectors):
        out.write(line)
        count += 1
    return count


def export_lines(
    store: Store, kind: str, *, from_us: int | None = None, to_us: int | None = None, vectors: bool = False
) -> Iterator[bytes]:
    """Lines (UTF-8, with their newline) of ``summaries``, ``samples`` or ``anomalies`` of an event-time stretch.

    All lines are of one snapshot. ``vectors``: samples carry their vectors (base64 of float16, little endian).
    Raises ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"expected a kind of rows, got {kind!r}; write one of {', '.join(KINDS)}")
    from_us, to_us = max(from_us or EARLIEST, EARLIEST), LATEST if to_us is None else min(to_us, LATEST)
    with store.read() as connection:
        if kind == "summaries":
            lines = _summaries(connection, from_us, to_us)
        elif kind == "samples":
            lines = _samples(connection, from_us, to_us, vectors)
        else:
            lines = _anomalies(connection, from_us, to_us)
        for line in lines:
            text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            # A lone surrogate (JSON allows its escape) has no UTF-8: keep it escaped.
            yield text.encode("utf-8", "backslashreplace") + b"\n"


def _summaries(connection: Connection, from_us: int, to_us: int) -> Iterator[dict[str, Any]]:
    state = coverage.load(connection)
    minutes = max(kept_from(connection, state, "minute"), state.kept_from(MINUTE))
    hours = max(kept_from(connection, state, "hour"), state.kept_from(HOUR))
    days = max(kept_from(connection, state, "day"), from_us)
    first = connection.execute(select(func.min(summaries.c.window_us)).where(summaries.c.window_us >= from_us)).scalar()
    if first is None:
        return
    start = max(first - first % HOUR_US, days)
    for level, until in ((DAY, hours), (HOUR, minutes), (MINUTE, to_us)):
        until = min(until, to_us)
        while start < until:
            end = min(state.day_of(start)[1] if state.zones else start - start % DAY_US + DAY_US, until)
            if level == MINUTE:
                following = _next_minute(connection, start, until)
                if following is None:
                    return
                start = following
                end = min(following - following % HOUR_US + HOUR_US, until)
                rows = list(summary_rows(connection, start, end))
                # Read together, which is several times faster than one after another.
                found = Summary.merge_groups([[row.state] for row in rows])
                yield from map(_summary_line, rows, found)
            else:
                for row in _rolled(connection, state, level, start, end):
                    yield _summary_line(row, Summary.from_state(row.state))
            start = end


def _next_minute(connection: Connection, from_us: int, to_us: int) -> int | None:
    query = select(func.min(summaries.c.window_us)).where(
        summaries.c.level == MINUTE, summaries.c.window_us >= from_us, summaries.c.window_us < to_us
    )
    found = connection.execute(query).scalar()
    return None if found is None else int(found)


def _rolled(connection: Connection, state: coverage.Coverage, level: int, from_us: int, to_us: int) -> list[Row]:
    """The hours or days of a stretch, whichever level their rows are stored at by now."""
    rows, _ = covering(connection, from_us, to_us, coarsest=level)

    def key(row: Row) -> tuple[int, str, str, str, bool]:
        window = state.day_of(row.window_us)[0] if level == DAY else row.window_us - row.window_us % HOUR_US
        return (window, row.route, row.segment, row.version, row.late)

    out = []
    for (window, route, segment, version, late), group in itertools.groupby(sorted(rows, key=key), key=key):
        members = sorted(group, key=merge_order)
        total = Summary.merge_all([row.state for row in members]).to_state()
        events = sum(row.events for row in members)
        rolled = (level, window, route, segment, version, late, ROLLED_TOPIC, ROLLED_PARTITION, events, total)
        out.append(Row(*rolled))
    return out


def _summary_line(row: Row, summary: Summary) -> dict[str, Any]:
    totals: dict[str, Any] = {}
    for (name, label, thinned), total in summary.totals().items():
        pair = [total.count, total.sum]
        group = totals.setdefault(name + (" (thinned)" if thinned else ""), {} if label else pair)
        if label:
            group[label] = pair
    users = summary.users()
    line: dict[str, Any] = {
        "format": FORMAT,
        "level": _LEVEL_NAMES[row.level],
        "window": iso(row.window_us),
        "route": row.route,
        "segment": row.segment,
        "version": row.version,
        "late": row.late,
        "events": row.events,
        "totals": totals,
        "cells": summary.cells_digest(),
        "users": users,
        "user_weights": None if users is None else _digest(_weights(summary, users)),
    }
    if row.level == MINUTE:
        line |= {"topic": row.topic, "partition": row.partition}
    return line


def _weights(summary: Summary, users: int) -> bytes:
    found = [
        [hitter.low for hitter in summary.heavy_hitters(weight, top=users, thinned=thinned)]
        for weight in ("spend", "events")
        for thinned in (False, True)
    ]
    return json.dumps(found).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _samples(connection: Connection, from_us: int, to_us: int, vectors: bool) -> Iterator[dict[str, Any]]:
    state = coverage.load(connection)
    start = max(kept_from(connection, state, "samples"), from_us)
    content_from = kept_from(connection, state, "content")
    while True:
        query = select(func.min(samples.c.window_us)).where(samples.c.window_us >= start, samples.c.window_us < to_us)
        first = connection.execute(query).scalar()
        if first is None:
            return
        end = min(first - first % HOUR_US + HOUR_US, to_us)
        here = (samples.c.window_us >= first, samples.c.window_us < end)
        parts: dict[str, list[Any]] = {}
        ids = select(samples.c.sample_id).where(*here)
        for part in connection.execute(select(sample_parts).where(sample_parts.c.sample_id.in_(ids))):
            parts.setdefault(part.sample_id, []).append(part)
        contents = {
            row.sample_id: row
            for row in connection.execute(
                select(
                    sample_content.c.sample_id,
                    sample_content.c.time_us,
                    sample_content.c.inputs,
                    sample_content.c.output,
                    sample_content.c.citations,
                ).where(sample_content.c.sample_id.in_(ids))
            )
        }
        rows = connection.execute(select(samples).where(*here)).all()
        for row in sorted(rows, key=lambda r: (r.window_us, r.topic, r.partition, r.offset, r.sample_id)):
            found = contents.get(row.sample_id)
            kept = found is not None and found.time_us >= content_from
            yield _sample_line(row, parts.get(row.sample_id, []), found if kept else None, vectors)
        start = end


def _sample_line(row: Any, parts: list[Any], content: Any, vectors: bool) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "sample": row.sample_id,
        "event": row.event_id,
        "topic": row.topic,
        "partition": row.partition,
        "offset": row.offset,
        "time": iso(row.time_us),
        "window": iso(row.window_us),
        "route": row.route,
        "segment": row.segment,
        "version": row.version,
        "pi": row.pi,
        "pi_kept": row.pi if row.pi_kept is None else row.pi_kept,
        "state": row.state,
        "reason": row.reason,
        "facts": json.loads(row.facts),
        "encoder": row.encoder,
        "phash": None if row.phash is None else f"{row.phash & (2**64 - 1):016x}",
        "parts": [_part(part, vectors) for part in sorted(parts, key=lambda p: p.part)],
        "content": None
        if content is None
        else {name: json.loads(getattr(content, name)) for name in ("inputs", "output", "citations")},
    }


def _part(part: Any, vectors: bool) -> dict[str, Any]:
    out = {
        "part": part.part,
        "modality": part.modality,
        "conditions": json.loads(part.conditions),
        "agreement": part.agreement,
    }
    if vectors:
        out["vector"] = None if part.vector is None else base64.b64encode(part.vector).decode()
    return out


def _anomalies(connection: Connection, from_us: int, to_us: int) -> Iterator[dict[str, Any]]:
    bound = kept_from(connection, coverage.load(connection), "anomalies")
    query = select(anomalies).where(
        anomalies.c.opened_us >= from_us,
        anomalies.c.opened_us < to_us,
        or_(anomalies.c.resolved_us.is_(None), anomalies.c.resolved_us >= bound),
    )
    rows = connection.execute(query).all()
    for row in sorted(rows, key=lambda r: (r.opened_us, r.segment, r.signal, r.anomaly_id)):
        # Whether it was historic is how late the clock on the wall found it: another run, another answer.
        document = {key: value for key, value in json.loads(row.document).items() if key != "historic"}
        yield {
            **document,
            "format": FORMAT,
            "id": row.anomaly_id,
            "owner": row.owner,
            "segment": row.segment,
            "signal": row.signal,
            "state": row.state,
            "severity": row.severity,
            "opened": iso(row.opened_us),
            "updated": iso(row.updated_us),
            "resolved": None if row.resolved_us is None else iso(row.resolved_us),
        }
