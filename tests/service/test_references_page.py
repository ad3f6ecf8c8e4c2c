"""The page and the API of references: versions, comparison, who may decide, and that it is recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec
import pytest
from sqlalchemy import insert, update

from monitor.config.model import Config
from monitor.evaluate.levels import compared
from monitor.evaluate.status import learning
from monitor.serve.cells import percent
from monitor.serve.review.pages import POLICY
from monitor.store import references, tokens
from monitor.store.decision import Decision
from monitor.store.engine import Store, open_store
from monitor.store.responses import respond
from monitor.store.tables import anomalies, evaluation, sample_parts
from monitor.store.tables import references as table
from monitor.times import DAY_US, HOUR_US
from tests.service.anomalies_of_page import row_of, story
from tests.service.inputs_of_page import END, SEGMENT, Filled, fill_inputs, reference
from tests.service.queue_of_page import HOSTILE, NOW_US
from tests.service.test_inputs_page import BAD
from tests.service.test_review_access import Browser
from tests.service.test_web import bearer, client

AT = f"/references?{urlencode({'segment': SEGMENT})}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('references') / 'd.db'}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def filled(store: Store) -> Filled:
    found = fill_inputs(store)
    with store.write() as connection:
        learns = {"new": ["r", END - DAY_US], "slow": ["r", END - 30 * DAY_US], SEGMENT: ["r", 0]}
        learns["slice:domain_notation"] = ["", END - DAY_US]
        state = msgspec.json.encode({"format": 4, "segments": learns})
        connection.execute(
            insert(evaluation).values(
                name="leader", holder="", generation=1, lease_until_us=0, done_until_us=END, state=state
            )
        )
    return found


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    yield opened
    opened.close()


def test_the_list_says_what_is_in_use_and_what_waits(store: Store, filled: Filled) -> None:
    answer = client(store).get("/references")
    assert answer.headers["content-security-policy"] == POLICY
    page = answer.text
    assert re.search(rf">{SEGMENT}</a></th>\s*<td>version 2<small>learned</small></td>", page)
    assert "2025-10-13 12:00 to 2025-10-20 12:00<small>7.00 days" in page
    assert f'{SEGMENT}, version 3</a> <span class="soft">a draft, built' in page
    assert '>new</a> <span class="soft">until 2025-11-08 12:00' in page
    assert '>slow</a> <span class="soft">too little traffic so far' in page
    with store.read() as connection:
        found = learning(connection, Config())
    assert [(one.segment, one.until_us) for one in found] == [
        ("new", END + 6 * DAY_US), ("slice:domain_notation", END + 6 * DAY_US), ("slow", END - 23 * DAY_US)
    ]  # fmt: skip


def test_a_slice_that_cannot_be_measured_is_not_said_to_learn(own: Store) -> None:
    fill_inputs(own)
    with own.write() as connection:
        connection.execute(update(sample_parts).values(conditions='{"v":2}'))  # no image was compared with words
        state = msgspec.json.encode({"format": 4, "segments": {"slice:domain_notation": ["", 0], "new": ["r", 0]}})
        connection.execute(
            insert(evaluation).values(
                name="leader", holder="", generation=1, lease_until_us=0, done_until_us=END, state=state
            )
        )
    with own.read() as connection:
        assert [one.segment for one in learning(connection, Config())] == ["new"]


def test_the_versions_of_a_segment(store: Store, filled: Filled) -> None:
    page = client(store).get(AT).text
    assert [(n, s) for n, s in re.findall(r'>Version (\d)</a> <span class="pill">(\w+)<', page)] == [
        ("3", "draft"), ("2", "active"), ("1", "retired")
    ]  # fmt: skip
    assert "What version 2 holds" in page
    assert "8\u202f400 sessions" in page
    rate = 168 / (168 * 50)
    assert f"<td>{percent(rate)} %<small>" in page
    assert "<td>0.0240 USD</td>" in page  # its sums hold no cost: no interval
    assert "nobody yet: it waits for approval" in page
    assert "What version 1 holds" in client(store).get(f"{AT}&a=1").text


def test_two_versions_side_by_side(store: Store, filled: Filled) -> None:
    page = client(store).get(f"{AT}&a=2&b=3").text
    lines = compared(reference(SEGMENT, 2), reference(SEGMENT, 3))
    differ = [line for line in lines if line.differs]
    assert {line.signal for line in differ} == {"error_rate", "image_drift"}
    assert f"<b>2 of {len(lines)} signals differ beyond chance</b>" in page
    error = next(line for line in lines if line.signal == "error_rate")
    assert error.change is not None
    assert error.before is not None
    assert error.after is not None
    assert error.before.limits is not None
    assert error.after.limits is not None
    row = re.search(r'<th scope="row">error_rate</th>(.*?)</tr>', page, re.S)
    assert row
    for limits in (error.before.limits, error.after.limits):
        told = f"{percent(limits.value)} %<small>{percent(limits.low)} – {percent(limits.high)}"
        assert told in row[1]
    assert f"{100 * error.change.value:+.3g} points<small>{100 * error.change.low:+.3g} – " in row[1]
    assert "<b>differs</b>" in row[1]
    assert "Their images on a map" in page
    assert "version 2, 80 sessions" in page
    assert "the versions share days" in page
    answer = client(store).get(f"/api/references/{filled.active}/compare?with={filled.draft}").json()
    first = answer["signals"][0]
    assert (first["signal"], first["differs"], first["told"]) == ("error_rate", True, "added")
    assert first["change"] == pytest.approx(error.change.value)
    assert [line["signal"] for line in answer["signals"]] == [line.signal for line in lines]


def test_the_api_lists_and_shows(store: Store, filled: Filled) -> None:
    asked = client(store)
    found = asked.get("/api/references?limit=2").json()
    assert [(one["version"], one["state"]) for one in found["references"]] == [(3, "draft"), (2, "active")]
    assert found["page"]["next"] == 2
    assert len(asked.get("/api/references?state=retired").json()["references"]) == 1
    assert asked.get("/api/references?segment=nobody").json()["references"] == []
    one = asked.get(f"/api/references/{filled.active[:6]}").json()
    assert one["reference"]["id"] == filled.active
    assert one["reference"]["embedded"] == 80
    assert one["sessions"] == 8400
    signals = {level["signal"]: level for level in one["signals"]}
    assert signals["error_rate"]["value"] == pytest.approx(0.02)
    assert (signals["cost_p95"]["low"], signals["image_drift"]["value"]) == (None, None)
    assert asked.get("/api/references/zz").status_code == 404
    assert asked.get(f"/api/references/{filled.active}/compare?with=zz").status_code == 404
    assert asked.get(f"/api/references/{filled.active}/compare").status_code == 400
    assert asked.get("/api/references?state=lost").status_code == 400


def test_deciding_is_recorded_and_shown(own: Store) -> None:
    filled = fill_inputs(own)
    browser = Browser(own)
    assert "data-decide" not in browser.send("GET", AT).text
    browser.log_in("Ada")
    page = browser.send("GET", AT).text
    assert re.findall(r'data-decide="(\w+)" data-id="(\w+)"', page) == [
        ("approve", filled.draft), ("activate", filled.retired)
    ]  # fmt: skip
    path = f"/api/references/{filled.draft}/decisions"
    early = browser.post(path, {"action": "activate"})
    assert early.status_code == 400
    assert "only one that is approved or retired can become active" in early.json()["error"]
    done = browser.post(path, {"action": "approve", "note": f"asked a.b@example.com {HOSTILE}"})
    assert done.json()["state"] == "approved"
    assert browser.post(path, {"action": "activate"}).json()["state"] == "active"
    assert references.active_ids(own) == {SEGMENT: filled.draft}
    with own.read() as connection:
        (approved, activated) = references.decisions(connection, [filled.draft])[filled.draft]
    assert (approved.action, approved.who, approved.time_us) == ("approve", "Ada", NOW_US)
    assert "example.com" not in approved.note
    assert (activated.action, activated.replaced) == ("activate", filled.active)
    page = browser.send("GET", AT).text
    assert "<b>Ada</b> approved it, Sun 02 Nov 2025 13:26 UTC" in page
    assert "<b>Ada</b> put it to use in place of version 2" in page
    assert "<script>window" not in page
    told = browser.send("GET", f"/api/references/{filled.draft}").json()["decisions"]
    assert [one["who"] for one in told] == ["Ada", "Ada"]
    assert browser.post("/api/references/zz/decisions", {"action": "approve"}).status_code == 404
    assert browser.post(path, {"action": "delete"}).status_code == 400


def test_who_may_decide(own: Store) -> None:
    filled = fill_inputs(own)
    path = f"/api/references/{filled.draft}/decisions"
    said = {role: tokens.create(own, role, now_us=NOW_US, note="Dana").secret for role in ("viewer", "reviewer")}
    asked = client(own)
    assert asked.get("/references").status_code == 401
    assert asked.get(AT, {"accept": "text/html"}).headers["location"].startswith("/login?next=%2Freferences")
    page = asked.get(f"{AT}&a=2&b=3", bearer(said["viewer"])).text
    assert "deciding needs a token of the role reviewer or admin" in page
    for absent in ("/api/samples/", "data-decide", "references.js", "map.js"):
        assert absent not in page
    assert "<circle" in page
    body = {"action": "approve"}
    assert asked.request("POST", path, bearer(said["viewer"]), json=body).status_code == 403
    assert references.get(own, filled.draft).state == "draft"
    assert asked.request("POST", path, bearer(said["reviewer"]), json=body).status_code == 200
    with own.read() as connection:
        assert references.decisions(connection, [filled.draft])[filled.draft][0].who == "Dana"


def test_a_reference_learned_from_what_was_accepted_names_who_did(own: Store) -> None:
    fill_inputs(own)
    begin = reference(SEGMENT, 2).from_us
    document = story(SEGMENT, opened=begin)
    document["facts"][0]["since"] = {"low": begin - HOUR_US, "high": begin - HOUR_US // 2}
    with own.write() as connection:
        connection.execute(insert(anomalies).values(row_of(document)))
        respond(connection, document["id"], "accept", "Ben", NOW_US, note="the new scanner stays")
        connection.execute(
            update(anomalies)
            .where(anomalies.c.anomaly_id == document["id"])
            .values(state="resolved", resolved_us=begin + HOUR_US)
        )
    page = client(own).get(AT).text
    (accepted,) = re.findall(r"learned from the change that <b>(\w+)</b> <a href=\"/anomalies/(\w+)\"", page)
    assert accepted == ("Ben", document["id"])
    assert "the new scanner stays" in page


def test_what_cannot_be_read_is_told(own: Store) -> None:
    filled = fill_inputs(own)
    found = references.get(own, filled.draft)
    content = found.content.replace(b"\xa6format\x02", b"\xa6format\x63")
    with own.write() as connection:
        connection.execute(
            update(table)
            .where(table.c.reference_id == filled.draft)
            .values(content=content, digest=references.digest(content))
        )
    asked = client(own)
    assert "format 99" in asked.get(f"{AT}&a=3").text
    assert "format 99" in asked.get(f"{AT}&a=2&b=3").text
    assert asked.get(f"/api/references/{filled.draft}").status_code == 400


def test_what_to_do_where_there_is_nothing(store: Store, filled: Filled, own: Store) -> None:
    asked = client(own)
    page = asked.get("/references").text
    assert "There is no reference yet" in page
    assert "driftline demo" in page
    nobody = asked.get("/references?segment=nobody")
    assert nobody.status_code == 404
    assert "Nothing named nobody was seen" in nobody.text
    learns = client(store).get("/references?segment=new")
    assert learns.status_code == 200
    assert "Its first days (1w) are over at 2025-11-08 12:00" in learns.text
    assert "too little traffic to learn from" in client(store).get("/references?segment=slow").text


def test_hostile_content_is_text(own: Store) -> None:
    filled = fill_inputs(own, hostile=True)
    references.approve(own, filled.draft, Decision(HOSTILE[:100], NOW_US, HOSTILE))
    asked = client(own)
    for path in (
        "/references",
        f"/references?segment={quote(filled.segment)}",
        f"/references?segment={quote(filled.segment)}&a=1&b=3",
        "/references?segment=<script>window.pwned=1",
    ):
        page = asked.get(path).text
        assert "&lt;script&gt;" in page
        for bad in BAD:
            assert bad not in page, (path, bad)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"", page)
        assert not re.search(r'href="(?!/|#main")', page)


@pytest.mark.parametrize(
    ("query", "name"),
    [("&a=9", "a"), ("&b=x", "b"), ("&page=0", "page"), ("&color=red", "color"), ("&a=1&a=2", "a")],
)
def test_an_address_that_makes_no_sense_is_told(store: Store, filled: Filled, query: str, name: str) -> None:
    answer = client(store).get(AT + query)
    assert answer.status_code == 400
    assert answer.json()["parameter"] == name
