"""Dead letters that are read again: each becomes an event once or not at all, whoever dies meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, update

from detectors.summaries import Summary
from monitor.ingest.consumer import TopicPartition
from monitor.ingest.worker import IngestWorker
from monitor.store import reads, retries, tables
from monitor.store.engine import Store, open_store
from monitor.store.partitions import status
from tests.ingest import streams
from tests.ingest.memory_source import MemoryLog, MemorySource, Record

TP = TopicPartition(streams.TOPIC, 0)
NOW_MS = streams.START_MS
LARGE = 3000
ROOMY = {"max_record": 100_000}


def event(name: str, at_ms: int, filler: int = 0) -> Record:
    document: dict[str, Any] = {"id": name, "time": at_ms, "route": "chat", "attributes": {"x": "y" * filler}}
    return at_ms, b"k", json.dumps(document).encode()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def log() -> MemoryLog:
    """Ten events, of which the fourth is too large for `NARROW`, one no JSON and one from the day before yesterday."""
    rows = [event(f"e{i}", NOW_MS + i * 1000) for i in range(10)]
    rows[3] = event("large", NOW_MS + 3000, LARGE)
    rows[5] = (NOW_MS + 5000, b"k", b"{")
    rows[7] = (NOW_MS + 7000, b"k", event("old", NOW_MS - 100_000_000)[2])
    return MemoryLog({TP: rows})


NARROW = {"max_record": LARGE}


def worker(store: Store, log: MemoryLog, **kafka: Any) -> IngestWorker:
    """One that is up to date."""
    found = IngestWorker(streams.config(**kafka), store, source=MemorySource(log))
    while not found.caught_up():
        found.step(0)
    found.flush()
    return found


def ask(store: Store, *offsets: int) -> int:
    with store.write() as connection:
        return retries.ask(connection, [(*TP, offset) for offset in offsets], [TP.topic], "Ada", 1_000_000)


def said(store: Store, offset: int) -> list[tuple[str, str]]:
    with store.read() as connection:
        return [(one.state, one.reason) for one in retries.history(connection, *TP, offset)]


def events(store: Store) -> int:
    """Of all summaries, which must agree with the counter."""
    merged = reads.merged_with_notes(store, 0, 2**60)
    assert merged.events == status(store)["events"]
    assert merged.summary.events() == merged.events
    return merged.events


def test_a_letter_that_is_readable_by_now_enters_once_and_late(store: Store, log: MemoryLog) -> None:
    first = worker(store, log, **NARROW)
    assert events(store) == 7
    assert ask(store, 3, 5, 7, 4) == 3, "the fourth record is no dead letter"
    assert ask(store, 3) == 0, "it waits already"
    first.retry()
    assert [said(store, at) for at in (3, 5, 7)] == [
        [("refused", "oversize")], [("refused", "malformed_json")], [("refused", "too_late")]
    ]  # fmt: skip
    assert events(store) == 7
    with store.read() as connection:
        assert retries.open_by_reason(connection) == {"malformed_json": 1, "oversize": 1, "too_late": 1}
    watermark = first._owned[TP].watermark_us
    second = worker(store, log, **ROOMY)
    assert ask(store, 3) == 1
    for _ in range(3):
        second.retry()
    assert said(store, 3) == [("refused", "oversize"), ("entered", "")]
    assert events(store) == 8
    assert second._owned[TP].watermark_us == watermark
    with store.read() as connection:
        (late,) = connection.execute(select(tables.summaries).where(tables.summaries.c.late)).all()
        assert Summary.from_state(late.state).events(thinned=True) == 0, "detectors do not bet on it"
        assert retries.open_by_reason(connection) == {"malformed_json": 1, "too_late": 1}
        (entered,) = [one for one in retries.history(connection, *TP, 3) if one.state == "entered"]
        assert (entered.who, entered.asked_us) == ("Ada", 1_000_000)
        assert entered.done_us
    assert ask(store, 3) == 0, "it is an event"


def test_who_dies_before_the_commit_has_entered_nothing(store: Store, log: MemoryLog) -> None:
    worker(store, log, **NARROW)
    ask(store, 3)
    dying = worker(store, log, **ROOMY)
    with store.read() as connection:
        found = retries.waiting(connection, [TP])
    dying._owned[TP].retry(found, lambda offsets: set())
    taking_over = worker(store, log, **ROOMY)
    taking_over.retry()
    dying.flush()  # fenced: what it held goes nowhere
    assert said(store, 3) == [("entered", "")]
    assert events(store) == 8


@pytest.mark.parametrize("restarted", [False, True])
def test_a_copy_that_comes_later_is_a_duplicate(store: Store, log: MemoryLog, restarted: bool) -> None:
    worker(store, log, **NARROW)
    ask(store, 3)
    found = worker(store, log, **ROOMY)
    found.retry()
    log.partitions[TP].append(event("large", NOW_MS + 3000))
    again = worker(store, log, **ROOMY) if restarted else found
    while not again.caught_up():
        again.step(0)
    again.flush()
    assert events(store) == 8
    assert status(store)["duplicates"] == 1


def test_a_letter_whose_event_came_again_by_itself_is_a_duplicate(store: Store, log: MemoryLog) -> None:
    log.partitions[TP].append(event("large", NOW_MS + 3000))  # sent again, shorter
    worker(store, log, **NARROW)
    assert events(store) == 8
    ask(store, 3)
    worker(store, log, **ROOMY).retry()
    assert said(store, 3) == [("duplicate", "")]
    assert events(store) == 8


def test_two_letters_of_one_event_enter_once(store: Store, log: MemoryLog) -> None:
    log.partitions[TP].append(event("large", NOW_MS + 3000, LARGE))
    worker(store, log, **NARROW)
    ask(store, 3, 10)
    worker(store, log, **ROOMY).retry()
    assert sorted(said(store, 3) + said(store, 10)) == [("duplicate", ""), ("entered", "")]
    assert events(store) == 8


def test_of_an_event_that_was_too_late_twice_neither_is_its_own_duplicate(store: Store, log: MemoryLog) -> None:
    """Both records' ids are remembered, and neither was counted."""
    log.partitions[TP].append((NOW_MS + 11_000, b"k", event("old", NOW_MS - 100_000_000)[2]))
    worker(store, log, **NARROW)
    ask(store, 7)
    worker(store, log, **NARROW, allowed_lateness="40h").retry()
    assert said(store, 7) == [("entered", "")]


def test_bytes_that_are_gone_and_letters_that_are_not_there(store: Store, log: MemoryLog) -> None:
    worker(store, log, **NARROW)
    ask(store, 3)
    with store.write() as connection:
        connection.execute(update(tables.dead_letters).values(original=None))
    assert ask(store, 5) == 0
    worker(store, log, **ROOMY).retry()
    assert said(store, 3) == [("refused", "gone")]


def test_it_is_looked_for_while_records_come(store: Store, log: MemoryLog) -> None:
    worker(store, log, **NARROW)
    ask(store, 3)
    now = [0.0]
    found = IngestWorker(streams.config(**ROOMY), store, source=MemorySource(log), monotonic=lambda: now[0])
    for _ in range(8):
        found.step(0)
        now[0] += 1.0
    assert said(store, 3) == [("entered", "")]
