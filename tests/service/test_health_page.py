"""The page of health: its figures are the store's, dead letters are for admins, and reading again is asked once."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from monitor.config.model import Config
from monitor.ingest.dead_letters import REASONS
from monitor.serve.health.page import ago
from monitor.store import deliveries, outbox, retries, tokens
from monitor.store.engine import Store, open_store
from monitor.store.tables import letter_retries
from monitor.supervise import PartState
from tests.service.health_of_page import CONFIG, LETTERS, NOW_US, fill_health
from tests.service.test_review_access import Browser
from tests.service.test_web import Client, bearer, client

BAD = ("<script>window", "<img src=x", "<svg onload", "<link rel=stylesheet href", "\u202e", "49</script>")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('health') / 'd.db'}")
    fill_health(opened)
    yield opened
    opened.close()


@pytest.fixture
def asked(store: Store) -> Iterator[Client]:
    """Nobody has asked for anything but what `fill_health` did."""
    yield client(
        store,
        config=lambda: CONFIG,
        states=lambda: [PartState("ingest", "running"), PartState("embed", "failed", 3, "<b>no file</b>")],
        lag=lambda: 1234,
        lags=lambda: {"inference/0": 1234},
    )
    with store.write() as connection:
        connection.execute(delete(letter_retries).where(letter_retries.c.state != "refused"))


def shown(page: str) -> str:
    """The text of a page, on one line."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def test_it_says_how_driftline_is_doing(asked: Client) -> None:
    page = shown(asked.get("/health").text)
    for expected in (
        "Records behind 1 234",
        "3 min behind the clock until Sun 02 Nov 2025 13:23 UTC",
        "10 min behind those until Sun 02 Nov 2025 13:13 UTC",
        "Events 800 14 duplicates left out, 6 came late",
        "embed failed Last error: <b>no file</b> 3",
        "inference/0",
        "it holds windows open",
        "75.0 % of 8 covered",
        "1 wait to be embedded.",
        "default, pages 1 per 30d 1 0 0",
        "oncall 2 0 0",
        "mail 0 1 oldest given",
        "550 no such mailbox",
        "old-chat no longer configured 0 1",
        "waiting 0 never: no such sink",
        "refused 550 no such mailbox 1 not again",
        "No Alertmanager is configured",
    ):
        assert expected in page, expected
    assert page.count("it holds windows open") == 1, "only the one that is behind the other does"


def test_dead_letters_by_reason_and_one_by_one(asked: Client) -> None:
    page = asked.get("/health").text
    text = shown(page)
    assert f"oversize 2 {REASONS['oversize'].replace('`', '')}" in text
    assert "Dead letters 5 kept" in text
    for offset, (reason, _, _) in LETTERS.items():
        assert f"/health?letter=inference/0/{offset}#letter" in page
        only = shown(asked.get(f"/health?reason={reason}").text)
        assert only.count("inference/0/") == sum(one == reason for one, _, _ in LETTERS.values())
    assert "read again, still no event (malformed_json)" in text
    whole = shown(asked.get("/health?letter=inference/0/4").text)
    assert '{"id": "large"}' in whole
    assert "got 2000000 bytes, kafka.max_record is 1000000" in whole
    assert "ff fe 7b" in shown(asked.get("/health?letter=inference/0/6").text)
    assert "had no value" in shown(asked.get("/health?letter=inference/0/7").text)
    past = shown(asked.get("/health?letter=inference/0/5").text)
    assert "had it read again Sun 02 Nov 2025 12:26 UTC" in past


def test_what_is_not_there_or_no_address(asked: Client) -> None:
    gone = asked.get("/health?letter=inference/0/99")
    assert gone.status_code == 404
    assert "There is no dead letter at inference/0/99" in gone.text
    for bad in ("letter=nine", "letter=a/1/99999999999999999999", "page=0", "order=x", f"reason={'x' * 61}"):
        assert asked.get(f"/health?{bad}").status_code == 400, bad


def test_a_store_without_anything_says_what_to_do(tmp_path: Path) -> None:
    other = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    page = shown(client(other).get("/health").text)
    for expected in (
        "none yet", "nothing yet", "No partition was read yet.", "None is kept that did not become an event.",
        "Nobody is told of anything:", "none in the last day",
    ):  # fmt: skip
        assert expected in page, expected
    other.close()


def test_hostile_content_is_text(asked: Client) -> None:
    for path in ("/health", "/health?letter=inference/0/5", "/health?reason=%3Cscript%3Ewindow.x"):
        page = asked.get(path).text
        for bad in BAD:
            assert bad not in page, (path, bad)


def test_records_are_for_admins(store: Store) -> None:
    viewer, admin = (tokens.create(store, role, now_us=NOW_US, note=role) for role in ("viewer", "admin"))
    try:
        asked = client(store, config=lambda: CONFIG)
        assert asked.get("/health").status_code == 401
        page = asked.get("/health?letter=inference/0/4", bearer(viewer.secret))
        assert page.status_code == 200
        assert "shown to the role admin" in page.text
        assert "inference/0/4" not in page.text
        assert "2000000" not in page.text
        assert "data-reason" not in page.text
        seen = asked.get("/health?letter=inference/0/4", bearer(admin.secret)).text
        assert "&#34;large&#34;" in seen
        assert "data-reason" not in seen, "without a session nothing can be pressed"
        body = {"reason": "oversize"}
        for secret, expected in ((viewer.secret, 403), (admin.secret, 200)):
            answer = asked.request("POST", "/api/dead-letters/retries", bearer(secret), json=body)
            assert answer.status_code == expected
    finally:
        with store.write() as connection:
            connection.execute(delete(letter_retries).where(letter_retries.c.state != "refused"))
        for token in (viewer, admin):
            tokens.revoke(store, token.token_id, now_us=NOW_US)


def test_reading_again_is_asked_for_once_and_only_by_the_page(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    fill_health(store)
    browser = Browser(store, config=CONFIG)
    browser.log_in("Ada")
    page = browser.send("GET", "/health?letter=inference/0/4").text
    assert 'data-record="inference/0/4"' in page
    assert 'data-reason="oversize"' in page
    assert f'data-csrf="{browser.csrf}"' in page
    forged = browser.send(
        "POST", "/api/dead-letters/retries", json={"reason": "oversize"}, headers={"origin": "http://127.0.0.1:8420"}
    )
    assert forged.status_code == 403
    first = browser.post("/api/dead-letters/retries", {"record": "inference/0/4"})
    assert (first.status_code, first.json()) == (200, {"asked": 1})
    assert browser.post("/api/dead-letters/retries", {"record": "inference/0/4"}).json() == {"asked": 0}
    assert browser.post("/api/dead-letters/retries", {"reason": "oversize"}).json() == {"asked": 1}
    assert browser.post("/api/dead-letters/retries", {"record": "inference/0/7"}).json() == {"asked": 0}, "no bytes"
    assert "waits to be read again" in browser.send("GET", "/health").text
    for body, status in (
        ({}, 400), ({"record": "x", "reason": "y"}, 400), ({"record": "nine"}, 400), ({"record": "a/0/99"}, 404),
        ({"record": "a/0/99999999999999999999"}, 404), ({"reason": 5}, 400),
    ):  # fmt: skip
        assert browser.post("/api/dead-letters/retries", body).status_code == status, body
    with store.read() as connection:
        (one,) = retries.history(connection, "inference", 0, 4)
    assert (one.who, one.state, one.asked_us) == ("Ada", "asked", NOW_US)
    found = client(store, config=lambda: CONFIG).get("/api/dead-letters/inference/0/4").json()
    assert found["head"]["retry"] == "asked"
    assert [again["who"] for again in found["retries"]] == ["Ada"]
    elsewhere = client(store, config=lambda: Config.model_validate({"kafka": {"topics": ["other"]}}))
    assert elsewhere.get("/health").status_code == 200
    store.close()


def test_deliveries_are_decided_of_by_reviewers_and_only_by_the_page(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    known = fill_health(store)
    assert "data-action" not in client(store, config=lambda: CONFIG).get("/health").text, "without a session"
    browser = Browser(store, config=CONFIG)
    browser.log_in("Ada")
    page = browser.send("GET", "/health").text
    buttons = re.findall(r'data-action="(\w+)" data-id="(\w+)" data-sink="([\w-]+)"', page)
    assert {(action, sink) for action, _, sink in buttons} == {
        ("resend", "mail"), ("dismiss", "mail"), ("dismiss", "old-chat")
    }, "nothing that waits at a sink that is configured"  # fmt: skip
    refused = next(key for action, key, _ in buttons if action == "resend")
    at_mail = {"id": refused, "sink": "mail"}
    address = "/api/deliveries/decisions"
    forged = browser.send(
        "POST", address, json={"action": "dismiss", **at_mail}, headers={"origin": "http://127.0.0.1:8420"}
    )
    assert forged.status_code == 403
    for body, status in (
        ({"action": "dismiss", **at_mail}, 200), ({"action": "dismiss", **at_mail}, 400),
        ({"action": "undo", **at_mail}, 200), ({"action": "resend", **at_mail, "note": "ask a@x.example"}, 200),
        ({"action": "dismiss", "sink": "old-chat"}, 200), ({"action": "resend", "sink": "old-chat"}, 400),
        ({"action": "resend"}, 400), ({"action": "forget", **at_mail}, 400), ({"action": "dismiss", "sink": "x"}, 400),
        ({"action": "dismiss", "id": "zz"}, 400), ({"action": "dismiss", "sink": 5}, 400),
    ):  # fmt: skip
        answer = browser.post(address, body)
        assert answer.status_code == status, (body, answer.text)
    with store.read() as connection:
        past = deliveries.history(connection, refused)
        depths = {(depth.sink, depth.state): depth.rows for depth in outbox.depths(connection)}
    assert [(one.action, one.who, one.time_us, one.note) for one in past] == [
        ("dismiss", "Ada", NOW_US, ""), ("undo", "Ada", NOW_US, ""), ("resend", "Ada", NOW_US, "ask [email]")
    ]  # fmt: skip
    assert depths == {("mail", "pending"): 2, ("oncall", "sent"): 2, ("old-chat", "dismissed"): 1}
    assert "old-chat no longer configured 0 0 0 1 dismissed" in shown(browser.send("GET", "/health").text)
    assert known
    viewer, reviewer = (tokens.create(store, role, now_us=NOW_US, note=role) for role in ("viewer", "reviewer"))
    for secret, expected in ((viewer.secret, 403), (reviewer.secret, 200)):
        body = {"action": "undo", "sink": "old-chat"}
        assert client(store, config=lambda: CONFIG).request("POST", address, bearer(secret), json=body).status_code == (
            expected
        )
    store.close()


@pytest.mark.parametrize(
    ("us", "words"),
    [(-5, "0 s"), (40_000_000, "40 s"), (600_000_000, "10 min"), (3 * 3_600_000_000, "3 h"), (10**12, "11 days")],
)
def test_lengths_of_time(us: int, words: str) -> None:
    assert ago(us) == words
