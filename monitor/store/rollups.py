"""Hour and day roll-ups of closed minutes, one window per transaction.

A roll-up is computed in a read snapshot (its rows are final, see coverage.py) and written in a short transaction
that is a compare-and-set on the state: two processes that roll up at once do the work twice and write it once, and a
kill between any two instructions leaves either all of a window or nothing of it. The sum is taken over rows in
(topic, partition, window) order, so it is the same whenever it is computed.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, select, tuple_

from detectors.summaries import Summary
from monitor.store import coverage
from monitor.store.coverage import DAY, HOUR, MINUTE, NEVER, Begun, Coverage, Partition
from monitor.store.engine import Store
from monitor.store.tables import summaries, upkeep
from monitor.times import HOUR_US

ROLLED_TOPIC, ROLLED_PARTITION = "", -1


@dataclass(slots=True)
class _Step:
    """What one transaction writes. ``drop``: (level, late, from) whose roll-ups from there on are deleted."""

    state: Coverage
    rows: list[dict[str, Any]] = field(default_factory=list)
    drop: list[tuple[int, bool, int]] = field(default_factory=list)
    merge: list[dict[str, Any]] = field(default_factory=list)  # rows to add to those that exist


def run(store: Store, *, allowed_lateness_us: int, timezone: str, limit: int | None = None) -> int:
    """Roll up what is final; at most ``limit`` windows. Returns how many transactions changed something.

    ``allowed_lateness_us`` and ``timezone`` are those of the configuration. Raises StoreUnavailable.
    """
    written = 0
    while limit is None or written < limit:
        with store.read() as connection:
            before = _document(connection)
            state = coverage.load(connection)
            step = _next(connection, state, allowed_lateness_us, timezone)
        if step is None:
            break
        _write(store, before, step)
        written += 1
    return written


def _document(connection: Connection) -> str | None:
    return connection.execute(select(upkeep.c.document).where(upkeep.c.name == coverage.NAME)).scalar()


def _write(store: Store, before: str | None, step: _Step) -> None:
    with store.write() as connection:
        store.insert_ignore(connection, upkeep, [{"name": coverage.NAME, "document": Coverage().dumps()}])
        coverage.load(connection, lock=store.dialect == "postgresql")
        current = _document(connection)
        if current not in (before, Coverage().dumps() if before is None else before):
            return  # another process was faster: look again
        for level, late, from_us in step.drop:
            connection.execute(
                delete(summaries).where(
                    summaries.c.level == level, summaries.c.late == late, summaries.c.window_us >= from_us
                )
            )
        rows = step.rows + [_added(connection, row) for row in step.merge]
        store.upsert(connection, summaries, rows, update=("events", "state"))
        save(store, connection, step.state)


def save(store: Store, connection: Connection, state: Coverage) -> None:
    """Write the state, in the transaction of the rows it speaks of."""
    store.upsert(connection, upkeep, [{"name": coverage.NAME, "document": state.dumps()}])


def _added(connection: Connection, row: dict[str, Any]) -> dict[str, Any]:
    keys = list(summaries.primary_key.columns)
    found = connection.execute(
        select(summaries.c.events, summaries.c.state).where(*(column == row[column.name] for column in keys))
    ).first()
    if found is None:
        return row
    state = Summary.merge_all([bytes(found.state), row["state"]]).to_state()
    return {**row, "events": found.events + row["events"], "state": state}


def _next(connection: Connection, state: Coverage, lateness_us: int, zone: str) -> _Step | None:
    state = copy.deepcopy(state)
    marks = coverage.begun(connection)
    closed = coverage.closed_until(connection)
    if closed is None:
        return None
    settings = _settings(state, lateness_us, zone)
    if settings is not None:
        return settings
    joined = _join(connection, state, marks)
    if joined is not None:
        return joined
    for late, until in ((False, closed), (True, closed - lateness_us)):
        hour = _hour(connection, state, late, until // HOUR_US * HOUR_US)
        if hour is not None:
            return hour
    for late in (False, True):
        day = _day(connection, state, late)
        if day is not None:
            return day
    return None


def _settings(state: Coverage, lateness_us: int, zone: str) -> _Step | None:
    """Take in a changed time zone or lateness."""
    changed = False
    drop: list[tuple[int, bool, int]] = []
    if not state.zones or state.zones[-1][1] != zone:
        # Days already rolled up keep their midnights; the next one begins where the last one ended.
        reached = max(state.done_until(DAY, late) for late in (False, True))
        state.zones = [entry for entry in state.zones if entry[0] < reached] if reached > NEVER else []
        state.zones.append((reached, zone))
        changed = True
    if lateness_us != state.lateness_us:
        if lateness_us > state.lateness_us:
            # Late rows may now come for windows whose late rows were final: those answer from minutes again.
            back = state.done_until(HOUR, True) - (lateness_us - state.lateness_us)
            if state.done_until(HOUR, True) > NEVER:
                _undo(state, back, (True,), drop)
        state.lateness_us = lateness_us
        changed = True
    return _Step(state, drop=drop) if changed else None


def _undo(state: Coverage, from_us: int, flags: tuple[bool, ...], drop: list[tuple[int, bool, int]]) -> None:
    """Let minutes answer again from ``from_us`` on, as far as they are kept."""
    kept = state.kept_from(MINUTE)
    cut = max(from_us // HOUR_US * HOUR_US, kept)
    start, end = state.day_of(cut)
    day = start if start >= kept else end
    for late in flags:
        for level, back in ((HOUR, cut), (DAY, day)):
            if state.done_until(level, late) > back:
                state.done[(level, late)] = back
                drop.append((level, late, back))


def _join(connection: Connection, state: Coverage, marks: list[Begun]) -> _Step | None:
    """Take partitions that have begun since into the roll-ups, once what they have before ``done`` is final."""
    new = {
        (mark.topic, mark.partition)
        for mark in marks
        if (mark.topic, mark.partition) not in state.included
        and mark.watermark_us >= state.done_until(HOUR, False)
        and mark.watermark_us - state.lateness_us >= state.done_until(HOUR, True)
    }
    if not new:
        return None
    step = _Step(state)
    state.included = state.included | new
    done = max(state.done_until(HOUR, late) for late in (False, True))
    first = connection.execute(
        select(func.min(summaries.c.window_us)).where(
            tuple_(summaries.c.topic, summaries.c.partition).in_(sorted(new)), summaries.c.level == MINUTE
        )
    ).scalar()
    if first is None or first >= done:
        return step
    _undo(state, first, (False, True), step.drop)
    _merge_old(connection, state, step, new)
    return step


def _merge_old(connection: Connection, state: Coverage, step: _Step, new: set[Partition]) -> None:
    """Where the minutes that a roll-up was made of are deleted, add the new partitions' rows to it."""
    for late in (False, True):
        for level in (HOUR, DAY):
            until, kept = state.done_until(level, late), state.kept_from(level)
            groups: dict[tuple[int, str, str, str], list[tuple[int, bytes]]] = {}
            for row in _rows(connection, MINUTE, NEVER, until, late, frozenset(new)):
                window = row.window_us - row.window_us % HOUR_US if level == HOUR else state.day_of(row.window_us)[0]
                if window >= kept:
                    key = (window, row.route, row.segment, row.version)
                    groups.setdefault(key, []).append((row.events, bytes(row.state)))
            for (window, route, segment, version), parts in sorted(groups.items()):
                step.merge.append(_rolled(level, window, route, segment, version, late, parts))


def _hour(connection: Connection, state: Coverage, late: bool, until: int) -> _Step | None:
    done = state.done_until(HOUR, late)
    if until <= done:
        return None
    first = connection.execute(
        select(func.min(summaries.c.window_us)).where(
            summaries.c.level == MINUTE,
            summaries.c.late == late,
            summaries.c.window_us >= done,
            summaries.c.window_us < until,
        )
    ).scalar()
    if first is None:
        state.done[(HOUR, late)] = until
        return _Step(state)
    start = first - first % HOUR_US
    state.done[(HOUR, late)] = start + HOUR_US
    rows = _rows(connection, MINUTE, start, start + HOUR_US, late, state.included)
    return _Step(state, list(_grouped(HOUR, start, late, rows)))


def _day(connection: Connection, state: Coverage, late: bool) -> _Step | None:
    done, until = state.done_until(DAY, late), state.done_until(HOUR, late)
    if until <= max(done, NEVER):
        return None
    first = connection.execute(
        select(func.min(summaries.c.window_us)).where(
            summaries.c.level.in_((MINUTE, HOUR)),
            summaries.c.late == late,
            summaries.c.window_us >= done,
            summaries.c.window_us < until,
        )
    ).scalar()
    if first is None:
        # Nothing to sum: days up to the last whole one are done.
        start = state.day_of(until)[0]
        if start <= done:
            return None
        state.done[(DAY, late)] = start
        return _Step(state)
    start, end = state.day_of(first)
    if end > until:
        if start <= done:
            return None
        state.done[(DAY, late)] = start
        return _Step(state)
    rows = itertools.chain.from_iterable(
        _rows(connection, piece.level, piece.from_us, piece.to_us, late, state.included)
        for piece in state.pieces(start, end, late, HOUR)
        if not piece.excluded
    )
    # Hours, and minutes where midnight is not on the hour, meet here: bring each group's rows together.
    ordered = sorted(rows, key=lambda row: (row.route, row.segment, row.version, row.window_us))
    state.done[(DAY, late)] = end
    return _Step(state, list(_grouped(DAY, start, late, iter(ordered))))


def _rows(
    connection: Connection, level: int, from_us: int, to_us: int, late: bool, included: frozenset[Partition]
) -> Iterator[Any]:
    """Rows, those of a (route, segment, version) together; minutes of ``included`` only."""
    query = (
        select(
            summaries.c.route,
            summaries.c.segment,
            summaries.c.version,
            summaries.c.topic,
            summaries.c.partition,
            summaries.c.window_us,
            summaries.c.events,
            summaries.c.state,
        )
        .where(
            summaries.c.level == level,
            summaries.c.late == late,
            summaries.c.window_us >= from_us,
            summaries.c.window_us < to_us,
        )
        .order_by(
            summaries.c.route,
            summaries.c.segment,
            summaries.c.version,
        )
    )
    for row in connection.execute(query, execution_options={"yield_per": 2000}):
        if level != MINUTE or (row.topic, row.partition) in included:
            yield row


def _grouped(level: int, window: int, late: bool, rows: Iterator[Any]) -> Iterator[dict[str, Any]]:
    for (route, segment, version), group in itertools.groupby(rows, key=lambda r: (r.route, r.segment, r.version)):
        # Sorted here, since databases collate topics differently.
        members = sorted(group, key=lambda r: (r.topic, r.partition, r.window_us))
        parts = [(row.events, bytes(row.state)) for row in members]
        yield _rolled(level, window, route, segment, version, late, parts)


def _rolled(
    level: int, window: int, route: str, segment: str, version: str, late: bool, parts: list[tuple[int, bytes]]
) -> dict[str, Any]:
    return {
        "level": level,
        "window_us": window,
        "route": route,
        "segment": segment,
        "version": version,
        "late": late,
        "topic": ROLLED_TOPIC,
        "partition": ROLLED_PARTITION,
        "events": sum(events for events, _ in parts),
        "state": Summary.merge_all([state for _, state in parts]).to_state(),
    }
