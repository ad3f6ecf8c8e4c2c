"""The review topic: each drawn item is told once, redacted and blind, and not at all when it is forgotten."""

from __future__ import annotations

import json
import random
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from alerts.dispatch import Dispatcher
from monitor.alerting import REVIEW, build_sinks, describe
from monitor.config.model import Config
from monitor.evaluate.worker import EvaluateWorker
from monitor.exchange.review_topic import MOST_BYTES, SINK, messages
from monitor.store import review
from monitor.store.engine import Store
from monitor.store.forget import forget_event
from monitor.store.review import item_id
from monitor.store.tables import outbox, review_items, samples
from tests.alerts.test_kafka import read
from tests.evaluate.test_embeddings import write_samples
from tests.evaluate.traffic import HOUR_US, START_US, Segment, set_watermark, write
from tests.exchange.drawn import NOW, START, add, add_samples, new_item


def told(store: Store) -> dict[str, dict[str, Any]]:
    query = select(outbox.c.key, outbox.c.payload).where(outbox.c.sink == SINK, outbox.c.kind == "review_item")
    with store.read() as connection:
        return {key: json.loads(payload) for key, payload in connection.execute(query)}


def test_what_is_told_is_redacted_and_blind(store: Store) -> None:
    items = [new_item(1)]
    add_samples(store, items, text="call [email]")
    name = item_id("s1")
    (message,) = messages(store, items, NOW, predictions=False).values()
    assert (message.sink, message.key, message.kind) == (SINK, name, "review_item")
    assert message.payload == {
        "v": 1,
        "item_id": name,
        "event_id": "e1",
        "segment": "b",
        "route": "r",
        "time": "2024-10-04T00:00:00.000001Z",
        "pool": "",
        "language": "",
        "wanted": 1,
        "pi_sample": 0.5,
        "pi_review": 0.125,
        "race": 0.001,
        # Neither payloads nor addresses, which redaction does not touch.
        "input": [
            {"kind": "image", "part": 0},
            {"kind": "text", "text": "call [email]", "part": 1},
            {"kind": "audio", "part": 2},
        ],
        "output": [{"kind": "text", "text": "=41.90"}],
        "citations": [{"quote": "Total 41.90"}],
    }
    with_predictions = messages(store, items, NOW, predictions=True)[name].payload
    more = {key: value for key, value in with_predictions.items() if key not in message.payload}
    assert more == {"score": 0.75, "reasons": ["uncertain"], "confidence": 0.93}
    assert START < NOW


def test_content_too_large_for_a_broker_is_left_out(store: Store) -> None:
    items = [new_item(1)]
    add_samples(store, items, text="x" * MOST_BYTES)
    payload = messages(store, items, NOW, predictions=False)[item_id("s1")].payload
    assert "input" not in payload
    assert payload["content_omitted"].startswith("too large")
    assert "input" not in messages(store, [new_item(2)], NOW, predictions=True)[item_id("s2")].payload


def test_only_new_items_are_told_and_forgotten_ones_are_not(store: Store) -> None:
    items = [new_item(n) for n in range(4)]
    add_samples(store, items)
    forget_event(store, "e3")
    made = messages(store, items, NOW, predictions=False)
    add(store, items[:2], made)
    assert set(told(store)) == {item_id("s0"), item_id("s1")}
    with store.write() as connection:
        connection.execute(outbox.delete())  # delivered
    add(store, items, made)
    assert set(told(store)) == {item_id("s2")}
    assert forget_event(store, "e2")["outbox"] == 1, "what waits to be told is erased too"
    assert told(store) == {}


def test_every_drawn_item_is_told_exactly_once(store: Store) -> None:
    """Through the evaluator: in batches, with a restart after each, and blind unless configured."""
    write_samples(store, "a", START_US, 48, seed=1)
    end = write(store, [Segment("a", 20.0)], days=2)
    set_watermark(store, end)
    with store.write() as connection:
        connection.execute(update(samples).values(facts='{"v":1,"outcome":"ok","confidence":900000}'))
    settings = Config.model_validate(
        {"kafka": {"review_topic": "items"}, "review": {"labels": 40}, "sampling": {"per_hour": 100}}
    )
    while True:
        worker = EvaluateWorker(store, settings, clock=lambda: end / 1e6, batch_us=12 * HOUR_US)
        worked = worker.step()
        worker.close()
        if not worked:
            break
    with store.read() as connection:
        drawn = set(connection.execute(select(review_items.c.item_id)).scalars())
        revisions = set(connection.execute(select(outbox.c.revision).where(outbox.c.sink == SINK)).scalars())
    assert len(drawn) > 20
    assert set(told(store)) == drawn
    assert revisions == {1}
    assert not any({"score", "reasons", "confidence"} & set(payload) for payload in told(store).values())


def test_the_sink_is_there_where_a_topic_is_configured() -> None:
    assert SINK == REVIEW
    assert REVIEW not in build_sinks(Config())
    config = Config.model_validate({"kafka": {"review_topic": "items"}})
    assert REVIEW in build_sinks(config)
    assert describe(config)[REVIEW] == "kafka topic items"


@pytest.mark.real
def test_items_arrive_in_kafka_by_their_id(store: Store, kafka_bootstrap: str) -> None:
    topic = f"review-{uuid4().hex}"
    items = [new_item(n) for n in range(3)]
    add_samples(store, items)
    add(store, items, messages(store, items, NOW, predictions=False))
    config = Config.model_validate({"kafka": {"bootstrap": kafka_bootstrap, "review_topic": topic}})
    dispatcher = Dispatcher(store, build_sinks(config), lambda: NOW, random.Random(1))
    while dispatcher.step():
        pass
    for sink in dispatcher.sinks.values():
        sink.close()
    found = {record.key.decode(): json.loads(record.value) for record in read(kafka_bootstrap, topic, 3)}
    assert {key: value["event_id"] for key, value in found.items()} == {item_id(f"s{n}"): f"e{n}" for n in range(3)}
    assert told(store) == {}, "what was delivered leaves the outbox"
    with store.read() as connection:
        assert len(review.counts(connection)) == 2
