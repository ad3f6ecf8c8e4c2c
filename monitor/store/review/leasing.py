"""Who has which item: leases, given in the order of ``race`` and over by themselves.

An item has at most one lease at a time. Whoever gives one locks the rows it looks at and skips those that another
transaction has locked (PostgreSQL), or is the only writer (SQLite). A lease that ran out is noticed by whoever asks
next; until then, and until somebody else gets the item, its former holder may still answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, case, func, literal_column, or_, select, update

from monitor.store.engine import Store
from monitor.store.review import audit
from monitor.store.review.items import ITEM_COLUMNS, Declined, Filters, Item, check_name, item_of
from monitor.store.tables import labels, review_items

MOST_AT_ONCE = 100

_OPEN = review_items.c.state == literal_column("'open'")  # literal, for the partial indices
_LEASED = review_items.c.state == literal_column("'leased'")
_COLUMNS = [review_items.c[name] for name in ITEM_COLUMNS]
_ORDER = (review_items.c.race, review_items.c.day_us, review_items.c.item_id)

# Statements are made once: making and compiling one takes longer than the database does to run it.
_LOCK = select(*_COLUMNS).where(review_items.c.item_id == bindparam("id_")).with_for_update()

# Leases of the reviewer, live or not, and those of anybody that ran out: few rows, since few items are leased.
_HELD = (
    select(*_COLUMNS)
    .where(
        _LEASED,
        or_(review_items.c.leased_by == bindparam("reviewer"), review_items.c.lease_until_us <= bindparam("now_us")),
    )
    .with_for_update(skip_locked=True)
)
# Whether he has answered, if only in gold. A count and not EXISTS, which PostgreSQL may turn into a hash of every
# answer the reviewer ever gave.
_answers = (
    select(func.count())
    .where(
        labels.c.item_id == review_items.c.item_id,
        # Nothing is appended so that the item's few answers are looked through, not all that the reviewer ever gave.
        labels.c.reviewer + literal_column("''") == bindparam("reviewer"),
        ~labels.c.undone,
    )
    .scalar_subquery()
)
_FREE = and_(
    _OPEN,
    # The sum keeps planners from walking the index on expires_us, which leaves them all open items to sort.
    review_items.c.expires_us + literal_column("0") > bindparam("now_us"),
    # Below 1, not equal to 0, of which PostgreSQL would expect so few rows that it sorted all of them.
    _answers < literal_column("1"),
)
_GIVE = (
    update(review_items)
    .where(review_items.c.item_id == bindparam("id_"))
    .values(state="leased", leased_by=bindparam("reviewer"), lease_until_us=bindparam("until_us"))
)

# What an item is without a lease. It can have its labels while it is leased: imported, or one was undone.
_UNHELD = case((review_items.c.labelled >= review_items.c.wanted, "done"), else_="open")


def next_items(store: Store, reviewer: str, filters: Filters, now_us: int, lease_us: int, count: int = 1) -> list[Item]:
    """Lease up to ``count`` items to a reviewer, least ``race`` first; those he has a lease on come first.

    Fewer, or none, where no more are open that pass the filters and that he has neither labelled nor skipped. A new
    lease ends ``lease_us`` from now; one he had is lengthened to that once half of it is over. Raises ValueError for
    what cannot be a reviewer's name.
    """
    with store.write() as connection:
        return lease(connection, reviewer, filters, now_us, lease_us, count)


def lease(
    connection: Connection, reviewer: str, filters: Filters, now_us: int, lease_us: int, count: int
) -> list[Item]:
    """`next_items` in the caller's write transaction."""
    check_name("a reviewer's name", reviewer)
    if not 0 <= count <= MOST_AT_ONCE:
        raise ValueError(f"at most {MOST_AT_ONCE} items are leased at once, got {count!r}")
    rows = connection.execute(_HELD, {"reviewer": reviewer, "now_us": now_us}).mappings()
    held = [item_of(row) for row in rows]
    lapsed = [item for item in held if item.lease_until_us is not None and item.lease_until_us <= now_us]
    _lapse(connection, lapsed, now_us)
    own = [item for item in held if item.leased_by == reviewer and item not in lapsed and _passes(item, filters)]
    own = sorted(own, key=_place)[:count]
    new = _free(connection, reviewer, filters, now_us, count - len(own)) if len(own) < count else []
    until = now_us + lease_us
    # A lease that was given a moment ago, ahead of its turn, is not written again.
    due = {item.item_id for item in own if (item.lease_until_us or 0) < now_us + lease_us // 2}
    due |= {item.item_id for item in new}
    give(connection, [item for item in (*own, *new) if item.item_id in due], reviewer, until)
    audit.write(
        connection,
        [audit.row("lease", item.item_id, reviewer, now_us, {"until_us": until, "race": item.race}) for item in new],
    )
    return [
        replace(item, state="leased", leased_by=reviewer, lease_until_us=until) if item.item_id in due else item
        for item in (*own, *new)
    ]


def give(connection: Connection, items: Iterable[Item], reviewer: str, until_us: int) -> None:
    """Write a lease on rows that the transaction has locked."""
    for item in items:
        connection.execute(_GIVE, {"id_": item.item_id, "reviewer": reviewer, "until_us": until_us})


def renew(store: Store, item_id: str, reviewer: str, now_us: int, lease_us: int) -> int:
    """Let a reviewer's lease end ``lease_us`` from now, also one that ran out but that nobody took. Returns the end.

    Raises Declined (``unknown``, ``not_leased``, ``done``, ``removed``).
    """
    with store.write() as connection:
        item = lock(connection, item_id)
        require_holder(item, reviewer)
        until = now_us + lease_us
        give(connection, [item], reviewer, until)
        detail = {"before_us": item.lease_until_us, "until_us": until}
        audit.write(connection, [audit.row("renew", item_id, reviewer, now_us, detail)])
    return until


def release(store: Store, item_id: str, reviewer: str, now_us: int) -> bool:
    """Give an item back unanswered; it is open to everybody, this reviewer too. False where it is not his."""
    with store.write() as connection:
        item = lock(connection, item_id)
        if item.leased_by != reviewer or item.state not in ("open", "leased"):
            return False
        connection.execute(
            update(review_items)
            .where(review_items.c.item_id == item_id)
            .values(state=_UNHELD, leased_by="", lease_until_us=None)
        )
        audit.write(connection, [audit.row("release", item_id, reviewer, now_us, {"until_us": item.lease_until_us})])
    return True


def lock(connection: Connection, item_id: str) -> Item:
    """The item, locked until the transaction ends. Raises Declined (``unknown``)."""
    found = connection.execute(_LOCK, {"id_": item_id}).mappings().first()
    if found is None:
        raise Declined("unknown", f"no item has the id {item_id[:80]!r}; it may be older than retention.labels")
    return item_of(found)


def require_holder(item: Item, reviewer: str) -> None:
    """Raise Declined unless the item waits for this reviewer's answer."""
    if item.state == "removed":
        raise Declined("removed", f"item {item.item_id} was taken out of the queue ({item.ended}); take the next one")
    if item.state == "done":
        raise Declined("done", f"item {item.item_id} has its labels; take the next one")
    if item.leased_by != reviewer:
        raise Declined(
            "not_leased",
            f"item {item.item_id} is not leased to {reviewer!r}: it never was, or the lease ran out and somebody else "
            "has had the item since; take the next one",
        )


def _lapse(connection: Connection, items: Sequence[Item], now_us: int) -> None:
    """Open what was leased too long. ``leased_by`` stays, by which its former holder may answer until it is taken."""
    if not items:
        return
    connection.execute(
        update(review_items)
        .where(review_items.c.item_id.in_([item.item_id for item in items]))
        .values(state=_UNHELD, lease_until_us=None)
    )
    audit.write(
        connection,
        [
            audit.row("lapse", item.item_id, "", now_us, {"of": item.leased_by, "until_us": item.lease_until_us})
            for item in items
        ],
    )


def _free(connection: Connection, reviewer: str, filters: Filters, now_us: int, count: int) -> list[Item]:
    """The open items with the least race that pass, locked.

    One walk along an index for each combination of the filters' values; what is locked and not chosen is free again
    when the transaction ends, a moment later.
    """
    found: list[Item] = []
    for names in _combinations(filters):
        query, parameters = _free_query(tuple(names), count), {**names, "reviewer": reviewer, "now_us": now_us}
        found += [item_of(row) for row in connection.execute(query, parameters).mappings()]
    return sorted(found, key=_place)[:count]


@cache
def _free_query(names: tuple[str, ...], count: int) -> Select[Any]:
    """The open items of a value of each of these columns, in the order of the work, locked.

    The limit is written out, so that PostgreSQL finds one plan good for all values and makes it once.
    """
    query = select(*_COLUMNS).where(_FREE, *(review_items.c[name] == bindparam(name) for name in names))
    return query.order_by(*_ORDER).limit(literal_column(str(count))).with_for_update(skip_locked=True)


def _combinations(filters: Filters) -> Iterable[dict[str, str]]:
    named = {"pool": filters.pools, "language": filters.languages, "segment": filters.segments}
    chosen = {name: sorted(set(values)) for name, values in named.items() if values}
    for values in itertools.product(*chosen.values()):
        yield dict(zip(chosen, values, strict=True))


def _passes(item: Item, filters: Filters) -> bool:
    return all(
        not names or value in names
        for value, names in (
            (item.pool, filters.pools),
            (item.language, filters.languages),
            (item.segment, filters.segments),
        )
    )


def _place(item: Item) -> tuple[float, int, str]:
    return item.race, item.day_us, item.item_id
