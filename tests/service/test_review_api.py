"""The API of the review queue: what is shown, what is kept from blind reviewers, and that nothing counts twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from sqlalchemy import delete, select, update

from monitor.config.model import Config
from monitor.events.grounding import contained
from monitor.serve.endpoints import ENDPOINTS
from monitor.serve.openapi import document
from monitor.serve.review.citing import locate, page_of, place, region
from monitor.serve.review.showing import fields_of, laid_out, shown
from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.review import audit_of
from monitor.store.tables import labels, sample_content, samples
from tests.service.queue_of_page import HOSTILE, QUESTIONS, confidence, configured, fill_queue, receipt
from tests.service.test_review_access import Browser, made
from tests.service.test_web import bearer

SECRETS = ("confidence", "disagreement", "318841", "low_confidence_reason", "0.125", "probability")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    yield opened
    opened.close()


def reviewer(store: Store, name: str = "Ada", config: Config | None = None) -> Browser:
    browser = Browser(store, config=config)
    assert browser.log_in(name).status_code == 303
    return browser


def said(item_id: str, verdict: str = "correct", request_id: str = "", **more: Any) -> dict[str, Any]:
    return {"item_id": item_id, "verdict": verdict, "request_id": request_id, **more}


def standing(store: Store) -> list[tuple[str, str, str]]:
    query = select(labels.c.item_id, labels.c.reviewer, labels.c.label).where(~labels.c.undone).order_by(labels.c.id)
    with store.read() as connection:
        return [(row[0], row[1], json.loads(row[2]).get("verdict", "skip")) for row in connection.execute(query)]


def test_an_item_is_shown_with_what_is_stored_of_its_event(store: Store) -> None:
    fill_queue(store, 2)
    item = reviewer(store).post("/api/review/next", {"count": 2}).json()["items"][1]
    assert (item["model"], item["prompt"], item["language"]) == ("vlm-large-2026-10-01", "extract 14", "en")
    assert (item["latency_ms"], item["cost"], item["currency"]) == (4210.0, 0.0121, "USD")
    assert item["schema_valid"] is False
    assert item["output"][0]["json"] is True
    assert '\n  "total": 42.90,\n' in item["output"][0]["text"]["text"]  # not 42.9
    assert item["fields"] == ["total", "date", "shop.name", "shop.vat"]
    first, second, third = item["inputs"]
    assert first["caption"] == "receipt-1.jpg · image/jpeg · 1240 × 1754"
    assert (list(first["pictures"]), second["pictures"]) == (["1"], {})
    assert second["why"] and not first["why"]
    assert third["text"]["text"].startswith("Extract the total")
    cited, invented = item["citations"]
    assert (cited["found"], cited["match"], cited["region"]) == (True, "TOTAL   42.90", [0.07, 0.79, 0.93, 0.87])
    assert (cited["part"], cited["page"]) == (0, 1)
    assert (invented["found"], invented["match"], invented["part"]) == (False, "", 1)


def test_pixels_are_the_stored_jpeg_and_nothing_else(store: Store) -> None:
    (item_id,) = fill_queue(store, 1)
    browser = reviewer(store)
    address = f"/api/review/items/{item_id}/images/0"
    answer = browser.send("GET", address)
    assert answer.content == receipt(0)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"].startswith("private")
    assert "cookie" in answer.headers["vary"]
    assert answer.headers.get_list("cache-control") == [answer.headers["cache-control"]]
    for wrong in ("1", "2", "-1", "0x0", "٠", "9" * 30, "0?page=2", "..%2f..%2fetc%2fpasswd", "0%00"):
        assert browser.send("GET", f"/api/review/items/{item_id}/images/{wrong}").status_code in (404, 400), wrong
    with store.write() as connection:
        connection.execute(update(sample_content).values(thumbnail=b"<svg xmlns='http://www.w3.org/2000/svg'/>"))
    assert browser.send("GET", address).status_code == 404
    assert browser.post("/api/review/next", {}).json()["items"][0]["inputs"][0]["pictures"] == {}


def test_full_size_pixels_are_shown_page_by_page_and_a_reason_where_there_are_none(store: Store) -> None:
    (item_id,) = fill_queue(store, 1)
    big = [receipt(7), receipt(8)]
    with store.write() as connection:
        review.want(connection, [item_id])
        pages = [review.Pixels(0, page, 800, 600, data) for page, data in enumerate(big)]
        assert review.keep(connection, item_id, [*pages, review.Pixels(1, 0, reason="http_404")])
    browser = reviewer(store)
    first, second, _ = browser.post("/api/review/next", {}).json()["items"][0]["inputs"]
    assert first["pages"] == 2
    assert [browser.send("GET", first["pictures"][page]).content for page in ("1", "2")] == big
    assert second["pictures"] == {}
    assert "http 404" in second["why"]
    assert browser.send("GET", f"/api/review/items/{item_id}/images/0?page=3").status_code == 404


@pytest.mark.parametrize(
    "wrong", ["x", "..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "'%20OR%201=1--", "%00", "a" * 300, "%F0%9F%98%80", "s0000"]
)
def test_ids_that_are_none(store: Store, wrong: str) -> None:
    fill_queue(store, 1)
    browser = reviewer(store)
    assert browser.send("GET", f"/api/review/items/{wrong}").status_code == 404
    assert browser.send("GET", f"/api/review/items/{wrong}/images/0").status_code == 404
    assert browser.post("/api/review/label", said(wrong)).status_code in (400, 404)
    assert browser.post("/api/review/renew", {"item_id": wrong}).status_code in (400, 404)


def test_images_and_items_are_for_reviewers(store: Store) -> None:
    (item_id,) = fill_queue(store, 1)
    viewer, ada = made(store, "viewer"), made(store, "reviewer", "Ada")
    asked = Browser(store, loopback=False)
    for path in (f"/api/review/items/{item_id}", f"/api/review/items/{item_id}/images/0"):
        assert asked.send("GET", path).status_code == 401
        assert asked.send("GET", path, headers=bearer(viewer.secret)).status_code == 403
        assert asked.send("GET", path, headers=bearer(ada.secret)).status_code == 200


def test_blind_until_labelled_by_oneself(store: Store) -> None:
    first, _ = fill_queue(store, 2, wanted=2)
    ada, bob = reviewer(store), reviewer(store, "Bob")
    before = [ada.post("/api/review/next", {"count": 1}).text, ada.send("GET", f"/api/review/items/{first}").text]
    before.append(ada.send("GET", "/review").text)
    assert json.loads(before[0])["items"][0]["id"] == first
    for text in before:
        assert not [secret for secret in (*SECRETS, str(confidence(0))) if secret in text]
    done = ada.post("/api/review/label", said(first, "wrong", "r1", count=1)).json()
    told = {
        "confidence": confidence(0),
        "disagreement": False,
        "verification_failed": False,
        "predicted_error": 0.318841,
        "reasons": ["low_confidence_reason"],
        "probability": 0.125,
    }
    assert done["revealed"] == told
    assert [item["revealed"] for item in done["items"]] == [None]
    assert ada.send("GET", f"/api/review/items/{first}").json()["revealed"] == told
    assert bob.send("GET", f"/api/review/items/{first}").json()["revealed"] is None
    undone = ada.post("/api/review/undo", {"request_id": "r2"}).json()
    assert undone["item"]["revealed"] is None
    assert ada.send("GET", f"/api/review/items/{first}").json()["revealed"] is None


def test_a_skip_reveals_nothing(store: Store) -> None:
    first, _ = fill_queue(store, 2)
    ada = reviewer(store)
    ada.post("/api/review/next", {})
    assert ada.post("/api/review/skip", {"item_id": first, "reason": "blurred"}).json()["revealed"] is None
    assert ada.send("GET", f"/api/review/items/{first}").json()["revealed"] is None


def test_not_blind_where_the_configuration_says_so(store: Store) -> None:
    fill_queue(store, 1)
    ada = reviewer(store, config=configured(blind=False))
    assert ada.post("/api/review/next", {}).json()["items"][0]["revealed"]["confidence"] == confidence(0)


def test_the_same_request_counts_once(store: Store) -> None:
    ids = fill_queue(store, 4)
    ada = reviewer(store)
    ada.post("/api/review/next", {"count": 2})
    answers = [ada.post("/api/review/label", said(ids[0], "wrong", "one", count=2)).json() for _ in range(3)]
    assert [answer["repeated"] for answer in answers] == [False, True, True]
    assert [[item["id"] for item in answer["items"]] for answer in answers] == [ids[1:3]] * 3
    assert standing(store) == [(ids[0], "Ada", "wrong")]
    skips = [ada.post("/api/review/skip", {"item_id": ids[1], "reason": "x", "request_id": "two"}) for _ in range(2)]
    assert [answer.json()["repeated"] for answer in skips] == [False, True]
    undone = [ada.post("/api/review/undo", {"request_id": "three"}).json() for _ in range(3)]
    assert [(answer["item"]["id"], answer["kind"]) for answer in undone] == [(ids[1], "skip")] * 3
    assert standing(store) == [(ids[0], "Ada", "wrong")]
    assert [row.action for row in audit_of(store, ids[1])] == ["lease", "skip", "undo"]
    other = ada.post("/api/review/label", said(ids[2], "wrong", "one"))
    assert (other.status_code, other.json()["parameter"]) == (400, "request_id")


def test_what_the_queue_declines_says_why(store: Store) -> None:
    ids = fill_queue(store, 2)
    ada, bob = reviewer(store), reviewer(store, "Bob")
    nothing = ada.post("/api/review/undo", {})
    assert (nothing.status_code, nothing.json()["why"]) == (409, "nothing")
    ada.post("/api/review/next", {})
    for path, body in (
        ("label", said(ids[0])),
        ("skip", {"item_id": ids[0]}),
        ("renew", {"item_id": ids[0]}),
    ):
        declined = bob.post(f"/api/review/{path}", body)
        assert (declined.status_code, declined.json()["why"]) == (409, "not_leased")
    assert ada.post("/api/review/label", said(ids[0])).status_code == 200
    assert bob.post("/api/review/label", said(ids[0])).json()["why"] == "done"


def test_a_lease_that_ran_out_may_be_answered_until_it_is_taken(store: Store) -> None:
    ids = fill_queue(store, 3)
    ada, bob = reviewer(store), reviewer(store, "Bob")
    ada.post("/api/review/next", {"count": 2})
    for browser in (ada, bob):
        browser.now[0] += 601
    assert ada.post("/api/review/label", said(ids[0])).status_code == 200
    assert [item["id"] for item in bob.post("/api/review/next", {}).json()["items"]] == [ids[1]]
    assert ada.post("/api/review/label", said(ids[1])).json()["why"] == "not_leased"
    assert ada.post("/api/review/renew", {"item_id": ids[1]}).status_code == 409
    assert bob.post("/api/review/renew", {"item_id": ids[1]}).json()["item_id"] == ids[1]


def test_progress_of_the_day(store: Store) -> None:
    ids = fill_queue(store, 5)
    ada, bob = reviewer(store), reviewer(store, "Bob")
    ada.post("/api/review/next", {"count": 4})
    bob.post("/api/review/next", {})
    ada.post("/api/review/label", said(ids[0], "unsure"))
    ada.post("/api/review/label", said(ids[1], "wrong", note='"verdict":"unsure"}'))
    ada.post("/api/review/skip", {"item_id": ids[2], "reason": "x"})
    found = ada.send("GET", "/api/review/progress").json()
    assert (found["labelled"], found["unsure"], found["skipped"], found["leased"]) == (2, 1, 1, 1)
    assert found["left"] == 2  # the skipped one, which others get, and the one he has; not the one Bob has
    assert found["since"] == "2025-11-02T00:00:00Z"
    ada.now[0] += 86_400
    assert ada.send("GET", "/api/review/progress").json()["labelled"] == 0


def test_the_same_on_both_databases(store_url: str) -> None:
    opened = open_store(store_url)
    try:
        ids = fill_queue(opened, 3, hostile=True, languages=("en", ""))
        ada = reviewer(opened)
        first = ada.post("/api/review/next", {"count": 2}).json()["items"]
        assert [item["id"] for item in first] == ids[:2]
        assert ada.send("GET", first[0]["inputs"][0]["pictures"]["1"]).content == receipt(0)
        note = "a NUL \x00 and \u202e"
        done = [ada.post("/api/review/label", said(ids[0], "unsure", "r", note=note, count=1)).json() for _ in range(2)]
        assert [answer["repeated"] for answer in done] == [False, True]
        found = ada.send("GET", "/api/review/progress?language=en").json()
        assert (found["labelled"], found["unsure"], found["leased"], found["left"]) == (1, 1, 1, 1)
        assert ada.send("GET", "/review?language=%00").status_code == 200
        for path in ("items/%00", "items/%00/images/0", "items/a%00", "progress?segment=%00"):
            assert ada.send("GET", f"/api/review/{path}").status_code in (400, 404), path
        for body in (said("\0"), said(ids[1], request_id="\0"), said(ids[1], filter={"pool": "\0"})):
            assert ada.post("/api/review/label", body).status_code == 400
        assert "filter" in ada.post("/api/review/next", {"filter": {"segment": "x"}}).json()["empty"]
    finally:
        opened.close()


def test_filters(store: Store) -> None:
    ids = fill_queue(store, 4, languages=("en", ""))
    ada = reviewer(store)
    found = ada.post("/api/review/next", {"count": 4, "filter": {"language": ""}}).json()
    assert [item["id"] for item in found["items"]] == [ids[1], ids[3]]
    assert ada.send("GET", "/api/review/progress?language=en").json()["left"] == 2
    none = ada.post("/api/review/next", {"filter": {"segment": "x"}}).json()
    assert none["items"] == []
    assert "filter" in none["empty"]


def test_an_empty_queue_says_why(store: Store) -> None:
    ada, bob = reviewer(store), reviewer(store, "Bob")
    assert "drawn for review yet" in ada.post("/api/review/next", {}).json()["empty"]
    ids = fill_queue(store, 1, wanted=2)
    ada.post("/api/review/next", {})
    assert "Other reviewers are at" in bob.post("/api/review/next", {}).json()["empty"]
    assert "another reviewer" in ada.post("/api/review/label", said(ids[0], count=1)).json()["empty"]
    bob.post("/api/review/next", {})
    assert "has its labels" in bob.post("/api/review/label", said(ids[0], count=1)).json()["empty"]


def test_answers_to_questions_are_checked_and_stored(store: Store) -> None:
    ids = fill_queue(store, 2)
    elsewhere = {"name": "other", "text": "?", "kind": "text", "segments": ["elsewhere"]}
    ada = reviewer(store, config=configured(questions=[*QUESTIONS, elsewhere]))
    item = ada.post("/api/review/next", {}).json()["items"][0]
    assert [question["name"] for question in item["questions"]] == ["fields", "severity", "seen"]
    answers: dict[str, Any] = {"fields": ["total"], "severity": "harmless", "seen": "42"}
    for wrong in (
        {"severity": "awful"},
        {"seen": 3},
        {"fields": "total"},
        {"fields": [3]},
        {"other": "x"},
        {"nothing": "x"},
        {"seen": "x" * 1001},
    ):
        refused = ada.post("/api/review/label", said(ids[0], "wrong", answers={**answers, **wrong}))
        assert (refused.status_code, refused.json()["parameter"]) == (400, "answers"), wrong
    assert ada.post("/api/review/label", said(ids[0], "correct", answers=answers)).status_code == 400
    assert ada.post("/api/review/label", said(ids[0], "wrong", answers=answers, note="n")).status_code == 200
    with store.read() as connection:
        stored = json.loads(connection.execute(select(labels.c.label)).scalar_one())
    assert stored == {"v": 1, "verdict": "wrong", "answers": answers, "note": "n"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"null", b'{"item_id": 3}', b'{"x": 1}', b"\xff", b"[" * 5000, b'{"item_id":"a"}']
)
def test_bodies_that_are_none(store: Store, body: bytes) -> None:
    ada = reviewer(store)
    headers = {"origin": "http://127.0.0.1:8420", "x-csrf-token": ada.csrf, "content-type": "application/json"}
    answer = ada.send("POST", "/api/review/label", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_hostile_content_goes_out_as_text(store: Store) -> None:
    fill_queue(store, 1, hostile=True)
    ada = reviewer(store)
    answer = ada.post("/api/review/next", {})
    item = answer.json()["items"][0]
    assert answer.headers["content-type"] == "application/json"
    prompt = item["inputs"][2]["text"]
    assert prompt["more"] == len(HOSTILE) + 10_000
    assert len(prompt["text"]) < 20_200
    assert "[U+202E]gnp.exe[U+202C][U+2066][U+E0041][U+001B][31m" in prompt["text"]
    assert item["inputs"][1]["pictures"] == {}
    assert item["inputs"][1]["caption"] == "image/svg+xml"  # no data address
    assert "\u202e" not in answer.text and "\U000e0041" not in answer.text
    assert item["citations"][0]["match"] == shown(HOSTILE)
    assert item["citations"][1]["region"] is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "{", '{"parts": 3}', '{"parts": [3, {"part": "x"}]}', "[" * 3000]
)
def test_content_that_is_none_takes_no_item_away(store: Store, text: str) -> None:
    fill_queue(store, 1)
    with store.write() as connection:
        connection.execute(update(sample_content).values(inputs=text, output=text, citations=text))
        connection.execute(update(samples).values(facts=text))
    assert len(reviewer(store).post("/api/review/next", {}).json()["items"]) == 1


def test_what_retention_took_is_said(store: Store) -> None:
    (item_id,) = fill_queue(store, 1)
    with store.write() as connection:
        connection.execute(delete(sample_content))
        connection.execute(delete(samples))
    ada = reviewer(store)
    item = ada.post("/api/review/next", {}).json()["items"][0]
    assert "retention.content" in item["missing"]
    assert ada.send("GET", f"/api/review/items/{item_id}/images/0").status_code == 404
    assert ada.post("/api/review/label", said(item_id)).json()["revealed"]["confidence"] is None


def test_answers_match_the_document(store: Store) -> None:
    described = document()
    ids = fill_queue(store, 3, hostile=True)
    ada = reviewer(store, config=configured(questions=QUESTIONS))
    bodies = {
        "next": {"count": 3},
        "label": said(ids[0], "wrong", "a", answers={"severity": "harmless"}, count=2),
        "undo": {"request_id": "b"},
        "renew": {"item_id": ids[1]},
        "skip": {"item_id": ids[1], "count": 2},
    }
    posts = [e for e in ENDPOINTS if e.method == "POST" and e.path.startswith("/api/review/")]
    assert {endpoint.path.rpartition("/")[2] for endpoint in posts} == set(bodies)
    components = {"components": described["components"]}
    for name, body in bodies.items():
        operation = described["paths"][f"/api/review/{name}"]["post"]
        wanted = operation["requestBody"]["content"]["application/json"]["schema"]
        Draft202012Validator({**wanted, **components}).validate(body)
        answer = ada.post(f"/api/review/{name}", body)
        assert answer.status_code == 200, answer.text
        shape = operation["responses"]["200"]["content"]["application/json"]["schema"]
        Draft202012Validator({**shape, **components}).validate(answer.json())
    declined = ada.post("/api/review/renew", {"item_id": ids[1]})
    Draft202012Validator({"$ref": "#/components/schemas/Problem", **components}).validate(declined.json())


# ---- the pure parts


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('{"a":1.10,"b":[],"c":{}}', ["{", '  "a": 1.10,', '  "b": [],', '  "c": {}', "}"]),
        ('[1,{"x":"a,{\\"b"}]', ["[", "  1,", "  {", '    "x": "a,{\\"b"', "  }", "]"]),
        ("[]", ["[]"]),
    ],
)
def test_json_is_laid_out_with_its_own_literals(text: str, lines: list[str]) -> None:
    found = laid_out(text)
    assert found is not None
    assert found[0].splitlines() == lines


@pytest.mark.parametrize(
    "text", ["", "text", "3", '"x"', "{", "{'a': 1}", "[" * 100_000, "{} {}", "[1" + "0" * 5000 + "]"]
)
def test_what_is_no_object_or_list_is_left_as_it_is(text: str) -> None:
    assert laid_out(text) is None


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES) | st.dictionaries(st.text(), VALUES))
def test_what_is_laid_out_means_the_same(value: Any) -> None:
    found = laid_out(json.dumps(value, ensure_ascii=False))
    assert found is not None
    assert json.loads(found[0]) == value
    assert len(fields_of(value)) <= 60


@given(
    st.text(alphabet='aAé\u0301ﬁ “”"-–\n\u00adſßİ', max_size=12),
    st.text(alphabet='aAé\u0301ﬁ “”"-–\n\u00adſßİ', max_size=40),
)
def test_a_quote_is_placed_only_where_grounding_finds_it(quote: str, source: str) -> None:
    span = locate(quote, source)
    if span is None:
        return
    assert contained(quote, source)
    assert 0 <= span[0] < span[1] <= len(source)


@given(
    st.text(alphabet="abc \u00e9“", max_size=20),
    st.text(alphabet="abc \u00e9“", min_size=1, max_size=8),
    st.text(max_size=9),
)
def test_a_quote_that_is_there_is_placed(before: str, quote: str, after: str) -> None:
    source = before + quote + after
    span = locate(quote, source)
    assert (span is not None) == bool(quote.strip())
    if span is not None:
        assert contained(quote, source[span[0] : span[1]])


@pytest.mark.parametrize(
    ("given_as", "size", "found"),
    [
        ([0.1, 0.2, 0.3, 0.4], None, (0.1, 0.2, 0.3, 0.4)),
        ([0.3, 0.4, 0.1, 0.2], None, (0.1, 0.2, 0.3, 0.4)),
        ([-1, -1, 0.5, 0.5], None, (0.0, 0.0, 0.5, 0.5)),
        ([10, 20, 50, 100], (100, 200), (0.1, 0.1, 0.5, 0.5)),
        ([10, 20, 50, 100], None, None),
        ([10, 20, 50, 100], (0, 0), None),
        ([0.1, 0.2, 0.1, 0.4], None, None),
        ([0.1, 0.2, 0.3], None, None),
        ([0.1, 0.2, 0.3, "x"], None, None),
        ([0.1, 0.2, 0.3, float("nan")], None, None),
        ([0.1, 0.2, True, 0.4], None, None),
        ("x", None, None),
        (None, None, None),
    ],
)
def test_regions(given_as: Any, size: tuple[int, int] | None, found: Any) -> None:
    assert region(given_as, size) == found


def test_pages_of_citations() -> None:
    wanted = {"page 2": 2, "Page: 7": 7, "p. 2": 1, "pages 3-4": 3, "page 0": 1, "webpage 4": 1, "": 1}
    assert {source: page_of({"source": source}) for source in wanted} == wanted
    assert [page_of(c) for c in ({"page": 3}, {"page": True}, {"page": 0}, {"source": 3}, {})] == [3, 1, 1, 1, 1]
    assert (place(3, [0]), place(2, [0, 4]), place(3, [0, 4]), place(1, [])) == ((0, 3), (4, 1), None, None)
