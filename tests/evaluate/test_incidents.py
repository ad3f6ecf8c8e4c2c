"""One incident, one anomaly: streams that changed together and for one reason join, others do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from alerts.anomaly import Anomaly, Effect, Evidence, Explanation, Fact, Since
from alerts.lifecycle import SendingRules, join, open_anomaly, resolve
from monitor.evaluate import explaining
from monitor.evaluate.incidents import OpenAnomalies, _home, same_start
from monitor.evaluate.status import streams
from monitor.evaluate.story import MAX_CHARACTERS, story
from monitor.evaluate.worker import EvaluateWorker
from monitor.store.anomalies import list_anomalies
from monitor.store.engine import Store, open_store
from monitor.store.tables import outbox, sample_parts, samples
from tests.evaluate.test_embeddings import write_samples
from tests.evaluate.test_worker import SINKS, config, evaluate, opened
from tests.evaluate.traffic import DAY_US, HOUR_US, MINUTE_US, START_US, Change, Segment, set_watermark, write

AT = START_US + 8 * DAY_US + 9 * HOUR_US
END = AT + 12 * HOUR_US
RELEASE = Change(AT, END, rates={"schema_violation": 0.25, "error": 0.2}, slow_share=0.4, slow=6.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    yield found
    found.close()


def sent(store: Store) -> list[tuple[str, int]]:
    """(key, how often it was enqueued) of every message."""
    with store.read() as connection:
        rows = connection.execute(select(outbox.c.key, outbox.c.revision).where(outbox.c.kind == "anomaly"))
        return [(row.key, row.revision) for row in rows]


def test_a_bad_release_is_one_anomaly_and_one_notification(store: Store) -> None:
    end = write(store, [Segment("bad", 80.0, changes=(RELEASE,)), Segment("good", 20.0)], days=10)
    evaluate(store, config(alerts={"sinks": SINKS, "send_historic": True}), end)
    (row,) = opened(store)
    facts = row.document["facts"]
    changed = {fact["signal"] for fact in facts}
    assert {"schema_violation_rate", "latency_total_p95", "latency_first_token_p95"} <= changed
    assert {fact["subject"] for fact in facts} == {"bad"}
    assert row.document["signal"] == facts[0]["signal"] == row.signal
    assert "With it changed: " in row.document["explanation"]["sentence"]
    # Told once that it opened and once that it is over, which is when the last of its signals is back.
    assert [key for key, _ in sent(store)] == [row.anomaly_id]
    assert row.state == "resolved"
    assert row.resolved_us == max(fact["resolved"] for fact in facts)


def test_streams_of_a_joined_fact_are_open_and_not_funded_twice(store: Store) -> None:
    write(store, [Segment("bad", 80.0, changes=(RELEASE,))], days=10)
    set_watermark(store, END)
    # Found when its first signals are too old to be told of, and the last ones are not: told then, once.
    evaluate(store, config(alerts={"sinks": SINKS}), END)
    (row,) = opened(store)
    assert not row.historic
    assert [key for key, _ in sent(store)] == [row.anomaly_id]
    signals = {fact["signal"] for fact in row.document["facts"]}
    assert len(signals) >= 3
    status = {s.signal: s.status for s in streams(store) if s.segment == "bad"}
    assert {signal for signal, state in status.items() if state == "open"} == signals


def test_where_the_work_stopped_makes_no_difference(store: Store, tmp_path: Path) -> None:
    """A new leader in the middle of the incident knows which facts belong to which anomaly."""
    other = open_store(f"sqlite:///{tmp_path / 'other.db'}")
    for each in (store, other):
        write(each, [Segment("bad", 80.0, changes=(RELEASE,))], days=10)
    evaluate(store, config(), START_US + 10 * DAY_US)
    for at in range(AT, END + 3 * HOUR_US, 47 * MINUTE_US):
        set_watermark(other, at)
        evaluate(other, config(), START_US + 10 * DAY_US, batch_us=HOUR_US)
    set_watermark(other, START_US + 10 * DAY_US)
    evaluate(other, config(), START_US + 10 * DAY_US)
    assert [row.document for row in opened(store)] == [row.document for row in opened(other)]
    other.close()


def test_a_later_change_in_the_same_segment_is_an_anomaly_of_its_own(store: Store) -> None:
    later = AT + 20 * HOUR_US
    changes = (
        Change(AT, rates={"schema_violation": 0.25}),
        Change(later, rates={"schema_violation": 0.25, "error": 0.2}),
    )
    end = write(store, [Segment("bad", 80.0, changes=changes)], days=10)
    evaluate(store, config(), end)
    found = {row.signal: row for row in opened(store)}
    assert set(found) == {"schema_violation_rate", "error_rate"}
    assert later < found["error_rate"].opened_us <= later + 6 * HOUR_US


@pytest.mark.parametrize(("apart", "joins"), [(40, True), (96, False)])
def test_a_signal_that_comes_and_goes_is_told_once(store: Store, apart: int, joins: bool) -> None:
    """While the rest of the incident goes on; after days it is a change of its own."""
    broken = {"schema_violation": 0.25}
    away, again = AT + 10 * HOUR_US, AT + (10 + apart) * HOUR_US
    changes = (
        Change(AT, away, rates={**broken, "error": 0.12}),
        Change(away, again, rates=broken),
        Change(again, rates={**broken, "error": 0.12}),
    )
    end = write(store, [Segment("bad", 80.0, changes=changes)], days=13)
    evaluate(store, config(alerts={"sinks": SINKS, "send_historic": True}), end)
    found = opened(store)
    assert len(found) == (1 if joins else 2) == len(sent(store))
    incident = next(row for row in found if row.signal == "schema_violation_rate" or len(row.document["facts"]) > 1)
    (errors,) = [fact for fact in incident.document["facts"] if fact["signal"] == "error_rate"]
    assert (errors["resolved"] is None) == joins
    if joins:
        assert errors["opened"] > again


def test_what_pages_does_not_disappear_in_a_ticket(store: Store) -> None:
    """Segments at stake higher than an open anomaly of the same root open their own."""
    facts = [fact("low"), fact("high")]
    ticket = anomaly(facts[0], severity="ticket")
    found = OpenAnomalies()
    found.put(ticket)
    assert found.of[("default", "low", "error_rate")] == ticket.id
    end = write(store, [Segment("bad", 80.0, changes=(RELEASE,), route="a")], days=10)
    evaluate(store, config(routes={"a": {"stakes": "high"}}), end)
    (row,) = opened(store)
    assert row.severity == "page"


def test_an_embedding_that_moves_with_the_rates_joins_them_and_explains(store: Store) -> None:
    end = write(store, [Segment("moved", 30.0, changes=(Change(AT, rates={"error": 0.3}),))], days=10)
    hours = (AT - START_US) // HOUR_US
    write_samples(store, "moved", START_US, hours, conditions={"contrast": 0.8})
    write_samples(store, "moved", AT, 240 - hours, shift=2.0, conditions={"contrast": 0.5})
    evaluate(store, config(), end)
    (row,) = opened(store)
    assert {"error_rate", "image_drift"} <= {fact["signal"] for fact in row.document["facts"]}
    (contrast,) = [c for c in row.document["explanation"]["conditions"] if c["name"] == "contrast"]
    assert contrast["change"] == pytest.approx(-0.375, abs=0.001)
    assert "contrast fell by 38 %" in row.document["explanation"]["sentence"].lower()


@pytest.mark.parametrize(("hours", "joins"), [(26, True), (80, False)])
def test_agreement_that_moves_after_the_images_did_is_the_same_change(store: Store, hours: int, joins: bool) -> None:
    """Within two days: both tell of what comes in. Later it may be the pairing that broke."""
    end = write(store, [Segment("moved", 30.0)], days=13)
    total = 13 * 24
    apart = (AT - START_US) // HOUR_US
    write_samples(store, "moved", START_US, apart, agreement=0.25)
    write_samples(store, "moved", AT, hours, shift=2.0, agreement=0.25)
    write_samples(store, "moved", AT + hours * HOUR_US, total - apart - hours, shift=2.0, agreement=0.16)
    evaluate(store, config(), end)
    found = sorted(tuple(fact["signal"] for fact in row.document["facts"]) for row in opened(store))
    assert found == ([("image_drift", "agreement")] if joins else [("agreement",), ("image_drift",)])


def test_a_segment_that_comes_later_is_recorded_once_and_told_to_nobody(store: Store) -> None:
    end = write(store, [Segment("old", 30.0)], days=18)
    newcomer = START_US + 9 * DAY_US + 5 * HOUR_US
    write(store, [Segment("late", 60.0)], days=9, start_us=newcomer, partition=1)
    set_watermark(store, end, 1)
    evaluate(store, config(alerts={"sinks": SINKS, "send_historic": True}), end)
    (row,) = [row for row in opened(store) if row.signal == "new_segment"]
    assert (row.segment, row.severity) == ("late", "report")
    assert row.opened_us == newcomer + HOUR_US
    assert row.state == "resolved"  # when it had a reference
    assert row.resolved_us is not None
    assert row.resolved_us >= newcomer + 7 * DAY_US
    assert row.document["explanation"]["sentence"].startswith("Segment late is new: first seen 2026-01-14 05:0")
    assert row.anomaly_id not in {key for key, _ in sent(store)}


def test_a_segment_that_appears_for_an_hour_and_dies_is_closed(store: Store) -> None:
    write(store, [Segment("old", 20.0)], days=30)
    brief = Segment("brief", 200.0, changes=(Change(START_US + 10 * DAY_US + HOUR_US, volume=0.0),))
    write(store, [brief], days=20, start_us=START_US + 10 * DAY_US, partition=1)
    evaluate(store, config(evaluation={"history": "14d"}), START_US + 30 * DAY_US)
    (row,) = [row for row in opened(store) if row.segment == "brief"]
    assert (row.signal, row.state) == ("new_segment", "resolved")


@pytest.mark.parametrize("released", ["15", "14"])
def test_a_release_that_breaks_two_segments_is_one_anomaly(store: Store, released: str) -> None:
    """What both began with joins them; two segments that break at one time for no common reason are two anomalies."""
    broken = (Change(AT, rates={"schema_violation": 0.25}),)
    end = write(store, [Segment("a", 80.0, changes=broken), Segment("b", 60.0, changes=broken)], days=10)
    hours = (AT - START_US) // HOUR_US
    for name in ("a", "b"):
        write_samples(store, name, START_US, hours, prompt="14")
        write_samples(store, name, AT, 240 - hours, prompt=released)
    evaluate(store, config(), end)
    found = opened(store)
    told = [{fact["subject"] for fact in row.document["facts"]} for row in found]
    if released == "14":
        assert told == [{"a"}, {"b"}] or told == [{"b"}, {"a"}]
        return
    assert told == [{"a", "b"}]
    sentence = found[0].document["explanation"]["sentence"]
    assert "It began with prompt extract 15 (0 % of sessions the day before, 100 % now)." in sentence
    # It is found where it shows, not only where it was opened; a part of a name is no name.
    with store.read() as connection:
        for name, signal in (("a", None), ("b", None), (None, "schema_violation_rate")):
            rows = list_anomalies(connection, segment=name, signal=signal)
            assert [row.anomaly_id for row in rows] == [found[0].anomaly_id]
        assert list_anomalies(connection, segment="A") == list_anomalies(connection, segment="_") == []
        assert list_anomalies(connection, signal="schema") == []
    assert f"schema_violation_rate in {'b' if found[0].segment == 'a' else 'a'} (2" in sentence


def test_an_explanation_that_fails_holds_up_no_alarm(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Explanation:
        raise ValueError("boom")

    monkeypatch.setattr(explaining, "compare", broken)
    end = write(store, [Segment("bad", 80.0, changes=(RELEASE,))], days=10)
    worker = EvaluateWorker(store, config(), clock=lambda: end / 1e6)
    worker.drain()
    (row,) = opened(store)
    assert row.document["explanation"]["attributes"] == []
    assert row.document["explanation"]["sentence"].startswith(row.document["facts"][0]["sentence"])
    assert worker.unexplained >= 1
    worker.close()


def test_a_flood_of_alarms_is_not_held_up_by_explanations(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty segments break at one moment, each in several signals: a few explanations at once, the others by the hour,
    none for what joins its segment's anomaly; in the end every anomaly has been asked about."""
    made: dict[int, int] = {}
    real = explaining.explain

    def counted(session: Any, stream: Any, each: Fact, end_us: int) -> Explanation:
        made[end_us] = made.get(end_us, 0) + 1
        return real(session, stream, each, end_us)

    monkeypatch.setattr(explaining, "explain", counted)
    names = [f"s{k}" for k in range(20)]
    change = Change(AT, rates={"schema_violation": 0.6}, slow_share=0.5, slow=6.0)
    write(store, [Segment(name, 60.0, changes=(change,)) for name in names], days=9)
    for name in names:
        write_samples(store, name, AT - DAY_US, 30, conditions={"contrast": 0.5})
    set_watermark(store, AT + 5 * HOUR_US)
    evaluate(store, config(), AT + 5 * HOUR_US)
    found = opened(store)
    assert len(found) >= 20
    assert sum(len(row.document["facts"]) for row in found) > 1.5 * len(found)
    assert max(count for end, count in made.items() if end % HOUR_US) <= 8
    assert max(made.values()) <= 8 + 24
    assert all(row.document["explanation"]["tried"] for row in found)


def test_an_alarm_within_the_hour_is_explained_alike_whether_its_samples_are_embedded_or_not(
    store: Store, tmp_path: Path
) -> None:
    """Ticks do not wait for the hour's samples; what the explanation says may not depend on how far embedding is."""
    other = open_store(f"sqlite:///{tmp_path / 'other.db'}")
    hours, until = (AT - START_US) // HOUR_US, AT + 50 * MINUTE_US
    for each in (store, other):
        write(each, [Segment("bad", 200.0, changes=(Change(AT, rates={"schema_violation": 0.5}),))], days=9)
        write_samples(each, "bad", START_US, hours, prompt="14", conditions={"contrast": 0.8})
        write_samples(each, "bad", AT, 2, prompt="15", conditions={"contrast": 0.4})
        set_watermark(each, until)
    with other.write() as connection:
        pending = samples.c.window_us >= AT
        connection.execute(samples.update().where(pending).values(state="pending", encoder=""))
        late = samples.select().with_only_columns(samples.c.sample_id).where(pending)
        connection.execute(sample_parts.delete().where(sample_parts.c.sample_id.in_(late)))
    for each in (store, other):
        evaluate(each, config(), until)
    (row,) = opened(store)
    assert AT < row.opened_us < AT + HOUR_US
    began = [(a["attribute"], a["value"]) for a in row.document["explanation"]["attributes"]]
    assert began == [("prompt", "extract 15")]
    assert [found.document for found in opened(other)] == [row.document]
    other.close()


def test_beginnings_that_may_be_one() -> None:
    hour = HOUR_US
    assert same_start(Since(low=0, high=hour), Since(low=hour, high=2 * hour))
    assert same_start(Since(low=0, high=hour), Since(low=2 * hour, high=9 * hour))  # looks are hourly
    assert not same_start(Since(low=0, high=hour), Since(low=2 * hour + 1, high=9 * hour))
    assert not same_start(Since(low=2 * hour + 1, high=9 * hour), Since(low=0, high=hour))


def fact(subject: str, signal: str = "error_rate", sentence: str = "It rose.") -> Fact:
    return Fact(
        subject=subject, signal=signal, detector="rate", opened=END, since=Since(low=AT, high=AT + HOUR_US),
        evidence=Evidence(kind="funded_sr", value=1.7, threshold=1.0),
        effect=Effect(value=0.1, unit="share", low=0.08, high=0.12, baseline=0.01), sentence=sentence,
    )  # fmt: skip


def anomaly(first: Fact, **over: Any) -> Anomaly:
    values: dict[str, Any] = {"owner": "default", "route": "r", "severity": "page"}
    explanation = Explanation(sentence="")
    return open_anomaly(
        **{**values, **over}, fact=first, explanation=explanation, detected_us=END, rules=SendingRules()
    )


def test_open_facts_are_known_by_their_streams() -> None:
    found = OpenAnomalies()
    both = join(anomaly(fact("s")), fact("s", "cost_p95"))
    found.put(both)
    assert [key for key, _, _ in found.facts()] == [("default", "s", "cost_p95"), ("default", "s", "error_rate")]
    one = resolve(both, ("s", "error_rate"), at_us=END)
    found.put(one)
    assert [key for key, _, _ in found.facts()] == [("default", "s", "cost_p95")]
    found.put(resolve(one, ("s", "cost_p95"), at_us=END))
    assert found.facts() == []
    assert found.by_id == {}


@pytest.mark.parametrize(
    ("signal", "value", "after_hours", "joins"),
    [
        ("error_rate", "m-2", 20, True),
        ("error_rate", "m-3", 20, False),
        ("error_rate", "m-2", 60, False),
        ("cost_p95", "m-2", 20, False),
    ],
)
def test_a_slice_that_sees_it_later_joins_where_the_same_value_is_behind_it(
    signal: str, value: str, after_hours: int, joins: bool
) -> None:
    def behind(name: str, how: str) -> Explanation:
        return Explanation(sentence="", attributes=[{"attribute": "model", "value": name, "how": how}])

    page = msgspec.structs.replace(anomaly(fact("s")), explanation=behind("m-2", "began"))
    found = OpenAnomalies()
    found.put(page)
    at = END + after_hours * HOUR_US
    late = msgspec.structs.replace(
        fact("slice:domain_notation", signal), opened=at, since=Since(low=at - 6 * HOUR_US, high=at)
    )
    session: Any = SimpleNamespace(open=found)
    stream: Any = SimpleNamespace(owner="default", severity="ticket")
    home = _home(session, stream, late, behind(value, "carries"))
    assert (home is not None) == joins
    assert _home(session, stream, late, None) is None, "not known before it is explained"


def test_a_story_of_many_facts_stays_short() -> None:
    many = anomaly(fact("s", sentence="x" * 2000))
    for k in range(60):
        many = join(many, fact("s", f"signal_{k}"))
    assert len(story(many, "EUR")) == MAX_CHARACTERS
    few = anomaly(fact("s"))
    for k in range(5):
        few = join(few, fact("t", f"signal_{k}"))
    assert story(few, "EUR") == (
        "It rose. With it changed: signal_0 in t (1 % → 10 %), signal_1 in t (1 % → 10 %), "
        "signal_2 in t (1 % → 10 %) and 2 more."
    )
