"""The queue as it is exported: items with their redacted content and the answers that stand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, select, tuple_

from monitor.exchange.given import Given
from monitor.store.review import Item, Label, pixels_of, thumbnail_part
from monitor.store.review.items import ITEM_COLUMNS, item_values
from monitor.store.tables import labels, review_items, sample_content, sample_parts, samples

STATES: Final[dict[str, tuple[str, ...]]] = {
    "open": ("open", "leased"),
    "done": ("done",),
    "all": ("open", "leased", "done", "removed"),
}
_PAGE = 200
_LEFT_OUT: Final = frozenset({"inline", "uri", "embedding"})  # of a part: what redaction does not touch


@dataclass(frozen=True, slots=True)
class QueuedItem(Item):
    """An item with what is stored of its event, and what reviewers said.

    ``inputs``, ``output``, ``citations`` are parts as events have them, redacted, without payloads and addresses;
    empty where retention took them. ``picture``: number of the input part whose pixels the page shows, None without
    one. ``confidence``: the model's own, [0, 1], None where it told none.
    """

    inputs: list[Any]
    output: list[Any]
    citations: list[Any]
    picture: int | None
    confidence: float | None
    answers: tuple[Given, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """What is stored of an event's input and output; `QueuedItem` says what the parts are."""

    inputs: list[Any]
    output: list[Any]
    citations: list[Any]
    picture: int | None


def text_of(parts: Sequence[Any]) -> str:
    """The texts among parts, one after the other."""
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)


def queued(
    connection: Connection, state: str = "all", segment: str | None = None, from_us: int | None = None
) -> Iterator[QueuedItem]:
    """Items of days since ``from_us`` in the states of ``state`` (`STATES`), by segment, day and id, in pages."""
    conditions: list[ColumnElement[bool]] = [review_items.c.state.in_(STATES[state])]
    if segment is not None:
        conditions.append(review_items.c.segment == segment)
    if from_us is not None:
        conditions.append(review_items.c.day_us >= from_us)
    key = (review_items.c.segment, review_items.c.day_us, review_items.c.item_id)
    query = select(*(review_items.c[name] for name in ITEM_COLUMNS)).where(*conditions).order_by(*key).limit(_PAGE)
    after: tuple[str, int, str] | None = None
    while True:
        rows = connection.execute(query if after is None else query.where(tuple_(*key) > tuple_(*after))).all()
        yield from _items(connection, rows)
        if len(rows) < _PAGE:
            return
        after = (rows[-1].segment, rows[-1].day_us, rows[-1].item_id)


def contents(connection: Connection, sample_ids: Sequence[str]) -> dict[str, Content]:
    """Samples' content, redacted as it was stored, without payloads and addresses."""
    kept = {}
    for start in range(0, len(sample_ids), _PAGE):
        chosen = sample_ids[start : start + _PAGE]
        seen: dict[str, set[int]] = {}
        looked_at = select(sample_parts.c.sample_id, sample_parts.c.part).where(
            sample_parts.c.sample_id.in_(chosen),
            sample_parts.c.modality == "image",
            sample_parts.c.vector.is_not(None),
        )
        for row in connection.execute(looked_at):
            seen.setdefault(row.sample_id, set()).add(row.part)
        query = select(
            sample_content.c.sample_id,
            sample_content.c.inputs,
            sample_content.c.output,
            sample_content.c.citations,
            sample_content.c.thumbnail.is_not(None).label("pictured"),
        ).where(sample_content.c.sample_id.in_(chosen))
        for row in connection.execute(query):
            document = msgspec.json.decode(row.inputs)
            document = document if isinstance(document, dict) else {}
            kept[row.sample_id] = Content(
                _parts(document.get("parts")),
                _parts(msgspec.json.decode(row.output)),
                _parts(msgspec.json.decode(row.citations)),
                thumbnail_part(document, seen.get(row.sample_id, set())) if row.pictured else None,
            )
    return kept


def confidences(connection: Connection, sample_ids: Sequence[str]) -> dict[str, float]:
    """Sample: what the model said of its own certainty, [0, 1]."""
    found = {}
    for start in range(0, len(sample_ids), _PAGE):
        query = select(samples.c.sample_id, samples.c.facts).where(
            samples.c.sample_id.in_(sample_ids[start : start + _PAGE])
        )
        for row in connection.execute(query):
            value = msgspec.json.decode(row.facts).get("confidence")
            if isinstance(value, int):
                found[row.sample_id] = value / 1e6
    return found


def _items(connection: Connection, rows: Sequence[Any]) -> Iterator[QueuedItem]:
    sample_ids = [row.sample_id for row in rows if row.sample_id]
    kept, sure = contents(connection, sample_ids), confidences(connection, sample_ids)
    ids = [row.item_id for row in rows]
    said, pixels = _answers(connection, ids), pixels_of(connection, ids)
    for row in rows:
        content = kept.get(row.sample_id, Content([], [], [], None))
        yield QueuedItem(
            **item_values(row._mapping),
            inputs=content.inputs,
            output=content.output,
            citations=content.citations,
            picture=next((full.part for full in pixels.get(row.item_id, ()) if full.data is not None), content.picture),
            confidence=sure.get(row.sample_id),
            answers=tuple(said.get(row.item_id, ())),
        )


def _answers(connection: Connection, item_ids: Sequence[str]) -> dict[str, list[Given]]:
    found: dict[str, list[Given]] = {}
    if not item_ids:
        return found
    query = select(labels).where(labels.c.item_id.in_(item_ids), ~labels.c.undone).order_by(labels.c.id)
    for row in connection.execute(query):
        try:
            label = Label.decode(row.label) if row.kind == "label" else None
            reason = str(json.loads(row.label).get("reason", "")) if label is None else ""
        except (ValueError, TypeError, AttributeError):
            continue  # written by a newer version
        gold = None if label is None else bool(row.gold)
        one = Given(row.item_id, row.event_id, row.reviewer, label, reason, row.time_us, gold)
        found.setdefault(row.item_id, []).append(one)
    return found


def _parts(found: Any) -> list[dict[str, Any]]:
    """Parts without what is large or not redacted."""
    if not isinstance(found, list):
        return []
    return [
        {name: value for name, value in part.items() if name not in _LEFT_OUT}
        for part in found
        if isinstance(part, dict)
    ]
