"""Summaries per route and segment, merged over a range of event time."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from detectors.summaries.summary import Summary
from monitor.store import reads


@dataclass(frozen=True, slots=True)
class Place:
    """One segment of one route: its summary, and how many of its events came late or lie in a folded ``other``."""

    summary: Summary
    late_events: int
    other_events: int


def by_place(connection: Connection, low: int, high: int) -> dict[tuple[str, str], Place]:
    """(route, segment): what was measured in [low, high), on-time and late events together, in the order of names."""
    rows, _ = reads.covering(connection, low, high)
    groups: dict[tuple[str, str], list[reads.Row]] = {}
    for row in sorted(rows, key=reads.merge_order):  # heavy hitters merge in this order, so reads are repeatable
        groups.setdefault((row.route, row.segment), []).append(row)
    return {
        key: Place(
            Summary.merge_all([row.state for row in found]),
            sum(row.events for row in found if row.late),
            sum(row.events for row in found if reads.OTHER in (row.segment, row.version)),
        )
        for key, found in sorted(groups.items())
    }
