"""Deleting what is older than its kind's retention, in event time: relative to the last closed window.

Minute rows go only when both roll-ups hold them, hour rows only when days do, and minute rows of a partition that
the roll-ups do not contain yet stay. Days begin at midnight of the configured time zone. A dead letter has no event
time that could be trusted: it is taken at its Kafka timestamp. Items of the review queue, with their labels, outlive
the samples they were drawn from. Open anomalies stay.

Each transaction deletes a bounded stretch, so that writers wait only shortly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, Table, and_, delete, func, select, tuple_

from monitor.store import coverage
from monitor.store.coverage import DAY, HOUR, MINUTE, NEVER, Coverage
from monitor.store.engine import Store
from monitor.store.review import ending as review
from monitor.store.rollups import save
from monitor.store.tables import (
    anomalies,
    dead_letters,
    delivery_decisions,
    evaluation,
    evidence,
    letter_retries,
    sample_content,
    sample_parts,
    samples,
    summaries,
    watermark_advances,
)
from monitor.times import DAY_US, HOUR_US

if TYPE_CHECKING:
    from monitor.config.model import Retention

KINDS = ("minute", "hour", "day", "samples", "content", "dead_letters", "anomalies", "labels")
_LEVELS = {"minute": MINUTE, "hour": HOUR, "day": DAY}
_STRETCH_US = {MINUTE: HOUR_US, HOUR: DAY_US, DAY: 31 * DAY_US}
_CHUNK = 500


def run(store: Store, keep: Retention) -> dict[str, int]:
    """Delete what ``keep`` no longer asks for. Returns the rows deleted per kind. Raises StoreUnavailable."""
    lengths = {kind: int(getattr(keep, kind)) for kind in KINDS}
    with store.read() as connection:
        if not coverage.begun(connection):
            return dict.fromkeys(KINDS, 0)
        state = coverage.load(connection)
    if state.retention_us != lengths:
        with store.write() as connection:
            state = coverage.load(connection, lock=store.dialect == "postgresql")
            state.retention_us = lengths
            save(store, connection, state)
    deleted = {kind: _summaries(store, _LEVELS[kind]) for kind in ("minute", "hour", "day")}
    deleted["samples"] = _repeat(store, "samples", _old_samples)
    deleted["content"] = _repeat(store, "content", _old(sample_content, sample_content.c.time_us))
    deleted["dead_letters"] = _repeat(store, "dead_letters", _old(dead_letters, dead_letters.c.time_us))
    _repeat(store, "dead_letters", _old(letter_retries, letter_retries.c.time_us))
    deleted["anomalies"] = _repeat(store, "anomalies", _old(anomalies, anomalies.c.resolved_us))
    deleted["labels"] = _repeat(store, "labels", review.retire)
    _repeat(store, "anomalies", _old(evidence, evidence.c.tick_us))
    _repeat(store, "anomalies", _old(delivery_decisions, delivery_decisions.c.time_us))
    _repeat(store, "day", _old(watermark_advances, watermark_advances.c.watermark_us))
    return deleted


def kept_from(connection: Connection, state: Coverage, kind: str) -> int:
    """From when on rows of ``kind`` are to be kept, by the retention last in force; NEVER: everything.

    Depends on the rows of the partitions alone, not on when retention ran.
    """
    closed = coverage.closed_until(connection)
    if closed is None or kind not in state.retention_us:
        return NEVER
    bound = closed - state.retention_us[kind]
    if kind in ("hour", "day"):  # whole days, so that days answer exactly up to where hours begin
        bound = state.day_of(max(bound, 0))[0] if state.zones else NEVER
    return bound - bound % HOUR_US


def _bound(connection: Connection, state: Coverage, level: int) -> int:
    """Rows of ``level`` before this may go: old enough, and held by coarser rows."""
    kind = next(kind for kind, value in _LEVELS.items() if value == level)
    bounds = [kept_from(connection, state, kind)]
    for coarser in range(level + 1, DAY + 1):
        bounds += [state.done_until(coarser, late) // HOUR_US * HOUR_US for late in (False, True)]
    if level == MINUTE:
        # Minutes that no tick has read yet stay, however far the evaluator is behind.
        evaluated = connection.execute(select(evaluation.c.done_until_us)).scalars().all()
        bounds += [(done or 0) // HOUR_US * HOUR_US for done in evaluated]
    return min(bounds)


def _summaries(store: Store, level: int) -> int:
    total = 0
    while True:
        with store.write() as connection:
            state = coverage.load(connection, lock=store.dialect == "postgresql")
            bound = _bound(connection, state, level)
            gone = and_(summaries.c.level == level, summaries.c.window_us < bound)
            if level == MINUTE:
                gone = and_(
                    gone, tuple_(summaries.c.topic, summaries.c.partition).in_(sorted(state.included) or [("", -2)])
                )
            first = connection.execute(select(func.min(summaries.c.window_us)).where(gone)).scalar()
            if first is None:
                return total
            until = min(bound, (first // HOUR_US) * HOUR_US + _STRETCH_US[level])
            total += connection.execute(delete(summaries).where(gone, summaries.c.window_us < until)).rowcount
            state.kept[level] = max(until, state.kept_from(level))
            save(store, connection, state)


Delete = Callable[[Connection, int], int]


def _repeat(store: Store, kind: str, chunk: Delete) -> int:
    total = 0
    while True:
        with store.write() as connection:
            bound = kept_from(connection, coverage.load(connection), kind)
            count = chunk(connection, bound)
        total += count
        if count < _CHUNK:
            return total


def _old(table: Table, time: Column[Any]) -> Delete:
    def chunk(connection: Connection, bound: int) -> int:
        keys = list(table.primary_key.columns)
        found = connection.execute(select(*keys).where(time < bound).limit(_CHUNK)).all()
        if not found:
            return 0
        one = len(keys) == 1
        chosen = keys[0].in_([row[0] for row in found]) if one else tuple_(*keys).in_([tuple(r) for r in found])
        return connection.execute(delete(table).where(chosen)).rowcount

    return chunk


def _old_samples(connection: Connection, bound: int) -> int:
    ids = list(
        connection.execute(select(samples.c.sample_id).where(samples.c.window_us < bound).limit(_CHUNK)).scalars()
    )
    if ids:
        for table in (sample_content, sample_parts, samples):
            connection.execute(delete(table).where(table.c.sample_id.in_(ids)))
    return len(ids)
