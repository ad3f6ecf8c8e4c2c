"""Real Alertmanagers: every peer, partial success, a peer that was down, re-sending, resolving."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.rendering import LABELS, Links, rfc3339
from alerts.sinks import Delivery, Refused, Retry, Sent
from alerts.sinks.alertmanager import RESEND_RESOLVED_US, AlertmanagerPeers, AlertmanagerSink
from monitor.demo.broker import free_port
from monitor.store import outbox
from monitor.store.engine import Store
from tests.alerts.parts import MINUTE, Answer, Clock, Target, anomaly, dispatcher, tell, vast
from tests.conftest import absent
from tests.services import Unavailable
from tests.services import prometheus as services


class Peers:
    """Two independent Alertmanagers that can be stopped and started again at their addresses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = (free_port(), free_port())
        self._stacks: dict[int, ExitStack] = {}
        self.urls = tuple(f"http://127.0.0.1:{port}" for port in self._ports)

    def start(self, number: int) -> None:
        stack = self._stacks[number] = ExitStack()
        try:
            stack.enter_context(services.alertmanager(self._folder / str(number), port=self._ports[number]))
        except Unavailable as error:
            absent(error)

    def stop(self, number: int) -> None:
        self._stacks.pop(number).close()

    def close(self) -> None:
        for number in list(self._stacks):
            self.stop(number)


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    pair = Peers(tmp_path)
    yield pair
    pair.close()


def held(url: str) -> list[dict[str, Any]]:
    """Alerts that an Alertmanager has as active."""
    return list(httpx.get(f"{url}/api/v2/alerts", trust_env=False).raise_for_status().json())


def sink(*urls: str, **options: Any) -> AlertmanagerSink:
    return AlertmanagerSink(AlertmanagerPeers(urls, timeout_s=2.0, **options))


@pytest.mark.real
def test_an_alert_says_what_where_how_much_since_when(store: Store, clock: Clock, alertmanager: str) -> None:
    links = Links(dashboard_url="http://grafana.example", app_url="http://app.example")
    work = dispatcher(store, clock, {"oncall": sink(alertmanager, links=links)})
    document = anomaly()
    tell(store, clock, "oncall", document)
    work.step()
    (alert,) = held(alertmanager)
    assert alert["labels"] == {
        "alertname": "DriftlineAnomaly",
        "id": document["id"],
        "segment": "invoice-extract/acme",
        "route": "invoice-extract",
        "signal": "schema_violation_rate",
        "severity": "ticket",
        "owner": "default",
    }
    assert set(alert["labels"]) == {"alertname", *LABELS}
    told = alert["annotations"]
    assert told["summary"] == document["explanation"]["sentence"]
    assert told["effect"] == "14 % (95 % interval 11 % to 18 %), 2 % before"
    assert told["evidence"] == "funded_sr 5230 against a threshold of 1000"
    assert told["app"] == alert["generatorURL"] == f"http://app.example/anomalies/{document['id']}"
    assert told["dashboard"].startswith("http://grafana.example/d/driftline-overview?from=")
    assert "var-segment=invoice-extract%2Facme" in told["dashboard"]
    assert alert["startsAt"] == rfc3339(document["since"]["low"])


@pytest.mark.real
def test_the_longest_names_are_taken_and_its_texts_are_bounded(
    sqlite_store: Store, clock: Clock, alertmanager: str
) -> None:
    document = vast()
    links = Links(dashboard_url="http://grafana.example", app_url="http://app.example")
    work = dispatcher(sqlite_store, clock, {"oncall": sink(alertmanager, links=links)})
    tell(sqlite_store, clock, "oncall", document)
    work.step()
    (alert,) = held(alertmanager)
    assert (alert["labels"]["segment"], alert["labels"]["route"]) == (document["segment"], document["route"])
    assert max(len(text) for text in alert["labels"].values()) <= 200
    assert {name: len(alert["annotations"][name]) <= 4000 for name in ("summary", "description")} == {
        "summary": True, "description": True
    }  # fmt: skip
    assert alert["annotations"]["description"].endswith("…")
    assert len(json.dumps(alert, ensure_ascii=False).encode()) < 64_000, "re-sent every minute, a hundred at once"


@pytest.mark.real
def test_a_firing_alert_is_sent_again_and_an_update_is_the_same_alert(
    store: Store, clock: Clock, alertmanager: str
) -> None:
    work = dispatcher(store, clock, {"oncall": sink(alertmanager)})
    tell(store, clock, "oncall", anomaly())
    work.step()
    (first,) = held(alertmanager)
    clock.tick(MINUTE - 1)
    assert work.step() == 0
    clock.tick(1)
    assert work.step() == 1
    (again,) = held(alertmanager)
    assert again["endsAt"] > first["endsAt"]
    tell(store, clock, "oncall", {**anomaly(value=0.3), "severity": "page"})
    work.step()
    (updated,) = held(alertmanager)
    assert updated["fingerprint"] == first["fingerprint"], "labels stay those sent first"
    assert updated["annotations"]["effect"].startswith("30 % (95 % interval")


@pytest.mark.real
def test_a_firing_alert_outlives_a_short_death_of_driftline(store: Store, clock: Clock, alertmanager: str) -> None:
    work = dispatcher(store, clock, {"oncall": sink(alertmanager)})
    tell(store, clock, "oncall", anomaly())
    work.step()
    (alert,) = held(alertmanager)
    assert alert["endsAt"] == rfc3339(clock() + 10 * MINUTE)


@pytest.mark.real
def test_a_resolved_alert_ends_and_is_sent_again_for_five_minutes(
    store: Store, clock: Clock, alertmanager: str
) -> None:
    work = dispatcher(store, clock, {"oncall": sink(alertmanager)})
    tell(store, clock, "oncall", anomaly())
    work.step()
    assert len(held(alertmanager)) == 1
    clock.now = time.time_ns() // 1000
    tell(store, clock, "oncall", anomaly(state="resolved"))
    began, sent = clock(), 0
    while clock() <= began + 20 * MINUTE:
        sent += work.step()
        clock.tick(MINUTE // 4)
    assert held(alertmanager) == []
    assert sent == 1 + RESEND_RESOLVED_US // MINUTE


@pytest.mark.real
def test_a_bad_alert_does_not_take_the_good_ones_with_it(store: Store, clock: Clock, alertmanager: str) -> None:
    """Alertmanager answers 400 for the whole array and stores the valid ones all the same."""
    good, bad = [anomaly(f"segment-{n}") for n in range(3)], anomaly("bad")
    with store.write() as conn:
        for document in (*good[:2], bad, good[2]):
            outbox.enqueue(
                conn,
                sink="oncall",
                key=document["id"],
                kind="anomaly",
                payload=document,
                created_us=clock(),
                due_us=clock(),
            )
    target = sink(alertmanager)
    whole = target._alert

    def damaged(delivery: Delivery, now_us: int) -> dict[str, Any]:
        alert = whole(delivery, now_us)
        if delivery.key == bad["id"]:
            alert["labels"] = {}
        return alert

    target._alert = damaged  # type: ignore[method-assign]
    dispatcher(store, clock, {"oncall": target}).step()
    assert {alert["labels"]["segment"] for alert in held(alertmanager)} == {"segment-0", "segment-1", "segment-2"}
    with store.read() as conn:
        assert [(d.state, d.rows) for d in outbox.depths(conn)] == [("failed", 1), ("sent", 3)]
        (failed,) = outbox.deliveries(conn, bad["id"])
    assert "at least one label pair required" in failed.error


@pytest.mark.real
def test_a_peer_that_was_down_gets_it_later(store: Store, clock: Clock, peers: Peers) -> None:
    peers.start(0)
    up, down = peers.urls
    work = dispatcher(store, clock, {"oncall": sink(up, down)})
    document = anomaly()
    tell(store, clock, "oncall", document)
    for _ in range(20):
        work.step()
        clock.tick(MINUTE // 2)
        clock.now = max(clock.now, time.time_ns() // 1000)
    (alert,) = held(up)
    assert alert["endsAt"] > rfc3339(clock()), "the peer that is up keeps hearing of it"
    with store.read() as conn:
        (row,) = outbox.deliveries(conn, document["id"])
    assert (row.state, down in row.error, up in row.error) == ("pending", True, False)
    other = anomaly("another")
    tell(store, clock, "oncall", other)
    work.step()
    assert len(held(up)) == 2, "a peer that is down does not delay what the other one can be told"
    peers.start(1)
    clock.tick(MINUTE)
    work.step()
    assert {a["labels"]["id"] for a in held(down)} == {document["id"], other["id"]}
    with store.read() as conn:
        (row,) = outbox.deliveries(conn, document["id"])
    assert (row.state, row.error) == ("sent", "")
    assert set(row.remote["peers"]) == {up, down}


@pytest.mark.real
def test_a_resolution_reaches_a_peer_that_was_down(store: Store, clock: Clock, peers: Peers) -> None:
    peers.start(0)
    peers.start(1)
    work = dispatcher(store, clock, {"oncall": sink(*peers.urls)})
    tell(store, clock, "oncall", anomaly())
    work.step()
    assert [len(held(url)) for url in peers.urls] == [1, 1]
    peers.stop(1)
    clock.now = time.time_ns() // 1000
    tell(store, clock, "oncall", anomaly(state="resolved"))
    for _ in range(12):
        work.step()
        clock.tick(MINUTE)
    peers.start(1)
    for _ in range(8):
        work.step()
        clock.tick(MINUTE)
    assert [held(url) for url in peers.urls] == [[], []]
    with store.read() as conn:
        assert [(d.state, d.rows) for d in outbox.depths(conn)] == [("sent", 1)]


def test_only_the_peer_that_failed_is_asked_again(clock: Clock, web: Target) -> None:
    """A peer that answers 5xx or 429 is retried alone; the one that has the alert is left in peace."""
    web.answer = lambda request: Answer(429, b"busy", {"Retry-After": "9"}) if "/two/" in request.path else Answer()
    target = sink(f"{web.url}/one", f"{web.url}/two")
    document = anomaly()
    first = target.send([Delivery(document["id"], "anomaly", document, created_us=clock())], clock())[0]
    assert isinstance(first, Retry)
    assert (first.after_us, first.at_most_us) == (9_000_000, MINUTE)
    web.answer = lambda request: Answer()
    delivery = Delivery(document["id"], "anomaly", document, created_us=clock(), remote=first.remote)
    second = target.send([delivery], clock() + 9_000_000)[0]
    assert isinstance(second, Sent)
    assert second.again_us == clock() + MINUTE, "the first peer is due again at its own time"
    assert sorted(request.path.split("/")[1] for request in web.requests) == ["one", "two", "two"]
    target.close()


def test_a_pause_that_one_peer_asks_for_ends_no_alert_at_the_other(
    sqlite_store: Store, clock: Clock, web: Target
) -> None:
    """An hour's `Retry-After` of one peer: the other hears of the alert every minute, and of its end at once."""
    busy = Answer(503, b"busy", {"Retry-After": "3600"})
    web.answer = lambda request: busy if "/two/" in request.path else Answer()
    work = dispatcher(sqlite_store, clock, {"oncall": sink(f"{web.url}/one", f"{web.url}/two")})
    tell(sqlite_store, clock, "oncall", anomaly())
    for _ in range(140):
        work.step()
        heard = [request.json[0] for request in web.requests if "/one/" in request.path]
        assert heard[-1]["endsAt"] >= rfc3339(clock() + 8 * MINUTE), "it would end there"
        clock.tick(MINUTE // 2)
    assert len(heard) == 70, "every minute, whatever the other one does"
    asked = len(web.requests) - len(heard)
    assert asked == 14, "the pause is kept for as long as the alert can do without, five minutes"
    tell(sqlite_store, clock, "oncall", anomaly(state="resolved"))
    work.step()
    heard = [request.json[0] for request in web.requests if "/one/" in request.path]
    assert len(heard) == 71
    assert heard[-1]["annotations"]["summary"].startswith("Resolved")
    web.answer = lambda request: Answer()
    for _ in range(12):
        clock.tick(MINUTE)
        work.step()
    with sqlite_store.read() as conn:
        assert [(d.state, d.rows) for d in outbox.depths(conn)] == [("sent", 1)]


def test_what_one_peer_refuses_does_not_end_at_the_other_that_took_it(
    sqlite_store: Store, clock: Clock, web: Target
) -> None:
    """As a proxy before one of them may, or one of another version while they are updated."""
    web.answer = lambda request: Answer(400, b'"too long"') if "/two/" in request.path else Answer()
    work = dispatcher(sqlite_store, clock, {"oncall": sink(f"{web.url}/one", f"{web.url}/two")})
    tell(sqlite_store, clock, "oncall", anomaly())
    for _ in range(40):
        work.step()
        heard = [request.json[0] for request in web.requests if "/one/" in request.path]
        assert heard[-1]["endsAt"] >= rfc3339(clock() + 8 * MINUTE), "it would end there"
        clock.tick(MINUTE // 2)
    with sqlite_store.read() as conn:
        (row,) = outbox.deliveries(conn, anomaly()["id"])
    assert (row.state, row.error) == ("pending", f"{web.url}/two: too long")
    web.answer = lambda request: Answer(400, b'"too long"')
    tell(sqlite_store, clock, "oncall", anomaly(state="resolved"))
    work.step()
    with sqlite_store.read() as conn:
        assert [(d.state, d.rows) for d in outbox.depths(conn)] == [("failed", 1)], "all of them refuse it"


def test_a_pause_asked_for_by_the_only_peer_is_kept_while_it_can_be(
    sqlite_store: Store, clock: Clock, web: Target
) -> None:
    """What it holds is renewed before it ends; what it has not got waits no longer than that either."""
    work = dispatcher(sqlite_store, clock, {"oncall": sink(web.url)})
    tell(sqlite_store, clock, "oncall", anomaly())
    work.step()
    web.answer = lambda request: Answer(429, b"busy", {"Retry-After": "3600"})
    clock.tick(MINUTE)
    began, asked = clock(), []
    while clock() < began + 8 * MINUTE:
        before = len(web.requests)
        work.step()
        asked += [(clock() - began) // MINUTE] * (len(web.requests) - before)
        clock.tick(MINUTE // 2)
    assert asked == [0, 4, 5, 6, 7], "five minutes after it heard of the alert, then every minute"
    with sqlite_store.read() as conn:
        (row,) = outbox.deliveries(conn, anomaly()["id"])
    assert "HTTP 429: busy" in row.error


@pytest.mark.parametrize("behave", ["cut", "hang", "drip-header"])
def test_half_an_answer_is_tried_again(clock: Clock, web: Target, behave: str) -> None:
    web.answer = lambda request: Answer(behave=behave)
    target = AlertmanagerSink(AlertmanagerPeers((web.url,), timeout_s=0.4))
    document = anomaly()
    (outcome,) = target.send([Delivery(document["id"], "anomaly", document, created_us=clock())], clock())
    assert isinstance(outcome, Retry)
    target.close()


def test_a_refusal_in_plain_text(clock: Clock, web: Target) -> None:
    web.answer = lambda request: Answer(400, b"<html>a proxy</html>")
    target, document = sink(web.url), anomaly()
    (outcome,) = target.send([Delivery(document["id"], "anomaly", document, created_us=clock())], clock())
    assert isinstance(outcome, Refused)
    assert outcome.error == f"{web.url}: <html>a proxy</html>"
    target.close()
