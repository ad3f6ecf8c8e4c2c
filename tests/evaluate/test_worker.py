"""The evaluator end to end on stored rows: silence on null weeks, planted changes, restarts, life cycle."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from alerts import anomaly as documents
from monitor.config.model import Config
from monitor.evaluate.status import streams
from monitor.evaluate.worker import EvaluateWorker
from monitor.store import references
from monitor.store.anomalies import AnomalyRow, list_anomalies
from monitor.store.engine import Store, open_store
from monitor.store.tables import (
    anomalies,
    evaluation,
    evidence,
    metadata,
    outbox,
    reference_samples,
    review_items,
    review_pixels,
    review_pools,
    stream_states,
)
from monitor.store.tables import references as reference_sets
from tests.evaluate.traffic import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    START_US,
    Change,
    Segment,
    set_watermark,
    write,
)

WRITTEN = (
    anomalies, evidence, stream_states, reference_sets, reference_samples, review_items, review_pools, review_pixels,
)  # fmt: skip
SINKS = {"hook": {"kind": "webhook", "url": "http://127.0.0.1:9/"}}


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    found = open_store(store_url)
    yield found
    found.close()


def config(**over: Any) -> Config:
    return Config.model_validate(over)


def evaluate(store: Store, settings: Config, now_us: int, **over: Any) -> None:
    worker = EvaluateWorker(store, settings, clock=lambda: now_us / 1e6, **over)
    worker.drain()
    worker.close()


def opened(store: Store) -> list[AnomalyRow]:
    with store.read() as connection:
        return sorted(list_anomalies(connection), key=lambda row: (row.opened_us, row.signal))


def everything(store: Store) -> list[Any]:
    """All that the evaluator wrote but who held the lease, and the outbox."""
    with store.read() as connection:
        found: list[Any] = []
        for table in WRITTEN:
            key = list(table.primary_key.columns)
            rows = [tuple(row) for row in connection.execute(select(table).order_by(*key))]
            found += sorted((table.name, *row) for row in rows)
        found += [tuple(r) for r in connection.execute(select(evaluation.c.done_until_us, evaluation.c.state))]
        return found


AT_9 = START_US + 8 * DAY_US + 9 * HOUR_US
BROKEN = Segment("broken", 80.0, changes=(Change(AT_9, AT_9 + 12 * HOUR_US, rates={"schema_violation": 0.2}),))


def test_a_null_fortnight_raises_nothing_and_every_hour_has_its_evidence(sqlite: Store) -> None:
    end = write(sqlite, [Segment("a", 40.0), Segment("b", 120.0)], days=16)
    evaluate(sqlite, config(), end)
    assert opened(sqlite) == []
    with sqlite.read() as connection:
        rows = connection.execute(select(evidence.c.resolution, evidence.c.value)).all()
    # From the end of the seventh day on, an hour's greatest evidence of every stream, none at the threshold.
    assert {row.resolution for row in rows} == {"hour"}
    assert len(rows) > 8 * 24 * 2 * 10
    assert max(row.value for row in rows) < 1.0
    by_state = Counter((row.segment, row.state) for row in references.list_references(sqlite))
    # Learned on the seventh day, and again on the fourteenth.
    assert by_state == {(name, state): 1 for name in ("a", "b") for state in ("active", "retired")}


def test_a_planted_change_is_found_told_updated_and_resolved(store: Store) -> None:
    end = write(store, [Segment("quiet", 60.0), BROKEN], days=11)
    settings = config(alerts={"sinks": SINKS, "max_age": "9000d"}, routes={"extract": {"stakes": "high"}})
    evaluate(store, settings, end)
    (row,) = opened(store)
    assert (row.segment, row.signal, row.severity, row.state) == ("broken", "schema_violation_rate", "page", "resolved")
    assert AT_9 < row.opened_us <= AT_9 + 6 * HOUR_US
    assert row.resolved_us is not None
    # Six hours without evidence after the twelve it lasted, and the sessions it takes to tell.
    assert AT_9 + 18 * HOUR_US <= row.resolved_us <= AT_9 + 40 * HOUR_US
    found = documents.from_document(row.document)
    assert found.since.low <= AT_9 + HOUR_US
    assert found.since.high >= AT_9 - HOUR_US
    assert found.evidence.value >= found.evidence.threshold == 1.0
    assert found.effect.low is not None and found.effect.high is not None
    assert 0.1 < found.effect.low < found.effect.high < 0.25
    assert found.sentence.startswith("The share of answers that break the schema in broken rose from ")
    with store.read() as connection:
        (message,) = connection.execute(select(outbox)).all()
        per_tick = connection.execute(select(evidence).where(evidence.c.resolution == "tick")).all()
    assert (message.sink, message.key) == ("hook", found.id)
    assert json.loads(message.payload)["state"] == "resolved"
    assert len(per_tick) == (row.resolved_us - row.opened_us) // (5 * MINUTE_US)


@pytest.mark.parametrize("seed", [1, 2])
def test_restarts_at_random_ticks_change_nothing(store: Store, tmp_path: Any, seed: int) -> None:
    segments = [Segment("quiet", 30.0), BROKEN]
    end = write(store, segments, days=10)
    other = open_store(f"sqlite:///{tmp_path / 'whole.db'}")
    write(other, segments, days=10)
    settings = config()
    evaluate(other, settings, end)
    chance = random.Random(seed)
    for _ in range(400):
        step = chance.choice([5, 25, 60, 720, 3000]) * MINUTE_US
        worker = EvaluateWorker(store, settings, clock=lambda: end / 1e6, holder="same", batch_us=step)
        worked = [worker.step() for _ in range(chance.randint(1, 8))]
        if not worked[-1]:  # the worker is dropped without a word, as by SIGKILL
            break
    assert opened(store)
    assert everything(store) == everything(other)
    other.close()


def test_a_batch_that_fails_half_way_leaves_nothing(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    end = write(sqlite, [BROKEN], days=10)
    worker = EvaluateWorker(sqlite, config(), clock=lambda: end / 1e6)
    for _ in range(15):
        worker.step()
    before = everything(sqlite)

    def fail(*_: Any) -> None:
        raise ConnectionError("killed here")

    monkeypatch.setattr("monitor.store.evaluation.enqueue_many", fail)  # the last statement of the transaction
    with pytest.raises(ConnectionError):
        worker.step()
    assert everything(sqlite) == before
    monkeypatch.undo()
    worker.drain()
    whole = [row.anomaly_id for row in opened(sqlite)]
    assert len(whole) == 1


def test_only_one_leads_and_a_former_leader_writes_nothing(store: Store) -> None:
    end = write(store, [Segment("a", 30.0)], days=2)
    now = [end / 1e6]
    one = EvaluateWorker(store, config(), clock=lambda: now[0], batch_us=HOUR_US)
    two = EvaluateWorker(store, config(), clock=lambda: now[0], batch_us=HOUR_US)
    assert one.step()
    assert not two.step()
    now[0] += 31.0  # the lease has run out: the first one is stopped, or so slow that it might as well be
    assert two.step()
    done = two.done_until_us
    assert not one.step()  # fenced
    assert not one.leading
    assert two.step()
    assert done is not None and two.done_until_us == done + HOUR_US
    two.close()
    assert one.step()  # a lease given back is free at once


def test_a_lease_of_a_clock_that_was_ahead_holds_nobody_off(sqlite: Store) -> None:
    """Who leads renews it as soon as the clock is set back; of one that was killed before that it is no lease."""
    end = write(sqlite, [Segment("a", 30.0)], days=1)
    now = [end / 1e6]
    one, two = (EvaluateWorker(sqlite, config(), clock=lambda: now[0], batch_us=DAY_US) for _ in range(2))
    one.drain()
    now[0] -= 86_400
    assert not one.step()
    assert one.leading
    with sqlite.read() as connection:
        until_us = connection.execute(select(evaluation.c.lease_until_us)).scalar_one()
    assert until_us == now[0] * 1e6 + config().evaluation.lease
    two.step()
    assert not two.leading, "it is held, for the usual time"
    now[0] -= 86_400  # and now nobody is there to renew it
    two.step()
    assert two.leading
    assert not one.step()
    assert not one.leading


def test_ticks_wait_for_closed_windows_and_pending_samples(sqlite: Store) -> None:
    from monitor.store.tables import samples

    write(sqlite, [Segment("a", 30.0)], days=1)
    worker = EvaluateWorker(sqlite, config(), clock=lambda: START_US / 1e6)
    set_watermark(sqlite, START_US + 3 * HOUR_US + 7 * MINUTE_US)
    pending = {
        "sample_id": "s", "event_id": "e", "topic": "t", "partition": 0, "offset": 1, "time_us": START_US + HOUR_US,
        "window_us": START_US + HOUR_US, "route": "extract", "segment": "a", "version": "", "session_key": "1",
        "user_key": "", "pi": 1.0, "state": "pending", "reason": "", "facts": "{}", "encoder": "", "phash": None,
    }  # fmt: skip
    with sqlite.write() as connection:
        connection.execute(samples.insert(), [pending])
    worker.drain()
    assert worker.done_until_us == START_US + 2 * HOUR_US - 5 * MINUTE_US  # its hour is not finished
    with sqlite.write() as connection:
        connection.execute(samples.update().values(state="missing", reason="not_found"))
    worker.drain()
    assert worker.done_until_us == START_US + 3 * HOUR_US + 5 * MINUTE_US


def test_late_rows_are_no_evidence(sqlite: Store) -> None:
    from monitor.store.tables import summaries

    end = write(sqlite, [BROKEN], days=10)
    with sqlite.write() as connection:
        connection.execute(summaries.update().where(summaries.c.window_us >= AT_9).values(late=True))
    evaluate(sqlite, config(), end)
    assert [row.signal for row in opened(sqlite) if row.signal != "volume"] == []


def test_an_open_anomaly_suspends_its_funding_and_a_return_is_a_new_one(sqlite: Store) -> None:
    again = AT_9 + 3 * DAY_US
    segment = Segment(
        "b", 80.0,
        changes=(
            Change(AT_9, AT_9 + 10 * HOUR_US, rates={"schema_violation": 0.2}),
            Change(again, again + 10 * HOUR_US, rates={"schema_violation": 0.2}),
        ),
    )  # fmt: skip
    end = write(sqlite, [segment], days=13)
    evaluate(sqlite, config(), end)
    first, second = opened(sqlite)
    assert first.signal == second.signal == "schema_violation_rate"
    assert first.anomaly_id != second.anomaly_id
    assert first.resolved_us is not None and first.resolved_us < again < second.opened_us
    found = documents.from_document(second.document)
    assert found.since.low >= first.resolved_us
    with sqlite.read() as connection:
        hours = connection.execute(
            select(evidence.c.tick_us).where(
                evidence.c.signal == "schema_violation_rate", evidence.c.resolution == "hour"
            )
        ).scalars()
        # No evidence is gathered between the hour of the opening and the resolution.
        assert not [t for t in hours if first.opened_us <= t < first.resolved_us - HOUR_US]


def test_historic_anomalies_are_recorded_and_not_sent_unless_asked(tmp_path: Any) -> None:
    sent = {}
    for name, alerts in (("old", {}), ("asked", {"send_historic": True})):
        store = open_store(f"sqlite:///{tmp_path / name}.db")
        end = write(store, [BROKEN], days=10)
        evaluate(store, config(alerts={"sinks": SINKS, **alerts}), end + 90 * DAY_US)
        (row,) = opened(store)
        assert row.historic
        with store.read() as connection:
            sent[name] = len(connection.execute(select(outbox)).all())
        store.close()
    assert sent == {"old": 0, "asked": 1}


def test_who_was_told_that_it_opened_is_told_that_it_is_over(sqlite: Store) -> None:
    """Even if the sink takes no tickets any more: an Alertmanager would show it for ever."""
    end = write(sqlite, [BROKEN], days=11)

    def worker(**sink: Any) -> EvaluateWorker:
        settings = config(alerts={"sinks": {"hook": {**SINKS["hook"], **sink}}, "max_age": "9000d"})
        return EvaluateWorker(sqlite, settings, clock=lambda: end / 1e6, holder="same", batch_us=HOUR_US)

    def told() -> list[str]:
        with sqlite.read() as connection:
            return [json.loads(payload)["state"] for payload in connection.execute(select(outbox.c.payload)).scalars()]

    first = worker()
    while not opened(sqlite):
        assert first.step()
    assert told() == ["open"]
    worker(severities=["page"]).drain()
    assert [row.state for row in opened(sqlite)] == ["resolved"]
    assert told() == ["resolved"]


def test_stakes_decide_severity(tmp_path: Any) -> None:
    for stakes, severity in (("high", "page"), ("medium", "ticket"), ("low", "report")):
        store = open_store(f"sqlite:///{tmp_path / stakes}.db")
        end = write(store, [BROKEN], days=10)
        settings = config(alerts={"sinks": SINKS, "max_age": "9000d"}, routes={"extract": {"stakes": stakes}})
        evaluate(store, settings, end)
        (row,) = opened(store)
        assert row.severity == severity
        with store.read() as connection:
            assert len(connection.execute(select(outbox)).all()) == (0 if stakes == "low" else 1)
        store.close()


def test_silence_is_found(sqlite: Store) -> None:
    gone = START_US + 8 * DAY_US + 11 * HOUR_US  # in the middle of a busy day
    end = write(sqlite, [Segment("a", 80.0, changes=(Change(gone, volume=0.0),))], days=10)
    evaluate(sqlite, config(), end)
    (row,) = opened(sqlite)
    assert (row.signal, row.state) == ("volume", "open")
    assert gone < row.opened_us <= gone + 4 * HOUR_US
    assert "fell silent" in row.document["explanation"]["sentence"]


def test_a_segment_that_appears_later_learns_from_its_own_first_days(sqlite: Store) -> None:
    late = START_US + 2 * DAY_US
    write(sqlite, [Segment("new", 60.0)], days=8, start_us=late)
    end = write(sqlite, [Segment("old", 60.0)], days=10)
    set_watermark(sqlite, START_US + 8 * DAY_US)
    worker = EvaluateWorker(sqlite, config(), clock=lambda: end / 1e6)
    worker.drain()
    rates = {s.segment: s.status for s in streams(sqlite) if s.signal == "error_rate"}
    assert (rates["old"], rates["new"]) == ("ok", "learning")
    set_watermark(sqlite, end)
    worker.drain()
    by_segment = {row.segment: row for row in references.list_references(sqlite)}
    assert (by_segment["new"].from_us, by_segment["new"].to_us) == (late, late + 7 * DAY_US)
    status = {s.signal: s.status for s in streams(sqlite) if s.segment == "new"}
    assert status["error_rate"] == "ok"
    assert status["image_drift"] == status["disagreement_rate"] == "not_measured"


def test_without_auto_activation_a_learned_reference_waits_for_approval(sqlite: Store) -> None:
    end = write(sqlite, [BROKEN], days=10)
    settings = config(reference={"auto_activate": False})
    set_watermark(sqlite, START_US + 8 * DAY_US)
    worker = EvaluateWorker(sqlite, settings, clock=lambda: end / 1e6)
    worker.drain()
    (draft,) = references.list_references(sqlite)
    assert draft.state == "draft"
    assert {s.status for s in streams(sqlite) if s.segment == "broken"} == {"draft"}
    with pytest.raises(references.ReferenceFault, match="is draft; only one that is approved or retired"):
        references.activate(sqlite, draft.reference_id)
    references.approve(sqlite, draft.reference_id)
    references.activate(sqlite, draft.reference_id)
    set_watermark(sqlite, end)
    worker.drain()
    assert [row.signal for row in opened(sqlite)] == ["schema_violation_rate"]


def test_the_state_of_a_newer_version_is_refused(sqlite: Store) -> None:
    end = write(sqlite, [Segment("a", 30.0)], days=1)
    evaluate(sqlite, config(), end)
    with sqlite.write() as connection:
        connection.execute(evaluation.update().values(state=b'{"format":5}', done_until_us=START_US))
    with pytest.raises(ValueError, match="format 5"):
        EvaluateWorker(sqlite, config(), clock=lambda: end / 1e6).step()


def test_every_table_that_is_compared_exists() -> None:
    assert {table.name for table in WRITTEN} <= set(metadata.tables)
