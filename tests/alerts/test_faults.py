"""Every kind of sink through every kind of fault: nothing lost, nobody told twice, memory bounded.

Programs may hear the same again, as long as it is the same thing to them: one alert by its labels, one annotation by
its number, one delivery by its header, one key of a topic. People may not.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, NotEnoughReplicasError, ThrottlingQuotaExceededError

from alerts.sinks import Delivery, Outcome, Sink
from alerts.sinks.alertmanager import AlertmanagerPeers, AlertmanagerSink
from alerts.sinks.grafana import GrafanaSink, GrafanaTarget
from alerts.sinks.kafka import KafkaSink, KafkaTopic
from alerts.sinks.slack import SlackSink, SlackTarget
from alerts.sinks.smtp import SmtpSink, SmtpTarget
from alerts.sinks.webhook import WebhookSink, WebhookTarget
from monitor.store import outbox
from monitor.store.engine import Store
from tests.alerts.mail import MailServer
from tests.alerts.parts import MINUTE, Answer, Clock, Request, Target, anomaly, dispatcher, tell

FAULTS = ("down", "slow", "429", "5xx", "half")
TIMEOUT = 1.0
PATIENCE = 30.0  # where nothing hangs: on a busy machine a short timeout is a fault of its own
MANY = 25  # more than two batches of a sink that people read


@dataclass
class Rig:
    """A sink with its target: ``fault`` is how the target fails now, ``arrived`` what it has taken: (id, state), and
    ``things`` what each of these is to the target, by which it folds what comes again: (id, thing)."""

    sink: Sink
    fault: str = ""
    arrived: list[tuple[str, str]] = field(default_factory=list)
    things: list[tuple[str, object]] = field(default_factory=list)


@dataclass
class Watched:
    """The sink, and how many deliveries it was ever handed at once; ``killed``: its process dies before it can say how
    a delivery went."""

    inner: Sink
    most: int = 0
    killed: bool = False

    @property
    def batch(self) -> int:
        return self.inner.batch

    def longest_us(self, deliveries: int) -> int:
        return self.inner.longest_us(deliveries)

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        self.most = max(self.most, len(deliveries))
        outcomes = self.inner.send(deliveries, now_us)
        if self.killed:
            raise SystemExit
        return outcomes

    def close(self) -> None:
        self.inner.close()


def over_http(
    web: Target,
    make: Callable[[str], Sink],
    taken: Callable[[Request], list[tuple[str, str]]],
    thing: Callable[[Request, str, str], object],
    found: Callable[[Request], bytes] = lambda request: b'{"message": "ok"}',
) -> Rig:
    """``thing``: what (id, state) of a request is to the target; ``found``: what it answers."""
    rig = Rig(make(web.url))

    def answer(request: Request) -> Answer:
        match rig.fault:
            case "down":
                return Answer(behave="close")
            case "slow":
                return Answer(behave="hang")
            case "429":
                return Answer(429, b"slow down", {"Retry-After": "60"})
            case "5xx":
                return Answer(503, b"sorry")
        new = taken(request)
        rig.arrived += new
        rig.things += [(key, thing(request, key, state)) for key, state in new]
        return Answer(body=found(request), behave="cut" if rig.fault == "half" else "")

    web.answer = answer
    return rig


def by_alertmanager(web: Target, post: MailServer) -> Rig:
    return over_http(
        web,
        lambda url: AlertmanagerSink(AlertmanagerPeers((url,), timeout_s=TIMEOUT)),
        lambda request: [
            (alert["labels"]["id"], "resolved" if alert["annotations"]["summary"].startswith("Resolved") else "open")
            for alert in request.json
        ],
        lambda request, key, state: next(
            frozenset(alert["labels"].items()) for alert in request.json if alert["labels"]["id"] == key
        ),
    )


def by_grafana(web: Target, post: MailServer) -> Rig:
    kept: list[str] = []  # the id that each annotation is tagged with, in the order in which they were made

    def number(request: Request) -> int:
        """Of the annotation that a request is about."""
        if request.method == "POST":
            return len(kept)
        return int(request.path.rpartition("/")[2])

    def taken(request: Request) -> list[tuple[str, str]]:
        if request.method == "GET":
            return []
        tag = next(tag for tag in request.json["tags"] if tag.startswith("anomaly:"))
        if request.method == "POST":
            kept.append(tag)
        assert kept[number(request) - 1] == tag
        return [(tag.removeprefix("anomaly:"), "resolved" if request.json["text"].startswith("Resolved") else "open")]

    def found(request: Request) -> bytes:
        if request.method != "GET":
            return json.dumps({"id": number(request), "message": "ok"}).encode()
        (tag,) = parse_qs(urlsplit(request.path).query)["tags"]
        return json.dumps([{"id": at} for at, of in enumerate(kept, 1) if of == tag]).encode()

    return over_http(
        web,
        lambda url: GrafanaSink(GrafanaTarget(url, timeout_s=TIMEOUT)),
        taken,
        lambda request, key, state: number(request),
        found,
    )


def by_webhook(web: Target, post: MailServer) -> Rig:
    return over_http(
        web,
        lambda url: WebhookSink(WebhookTarget(url, timeout_s=TIMEOUT)),
        lambda request: [(request.json["anomaly"]["id"], request.json["anomaly"]["state"])],
        lambda request, key, state: request.headers["X-Driftline-Delivery"],
    )


def by_slack(web: Target, post: MailServer) -> Rig:
    def taken(request: Request) -> list[tuple[str, str]]:
        text = request.json["text"]
        segment = text.split(" in ")[1].split(" ")[0]
        return [(anomaly(segment)["id"], "resolved" if text.startswith("[resolved]") else "open")]

    # A chat folds nothing: each message is another one.
    return over_http(
        web, lambda url: SlackSink(SlackTarget(url, TIMEOUT)), taken, lambda request, key, state: len(web.requests)
    )


def by_smtp(web: Target, post: MailServer) -> Rig:
    class Inbox(Rig):
        pass

    rig = Inbox(
        SmtpSink(SmtpTarget("127.0.0.1", "d@x.example", ("a@x.example",), post.port, "none", timeout_s=TIMEOUT))
    )
    said = {
        "down": ("CONNECT", "cut"),
        "slow": ("EHLO", "hang"),
        "429": ("MAIL", "450 slow down"),
        "5xx": ("END", "451 local error"),
        "half": ("DATA", "cut"),
    }

    def answer(verb: str, line: str) -> str:
        if rig.fault and said[rig.fault][0] == verb:
            return said[rig.fault][1]
        if verb == "QUIT":
            rig.arrived[:] = [
                (key, "open" if kind == "opened" else kind)
                for mail in post.mails
                for key, kind in [str(mail.message["Message-ID"]).strip("<").split("@")[0].split(".")]
            ]
            rig.things[:] = [(key, at) for at, (key, _) in enumerate(rig.arrived)]  # each mail is another one
        return ""

    post.answer = answer
    return rig


def by_kafka(web: Target, post: MailServer) -> Rig:
    class Future:
        def __init__(self, error: Exception | None) -> None:
            self.error = error

        def get(self, timeout: float) -> None:
            if self.error is not None:
                raise self.error

    class Producer:
        def send(self, topic: str, key: bytes, value: bytes, headers: Any) -> Future:
            if rig.fault == "down":
                raise KafkaConnectionError("no broker")
            errors = {
                "slow": KafkaTimeoutError(),
                "429": ThrottlingQuotaExceededError(),
                "5xx": NotEnoughReplicasError(),
                "half": KafkaTimeoutError("no acknowledgement"),  # the broker has it
            }
            if rig.fault in ("", "half"):
                rig.arrived.append((key.decode(), json.loads(value)["state"]))
                rig.things.append((json.loads(value)["id"], key))
            return Future(errors.get(rig.fault))

        def close(self, timeout: float) -> None:
            """Nothing is open."""

    def connect(topic: KafkaTopic) -> Any:
        if rig.fault == "down":
            raise KafkaConnectionError("no broker")
        return Producer()

    rig = Rig(KafkaSink(KafkaTopic("nowhere:9092", "anomalies", timeout_s=TIMEOUT), connect))
    return rig


RIGS = {
    "alertmanager": by_alertmanager,
    "grafana": by_grafana,
    "webhook": by_webhook,
    "slack": by_slack,
    "smtp": by_smtp,
    "kafka": by_kafka,
}


THINGS = {"alertmanager": 1, "grafana": 1, "webhook": 2, "slack": 2, "smtp": 2, "kafka": 1}
"""What an anomaly that opens and resolves is to each target: one alert or annotation, or two messages."""


def things(rig: Rig) -> set[int]:
    """How many things the anomalies are that the target has heard of."""
    return set(Counter(key for key, _ in set(rig.things)).values())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", RIGS)
def test_a_fault_loses_nothing_tells_no_person_twice_and_holds_a_batch_at_most(
    kind: str,
    fault: str,
    sqlite_store: Store,
    clock: Clock,
    web: Target,
    post: MailServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fault != "slow":
        monkeypatch.setattr(sys.modules[__name__], "TIMEOUT", PATIENCE)
    store, rig = sqlite_store, RIGS[kind](web, post)
    watched = Watched(rig.sink)
    work = dispatcher(store, clock, {kind: watched})
    expected = []
    for state in ("open", "resolved"):
        rig.fault = fault
        for number in range(MANY):
            document = anomaly(f"segment-{number}", state=state)
            expected.append((document["id"], state))
            tell(store, clock, kind, document)
        for _ in range(4):
            work.step()
            clock.tick(6 * MINUTE)
        if fault != "half":
            assert not [found for found in rig.arrived if found[1] == state]
            with store.read() as conn:
                assert [(depth.state, depth.rows) for depth in outbox.depths(conn)] == [("pending", MANY)]
        rig.fault = ""
        for _ in range(120):
            if not waiting(store):
                break
            work.step()
            clock.tick(6 * MINUTE)
        assert not waiting(store)
        if kind in ("slack", "smtp"):
            work.step()
    work.step()
    found = Counter(rig.arrived)
    assert set(found) >= set(expected), "lost"
    if kind in ("slack", "smtp"):
        assert found == Counter(expected), "told twice"
    assert things(rig) == {THINGS[kind]}, "the same became another thing"
    assert 0 < watched.most <= rig.sink.batch
    watched.close()


@pytest.mark.parametrize("kind", ["alertmanager", "grafana", "webhook", "kafka"])
def test_a_process_that_dies_before_it_could_write_down_an_answer_makes_no_second_thing(
    kind: str, sqlite_store: Store, clock: Clock, web: Target, post: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chats and mail have nothing to fold it by: docs/alerts.md says what people see then."""
    monkeypatch.setattr(sys.modules[__name__], "TIMEOUT", PATIENCE)
    store, rig = sqlite_store, RIGS[kind](web, post)
    watched = Watched(rig.sink)
    for state in ("open", "resolved"):
        tell(store, clock, kind, anomaly("one", state=state))
        tell(store, clock, kind, anomaly("two", state=state))
        watched.killed = True
        with pytest.raises(SystemExit):
            dispatcher(store, clock, {kind: watched}).step()
        watched.killed = False
        clock.tick(2 * rig.sink.longest_us(2))  # when its lease is over
        assert dispatcher(store, clock, {kind: watched}).step() == 2
        assert not waiting(store)
    assert len(rig.arrived) == 8, "both heard of both states twice"
    assert things(rig) == {THINGS[kind]}
    watched.close()


def waiting(store: Store) -> bool:
    with store.read() as conn:
        return any(depth.state != "sent" for depth in outbox.depths(conn))
