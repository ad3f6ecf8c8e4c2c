"""Summaries merged over a range of event time, from the coarsest rows that fit: hours where they are rolled up."""

from __future__ import annotations

from sqlalchemy import Connection, and_, or_, select

from detectors.summaries.summary import Summary
from monitor.store.tables import rollups, summaries
from monitor.times import DAY_US, HOUR_US

_LEVELS = ((2, DAY_US), (1, HOUR_US))


def spans(done: dict[int, int], low: int, high: int) -> list[tuple[int, int, int]]:
    """Disjoint (level, from, to) that cover [low, high): whole days and hours that are rolled up, else minutes.

    ``done`` says per level until when windows are rolled up.
    """
    left = [(low, high)]
    found: list[tuple[int, int, int]] = []
    for level, size in _LEVELS:
        rest: list[tuple[int, int]] = []
        for begin, end in left:
            first = -(-begin // size) * size
            last = min(end, done.get(level, 0)) // size * size
            if first < last:
                found.append((level, first, last))
                rest += [(begin, first), (last, end)]
            else:
                rest.append((begin, end))
        left = [(begin, end) for begin, end in rest if begin < end]
    return sorted([*found, *((0, begin, end) for begin, end in left)], key=lambda item: item[1])


def merged_segments(
    connection: Connection, low: int, high: int, *, segment: str | None = None, version: str | None = None
) -> dict[tuple[str, str], Summary]:
    """(route, segment): its summary over windows in [low, high), on-time and late events together."""
    done = {row.level: row.done_until_us for row in connection.execute(select(rollups))}
    c = summaries.c
    ranges = [and_(c.level == lv, c.window_us >= a, c.window_us < b) for lv, a, b in spans(done, low, high)]
    query = select(c.route, c.segment, c.state).where(or_(*ranges))
    if segment is not None:
        query = query.where(c.segment == segment)
    if version is not None:
        query = query.where(c.version == version)
    # Heavy hitters merge in (partition, window) order, which is what makes reads repeatable.
    query = query.order_by(c.topic, c.partition, c.window_us, c.version, c.late)
    states: dict[tuple[str, str], list[bytes | Summary]] = {}
    for route, name, state in connection.execute(query):
        states.setdefault((route, name), []).append(bytes(state))
    return {key: Summary.merge_all(parts) for key, parts in sorted(states.items())}


def merged(
    connection: Connection, low: int, high: int, *, segment: str | None = None, version: str | None = None
) -> Summary:
    """One summary over every segment, or over the one asked for."""
    parts = merged_segments(connection, low, high, segment=segment, version=version)
    return Summary.merge_all(parts.values())
