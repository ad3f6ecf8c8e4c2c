"""Parts of pages that are kept until what they were made of changes, so that many readers cost as much as one.

A part is kept with the state of the store that it was made in, and made anew in any other. Of what summaries say of
closed windows a state is exact: on-time rows of closed windows are final, late ones are counted, roll-ups and retention
note what they did.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from markupsafe import Markup
from sqlalchemy import Connection, Executable, func, select

from monitor.store import coverage
from monitor.store.tables import anomalies, deploys, evaluation, partitions, references, upkeep

MOST_CHARACTERS = 32 << 20
State = tuple[object, ...]


def state_of(connection: Connection, until_us: int = 0) -> State:
    """What changes whenever closed windows, verdicts, references or deploys do; where ``until_us`` is after the newest
    closed window, with everything that is read."""
    p, a, r = partitions.c, anomalies.c, references.c
    closed = coverage.closed_until(connection)
    found: list[Executable] = [
        select(func.sum(p.late_events), func.count()),
        select(upkeep.c.document).where(upkeep.c.name == coverage.NAME),
        select(func.max(evaluation.c.done_until_us)),
        select(func.count(), func.max(a.updated_us), func.sum(a.resolved_us)),
        select(func.count(), func.max(deploys.c.time_us)),
        select(r.state, func.count(), func.sum(r.version)).group_by(r.state).order_by(r.state),
    ]
    if closed is None or until_us > closed:
        found.append(select(func.sum(p.next_offset), func.sum(p.generation)))
    return (closed, *(tuple(map(tuple, connection.execute(query))) for query in found))


class _Entry:
    __slots__ = ("html", "lock", "state")

    def __init__(self, state: State) -> None:
        self.state = state
        self.lock = threading.Lock()
        self.html: Markup | None = None


class Remembered:
    """HTML by key; the least recently asked for goes first. Who asks for what is being made waits for it."""

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._most = most

    def html(self, key: Hashable, state: State, make: Callable[[], str]) -> Markup:
        """What ``make`` returns, made at most once in a state. ``make`` returns HTML that is safe to show."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.state != state:
                entry = self._entries[key] = _Entry(state)
            self._entries.move_to_end(key)
        with entry.lock:
            if entry.html is None:
                entry.html = Markup(make())  # rendered by a template that escapes
                self._trim()
            return entry.html

    def _trim(self) -> None:
        with self._lock:
            held = sum(len(entry.html or "") for entry in self._entries.values())
            while held > self._most and len(self._entries) > 1:
                _, gone = self._entries.popitem(last=False)
                held -= len(gone.html or "")
