"""The chat sink against a real HTTP server: what is told and how often, and that data is inert."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from alerts.rendering import Links, Promises
from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent
from alerts.sinks.people import Occasion, inert
from alerts.sinks.slack import SlackSink, SlackTarget, escape, message
from monitor.store import outbox
from monitor.store.engine import Store
from tests.alerts.parts import MINUTE, NOW, Answer, Clock, Target, anomaly, dispatcher, tell, vast

LINKS = Links("http://grafana.example", "http://app.example", "http://runbooks.example")
PROMISES = Promises({"default": {"ticket": ("2", "7 days")}})
TOLD_OPEN = {"told": {"state": "open", "severity": "ticket"}}


def send(web: Target, *documents: dict[str, Any], remote: dict[str, Any] | None = None) -> list[Outcome]:
    sink = SlackSink(SlackTarget(f"{web.url}/services/secret", 1.0, LINKS, PROMISES))
    try:
        return sink.send([Delivery(d["id"], "anomaly", d, created_us=NOW, remote=remote or {}) for d in documents], NOW)
    finally:
        sink.close()


def test_a_message_says_what_a_reader_asks_for(web: Target) -> None:
    document = anomaly()
    assert send(web, document) == [Sent(TOLD_OPEN)]
    body = web.requests[0].json
    assert set(body) == {"text", "blocks"}
    assert body["blocks"][0]["text"]["text"] == (
        "[ticket] schema_violation_rate in invoice-extract/acme from 2 % to 14 %"
    )
    for shown in (body["text"], "\n".join(str(b["text"]["text"]) for b in body["blocks"][1:-1])):
        assert "What: schema_violation_rate in invoice-extract/acme rose" in shown
        assert "How much: 14 % (95 % interval 11 % to 18 %), 2 % before" in shown
        assert "at most 2 false tickets in 7 days may be expected, over everything" in shown
        assert f"driftline alerts show {document['id'][:10]}" in shown
    pointers = body["blocks"][-1]["elements"][0]
    assert (pointers["type"], pointers["verbatim"]) == ("mrkdwn", True)
    for address in (
        f"http://app.example/anomalies/{document['id']}",
        "http://runbooks.example/schema-violations.md",
        "var-segment=invoice-extract%2Facme",
    ):
        assert address in pointers["text"]
        assert address in body["text"]


def test_one_message_when_it_opens_and_one_when_it_is_over(store: Store, clock: Clock, web: Target) -> None:
    work = dispatcher(store, clock, {"chat": SlackSink(SlackTarget(web.url))})
    for document in (
        anomaly(),
        anomaly(value=0.3),
        anomaly(value=0.4, severity="page"),
        anomaly(value=0.5, severity="page"),
        anomaly(value=0.4),
        anomaly(state="resolved"),
        anomaly(state="resolved", value=0.2),
    ):
        tell(store, clock, "chat", document)
        work.step()
        clock.tick(MINUTE)
    assert [request.json["text"].split(" ")[0] for request in web.requests] == ["[ticket]", "[now", "[resolved]"]
    with store.read() as conn:
        assert [(depth.state, depth.rows) for depth in outbox.depths(conn)] == [("sent", 1)]


def test_what_was_over_before_it_could_be_told_is_one_message(store: Store, clock: Clock, web: Target) -> None:
    web.answer = lambda request: Answer(503)
    work = dispatcher(store, clock, {"chat": SlackSink(SlackTarget(web.url))})
    tell(store, clock, "chat", anomaly())
    work.step()
    web.answer = lambda request: Answer()
    web.requests.clear()
    tell(store, clock, "chat", anomaly(state="resolved"))
    clock.tick(10 * MINUTE)
    while work.step():
        clock.tick(MINUTE)
    assert len(web.requests) == 1
    assert web.requests[0].json["text"].startswith("[resolved]")


HOSTILE = (
    "<!channel> <@U1> @here @channel <http://evil.example|bill> http://evil.example www.evil.example [x](//e.x) &lt;"
    " evil.com/login evil\u3002com 10.0.0.1/x \\\\evil\\share"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("evil.com/login", "evil|.com/login"),
        ("a.evil.co.uk", "a|.evil|.co|.uk"),
        ("EVIL.COM", "EVIL|.COM"),
        ("xn--e1a.xn--p1ai", "xn--e1a|.xn--p1ai"),
        ("\N{PILE OF POO}.la", "\N{PILE OF POO}|.la"),
        ("evil\uff0ecom", "evil|\uff0ecom"),
        ("10.0.0.1/x", "10|.0.0.1/x"),
        (
            "rose from 0.0475 to 1.5 %, gpt-4.1-mini v2.4.1. Then",
            "rose from 0.0475 to 1.5 %, gpt-4.1-mini v2.4.1. Then",
        ),
        ("`driftline alerts show a3c76f6174`", "`driftline alerts show a3c76f6174`"),
    ],
)
def test_bare_addresses_are_broken_and_numbers_are_not(text: str, shown: str) -> None:
    assert inert(text).replace("\u200b", "|") == shown


def test_names_from_the_data_are_inert(web: Target) -> None:
    document = anomaly(segment=HOSTILE, sentence=f"{HOSTILE} changed\n@all\nWhat: lies.")
    send(web, document)
    body = web.requests[0].json
    shown = [body["text"], *(block["text"]["text"] for block in body["blocks"][:-1])]
    assert all(block["text"]["type"] == "plain_text" for block in body["blocks"][:-1])
    for text in shown:
        ours = re.sub(r"<http://(grafana|app|runbooks)\.example/[^<>]*>", "", text)
        assert "<" not in ours and ">" not in ours
        assert not re.search(r"@\w|://|www\.|\]\(|\w[.\u3002][a-z]{2}|10\.0\.0\.1|\\\\{2}", ours)
        assert not re.search(r"&(?!amp;|lt;|gt;)", ours)
    assert body["text"].count("\nWhat: ") == 1, "a line break of the data begins no line"
    assert not re.search(r"<[!@#]", json.dumps(body))
    assert escape("a & b") == "a &amp; b"


def units(text: str) -> int:
    """Characters as they are counted where an emoji is two."""
    return len(text.encode("utf-16-le")) // 2


LONG = {
    "escaped": anomaly(segment="&" * 500, sentence="<" * 9000),
    "names of four bytes": vast(),
    "names that grow twelvefold in an address": {**vast(), "segment": "\N{GRINNING FACE}" * 200 + "%&|<>"},
    "links of an own": {**anomaly(), "links": {f"page {n}": f"https://x.example/{'é|' * 400}" for n in range(30)}},
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("found", ["opened", "worse", "resolved"])
def test_long_texts_keep_within_what_slack_takes(name: str, found: Occasion) -> None:
    """Each limit of Block Kit; beyond one the whole message is refused (invalid_blocks), and nobody is told."""
    body = message(LONG[name], found, LINKS, PROMISES)
    head, *sections = body["blocks"]
    assert head["type"] == "header" and 0 < units(head["text"]["text"]) <= 150
    assert len(body["blocks"]) <= 50
    for block in sections:
        if block["type"] == "context":
            assert 0 < len(block["elements"]) <= 10
            texts = [element["text"] for element in block["elements"]]
            assert "http://app.example/anomalies/" in texts[0], "the anomaly's own page is always there"
            assert texts[0].count("<") == texts[0].count(">") == texts[0].count("|"), "no address is cut"
        else:
            assert set(block) == {"type", "text"}, "no fields, which have limits of their own"
            texts = [block["text"]["text"]]
        for text in texts:
            assert 0 < units(text) <= 3000
            assert not re.search(r"&(?!amp;|lt;|gt;)", text), "no escape is cut in half"
    assert units(body["text"]) < 40_000


def test_only_an_address_that_is_too_long_is_left_out() -> None:
    pointers = message(anomaly(), "opened", LINKS, PROMISES)["blocks"][-1]["elements"][0]["text"]
    assert [name for name in ("anomaly", "dashboard", "runbook") if f"|{name}>" in pointers] == [
        "anomaly", "dashboard", "runbook"
    ]  # fmt: skip
    body = message(vast(), "opened", LINKS, PROMISES)
    pointers = body["blocks"][-1]["elements"][0]["text"]
    assert "|anomaly>" in pointers and "|runbook>" in pointers and "|dashboard>" not in pointers
    assert "grafana.example" not in body["text"]


def test_a_cut_text_is_as_long_as_it_may_be() -> None:
    body = message(anomaly("\N{GRINNING FACE}" * 200), "opened", LINKS, PROMISES)
    assert 140 < units(body["blocks"][0]["text"]["text"]) <= 150


@pytest.mark.parametrize("status", [403, 404, 410, 429, 500, 503])
def test_what_can_be_mended_is_tried_again(web: Target, status: int) -> None:
    web.answer = lambda request: Answer(status, b"no_service", {"Retry-After": "7"} if status == 429 else {})
    (outcome,) = send(web, anomaly())
    assert outcome == Retry(f"HTTP {status}: no_service", {}, 7_000_000 if status == 429 else None)


def test_refused_content_is_not_sent_again(web: Target) -> None:
    web.answer = lambda request: Answer(400, b"invalid_payload")
    assert send(web, anomaly()) == [Refused("HTTP 400: invalid_payload")]


@pytest.mark.parametrize("behave", ["cut", "drip"])
def test_the_status_is_answer_enough(web: Target, behave: str) -> None:
    """The message is in the channel: for the rest of an answer nobody is told twice."""
    web.answer = lambda request: Answer(behave=behave)
    assert send(web, anomaly()) == [Sent(TOLD_OPEN)]


@pytest.mark.parametrize("behave", ["drip-header", "hang"])
def test_no_status_is_no_answer_and_always_ends(web: Target, behave: str) -> None:
    web.answer = lambda request: Answer(behave=behave)
    (outcome,) = send(web, anomaly())
    assert isinstance(outcome, Retry)
    assert "secret" not in outcome.error


def test_a_document_that_cannot_be_rendered_is_refused_alone(web: Target) -> None:
    broken = {**anomaly("broken"), "evidence": {}}
    first, second, third = send(web, anomaly("one"), broken, anomaly("two"))
    assert (first, third) == (Sent(TOLD_OPEN), Sent(TOLD_OPEN))
    assert isinstance(second, Refused)
