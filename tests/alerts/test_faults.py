"""Every kind of sink through every kind of fault: nothing lost, nobody told twice, memory bounded."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """A sink with its target: ``fault`` is how the target fails now, ``arrived`` what it has taken: (id, state)."""

    sink: Sink
    fault: str = ""
    arrived: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Watched:
    """The sink, and how many deliveries it was ever handed at once."""

    inner: Sink
    most: int = 0

    @property
    def batch(self) -> int:
        return self.inner.batch

    def longest_us(self, deliveries: int) -> int:
        return self.inner.longest_us(deliveries)

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        self.most = max(self.most, len(deliveries))
        return self.inner.send(deliveries, now_us)

    def close(self) -> None:
        self.inner.close()


def over_http(web: Target, make: Callable[[str], Sink], taken: Callable[[Request], list[tuple[str, str]]]) -> Rig:
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
        rig.arrived += taken(request)
        found = b'{"id": 7, "message": "ok"}' if request.method != "GET" else b"[]"
        return Answer(body=found, behave="cut" if rig.fault == "half" else "")

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
    )


def by_grafana(web: Target, post: MailServer) -> Rig:
    def taken(request: Request) -> list[tuple[str, str]]:
        if request.method == "GET":
            return []
        tag = next(tag for tag in request.json["tags"] if tag.startswith("anomaly:"))
        return [(tag.removeprefix("anomaly:"), "resolved" if request.json["text"].startswith("Resolved") else "open")]

    return over_http(web, lambda url: GrafanaSink(GrafanaTarget(url, timeout_s=TIMEOUT)), taken)


def by_webhook(web: Target, post: MailServer) -> Rig:
    return over_http(
        web,
        lambda url: WebhookSink(WebhookTarget(url, timeout_s=TIMEOUT)),
        lambda request: [(request.json["anomaly"]["id"], request.json["anomaly"]["state"])],
    )


def by_slack(web: Target, post: MailServer) -> Rig:
    def taken(request: Request) -> list[tuple[str, str]]:
        text = request.json["text"]
        segment = text.split(" in ")[1].split(" ")[0]
        return [(anomaly(segment)["id"], "resolved" if text.startswith("[resolved]") else "open")]

    return over_http(web, lambda url: SlackSink(SlackTarget(url, TIMEOUT)), taken)


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
    assert 0 < watched.most <= rig.sink.batch
    watched.close()


def waiting(store: Store) -> bool:
    with store.read() as conn:
        return any(depth.state != "sent" for depth in outbox.depths(conn))
