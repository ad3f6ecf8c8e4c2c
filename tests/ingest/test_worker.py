"""The whole ingest path on a log in memory: what is in the store is a function of the log alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from monitor.ingest.consumer import TopicPartition
from monitor.ingest.worker import IngestWorker
from monitor.store import tables
from monitor.store.engine import Store, StoreUnavailable, open_store
from monitor.store.partitions import status
from tests.ingest import streams
from tests.ingest.contents import contents, differences
from tests.ingest.memory_source import MemoryLog, MemorySource, Record

Log = dict[TopicPartition, list[Record]]


def run(store: Store, log: Log, cut: Callable[[], int] = lambda: 700, **kafka: object) -> IngestWorker:
    worker = IngestWorker(streams.config(**kafka), store, source=MemorySource(MemoryLog(log), cut))
    while not worker.caught_up():
        worker.step(0)
    worker.drain()
    return worker


@pytest.fixture(scope="module")
def log() -> Log:
    return streams.stream(1, 1500)


@pytest.fixture(scope="module")
def expected(log: Log, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('expected') / 'driftline.db'}")
    run(store, log)
    found = contents(store)
    store.close()
    assert all(found[name] for name in found if name != "sample_parts"), "the stream must touch every table"
    return found


@settings(max_examples=4)
@given(
    seed=st.integers(0, 2**32), most=st.sampled_from([1, 3, 40, 1000, 5000]), commit=st.sampled_from([1, 97, 10_000])
)
def test_how_batches_are_cut_changes_nothing(
    log: Log,
    expected: dict[str, list[str]],
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    most: int,
    commit: int,
) -> None:
    if most == 1 and commit == 1:
        commit = 50  # one commit a record only takes longer
    rng = random.Random(seed)
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('cut') / 'driftline.db'}")
    run(store, log, lambda: rng.randint(1, most), commit_records=commit)
    found = contents(store)
    store.close()
    found["config_versions"] = expected["config_versions"]  # commit_records is part of it
    assert not differences(expected, found)


def test_a_new_owner_goes_on_where_the_last_commit_ended(
    log: Log, expected: dict[str, list[str]], store_url: str
) -> None:
    store = open_store(store_url)
    shared = MemoryLog(log)
    rng = random.Random(3)
    for _ in range(12):  # each dies without a word somewhere after its last commit
        worker = IngestWorker(streams.config(), store, source=MemorySource(shared, lambda: rng.randint(1, 300)))
        for _ in range(rng.randrange(1, 9)):
            worker.step(0)
    worker = run(store, log)
    assert not differences(expected, contents(store))
    store.close()


def test_a_stale_owner_writes_nothing(log: Log, expected: dict[str, list[str]], store_url: str) -> None:
    store = open_store(store_url)
    shared = MemoryLog(log)
    stale = IngestWorker(streams.config(commit_records=1_000_000), store, source=MemorySource(shared))
    stale.step(0)
    stale.step(0)
    run(store, log)
    before = contents(store)
    stale.flush()  # its claim is not the latest any more
    assert stale.owned == ()
    assert contents(store) == before
    assert not differences(expected, contents(store))
    store.close()


def test_rebalances_in_mid_batch_change_nothing(log: Log, expected: dict[str, list[str]], store_url: str) -> None:
    store = open_store(store_url)
    shared = MemoryLog(log)
    rng = random.Random(5)
    sources = [MemorySource(shared, lambda: rng.randint(1, 200)) for _ in range(2)]
    workers = [IngestWorker(streams.config(), store, source=source) for source in sources]
    everything = sorted(log)
    for worker in workers:
        worker.step(0)
    for _ in range(25):
        for source, share in zip(
            sources,
            rng.choice(
                [(everything, []), ([], everything), (everything[:1], everything[1:]), (everything[1:], everything[:1])]
            ),
            strict=True,
        ):
            source.rebalance(share)
        for worker in workers:
            for _ in range(rng.randrange(3)):
                worker.step(0)
    sources[0].rebalance(everything)
    sources[1].rebalance([])
    workers[1].step(0)
    workers[0].step(0)
    while not workers[0].caught_up():
        workers[0].step(0)
    workers[0].drain()
    assert not differences(expected, contents(store))
    store.close()


def test_a_store_that_is_away_for_a_while_loses_nothing(
    log: Log, expected: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    write, read = store.write, store.read
    away = cycle((True, True, True, False))  # every piece of work succeeds at its fourth try

    def flaky(real: Callable[[], object]) -> Callable[[], object]:
        def call() -> object:
            if next(away):
                raise StoreUnavailable("away")
            return real()

        return call

    monkeypatch.setattr("monitor.ingest.worker.BACKOFF_S", (0.0,))
    monkeypatch.setattr(store, "write", flaky(write))
    monkeypatch.setattr(store, "read", flaky(read))
    worker = run(store, log)
    monkeypatch.undo()
    assert worker.store_failures > 5
    assert not differences(expected, contents(store))
    store.close()


def test_every_bad_record_has_its_outcome_and_counter(tmp_path: Path) -> None:
    good = json.dumps({"id": "x", "time": streams.START_MS, "route": "r"}).encode()
    rows: list[Record] = [(streams.START_MS, None, good)]
    rows += [(streams.START_MS, b"key", value) for value in streams.BROKEN]
    rows += [
        (streams.START_MS, None, json.dumps({"id": "f", "time": streams.START_MS + 601_000, "route": "r"}).encode()),
        (streams.START_MS, None, json.dumps({"id": "l", "time": streams.START_MS - 86_431_000, "route": "r"}).encode()),
        (streams.START_MS, None, json.dumps({"id": "y", "time": streams.START_MS, "route": "r"}).encode()),
    ]
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    run(store, {TopicPartition(streams.TOPIC, 0): rows})
    with store.read() as connection:
        letters = connection.execute(select(tables.dead_letters).order_by(tables.dead_letters.c.offset)).all()
        outbox = connection.execute(select(tables.outbox)).all()
    assert [(letter.reason, letter.original) for letter in letters] == list(
        zip(
            [
                "tombstone",
                "malformed_json",
                "malformed_json",
                "malformed_json",
                "invalid_field",
                "invalid_utf8",
                "oversize",
                "invalid_field",
                "implausible_time",
                "implausible_time",
                "invalid_field",
                "malformed_json",
                "future_time",
                "too_late",
            ],
            [row[2] for row in rows[1:-1]],
            strict=True,
        )
    )
    assert "usage.input_tokens" in letters[4].detail
    assert "`id`" in letters[10].detail
    found = status(store)
    assert (found["events"], found["dead_letters"], found["offsets"]) == (2, 14, {"inference/0": len(rows)})
    assert sum(value for name, value in found["counters"].items() if name.startswith("dead_letter_")) == 14
    assert {row.key for row in outbox} == {f"inference/0/{letter.offset}" for letter in letters}
    assert all("original" not in json.loads(row.payload) for row in outbox)
    store.close()


def test_a_reload_takes_effect_between_batches_and_its_version_is_stored(tmp_path: Path) -> None:
    tp = TopicPartition(streams.TOPIC, 0)
    log: Log = {tp: [streams.plain(i, streams.START_MS + i * 1000) for i in range(400)]}
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    config = streams.config(commit_records=10_000)
    worker = IngestWorker(config, store, version="one", document="{}", source=MemorySource(MemoryLog(log), lambda: 100))
    for _ in range(3):
        worker.step(0)
    rule = {"segments": {"rules": [{"name": "renamed", "route": "r"}]}}
    worker.reload(config.model_copy(update=dict(type(config).model_validate(rule))), version="two", document="{}")
    while not worker.caught_up():
        worker.step(0)
    worker.flush()
    with store.read() as connection:
        versions = {row.version: row.first_window_us for row in connection.execute(select(tables.config_versions))}
        counted: dict[str, int] = {}
        for row in connection.execute(select(tables.summaries.c.segment, tables.summaries.c.events)):
            counted[row.segment] = counted.get(row.segment, 0) + row.events
    assert set(versions) == {"one", "two"}
    assert versions["one"] < versions["two"]
    assert counted == {"r": 200, "renamed": 200}
    store.close()


def test_the_forgotten_are_not_kept_again(tmp_path: Path) -> None:
    from monitor.store.partitions import forgotten_event_key
    from monitor.store.secrets import hash_key, rendered, user_key

    log = streams.stream(9, 1500, partitions=1)
    (rows,) = log.values()
    rows.append((streams.START_MS, b"u7", b'{"id": "bad", "user_id": "u7", "time": 1, "route": 3}'))
    whole, partly = (open_store(f"sqlite:///{tmp_path / name}.db") for name in ("whole", "partly"))
    run(whole, log)
    with whole.read() as connection:
        all_samples = connection.execute(select(tables.samples.c.event_id, tables.samples.c.user_key)).all()
    user = rendered(user_key(hash_key(partly, "test"), "u7"))
    assert any(row.user_key == user for row in all_samples)
    event = next(row.event_id for row in all_samples if row.user_key != user)
    with partly.write() as connection:
        partly.insert_ignore(
            connection,
            tables.forgotten,
            [
                {"kind": "user", "key": user, "time_us": 0},
                {"kind": "event", "key": forgotten_event_key(event), "time_us": 0},
            ],
        )
    run(partly, log)
    with partly.read() as connection:
        kept = connection.execute(select(tables.samples.c.event_id, tables.samples.c.user_key)).all()
        letters = connection.execute(select(tables.dead_letters)).all()
        contents_kept = connection.execute(select(tables.sample_content.c.sample_id)).all()
    assert set(kept) == {row for row in all_samples if row.user_key != user and row.event_id != event}
    assert len(contents_kept) == len(kept)
    assert not any(letter.user_key == user for letter in letters)
    assert any(letter.detail == "forgotten" and letter.original is None for letter in letters)
    assert status(partly)["dead_letters"] == status(whole)["dead_letters"]
    whole.close()
    partly.close()


def test_nothing_sensitive_is_stored_of_a_sample(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    run(store, streams.stream(9, 600, partitions=1))
    with store.read() as connection:
        rows = connection.execute(select(tables.samples)).all()
        kept = connection.execute(select(tables.sample_content)).all()
    text = repr(rows) + repr(kept)
    assert rows
    for secret in ("x@example.com", "a.b@example.com", "4111"):
        assert secret not in text
    assert "[email]" in text
    assert "[card]" in text
    assert all(row.user_key not in {f"u{i}" for i in range(40)} for row in rows)
    store.close()
