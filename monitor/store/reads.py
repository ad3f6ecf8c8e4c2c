"""Reads of summaries: rows, and their sums over any stretch of event time, per segment or window.

Every function takes a Store, or a Connection of ``store.read()`` where several reads must see one snapshot. Stretches
are ``[from_us, to_us)`` over window starts. ``segment=None`` is ``all``: the sum over segments, which partition the
events of each route. ``late=None`` is on-time and late rows together; True and False are one of them.

Rows are added as they come from the database, so that memory does not grow with their number; sums do not depend on
their order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, select, tuple_

from detectors.summaries import Selection, Summary
from monitor.store import coverage
from monitor.store.coverage import DAY, HOUR, MINUTE, Coverage, Piece
from monitor.store.engine import Store
from monitor.store.tables import summaries
from monitor.times import HOUR_US

OTHER = "other"
MINUTE_US = 60_000_000
EARLIEST, LATEST = 0, 200_000_000_000_000_000  # 1970 and the year 8307: bounds of what time arithmetic is done on

_AT_ONCE = 2000  # rows asked of the database at a time

Source = Store | Connection
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Row:
    """One stored summary. ``level``: 0 minute (of one partition), 1 hour, 2 day (of all; topic '', partition -1)."""

    level: int
    window_us: int
    route: str
    segment: str
    version: str
    late: bool
    topic: str
    partition: int
    events: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Merged:
    """A sum of summary rows.

    ``missing``: stretches that can no longer be told apart, since retention deleted the finer rows they need.
    ``other_events``: events that lie in a folded segment or version ``other``, so that a named one may lack them.
    ``rows``: how many rows were added.
    """

    summary: Summary
    events: int
    late_events: int
    other_events: int
    missing: tuple[tuple[int, int], ...] = ()
    rows: int = 0


class _Notes:
    """Rows and events of a sum, and how many of these came late or lie in a folded ``other``."""

    __slots__ = ("events", "late", "other", "rows")

    def __init__(self) -> None:
        self.rows = self.events = self.late = self.other = 0

    def count(self, row: Row) -> None:
        self.rows += 1
        self.events += row.events
        if row.late:
            self.late += row.events
        if OTHER in (row.segment, row.version):
            self.other += row.events


def merge_order(row: Row) -> tuple[str, int, int, int, str, str, str, bool]:
    """The order in which rows are merged: partition, then window."""
    return (row.topic, row.partition, row.window_us, row.level, row.route, row.segment, row.version, row.late)


@contextlib.contextmanager
def snapshot(source: Source) -> Iterator[Connection]:
    """A connection to read from."""
    if isinstance(source, Connection):
        yield source
    else:
        with source.read() as connection:
            yield connection


def filtered(
    query: Select[Any], route: str | None, segment: str | None, version: str | None, late: bool | None
) -> Select[Any]:
    """The query for rows of one route, segment, version or lateness alone, where given."""
    for column, value in (
        (summaries.c.route, route),
        (summaries.c.segment, segment),
        (summaries.c.version, version),
        (summaries.c.late, late),
    ):
        if value is not None:
            query = query.where(column == value)
    return query


_COLUMNS = (
    summaries.c.level,
    summaries.c.window_us,
    summaries.c.route,
    summaries.c.segment,
    summaries.c.version,
    summaries.c.late,
    summaries.c.topic,
    summaries.c.partition,
    summaries.c.events,
    summaries.c.state,
)


def _row(found: Any) -> Row:
    level, window, route, segment, version, late, topic, partition, events, state = found
    return Row(level, window, route, segment, version, bool(late), topic, partition, events, bytes(state))


def summary_rows(
    source: Source,
    from_us: int,
    to_us: int,
    *,
    level: int = MINUTE,
    route: str | None = None,
    segment: str | None = None,
    version: str | None = None,
    late: bool | None = None,
) -> list[Row]:
    """The stored rows of one level, in (window, route, segment, version, late, topic, partition) order."""
    query = select(*_COLUMNS).where(
        summaries.c.level == level, summaries.c.window_us >= from_us, summaries.c.window_us < to_us
    )
    with snapshot(source) as connection:
        rows = [_row(found) for found in connection.execute(filtered(query, route, segment, version, late))]
    # Sorted here: the two databases collate text differently, and the primary key's order is by bytes in neither.
    rows.sort(key=lambda r: (r.window_us, r.route, r.segment, r.version, r.late, r.topic, r.partition))
    return rows


def covering(
    source: Source,
    from_us: int,
    to_us: int,
    *,
    coarsest: int = DAY,
    route: str | None = None,
    segment: str | None = None,
    version: str | None = None,
    late: bool | None = None,
) -> tuple[list[Row], tuple[tuple[int, int], ...]]:
    """(rows that together hold every event of the stretch once, stretches no longer told apart).

    Takes days and hours where they lie wholly inside and are rolled up, minutes elsewhere; never coarser than
    ``coarsest`` (0 minute, 1 hour, 2 day). Rows come in merge order.
    """
    with snapshot(source) as connection:
        found, missing = _covering(connection, from_us, to_us, coarsest, route, segment, version, late)
        rows = sorted(found, key=merge_order)
    return rows, missing


def _covering(
    connection: Connection,
    from_us: int,
    to_us: int,
    coarsest: int,
    route: str | None,
    segment: str | None,
    version: str | None,
    late: bool | None,
) -> tuple[Iterator[Row], tuple[tuple[int, int], ...]]:
    """As `covering`, but rows come in any order, and while they are read."""
    from_us, to_us = max(from_us, EARLIEST), min(to_us, LATEST)
    state = coverage.load(connection)
    excluded = excluded_partitions(connection, state)
    pieces = {
        flag: state.pieces(from_us, to_us, flag, coarsest) for flag in ((False, True) if late is None else (late,))
    }

    def rows() -> Iterator[Row]:
        for flag, of_flag in pieces.items():
            for piece in of_flag:
                if piece.excluded and not excluded:
                    continue
                query = filtered(rows_of(piece, excluded), route, segment, version, flag)
                for found in connection.execute(query, execution_options={"yield_per": _AT_ONCE}):
                    yield _row(found)

    missing = {stretch for of_flag in pieces.values() for stretch in state.missing(of_flag)}
    return rows(), tuple(sorted(missing))


def merged_by(
    source: Source,
    from_us: int,
    to_us: int,
    key: Callable[[Row], K],
    *,
    coarsest: int = DAY,
    route: str | None = None,
    segment: str | None = None,
    version: str | None = None,
    late: bool | None = None,
    selection: Selection | None = None,
) -> tuple[dict[K, Merged], tuple[tuple[int, int], ...]]:
    """The sum of the rows of every key, sorted by key, and the stretches no longer told apart (see `covering`)."""
    notes: dict[K, _Notes] = {}

    def states(rows: Iterator[Row]) -> Iterator[tuple[K, bytes]]:
        for row in rows:
            of_row = key(row)
            if of_row not in notes:
                notes[of_row] = _Notes()
            notes[of_row].count(row)
            yield of_row, row.state

    with snapshot(source) as connection:
        rows, missing = _covering(connection, from_us, to_us, coarsest, route, segment, version, late)
        sums = Summary.merge_by(states(rows), selection)
    found = {
        of_row: Merged(sums[of_row], n.events, n.late, n.other, missing, n.rows) for of_row, n in sorted(notes.items())
    }
    return found, missing


def places(source: Source) -> set[tuple[str, str]]:
    """Every (route, segment) that has had an event, from as few rows as there are: days where there are days."""
    found: set[tuple[str, str]] = set()
    with snapshot(source) as connection:
        state = coverage.load(connection)
        excluded = excluded_partitions(connection, state)
        for late in (False, True):
            for piece in state.pieces(EARLIEST, LATEST, late):
                if piece.excluded and not excluded:
                    continue
                rows = filtered(rows_of(piece, excluded), None, None, None, late)
                query = rows.with_only_columns(summaries.c.route, summaries.c.segment).distinct()
                found.update((route, segment) for route, segment in connection.execute(query))
    return found


def excluded_partitions(connection: Connection, state: Coverage) -> list[coverage.Partition]:
    """Partitions that have events and are not in the roll-ups yet."""
    return [(b.topic, b.partition) for b in coverage.begun(connection) if (b.topic, b.partition) not in state.included]


def rows_of(piece: Piece, excluded: list[coverage.Partition]) -> Select[Any]:
    """The rows of a piece."""
    query = select(*_COLUMNS).where(
        summaries.c.level == piece.level,
        summaries.c.window_us >= piece.from_us,
        summaries.c.window_us < piece.to_us,
    )
    if piece.excluded:
        query = query.where(tuple_(summaries.c.topic, summaries.c.partition).in_(excluded))
    return query


def merged_with_notes(
    source: Source,
    from_us: int,
    to_us: int,
    *,
    coarsest: int = DAY,
    route: str | None = None,
    segment: str | None = None,
    version: str | None = None,
    late: bool | None = None,
) -> Merged:
    """The sum over a stretch, and what is to be said about it."""
    found, missing = merged_by(
        source,
        from_us,
        to_us,
        lambda row: "",
        coarsest=coarsest,
        route=route,
        segment=segment,
        version=version,
        late=late,
    )
    return found.get("") or Merged(Summary(), 0, 0, 0, missing)


def merged(
    source: Source,
    from_us: int,
    to_us: int,
    *,
    coarsest: int = DAY,
    route: str | None = None,
    segment: str | None = None,
    version: str | None = None,
    late: bool | None = None,
) -> Summary:
    """The sum over a stretch."""
    return merged_with_notes(
        source, from_us, to_us, coarsest=coarsest, route=route, segment=segment, version=version, late=late
    ).summary


def by_window(
    source: Source,
    from_us: int,
    to_us: int,
    *,
    step_us: int | None = HOUR_US,
    route: str | None = None,
    segment: str | None = None,
    version: str | None = None,
    late: bool | None = None,
    selection: Selection | None = None,
) -> list[tuple[int, Merged]]:
    """A time series: (start, sum) per step that has events, oldest first.

    ``step_us`` is a multiple of a minute, steps counted from the epoch; None: the days of the configured time zone.
    A step that is a multiple of an hour is read from hours, another one from minutes.
    """
    if step_us is not None and (step_us <= 0 or step_us % MINUTE_US):
        raise ValueError(f"expected a step of whole minutes, got {step_us} µs; write a multiple of {MINUTE_US}")
    coarsest = DAY if step_us is None else HOUR if step_us % HOUR_US == 0 else MINUTE
    with snapshot(source) as connection:
        state = coverage.load(connection)

        def start(row: Row) -> int:
            if step_us is not None:
                return row.window_us - row.window_us % step_us
            return state.day_of(row.window_us)[0] if state.zones else row.window_us - row.window_us % (24 * HOUR_US)

        found, missing = merged_by(
            connection,
            from_us,
            to_us,
            start,
            coarsest=coarsest,
            route=route,
            segment=segment,
            version=version,
            late=late,
            selection=selection,
        )
    return [(us, replace(sum_, missing=_within(missing, us, step_us))) for us, sum_ in found.items()]


def _within(missing: tuple[tuple[int, int], ...], start: int, step_us: int | None) -> tuple[tuple[int, int], ...]:
    end = start + (step_us or 25 * HOUR_US)
    return tuple((max(a, start), min(b, end)) for a, b in missing if a < end and b > start)
