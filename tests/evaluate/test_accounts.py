"""What stored summaries say of a change: the stage behind it, load, and parts of the bill that add up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.summaries import SummaryTable
from detectors.summaries.columns import Ragged
from monitor.evaluate import accounts
from monitor.evaluate.story import why
from monitor.store.engine import Store, open_store
from monitor.store.tables import summaries
from tests.evaluate.test_incidents import anomaly, fact
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, columns, set_watermark

AT = START_US + 8 * DAY_US + 9 * HOUR_US
END = AT + 6 * HOUR_US
SLOW_US = 3_000_000
NAMES = ["model", "queue"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    yield found
    found.close()


def fill(
    store: Store, from_us: int, to_us: int, *, version: str = "m@1", queue: float = 1.0, busy: bool = False,
    tokens: float = 1.0, price: float = 1.0, per_hour: int = 200, seed: int = 1,
) -> None:  # fmt: skip
    """Hours of independent events: ``queue`` multiplies the queue of a fifth of them, ``busy`` all of their latency
    through more requests at a time."""
    rng = np.random.default_rng([seed, from_us // HOUR_US])
    rows = []
    for window in range(from_us, to_us, HOUR_US):
        n = per_hour
        concurrency = rng.integers(1, 4, n) * (8 if busy else 1)
        model = (rng.lognormal(13.8, 0.3, n) * np.sqrt(concurrency)).astype(np.int64)
        wait = (rng.lognormal(11.0, 0.5, n) * np.where(rng.random(n) < 0.2, queue, 1.0)).astype(np.int64)
        events = np.repeat(np.arange(n, dtype=np.int32), 2)
        stages = Ragged(events, np.tile(np.array([0, 1], np.int32), n), np.column_stack([model, wait]).ravel(), NAMES)
        inputs, outputs = (rng.lognormal(mean, 0.4, n) * tokens for mean in (7.0, 5.5))
        inputs, outputs = inputs.astype(np.int64), outputs.astype(np.int64)
        cols = columns(
            n, rng, latency_total=model + wait, stages=stages, concurrency=concurrency, input_tokens=inputs,
            output_tokens=outputs, cost=((inputs + 4 * outputs) * 1000 * price).astype(np.int64),
        )  # fmt: skip
        table = SummaryTable()
        table.update(np.zeros(n, dtype=np.int64), cols)
        (state,) = table.states([0])
        rows.append(
            {
                "level": 0, "window_us": window, "route": "r", "segment": "s", "version": version, "late": False,
                "topic": "t", "partition": 0, "events": n, "state": state,
            }
        )  # fmt: skip
    with store.write() as connection:
        connection.execute(summaries.insert(), rows)
    set_watermark(store, to_us)


def told(**explained: Any) -> str:
    found = anomaly(fact("s")).explanation
    return why(type(found)(sentence="", tried={"sessions_now": 50}, **explained), "EUR")


def test_the_stage_behind_slow_requests(store: Store) -> None:
    fill(store, AT - DAY_US, AT)
    fill(store, AT, END, queue=60.0)
    found = accounts.stages(store, "s", AT, AT, END)
    assert [stage["stage"] for stage in found] == ["queue", "model"]
    assert found[0]["before"] < 0.2
    assert found[0]["now"] > 0.7
    assert "holds" in told(stages=found)
    assert "Stage queue holds" in told(stages=found)


def test_slower_at_the_same_load_and_more_load_are_told_apart(store: Store) -> None:
    fill(store, AT - DAY_US, AT)
    fill(store, AT, END, queue=60.0)
    slower = accounts.load(store, "s", SLOW_US, AT, AT, END)
    assert slower is not None
    assert slower["same_load"]["low"] > 0.1
    assert abs(slower["load"]["value"]) < 0.02
    assert told(load=slower).startswith("Requests are slower at the same load (")
    fill(store, END, END + 6 * HOUR_US, busy=True)
    loaded = accounts.load(store, "s", SLOW_US, AT, END, END + 6 * HOUR_US)
    assert loaded is not None
    assert loaded["load"]["value"] == pytest.approx(loaded["now"] - loaded["before"], abs=1e-5)
    assert told(load=loaded).startswith("There are more requests at a time (")


@pytest.mark.parametrize(
    ("change", "greatest"),
    [({"tokens": 2.0}, "units"), ({"price": 1.5}, "price"), ({"per_hour": 500}, "traffic")],
)
def test_parts_of_the_bill_add_up_and_name_what_changed(store: Store, change: dict[str, Any], greatest: str) -> None:
    fill(store, AT - 7 * DAY_US, AT)
    fill(store, AT, END, **change)
    found = accounts.bill(store, "s", AT - HOUR_US // 2, END + HOUR_US // 3)
    assert found is not None
    parts = {name: found[name] for name in ("traffic", "mix", "units", "tail", "price")}
    assert (found["against"], found["hours"]) == ("week", 6)
    assert sum(parts.values()) == pytest.approx(found["change"], rel=1e-4)
    assert max(parts, key=lambda name: abs(parts[name])) == greatest
    assert abs(parts[greatest]) > 0.6 * abs(found["change"])
    assert "The bill of 6 h is" in told(bill=found)
    assert "EUR against" in told(bill=found)


def test_without_a_week_the_day_before_is_compared_and_without_a_day_nothing(store: Store) -> None:
    fill(store, AT - 2 * DAY_US, END)
    found = accounts.bill(store, "s", AT, END)
    assert found is not None
    assert found["against"] == "day"
    assert accounts.bill(store, "s", AT - 2 * DAY_US, END) is None
    assert accounts.bill(store, "s", AT, AT + HOUR_US // 2) is None
    assert accounts.bill(store, "other", AT, END) is None
    assert accounts.stages(store, "other", AT, AT, END) == []
    assert accounts.load(store, "other", SLOW_US, AT, AT, END) is None
