"""The labels topic: each record once, whatever is killed; what is no label becomes a dead letter and stops nothing."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from monitor.config.model import Config
from monitor.drain import drain
from monitor.exchange import labels_topic
from monitor.exchange.labels_topic import LabelsWorker
from monitor.ingest.consumer import SourceUnavailable, TopicPartition
from monitor.ingest.dead_letters import DeadLetter
from monitor.serve.metrics import ProductMetrics, ProductSettings
from monitor.store import label_partitions, letters
from monitor.store.engine import Store, StoreUnavailable, open_store
from monitor.store.forget import forget_event
from monitor.store.partitions import forgotten_among
from monitor.store.review import Declined, item_id
from monitor.store.tables import dead_letters, outbox
from monitor.workers import parts_of
from tests.exchange import label_stream
from tests.exchange.drawn import NOW, START, add, new_item, said, standing, state
from tests.exchange.label_stream import BROKEN, ITEMS, TOPIC, config, draw, end_of, stream
from tests.ingest.memory_source import MemoryLog, MemorySource, Record

P0, P1 = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
KILLS = 25
PATIENCE_S = 120


def record(value: bytes | None) -> Record:
    return (1_700_000_000_000, b"k", value)


def label(verdict: str = "wrong", **facts: Any) -> Record:
    return record(json.dumps(said(verdict, **facts).document()).encode())


def worker(store: Store, log: MemoryLog, **kafka: Any) -> LabelsWorker:
    return LabelsWorker(config(**kafka), store, source=MemorySource(log), wall_us=lambda: NOW)


def read(worker: LabelsWorker) -> LabelsWorker:
    while not worker.caught_up():
        worker.step(0)
    return worker


def test_labels_join_their_items_and_unknown_events_are_kept(store: Store) -> None:
    add(store, [new_item(1), new_item(2)])
    records = [label(), label(event_id="", item_id=item_id("s2")), label(event_id="e9"), label(event_id="e3")]
    log = MemoryLog({P0: [*records, label()], P1: []})
    done = read(worker(store, log))
    assert done.outcomes == {"labelled": 2, "kept": 2, "repeated": 1}
    assert [state(store, sample)[0] for sample in ("s1", "s2")] == ["done", "done"]
    add(store, [new_item(3)])
    assert state(store, "s3")[0] == "done"
    assert [row for row in standing(store) if not row[0]] == [("", "e9", "ann", "wrong", False, "kafka")]
    with store.read() as connection:
        assert label_partitions.counts(connection)[P0] == dict(done.outcomes)
    assert label_partitions.position(store, *P0) == 5
    # A consumer that starts anew reads nothing twice, whatever the group's own offsets say.
    assert read(worker(store, MemoryLog(log.partitions))).outcomes == {}


def test_what_is_no_label_is_a_dead_letter_and_the_rest_is_read(store: Store) -> None:
    add(store, [new_item(1)])
    done = read(worker(store, MemoryLog({P0: [*map(record, BROKEN), label()]}), dead_letter_bytes=True))
    assert done.outcomes == {"dead_letter": len(BROKEN), "labelled": 1}
    with store.read() as connection:
        found = list(letters.stream_letters(connection))
        told = connection.execute(select(outbox.c.sink, outbox.c.payload).order_by(outbox.c.id)).all()
    assert [(row.position, row.original) for row in found] == [(f"labels/0/{n}", v) for n, v in enumerate(BROKEN)]
    assert [row.reason for row in found] == [
        "tombstone", "malformed_json", "malformed_json", "invalid_utf8", "invalid_label", "invalid_label",
        "invalid_label", "unknown_item", "invalid_label", "oversize", "invalid_label",
    ]  # fmt: skip
    assert [row.event_id for row in found][5:9] == ["e1", "e2", "", "e3"]
    assert all(row.detail for row in found)
    assert {row.sink for row in told} == {"kafka:dead-letters"}
    assert base64.b64decode(json.loads(told[1].payload)["original"]) == b""


def test_a_dead_letter_of_a_forgotten_event_is_not_kept(store: Store) -> None:
    log = MemoryLog({P0: [record(BROKEN[5])]})
    read(worker(store, log))
    assert forget_event(store, "e1")["dead_letters"] == 1
    log.partitions[P0] += [record(BROKEN[5]), record(BROKEN[6]), label()]
    assert read(worker(store, log)).outcomes == {"dead_letter": 2, "forgotten": 1}
    with store.read() as connection:
        assert list(connection.execute(select(dead_letters.c.event_id)).scalars()) == ["e2"]
        assert list(connection.execute(select(outbox.c.key)).scalars()) == ["labels/0/2"]


@pytest.mark.real
def test_forgetting_waits_for_a_batch_under_way(postgres_url: str) -> None:
    """Else a dead letter that was looked up before the event was forgotten could be written after."""
    store = open_store(postgres_url)
    assert label_partitions.position(store, *P0) == 0
    done: list[dict[str, int]] = []
    with store.write() as connection:
        assert label_partitions.advance(connection, *P0, 0, 1)
        assert forgotten_among(connection, set(), {"e1"}) == set()
        thread = threading.Thread(target=lambda: done.append(forget_event(store, "e1")))
        thread.start()
        until = time.monotonic() + 30
        with store.read() as other:
            waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND NOT granted")
            while not other.execute(waiting).scalar_one() and time.monotonic() < until:
                time.sleep(0.01)
        assert not done
        letter = DeadLetter("labels", 0, 0, 0, None, b"{", "invalid_label", "", "e1")
        store.upsert(connection, dead_letters, [letter.row()])
        label_partitions.count(connection, *P0, {"dead_letter": 1})
    thread.join()
    assert done[0]["dead_letters"] == 1
    store.close()


def test_metrics_count_what_became_of_records(store: Store) -> None:
    add(store, [new_item(1)])
    read(worker(store, MemoryLog({P0: [label(), label(event_id="e9"), record(b"{")], P1: [label(event_id="e8")]})))
    shown = ProductMetrics(store, ProductSettings("USD", (), lambda row, now_us: "none"), lambda: NOW)
    shown.refresh(None)
    lines = shown.text.decode().splitlines()
    assert 'driftline_labels_read_total{outcome="kept",topic="labels"} 2.0' in lines
    assert 'driftline_labels_read_total{outcome="labelled",topic="labels"} 1.0' in lines
    assert 'driftline_labels_read_total{outcome="dead_letter",topic="labels"} 1.0' in lines
    assert 'driftline_dead_letters_stored{reason="malformed_json"} 1.0' in lines
    assert "driftline_labels_without_item 2.0" in lines


def test_two_consumers_of_the_same_records_cannot_double(store: Store) -> None:
    """As at a rebalance that one of them has not heard of: both have read, one writes."""
    add(store, [new_item(n) for n in range(ITEMS)])
    log = MemoryLog(stream(2, 200))
    whole = {place: len(rows) for place, rows in log.partitions.items()}
    one, two = worker(store, log), worker(store, log)
    for _ in range(2):
        one.step(0)
        two.step(0)
    while not (one.caught_up() and two.caught_up()):
        two.step(0)
        one.step(0)
    assert end_of(store)["records"] == whole
    assert sum(one.outcomes.values()) + sum(two.outcomes.values()) == sum(whole.values())


def test_consumers_that_run_at_once_write_each_record_once(store: Store, sqlite: Store) -> None:
    rows = stream(2, 300)
    for each in (store, sqlite):
        draw(each, 0, ITEMS)
    read(worker(sqlite, MemoryLog(rows)))
    stop = threading.Event()
    workers = [worker(store, MemoryLog(rows)) for _ in range(3)]
    threads = [threading.Thread(target=each.run, args=(stop,)) for each in workers]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE_S
    while label_stream.read(store) < sum(map(len, rows.values())) and time.monotonic() < until:
        time.sleep(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    assert end_of(store) == end_of(sqlite)


def test_a_store_or_broker_that_is_away_is_waited_for(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add(sqlite, [new_item(1)])
    log = MemoryLog({P0: [label(), record(b"{")]})
    reader = worker(sqlite, log)
    real, fails = Store.write, iter([None, StoreUnavailable("away"), Declined("answered", "meanwhile")])

    def write(self: Store) -> Any:
        if (error := next(fails, None)) is not None:
            raise error
        return real(self)

    monkeypatch.setattr(Store, "write", write)
    monkeypatch.setattr(labels_topic, "BACKOFF_S", (0.001,))
    polls = reader._source.poll
    broken = iter([SourceUnavailable("no broker")])

    def poll(timeout_s: float) -> Any:
        if (error := next(broken, None)) is not None:
            raise error
        if reader.caught_up():
            stop.set()
        return polls(timeout_s)

    monkeypatch.setattr(reader._source, "poll", poll)
    stop = threading.Event()
    reader.run(stop)
    assert reader.outcomes == {"labelled": 1, "dead_letter": 1}
    assert reader.store_failures == 2
    assert reader.describe()["store_failures"] == 2


def test_records_that_are_gone_are_gone_and_the_rest_is_read(sqlite: Store) -> None:
    add(sqlite, [new_item(1)])
    log = MemoryLog({P0: [label("correct"), label("unsure"), label(time_us=START + 9)]})
    reader = worker(sqlite, log)
    reader.step(0)
    reader._source.seek(P0, 2)  # retention took what was before
    assert reader.step(0) == 1
    assert [row[3] for row in standing(sqlite)] == ["wrong"]
    assert label_partitions.position(sqlite, *P0) == 3


def test_a_missing_topic_is_said(sqlite: Store, caplog: pytest.LogCaptureFixture) -> None:
    reader = worker(sqlite, MemoryLog({}))
    for _ in range(3):
        reader.step(0)
    assert not reader.caught_up()
    assert [r.message for r in caplog.records if "labels_topic" in r.message] != []
    with pytest.raises(ValueError, match="labels_topic"):
        LabelsWorker(config(labels_topic=None), sqlite)


def test_killed_anywhere_nothing_is_lost_or_doubled(store_url: str, tmp_path: Path) -> None:
    def lives(url: str, kills: int) -> list[int]:
        command = [sys.executable, "-m", "tests.exchange.victim", url, "20261126", str(kills)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found: list[int] = json.loads(done.stdout.strip().splitlines()[-1])["taken"]
        return found

    whole = f"sqlite:///{tmp_path / 'whole.db'}"
    assert lives(whole, 0) == []
    moments = lives(store_url, KILLS)
    # The kills must fall all over the work, or they show nothing.
    assert len(set(moments)) > KILLS // 3, moments
    left, right = open_store(whole), open_store(store_url)
    expected, got = end_of(left), end_of(right)
    left.close()
    right.close()
    for name in expected:
        assert got[name] == expected[name], name
    assert sum(expected["dead"].values()) > 50
    assert len(expected["answers"]) > 200


def produce(bootstrap: str, topic: str, rows: dict[TopicPartition, list[Record]], start: int, end: int) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for tp, records in rows.items():
        for stamp, key, value in records[start:end]:
            producer.send(topic, key=key, value=value, partition=tp.partition, timestamp_ms=stamp)
    producer.flush()
    producer.close()


@pytest.mark.real
def test_real_kafka_with_consumers_that_are_killed_and_replaced(
    kafka_bootstrap: str, store_url: str, tmp_path: Path
) -> None:
    from kafka.admin import KafkaAdminClient, NewTopic

    topic = f"labels-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.create_topics([NewTopic(topic, 2, 1)])
    admin.close()
    rows = stream(2, 600, seed=3)
    total = sum(map(len, rows.values()))
    store, whole = open_store(store_url), open_store(f"sqlite:///{tmp_path / 'whole.db'}")
    for each in (store, whole):
        draw(each, 0, ITEMS)
    read(LabelsWorker(config(), whole, source=MemorySource(MemoryLog(rows)), wall_us=lambda: time.time_ns() // 1000))

    def wait_for(count: int) -> None:
        until = time.monotonic() + PATIENCE_S
        while label_stream.read(store) < count:
            assert time.monotonic() < until, f"{label_stream.read(store)} of {total} after {PATIENCE_S} s"
            time.sleep(0.02)

    command = [sys.executable, "-m", "tests.exchange.member", store_url, kafka_bootstrap, topic, topic]
    with ExitStack() as stack:

        def member() -> subprocess.Popen[bytes]:
            log = stack.enter_context((tmp_path / f"{uuid.uuid4().hex}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        first, second = member(), member()
        produce(kafka_bootstrap, topic, rows, 0, 150)
        wait_for(60)
        first.send_signal(signal.SIGKILL)
        third = member()
        produce(kafka_bootstrap, topic, rows, 150, 300)
        wait_for(total // 2)
        second.send_signal(signal.SIGKILL)
        member()
        third.send_signal(signal.SIGSTOP)
        produce(kafka_bootstrap, topic, rows, 300, total)
        time.sleep(8)  # longer than its session: its partitions go to another, which it does not know when it goes on
        third.send_signal(signal.SIGCONT)
        wait_for(total)
        time.sleep(1)
        assert third.poll() is None
    expected, got = end_of(whole), end_of(store)
    for name in ("answers", "items"):
        assert got[name] == expected[name], name
    assert [row[1:] for row in got["letters"]] == [row[1:] for row in expected["letters"]]
    assert sorted(got["records"].values()) == sorted(expected["records"].values())
    store.close()
    whole.close()


def test_the_ingest_role_reads_it_where_one_is_configured(sqlite: Store) -> None:
    def names(settings: Config) -> list[str]:
        return [part.name for part in parts_of(("ingest",), sqlite, lambda: settings)]

    assert names(Config()) == ["ingest"]
    assert names(config()) == ["ingest", "labels"]


@pytest.mark.real
def test_a_drain_reads_labels_to_the_end(kafka_bootstrap: str, sqlite: Store) -> None:
    from kafka.admin import KafkaAdminClient, NewTopic

    events, topic = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("events", "labels"))
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.create_topics([NewTopic(events, 1, 1), NewTopic(topic, 2, 1)])
    admin.close()
    rows = stream(2, 100, seed=5)
    draw(sqlite, 0, ITEMS)
    produce(kafka_bootstrap, topic, rows, 0, 1000)
    settings = config(bootstrap=kafka_bootstrap, labels_topic=topic, topics=[events], group=topic)
    assert drain(("ingest",), sqlite, settings, lambda: False)
    assert sum(end_of(sqlite)["records"].values()) == sum(map(len, rows.values()))
    assert drain(("ingest",), sqlite, settings, lambda: False), "with nothing left"
