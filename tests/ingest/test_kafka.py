"""kafka-python behind the protocol, against real Kafka, and damaged batches without it."""

from __future__ import annotations

import random
import time
import uuid
from pathlib import Path

import pytest
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from monitor.config.model import Kafka
from monitor.ingest.consumer import Records, TopicPartition
from monitor.ingest.kafka_source import KafkaSource
from monitor.ingest.record_batches import unpack
from monitor.ingest.worker import IngestWorker
from monitor.store.engine import open_store
from tests.ingest import streams

Rows = list[tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes]]]]


def rows(seed: int, count: int, start: int = 0) -> Rows:
    rng = random.Random(seed)
    return [
        (
            start + i,
            1_790_000_000_000 + rng.randrange(-5000, 2_000_000),
            rng.choice([None, b"", b"key" * rng.randrange(40)]),
            rng.choice([None, b"", b"v" * rng.randrange(70), rng.randbytes(rng.choice([63, 64, 8191, 8192, 300_000]))]),
            rng.choice([[], [("h", b"x" * rng.randrange(300))]]),
        )
        for i in range(count)
    ]


def batch(content: Rows, compression: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for i, (_, timestamp, key, value, headers) in enumerate(content):
        assert builder.append(i, timestamp, key, value, headers)
    data = bytearray(builder.build())
    data[0:8] = content[0][0].to_bytes(8, "big")  # the base offset is the broker's to set; no checksum covers it
    return bytes(data)


@pytest.mark.parametrize("compression", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_unpacked_batches_are_what_kafka_python_reads(seed: int, compression: int) -> None:
    contents = [rows(seed, 90, 1000), rows(seed + 50, 1, 1090), rows(seed + 99, 30, 1200)]
    data = [batch(content, compression) for content in contents]
    found = unpack([DefaultRecordBatch(part) for part in data], 1003)
    theirs = [record for part in data for record in DefaultRecordBatch(part) if record.offset >= 1003]
    assert found.offsets == [record.offset for record in theirs]
    assert found.timestamps_ms == [record.timestamp for record in theirs]
    assert found.keys == [record.key for record in theirs]
    assert found.values == [record.value for record in theirs]


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_batch_is_refused_or_keeps_its_shape(seed: int) -> None:
    content = rows(1, 20)
    data = bytearray(batch(content))
    rng = random.Random(seed)
    for _ in range(3):
        data[rng.randrange(61, len(data))] = rng.randrange(256)
    try:
        found = unpack([DefaultRecordBatch(bytes(data))], 0)
    except CorruptRecordError:
        return
    assert len(found) == 20  # the damage hit a payload, which the checksum, looked at before, would have found


def read(source: KafkaSource, topic: str, wanted: int) -> dict[TopicPartition, Records]:
    found: dict[TopicPartition, Records] = {}
    until = time.monotonic() + 60
    while sum(len(records) for records in found.values()) < wanted:
        assert time.monotonic() < until
        for tp, records in source.poll(0.2).items():
            found.setdefault(tp, Records()).extend(records)
    return found


@pytest.mark.real
def test_everything_comes_in_order_from_where_we_seek(kafka_bootstrap: str) -> None:
    from kafka import KafkaProducer
    from kafka.admin import KafkaAdminClient, NewTopic

    topic = f"source-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.create_topics([NewTopic(topic, 2, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap, linger_ms=5, batch_size=4000, compression_type="gzip")
    for i in range(3000):
        value = None if i % 100 == 0 else b"%d" % i + b"x" * (i % 700)
        producer.send(topic, key=b"k", value=value, partition=i % 2, timestamp_ms=1_000_000 + i, headers=[("h", b"1")])
    producer.flush()
    source = KafkaSource(Kafka(bootstrap=kafka_bootstrap, topics=(topic,), group=topic))
    assigned: list[TopicPartition] = []
    source.subscribe([topic], assigned.extend, lambda _: None)
    found = read(source, topic, 3000)
    assert sorted(assigned) == [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    for tp, records in found.items():
        assert records.offsets == list(range(1500))
        assert records.timestamps_ms == [1_000_000 + 2 * i + tp.partition for i in range(1500)]
        assert records.values[50] == (None if tp.partition == 0 else b"101" + b"x" * 101)
    assert source.partition_count(topic) == 2
    assert set(source.bounds(assigned).values()) == {(0, 1500)}
    tp = TopicPartition(topic, 1)
    source.seek(tp, 1234)
    assert read(source, topic, 1500 - 1234)[tp].offsets == list(range(1234, 1500))
    assert source.position(tp) == source.highwater(tp) == 1500
    source.pause()
    producer.send(topic, value=b"later", partition=1)
    producer.flush()
    producer.close()
    assert not source.poll(0.5)
    source.resume()
    assert read(source, topic, 1)[tp].values == [b"later"]
    source.commit({tp: 1501})
    source.close()


@pytest.mark.real
def test_a_join_that_outlasts_its_poll_is_seen_through(kafka_bootstrap: str) -> None:
    """Polls of 3 ms end while the group is joined, and joined again as soon as the topic's metadata are there."""
    from kafka.admin import KafkaAdminClient, NewTopic

    group = f"join-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    for attempt in range(6):
        topic = f"{group}-{attempt}"
        admin.create_topics([NewTopic(topic, 2, 1)])
        source = KafkaSource(Kafka(bootstrap=kafka_bootstrap, topics=(topic,), group=group))
        assigned: list[TopicPartition] = []
        source.subscribe([topic], assigned.extend, lambda _: None)
        until = time.monotonic() + 60
        while not assigned and time.monotonic() < until:
            source.poll(0.003)
        source.close()
        assert sorted(assigned) == [TopicPartition(topic, 0), TopicPartition(topic, 1)], f"attempt {attempt}"
    admin.close()


@pytest.mark.real
def test_a_topic_that_does_not_exist_is_warned_of_and_not_made(
    kafka_bootstrap: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker of these tests makes topics that are asked for by name, as many do; once made, it is read."""
    from kafka.admin import KafkaAdminClient, NewTopic

    topic = f"typo-{uuid.uuid4().hex[:8]}"
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    config = streams.config(bootstrap=kafka_bootstrap, topics=[topic], group=topic)
    worker = IngestWorker(config, store, source=KafkaSource(config.kafka))
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    try:
        # kafka-python asks for topics it does not know at its next refreshes, 10 s apart.
        until = time.monotonic() + 90
        while "the brokers have no topic" not in caplog.text:
            assert time.monotonic() < until, caplog.text
            worker.step()
        assert topic in caplog.text
        assert topic not in admin.list_topics()
        admin.create_topics([NewTopic(topic, 2, 1)])
        until = time.monotonic() + 90
        while len(worker.owned) < 2:
            assert time.monotonic() < until
            worker.step()
    finally:
        admin.close()
        worker.close()
        store.close()
