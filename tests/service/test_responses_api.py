"""What people say of anomalies and deploys over the API: by whom, read back, redacted, wrong requests told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.config.model import Config
from monitor.store import outbox, tokens
from monitor.store.engine import Store, open_store
from monitor.store.responses import history
from tests.service.store_of_page import fill
from tests.service.test_web import NOW_US, bearer, client

HEADERS = {"Content-Type": "application/json", "Origin": "http://127.0.0.1:8420"}
CONFIG = Config.model_validate(
    {"alerts": {"sinks": {"graphs": {"kind": "grafana", "url": "http://127.0.0.1:9", "token": "t"}}}}
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    from detectors.summaries import Summary

    found = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    fill(found, Summary().to_state())
    yield found
    found.close()


@pytest.fixture
def anomaly_id(store: Store) -> str:
    found: list[dict[str, Any]] = client(store).get("/api/anomalies?state=open").json()["anomalies"]
    return str(found[0]["id"])


def post(store: Store, path: str, body: dict[str, Any], role: str = "reviewer", name: str = "Dana") -> httpx.Response:
    made = tokens.create(store, role, note=name, now_us=NOW_US)
    asked = client(store, loopback=False, config=lambda: CONFIG)
    return asked.request("POST", path, {**HEADERS, **bearer(made.secret)}, json=body)


def test_what_is_said_stands_under_its_name(store: Store, anomaly_id: str) -> None:
    where = f"/api/anomalies/{anomaly_id}/responses"
    assert post(store, where, {"action": "acknowledge", "note": "mail a.b@example.com"}).status_code == 200
    assert post(store, where, {"action": "snooze", "for": "4h"}).status_code == 200
    said = post(store, where, {"action": "false", "note": "a load test"}, name="Ben").json()
    assert said["acknowledged"]["who"] == "Dana"
    assert "example.com" not in said["acknowledged"]["note"]
    assert said["snoozed"]["until"] > said["snoozed"]["time"]
    assert (said["marked"]["action"], said["marked"]["who"]) == ("false", "Ben")
    assert said["accepted"] is None
    made = tokens.create(store, "viewer", now_us=NOW_US)
    read = client(store, loopback=False).get(f"/api/anomalies/{anomaly_id}", bearer(made.secret)).json()
    assert read["standing"] == said
    with store.read() as connection:
        assert [one.action for one in history(connection, anomaly_id)] == ["acknowledge", "snooze", "false"]


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"action": "snooze"}, "for"),
        ({"action": "real", "for": "4h"}, "for"),
        ({"action": "snooze", "for": "soon"}, "for"),
        ({"action": "snooze", "for": "40d"}, "action"),
        ({"action": "like"}, None),
        ({"action": "real", "note": "x" * 1001}, None),
    ],
)
def test_what_cannot_be_said_is_told(
    store: Store, anomaly_id: str, body: dict[str, Any], parameter: str | None
) -> None:
    answer = post(store, f"/api/anomalies/{anomaly_id}/responses", body)
    assert answer.status_code == 400
    if parameter is not None:
        assert answer.json()["parameter"] == parameter
    with store.read() as connection:
        assert history(connection, anomaly_id) == []


def test_of_what_is_over_nothing_can_be_accepted_and_of_nothing_nothing_said(store: Store) -> None:
    assert post(store, f"/api/anomalies/{'f' * 24}/responses", {"action": "accept"}).status_code == 400
    assert post(store, f"/api/anomalies/{'f' * 24}/responses", {"action": "real"}).status_code == 200
    assert post(store, f"/api/anomalies/{'e' * 24}/responses", {"action": "real"}).status_code == 404
    assert post(store, f"/api/anomalies/{'f' * 24}/responses", {"action": "real"}, "viewer", "").status_code == 403


def test_a_deploy_is_announced_once_and_is_an_annotation(store: Store) -> None:
    body = {"version": "v2.4.1", "route": "extract", "mute": "30m", "id": "build-17", "note": "call +49 89 1234567"}
    first = post(store, "/api/deploys", body).json()
    again = post(store, "/api/deploys", {**body, "version": "v3"}).json()
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert again["deploy"] == first["deploy"]
    assert first["deploy"]["muted_until"] > first["deploy"]["time"]
    listed = client(store, loopback=False).get(
        "/api/deploys?from=2025-01-01&to=2026-01-01", bearer(tokens.create(store, "viewer", now_us=NOW_US).secret)
    )
    assert listed.json() == {"deploys": [first["deploy"]]}
    with store.read() as connection:
        (told,) = outbox.deliveries(connection, "deploy/build-17")
    assert (told.sink, told.kind, told.payload["version"]) == ("graphs", "deploy", "v2.4.1")
    assert post(store, "/api/deploys", {"version": "v", "mute": "25h"}).status_code == 400
    assert post(store, "/api/deploys", {"version": ""}).status_code == 400
    assert post(store, "/api/deploys", {"version": "v\r\r# owned"}).status_code == 400
    lines = post(store, "/api/deploys", {"version": "v4", "note": "two\n\nlines"}).json()
    assert lines["deploy"]["note"] == "two lines"
