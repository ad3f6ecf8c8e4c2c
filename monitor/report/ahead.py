"""What the week after the report's is expected to bring: spend, requests and labels, from whole weeks before it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from detectors.ahead import LEAST_WEEKS, next_week
from detectors.summaries import Selection
from monitor.report.model import Ahead
from monitor.store import reads
from monitor.store.tables import review_items
from monitor.times import HOUR_US

MOST_WEEKS = 8
NANO = 1e9
_COST = Selection(frozenset({"cost"}), thinned=False, users=False)


def next_weeks_figures(
    connection: Connection, from_us: int, to_us: int, zone: str, currency: str, begun_us: int | None
) -> list[Ahead]:
    """Of the week after [from, to), a local week; empty for a period of another length. ``begun_us``: the first window
    that is stored: weeks are whole from there on."""
    starts = _weeks(from_us, to_us, zone, begun_us)
    if not starts:
        return []
    spend, events = _sums(connection, [*starts, to_us])
    labels = _drawn(connection, [*starts, to_us])
    return [
        _ahead("spend", currency, [value / NANO for value in spend]),
        _ahead("requests", "1", events),
        # Without a label wanted in any week nobody reviews: that is no forecast of none.
        _ahead("labels", "1", labels if any(labels) else []),
    ]


def _weeks(from_us: int, to_us: int, zone: str, begun_us: int | None) -> list[int]:
    """Starts of whole local weeks up to ``to_us``, the oldest first; empty where [from, to) is none."""
    end = datetime.fromtimestamp(to_us // 1_000_000, ZoneInfo(zone))
    starts = [round((end - timedelta(days=7 * back)).timestamp()) * 1_000_000 for back in range(1, MOST_WEEKS + 1)]
    if starts[0] != from_us or begun_us is None:
        return []
    return sorted(start for start in starts if begun_us < start + HOUR_US)


def _sums(connection: Connection, edges: Sequence[int]) -> tuple[list[int], list[int]]:
    """(nano-units spent, requests) of each week; those from the last hour on that is no longer kept."""
    found, missing = reads.merged_by(
        connection, edges[0], edges[-1], lambda row: bisect_right(edges, row.window_us) - 1, selection=_COST
    )
    first = bisect_right(edges, max((high for _, high in missing), default=edges[0]) - 1) if missing else 0
    weeks = range(first, len(edges) - 1)
    return (
        [found[week].summary.total("cost").sum if week in found else 0 for week in weeks],
        [found[week].events if week in found else 0 for week in weeks],
    )


def _drawn(connection: Connection, edges: Sequence[int]) -> list[int]:
    """Labels that the items drawn from each week's events want."""
    by_day = connection.execute(
        select(review_items.c.day_us, func.sum(review_items.c.wanted))
        .where(review_items.c.day_us >= edges[0], review_items.c.day_us < edges[-1])
        .group_by(review_items.c.day_us)
    )
    found = [0] * (len(edges) - 1)
    for day, wanted in by_day:
        found[bisect_right(edges, day) - 1] += int(wanted)
    first = next((i for i, count in enumerate(found) if count), len(found))
    return found[first + (first > 0) :]  # review may have begun later than the events, and within a week


def _ahead(what: str, unit: str, weeks: Sequence[float]) -> Ahead:
    found = next_week([float(week) for week in weeks])
    if found is None:
        there = f"{len(weeks)} whole week{'' if len(weeks) == 1 else 's'} stored, {LEAST_WEEKS} needed"
        return Ahead(what, unit, None, None, None, len(weeks), there if weeks else "nothing was drawn for review")
    basis = f"as last week; the 95 % interval is what {found.weeks} weeks differed by, one from the next"
    return Ahead(what, unit, found.expected, found.low, found.high, found.weeks, basis)
