"""Records of a labels topic: labels by several reviewers, resent ones, skips, known answers, and what is no label."""

from __future__ import annotations

import json
import random
from typing import Any

from sqlalchemy import select

from monitor.config.model import Config
from monitor.ingest.consumer import TopicPartition
from monitor.store import label_partitions
from monitor.store.engine import Store
from monitor.store.review import Label
from monitor.store.tables import dead_letters, labels, outbox, review_items
from tests.exchange.drawn import NOW, START, add, new_item, said
from tests.ingest.memory_source import Record

TOPIC = "labels"
ITEMS = 120
EVENTS = 140  # the last ones are never drawn
BROKEN: list[bytes | None] = [
    None, b"", b"{", b"\xff", b"[]", b'{"event_id":"e1"}', b'{"event_id":"e2","reviewer":"ann","verdict":"maybe"}',
    b'{"item_id":"gone","reviewer":"ann","verdict":"wrong"}', b'{"v":9,"event_id":"e3"}', b"x" * 3000,
    b'{"kind":"item","item_id":"a"}',
]  # fmt: skip


def config(**kafka: Any) -> Config:
    return Config.model_validate(
        {"kafka": {"labels_topic": TOPIC, "max_record": 2000, **kafka}, "review": {"most_skips": 3}}
    )


def stream(partitions: int, records: int, seed: int = 1) -> dict[TopicPartition, list[Record]]:
    """An event's labels are in one partition, as keying by it makes them."""
    rng = random.Random(seed)
    found: dict[TopicPartition, list[Record]] = {TopicPartition(TOPIC, n): [] for n in range(partitions)}
    for number in range(records):
        event = rng.randrange(EVENTS)
        one = said(
            rng.choice(["correct", "wrong", "unsure"]),
            event_id=f"e{event}",
            reviewer=rng.choice(["ann", "bob", "cid"]),
            time_us=START + 1000 * number,
        )
        value = json.dumps(one.document()).encode()
        if event % 10 == 3:  # never labelled, so that the order of drawing and skipping decides nothing
            skip = said(event_id=f"e{event}", reviewer="dan", label=None, skip_reason="blurred", time_us=START + number)
            value = json.dumps(skip.document()).encode()
        elif rng.random() < 0.1:
            known = said(event_id=f"e{event}", reviewer="truth", gold=True, label=Label("wrong"), time_us=START)
            value = json.dumps(known.document()).encode()
        mine = found[TopicPartition(TOPIC, event % partitions)]
        mine.append((1_700_000_000_000 + number, b"k", value))
        if rng.random() < 0.1:
            mine.append((1_700_000_000_001 + number, b"again", rng.choice(mine)[2]))  # resent, or another's again
        if rng.random() < 0.1:
            mine.append((1_700_000_000_002 + number, b"k", rng.choice(BROKEN)))
    return found


def draw(store: Store, start: int, end: int) -> None:
    add(store, [new_item(n, wanted=1 + n % 3) for n in range(start, min(end, ITEMS))], now_us=NOW)


def end_of(store: Store) -> dict[str, Any]:
    """What must be the same however the records were read."""
    with store.read() as connection:
        answers = connection.execute(select(labels).where(~labels.c.undone)).all()
        items = connection.execute(select(review_items).order_by(review_items.c.item_id)).all()
        letters = connection.execute(
            select(dead_letters).order_by(dead_letters.c.partition, dead_letters.c.offset)
        ).all()
        told = connection.execute(select(outbox.c.key, outbox.c.payload).order_by(outbox.c.key)).all()
        counts = label_partitions.counts(connection)
    return {
        "answers": sorted(
            (a.event_id, a.item_id, a.reviewer, a.kind, a.label, a.time_us, a.gold, a.origin) for a in answers
        ),
        "items": [(i.event_id, i.state, i.ended, i.labelled, i.skips) for i in items],
        "letters": [tuple(letter) for letter in letters],
        "told": [tuple(row) for row in told],
        "records": {place: sum(found.values()) for place, found in counts.items()},
        "dead": {place: found.get("dead_letter", 0) for place, found in counts.items()},
    }


def read(store: Store) -> int:
    """Records taken in so far."""
    with store.read() as connection:
        return sum(sum(found.values()) for found in label_partitions.counts(connection).values())
