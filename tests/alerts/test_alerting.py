"""Sinks from the configuration, and the road to on-call."""

from __future__ import annotations

import pytest

from alerts.sinks.alertmanager import AlertmanagerSink
from alerts.sinks.grafana import GrafanaSink
from alerts.sinks.kafka import KafkaSink
from alerts.sinks.slack import SlackSink
from alerts.sinks.smtp import SmtpSink
from alerts.sinks.webhook import WebhookSink
from monitor.alerting import DEAD_LETTERS, build_sinks, describe, road
from monitor.config.model import Config
from monitor.ingest.dead_letters import SINK

SINKS = {
    "oncall": {"kind": "alertmanager", "urls": ["http://one:9093", "http://two:9093"]},
    "notes": {"kind": "grafana", "url": "https://grafana.example/sub", "token": "hidden"},
    "hook": {"kind": "webhook", "url": "https://hooks.example", "secret": "hidden"},
    "chat": {"kind": "slack", "url": "https://chat.example/hidden"},
    "mail": {
        "kind": "smtp",
        "host": "mail.example",
        "user": "driftline",
        "password": "hidden",
        "sender": "driftline@example.com",
        "recipients": ["oncall@example.com"],
    },
    "events": {"kind": "kafka"},
}


def test_every_kind_of_sink_is_built_and_connects_to_nothing() -> None:
    sinks = build_sinks(Config.model_validate({"alerts": {"sinks": SINKS}}))
    assert {name: type(sink) for name, sink in sinks.items()} == {
        "oncall": AlertmanagerSink,
        "notes": GrafanaSink,
        "hook": WebhookSink,
        "chat": SlackSink,
        "mail": SmtpSink,
        "events": KafkaSink,
        "kafka:dead-letters": KafkaSink,
    }
    for sink in sinks.values():
        assert sink.batch >= 1
        assert 0 < sink.longest_us(1) <= sink.longest_us(sink.batch)
        sink.close()


def test_ingest_and_alerting_name_the_dead_letter_sink_alike() -> None:
    assert SINK == DEAD_LETTERS


def test_a_description_holds_no_secret() -> None:
    told = describe(Config.model_validate({"alerts": {"sinks": SINKS}}))
    assert told["oncall"] == "alertmanager http://one:9093, http://two:9093"
    assert told["chat"] == "slack webhook at chat.example"
    assert told["mail"] == "smtp mail.example:587 to oncall@example.com"
    assert "hidden" not in str(told)


@pytest.mark.parametrize(
    ("path", "severity", "historic", "send_historic", "expected"),
    [
        ("push", "page", False, False, "push"),
        ("rules", "ticket", False, False, "rules"),
        ("rules", "report", False, False, "none"),
        ("rules", "page", True, False, "none"),
        ("push", "page", True, True, "push"),
    ],
)
def test_the_road(path: str, severity: str, historic: bool, send_historic: bool, expected: str) -> None:
    config = Config.model_validate({"alerts": {"path": path, "send_historic": send_historic}})
    assert road(config, severity=severity, historic=historic) == expected
    assert road(config, severity=severity, historic=historic, muted=True) == "none"
