"""Which segments there are, and how far partitions have been read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from monitor.store import coverage
from monitor.store.coverage import DAY, HOUR
from monitor.store.reads import EARLIEST, LATEST, Source, excluded_partitions, filtered, rows_of, snapshot
from monitor.store.tables import partitions, summaries
from monitor.times import DAY_US, HOUR_US


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment that has events. Times: starts of its first and last window as far as rows are kept."""

    route: str
    segment: str
    versions: tuple[str, ...]
    events: int
    late_events: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """How far a partition has been read."""

    topic: str
    partition: int
    next_offset: int
    generation: int
    owner: str
    watermark_us: int | None
    max_time_us: int | None
    begun: bool
    events: int
    duplicates: int
    dead_letters: int
    late_events: int


def segments(source: Source, from_us: int = EARLIEST, to_us: int = LATEST) -> list[SegmentRow]:
    """Segments that have events in the stretch, sorted by (route, segment)."""
    found: dict[tuple[str, str], list[tuple[str, bool, int, int, int]]] = {}
    from_us, to_us = max(from_us, EARLIEST), min(to_us, LATEST)
    with snapshot(source) as connection:
        state = coverage.load(connection)
        excluded = excluded_partitions(connection, state)
        for late in (False, True):
            for piece in state.pieces(from_us, to_us, late):
                if piece.excluded and not excluded:
                    continue
                query = (
                    filtered(rows_of(piece, excluded), None, None, None, late)
                    .with_only_columns(
                        summaries.c.route,
                        summaries.c.segment,
                        summaries.c.version,
                        func.sum(summaries.c.events),
                        func.min(summaries.c.window_us),
                        func.max(summaries.c.window_us),
                    )
                    .group_by(summaries.c.route, summaries.c.segment, summaries.c.version)
                )
                for route, segment, version, events, first, last in connection.execute(query):
                    entry = (version, late, int(events), first, last)
                    found.setdefault((route, segment), []).append(entry)
    return [
        SegmentRow(
            route,
            segment,
            tuple(sorted({version for version, *_ in entries})),
            sum(events for _, _, events, _, _ in entries),
            sum(events for _, late, events, _, _ in entries if late),
            min(first for _, _, _, first, _ in entries),
            max(last for _, _, _, _, last in entries),
        )
        for (route, segment), entries in sorted(found.items())
    ]


def names(connection: Connection, from_us: int = EARLIEST, to_us: int = LATEST) -> list[str]:
    """Names of the segments that have events in the stretch, sorted: much faster than `segments`."""
    found: set[str] = set()
    for query in _pieces(connection, from_us, to_us, DAY):
        # The index alone answers this; what rows hold beside their keys is not read.
        found.update(connection.execute(query.with_only_columns(summaries.c.segment).distinct()).scalars())
    return sorted(found)


def route_of(connection: Connection, segment: str) -> str | None:
    """The route of a segment that has events at any time that is kept, else None."""
    query = select(summaries.c.route).where(summaries.c.segment == segment).limit(1)
    return connection.execute(query).scalar()


def events_by_window(
    connection: Connection, from_us: int, to_us: int, *, days: bool
) -> dict[tuple[str, str], dict[int, int]]:
    """Events of each (route, segment) by hour, or by day of the configured time zone; late ones too."""
    found: dict[tuple[str, str], dict[int, int]] = {}
    state = coverage.load(connection)
    t = summaries.c
    for query in _pieces(connection, from_us, to_us, DAY if days else HOUR):
        grouped = query.with_only_columns(t.route, t.segment, t.window_us, func.sum(t.events))
        for route, segment, window, events in connection.execute(grouped.group_by(t.route, t.segment, t.window_us)):
            zoned = days and bool(state.zones)
            start = state.day_of(window)[0] if zoned else window - window % (DAY_US if days else HOUR_US)
            of_segment = found.setdefault((route, segment), {})
            of_segment[start] = of_segment.get(start, 0) + int(events)
    return found


def versions_began(
    connection: Connection, from_us: int, to_us: int, segment: str | None = None, *, known_us: int = DAY_US
) -> list[tuple[int, str]]:
    """(start of the first window, version) of the versions that were not seen in the ``known_us`` before, oldest first.

    To the hour, or to the day where hours are no longer kept. None where nothing was before: all are new then.
    """
    first: dict[str, int] = {}
    t = summaries.c
    for query in _pieces(connection, from_us - known_us, to_us, HOUR):
        of_segment = query if segment is None else query.where(t.segment == segment)
        grouped = of_segment.with_only_columns(t.version, func.min(t.window_us)).group_by(t.version)
        for version, window in connection.execute(grouped):
            first[version] = min(window, first.get(version, window))
    if not first or min(first.values()) >= from_us:
        from_us = min(first.values(), default=from_us) + 1
    return sorted((window, version) for version, window in first.items() if version and window >= from_us)


def _pieces(connection: Connection, from_us: int, to_us: int, coarsest: int) -> Iterator[Select[Any]]:
    """Queries for the rows that together hold the stretch."""
    from_us, to_us = max(from_us, EARLIEST), min(to_us, LATEST)
    state = coverage.load(connection)
    excluded = excluded_partitions(connection, state)
    for late in (False, True):
        for piece in state.pieces(from_us, to_us, late, coarsest):
            if not piece.excluded or excluded:
                yield filtered(rows_of(piece, excluded), None, None, None, late)


def closed_until(source: Source) -> int | None:
    """Windows that end at or before this event time (µs) are closed; None: none is."""
    with snapshot(source) as connection:
        return coverage.closed_until(connection)


def partition_rows(source: Source) -> list[PartitionRow]:
    """Every partition that a worker has claimed, in order."""
    columns = [partitions.c[name] for name in PartitionRow.__dataclass_fields__]
    with snapshot(source) as connection:
        query = select(*columns).order_by(partitions.c.topic, partitions.c.partition)
        return [PartitionRow(*found) for found in connection.execute(query)]
