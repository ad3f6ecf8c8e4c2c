"""What every sink tells of one anomaly, and who is told: the same facts everywhere, by owner and severity."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from alerts import lifecycle
from alerts.anomaly import from_document
from alerts.rendering import Links, Promises, annotations, headline, sureness, told
from alerts.sinks import Delivery
from alerts.sinks.alertmanager import AlertmanagerPeers, AlertmanagerSink
from alerts.sinks.grafana import GrafanaSink, GrafanaTarget
from alerts.sinks.slack import SlackSink, SlackTarget
from alerts.sinks.smtp import SmtpSink, SmtpTarget
from alerts.sinks.webhook import WebhookSink, WebhookTarget
from dashboards.subjects import panel_places
from monitor.alerting import links, promises
from monitor.config.load import ConfigError, loads
from monitor.config.model import Config
from monitor.evaluate.judging import sending_rules
from monitor.store import outbox
from monitor.store.engine import Store
from tests.alerts.mail import MailServer
from tests.alerts.parts import NOW, Answer, Clock, Target, anomaly, tell

CONFIG = Config.model_validate(
    {
        "budget": {"page": "1 per 30d", "ticket": "2 per 7d"},
        "owners": {"billing": {"segments": ["invoice*"], "budget": {"page": "1 per 60d", "ticket": "1 per 1d"}}},
        "alerts": {"dashboard_url": "http://grafana.example", "app_url": "http://app.example"},
    }
)


def explained(**over: Any) -> dict[str, Any]:
    """As the evaluator writes it: the opener's sentence, then what is behind it."""
    document = anomaly(**over)
    first = document["facts"][0]["sentence"]
    document["explanation"]["sentence"] = f"{first} It began with prompt extract 15. With it changed: cost_p95."
    return document


RATE = explained()
COST = {**explained(signal="cost_p99"), "evidence": {"kind": "funded_sr", "value": 4.126, "threshold": 1.0}}
IMAGES = {
    **explained(signal="image_drift"),
    "effect": {"value": 8.106, "unit": "sd", "low": 7.79, "high": 8.43, "baseline": 0.0},
}


@pytest.mark.parametrize(
    ("document", "head", "first", "panel"),
    [
        (
            RATE,
            "schema_violation_rate in invoice-extract/acme from 2 % to 14 %",
            "three sampled answers",
            "Quality rates",
        ),
        (COST, "cost_p99 in invoice-extract/acme from 2 % to 14 %", "`driftline cost --days 1", "Cost per event"),
        (
            IMAGES,
            "image_drift in invoice-extract/acme: +8.11 standard deviations",
            "typical before",
            "Drift of inputs",
        ),
    ],
    ids=["rate", "cost tail", "image drift"],
)
def test_a_woken_reader_finds_every_answer(document: dict[str, Any], head: str, first: str, panel: str) -> None:
    assert headline(document) == head
    lines = dict(told(document, promises(CONFIG)))
    assert list(lines) == ["What", "Where", "Since", "How much", "How sure", "Behind it", "Look first"]
    assert lines["What"] == document["facts"][0]["sentence"]
    assert lines["Where"] == "invoice-extract/acme"
    assert lines["Behind it"] == "It began with prompt extract 15. With it changed: cost_p95."
    assert first in lines["Look first"]
    assert document["id"][:10] in lines["Look first"]
    found = links(CONFIG).of(document)
    query = parse_qs(urlsplit(found["dashboard"]).query)
    uid, number = panel_places()[panel]
    assert urlsplit(found["dashboard"]).path == f"/d/{uid}"
    assert query["viewPanel"] == [str(number)]
    assert query["var-segment"] == ["invoice-extract/acme"]
    assert query["var-route"] == ["invoice-extract"]
    assert int(query["from"][0]) * 1000 < document["since"]["low"]
    assert found["app"] == f"http://app.example/anomalies/{document['id']}"


def test_how_sure_is_said_in_plain_words() -> None:
    assert sureness(COST, promises(CONFIG)) == (
        "the evidence reached 4.13 times what opens an anomaly; at most 2 false tickets in 7 days may be expected, "
        "over everything"
    )
    theirs = {**COST, "owner": "billing", "severity": "page"}
    assert sureness(theirs, promises(CONFIG)).endswith(
        "at most 1 false page in 60 days may be expected, over all that billing owns"
    )
    assert sureness({**COST, "owner": "gone"}, promises(CONFIG)) == (
        "the evidence reached 4.13 times what opens an anomaly"
    )


def test_without_an_explanation_the_usual_causes_are_said_and_marked_as_such() -> None:
    lines = dict(told(anomaly(), Promises()))
    assert "Behind it" not in lines
    assert lines["Usually"].endswith("(nothing was found in the data yet)")


def test_what_is_over_says_for_how_long_and_asks_for_nothing() -> None:
    lines = dict(told(explained(state="resolved"), Promises()))
    assert lines["Since"].endswith(", after 0.1 h")
    assert "Look first" not in lines


def test_a_slice_links_to_its_route_and_a_hostile_name_is_no_command() -> None:
    document = {**RATE, "segment": None, "slice": "domain_notation"}
    query = parse_qs(urlsplit(links(CONFIG).of(document)["dashboard"]).query)
    assert "var-segment" not in query and query["var-route"] == ["invoice-extract"]
    hostile = dict(told({**COST, "segment": "x; rm -rf ~"}, Promises()))
    assert "rm -rf" not in hostile["Look first"]


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"segment": "VALIDATE/ID.2"}, "run `driftline cost --days 1 --segment VALIDATE/ID.2`"),
        ({"segment": "-h"}, "run `driftline cost --days 1 --segment 'SEGMENT'`"),
        ({"segment": None, "slice": "low_contrast"}, "run `driftline cost --days 1`"),
    ],
)
def test_a_first_step_can_be_pasted(changes: dict[str, Any], step: str) -> None:
    """Whatever the segment is called, and across segments where the change is in a slice."""
    lines = dict(told({**COST, **changes}, Promises()))
    assert lines["Look first"].startswith(f"{step}:")


def test_no_runbook_where_none_is_configured() -> None:
    assert "runbook_url" not in Links(None, None).of(RATE)
    assert "runbook_url" not in annotations(RATE, Links(), Promises())
    assert loads("alerts: {runbook_url: null}").alerts.runbook_url is None


def test_every_sink_tells_the_same_facts(web: Target, post: MailServer) -> None:
    said: dict[str, Any] = {"links": links(CONFIG), "promises": promises(CONFIG)}
    web.answer = lambda request: Answer(body=b'{"id": 1}')
    sinks = [
        AlertmanagerSink(AlertmanagerPeers((web.url,), **said)),
        GrafanaSink(GrafanaTarget(web.url, **said)),
        WebhookSink(WebhookTarget(web.url, **said)),
        SlackSink(SlackTarget(web.url, **said)),
        SmtpSink(SmtpTarget("127.0.0.1", "a@x.example", ("b@x.example",), post.port, "none", **said)),
    ]
    for sink in sinks:
        sink.send([Delivery(RATE["id"], "anomaly", RATE, created_us=NOW)], NOW)
        sink.close()
    texts = [json.dumps(request.json, ensure_ascii=False) for request in web.requests] + [post.mails[0].part("plain")]
    assert len(texts) == len(sinks)
    for text in texts:
        for _, fact in told(RATE, promises(CONFIG)):
            assert fact in text, fact
        assert f"http://app.example/anomalies/{RATE['id']}" in text
        assert "/docs/runbooks/schema-violations.md" in text


# -- who is told --------------------------------------------------------------------------------------------

ROUTED = """
alerts:
  sinks:
    oncall: {kind: alertmanager, urls: ['http://a'], severities: [page]}
    chat: {kind: webhook, url: 'http://b'}
    team: {kind: webhook, url: 'http://c', severities: [page, ticket, report]}
owners:
  billing: {segments: ['invoice*'], sinks: [team, oncall]}
"""


@pytest.mark.parametrize(
    ("owner", "severity", "expected"),
    [
        ("default", "page", ["oncall", "chat", "team"]),
        ("default", "ticket", ["chat", "team"]),
        ("default", "report", ["team"]),
        ("billing", "page", ["oncall", "team"]),
        ("billing", "ticket", ["team"]),
        ("billing", "report", ["team"]),
    ],
)
def test_who_is_told_by_owner_and_severity(owner: str, severity: str, expected: list[str]) -> None:
    rules = sending_rules(loads(ROUTED))
    found = from_document({**anomaly(severity=severity), "owner": owner})
    assert [message.sink for message in lifecycle.messages(found, rules, NOW)] == expected


def test_who_was_told_hears_of_the_end_whatever_the_configuration_has_become() -> None:
    rules = sending_rules(loads(ROUTED))
    over = from_document({**anomaly(state="resolved"), "owner": "billing"})
    messages = lifecycle.messages(over, rules, NOW, told_before={"chat", "team", "gone"})
    assert [message.sink for message in messages] == ["team", "chat"]
    still_open = from_document({**anomaly(), "owner": "billing"})
    assert [m.sink for m in lifecycle.messages(still_open, rules, NOW, told_before={"chat"})] == ["team"]


def test_the_outbox_knows_who_was_told(store: Store, clock: Clock) -> None:
    one, two = anomaly("one"), anomaly("two")
    for sink in ("a", "b"):
        tell(store, clock, sink, one)
    tell(store, clock, "b", two)
    with store.read() as conn:
        assert outbox.sinks_of(conn, [one["id"], two["id"], "unknown"]) == {one["id"]: {"a", "b"}, two["id"]: {"b"}}
        assert outbox.sinks_of(conn, []) == {}


MAIL = "kind: smtp, host: m, sender: a@x.example, recipients: [b@x.example]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "alerts: {sinks: {a: {kind: kafka}}}\nowners: {team: {sinks: [a, b]}}",
            "owners.team.sinks names 'b', which alerts.sinks does not have; configured there: a",
        ),
        ("owners: {team: {sinks: [a]}}", "configured there: none"),
        ("owners: {team: {sinks: []}}", "owners.team.sinks"),
        ("alerts: {sinks: {a: {kind: kafka, severities: []}}}", "alerts.sinks.a.severities"),
        ("alerts: {sinks: {a: {kind: kafka, severities: [pages]}}}", "got 'pages' (did you mean page?)"),
        (f"alerts: {{sinks: {{a: {{{MAIL}, user: u}}}}}}", "`user` and `password` belong together"),
        (f"alerts: {{sinks: {{a: {{{MAIL}, user: u, password: p, security: none}}}}}}", "would be sent in the clear"),
        (
            "alerts: {sinks: {a: {kind: smtp, host: m, sender: 'a\\n@x', recipients: [b@x]}}}",
            "expected a mail address",
        ),
        ("alerts: {sinks: {a: {kind: smtp, host: m, sender: a@x, recipients: ['<b@x>']}}}", "expected a mail address"),
        ("alerts: {sinks: {a: {kind: smtp, host: m, sender: a@x, recipients: []}}}", "alerts.sinks.a.recipients"),
        ("alerts: {sinks: {a: {kind: slack}}}", "alerts.sinks.a.url: missing"),
    ],
)
def test_faults_of_routes_and_sinks_say_what_to_write(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loads(text)
    assert expected in str(raised.value)


def test_the_address_of_a_chat_is_a_secret_that_may_come_from_a_file(tmp_path: Any) -> None:
    file = tmp_path / "url"
    file.write_text("https://hooks.example/T0/B0/hidden\n")
    config = loads(f"alerts: {{sinks: {{chat: {{kind: slack, url_file: {file}}}}}}}")
    sink = config.alerts.sinks["chat"]
    assert sink.kind == "slack" and sink.url == "https://hooks.example/T0/B0/hidden"
    assert "hidden" not in repr(config)
