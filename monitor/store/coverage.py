"""Which summaries answer for which stretch of event time: minutes, or the hour and day roll-ups made of them.

How nothing is lost or counted twice while roll-ups, late rows and retention work beside ingest:

- On-time rows of a closed window never change (an on-time event is at or after its partition's watermark). Late rows
  of a window never change once it lies ``allowed_lateness`` behind every watermark. So on-time and late rows are
  rolled up apart, each as soon as it is final: ``done[(level, late)]`` is the moment before which the roll-ups of
  that level hold every row, and from which minute rows answer.
- The one thing that can still add rows before ``done`` is a partition that had not begun. ``included`` lists the
  partitions that the roll-ups contain; the minute rows of all others are read as they are, whatever their time,
  until rollups.py has taken that partition in.
- Readers and the roll-up read this state and the rows in one snapshot, and the roll-up writes rows and state in one
  transaction, as a compare-and-set on the state.
- Retention deletes minute rows only before both ``done`` of hours and days, hours only before ``done`` of days;
  ``kept[level]`` says from where rows of that level are complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from monitor.store.days import day_start, next_day
from monitor.store.tables import partitions, summaries, upkeep
from monitor.times import HOUR_US

MINUTE, HOUR, DAY = 0, 1, 2
NEVER = -(2**62)
NAME = "summaries"
_FORMAT = 1

Partition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of ``level`` with ``from_us <= window_us < to_us``; ``excluded``: only those of partitions not rolled up."""

    level: int
    from_us: int
    to_us: int
    excluded: bool = False


@dataclass(slots=True)
class Coverage:
    """The state of roll-ups and retention; see the module."""

    done: dict[tuple[int, bool], int] = field(default_factory=dict)
    included: frozenset[Partition] = frozenset()
    zones: list[tuple[int, str]] = field(default_factory=list)  # (from, time zone): whose midnights part the days
    kept: dict[int, int] = field(default_factory=dict)
    lateness_us: int = 0
    retention_us: dict[str, int] = field(default_factory=dict)  # what retention last worked with, per kind

    def done_until(self, level: int, late: bool) -> int:
        return self.done.get((level, late), NEVER)

    def kept_from(self, level: int) -> int:
        return self.kept.get(level, NEVER)

    def day_of(self, us: int) -> tuple[int, int]:
        """[start, end) of the day window that ``us`` lies in. Where the time zone was changed, a day is shorter."""
        index = max((i for i, (start, _) in enumerate(self.zones) if start <= us), default=0)
        begin, zone = self.zones[index]
        end = next_day(us, zone)
        if index + 1 < len(self.zones):
            end = min(end, self.zones[index + 1][0])
        return max(day_start(us, zone), begin), end

    def pieces(self, from_us: int, to_us: int, late: bool, coarsest: int = DAY) -> list[Piece]:
        """What to read for [from_us, to_us): every event there exactly once, in as few rows as possible."""
        out = list(self._levels(from_us, to_us, late, coarsest))
        hours_until = min(to_us, self.done_until(HOUR, late))
        if coarsest >= HOUR and from_us < hours_until:
            rolled = [piece for piece in out if piece.level > MINUTE]
            # A stretch read in minutes holds every partition's rows already.
            out += [Piece(MINUTE, piece.from_us, piece.to_us, excluded=True) for piece in _joined(rolled)]
        return out

    def _levels(self, from_us: int, to_us: int, late: bool, coarsest: int) -> Iterator[Piece]:
        if from_us >= to_us:
            return
        if coarsest == DAY and self.zones:
            start, end = self._whole_days(from_us, min(to_us, self.done_until(DAY, late)))
            if start < end:
                yield from self._levels(from_us, start, late, HOUR)
                yield Piece(DAY, start, end)
                yield from self._levels(end, to_us, late, HOUR)
                return
        if coarsest >= HOUR:
            start = -(-from_us // HOUR_US) * HOUR_US
            end = min(to_us, self.done_until(HOUR, late)) // HOUR_US * HOUR_US
            if start < end:
                if from_us < start:
                    yield Piece(MINUTE, from_us, start)
                yield Piece(HOUR, start, end)
                if end < to_us:
                    yield Piece(MINUTE, end, to_us)
                return
        yield Piece(MINUTE, from_us, to_us)

    def _whole_days(self, from_us: int, to_us: int) -> tuple[int, int]:
        if from_us >= to_us:
            return from_us, from_us
        start, end = self.day_of(from_us)
        if start < from_us:
            start = end
        if start >= to_us:
            return start, start
        last, end = self.day_of(to_us)
        return start, to_us if end == to_us else last

    def missing(self, pieces: list[Piece]) -> list[tuple[int, int]]:
        """Stretches of ``pieces`` whose rows retention has deleted."""
        out = []
        for piece in pieces:
            kept = self.kept_from(piece.level)
            if not piece.excluded and piece.from_us < kept:
                out.append((piece.from_us, min(piece.to_us, kept)))
        return sorted(set(out))

    def dumps(self) -> str:
        return json.dumps(
            {
                "format": _FORMAT,
                "done": [[level, late, us] for (level, late), us in sorted(self.done.items())],
                "included": sorted(list(item) for item in self.included),
                "zones": [list(item) for item in self.zones],
                "kept": [[level, us] for level, us in sorted(self.kept.items())],
                "lateness_us": self.lateness_us,
                "retention_us": self.retention_us,
            },
            sort_keys=True,
        )

    @classmethod
    def loads(cls, text: str) -> Coverage:
        data = json.loads(text)
        if data["format"] != _FORMAT:
            raise ValueError(f"the state of roll-ups has format {data['format']}; this driftline reads {_FORMAT}")
        return cls(
            done={(level, bool(late)): us for level, late, us in data["done"]},
            included=frozenset((topic, partition) for topic, partition in data["included"]),
            zones=[(us, zone) for us, zone in data["zones"]],
            kept=dict(data["kept"]),
            lateness_us=data["lateness_us"],
            retention_us=data["retention_us"],
        )


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Adjoining pieces of any level as one stretch each."""
    out: list[Piece] = []
    for piece in sorted(pieces, key=lambda p: p.from_us):
        if out and out[-1].to_us == piece.from_us:
            out[-1] = Piece(MINUTE, out[-1].from_us, piece.to_us)
        else:
            out.append(piece)
    return out


def load(connection: Connection, *, lock: bool = False) -> Coverage:
    """The stored state, or that of a store without roll-ups. ``lock``: hold its row until the transaction ends."""
    query = select(upkeep.c.document).where(upkeep.c.name == NAME)
    found = connection.execute(query.with_for_update() if lock else query).scalar()
    return Coverage() if found is None else Coverage.loads(found)


@dataclass(frozen=True, slots=True)
class Begun:
    """A partition that holds windows open: until ``watermark_us`` they are closed."""

    topic: str
    partition: int
    watermark_us: int


def first_window(connection: Connection) -> int | None:
    """The start of the first window that is kept, at any level; None before any."""
    t = summaries.c
    # Each level is found by the index, all of them together are not.
    levels = (MINUTE, HOUR, DAY)
    starts = [connection.execute(select(func.min(t.window_us)).where(t.level == level)).scalar() for level in levels]
    return min((start for start in starts if start is not None), default=None)


def closed_until(connection: Connection) -> int | None:
    """Windows that end at or before this event time (µs) are closed; None: none is.

    The least watermark over partitions. A partition whose records nobody has read yet holds the moment at which it
    was first seen (`monitor.store.partitions.expect`), one that never held a record has no watermark and holds
    nothing.
    """
    least = connection.execute(select(func.min(partitions.c.watermark_us))).scalar()
    return None if least is None or least <= 0 else int(least)


def begun(connection: Connection) -> list[Begun]:
    """Partitions that have had a valid event, in order."""
    query = (
        select(partitions.c.topic, partitions.c.partition, partitions.c.watermark_us)
        .where(partitions.c.begun, partitions.c.watermark_us.is_not(None))
        .order_by(partitions.c.topic, partitions.c.partition)
    )
    return [Begun(topic, partition, watermark) for topic, partition, watermark in connection.execute(query)]
