"""Full-size pixels of items, so that reviewers can read what they judge: encoded anew, and gone once they are labelled.

An item that wants them has a row of its own (part -1, ``pending``) from its tick's transaction on. An embed worker
fetches what its input parts name, and writes the images and the row's new state in one transaction; a worker that
dies leaves the row pending. What cannot be fetched has the reason instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from monitor.store.engine import Store
from monitor.store.tables import labels, review_items, review_pixels, sample_content

ITEM = -1  # the part under which an item's own row stands
_CHUNK = 200


@dataclass(frozen=True, slots=True)
class PixelsWanted:
    """An item that waits for its pixels; ``inputs`` is None when its content is gone."""

    item_id: str
    inputs: str | None


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image of an item, a JPEG: of ``part``, and of its ``page`` from 0. Without ``data``, ``reason`` says why."""

    part: int
    page: int
    width: int = 0
    height: int = 0
    data: bytes | None = None
    reason: str = ""


def want(connection: Connection, item_ids: Sequence[str]) -> None:
    """Ask for the pixels of new items, in the transaction that adds them; known ones are left as they are."""
    if not item_ids:
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    rows = [_row(item_id, Pixels(ITEM, 0), "pending") for item_id in dict.fromkeys(item_ids)]
    connection.execute(insert(review_pixels).on_conflict_do_nothing(), rows)


def pixels_waiting(connection: Connection) -> int:
    """How many items wait for their pixels."""
    query = select(func.count()).select_from(review_pixels).where(review_pixels.c.state == "pending")
    return int(connection.execute(query).scalar_one())


@contextlib.contextmanager
def claim_pixels(store: Store, limit: int) -> Iterator[tuple[list[PixelsWanted], Connection | None]]:
    """At most ``limit`` items that wait. As for samples (monitor/store/samples.py): on PostgreSQL their rows are locked
    until the block ends, and the connection is the one to write on; on SQLite it is None."""
    if store.dialect == "postgresql":
        with store.write() as connection:
            yield _waiting(connection, limit, lock=True), connection
    else:
        with store.read() as connection:
            found = _waiting(connection, limit, lock=False)
        yield found, None


def _waiting(connection: Connection, limit: int, *, lock: bool) -> list[PixelsWanted]:
    query = select(review_pixels.c.item_id).where(review_pixels.c.state == "pending").limit(limit)
    if lock:
        query = query.with_for_update(skip_locked=True)
    ids = list(connection.execute(query).scalars())
    contents = (
        select(review_items.c.item_id, sample_content.c.inputs)
        .join(sample_content, sample_content.c.sample_id == review_items.c.sample_id)
        .where(review_items.c.item_id.in_(ids), review_items.c.sample_id != "")
    )
    inputs: dict[str, str] = {row[0]: row[1] for row in connection.execute(contents)}
    return [PixelsWanted(item_id, inputs.get(item_id)) for item_id in ids]


def keep(connection: Connection, item_id: str, found: Sequence[Pixels]) -> bool:
    """Write an item's images; False, and nothing, where it does not wait for them (any more)."""
    mine = and_(review_pixels.c.item_id == item_id, review_pixels.c.part == ITEM, review_pixels.c.state == "pending")
    if not connection.execute(update(review_pixels).where(mine).values(state="kept")).rowcount:
        return False
    rows = [_row(item_id, pixels, "kept" if pixels.data is not None else "missing") for pixels in found]
    if rows:
        connection.execute(review_pixels.insert(), rows)
    return True


def _row(item_id: str, pixels: Pixels, state: str) -> dict[str, object]:
    return {
        "item_id": item_id,
        "part": pixels.part,
        "page": pixels.page,
        "state": state,
        "reason": pixels.reason[:60],
        "width": pixels.width,
        "height": pixels.height,
        "data": pixels.data,
    }


def pixels_of(connection: Connection, item_ids: Sequence[str]) -> dict[str, list[Pixels]]:
    """What there is of items, by part and page, without the data of the images (``data`` is b'' where there is)."""
    names = ("item_id", "part", "page", "width", "height", "state", "reason")
    query = select(*(review_pixels.c[name] for name in names)).where(
        review_pixels.c.item_id.in_(item_ids), review_pixels.c.part != ITEM
    )
    found: dict[str, list[Pixels]] = {}
    for row in connection.execute(query.order_by(review_pixels.c.item_id, review_pixels.c.part, review_pixels.c.page)):
        data = b"" if row.state == "kept" else None
        found.setdefault(row.item_id, []).append(Pixels(row.part, row.page, row.width, row.height, data, row.reason))
    return found


def image(connection: Connection, item_id: str, part: int, page: int) -> Pixels | None:
    """One image with its data, or None."""
    query = select(review_pixels).where(
        review_pixels.c.item_id == item_id, review_pixels.c.part == part, review_pixels.c.page == page
    )
    row = connection.execute(query).first()
    if row is None or row.data is None:
        return None
    return Pixels(row.part, row.page, row.width, row.height, bytes(row.data), row.reason)


def drop_labelled(store: Store, bound_us: int) -> int:
    """Delete pixels of items that have ended, and had no answer since ``bound_us`` (wall clock). Returns how many
    items lost theirs."""
    total = 0
    answered = exists().where(labels.c.item_id == review_items.c.item_id, labels.c.time_us > bound_us)
    ended = (
        select(review_items.c.item_id)
        .join(review_pixels, and_(review_pixels.c.item_id == review_items.c.item_id, review_pixels.c.part == ITEM))
        .where(review_items.c.state.in_(("done", "removed")), review_pixels.c.state != "gone", ~answered)
        .limit(_CHUNK)
    )
    while True:
        with store.write() as connection:
            ids = list(connection.execute(ended).scalars())
            drop(connection, ids)
        total += len(ids)
        if len(ids) < _CHUNK:
            return total


def drop(connection: Connection, item_ids: Sequence[str]) -> None:
    """Delete the pixels of these items for good."""
    for start in range(0, len(item_ids), _CHUNK):
        ids = list(item_ids[start : start + _CHUNK])
        mine = review_pixels.c.item_id.in_(ids)
        connection.execute(delete(review_pixels).where(mine, review_pixels.c.part != ITEM))
        connection.execute(update(review_pixels).where(mine).values(state="gone"))
