"""Items in a queue, their content, and what of it a test compares."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import insert, select

from monitor.exchange.given import Given
from monitor.exchange.queued import QueuedItem
from monitor.store import review
from monitor.store.engine import Store
from monitor.store.outbox import Message
from monitor.store.review import Label, NewItem, item_id
from monitor.store.tables import labels, review_audit, review_items, sample_content, sample_parts, samples

DAY_US = 86_400_000_000
START = 20_000 * DAY_US
NOW = START + 30 * DAY_US
JPEG = b"\xff\xd8\xff\xe0pixels"


def new_item(number: int, **facts: Any) -> NewItem:
    known: dict[str, Any] = {
        "sample_id": f"s{number}",
        "event_id": f"e{number}",
        "segment": "ab"[number % 2],
        "route": "r",
        "day_us": START,
        "time_us": START + number,
        "pi_sample": 0.5,
        "pi_review": 0.125,
        "race": number / 1000,
        "score": 0.75,
        "reasons": ("uncertain",),
    }
    return NewItem(**{**known, **facts})


def add(store: Store, items: list[NewItem], messages: dict[str, Message] | None = None, now_us: int = NOW) -> int:
    with store.write() as connection:
        return review.add(connection, items, [], now_us=now_us, expires_us=NOW + 10 * DAY_US, messages=messages or {})


def add_samples(store: Store, items: list[NewItem], text: str = "What is the total?", **facts: Any) -> None:
    """The samples of items, with an image that is kept, a text and an output."""
    parts = [
        {"kind": "image", "uri": "https://signed.example/a.jpg?key=secret", "part": 0},
        {"kind": "text", "text": text, "part": 1},
        {"kind": "audio", "inline": "UklGRg==", "part": 2},
    ]
    with store.write() as connection:
        for number, item in enumerate(items):
            connection.execute(
                insert(samples).values(
                    sample_id=item.sample_id,
                    event_id=item.event_id,
                    topic="t",
                    partition=0,
                    offset=number,
                    time_us=item.time_us,
                    window_us=item.time_us,
                    route=item.route,
                    segment=item.segment,
                    version="m@1",
                    session_key="",
                    user_key=item.user_key,
                    pi=item.pi_sample,
                    state="embedded",
                    reason="",
                    facts=json.dumps({"v": 1, "outcome": "ok", "confidence": 930_000, **facts}),
                    encoder="",
                    phash=None,
                )
            )
            connection.execute(
                insert(sample_content).values(
                    sample_id=item.sample_id,
                    time_us=item.time_us,
                    inputs=json.dumps({"v": 1, "parts": parts, "chosen": [0, 1]}),
                    output=json.dumps([{"kind": "text", "text": "=41.90"}]),
                    citations=json.dumps([{"quote": "Total 41.90"}]),
                    thumbnail=JPEG,
                )
            )
            connection.execute(
                insert(sample_parts).values(
                    sample_id=item.sample_id,
                    part=0,
                    modality="image",
                    vector=b"\x00\x00",
                    conditions="{}",
                    agreement=None,
                )
            )


def queued_item(**facts: Any) -> QueuedItem:
    known: dict[str, Any] = {
        "item_id": "a1" * 16,
        "sample_id": "s1",
        "event_id": "e1",
        "segment": "receipts",
        "route": "extract",
        "day_us": START,
        "time_us": START + 5,
        "pool": "default",
        "language": "de",
        "reasons": ("uncertain",),
        "pi_sample": 0.5,
        "pi_review": 0.1,
        "race": 0.25,
        "score": 0.75,
        "state": "open",
        "ended": "",
        "wanted": 1,
        "leased_by": "",
        "lease_until_us": None,
        "labelled": 0,
        "skips": 0,
        "expires_us": START + 14 * DAY_US,
        "created_us": START,
        "inputs": [{"kind": "image", "part": 0}, {"kind": "text", "text": "What is the total?", "part": 1}],
        "output": [{"kind": "text", "text": "41.90"}],
        "citations": [],
        "picture": 0,
        "confidence": 0.93,
    }
    return QueuedItem(**{**known, **facts})


def said(verdict: str = "wrong", **facts: Any) -> Given:
    known: dict[str, Any] = {
        "item_id": "",
        "event_id": "e1",
        "reviewer": "ann",
        "label": Label(verdict),
        "time_us": START,
        "gold": None if facts.get("label", True) is None else False,
    }
    return Given(**{**known, **facts})


def state(store: Store, sample: str) -> tuple[str, str, int, int]:
    """(state, how it ended, labels, skips) of a sample's item."""
    with store.read() as connection:
        found = review.find_item(connection, item_id(sample))
    assert found is not None
    return found.state, found.ended, found.labelled, found.skips


def standing(store: Store) -> list[tuple[str, str, str, str, bool, str]]:
    """(item, event, reviewer, verdict or skip, gold, origin) of every answer that stands."""
    query = select(labels).where(~labels.c.undone)
    with store.read() as connection:
        rows = connection.execute(query).all()
    return sorted(
        (
            row.item_id,
            row.event_id,
            row.reviewer,
            Label.decode(row.label).verdict if row.kind == "label" else "skip",
            row.gold,
            row.origin,
        )
        for row in rows
    )


def everything(store: Store) -> list[list[tuple[Any, ...]]]:
    """All rows of the queue, to be compared before and after."""
    with store.read() as connection:
        return [
            [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in (review_items, labels, review_audit)
        ]
