"""Ranges in full hours, of which what is dear to make stays the same for an hour; and what is marked on their lines."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, func, select

from monitor.serve import marks
from monitor.serve.context import Context
from monitor.serve.marks import Marked
from monitor.serve.remembered import State
from monitor.serve.shell import View
from monitor.store import coverage, listing
from monitor.store.tables import partitions
from monitor.times import DAY_US, HOUR_US

MOST_ROWS = 20_000  # of hours that a line of all segments is read from; beyond, its step is a day


def in_hours(connection: Connection, view: View) -> View:
    """A range that moves with the clock ends at the last full hour; but for the first hours of all."""
    if view.preset is None or view.empty:
        return view
    first = coverage.first_window(connection)
    past = view.end_us % HOUR_US
    if first is None or first + HOUR_US > view.end_us - past:
        return view
    return replace(view, begin_us=view.begin_us - past, end_us=view.end_us - past)


def changes(connection: Connection, view: View) -> tuple[int, ...]:
    """What grows when rows of the range change: of closed windows late events alone do."""
    query = select(func.sum(partitions.c.late_events), func.sum(partitions.c.events))
    late, events = connection.execute(query).one()
    closed = listing.closed_until(connection) or 0
    return (int(late or 0),) if view.end_us <= closed else (int(late or 0), int(events or 0))


def marked(context: Context, connection: Connection, view: View, route: str | None, state: State) -> Marked:
    """What is marked on lines over a view."""
    return context.remembered.value(
        ("marks", *view.kept_as),
        (*state, view),
        lambda: marks.read(connection, view, view.begin_us, route or "", versions=False),
    )


def step(view: View, segments: int) -> int:
    """The step of a line over a range of so many segments, µs: an hour, or a day."""
    hours = (view.end_us - view.begin_us) // HOUR_US
    return view.step_us if segments * hours <= MOST_ROWS else DAY_US
