"""Two workers of one consumer group on real Kafka and PostgreSQL; one is killed and replaced in mid-stream."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest

from monitor.ingest.consumer import TopicPartition
from monitor.ingest.worker import IngestWorker
from monitor.store.engine import Store, open_store
from monitor.store.partitions import status
from tests.ingest import streams
from tests.ingest.contents import contents, differences
from tests.ingest.memory_source import MemoryLog, MemorySource, Record

PARTITIONS = 4
RECORDS = 1500
PATIENCE_S = 120


def produce(bootstrap: str, topic: str, log: dict[TopicPartition, list[Record]], start: int, end: int) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=10)
    for tp, rows in log.items():
        for stamp, key, value in rows[start:end]:
            producer.send(topic, key=key, value=value, partition=tp.partition, timestamp_ms=stamp)
    producer.flush()
    producer.close()


def taken(store: Store) -> int:
    return sum(status(store)["offsets"].values())


def wait_for(store: Store, records: int, members: list[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + PATIENCE_S
    while taken(store) < records:
        for member in members:
            assert member.poll() is None, "a worker ended by itself; its log is in the test's folder"
        assert time.monotonic() < until, f"{taken(store)} of {records} records after {PATIENCE_S} s"
        time.sleep(0.05)


@pytest.mark.real
def test_two_workers_one_killed_and_replaced(kafka_bootstrap: str, postgres_url: str, tmp_path: Path) -> None:
    from kafka.admin import KafkaAdminClient, NewTopic

    topic = f"group-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    admin.close()
    log = {
        TopicPartition(topic, tp.partition): rows
        for tp, rows in streams.stream(4, RECORDS, partitions=PARTITIONS).items()
    }
    store = open_store(postgres_url)
    command = [sys.executable, "-m", "tests.ingest.member", postgres_url, kafka_bootstrap, topic, topic]
    third = RECORDS // 3
    with ExitStack() as stack:

        def join() -> subprocess.Popen[bytes]:
            output = stack.enter_context((tmp_path / f"worker-{len(started)}.log").open("wb"))
            member = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            started.append(member)
            return member

        def end() -> None:
            for member in started:
                member.kill()
                member.wait()

        started: list[subprocess.Popen[bytes]] = []
        stack.callback(end)

        members = [join(), join()]
        produce(kafka_bootstrap, topic, log, 0, third)
        wait_for(store, third * PARTITIONS // 2, members)
        produce(kafka_bootstrap, topic, log, third, 2 * third)
        wait_for(store, third * PARTITIONS + 100, members)
        members[0].send_signal(signal.SIGKILL)
        members[0].wait()
        members = [members[1], join()]
        produce(kafka_bootstrap, topic, log, 2 * third, RECORDS)
        wait_for(store, RECORDS * PARTITIONS, members)
        owners = status(store)
    assert owners["offsets"] == {f"{topic}/{partition}": RECORDS for partition in range(PARTITIONS)}
    alone = open_store(f"sqlite:///{tmp_path / 'alone.db'}")
    config = streams.config(topics=[topic])
    worker = IngestWorker(config, alone, version="v", document="{}", source=MemorySource(MemoryLog(log)))
    while not worker.caught_up():
        worker.step(0)
    worker.flush()
    assert not differences(contents(alone), contents(store))
    alone.close()
    store.close()
