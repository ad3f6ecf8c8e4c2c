"""The real parts come up, and what the tests rely on is true of them."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic


def round_trip(bootstrap: str, topic: str) -> list[bytes]:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    for i in range(100):
        producer.send(topic, key=str(i).encode(), value=b"v%d" % i)
    producer.flush()
    producer.close()
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=3000)
    values = [record.value for record in consumer]
    consumer.close()
    return values


@pytest.mark.real
def test_kafka_carries_records(kafka_bootstrap: str) -> None:
    assert sorted(round_trip(kafka_bootstrap, "round-trip")) == sorted(b"v%d" % i for i in range(100))


def test_the_embedded_broker_carries_records(broker_bootstrap: str) -> None:
    assert sorted(round_trip(broker_bootstrap, "round-trip")) == sorted(b"v%d" % i for i in range(100))


@pytest.mark.real
def test_postgres_answers(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("select 6 * 7").fetchone()
    assert row == (42,)


@pytest.mark.real
def test_prometheus_and_alertmanager_answer(prometheus: Callable[[str], str], alertmanager: str) -> None:
    url = prometheus("global: {scrape_interval: 1s}\n")
    assert httpx.get(f"{url}/api/v1/query", params={"query": "vector(1)"}).json()["status"] == "success"
    assert httpx.get(f"{alertmanager}/api/v2/status").status_code == 200
