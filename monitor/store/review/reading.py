"""Reads of the queue: what a page shows of it, and what the estimators need. Times µs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select, tuple_

from monitor.store.engine import Store
from monitor.store.review.items import ITEM_COLUMNS, Item, Label, PoolSums, item_of
from monitor.store.tables import labels, review_items, review_pools

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """What a reviewer did in a stretch of the wall clock, as far as it stands, and how many items he has."""

    labelled: int
    skipped: int
    leased: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many items of a reviewer pool and segment are in a state (``ended``: how they left, else '')."""

    state: str
    ended: str
    pool: str
    segment: str
    items: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many items of a reviewer pool are in a state; the oldest was added at ``oldest_us``, wall clock."""

    pool: str
    state: str
    items: int
    oldest_us: int


@dataclass(frozen=True, slots=True)
class LabelledSegment:
    """What the answers of a segment add up to: equal sums and an equal ``newest`` label mean that nobody answered and
    no item changed. ``labelled``: labels that stand, gold ones aside."""

    segment: str
    route: str
    items: int
    labelled: int
    skips: int
    open: int
    leased: int
    removed: int
    newest: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A label that stands. ``verdict``: correct, wrong or unsure; '' where its format is not one this version reads."""

    reviewer: str
    verdict: str
    label: Label | None
    gold: bool
    origin: str
    time_us: int

    @property
    def unsure(self) -> bool:
        return self.verdict == "unsure"


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """An item as the estimators take it, whatever its state: not only the labelled ones make a sample.

    ``verdicts``: labels that stand, in the order in which they came. Those of an item that is ``removed`` are no
    response. ``skips``: how many reviewers passed it on.
    """

    item_id: str
    event_id: str
    segment: str
    day_us: int
    pi_sample: float
    pi_review: float
    race: float
    score: float
    state: str
    ended: str
    wanted: int
    skips: int
    verdicts: tuple[Verdict, ...]

    @property
    def unsure(self) -> bool:
        """Whether it was labelled, and nobody was sure."""
        given = [verdict for verdict in self.verdicts if not verdict.gold]
        return bool(given) and all(verdict.unsure for verdict in given)


def find_item(connection: Connection, item_id: str) -> Item | None:
    """The item with this id, or None."""
    query = select(*(review_items.c[name] for name in ITEM_COLUMNS)).where(review_items.c.item_id == item_id)
    found = connection.execute(query).mappings().first()
    return None if found is None else item_of(found)


def progress(store: Store, reviewer: str, from_us: int, to_us: int) -> Progress:
    """What a reviewer answered in [from_us, to_us), wall clock: a day of the configured time zone, say."""
    answers = (
        select(labels.c.kind, func.count())
        .where(
            labels.c.reviewer == reviewer,
            labels.c.time_us >= from_us,
            labels.c.time_us < to_us,
            ~labels.c.undone,
            labels.c.item_id != "",
        )
        .group_by(labels.c.kind)
    )
    held = (
        select(func.count())
        .select_from(review_items)
        .where(review_items.c.state == "leased", review_items.c.leased_by == reviewer)
    )
    with store.read() as connection:
        found = {row[0]: int(row[1]) for row in connection.execute(answers)}
        leased = int(connection.execute(held).scalar_one())
    return Progress(found.get("label", 0), found.get("skip", 0), leased)


def counts(connection: Connection) -> list[Count]:
    """How many items there are by state, how they ended, reviewer pool and segment, in this order."""
    keys = (review_items.c.state, review_items.c.ended, review_items.c.pool, review_items.c.segment)
    query = select(*keys, func.count()).group_by(*keys).order_by(*keys)
    return [Count(*row) for row in connection.execute(query)]


def waiting(connection: Connection) -> list[Waiting]:
    """How many items there are by reviewer pool and state, and since when."""
    keys = (review_items.c.pool, review_items.c.state)
    query = select(*keys, func.count(), func.min(review_items.c.created_us)).group_by(*keys)
    return [Waiting(*row) for row in connection.execute(query)]


def labelled_segments(
    connection: Connection, from_us: int, to_us: int, segment: str | None = None
) -> list[LabelledSegment]:
    """Segments with labels (or one of them) on items of days that begin in [from_us, to_us), by name."""

    def in_state(state: str) -> Any:
        return func.sum(case((review_items.c.state == state, 1), else_=0))

    within = _within(review_items.c.segment, review_items.c.day_us, segment, from_us, to_us)
    newest = (
        select(review_items.c.segment, func.max(labels.c.id))
        .join(labels, labels.c.item_id == review_items.c.item_id)
        .where(*within)
        .group_by(review_items.c.segment)
    )
    sums = (
        select(
            review_items.c.segment,
            func.min(review_items.c.route),
            func.count(),
            func.sum(review_items.c.labelled),
            func.sum(review_items.c.skips),
            *(in_state(state) for state in ("open", "leased", "removed")),
        )
        .where(*within)
        .group_by(review_items.c.segment)
        .having(func.sum(review_items.c.labelled) > 0)
        .order_by(review_items.c.segment)
    )
    last = {row[0]: int(row[1]) for row in connection.execute(newest)}
    found = []
    for segment, route, *values in connection.execute(sums):
        items, labelled, skips, waiting, leased, removed = (int(value) for value in values)
        newest_id = last.get(segment, 0)
        found.append(LabelledSegment(segment, route, items, labelled, skips, waiting, leased, removed, newest_id))
    return found


def last_label(connection: Connection) -> int:
    """The number of the newest row of the labels; later ones have higher numbers. 0 without one."""
    return int(connection.execute(select(func.max(labels.c.id))).scalar() or 0)


def labels_after(connection: Connection, number: int) -> list[tuple[int, str]]:
    """(number, reviewer pool) of labels of items after ``number``, gold ones aside, taken back or not."""
    query = (
        select(labels.c.id, review_items.c.pool)
        .join(review_items, review_items.c.item_id == labels.c.item_id)
        .where(labels.c.id > number, labels.c.kind == "label", ~labels.c.gold)
    )
    return [(int(row[0]), row[1]) for row in connection.execute(query)]


def unmatched(connection: Connection) -> int:
    """Labels from elsewhere whose event has no item. They enter no estimate, since their probability is unknown."""
    query = select(func.count()).select_from(labels).where(labels.c.item_id == "", ~labels.c.undone)
    return int(connection.execute(query).scalar_one())


def labelled(
    connection: Connection, segment: str | None, from_us: int, to_us: int, *, page: int = _PAGE
) -> Iterator[LabelledItem]:
    """Every item of days that begin in [from_us, to_us) with its labels, by segment, day and id.

    Read in pages of ``page`` items, so that any number of them takes little memory; consistent with `pool_sums` of the
    same connection where that is a snapshot (``Store.read``).
    """
    key = (review_items.c.segment, review_items.c.day_us, review_items.c.item_id)
    names = [name for name in LabelledItem.__dataclass_fields__ if name != "verdicts"]
    query = select(*(review_items.c[name] for name in names)).where(
        *_within(review_items.c.segment, review_items.c.day_us, segment, from_us, to_us)
    )
    query = query.order_by(*key).limit(page)
    after: tuple[str, int, str] | None = None
    while True:
        rows = connection.execute(query if after is None else query.where(tuple_(*key) > tuple_(*after))).all()
        verdicts = verdicts_of(connection, [row.item_id for row in rows])
        for row in rows:
            values: dict[str, Any] = {**row._mapping, "verdicts": tuple(verdicts.get(row.item_id, ()))}
            yield LabelledItem(**values)
        if len(rows) < page:
            return
        after = (rows[-1].segment, rows[-1].day_us, rows[-1].item_id)


def pool_sums(connection: Connection, segment: str | None, from_us: int, to_us: int) -> list[PoolSums]:
    """The sums over every sample of days that begin in [from_us, to_us), by segment and day."""
    query = select(review_pools).where(*_within(review_pools.c.segment, review_pools.c.day_us, segment, from_us, to_us))
    query = query.order_by(review_pools.c.segment, review_pools.c.day_us)
    return [PoolSums.decode(*row) for row in connection.execute(query)]


def _within(segment_of: Any, day_of: Any, segment: str | None, from_us: int, to_us: int) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [day_of >= from_us, day_of < to_us]
    return conditions if segment is None else [segment_of == segment, *conditions]


def verdicts_of(connection: Connection, ids: list[str]) -> dict[str, list[Verdict]]:
    """Labels that stand by item, in the order in which they came."""
    if not ids:
        return {}
    query = select(labels).where(labels.c.item_id.in_(ids), labels.c.kind == "label", ~labels.c.undone)
    found: dict[str, list[Verdict]] = {}
    for row in connection.execute(query.order_by(labels.c.id)):
        try:
            label: Label | None = Label.decode(row.label)
        except (ValueError, TypeError):
            label = None
        verdict = Verdict(row.reviewer, label.verdict if label else "", label, row.gold, row.origin, row.time_us)
        found.setdefault(row.item_id, []).append(verdict)
    return found
