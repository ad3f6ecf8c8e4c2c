"""Annotations through the real grafana-client, against a server that holds the shapes of Grafana's HTTP API."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent
from alerts.sinks.grafana import GrafanaSink, GrafanaTarget
from monitor.store import outbox
from monitor.store.engine import Store
from tests.alerts.parts import MINUTE, NOW, Answer, Clock, Request, Target, anomaly, dispatcher, tell


class Annotations:
    """The part of Grafana that keeps annotations; refuses a request of another shape."""

    def __init__(self) -> None:
        self.kept: dict[int, dict[str, Any]] = {}
        self.lose_answers = 0

    def __call__(self, request: Request) -> Answer:
        if request.headers.get("Authorization") != "Bearer token":
            return Answer(401, b'{"message": "Unauthorized"}')
        url = urlsplit(request.path)
        if request.method == "GET" and url.path == "/grafana/api/annotations":
            tags = set(parse_qs(url.query)["tags"])
            found = [{"id": i, **a} for i, a in self.kept.items() if tags <= set(a["tags"])]
            return Answer(body=json.dumps(found).encode())
        body = request.json
        assert isinstance(body["time"], int)
        assert isinstance(body["timeEnd"], int)
        assert body["time"] <= body["timeEnd"]
        assert 10**12 < body["time"] < 10**13, "epoch milliseconds"
        assert all(isinstance(tag, str) for tag in body["tags"])
        assert isinstance(body["text"], str)
        if request.method == "POST":
            assert url.path == "/grafana/api/annotations"
            assert set(body) <= {"dashboardUID", "panelId", "time", "timeEnd", "tags", "text"}
            number = len(self.kept) + 1
            self.kept[number] = body
            if self.lose_answers:
                self.lose_answers -= 1
                return Answer(behave="cut")
            return Answer(body=json.dumps({"message": "Annotation added", "id": number}).encode())
        assert request.method == "PATCH"
        number = int(url.path.removeprefix("/grafana/api/annotations/"))
        if number not in self.kept:
            return Answer(404, b'{"message": "not found"}')
        assert set(body) == {"time", "timeEnd", "tags", "text"}
        self.kept[number].update(body)
        return Answer(body=b'{"message": "Annotation patched"}')


@pytest.fixture
def grafana(web: Target) -> Annotations:
    kept = Annotations()
    web.answer = kept
    return kept


def sink(web: Target, **options: Any) -> GrafanaSink:
    settings = {"token": "token", "dashboard_uid": "driftline-overview", "timeout_s": 1.0, **options}
    return GrafanaSink(GrafanaTarget(f"{web.url}/grafana", **settings))


def send(web: Target, document: dict[str, Any], **options: Any) -> Outcome:
    target = sink(web, **options)
    try:
        return target.send([Delivery(document["id"], "anomaly", document, created_us=NOW)], NOW)[0]
    finally:
        target.close()


def test_an_interval_is_opened_and_closed(store: Store, clock: Clock, web: Target, grafana: Annotations) -> None:
    work = dispatcher(store, clock, {"grafana": sink(web)})
    tell(store, clock, "grafana", anomaly())
    work.step()
    opened, closed = anomaly(), anomaly(state="resolved")
    tell(store, clock, "grafana", closed)
    work.step()
    (kept,) = grafana.kept.values()
    assert kept["dashboardUID"] == "driftline-overview"
    assert kept["time"] == opened["since"]["low"] // 1000
    assert kept["timeEnd"] == closed["resolved"] // 1000
    assert kept["text"].startswith("Resolved: schema_violation_rate")
    assert f"anomaly:{opened['id']}" in kept["tags"]
    assert "segment:invoice-extract/acme" in kept["tags"]


def test_a_lost_answer_makes_no_second_annotation(
    store: Store, clock: Clock, web: Target, grafana: Annotations
) -> None:
    grafana.lose_answers = 1
    work = dispatcher(store, clock, {"grafana": sink(web)})
    tell(store, clock, "grafana", anomaly())
    work.step()
    clock.tick(MINUTE)
    work.step()
    assert work.counts == {("grafana", "retry"): 1, ("grafana", "sent"): 1}
    assert len(grafana.kept) == 1


def test_a_deleted_annotation_is_made_again(store: Store, clock: Clock, web: Target, grafana: Annotations) -> None:
    work = dispatcher(store, clock, {"grafana": sink(web)})
    tell(store, clock, "grafana", anomaly())
    work.step()
    grafana.kept.clear()
    tell(store, clock, "grafana", anomaly(state="resolved"))
    for _ in range(3):
        work.step()
        clock.tick(MINUTE)
    assert [kept["text"][:9] for kept in grafana.kept.values()] == ["Resolved:"]


def test_a_wrong_token_is_tried_again(web: Target, grafana: Annotations) -> None:
    outcome = send(web, anomaly(), token="old")
    assert isinstance(outcome, Retry)
    assert outcome.error == "HTTP 401: Unauthorized"


def test_outcomes(web: Target) -> None:
    web.answer = lambda request: Answer(400, b'{"message": "bad time"}')
    assert isinstance(send(web, anomaly()), Refused)
    for answer in (Answer(500, b"oops"), Answer(behave="cut"), Answer(behave="hang"), Answer(body=b"<html>")):
        web.answer = lambda request, answer=answer: answer
        assert isinstance(send(web, anomaly()), Retry)
    web.url = "http://127.0.0.1:1"
    assert isinstance(send(web, anomaly()), Retry)


def test_a_slice_is_named_as_in_the_store(web: Target, grafana: Annotations) -> None:
    document = {**anomaly(), "segment": None, "slice": "rotated_or_skewed"}
    assert isinstance(send(web, document), Sent)
    assert "segment:slice:rotated_or_skewed" in grafana.kept[1]["tags"]


def test_a_deploy_is_one_annotation_whatever_gets_lost(
    store: Store, clock: Clock, web: Target, grafana: Annotations
) -> None:
    deploy = {
        "version": "v2<b>", "route": "extract", "segment": "", "time_us": NOW, "who": "ci", "note": "faster & better"
    }  # fmt: skip
    grafana.lose_answers = 1
    work = dispatcher(store, clock, {"grafana": sink(web)})
    with store.write() as connection:
        outbox.enqueue(
            connection,
            sink="grafana",
            key="deploy/b17",
            kind="deploy",
            payload=deploy,
            created_us=clock.now,
            due_us=clock.now,
        )
    work.step()
    clock.tick(MINUTE)
    work.step()
    (kept,) = grafana.kept.values()
    assert kept["time"] == kept["timeEnd"] == NOW // 1000
    assert kept["tags"] == ["driftline", "deploy", "deploy/b17", "route:extract"]
    assert kept["text"] == "v2&lt;b&gt; deployed (extract) by ci: faster &amp; better"
    with store.read() as connection:
        assert outbox.deliveries(connection, "deploy/b17") == []  # the store has a table of its own for it
