"""The pages of anomalies as a server sends them: what they say, to whom, escaped, and how the list is filtered."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from sqlalchemy import delete, insert

from alerts.rendering import Links
from monitor.config.model import Config
from monitor.config.units import parse_allowance
from monitor.serve.anomalies import words
from monitor.serve.anomalies.index import PER_PAGE
from monitor.serve.review.pages import POLICY
from monitor.store import tokens
from monitor.store.anomalies import list_anomalies, list_ids
from monitor.store.engine import Store, open_store
from monitor.store.outbox import enqueue, withdraw
from monitor.store.responses import respond
from monitor.store.tables import anomalies, sample_content
from monitor.times import parse_time
from tests.service.anomalies_of_page import HOUR, OPENED, SEGMENT, change, fill_story, row_of, story
from tests.service.queue_of_page import HOSTILE, NOW_US, receipt
from tests.service.test_review_access import Browser
from tests.service.test_web import bearer, client

BROWSES = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    yield opened
    opened.close()


def secret(store: Store, role: str) -> dict[str, str]:
    return bearer(tokens.create(store, role, now_us=NOW_US, note="Dana").secret)


def test_it_tells_the_whole_story(store: Store) -> None:
    found = fill_story(store)
    config = Config.model_validate({"timezone": "Europe/Berlin", "alerts": {"dashboard_url": "https://graphs.example"}})
    page = client(store, config=lambda: config).get(f"/anomalies/{found}").text
    for expected in (
        "Broken schemas rose from 2 % to 14 %.",
        "It began with prompt extract 15.",
        "invoice-extract/receipt",
        "2 % → 14 % (95 % interval 11 % to 18 %)",
        "between Sun 02 Nov 2025 03:00 CET and Sun 02 Nov 2025 03:30 CET",
        "far beyond its threshold: 37.5 against 1",
        "pages are expected at most 1 per 30d",
        "Evidence of 37.5 times the threshold is expected at most that many times more rarely",
        "1 was opened, none marked",
        "What changed (2)",
        "The dear requests rose from 2 % to 14 %.",
        "has just reached its threshold: 1.25 against 1",
        "began with prompt extract 15",
        "5-fold (4.5-fold to 5.5-fold)",
        "+38 points (30\u00a0% to 46\u00a0%)",
        "of a new kind: 30 % of the sessions",
        "300 sampled sessions against 2,000",
        "/api/samples/s0000/thumbnail",
        "Content no longer kept.",
        "v2.4.1",
        "60 min before it began",
        "1 attempt so far",
        "connection refused",
        "refused after 1 attempt;",
        "<b>Ben</b> is at it",
        "on it",
        "https://graphs.example/d/driftline-quality",
    ):
        assert expected in page, expected
    assert page.count("<svg") == 4  # two facts, two sizes


def test_an_alert_links_to_it(store: Store) -> None:
    """The address in alerts is that of a page, whatever the address of the application."""
    fill_story(store)
    (row,) = _rows(store)
    address = Links(app_url="https://watch.example/").of(row.document)["app"]
    answer = client(store).get(urlsplit(address).path)
    assert answer.status_code == 200
    assert "<h1" in answer.text


def test_the_first_characters_of_an_id_suffice(store: Store) -> None:
    found = fill_story(store)
    asked = client(store)
    assert asked.get(f"/anomalies/{found[:6]}").text == asked.get(f"/anomalies/{found}").text
    with store.write() as connection:
        other = {**story("other"), "id": found[:6] + "0" * 18}
        connection.execute(insert(anomalies).values(row_of(other)))
        connection.execute(insert(anomalies).values(row_of({**other, "id": "f" * 24})))
    several = asked.get(f"/anomalies/{found[:6]}")
    assert several.status_code == 200
    assert f"2 anomalies begin with {found[:6]}." in several.text
    assert several.text.count('class="card entry') == 2
    none = asked.get("/anomalies/zzz")
    assert none.status_code == 404
    assert "No anomaly begins with zzz" in none.text
    assert none.text.count('class="card entry') == 3


def test_hostile_content_is_text(store: Store) -> None:
    found = fill_story(store, hostile=True)
    asked = client(store)
    for path in (f"/anomalies/{found}", "/anomalies", "/anomalies/zzz<script>window.pwned=1", "/"):
        page = asked.get(path).text
        body = page.replace('<script type="module" src="/static/anomaly.js"></script>', "")
        for bad in (
            "<script",
            "<img src=x",
            "<svg onload",
            "<link rel=stylesheet href",
            "\u202e",
            "\x1b",
            "\U000e0041",
        ):
            assert bad not in body, (path, bad)
        assert not re.search(r'href="(?!/|https?://|#main")', body)
        if path != "/anomalies/zzz<script>window.pwned=1":
            assert "&lt;script&gt;" in body
            assert "{{ 7*7 }}" in body  # shown, never evaluated


def test_nothing_runs_but_files_of_our_own(store: Store) -> None:
    found = fill_story(store)
    browser = Browser(store)
    browser.log_in("Ada")
    for path in (f"/anomalies/{found}", "/anomalies"):
        answer = browser.send("GET", path)
        assert answer.headers["content-security-policy"] == POLICY
        assert "unsafe" not in POLICY
        assert re.findall(r"<script[^>]*>", answer.text) == (
            ['<script type="module" src="/static/anomaly.js">'] if found in path else []
        )
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", answer.text)
        addresses = re.findall(r'\s(?:src|href|action)="([^"]*)"', answer.text)
        assert [each for each in addresses if not each.startswith("/")] == ["#main"]


def test_who_may_see_and_respond(store: Store) -> None:
    found = fill_story(store)
    path, picture = f"/anomalies/{found}", "/api/samples/s0000/thumbnail"
    asked = client(store, loopback=False)
    viewer, reviewer = secret(store, "viewer"), secret(store, "reviewer")
    page = asked.get(path, viewer).text
    assert "responding needs a token of the role reviewer or admin" in page
    assert "shown to reviewers and admins" in page
    assert "data-action" not in page
    assert "thumbnail" not in page
    assert "<summary>Prompt" not in page
    assert asked.get(picture, viewer).status_code == 403
    page = asked.get(path, reviewer).text
    assert f'href="/login?next=/anomalies/{found}"' in page  # a token alone is no session: nothing to press
    assert "data-action" not in page
    assert picture in page
    answer = asked.get(picture, reviewer)
    assert (answer.headers["content-type"], answer.content) == ("image/jpeg", receipt(0))


@pytest.mark.parametrize(("role", "acts"), [("viewer", False), ("reviewer", True), ("admin", True)])
def test_a_session_responds_where_its_role_may(store: Store, role: str, acts: bool) -> None:
    found = fill_story(store)
    browser = Browser(store, loopback=False)
    browser.log_in(tokens.create(store, role, now_us=NOW_US, note="Dana").secret)
    page = browser.send("GET", f"/anomalies/{found}").text
    assert ("data-action" in page) is acts
    assert bool(re.search(r'data-csrf="[0-9a-f]{64}"', page)) is acts


def test_only_jpegs_are_sent_as_pictures(store: Store) -> None:
    fill_story(store)
    with store.write() as connection:
        connection.execute(sample_content.update().values(thumbnail=b"<svg onload=alert(1)>"))
    assert client(store).get("/api/samples/s0000/thumbnail").status_code == 404
    assert client(store).get("/api/samples/none/thumbnail").status_code == 404


def test_a_browser_logs_in_first_and_then_is_where_it_wanted_to_be(store: Store) -> None:
    found = fill_story(store)
    made = tokens.create(store, "viewer", now_us=NOW_US)
    browser = Browser(store, loopback=False)
    sent = browser.send("GET", f"/anomalies/{found}", headers=BROWSES)
    assert (sent.status_code, sent.headers["location"]) == (303, f"/login?next=%2Fanomalies%2F{found}")
    form = browser.send("GET", sent.headers["location"]).text
    assert f'name="next" value="/anomalies/{found}"' in form
    assert f'<a href="/anomalies/{found}">Go on</a>' in form  # a strict cookie stays away from another site's link
    wrong = browser.form("/login", {"given": "dl_guess", "next": f"/anomalies/{found}"})
    assert f'value="/anomalies/{found}"' in wrong.text
    inside = browser.form("/login", {"given": made.secret, "next": f"/anomalies/{found}"})
    assert inside.headers["location"] == f"/anomalies/{found}"
    listed = browser.send("GET", "/anomalies?state=open&segment=a%2Fb", headers={**BROWSES, "cookie": ""})
    assert listed.headers["location"] == "/login?next=%2Fanomalies%3Fstate%3Dopen%26segment%3Da%252Fb"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/anomalies",
        "//evil.example",
        "/\\evil.example",
        "/anomalies/x\r\nX: y",
        "/anomalies@evil",
        "javascript:1",
    ],
)
def test_a_login_leads_to_no_other_site(store: Store, elsewhere: str) -> None:
    made = tokens.create(store, "viewer", now_us=NOW_US)
    browser = Browser(store, loopback=False)
    assert browser.form("/login", {"given": made.secret, "next": elsewhere}).headers["location"] == "/"


def test_state_is_told(store: Store) -> None:
    found = fill_story(store)
    asked = client(store, clock=lambda: NOW_US / 1e6)
    assert "Accept as the new normal" not in asked.get(f"/anomalies/{found}").text  # nobody is logged in
    with store.write() as connection:
        respond(connection, found, "snooze", "Ada", NOW_US, until_us=NOW_US + HOUR)
        respond(connection, found, "false", "Ada", NOW_US, note="a load test")
    page = asked.get(f"/anomalies/{found}").text
    assert "snoozed until 2025-11-02 14:26" in page
    assert "marked a false alarm" in page
    assert "people marked 0 real and 1 false" in page
    change(store, found, historic=True, state="resolved", resolved_us=OPENED + 5 * HOUR)
    page = asked.get(f"/anomalies/{found}").text
    assert "resolved, historic" in page
    assert "so nobody was told" in page


def test_who_is_not_told_because_of_a_mute_is_said(store: Store) -> None:
    document = story()
    until = NOW_US + HOUR
    with store.write() as connection:
        connection.execute(insert(anomalies).values(row_of(document, muted_until_us=until)))
    address, asked = f"/anomalies/{document['id']}", client(store)
    assert "mute: nobody is told before" in asked.get(address).text  # by rules: no sink has it
    with store.write() as connection:
        enqueue(
            connection, sink="chat", key=document["id"], kind="anomaly", payload={}, created_us=NOW_US, due_us=until
        )
    assert "waits for the end of a deploy&#39;s mute" in asked.get(address).text
    with store.write() as connection:
        withdraw(connection, [document["id"]])
    change(store, document["id"], state="resolved", resolved_us=OPENED + HOUR)
    assert "mute and was over before that ended" in asked.get(address).text


def test_an_anomaly_of_another_version_still_has_a_page(store: Store) -> None:
    found = fill_story(store)
    change(store, found, document=json.dumps({"format": 99, "id": found}))
    answer = client(store).get(f"/anomalies/{found}")
    assert answer.status_code == 200
    assert "Another version of driftline wrote this anomaly" in answer.text
    assert "schema_violation_rate changed in invoice-extract/receipt" in answer.text
    assert client(store).get("/anomalies").status_code == 200


def test_without_evidence_samples_or_anybody_told(store: Store) -> None:
    document = story()
    with store.write() as connection:
        connection.execute(insert(anomalies).values(row_of(document, severity="report")))
    page = client(store).get(f"/anomalies/{document['id']}").text
    for expected in (
        "None is kept of these hours any more",
        "No deploy was announced",
        "told to nobody",
        "Nothing yet.",
    ):
        assert expected in page, expected
    assert "<svg" not in page


def fill_list(store: Store, count: int) -> list[str]:
    """Anomalies, one an hour, of alternating severity, state and segment. Returns their ids, newest first."""
    rows = []
    for i in range(count):
        document = story(f"segment/{i % 3}", opened=OPENED - i * HOUR)
        over = i % 4 == 3
        changes = {"state": "resolved", "resolved_us": OPENED} if over else {}
        rows.append(row_of({**document, "id": f"{i:024x}"}, severity=("page", "ticket")[i % 2], **changes))
    with store.write() as connection:
        connection.execute(insert(anomalies), rows)
    return [row["anomaly_id"] for row in rows]


def listed(store: Store, query: str = "") -> list[str]:
    page = client(store, clock=lambda: NOW_US / 1e6).get(f"/anomalies{query}")
    assert page.status_code == 200, page.text
    return re.findall(r'<p class="head"><a href="/anomalies/([0-9a-f]{24})"', page.text)


def test_the_list_is_filtered_by_its_address(store: Store) -> None:
    ids = fill_list(store, 12)
    with store.write() as connection:
        respond(connection, ids[2], "real", "Ada", NOW_US)
        respond(connection, ids[5], "false", "Ada", NOW_US)
        connection.execute(anomalies.update().where(anomalies.c.anomaly_id == ids[7]).values(historic=True))
    assert listed(store) == ids
    assert listed(store, "?state=open") == [ids[i] for i in range(12) if i % 4 != 3]
    assert listed(store, "?state=historic") == [ids[7]]
    assert listed(store, "?severity=ticket&segment=segment/1&state=") == [ids[1], ids[7]]
    assert listed(store, "?marked=real") == [ids[2]]
    assert listed(store, "?marked=false") == [ids[5]]
    assert listed(store, "?marked=none&segment=segment%2F2") == [ids[8], ids[11]]
    page = client(store).get("/anomalies?segment=nothing").text
    assert "No anomaly matches." in page
    for wrong in ("?state=closed", "?page=0", "?colour=red", "?page=1&page=2"):
        assert client(store).get(f"/anomalies{wrong}").status_code == 400


def test_both_databases_answer_alike(store_url: str) -> None:
    opened = open_store(store_url)
    try:
        found = fill_story(opened)
        ids = fill_list(opened, 3)
        page = client(opened).get(f"/anomalies/{found[:8]}").text
        assert page.count("<svg") == 4
        assert "/api/samples/s0000/thumbnail" in page
        assert client(opened).get("/api/samples/s0000/thumbnail").content == receipt(0)
        assert listed(opened, "?segment=segment/1&marked=none") == [ids[1]]
        assert set(listed(opened)) == {found, *ids}
    finally:
        opened.close()


def test_what_is_snoozed_comes_last_until_it_wakes(store: Store) -> None:
    ids = fill_list(store, 4)
    with store.write() as connection:
        respond(connection, ids[0], "snooze", "Ada", NOW_US, until_us=NOW_US + HOUR)
        respond(connection, ids[1], "snooze", "Ada", NOW_US - 2 * HOUR, until_us=NOW_US - HOUR)
    assert listed(store) == [ids[1], ids[2], ids[3], ids[0]]


def test_pages_of_the_list(store: Store) -> None:
    ids = fill_list(store, PER_PAGE + 3)
    assert listed(store) == ids[:PER_PAGE]
    assert listed(store, "?page=2") == ids[PER_PAGE:]
    assert listed(store, "?page=99") == ids[PER_PAGE:]
    page = client(store).get("/anomalies?state=&severity=").text
    assert 'href="/anomalies?page=2" rel="next"' in page
    assert f"{PER_PAGE + 3} anomalies" in page


def test_an_empty_list_says_what_to_do(store: Store) -> None:
    page = client(store).get("/anomalies").text
    assert "No anomaly was ever opened." in page
    assert "driftline budget" in page


def test_ids_are_those_of_the_rows(store: Store) -> None:
    fill_list(store, 9)
    with store.read() as connection:
        for given in ({}, {"state": "open"}, {"segment": "segment/1"}, {"severity": "page"}, {"historic": True}):
            rows = list_anomalies(connection, **given)  # type: ignore[arg-type]
            assert list_ids(connection, **given) == [row.anomaly_id for row in rows]  # type: ignore[arg-type]


def test_the_overview_links_to_both(store: Store) -> None:
    found = fill_story(store)
    page = client(store).get("/").text
    assert 'href="/anomalies"' in page
    assert f'href="/anomalies/{found}"' in page


def _rows(store: Store) -> list[Any]:
    with store.read() as connection:
        return list_anomalies(connection)


@pytest.mark.parametrize(
    ("value", "how"), [(1.0, "has just reached"), (5.0, "is clearly beyond"), (1e12, "more than a million times")]
)
def test_how_sure_in_words(value: float, how: str) -> None:
    evidence = {"kind": "funded_sr", "value": value, "threshold": 1.0}
    assert how in words.sure(evidence)
    told = words.promise("default", "ticket", parse_allowance("2 per 7d"), evidence)
    assert "tickets are expected at most 2 per 1w" in told
    assert ("that many times more rarely" in told) is (value >= 2)


def test_forgotten_content_leaves_the_page(store: Store) -> None:
    found = fill_story(store)
    with store.write() as connection:
        connection.execute(delete(sample_content))
    page = client(store).get(f"/anomalies/{found}").text
    assert "thumbnail" not in page
    assert page.count("Content no longer kept.") == 3
    assert SEGMENT in page


def test_hostile_names_are_cut_nowhere_but_shown(store: Store) -> None:
    """A segment's link finds it again, whatever characters it has."""
    found = fill_story(store, hostile=True)
    page = client(store).get(f"/anomalies/{found}").text
    address = re.search(r'href="/anomalies(\?segment=[^"]+)">all its anomalies', page)
    assert address is not None
    assert listed(store, address[1]) == [found]
    assert unquote(address[1].removeprefix("?segment=")) == f"invoice/{HOSTILE}"[:200]


def test_the_pages_that_show_what_changed_are_linked_at_its_time(store: Store) -> None:
    asked = client(store)
    page = asked.get(f"/anomalies/{fill_story(store)}").text
    links = dict(re.findall(r'href="(/(?:segment|quality|cost)\?[^"]+)">([A-Z]\w+)</a>', page))
    assert set(links.values()) == {"Segment", "Quality", "Cost"}, "of the signal, and of the one that joined it"
    for address in links:
        given = dict(parse_qsl(urlsplit(html.unescape(address)).query))
        assert given["segment"] == SEGMENT
        assert parse_time(given["from"]) < OPENED < parse_time(given["to"])
        assert asked.get(html.unescape(address)).status_code in (200, 404), "404: the story has no summaries"
