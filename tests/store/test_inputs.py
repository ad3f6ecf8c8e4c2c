"""Bounded reads of sampled inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert

from monitor.store import inputs
from monitor.store.engine import Store, open_store
from monitor.store.tables import sample_content, sample_parts, samples
from monitor.times import HOUR_US, MINUTE_US


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url, migrate=False)
    yield opened
    opened.close()


def row(number: int, **changes: Any) -> dict[str, Any]:
    found = {
        "sample_id": f"{number:08x}", "event_id": f"e{number}", "topic": "t", "partition": 0, "offset": number,
        "time_us": number * MINUTE_US, "window_us": number * MINUTE_US, "route": "r", "segment": "a", "version": "",
        "session_key": "", "user_key": "", "pi": 0.5, "state": "embedded", "reason": "", "facts": "{}", "encoder": "e",
        "phash": None,
    }  # fmt: skip
    return {**found, **changes}


def fill(store: Store, count: int) -> None:
    with store.write() as connection:
        connection.execute(insert(samples), [row(i) for i in range(count)])
        connection.execute(insert(samples), [row(count, segment="b"), row(count + 1, pi=0.0)])
        parts = [
            {"sample_id": f"{i:08x}", "part": part, "modality": kind, "vector": b"\1\2", "conditions": "{}",
             "agreement": 0.5 if part == 0 else None}
            for i in range(0, count, 2) for part, kind in ((0, "image"), (1, "text"))
        ]  # fmt: skip
        connection.execute(insert(sample_parts), parts)
        content = {"time_us": 0, "inputs": "[]", "output": "[]", "citations": "[]"}
        connection.execute(
            insert(sample_content),
            [
                {"sample_id": f"{0:08x}", "thumbnail": b"\xff\xd8\xff", **content},
                {"sample_id": f"{2:08x}", "thumbnail": None, **content},
            ],
        )


def test_a_short_range_is_read_whole(store: Store) -> None:
    fill(store, 60)
    with store.read() as connection:
        found = inputs.inputs(connection, "a", 10 * MINUTE_US, 50 * MINUTE_US, 100)
        assert [one.sample.window_us // MINUTE_US for one in found.looked] == list(range(10, 50))
        assert (found.total, found.part) == (40, 1.0)
        assert found.looked[0].sample.parts == (("image", None, 0.5, "{}"), ("text", None, None, "{}"))
        assert found.looked[1].sample.parts == ()
        both = inputs.inputs(connection, None, 0, HOUR_US * 2, 100)
        assert Counter(one.sample.segment for one in both.looked) == {"a": 60, "b": 1}  # not what pi 0 kept for review
        full = inputs.with_vectors(connection, [one.sample for one in found.looked[:2]])
        assert [part[1] for part in full[0].parts] == [b"\1\2", b"\1\2"]
        assert len(full) == 1  # nothing is kept of the other
        kept = inputs.kept(connection, [f"{i:08x}" for i in (0, 1, 2, 999)])
        assert {name: one.pictured for name, one in kept.items()} == {
            f"{0:08x}": True, f"{1:08x}": False, f"{2:08x}": False
        }  # fmt: skip


def test_a_long_range_is_thinned_evenly_and_the_same_each_time(store: Store) -> None:
    count = 4000
    with store.write() as connection:
        connection.execute(insert(samples), [row(i) for i in range(count)])
    with store.read() as connection:
        found = inputs.inputs(connection, "a", 0, count * MINUTE_US, 1000)
        again = inputs.inputs(connection, "a", 0, count * MINUTE_US, 1000)
    assert found == again
    assert found.total == count
    assert found.part == pytest.approx(0.25, abs=0.002)
    chosen = [one.sample.window_us // MINUTE_US for one in found.looked]
    assert abs(len(chosen) - count / 4) <= 5
    by_hour = Counter(minute // 60 for minute in chosen)
    assert all(12 <= by_hour[hour] <= 18 for hour in range(count // 60))  # 15 on average
    of_hour = Counter(minute % 60 // 10 for minute in chosen)
    assert max(of_hour.values()) - min(of_hour.values()) <= 20  # of about 167
