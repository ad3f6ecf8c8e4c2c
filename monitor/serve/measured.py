"""Summaries per route and segment, merged over a range of event time."""

from __future__ import annotations

from sqlalchemy import Connection

from detectors.summaries import Selection
from monitor.store import reads


def by_place(
    connection: Connection, low: int, high: int, selection: Selection | None = None
) -> dict[tuple[str, str], reads.Merged]:
    """(route, segment): what was measured in [low, high), on-time and late events together, in the order of names."""
    found, _ = reads.merged_by(connection, low, high, lambda row: (row.route, row.segment), selection=selection)
    return found
