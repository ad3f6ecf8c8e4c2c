"""The web application: who may read what, parameters, paging, hostile content, and the OpenAPI document."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from sqlalchemy import update
from starlette.routing import Route

from detectors.summaries.summary import Summary
from monitor.config.model import Config
from monitor.serve.access import Need
from monitor.serve.app import HEADERS, create_app
from monitor.serve.context import Context
from monitor.serve.endpoints import ENDPOINTS
from monitor.serve.openapi import document, text
from monitor.store import tokens
from monitor.store.engine import Store, open_store
from monitor.store.review import item_id
from monitor.store.tables import anomalies
from monitor.supervise import PartState
from tests.service.store_of_page import HOSTILE, REFERENCE, fill

ROOT = Path(__file__).resolve().parents[2]
NOW_US = 1_762_090_000_000_000
PROBES = ("/healthz", "/readyz")
# Pages and files that ask nothing by themselves: what they show of the queue, their script asks the API for.
PAGES = ("/login", "/review", "/static/review.js")
ITEM = item_id("s1")
# A request for every route there is that reads: (path, what it needs).
REQUESTS: list[tuple[str, Need]] = [
    ("/metrics", "metrics"),
    ("/", "viewer"),
    ("/api/openapi.json", "viewer"),
    ("/api/segments", "viewer"),
    ("/api/summaries", "viewer"),
    ("/api/samples", "viewer"),
    ("/api/samples/s1", "viewer"),
    ("/api/samples/s1/thumbnail", "reviewer"),
    ("/anomalies", "viewer"),
    ("/cost", "viewer"),
    ("/health", "viewer"),
    ("/quality", "viewer"),
    ("/reports", "viewer"),
    ("/reports/1762041600-1762646400-1", "viewer"),
    ("/inputs", "viewer"),
    ("/references", "viewer"),
    ("/latency", "viewer"),
    ("/segment", "viewer"),
    (f"/anomalies/{'f' * 24}", "viewer"),
    ("/api/anomalies", "viewer"),
    (f"/api/anomalies/{'f' * 24}", "viewer"),
    ("/api/references", "viewer"),
    (f"/api/references/{REFERENCE}", "viewer"),
    (f"/api/references/{REFERENCE}/compare?with={REFERENCE}", "viewer"),
    ("/api/dead-letters", "admin"),
    ("/api/dead-letters/a/b/0/9", "admin"),
    ("/api/status", "viewer"),
    ("/api/budget", "viewer"),
    ("/api/deploys", "viewer"),
    ("/api/review/estimates", "viewer"),
    ("/api/review/progress", "reviewer"),
    (f"/api/review/items/{ITEM}", "reviewer"),
    (f"/api/review/items/{ITEM}/images/0", "reviewer"),
]
# And for every one that changes something: (path, what it needs). Their bodies: test_review_access.py.
CHANGES: list[tuple[str, Need]] = [
    ("/api/review/next", "reviewer"),
    ("/api/review/label", "reviewer"),
    ("/api/review/skip", "reviewer"),
    ("/api/review/undo", "reviewer"),
    ("/api/review/renew", "reviewer"),
    ("/api/deploys", "reviewer"),
    ("/api/anomalies/{id}/responses", "reviewer"),
    ("/api/dead-letters/retries", "admin"),
    ("/api/deliveries/decisions", "reviewer"),
    ("/api/references/{id}/decisions", "reviewer"),
]
FORMS = ("/login", "/logout")
MAY = {
    "metrics": {"metrics"},
    "viewer": {"metrics", "viewer"},
    "reviewer": {"metrics", "viewer", "reviewer"},
    "admin": {"metrics", "viewer", "reviewer", "admin"},
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as `fill` leaves it; tests work on copies."""
    path = tmp_path_factory.mktemp("web") / "filled.db"
    opened = open_store(f"sqlite:///{path}")
    fill(opened, Summary().to_state())
    opened.close()
    return path


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copy(filled, tmp_path / "d.db")
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}", migrate=False)
    yield opened
    opened.close()


class Client:
    """Asks an ASGI application in this process."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **content: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420") as asked:
                return await asked.request(method, path, headers=headers, **content)

        return asyncio.run(ask())

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, headers)


def client(store: Store, **overrides: Any) -> Client:
    given: dict[str, Any] = {
        "store": store,
        "config": Config,
        "states": lambda: [PartState("ingest", "running")],
        "metrics": lambda: b"up 1\n",
        "clock": lambda: NOW_US / 1e6,
    }
    return Client(create_app(Context(**{**given, **overrides})))


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def routes(app: Any) -> set[str]:
    return {route.path for route in app.app.routes if isinstance(route, Route)}


def methods(app: Any) -> set[str]:
    found: set[str] = set()
    for route in app.app.routes:
        found |= route.methods or set()
    return found


def test_every_route_is_in_the_matrix(store: Store) -> None:
    app: Any = client(store).app
    paths = len(REQUESTS) + len(PROBES) + len(PAGES) + len(CHANGES)
    both = {path for path, _ in REQUESTS} & {path for path, _ in CHANGES}
    assert len(routes(app)) == paths - len(both) + len(set(FORMS) - set(PAGES))
    assert methods(app) == {"GET", "HEAD", "POST"}


def test_only_listed_routes_take_a_post(store: Store) -> None:
    """What changes something is a POST, so that reading alone can be forged, and it changes nothing."""
    app: Any = client(store).app
    taking = {route.path for route in app.app.routes if "POST" in route.methods}
    assert taking == {*FORMS, *(path for path, _ in CHANGES)}


def test_without_tokens_loopback_asks_nothing(store: Store) -> None:
    asked = client(store)
    for path in [*PROBES, *(path for path, _ in REQUESTS)]:
        assert asked.get(path).status_code == 200, path


@pytest.mark.parametrize("role", tokens.ROLES)
def test_role_by_route(store: Store, role: str) -> None:
    made = tokens.create(store, role, now_us=NOW_US)
    asked = client(store, loopback=False)
    found = {path: asked.get(path, headers=bearer(made.secret)).status_code for path, _ in REQUESTS}
    assert found == {path: 200 if need in MAY[role] else 403 for path, need in REQUESTS}


@pytest.mark.parametrize("loopback", [True, False])
def test_no_wrong_revoked_or_expired_token(store: Store, loopback: bool) -> None:
    revoked = tokens.create(store, "admin", now_us=NOW_US)
    assert tokens.revoke(store, revoked.token_id, now_us=NOW_US)
    expired = tokens.create(store, "admin", now_us=NOW_US - 10, expires_us=NOW_US - 1)
    asked = client(store, loopback=loopback)  # on loopback too: a token was made once
    for path, _ in REQUESTS:
        for headers in ({}, bearer("dl_guess"), bearer(revoked.secret), bearer(expired.secret), {"Authorization": "x"}):
            answer = asked.get(path, headers=headers)
            assert answer.status_code == 401, path
            assert "error" in answer.json()
            assert answer.headers["www-authenticate"]


def test_probes_ask_nothing(store: Store) -> None:
    tokens.create(store, "viewer", now_us=NOW_US)
    asked = client(store, loopback=False)
    assert [asked.get(path).status_code for path in PROBES] == [200, 200]


def test_beyond_loopback_a_token_is_asked_for_even_if_there_is_none(store: Store) -> None:
    assert client(store, loopback=False).get("/api/status").status_code == 401


def test_basic_with_the_token_as_password(store: Store) -> None:
    made = tokens.create(store, "viewer", now_us=NOW_US)
    value = base64.b64encode(f"ada:{made.secret}".encode()).decode()
    asked = client(store)
    assert asked.get("/", headers={"Authorization": f"Basic {value}"}).status_code == 200
    assert asked.get("/", headers={"Authorization": "Basic %%%"}).status_code == 401
    assert asked.get("/").headers["www-authenticate"].startswith("Basic")
    assert asked.get("/api/status").headers["www-authenticate"].startswith("Bearer")


def test_a_revocation_acts_within_seconds(store: Store) -> None:
    now = [NOW_US / 1e6]
    asked = client(store, clock=lambda: now[0])
    made = tokens.create(store, "viewer", now_us=NOW_US)
    assert asked.get("/api/status", headers=bearer(made.secret)).status_code == 200
    tokens.revoke(store, made.token_id, now_us=NOW_US)
    now[0] += 6
    assert asked.get("/api/status", headers=bearer(made.secret)).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "[::2]:1", ""])
def test_another_host_name_is_refused_without_tokens(store: Store, host: str) -> None:
    answer = client(store).get("/api/status", headers={"host": host})
    assert answer.status_code == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8420", "127.8.9.1", "[::1]:8420"])
def test_this_machines_names_are_answered(store: Store, host: str) -> None:
    assert client(store).get("/api/status", headers={"host": host}).status_code == 200


def test_a_process_without_serve_answers_probes_and_metrics_alone(store: Store) -> None:
    asked = client(store, everything=False)
    app: Any = asked.app
    assert routes(app) == {"/healthz", "/readyz", "/metrics"}
    assert asked.get("/api/status").status_code == 404


def test_not_ready_while_a_part_is_down(store: Store) -> None:
    states = [PartState("ingest", "failed", 2, "no broker"), PartState("serve", "running")]
    answer = client(store, states=lambda: states).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["waiting_for"] == {"ingest": "failed"}


@pytest.mark.parametrize("path", ["/api/segments", "/api/status", "/nothing", "/healthz", "/api/samples?limit=x"])
def test_security_headers_everywhere(store: Store, path: str) -> None:
    headers = client(store).get(path).headers
    assert all(headers[name.decode()] == value.decode() for name, value in HEADERS)


def test_hostile_content_is_escaped_on_the_page(store: Store) -> None:
    page = client(store, states=lambda: [PartState("x", "failed", 1, HOSTILE)]).get("/").text
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{{ 7*7 }}" in page  # shown, never evaluated


def test_the_page_shows_what_there_is(store: Store) -> None:
    page = client(store, lag=lambda: 42).get("/").text
    for expected in ("Open anomalies", "Errors grew in", "42 records behind", "1 per 30d", "2 per 1w", "1 dead letter"):
        assert expected in page


def test_the_page_of_an_empty_store(tmp_path: Path) -> None:
    empty = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    answer = client(empty).get("/")
    empty.close()
    assert answer.status_code == 200
    assert "No event was read yet." in answer.text


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/api/samples?state=gone", "expected one of embedded, missing, pending, got 'gone'"),
        ("/latency?range=99d", "expected one of 24h, 28d, 7d, got '99d'"),
    ],
)
def test_what_may_be_written_instead_is_said(store: Store, path: str, told: str) -> None:
    assert client(store).get(path).json()["error"] == told


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/api/samples?limit=0", "limit"),
        ("/api/samples?limit=1001", "limit"),
        ("/api/samples?limit=x", "limit"),
        ("/api/samples?offset=-1", "offset"),
        ("/api/samples?state=gone", "state"),
        ("/api/samples?colour=red", "colour"),
        ("/api/samples?limit=1&limit=2", "limit"),
        ("/api/segments?from=yesterday", "from"),
        ("/api/segments?from=2025-11-03&to=2025-11-02", "from"),
        ("/api/segments?from=999999999999999999", "from"),
        ("/api/summaries?by=second", "by"),
        ("/api/summaries?by=hour&from=1990-01-01", "by"),
        ("/api/anomalies?severity=loud", "severity"),
        ("/api/status?x=1", "x"),
    ],
)
def test_a_wrong_parameter_is_named(store: Store, path: str, parameter: str) -> None:
    answer = client(store).get(path)
    assert answer.status_code == 400
    assert answer.json()["parameter"] == parameter
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/api/samples/none", "/api/anomalies/none", "/api/dead-letters/a/b/c/d", "/api/summaries?segment=x", "/x"]
)
def test_what_is_not_there(store: Store, path: str) -> None:
    answer = client(store).get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_only_get(store: Store) -> None:
    answer = client(store).request("POST", "/api/status")
    assert answer.status_code == 405
    assert "GET" in answer.json()["error"]


def test_paging(store: Store) -> None:
    asked = client(store)
    first = asked.get("/api/anomalies?limit=1").json()
    assert first["page"] == {"limit": 1, "offset": 0, "next": 1}
    second = asked.get("/api/anomalies?limit=1&offset=1").json()
    assert second["page"]["next"] is None
    assert {first["anomalies"][0]["id"], second["anomalies"][0]["id"]} == {
        row["id"] for row in asked.get("/api/anomalies").json()["anomalies"]
    }


def test_content_is_for_reviewers(store: Store) -> None:
    asked = client(store)
    assert asked.get("/api/samples/s1").json()["content"]["inputs"]["parts"][0]["uri"] == HOSTILE
    viewer, reviewer = (tokens.create(store, role, now_us=NOW_US).secret for role in ("viewer", "reviewer"))
    asked = client(store)
    assert asked.get("/api/samples/s1", headers=bearer(viewer)).json()["content"] is None
    assert asked.get("/api/samples/s1", headers=bearer(reviewer)).json()["content"] is not None


def test_a_dead_letters_bytes_come_back(store: Store) -> None:
    answer = client(store).get("/api/dead-letters/a/b/0/9").json()
    assert base64.b64decode(answer["original"]) == b"\xff{"
    assert answer["head"]["detail"] == HOSTILE


def test_status(store: Store) -> None:
    found = client(store).get("/api/status").json()
    assert found["offsets"] == {"inference": {"0": 12345}}
    assert (found["events"], found["duplicates"], found["late_events"]) == (400, 7, 3)
    assert found["samples"] == {"pending": 0, "embedded": 1, "missing": 0}
    assert found["anomalies"] == {"open": 1, "resolved": 1}
    assert found["watermarks"] == {"inference": {"0": "2025-11-02T12:10:00Z"}}


def test_an_anomaly_of_another_version_takes_no_page_away(store: Store) -> None:
    """It cannot be read here; it is counted where its row says it is."""
    with store.write() as connection:
        connection.execute(update(anomalies).values(document='{"format": 99}'))
    asked = client(store)
    assert asked.get("/").status_code == 200
    found = asked.get("/api/segments").json()["segments"]
    assert [row["open_anomalies"] for row in found if row["name"] == HOSTILE] == [1]


def test_the_budget_asks_about_effects_and_says_how_to_write_them(store: Store) -> None:
    asked = client(store)
    found = asked.get("/api/budget?effects=rate=x4").json()
    assert [(pot["severity"], pot["allowance"]) for pot in found["pots"]] == [
        ("page", "1 per 30d"),
        ("ticket", "2 per 1w"),
    ]
    wrong = asked.get("/api/budget?effects=rate")
    assert wrong.status_code == 400
    assert wrong.json()["parameter"] == "effects"
    assert "rate=x4" in wrong.json()["error"]


def test_the_openapi_document_is_valid_and_complete(store: Store) -> None:
    validate(document())
    app: Any = client(store).app
    api = {path for path in routes(app) if path.startswith("/api/") and path != "/api/openapi.json"}
    written = {path.replace("{topic}/", "{topic:path}/") for path in document()["paths"]}
    assert api == written
    taken = {route.path for route in app.app.routes if route.path.startswith("/api/") and "POST" in route.methods}
    assert taken == {path for path, operations in document()["paths"].items() if "post" in operations}
    assert len(ENDPOINTS) == sum(len(operations) for operations in document()["paths"].values())


def test_the_checked_in_document_is_current() -> None:
    """`python -m monitor.serve.openapi > docs/openapi.json` renews it."""
    assert (ROOT / "docs" / "openapi.json").read_text() == text()


def test_answers_match_the_document(store: Store) -> None:
    """Every answer is an instance of the schema that the document gives for it."""
    from jsonschema import Draft202012Validator

    described = document()
    asked = client(store)
    for path, _ in REQUESTS:
        asked_for = path.partition("?")[0]
        shapes = {e.path: re.sub(r"{\w+}", "[^/]+", e.path.replace("{topic}", ".+")) for e in ENDPOINTS}
        template = next((found for found, shape in shapes.items() if re.fullmatch(shape, asked_for)), None)
        if template is None or "/images/" in path or path.endswith("/thumbnail"):
            continue
        shape = described["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        Draft202012Validator({**shape, "components": described["components"]}).validate(asked.get(path).json())
    assert json.loads(asked.get("/api/openapi.json").text) == described
