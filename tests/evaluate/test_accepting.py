"""What people accept as the new normal is over, stays silent, and is judged anew once there is enough of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update

from monitor.config.model import Config
from monitor.evaluate.worker import EvaluateWorker
from monitor.store import deploys, outbox, references, tables
from monitor.store.anomalies import AnomalyRow, list_anomalies
from monitor.store.deploys import Deploy
from monitor.store.engine import Store, open_store
from monitor.store.responses import respond
from tests.evaluate.test_worker import evaluate, everything, opened
from tests.evaluate.traffic import DAY_US, HOUR_US, MINUTE_US, START_US, Change, Segment, set_watermark, write

LEARN = 6 * DAY_US
DAYS = {"reference": {"learn": "6d"}, "evaluation": {"min_history": "3d", "history": "24d"}}
BEGUN = START_US + 7 * DAY_US
WORSE = START_US + 15 * DAY_US


def config(**over: Any) -> Config:
    return Config.model_validate({**DAYS, "reference": {**DAYS["reference"], "grow": False}, **over})


def segment() -> Segment:
    """Answers break the schema for good, are accepted, and get much worse eight days later."""
    return Segment(
        "form",
        80.0,
        changes=(
            Change(BEGUN, WORSE, rates={"schema_violation": 0.2}),
            Change(WORSE, rates={"schema_violation": 0.7}),
        ),
    )


def evaluate_until(store: Store, until_us: int, settings: Config) -> None:
    """As if no more had been closed yet."""
    set_watermark(store, until_us)
    evaluate(store, settings, until_us)


def the_open(store: Store) -> AnomalyRow:
    with store.read() as connection:
        (row,) = list_anomalies(connection, state="open")
    return row


def accept(store: Store, anomaly_id: str, now_us: int) -> None:
    with store.write() as connection:
        _, new = respond(connection, anomaly_id, "accept", "dana", now_us, note="it stays")
    assert new


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened_store = open_store(store_url)
    yield opened_store
    opened_store.close()


def test_it_is_over_silent_learned_anew_and_judged_by_that(store: Store) -> None:
    end = write(store, [segment(), Segment("quiet", 60.0)], days=17)
    settings = config()
    evaluate_until(store, BEGUN + DAY_US, settings)
    found = the_open(store)
    assert found.signal == "schema_violation_rate"
    (first,) = references.list_references(store, "form")
    accept(store, found.anomaly_id, BEGUN + DAY_US)
    evaluate_until(store, BEGUN + DAY_US + HOUR_US, settings)
    (row,) = opened(store)
    assert row.state == "resolved"
    assert row.resolved_us is not None
    assert row.resolved_us <= BEGUN + DAY_US + HOUR_US
    # Against the old reference it would be found again at once; it is not.
    evaluate_until(store, WORSE, settings)
    assert len(opened(store)) == 1
    before, after = references.list_references(store, "form")
    assert (before.reference_id, before.state) == (first.reference_id, "retired")
    assert (after.state, after.origin) == ("active", "learned")
    assert after.from_us >= BEGUN - HOUR_US
    assert LEARN <= after.to_us - after.from_us <= LEARN + 2 * HOUR_US
    assert len(references.list_references(store, "quiet")) == 1
    # What the new normal is not is found.
    evaluate_until(store, end, settings)
    worse = [row for row in opened(store) if row.opened_us >= WORSE]
    assert [(row.segment, row.signal) for row in worse] == [("form", "schema_violation_rate")]


def test_restarts_change_nothing(sqlite: Store, tmp_path: Any) -> None:
    other = open_store(f"sqlite:///{tmp_path / 'pieces.db'}")
    settings, accepted_at = config(), BEGUN + DAY_US
    ends = [write(store, [segment()], days=17) for store in (sqlite, other)]
    for store in (sqlite, other):
        evaluate_until(store, accepted_at, settings)
        accept(store, the_open(store).anomaly_id, accepted_at)
    evaluate_until(sqlite, ends[0], settings)
    set_watermark(other, ends[1])
    for number in range(1000):
        step = (25, 720, 3000)[number % 3] * MINUTE_US
        worker = EvaluateWorker(other, settings, clock=lambda: ends[1] / 1e6, holder="same", batch_us=step)
        if not worker.step():  # dropped without a word, as by SIGKILL
            break
    assert len(references.list_references(other, "form")) == 2
    mine, theirs = everything(sqlite), everything(other)
    assert mine == theirs
    other.close()


def test_with_too_little_traffic_it_is_tried_again_and_other_signals_are_watched(sqlite: Store) -> None:
    slow = Change(BEGUN + 2 * DAY_US, slow_share=0.3, slow=20.0)
    form = Segment("form", 80.0, changes=(Change(BEGUN, rates={"schema_violation": 0.2}), slow))
    end = write(sqlite, [form], days=11)
    settings = config()
    evaluate_until(sqlite, BEGUN + DAY_US, settings)
    accept(sqlite, the_open(sqlite).anomaly_id, BEGUN + DAY_US)
    evaluate_until(sqlite, end, settings)
    # Before there are six days of it: the old reference still watches what was not accepted.
    assert any(row.signal.startswith("latency") and row.opened_us < BEGUN + LEARN for row in opened(sqlite))


def test_what_opens_while_a_deploy_is_muted_is_told_when_that_ends(sqlite: Store) -> None:
    sinks = {"sinks": {"oncall": {"kind": "webhook", "url": "http://127.0.0.1:9/"}}, "send_historic": True}
    settings = config(alerts=sinks, routes={"extract": {"stakes": "high"}})
    end = write(sqlite, [segment()], days=8)
    until = end + HOUR_US
    for deploy in (
        Deploy("d1", end - HOUR_US, "ci", "v2", route="extract", mute_until_us=until),
        Deploy("d2", end - HOUR_US, "ci", "v2", route="chat", mute_until_us=until + 12 * HOUR_US),
        Deploy("d3", end - HOUR_US, "ci", "v2", segment="letter*", mute_until_us=until + 12 * HOUR_US),
        Deploy("d4", end - 2 * DAY_US, "ci", "v1", mute_until_us=end - DAY_US),
    ):
        with sqlite.write() as connection:
            assert deploys.announce(sqlite, connection, deploy)
    evaluate(sqlite, settings, end)
    (row,) = opened(sqlite)
    with sqlite.read() as connection:
        (delivery,) = outbox.deliveries(connection, row.anomaly_id)
        assert (delivery.state, delivery.due_us) == ("pending", until)
        assert not outbox.has_due(connection, sink="oncall", now_us=until - 1)
        assert outbox.has_due(connection, sink="oncall", now_us=until)


def test_what_is_over_before_a_mute_ends_is_told_to_nobody_but_to_who_knows_of_it(sqlite: Store) -> None:
    sinks = {kind: {"kind": "webhook", "url": "http://127.0.0.1:9/"} for kind in ("oncall", "books")}
    settings = config(alerts={"sinks": sinks, "send_historic": True}, routes={"extract": {"stakes": "high"}})
    brief = {"rates": {"schema_violation": 0.3}}
    write(
        sqlite,
        [
            Segment("before", 80.0, changes=(Change(BEGUN, BEGUN + 6 * HOUR_US, **brief),)),
            Segment("within", 80.0, changes=(Change(BEGUN + 8 * HOUR_US, BEGUN + 12 * HOUR_US, **brief),)),
            Segment("told", 80.0, changes=(Change(BEGUN + 8 * HOUR_US, BEGUN + 12 * HOUR_US, **brief),)),
        ],
        days=9,
    )
    evaluate_until(sqlite, BEGUN + 6 * HOUR_US, settings)
    begins = BEGUN + 6 * HOUR_US
    until = begins + DAY_US
    with sqlite.write() as connection:
        assert deploys.announce(sqlite, connection, Deploy("d1", begins, "ci", "v2", mute_until_us=until))
    evaluate_until(sqlite, BEGUN + 12 * HOUR_US, settings)
    by_name = {row.segment: row for row in opened(sqlite)}
    assert {name: row.muted_until_us for name, row in by_name.items()} == {
        "before": None, "within": until, "told": until
    }  # fmt: skip
    with sqlite.write() as connection:
        # By a clock that is ahead of this one's one sink was told all the same: it has to hear of the end.
        lease = {"lease_until_us": 1, "state": "sent"}
        key, sink = tables.outbox.c.key == by_name["told"].anomaly_id, tables.outbox.c.sink == "books"
        connection.execute(update(tables.outbox).where(key, sink).values(**lease))
    evaluate_until(sqlite, until - HOUR_US, settings)
    by_name = {row.segment: row for row in opened(sqlite)}
    assert {row.state for row in by_name.values()} == {"resolved"}, "recorded, and shown"
    with sqlite.read() as connection:
        left = {
            name: {
                d.sink: (d.payload["state"], d.due_us < until) for d in outbox.deliveries(connection, row.anomaly_id)
            }
            for name, row in by_name.items()
        }
    assert left == {
        "before": {"oncall": ("resolved", True), "books": ("resolved", True)},
        "within": {},
        "told": {"books": ("resolved", True)},
    }


def test_a_new_segment_that_is_accepted_goes_on_learning(sqlite: Store) -> None:
    late = START_US + 7 * DAY_US
    write(sqlite, [Segment("new", 60.0)], days=8, start_us=late)
    end = write(sqlite, [Segment("old", 60.0)], days=15)
    settings = config()
    evaluate_until(sqlite, late + DAY_US, settings)
    found = the_open(sqlite)
    assert found.signal == "new_segment"
    accept(sqlite, found.anomaly_id, late + DAY_US)
    evaluate_until(sqlite, late + DAY_US + HOUR_US, settings)
    assert [row.state for row in opened(sqlite)] == ["resolved"]
    evaluate_until(sqlite, end, settings)
    (row,) = references.list_references(sqlite, "new")
    assert row.to_us - row.from_us == LEARN
