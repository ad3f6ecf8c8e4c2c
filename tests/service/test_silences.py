"""Silences of Alertmanager shown back: by a real one, and by peers that answer nothing, nonsense, or too late."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from alerts.rendering import labels, rfc3339
from monitor.config.model import Config
from monitor.demo.broker import free_port
from monitor.serve import silences
from monitor.serve.context import Context
from monitor.serve.silences import Asked, Silences, ask
from monitor.store.engine import Store, open_store
from monitor.store.tables import anomalies
from tests.service.anomalies_of_page import row_of, story
from tests.service.queue_of_page import HOSTILE
from tests.service.test_web import client

HOUR = 3_600_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    yield opened
    opened.close()


def opened(store: Store) -> dict[str, Any]:
    document = story("invoice/acme", opened=time.time_ns() // 1000 - 2 * HOUR)
    with store.write() as connection:
        connection.execute(insert(anomalies).values(row_of(document)))
    return document


def config(*urls: str) -> Config:
    return Config.model_validate({"alerts": {"sinks": {"oncall": {"kind": "alertmanager", "urls": list(urls)}}}})


def until(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """What is fetched beside the requests is there soon."""
    for _ in range(200):
        found = look()
        if wanted(found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"it never came; the last: {found!r}"[:2000])


def shown(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def answering(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> list[str]:
    """Peers that answer by the end of their path; returns the paths they were asked."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        found = answers[request.url.path.rpartition("/")[2]]
        if isinstance(found, Exception):
            raise found
        return httpx.Response(200, content=found if isinstance(found, bytes) else json.dumps(found))

    real = httpx.Client
    transport = httpx.MockTransport(answer)
    monkeypatch.setattr(silences.httpx, "Client", lambda **given: real(transport=transport))
    return seen


@pytest.mark.real
def test_what_a_real_alertmanager_keeps_quiet(store: Store, alertmanager: str) -> None:
    document = opened(store)
    now_us = time.time_ns() // 1000
    alert = {"labels": labels(document), "startsAt": rfc3339(now_us - HOUR), "endsAt": rfc3339(now_us + HOUR)}
    other = {**alert, "labels": {**labels(document), "id": "another"}}
    httpx.post(f"{alertmanager}/api/v2/alerts", json=[alert, other], trust_env=False).raise_for_status()
    # The first peer is away: the next one knows.
    away = f"http://127.0.0.1:{free_port()}"
    asked = client(store, config=lambda: config(away, alertmanager), clock=time.time)
    until(lambda: shown(asked.get("/health").text), lambda page: "No open anomaly is silenced." in page)
    silence = {
        "matchers": [{"name": "segment", "value": "invoice/.*", "isRegex": True, "isEqual": True}],
        "startsAt": rfc3339(now_us), "endsAt": rfc3339(now_us + 3 * HOUR), "createdBy": "ann", "comment": HOSTILE,
    }  # fmt: skip
    httpx.post(f"{alertmanager}/api/v2/silences", json=silence, trust_env=False).raise_for_status()
    found = until(lambda: ask({"oncall": (away, alertmanager)}), lambda found: document["id"] in found.by_anomaly)
    (one,) = found.by_anomaly[document["id"]]
    assert (one.who, found.unknown) == ("ann", ())
    assert abs(one.until_us - now_us - 3 * HOUR) < 1_000_000
    # A process that asks for the first time knows at its second look.
    asked = client(store, config=lambda: config(alertmanager), clock=time.time)
    page = until(lambda: asked.get("/health").text, lambda page: "<td>ann" in page)
    assert "<script>window" not in page
    words = "silenced in Alertmanager until 20"
    assert words in shown(asked.get("/anomalies").text)
    assert words in shown(asked.get(f"/anomalies/{document['id']}").text)
    assert "by ann" in shown(asked.get("/anomalies").text)


def test_what_is_not_known_is_said_and_no_page_waits(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = opened(store)
    seen = answering(monkeypatch, {"alerts": httpx.ConnectTimeout("slow")})
    asked = client(store, config=lambda: config("http://user:secret@one.example", "http://two.example"))
    first = shown(asked.get("/health").text)
    assert "Not known yet" in first or "Not known of oncall" in first
    page = until(lambda: shown(asked.get("/health").text), lambda page: "Not known of oncall" in page)
    assert "one.example: ConnectTimeout; two.example: ConnectTimeout" in page
    assert "secret" not in page
    assert "No open anomaly is silenced" not in page
    assert "silenced" not in shown(asked.get(f"/anomalies/{document['id']}").text)
    assert seen == ["/api/v2/alerts"] * 2, "it was asked once, not at every request"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"<html>", "no JSON"), (b"[" * 100_000, "no JSON"), (b'{"a": 1}', "no list"),
        (b"x" * (silences.MOST_BYTES + 1), "more than 8 MB"), (httpx.ReadError("cut off"), "ReadError"),
    ],
    ids=["html", "deep", "object", "large", "cut"],
)  # fmt: skip
def test_answers_that_are_none(monkeypatch: pytest.MonkeyPatch, answer: Any, why: str) -> None:
    answering(monkeypatch, {"alerts": answer})
    ((name, told),) = ask({"oncall": ("http://one.example",)}).unknown
    assert name == "oncall"
    assert why in told


def test_alerts_and_silences_of_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"id": "s1", "endsAt": "2026-01-01T00:00:00Z", "createdBy": "x" * 300, "comment": None}
    later = {"id": "s2", "endsAt": "2026-02-01T00:00:00Z", "createdBy": "y"}
    alerts = [
        5, {}, {"labels": [], "status": {}}, {"labels": {"id": "a"}, "status": {"silencedBy": 7}},
        {"labels": {"id": "a"}, "status": {"silencedBy": ["s1", "s2", "s1", "gone", ["s1"]]}},
        {"labels": {}, "status": {"silencedBy": ["s1"]}},
    ]  # fmt: skip
    answering(monkeypatch, {"alerts": alerts, "silences": [good, later, 3, {"id": "s3", "endsAt": "never"}]})
    found = ask({"oncall": ("http://one.example/am/",)})
    assert [one.silence_id for one in found.by_anomaly["a"]] == ["s2", "s1"], "the longest first"
    assert len(found.by_anomaly["a"][1].who) == silences.MOST_TEXT
    assert found.unknown == ()


def test_an_old_answer_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {"alerts": []})
    now = [time.monotonic()]
    asked = Asked({"oncall": ("http://one.example",)}, clock=lambda: now[0])
    assert until(asked.latest, lambda found: found is not None) == Silences({}, (), pytest.approx(now[0], abs=60))
    now[0] += silences.OLD_S + 100
    assert asked.latest() is None


def test_without_an_alertmanager_nothing_is_asked(store: Store) -> None:
    context = Context(store, Config, list, lambda: b"")
    assert silences.asked(context) is None
