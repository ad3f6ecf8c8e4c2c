"""The signed webhook against a real HTTP server, in every way a target can fail."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from alerts.rendering import Links, Promises
from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent
from alerts.sinks.webhook import WebhookSink, WebhookTarget, encode, verify
from monitor.store import outbox
from monitor.store.engine import Store
from tests.alerts.parts import MINUTE, NOW, Answer, Clock, Target, anomaly, dispatcher, tell, vast

SECRET = "of both sides"


def send(web: Target, *documents: dict[str, object], timeout_s: float = 5.0) -> list[Outcome]:
    sink = WebhookSink(WebhookTarget(f"{web.url}/hook", SECRET, timeout_s, Links(app_url="http://app.example/")))
    try:
        return sink.send([Delivery(str(d["id"]), "anomaly", d, created_us=NOW) for d in documents], NOW)
    finally:
        sink.close()


def test_the_body_and_its_signature(web: Target) -> None:
    document = anomaly()
    assert send(web, document) == [Sent()]
    (request,) = web.requests
    body = request.json
    assert body["schema"] == "driftline.webhook/1"
    assert body["anomaly"] == document
    assert body["summary"].startswith("schema_violation_rate in invoice-extract/acme rose")
    assert body["links"] == {"app": f"http://app.example/anomalies/{document['id']}"}
    assert request.headers["X-Driftline-Delivery"] == body["delivery"] == f"{document['id']}:1"
    stamp, signature = request.headers["X-Driftline-Timestamp"], request.headers["X-Driftline-Signature"]
    now_s = NOW / 1e6
    assert verify(SECRET, stamp, request.body, signature, now_s=now_s)
    assert not verify("another", stamp, request.body, signature, now_s=now_s)
    assert not verify(SECRET, stamp, request.body + b" ", signature, now_s=now_s)
    assert not verify(SECRET, str(int(stamp) + 1), request.body, signature, now_s=now_s)
    assert not verify(SECRET, stamp, request.body, signature, now_s=now_s + 301), "a recorded request is refused"
    assert not verify(SECRET, "soon", request.body, "ü", now_s=now_s)


def test_without_a_secret_nothing_is_signed(web: Target) -> None:
    sink = WebhookSink(WebhookTarget(web.url))
    document = anomaly()
    sink.send([Delivery(document["id"], "anomaly", document)], NOW)
    assert "X-Driftline-Signature" not in web.requests[0].headers


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 409, 429, 500, 502, 503])
def test_what_can_be_mended_at_the_target_is_tried_again(web: Target, status: int) -> None:
    web.answer = lambda request: Answer(status, b"sorry, not now")
    (outcome,) = send(web, anomaly())
    assert isinstance(outcome, Retry)
    assert outcome.error == f"HTTP {status}: sorry, not now"


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_refused_content_is_not_sent_again(web: Target, status: int) -> None:
    web.answer = lambda request: Answer(status, b"")
    assert send(web, anomaly()) == [Refused(f"HTTP {status}: (empty answer)")]


@pytest.mark.parametrize(
    ("header", "delay_s"),
    [("7", 7), ("999999", 3600), (formatdate(NOW // 1_000_000 + 60, usegmt=True), 60), ("soon", None), ("-1", None)],
    ids=["seconds", "too-long", "date", "words", "negative"],
)
def test_retry_after(web: Target, header: str, delay_s: int | None) -> None:
    web.answer = lambda request: Answer(429, b"", {"Retry-After": header})
    (outcome,) = send(web, anomaly())
    assert isinstance(outcome, Retry)
    if delay_s is None:
        assert outcome.after_us is None
    else:
        assert outcome.after_us == pytest.approx(delay_s * 1e6, abs=1_000_001)


@pytest.mark.parametrize("behave", ["cut", "drip", "drip-header", "hang"])
def test_half_an_answer_is_no_answer_and_always_ends(web: Target, behave: str) -> None:
    web.answer = lambda request: Answer(behave=behave)
    (outcome,) = send(web, anomaly(), timeout_s=0.5)
    assert isinstance(outcome, Retry)


def test_an_endless_answer_is_cut(web: Target) -> None:
    web.answer = lambda request: Answer(body=b"x" * 3_000_000)
    assert send(web, anomaly()) == [Sent()]


def test_nobody_listens(web: Target) -> None:
    web.url = "http://127.0.0.1:1"
    outcomes = send(web, anomaly("one"), anomaly("two"))
    assert [type(outcome) for outcome in outcomes] == [Retry, Retry]


def test_a_pause_asked_for_spares_the_rest_of_the_batch(web: Target) -> None:
    web.answer = lambda request: Answer(503, b"", {"Retry-After": "5"})
    outcomes = send(web, *(anomaly(f"segment-{n}") for n in range(5)))
    assert len(web.requests) == 1
    assert [outcome.after_us for outcome in outcomes if isinstance(outcome, Retry)] == [5_000_000] * 5


def test_one_message_that_breaks_the_target_does_not_hold_up_the_others(web: Target) -> None:
    web.answer = lambda request: Answer(500 if b"segment-1" in request.body else 200)
    outcomes = send(web, *(anomaly(f"segment-{n}") for n in range(3)))
    assert [type(outcome) for outcome in outcomes] == [Sent, Retry, Sent]


def test_a_bad_day_loses_nothing_and_repeats_can_be_told(store: Store, clock: Clock, web: Target) -> None:
    """Every kind of failure in turn: each anomaly arrives, and what arrives twice has the same delivery id."""
    moods = ["hang", "cut", 500, 429, "drip", 200, 502, 200, "cut", 200]
    stored: list[str] = []

    def answer(request: object) -> Answer:
        mood = moods.pop(0) if moods else 200
        if mood in (200, "cut"):
            stored.append(web.requests[-1].headers["X-Driftline-Delivery"])
        return Answer(mood) if isinstance(mood, int) else Answer(behave=mood)

    web.answer = answer
    documents = [anomaly(f"segment-{n}") for n in range(6)]
    for document in documents:
        tell(store, clock, "hook", document)
    sink = WebhookSink(WebhookTarget(web.url, SECRET, timeout_s=0.3))
    work = dispatcher(store, clock, {"hook": sink})
    for _ in range(60):
        work.step()
        clock.tick(MINUTE)
    with store.read() as conn:
        assert [(d.state, d.rows) for d in outbox.depths(conn)] == [("sent", 6)]
    assert set(stored) == {f"{document['id']}:1" for document in documents}


def test_the_longest_document_is_a_body_of_less_than_a_megabyte() -> None:
    """nginx, the commonest thing in front of a receiver, answers 413 to more than that."""
    document = vast()
    body = encode(
        Delivery(document["id"], "anomaly", document), Links("http://g.example", "http://a.example"), Promises()
    )
    assert len(body) < 1_000_000
