"""Parts of pages that are kept until what they were made of changes, so that many readers cost as much as one.

A part is kept with the state of the store that it was made in, and made anew in any other. Of what summaries say of
closed windows a state is exact: on-time rows of closed windows are final, late ones are counted, roll-ups and retention
note what they did.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from markupsafe import Markup
from sqlalchemy import Connection, Executable, func, select

from monitor.store import coverage
from monitor.store.tables import anomalies, deploys, evaluation, partitions, references, upkeep

MOST_BYTES = 32 << 20
RECENT_S = 120.0
SLOW_S = 1.0  # what takes longer to make ...
WORTH = 20  # ... is shown for so many times as long, so that making it takes a twentieth of one processor at most
State = tuple[object, ...]
T = TypeVar("T")


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


def weight(value: object) -> int:
    """About how many bytes a value takes: those of its pickled form, which nobody reads."""
    return len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


class _Entry:
    __slots__ = ("at", "lock", "size", "state", "took", "value")

    def __init__(self) -> None:
        self.lock = threading.Lock()  # held while it is made
        self.state: State | None = None
        self.value: object = None
        self.size = 0
        self.at = 0.0
        self.took = 0.0

    def good_for(self) -> float:
        """Seconds for which it is shown whatever has changed."""
        return min(RECENT_S, WORTH * self.took) if self.took > SLOW_S else 0.0


class Remembered:
    """Values by key; the least recently asked for goes first.

    One of those who ask makes what has changed; who comes meanwhile gets what was there, if that is at most `RECENT_S`
    old, and waits otherwise. What takes more than `SLOW_S` to make is made no more often than `WORTH` allows.
    ``clock``: seconds.
    """

    def __init__(self, most: int = MOST_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._most = most
        self._clock = clock

    def value(self, key: Hashable, state: State, make: Callable[[], T], size: Callable[[T], int] = weight) -> T:
        """What ``make`` returns, made once in a state. ``size``: about how many bytes it takes."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            good_for = RECENT_S if entry.lock.locked() else entry.good_for()
            if entry.state == state or (entry.size and self._clock() - entry.at <= good_for):
                return cast(T, entry.value)
        with entry.lock:
            if entry.state != state:
                began = self._clock()
                made = make()
                held = max(1, size(made))
                with self._lock:
                    entry.value, entry.size, entry.state, entry.at = made, held, state, self._clock()
                    entry.took = entry.at - began
                    self._trim()
            return cast(T, entry.value)

    def html(self, key: Hashable, state: State, make: Callable[[], str]) -> Markup:
        """A `value` that a template rendered: HTML that is safe to show."""
        return self.value(key, state, lambda: Markup(make()), len)  # by a template that escapes

    def _trim(self) -> None:
        held = sum(entry.size for entry in self._entries.values())
        while held > self._most and len(self._entries) > 1:
            _, gone = self._entries.popitem(last=False)
            held -= gone.size
