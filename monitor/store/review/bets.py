"""Answered items as the stream of calibration takes them, each of them once.

An item is answered when it is done: it has the labels that were wanted, or its time is over with fewer. What an undone
and repeated label says later is not asked again: `mark` stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, TextClause, func, literal_column, select, text, update

from monitor.store.engine import Store
from monitor.store.review.candidates import MOST_LABELS
from monitor.store.review.reading import verdicts_of
from monitor.store.tables import review_items, samples
from monitor.times import DAY_US

_CHUNK = 500
# Written out as in the index, which neither database would use for anything else that means the same.
_DONE = review_items.c.state == literal_column("'done'")
_TO_BET = (_DONE, text("NOT review_items.bet"))
_SURE = ("correct", "wrong")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answered item. ``wrong``: the share of its sure labels that say so, None where nobody was sure; gold labels
    are about the reviewer. ``facts``: JSON of its sample, '' where that is gone, as ``window_us``, its
    window, is 0. Times µs, of the event."""

    item_id: str
    sample_id: str
    segment: str
    time_us: int
    pi_sample: float
    pi_review: float
    wrong: float | None
    facts: str
    window_us: int = 0


def to_bet(store: Store, segments: Sequence[str], until_us: int) -> list[Answer]:
    """Answered items of events before ``until_us`` that were not taken yet, by id. Raises StoreUnavailable."""
    with store.read() as connection:
        found = [
            answer
            for start in range(0, len(segments), _CHUNK)
            for answer in _read(
                connection,
                *_TO_BET,
                review_items.c.segment.in_(segments[start : start + _CHUNK]),
                review_items.c.time_us < until_us,
            )
        ]
    return sorted(found, key=lambda answer: answer.item_id)


def count_to_bet(store: Store, segments: Sequence[str]) -> dict[str, int]:
    """How many answered items were not taken yet, by segment; those without any are left out."""
    found: dict[str, int] = {}
    with store.read() as connection:
        for start in range(0, len(segments), _CHUNK):
            query = (
                select(review_items.c.segment, func.count())
                .where(*_TO_BET, review_items.c.segment.in_(segments[start : start + _CHUNK]))
                .group_by(review_items.c.segment)
            )
            found.update((segment, int(count)) for segment, count in connection.execute(query))
    return found


def answered(
    store: Store, segments: Sequence[str], from_us: int, to_us: int, *, most: int = MOST_LABELS
) -> list[Answer]:
    """Answered items of events in [from, to), taken or not, of each segment the newest ``most``; by id."""
    found: list[Answer] = []
    with store.read() as connection:
        for segment in segments:
            found += _read(
                connection,
                _DONE,
                review_items.c.segment == segment,
                review_items.c.day_us > from_us - 2 * DAY_US,  # by the index; a local day may have 25 hours
                review_items.c.day_us < to_us,
                review_items.c.time_us >= from_us,
                review_items.c.time_us < to_us,
                most=most,
            )
    return sorted(found, key=lambda answer: answer.item_id)


def mark(connection: Connection, item_ids: Iterable[str]) -> None:
    """Say that items are taken, in the caller's write transaction. Rows are locked in the order of ids."""
    ids = sorted(item_ids)
    for start in range(0, len(ids), _CHUNK):
        chunk = review_items.c.item_id.in_(ids[start : start + _CHUNK])
        # What one statement updates has no order; a reviewer's transaction holds one row and may wait for another.
        connection.execute(
            select(review_items.c.item_id).where(chunk).order_by(review_items.c.item_id).with_for_update()
        ).all()
        connection.execute(update(review_items).where(chunk).values(bet=True))


def _read(
    connection: Connection, *conditions: ColumnElement[bool] | TextClause, most: int | None = None
) -> list[Answer]:
    names = ("item_id", "sample_id", "segment", "time_us", "pi_sample", "pi_review")
    query = (
        select(*(review_items.c[name] for name in names), samples.c.facts, samples.c.window_us)
        .join(samples, samples.c.sample_id == review_items.c.sample_id, isouter=True)
        .where(*conditions)
    )
    if most is not None:
        query = query.order_by(review_items.c.time_us.desc(), review_items.c.item_id).limit(most)
    rows = connection.execute(query).all()
    found = []
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        given = verdicts_of(connection, [row.item_id for row in chunk])
        for row in chunk:
            sure = [v.verdict == "wrong" for v in given.get(row.item_id, ()) if not v.gold and v.verdict in _SURE]
            wrong = sum(sure) / len(sure) if sure else None
            found.append(Answer(*(row[:6]), wrong, row.facts or "", row.window_us or 0))
    return found
