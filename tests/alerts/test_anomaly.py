"""The anomaly document, its published schema, and its life."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from msgspec.structs import replace

from alerts import anomaly as anomalies
from alerts import lifecycle
from alerts.anomaly import Anomaly, AnomalyError, Effect, Evidence, Explanation, Fact, Since
from alerts.lifecycle import SendingRules

HOUR_US = 3_600_000_000
T = 1_767_571_200_000_000


EFFECT = Effect(value=0.1, unit="share", low=0.08, high=0.12, baseline=0.01)
SENTENCE = "The error rate in extract/acme rose from 1 % to 10 %."


def fact(subject: str = "extract/acme", signal: str = "error_rate", opened_us: int = T) -> Fact:
    return Fact(
        subject=subject,
        signal=signal,
        detector="rate",
        opened=opened_us,
        since=Since(low=T - HOUR_US, high=T - HOUR_US // 2),
        evidence=Evidence(kind="funded_sr", value=1.7, threshold=1.0),
        effect=EFFECT,
        sentence=SENTENCE,
    )


def opened(
    detected_us: int = T + HOUR_US,
    *,
    subject: str = "extract/acme",
    signal: str = "error_rate",
    opened_us: int = T,
    **over: Any,
) -> Anomaly:
    values: dict[str, Any] = {
        "owner": "default",
        "route": "extract",
        "severity": "page",
        "explanation": Explanation(sentence=SENTENCE),
        "rules": SendingRules(sinks=("a", "b")),
    }
    first = fact(subject, signal, opened_us)
    return lifecycle.open_anomaly(fact=first, **{**values, **over}, detected_us=detected_us)


def resolved(anomaly: Anomaly, at_us: int) -> Anomaly:
    for each in anomaly.facts:
        anomaly = lifecycle.resolve(anomaly, each.stream, at_us=at_us)
    return anomaly


def validator() -> Any:
    return jsonschema.Draft202012Validator(anomalies.json_schema())


def test_the_published_schema_is_the_one_of_the_code() -> None:
    path = Path(anomalies.__file__).with_name("anomaly.schema.json")
    assert path.read_text() == anomalies.schema_text(), "run: python -m alerts.anomaly > alerts/anomaly.schema.json"


@pytest.mark.parametrize("subject", ["extract/acme", "slice:rotated_or_skewed"])
def test_documents_satisfy_the_schema_and_come_back(subject: str) -> None:
    first = opened(subject=subject)
    for found in (first, resolved(first, T + HOUR_US)):
        document = json.loads(anomalies.to_json(found))
        validator().validate(document)
        assert anomalies.from_document(document) == found
        assert found.subject == subject


def test_the_schema_refuses_what_is_no_anomaly() -> None:
    good = anomalies.to_document(opened())
    for name in good:
        assert not validator().is_valid({key: value for key, value in good.items() if key != name}), name
    assert not validator().is_valid({**good, "severity": "email"})
    assert not validator().is_valid({**good, "slice": "both"})
    assert not validator().is_valid({**good, "segment": None})


def test_reading_says_what_is_wrong() -> None:
    with pytest.raises(AnomalyError, match="format 2"):
        anomalies.from_document({**anomalies.to_document(opened()), "format": 2})
    with pytest.raises(AnomalyError, match="severity"):
        anomalies.from_document({**anomalies.to_document(opened()), "severity": "email"})
    with pytest.raises(AnomalyError, match="JSON object"):
        anomalies.from_json("{")


def test_facts_of_a_time_before_incidents_were_joined_are_of_the_anomaly_s_own_segment() -> None:
    for subject in ("extract/acme", "slice:rotated_or_skewed"):
        document = anomalies.to_document(opened(subject=subject))
        for each in document["facts"]:
            del each["subject"], each["resolved"]
        assert anomalies.from_document(document) == opened(subject=subject)


def test_the_id_is_what_the_anomaly_is_and_not_when_it_was_found() -> None:
    first = opened()
    assert opened(detected_us=T + 900 * HOUR_US).id == first.id
    different = [
        opened(owner="x"),
        opened(subject="y"),
        opened(signal="z"),
        opened(opened_us=T + 1),
        opened(owner="defaulte", subject="xtract/acme"),
    ]
    assert len({found.id for found in (first, *different)}) == len(different) + 1


def test_historic_ones_are_recorded_and_not_sent() -> None:
    rules = SendingRules(sinks=("a", "b"), max_age_us=6 * HOUR_US)
    fresh, old = opened(T + 6 * HOUR_US, rules=rules), opened(T + 6 * HOUR_US + 1, rules=rules)
    assert not fresh.historic
    assert [m.sink for m in lifecycle.messages(fresh, rules, T)] == ["a", "b"]
    assert old.historic
    assert lifecycle.messages(old, rules, T) == []
    assert lifecycle.messages(resolved(old, T), rules, T) == []
    asked = SendingRules(sinks=("a",), max_age_us=0, send_historic=True)
    assert [m.key for m in lifecycle.messages(old, asked, T)] == [old.id]


def test_reports_wake_nobody() -> None:
    assert lifecycle.messages(opened(severity="report"), SendingRules(sinks=("a",)), T) == []


def test_an_update_keeps_identity_and_opening() -> None:
    first = opened()
    effect = Effect(value=0.2, unit="share", low=0.18, high=0.22, baseline=0.01)
    later = lifecycle.update(
        first, first.facts[0].stream, at_us=T + HOUR_US, effect=effect, sentence="It rose further."
    )
    assert (later.id, later.opened, later.since, later.state) == (first.id, first.opened, first.since, "open")
    assert later.updated == T + HOUR_US
    assert later.effect == later.facts[0].effect == effect
    assert later.facts[0].sentence == "It rose further."


def test_a_fact_that_joins_changes_neither_identity_nor_effect() -> None:
    first = opened()
    both = lifecycle.join(first, fact(signal="cost_p95", opened_us=T + HOUR_US))
    assert (both.id, both.signal, both.effect, both.opened) == (first.id, first.signal, first.effect, first.opened)
    assert [each.signal for each in both.facts] == ["error_rate", "cost_p95"]
    validator().validate(json.loads(anomalies.to_json(both)))
    changed = lifecycle.update(
        both, ("extract/acme", "cost_p95"), at_us=T + 2 * HOUR_US, effect=replace(EFFECT, value=0.3), sentence="Dearer."
    )
    assert changed.effect == first.effect
    assert changed.facts[1].effect.value == 0.3


def test_an_anomaly_is_over_when_all_its_facts_are() -> None:
    both = lifecycle.join(opened(), fact(signal="cost_p95", opened_us=T + HOUR_US))
    one = lifecycle.resolve(both, ("extract/acme", "error_rate"), at_us=T + 2 * HOUR_US)
    assert (one.state, one.resolved, one.facts[0].resolved) == ("open", None, T + 2 * HOUR_US)
    none = lifecycle.resolve(one, ("extract/acme", "cost_p95"), at_us=T + 3 * HOUR_US)
    assert (none.state, none.resolved) == ("resolved", T + 3 * HOUR_US)
    validator().validate(json.loads(anomalies.to_json(none)))


@pytest.mark.parametrize("signal", ["error_rate", "cost_p95"])
def test_a_stream_that_comes_back_takes_its_facts_place(signal: str) -> None:
    both = lifecycle.join(opened(), fact(signal="cost_p95", opened_us=T + HOUR_US))
    one = lifecycle.resolve(both, ("extract/acme", signal), at_us=T + 2 * HOUR_US)
    back = lifecycle.join(one, fact(signal=signal, opened_us=T + 3 * HOUR_US))
    assert sorted(each.signal for each in back.facts) == ["cost_p95", "error_rate"]
    assert all(each.resolved is None for each in back.facts)
    assert back.facts[0].opened == back.opened == T


def test_an_old_anomaly_that_goes_on_is_told_with_the_fact_that_is_not_old() -> None:
    rules = SendingRules(sinks=("a",), max_age_us=6 * HOUR_US)
    old = opened(T + 9 * HOUR_US, rules=rules)
    later = fact(signal="cost_p95", opened_us=T + 5 * HOUR_US)
    assert lifecycle.join(old, later, historic=True).historic
    told = lifecycle.join(old, later, historic=False)
    assert not told.historic
    assert [message.key for message in lifecycle.messages(told, rules, T)] == [old.id]
    fresh = opened(T, rules=rules)
    assert not lifecycle.join(fresh, later, historic=True).historic
