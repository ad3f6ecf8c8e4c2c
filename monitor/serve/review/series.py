"""Series of the review queue: what reviewers found, how sure that is, and how they keep up with what is drawn.

Error rates cost milliseconds a segment, and people label slowly: they are looked for every few minutes, made again
where something they are of changed, and of many segments only some at a time, so that no renewal of the metrics is
held up by them. A scrape prints what is there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from monitor.estimates import Estimate, estimates, last_days
from monitor.metrics import Family, Series, families
from monitor.store import review
from monitor.store.engine import Store
from monitor.times import HOUR_US

DAYS = 28
LOOK_SECONDS = 180.0  # how often it is looked for which rates changed
SHARE_SECONDS = 0.2  # of one renewal that goes into making rates; the rest is made at the next ones
Value = tuple[str, tuple[str, ...], float]
_STATES = ("open", "leased", "done", "removed")

REVIEW = (
    Series(
        "driftline_review_error_rate",
        "gauge",
        ("route", "segment", "bound"),
        "Error rate by the labels of the last 28 days of event time; bound: value, or low and high of the 95 % "
        "interval that holds however often it is looked at (`always` of `driftline review estimate`; it is of days "
        "that are over, the value of all worked days, which may lie outside). Segments with labels alone; at most some "
        "minutes old.",
    ),
    Series(
        "driftline_review_labels",
        "gauge",
        ("route", "segment"),
        "Items with a decided verdict that the value of the error rate rests on.",
    ),
    Series(
        "driftline_review_items",
        "gauge",
        ("pool", "state"),
        "Items of the review queue: open, leased, done or removed (non-response).",
    ),
    Series(
        "driftline_review_oldest_open_seconds",
        "gauge",
        ("pool",),
        "Age of the oldest item that is open, by the wall clock; 0 without one.",
    ),
    Series(
        "driftline_review_labels_given_total",
        "counter",
        ("pool",),
        "Labels that items got, wherever from, since this process leads; known answers left out.",
    ),
    Series(
        "driftline_review_labels_per_day",
        "gauge",
        ("pool",),
        "Labels that a pool can give in a day of event time (`review.labels`, `review.pools`): what is drawn adds up "
        "to this.",
    ),
)


@dataclass(frozen=True, slots=True)
class _Known:
    """An estimate, None where it is none any more, and what it was made of."""

    of: tuple[object, ...]
    route: str
    estimate: Estimate | None


class ErrorRates:
    """Rates of segments with labels, kept. ``clock``: seconds that only go forward."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._looked = float("-inf")
        self._due: dict[str, tuple[tuple[object, ...], str]] = {}
        self._known: dict[str, _Known] = {}

    def clear(self) -> None:
        """Forget everything, so that the next look makes it anew."""
        self._looked = float("-inf")
        self._due.clear()
        self._known.clear()

    def look(self, zone: str, most: int) -> Mapping[tuple[str, str], Estimate]:
        """(route, segment): its rate, of the ``most`` segments with the most labels. Makes for `SHARE_SECONDS` those
        that changed. Raises StoreUnavailable."""
        until = self._clock() + SHARE_SECONDS
        if (span := last_days(self._store, DAYS, zone)) is None:
            return {}
        # Without labels a look costs next to nothing, and the first ones are not to wait.
        if not self._due and (not self._known or self._clock() - self._looked >= LOOK_SECONDS):
            self._looked = self._clock()
            self._find(span, zone, most)
        while self._due:
            segment = next(iter(self._due))
            of, route = self._due[segment]
            found = estimates(self._store, *span, zone, segment=segment)
            self._known[segment] = _Known(of, route, found[0] if found else None)
            del self._due[segment]
            if self._clock() >= until:
                break
        return {(row.route, name): row.estimate for name, row in self._known.items() if row.estimate is not None}

    def _find(self, span: tuple[int, int], zone: str, most: int) -> None:
        with self._store.read() as connection:
            found = review.labelled_segments(connection, *span)
        shown = sorted(found, key=lambda row: (-row.labelled, row.segment))[:most]
        # Sums over samples change when an hour's are drawn from, and which days are over with them.
        when = (span[0], span[1] // HOUR_US, zone)
        self._known = {row.segment: self._known[row.segment] for row in shown if row.segment in self._known}
        for row in shown:
            known, of = self._known.get(row.segment), (row, *when)
            if known is None or known.of != of:
                self._due[row.segment] = (of, row.route)


class LabelsGiven:
    """Counts labels by reviewer pool as they come. What was there at the first look is not counted: a counter that
    began with it would fall, and look like one that began anew, whenever labels were erased in between."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last: int | None = None
        self._floor = 0
        self._seen: set[int] = set()

    def look(self, connection: Connection) -> Mapping[str, int]:
        """Labels since the first look, by pool."""
        if self._last is None:
            self._last = self._floor = review.last_label(connection)
            return self._counts
        rows = review.labels_after(connection, self._floor)
        self._counts.update(pool for number, pool in rows if number not in self._seen)
        # PostgreSQL may show a number after a higher one: those of the last look are looked at once more.
        self._floor, self._seen = self._last, {number for number, _ in rows if number > self._last}
        self._last = max((number for number, _ in rows), default=self._last)
        return self._counts


def review_families(
    connection: Connection,
    rates: Mapping[tuple[str, str], Estimate],
    given: LabelsGiven,
    labels_per_day: Mapping[str, int],
    now_us: int,
) -> list[Family]:
    """Families of `REVIEW`. ``labels_per_day``: of each reviewer pool, as configured; ``now_us``: wall clock."""
    values: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for name, labels, value in (*_rates(rates), *_queue(connection, given, labels_per_day, now_us)):
        values.setdefault(name, []).append((labels, value))
    return families(REVIEW, values)


def _rates(rates: Mapping[tuple[str, str], Estimate]) -> Iterator[Value]:
    for place, row in rates.items():
        yield "driftline_review_labels", place, row.labels
        if row.rate is not None:
            yield "driftline_review_error_rate", (*place, "value"), row.rate
        if row.always is not None:
            yield "driftline_review_error_rate", (*place, "low"), row.always.low
            yield "driftline_review_error_rate", (*place, "high"), row.always.high


def _queue(
    connection: Connection, given: LabelsGiven, labels_per_day: Mapping[str, int], now_us: int
) -> Iterator[Value]:
    found = {(row.pool, row.state): row for row in review.waiting(connection)}
    counts = given.look(connection)
    for pool in sorted({pool for pool, _ in found} | labels_per_day.keys() | counts.keys()):
        for state in _STATES:
            row = found.get((pool, state))
            yield "driftline_review_items", (pool, state), row.items if row else 0
        oldest = found.get((pool, "open"))
        age = 0.0 if oldest is None else max(0.0, (now_us - oldest.oldest_us) / 1e6)
        yield "driftline_review_oldest_open_seconds", (pool,), age
        yield "driftline_review_labels_given_total", (pool,), counts.get(pool, 0)
    for pool, labels in labels_per_day.items():
        yield "driftline_review_labels_per_day", (pool,), labels
