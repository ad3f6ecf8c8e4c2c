"""Records on a real Kafka: anomalies by id, dead letters by where they came from; brokers that are away."""

from __future__ import annotations

import json
import socket
from typing import Any
from uuid import uuid4

import pytest

from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent
from alerts.sinks.kafka import KafkaSink, KafkaTopic, encode
from tests.alerts.parts import NOW, anomaly, vast


def read(bootstrap: str, topic: str, count: int) -> list[Any]:
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=15000
    )
    try:
        records = []
        for record in consumer:
            records.append(record)
            if len(records) == count:
                break
        return records
    finally:
        consumer.close()


@pytest.mark.real
def test_records_and_their_keys(kafka_bootstrap: str) -> None:
    topic = f"anomalies-{uuid4().hex}"
    sink = KafkaSink(KafkaTopic(kafka_bootstrap, topic))
    document = anomaly(segment="Köln")
    letter = {"topic": "inference", "partition": 3, "offset": 17, "reason": "not_json", "original": "AAAA"}
    try:
        outcomes = sink.send(
            [
                Delivery(document["id"], "anomaly", document, created_us=NOW),
                Delivery("inference/3/17", "dead_letter", letter, created_us=NOW),
            ],
            NOW,
        )
    finally:
        sink.close()
    assert outcomes == [Sent(), Sent()]
    found = {record.key.decode(): record for record in read(kafka_bootstrap, topic, 2)}
    assert json.loads(found[document["id"]].value) == document
    assert json.loads(found["inference/3/17"].value) == letter
    assert dict(found["inference/3/17"].headers) == {"driftline-kind": b"dead_letter"}


@pytest.mark.real
def test_a_record_no_broker_takes_is_refused_alone(kafka_bootstrap: str) -> None:
    sink = KafkaSink(KafkaTopic(kafka_bootstrap, f"anomalies-{uuid4().hex}"))
    huge, small = {**anomaly("huge"), "links": {"x": "y" * 2_000_000}}, anomaly("small")
    try:
        outcomes: list[Outcome] = sink.send([Delivery(d["id"], "anomaly", d) for d in (huge, small)], NOW)
    finally:
        sink.close()
    assert [type(outcome) for outcome in outcomes] == [Refused, Sent]


def test_brokers_that_do_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = KafkaSink(KafkaTopic(f"127.0.0.1:{silent.getsockname()[1]}", "anomalies", timeout_s=0.5))
        document = anomaly()
        for _ in range(2):
            (outcome,) = sink.send([Delivery(document["id"], "anomaly", document)], NOW)
            assert isinstance(outcome, Retry)
        sink.close()


def test_bytes_too_large_for_a_broker_are_left_out() -> None:
    letter = {"reason": "too_large", "original": "A" * 2_000_000}
    assert json.loads(encode(Delivery("t/0/1", "dead_letter", letter))) == {
        "reason": "too_large",
        "original_omitted": "too large",
    }


def test_the_longest_document_keeps_within_what_brokers_take() -> None:
    document = vast()
    value = encode(Delivery(document["id"], "anomaly", document))
    assert json.loads(value) == document, "whole"
    assert len(value) < 900_000, "of 1 MB, which is the default of brokers"
