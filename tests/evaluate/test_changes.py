"""The list of changes of a past period: its hours judged again from stored rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import delete, select

from monitor.cli import main
from monitor.config.model import Config, Retention
from monitor.evaluate import building
from monitor.evaluate.changes import Changes, PeriodError, changes
from monitor.evaluate.worker import EvaluateWorker
from monitor.store import references, retention, rollups
from monitor.store.engine import Store, open_store
from monitor.store.tables import metadata, summaries
from monitor.times import iso, parse_time
from tests.evaluate.null_traffic import lives, write_null
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, Change, Segment, write

JUDGED = START_US + 7 * DAY_US  # the end of the references
END = START_US + 14 * DAY_US
AT = START_US + 9 * DAY_US + 9 * HOUR_US
SEGMENTS = [
    Segment("calm", 80.0),
    Segment("broken", 80.0, changes=(Change(AT, AT + 12 * HOUR_US, rates={"schema_violation": 0.2}),)),
    Segment("slow", 60.0, changes=(Change(AT + DAY_US, slow_share=0.6, slow=6.0),)),
    Segment("small", 50.0, changes=(Change(AT, AT + 20 * HOUR_US, volume=0.05),)),
]


def evaluate(store: Store, now_us: int) -> None:
    worker = EvaluateWorker(store, Config(), clock=lambda: now_us / 1e6)
    worker.drain()
    worker.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two weeks, the second one judged."""
    found = tmp_path_factory.mktemp("changes") / "d.db"
    store = open_store(f"sqlite:///{found}")
    evaluate(store, write(store, SEGMENTS, days=14))
    store.close()
    return found


@pytest.fixture
def store(path: Path, tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "copy.db").write_bytes(path.read_bytes())
    found = open_store(f"sqlite:///{tmp_path / 'copy.db'}", migrate=False)
    yield found
    found.close()


def named(found: Changes) -> dict[tuple[str, str], Any]:
    return {(one.segment, one.signal): one for one in found.changes}


def test_what_was_planted_is_listed_though_it_went_again(store: Store) -> None:
    found = changes(store, Config(), JUDGED, END, 0.1)
    listed = named(found)
    assert {segment for segment, _ in listed} == {"broken", "slow", "small"}
    broken = listed["broken", "schema_violation_rate"]
    assert parse_time(broken.since_low) <= AT <= parse_time(broken.since_high) + HOUR_US
    assert broken.until is not None
    assert AT + 10 * HOUR_US <= parse_time(broken.until) <= AT + 30 * HOUR_US
    assert broken.e_value >= found.streams / (0.1 * len(found.changes))
    assert broken.value == pytest.approx(0.2, abs=0.08)
    assert broken.sentence.startswith("The share of answers that break the schema in broken rose from ")
    assert listed["slow", "latency_total_p95"].until is None
    assert listed["small", "volume"].until is not None
    assert (found.since, found.until) == (iso(JUDGED), iso(END))
    assert found.without_reference == []
    assert found.gaps == []


def test_anomalies_of_the_same_streams_are_named(store: Store) -> None:
    with store.read() as connection:
        rows = connection.execute(select(metadata.tables["anomalies"])).all()
    opened = {(row.segment, row.signal): row.anomaly_id for row in rows}
    found = named(changes(store, Config(), JUDGED, END, 0.1))
    assert found["broken", "schema_violation_rate"].anomaly == opened["broken", "schema_violation_rate"]


def test_it_tells_how_far_it_is(store: Store) -> None:
    told: list[float] = []
    changes(store, Config(), JUDGED, END, 0.1, told.append)
    assert told == sorted(told)
    assert (len(told), told[-1]) == (7 * 8, 1.0)


def test_years_before_the_first_event_are_not_looked_at(store: Store) -> None:
    told: list[float] = []
    found = changes(store, Config(), START_US - 3650 * DAY_US, END, 0.1, told.append)
    assert (len(told), told[-1]) == (14 * 8, 1.0), "from the first window on"
    assert found.gaps == []
    planted = {(one.segment, one.signal) for one in found.changes}
    assert ("broken", "schema_violation_rate") in planted


def test_a_smaller_rate_lists_no_more(store: Store) -> None:
    strict, loose = (set(named(changes(store, Config(), JUDGED, END, level))) for level in (0.001, 0.3))
    assert strict <= loose
    assert ("broken", "schema_violation_rate") in strict


def test_before_the_change_there_is_none(store: Store) -> None:
    assert changes(store, Config(), JUDGED, AT // HOUR_US * HOUR_US, 0.1).changes == []


def test_nothing_is_written(store: Store) -> None:
    def everything() -> list[Any]:
        with store.read() as connection:
            return [[tuple(r) for r in connection.execute(select(table))] for table in metadata.sorted_tables]

    before = everything()
    changes(store, Config(), JUDGED, END, 0.1)
    assert everything() == before


def test_rolled_up_hours_give_the_same(store: Store) -> None:
    """Minutes are deleted after a while; hours tell the same."""
    before = changes(store, Config(), JUDGED, END, 0.1)
    while rollups.run(store, allowed_lateness_us=0, timezone="UTC"):
        pass
    with store.write() as connection:
        connection.execute(delete(summaries).where(summaries.c.level == 0, summaries.c.window_us < END - DAY_US))
    assert changes(store, Config(), JUDGED, END, 0.1) == before


def test_hours_that_are_no_longer_kept_are_said(store: Store) -> None:
    while rollups.run(store, allowed_lateness_us=0, timezone="UTC"):
        pass
    retention.run(store, Retention.model_validate({"minute": "1d", "hour": "3d", "day": "800d"}))
    found = changes(store, Config(), JUDGED, END, 0.1)
    assert len(found.gaps) == 1
    assert found.gaps[0][0] == iso(JUDGED)
    assert all(low < high for low, high in found.gaps)
    assert ("broken", "schema_violation_rate") not in named(found)


def test_on_both_stores(store_url: str) -> None:
    store = open_store(store_url)
    at = START_US + 7 * DAY_US + 12 * HOUR_US
    segment = Segment("broken", 60.0, changes=(Change(at, at + 8 * HOUR_US, rates={"error": 0.3}),))
    evaluate(store, write(store, [segment], days=8))
    found = changes(store, Config(), JUDGED, START_US + 8 * DAY_US, 0.1)
    store.close()
    assert [(one.segment, one.signal) for one in found.changes] == [("broken", "error_rate")]


def test_a_period_is_judged_by_the_reference_that_it_began_with(store: Store) -> None:
    """A newer reference was learned from the change itself: it says nothing of the days it was made of."""
    before = named(changes(store, Config(), JUDGED, END, 0.1))
    (built,) = building.build(store, Config(), AT + DAY_US, END - DAY_US, "slow")
    references.approve(store, built.reference_id)
    references.activate(store, built.reference_id)
    after = named(changes(store, Config(), JUDGED, END, 0.1))
    assert after["slow", "latency_total_p95"] == before["slow", "latency_total_p95"]


def test_judged_from_the_end_of_the_first_reference_on(store: Store) -> None:
    """A period that begins while references are learned: those hours are no evidence."""
    whole = changes(store, Config(), START_US, END, 0.1)
    assert set(named(whole)) == set(named(changes(store, Config(), JUDGED, END, 0.1)))


def test_weeks_without_a_change(tmp_path: Path) -> None:
    """All kinds of streams, days that differ by 15 %: an expected share of 0.1 of lists with anything, over two."""
    import numpy as np

    listed = 0
    for seed in (1, 2):
        store = open_store(f"sqlite:///{tmp_path / str(seed)}.db")
        rng = np.random.default_rng(seed)
        population = lives(4, days=14, day_sd=0.15, embedded=2, rng=rng, passing=False)
        evaluate(store, write_null(store, population, days=14, seed=seed))
        found = changes(store, Config(), JUDGED + HOUR_US, END, 0.1)
        assert {"image_drift", "agreement", "volume"} <= signals(store)
        assert found.streams > 60
        listed += len(found.changes) > 0
        store.close()
    assert listed == 0


def signals(store: Store) -> set[str]:
    with store.read() as connection:
        return set(connection.execute(select(metadata.tables["stream_states"].c.signal)).scalars())


@pytest.mark.parametrize(
    ("begin", "end", "say"),
    [(END - 60, END - 50, "no full hour"), (JUDGED, END + DAY_US, "not evaluated yet"), (END, JUDGED, "no full hour")],
)
def test_periods_that_cannot_be_judged(store: Store, begin: int, end: int, say: str) -> None:
    with pytest.raises(PeriodError, match=say):
        changes(store, Config(), begin, end, 0.1)


def test_an_empty_store(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/e.db")
    with pytest.raises(PeriodError, match="nothing is evaluated yet"):
        changes(store, Config(), JUDGED, END, 0.1)
    store.close()


def test_the_command(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "driftline.yaml"
    config.write_text(json.dumps({"kafka": {"topics": ["t"]}, "store": {"url": f"sqlite:///{path}"}}))

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["changes", "--config", str(config), *arguments])

    told = call("--from", "2026-01-12", "--to", "2026-01-19")
    assert told.exit_code == 0, told.output
    assert (
        "streams changed between 2026-01-12T00:00:00Z and 2026-01-19T00:00:00Z, at a false discovery rate"
        in told.output
    )
    assert "The share of answers that break the schema in broken rose from" in told.output
    found = json.loads(call("--from", "2026-01-12", "--to", "2026-01-19", "--fdr", "0.01", "--json").output)
    assert found["false_discovery_rate"] == 0.01
    assert "give an earlier --to" in call("--from", "2026-01-12", "--to", "2026-02-19").output
    assert call("--from", "soon", "--to", "2026-02-19").exit_code == 2
    assert call("--from", "2026-01-12", "--to", "2026-01-19", "--fdr", "1").exit_code == 2
