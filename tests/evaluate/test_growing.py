"""Learned references are learned again from more days, while nothing changes, and never from an incident."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from detectors.rates import RateReference
from monitor.config.model import Config
from monitor.evaluate import learning
from monitor.evaluate.bank import StreamBank
from monitor.evaluate.building import build
from monitor.evaluate.references import Reference
from monitor.evaluate.worker import EvaluateWorker
from monitor.store import references
from monitor.store.engine import Store, open_store
from monitor.store.references import ReferenceSet
from monitor.store.tables import evaluation
from tests.evaluate.test_worker import evaluate, everything, opened
from tests.evaluate.traffic import DAY_US, HOUR_US, MINUTE_US, START_US, Change, Segment, set_watermark, write

DAYS = {"reference": {"learn": "3d"}, "evaluation": {"min_history": "3d", "history": "12d"}}


def config(**over: Any) -> Config:
    return Config.model_validate({**DAYS, **over})


def of(store: Store, segment: str) -> list[ReferenceSet]:
    return references.list_references(store, segment)


def rate(row: ReferenceSet, signal: str = "error_rate") -> RateReference:
    fit = Reference.from_content(row.content).streams[signal].fit
    assert isinstance(fit, RateReference)
    return fit


def test_a_quiet_segments_reference_doubles_until_it_holds_the_history(sqlite: Store) -> None:
    end = write(sqlite, [Segment("a", 40.0), Segment("b", 80.0)], days=15)
    evaluate(sqlite, config(), end)
    assert opened(sqlite) == []
    for name in ("a", "b"):
        first, second, third = of(sqlite, name)
        assert [row.state for row in (first, second, third)] == ["retired", "retired", "active"]
        assert first.to_us - first.from_us == 3 * DAY_US
        # Within the day that it is due on; the last is of the history, no longer.
        assert 6 * DAY_US <= second.to_us - first.from_us < 7 * DAY_US
        assert second.from_us == first.from_us
        assert third.to_us - third.from_us == 12 * DAY_US
        assert rate(third).trials > 3 * rate(first).trials
        assert rate(third).days in (12, 13)
    assert of(sqlite, "a")[2].to_us != of(sqlite, "b")[2].to_us  # segments take turns


def test_no_reference_holds_an_incident(sqlite: Store) -> None:
    begun = START_US + 4 * DAY_US
    bad = Segment("bad", 80.0, changes=(Change(begun, begun + 12 * HOUR_US, rates={"schema_violation": 0.2}),))
    end = write(sqlite, [bad], days=14)
    evaluate(sqlite, config(), end)
    (row,) = opened(sqlite)
    assert row.resolved_us is not None
    first, second = of(sqlite, "bad")
    assert first.to_us == START_US + 3 * DAY_US
    # Twice its length since the change was gone.
    assert row.resolved_us - HOUR_US <= second.from_us <= row.resolved_us
    assert 6 * DAY_US <= second.to_us - second.from_us < 7 * DAY_US
    assert rate(second, "schema_violation_rate").rate < 0.03


def test_that_a_segment_was_new_is_no_incident(sqlite: Store) -> None:
    """What is recorded of its first hour is open until it has a reference; its first days are as good as any."""
    late = START_US + 4 * DAY_US
    write(sqlite, [Segment("new", 60.0)], days=8, start_us=late)
    end = write(sqlite, [Segment("old", 60.0)], days=12)
    evaluate(sqlite, config(), end)
    assert [row.signal for row in opened(sqlite) if row.segment == "new"] == ["new_segment"]
    first, second = of(sqlite, "new")
    assert second.from_us == first.from_us == late


def test_while_a_change_lasts_nothing_is_learned(sqlite: Store) -> None:
    begun = START_US + 4 * DAY_US
    end = write(sqlite, [Segment("bad", 80.0, changes=(Change(begun, rates={"schema_violation": 0.2}),))], days=14)
    evaluate(sqlite, config(), end)
    assert [row.state for row in opened(sqlite)] == ["open"]
    assert len(of(sqlite, "bad")) == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_restarts_at_random_ticks_change_nothing(sqlite: Store, tmp_path: Any, seed: int) -> None:
    begun = START_US + 5 * DAY_US
    bad = Segment("bad", 60.0, changes=(Change(begun, begun + 6 * HOUR_US, rates={"schema_violation": 0.3}),))
    end = write(sqlite, [Segment("quiet", 30.0), bad], days=13)
    other = open_store(f"sqlite:///{tmp_path / 'whole.db'}")
    write(other, [Segment("quiet", 30.0), bad], days=13)
    evaluate(other, config(), end)
    chance = random.Random(seed)
    for _ in range(400):
        step = chance.choice([25, 60, 720, 3000, 9000]) * MINUTE_US
        worker = EvaluateWorker(sqlite, config(), clock=lambda: end / 1e6, holder="same", batch_us=step)
        if not [worker.step() for _ in range(chance.randint(1, 8))][-1]:  # dropped without a word, as by SIGKILL
            break
    assert len(of(sqlite, "quiet")) == 3
    assert everything(sqlite) == everything(other)
    other.close()


def test_a_batch_longer_than_references_makes_several(sqlite: Store, tmp_path: Any) -> None:
    """A segment's second reference may be due before its first is written."""
    end = write(sqlite, [Segment("a", 60.0)], days=13)
    other = open_store(f"sqlite:///{tmp_path / 'whole.db'}")
    write(other, [Segment("a", 60.0)], days=13)
    evaluate(sqlite, config(), end, batch_us=20 * DAY_US)
    evaluate(other, config(), end)
    assert [row.version for row in of(sqlite, "a")] == [1, 2, 3]
    assert everything(sqlite) == everything(other)
    other.close()


@pytest.mark.parametrize("over", [{"learn": "3d", "grow": False}, {"learn": "12d"}])
def test_asked_not_to_grow_it_does_not(sqlite: Store, over: dict[str, Any]) -> None:
    end = write(sqlite, [Segment("a", 40.0)], days=14)
    evaluate(sqlite, config(reference=over), end)
    assert len(of(sqlite, "a")) == 1


def test_hours_that_retention_took_are_no_silence(sqlite: Store) -> None:
    """Seven days of hours are kept, of which the oldest may go at any moment: six are learned from."""
    end = write(sqlite, [Segment("a", 40.0)], days=14)
    evaluate(sqlite, config(retention={"hour": "7d"}), end)
    first, second = of(sqlite, "a")
    assert second.to_us - second.from_us == 6 * DAY_US
    assert second.from_us > first.from_us


def test_what_was_built_by_hand_stays(sqlite: Store) -> None:
    end = write(sqlite, [Segment("a", 40.0)], days=14)
    set_watermark(sqlite, START_US + 4 * DAY_US)
    worker = EvaluateWorker(sqlite, config(), clock=lambda: end / 1e6)
    worker.drain()
    (built,) = build(sqlite, config(), START_US, START_US + 4 * DAY_US, "a")
    references.approve(sqlite, built.reference_id)
    references.activate(sqlite, built.reference_id)
    set_watermark(sqlite, end)
    worker.drain()
    assert [(row.origin, row.state) for row in of(sqlite, "a")] == [("learned", "retired"), ("built", "active")]


def test_evidence_holds_it_back(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that is being found is not learned as usual."""
    end = write(sqlite, [Segment("a", 40.0), Segment("b", 40.0)], days=14)
    real = StreamBank.evidence_of

    def some(bank: StreamBank, owner: str, segment: str) -> float:
        return 0.21 if segment == "a" else real(bank, owner, segment)

    monkeypatch.setattr(StreamBank, "evidence_of", some)
    evaluate(sqlite, config(), end)
    assert (len(of(sqlite, "a")), len(of(sqlite, "b"))) == (1, 3)


def test_the_evidence_is_the_greatest_of_the_segments_streams(sqlite: Store) -> None:
    end = write(sqlite, [Segment("a", 40.0), Segment("b", 40.0)], days=4)
    worker = EvaluateWorker(sqlite, config(), clock=lambda: end / 1e6)
    worker.drain()
    session = worker._session
    assert session is not None
    mine = [i for i, stream in enumerate(session.bank.streams) if stream.segment == "a"]
    session.bank.sr._r[mine[3], 1] = 0.4
    assert session.bank.evidence_of("default", "a") >= 0.4
    assert session.bank.evidence_of("default", "b") < 0.4
    assert session.bank.evidence_of("default", "none") == 0.0


def test_a_longer_reference_that_judges_less_is_not_used(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    end = write(sqlite, [Segment("a", 40.0)], days=8)
    real = learning.fit

    def without_errors(session: Any, segment: str, begin: int, until: int, *given: Any, **named: Any) -> Reference:
        found = real(session, segment, begin, until, *given, **named)
        if until - begin > 3 * DAY_US:
            del found.streams["error_rate"]
        return found

    monkeypatch.setattr(learning, "fit", without_errors)
    evaluate(sqlite, config(), end)
    assert len(of(sqlite, "a")) == 1


def test_a_state_from_before_is_read_and_nothing_from_before_is_taken_as_clean(sqlite: Store) -> None:
    end = write(sqlite, [Segment("a", 40.0)], days=12)
    middle = START_US + 4 * DAY_US
    set_watermark(sqlite, middle)
    evaluate(sqlite, config(), end)
    with sqlite.write() as connection:
        state = msgspec.json.decode(bytes(connection.execute(select(evaluation.c.state)).scalar_one()))
        old = {"format": 1, "segments": {name: found[:3] for name, found in state["segments"].items()}}
        connection.execute(evaluation.update().values(state=msgspec.json.encode(old)))
    set_watermark(sqlite, end)
    evaluate(sqlite, config(), end)
    first, second = of(sqlite, "a")
    assert first.to_us == START_US + 3 * DAY_US
    assert second.from_us == middle
