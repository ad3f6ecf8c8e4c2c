"""The trailing window of the product series, kept in parts so that each look reads only what is new.

On-time and late rows of a part are kept apart. A part is read again when its rows changed: late events, and those of
a partition that begins to send behind the others, arrive in windows that were closed, and read, before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import BigInteger, Connection, and_, case, func, or_, select

from detectors.summaries import Summary
from monitor.serve.series import READ
from monitor.store.tables import partitions, summaries
from monitor.times import MINUTE_US

PART_US = 300_000_000  # the default tick: what a window is merged from and slides by

Key = tuple[str, str, str]  # route, segment, version
Place = tuple[str, str]
Span = tuple[int, int]

_AT_ONCE = 1000  # rows asked of the database at a time


@dataclass(frozen=True, slots=True)
class _Seen:
    """What tells that rows changed: how many there are, and the events of those that are not final."""

    rows: int = 0
    events: int = 0

    def __add__(self, other: _Seen) -> _Seen:
        return _Seen(self.rows + other.rows, self.events + other.events)


@dataclass(frozen=True, slots=True)
class _Part:
    seen: _Seen
    sums: Mapping[Key, Summary]


_NOTHING = _Part(_Seen(), {})


class Parts:
    """Sums (of what `series.READ` says) of the rows of the trailing window."""

    def __init__(self) -> None:
        self._parts: dict[tuple[Span, bool], _Part] = {}  # by (span, late)

    def clear(self) -> None:
        self._parts.clear()

    def look(self, conn: Connection, from_us: int, until_us: int) -> bool:
        """Make the parts those of [from, until): reads what was not read yet, or changed. Whether anything did."""
        kept = {span for span, _ in self._parts if from_us <= span[0] and span[1] <= until_us}
        held = {key: part for key, part in self._parts.items() if key[0] in kept}
        changed = len(held) < len(self._parts)
        spans = sorted(kept)
        gaps = zip([from_us, *(end for _, end in spans)], [*(begin for begin, _ in spans), until_us], strict=True)
        spans += [span for begin, end in gaps for span in parts_of(begin, end)]
        windows = _seen(conn, from_us, until_us)
        for span in spans:
            for late in (False, True):
                seen = sum(
                    (
                        found
                        for (window, flag), found in windows.items()
                        if flag == late and span[0] <= window < span[1]
                    ),
                    _Seen(),
                )
                if held.get((span, late), _NOTHING).seen != seen:
                    held[span, late] = _Part(seen, read(conn, *span, late))
                    changed = True
                else:
                    held.setdefault((span, late), _NOTHING)
        self._parts = dict(sorted(held.items()))
        return changed

    def by_key(self) -> dict[Key, list[Summary]]:
        """The parts of every key, oldest first."""
        found: dict[Key, list[Summary]] = {}
        for part in self._parts.values():
            for key, summary in part.sums.items():
                found.setdefault(key, []).append(summary)
        return found

    def spend(self, from_us: int, to_us: int) -> dict[Place, int] | None:
        """Spend per place in [from, to), nano-units; None where the parts do not cover just that."""
        inside = {span for span, _ in self._parts if from_us <= span[0] and span[1] <= to_us}
        if sum(end - begin for begin, end in inside) != to_us - from_us:
            return None
        found: dict[Place, int] = {}
        for (span, _), part in self._parts.items():
            if span in inside:
                for (route, segment, _), summary in part.sums.items():
                    found[route, segment] = found.get((route, segment), 0) + summary.total("cost").sum
        return found


def parts_of(begin_us: int, end_us: int) -> list[Span]:
    """[begin, end) cut at multiples of `PART_US`, so that a sliding window drops a part at a time."""
    cuts = [begin_us, *range(begin_us - begin_us % PART_US + PART_US, end_us, PART_US), end_us]
    return [(begin, end) for begin, end in pairwise(cuts) if begin < end]


def read(conn: Connection, from_us: int, to_us: int, late: bool) -> dict[Key, Summary]:
    """Sums of the late or the on-time minute rows of [from, to)."""
    columns = (summaries.c.route, summaries.c.segment, summaries.c.version, summaries.c.state)
    query = select(*columns).where(
        and_(
            summaries.c.level == 0,
            summaries.c.window_us >= from_us,
            summaries.c.window_us < to_us,
            summaries.c.late == late,
        )
    )
    rows = conn.execute(query, execution_options={"yield_per": _AT_ONCE})
    return Summary.merge_by(_keyed(rows), READ)


def _keyed(rows: Iterable[tuple[str, str, str, bytes]]) -> Iterator[tuple[Key, bytes]]:
    for route, segment, version, state in rows:
        yield (route, segment, version), bytes(state)


def _seen(conn: Connection, from_us: int, until_us: int) -> dict[tuple[int, bool], _Seen]:
    """By (window, late). Rows are counted in the index alone; events are read only of rows that may still grow: late
    ones, and those of windows that their own partition's watermark has not passed."""
    behind = conn.execute(
        select(partitions.c.topic, partitions.c.partition, partitions.c.watermark_us).where(
            or_(partitions.c.watermark_us.is_(None), partitions.c.watermark_us < until_us)
        )
    )
    open_rows = [
        and_(
            summaries.c.topic == topic,
            summaries.c.partition == partition,
            summaries.c.window_us > (watermark or 0) - MINUTE_US,
        )
        for topic, partition, watermark in behind
    ]
    growing = case((or_(summaries.c.late, *open_rows), summaries.c.events), else_=0)
    query = (
        select(summaries.c.window_us, summaries.c.late, func.count(), func.sum(growing, type_=BigInteger))
        .where(summaries.c.level == 0, summaries.c.window_us >= from_us, summaries.c.window_us < until_us)
        .group_by(summaries.c.window_us, summaries.c.late)
    )
    return {(window, bool(late)): _Seen(rows, int(events)) for window, late, rows, events in conn.execute(query)}
