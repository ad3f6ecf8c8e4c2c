from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, insert, select

from monitor.config.model import Config, Retention
from monitor.store import retention, review, rollups
from monitor.store.engine import Store, open_store
from monitor.store.export import export
from monitor.store.forget import forget_event, forget_user, is_forgotten
from monitor.store.partitions import PartitionCommit, claim, commit
from monitor.store.review import NewItem, PoolSums
from monitor.store.samples import sample_id
from monitor.store.secrets import hash_key, rendered, secret, user_key
from monitor.store.tables import (
    anomalies,
    dead_letters,
    labels,
    partitions,
    reference_samples,
    review_audit,
    review_items,
    review_pools,
    sample_content,
    sample_parts,
    samples,
)
from monitor.times import MINUTE_US
from samplers.pools import Pools, pools_of
from tests.store.traffic import DAY_US, START, TOPIC, Traffic

KEEP = Retention.model_validate({"minute": "3d", "hour": "6d", "samples": "20d", "content": "2d", "labels": "23d"})


def one_sample() -> Pools:
    one = np.array([0.25]), np.array([0.5]), np.array([0.1])
    return pools_of(*one, np.zeros(1, np.int64), 1)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = open_store(store_url)
    yield store
    store.close()


def exported(store: Store, kind: str, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in raw(store, kind, **options).splitlines()]


def raw(store: Store, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    export(store, kind, out, **options)
    return out.getvalue()


def sample_row(number: int, user: str = "", time_us: int = START) -> dict[str, Any]:
    return {
        "sample_id": f"s{number}",
        "event_id": f"e{number}",
        "topic": TOPIC,
        "partition": 0,
        "offset": number,
        "time_us": time_us,
        "window_us": time_us - time_us % MINUTE_US,
        "route": "r",
        "segment": "a",
        "version": "m@1",
        "session_key": "5" * 16,
        "user_key": user,
        "pi": 0.25,
        "state": "pending",
        "reason": "",
        "facts": '{"v":1}',
        "encoder": "",
        "phash": None,
    }


def content_row(number: int, time_us: int = START) -> dict[str, Any]:
    return {
        "sample_id": f"s{number}",
        "time_us": time_us,
        "inputs": '{"v":1,"parts":[]}',
        "output": "[]",
        "citations": "[]",
        "thumbnail": None,
    }


def letter_row(number: int, user: str = "", event_id: str = "", time_us: int = START) -> dict[str, Any]:
    return {
        "topic": TOPIC,
        "partition": 0,
        "offset": number,
        "reason": "too_late",
        "detail": "",
        "time_us": time_us,
        "event_id": event_id,
        "user_key": user,
        "key": None,
        "original": b"{}",
    }


def record(store: Store, offset: int, sample_rows: list[Any], content_rows: list[Any], letters: list[Any]) -> None:
    """A commit as the ingest worker makes it."""
    claimed = claim(store, TOPIC, 0, "w")
    commit(
        store,
        [
            PartitionCommit(
                topic=TOPIC,
                partition=0,
                generation=claimed.generation,
                from_offset=claimed.next_offset,
                next_offset=offset,
                watermark_us=START,
                max_time_us=START,
                begun=True,
                state=b"",
                events=0,
                duplicates=0,
                dead_letters=0,
                late_events=0,
                counters={},
                sample_rows=sample_rows,
                content_rows=content_rows,
                dead_letter_rows=letters,
            )
        ],
    )


def rows_of(store: Store, table: Any) -> int:
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


@pytest.mark.parametrize("by", ["user", "event"])
def test_what_a_reference_keeps_is_erased_though_retention_took_the_sample(store: Store, by: str) -> None:
    key = rendered(user_key(hash_key(store, None), "alice"))
    record(store, 20, [], [], [])
    with store.read() as connection:
        place = connection.execute(select(partitions.c.topic, partitions.c.partition)).first()
    assert place is not None
    rows = [(sample_id(place.topic, place.partition, "e1"), key), ("another", "b" * 16), ("older", None)]
    with store.write() as connection:
        for identity, user in rows:
            row = {"reference_id": "f", "sample_id": identity, "split": "fit", "vectors": b"x", "user_key": user}
            connection.execute(insert(reference_samples).values(row))
    erased = forget_user(store, Config(), "alice") if by == "user" else forget_event(store, "e1")
    assert erased["reference_samples"] == 1
    with store.read() as connection:
        assert set(connection.execute(select(reference_samples.c.sample_id)).scalars()) == {"another", "older"}


def test_a_forgotten_user_is_erased_everywhere_and_not_stored_again(store: Store) -> None:
    config = Config()
    key = rendered(user_key(hash_key(store, None), "alice"))
    mine, other = [sample_row(n, key) for n in (1, 2)], sample_row(3, "b" * 16)
    letters = [letter_row(10, key), letter_row(11, "b" * 16)]
    record(store, 20, [*mine, other], [content_row(n) for n in (1, 2, 3)], letters)
    with store.write() as connection:
        for number in (1, 3):
            part = {"sample_id": f"s{number}", "part": 0, "modality": "text", "vector": b"", "conditions": "{}"}
            connection.execute(insert(sample_parts).values(part | {"agreement": None}))
            connection.execute(
                insert(reference_samples).values(reference_id="f", sample_id=f"s{number}", split="fit", vectors=b"x")
            )
            user = key if number == 1 else "b" * 16
            item = NewItem(f"s{number}", f"e{number}", "a", "r", START, START, 0.25, 0.5, 0.5, 0.1, user_key=user)
            review.add(connection, [item], [PoolSums("a", START, one_sample())], now_us=1, expires_us=9)
    for number in (1, 3):
        review.import_label(store, f"e{number}", "ann", review.Label("wrong", note="of the user"), 2)

    assert forget_user(store, config, "alice") == {
        "labels": 1,
        "review_items": 1,
        "reference_samples": 1,
        "sample_content": 2,
        "sample_parts": 1,
        "samples": 2,
        "dead_letters": 1,
        "outbox": 0,
    }
    for table in (samples, sample_content, sample_parts, reference_samples, labels, dead_letters):
        assert rows_of(store, table) == 1
    assert rows_of(store, review_items) == 2
    item = review.item_id("s1")
    with store.read() as connection:
        kept = review.find_item(connection, item)
        (sums,) = review.pool_sums(connection, "a", 0, 2 * START)
    assert kept is not None
    assert (kept.state, kept.ended, kept.sample_id, kept.event_id) == ("removed", "forgotten", "", "")
    assert (kept.segment, kept.day_us, kept.pi_review, sums.sums.items.tolist()) == ("a", START, 0.5, [2.0])
    assert [(row.action, row.detail) for row in review.audit_of(store, item)] == [
        ("import", {"v": 1}),
        ("forget", {"v": 1}),
    ]
    with store.read() as connection:
        assert is_forgotten(connection, user=key)
        assert not is_forgotten(connection, user="b" * 16)

    # The same records, read again.
    record(store, 40, mine, [content_row(n) for n in (1, 2)], [letter_row(10, key)])
    assert rows_of(store, samples) == 1
    assert rows_of(store, sample_content) == 1
    with store.write() as connection:  # and a tick that had read the sample before draws it
        again = [NewItem(f"s{n}", f"e{n}", "a", "r", START, START, 0.25, 0.5, 0.5, 0.1, user_key=key) for n in (1, 2)]
        assert review.add(connection, again, [], now_us=1, expires_us=9) == 1
    with store.read() as connection:
        for number in (1, 2):
            kept_item = review.find_item(connection, review.item_id(f"s{number}"))
            assert kept_item is not None
            assert (kept_item.ended, kept_item.event_id) == ("forgotten", "")
    with store.read() as connection:
        kept = connection.execute(select(dead_letters).where(dead_letters.c.offset == 10)).one()
    assert (kept.original, kept.user_key) == (None, "")
    assert sum(forget_user(store, config, "alice").values()) == 0


def test_an_event_is_forgotten_in_the_queue_though_retention_took_the_sample(store: Store) -> None:
    key = rendered(user_key(hash_key(store, None), "alice"))
    with store.write() as connection:
        items = [NewItem(f"s{n}", f"e{n}", "a", "r", START, START, 0.25, 0.5, 0.5, 0.1, user_key=key) for n in (1, 2)]
        review.add(connection, items, [], now_us=1, expires_us=10**17)
    for event in ("e1", "e2", "e3"):
        assert review.import_label(store, event, "ann", review.Label("wrong"), 2).outcome != "forgotten"
    erased = forget_event(store, "e1")
    assert (erased["review_items"], erased["labels"]) == (1, 1)
    assert forget_event(store, "e3")["labels"] == 1
    erased = forget_user(store, Config(), "alice")
    assert (erased["review_items"], erased["labels"]) == (1, 1)
    assert rows_of(store, labels) == 0
    assert review.import_label(store, "e1", "bob", review.Label("wrong"), 3).outcome == "forgotten"
    with store.read() as connection:
        details = connection.execute(select(review_audit.c.detail)).scalars().all()
    assert not any("wrong" in detail or "e3" in detail for detail in details)


def test_a_forgotten_event_is_erased_and_not_stored_again(store: Store) -> None:
    record(store, 20, [sample_row(1), sample_row(2)], [content_row(1), content_row(2)], [letter_row(5, event_id="e9")])
    assert forget_event(store, "e1")["samples"] == 1
    assert forget_event(store, "e9")["dead_letters"] == 1
    assert forget_event(store, "unknown")["samples"] == 0
    record(store, 30, [sample_row(1)], [content_row(1)], [])
    assert [line["event"] for line in exported(store, "samples")] == ["e2"]


def test_the_secret_is_made_once(store: Store) -> None:
    assert secret(store) == secret(store)
    assert hash_key(store, None) == hash_key(store, None) != hash_key(store, "configured")
    assert 0 < user_key(hash_key(store, None), "x") < 2**64


def fill(store: Store, order: random.Random, upkeep_every: int) -> Traffic:
    """The same traffic whatever ``order`` and how often roll-ups run."""
    generator = random.Random(11)
    traffic = Traffic(store)
    traffic.watermark(0, START)
    traffic.watermark(1, START)
    retention.run(store, KEEP)
    for step in range(40):
        for partition in (0, 1):
            traffic.advance(generator, partition, 7 * DAY_US // 24)
        if step % upkeep_every == 0:
            rollups.run(store, allowed_lateness_us=DAY_US, timezone="Europe/Berlin", limit=order.choice((None, 5)))
            retention.run(store, KEEP)
    return traffic


def test_two_runs_export_the_same_bytes_whatever_was_rolled_up_when(tmp_path: Path) -> None:
    stores = [open_store(f"sqlite:///{tmp_path / name}") for name in ("a.db", "b.db")]
    fill(stores[0], random.Random(1), 1)
    traffic = fill(stores[1], random.Random(2), 9)
    first, second = (raw(store, "summaries") for store in stores)
    assert first == second
    lines = [json.loads(line) for line in first.splitlines()]
    assert {line["level"] for line in lines} == {"minute", "hour", "day"}
    assert sum(line["events"] for line in lines) == traffic.expected(0, 10**17).events()
    assert sum(line["totals"]["cost"][1] for line in lines) == traffic.expected(0, 10**17).total("cost").sum
    for store in stores:
        store.close()


def test_one_event_more_shows_in_the_export(tmp_path: Path) -> None:
    stores = [open_store(f"sqlite:///{tmp_path / name}") for name in ("a.db", "b.db")]
    for store, costs in zip(stores, ([5, 9], [6, 8]), strict=True):
        traffic = Traffic(store)
        traffic.watermark(0, START)
        traffic.write(0, START, costs, late=False)
    (one,), (two,) = (exported(store, "summaries") for store in stores)
    assert one["totals"]["cost"] == two["totals"]["cost"] == [2, 14]
    assert one["cells"] != two["cells"]
    for store in stores:
        store.close()


def test_samples_and_anomalies_carry_nothing_of_the_run(store: Store) -> None:
    record(store, 20, [sample_row(2, "a" * 16), sample_row(1)], [content_row(1)], [])
    with store.write() as connection:
        part = {"sample_id": "s1", "part": 0, "modality": "text", "vector": b"\x00\x3c", "conditions": '{"v":1}'}
        connection.execute(insert(sample_parts).values(part | {"agreement": 0.5}))
        row = {"anomaly_id": "x", "owner": "o", "segment": "a", "signal": "cost_p95", "state": "open"}
        row |= {"severity": "page", "historic": True, "opened_us": START, "updated_us": START, "resolved_us": None}
        connection.execute(insert(anomalies).values(row | {"document": '{"historic":true,"format":1,"facts":[]}'}))
    lines = exported(store, "samples")
    assert [line["offset"] for line in lines] == [1, 2]
    assert not {"session_key", "user_key"} & set(lines[0])
    assert lines[0]["content"]["inputs"] == {"v": 1, "parts": []}
    assert "vector" not in lines[0]["parts"][0]
    assert exported(store, "samples", vectors=True)[0]["parts"][0]["vector"] == "ADw="
    assert exported(store, "samples", from_us=START + MINUTE_US) == []
    (anomaly,) = exported(store, "anomalies")
    assert (anomaly["signal"], "historic" in anomaly) == ("cost_p95", False)
    with pytest.raises(ValueError, match="summaries, samples, anomalies"):
        raw(store, "tokens")


def test_each_kind_has_its_retention(store: Store) -> None:
    old, new = START, START + 25 * DAY_US
    record(
        store,
        20,
        [sample_row(1, time_us=old), sample_row(2, time_us=new), sample_row(3, time_us=START + 10 * DAY_US)],
        [content_row(1, old), content_row(2, new), content_row(3, START + 10 * DAY_US)],
        [letter_row(8, time_us=old - 10 * DAY_US), letter_row(9, time_us=new)],
    )
    with store.write() as connection:
        for name, resolved in (("x", START - 900 * DAY_US), ("y", None), ("z", START)):
            row = {"anomaly_id": name, "owner": "o", "segment": "a", "signal": "s", "state": "open"}
            row |= {"severity": "page", "historic": True, "opened_us": 0, "updated_us": 0, "resolved_us": resolved}
            connection.execute(insert(anomalies).values(row | {"document": "{}"}))
    traffic = Traffic(store, watermarks={0: START})
    traffic.watermark(0, START + 25 * DAY_US)
    before = raw(store, "samples")
    with store.write() as connection:
        for day in (old, old + DAY_US, new):
            item = NewItem(f"s{day}", f"e{day}", "a", "r", day, day, 0.25, 0.5, 0.5, 0.1)
            sums = PoolSums("a", day, one_sample())
            review.add(connection, [item], [sums], now_us=1, expires_us=9)
    for event in (f"e{old}", f"e{new}", "unknown"):
        review.import_label(store, event, "ann", review.Label("wrong"), new)
    deleted = retention.run(store, KEEP)
    assert deleted["labels"] == 1
    for table, rows in ((review_items, 2), (review_pools, 2), (labels, 2), (review_audit, 2)):
        assert rows_of(store, table) == rows
    assert (deleted["samples"], deleted["content"], deleted["dead_letters"], deleted["anomalies"]) == (1, 1, 1, 1)
    assert before != raw(store, "samples")
    assert [line["content"] is None for line in exported(store, "samples")] == [True, False]
    assert sum(retention.run(store, KEEP).values()) == 0
