"""Which segments there are, and how far partitions have been read."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from monitor.store import coverage
from monitor.store.reads import EARLIEST, LATEST, Source, excluded_partitions, filtered, rows_of, snapshot
from monitor.store.tables import partitions, summaries


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
