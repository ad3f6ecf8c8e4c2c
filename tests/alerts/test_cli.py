"""`driftline alerts`: list, show, test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert

from monitor.cli.alerts import alerts
from monitor.store.anomalies import mute
from monitor.store.engine import Store, open_store
from monitor.store.outbox import enqueue
from monitor.store.tables import anomalies
from monitor.times import iso
from tests.alerts.mail import MailServer
from tests.alerts.parts import Answer, Clock, Target, anomaly, dispatcher, tell

OPEN = anomaly("invoice-extract/acme")
OVER = anomaly("invoice-extract/globex", state="resolved", opened=OPEN["opened"] - 3_600_000_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    with opened.write() as conn:
        conn.execute(insert(anomalies), [row(OPEN), row(OVER)])
    yield opened
    opened.close()


def row(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "anomaly_id": document["id"],
        "owner": document["owner"],
        "segment": document["segment"],
        "signal": document["signal"],
        "state": document["state"],
        "severity": document["severity"],
        "historic": document["historic"],
        "opened_us": document["opened"],
        "updated_us": document["updated"],
        "resolved_us": document["resolved"],
        "document": json.dumps(document),
    }


def run(tmp_path: Path, *arguments: str, sinks: str = "{}", kafka: str = "{}") -> Result:
    config = tmp_path / "driftline.yaml"
    config.write_text(
        f"store: {{url: 'sqlite:///{tmp_path / 'driftline.db'}'}}\n"
        f"alerts: {{app_url: 'http://app.example', sinks: {sinks}}}\nkafka: {kafka}\n"
    )
    return CliRunner().invoke(alerts, [arguments[0], "--config", str(config), *arguments[1:]])


def test_list_newest_first(store: Store, tmp_path: Path) -> None:
    output = run(tmp_path, "list").output
    assert output.index(OPEN["id"][:10]) < output.index(OVER["id"][:10])
    assert f"Resolved: {OVER['explanation']['sentence']}" in output
    only = run(tmp_path, "list", "--state", "open", "--json").output.splitlines()
    assert [json.loads(line) for line in only] == [OPEN]
    assert run(tmp_path, "list", "--segment", "nowhere").output == "no anomalies\n"


def test_what_waits_for_the_end_of_a_mute_says_so(store: Store, tmp_path: Path, clock: Clock) -> None:
    until = clock() + 1_800_000_000
    with store.write() as conn:
        mute(conn, {OPEN["id"]: until})
        enqueue(
            conn, sink="hook", key=OPEN["id"], kind="anomaly", payload=OPEN, created_us=clock(), due_us=until
        )  # fmt: skip
    shown = run(tmp_path, "show", OPEN["id"][:8]).output
    assert "hook: waiting for the end of a deploy's mute" in shown
    assert f"opened in a deploy's mute: nobody is told before {iso(until)}" in shown
    assert "waiting for the end of a deploy's mute" in run(tmp_path, "list").output
    assert "mute" not in run(tmp_path, "show", OVER["id"][:8]).output


def test_list_shows_what_is_stuck(store: Store, tmp_path: Path, clock: Clock, web: Target) -> None:
    from alerts.sinks.webhook import WebhookSink, WebhookTarget

    web.answer = lambda request: Answer(500, b"broken")
    tell(store, clock, "hook", OPEN)
    dispatcher(store, clock, {"hook": WebhookSink(WebhookTarget(web.url))}).step()
    expected = "waiting, 1 attempt: HTTP 500: broken"
    assert f"hook: anomaly {OPEN['id']} {expected}" in run(tmp_path, "list").output
    assert f"hook: {expected}" in run(tmp_path, "show", OPEN["id"]).output


def test_show_tells_the_story(store: Store, tmp_path: Path) -> None:
    output = run(tmp_path, "show", OPEN["id"][:12]).output
    assert output.startswith(OPEN["explanation"]["sentence"])
    assert f"http://app.example/anomalies/{OPEN['id']}" in output
    assert "14 % (95 % interval 11 % to 18 %), 2 % before" in output
    assert "told to nobody" in output


def test_show_says_what_is_wrong_with_an_id(store: Store, tmp_path: Path) -> None:
    missing = run(tmp_path, "show", "zz")
    assert (missing.exit_code, "no anomaly's id begins with 'zz'" in missing.output) == (1, True)
    several = run(tmp_path, "show", "")
    assert (several.exit_code, "write more characters" in several.output) == (1, True)
    assert run(tmp_path, "show", "%").exit_code == 1


def test_a_test_goes_through_every_sink(store: Store, tmp_path: Path, web: Target) -> None:
    sinks = f"{{good: {{kind: webhook, url: '{web.url}/a'}}, bad: {{kind: webhook, url: '{web.url}/b'}}}}"
    web.answer = lambda request: Answer(403 if request.path == "/b" else 200, b"no")
    result = run(tmp_path, "test", sinks=sinks)
    assert result.exit_code == 1
    assert f"good (webhook {web.url}/a): delivered" in result.output
    assert f"bad (webhook {web.url}/b): not reached: HTTP 403: no" in result.output
    assert {request.json["kind"] for request in web.requests} == {"test"}
    assert "This is a test" in web.requests[0].json["summary"]
    assert run(tmp_path, "test", "--sink", "good", sinks=sinks).exit_code == 0


def test_a_test_is_marked_as_one_for_people_and_says_how_long_it_took(
    store: Store, tmp_path: Path, web: Target, post: MailServer
) -> None:
    people = "sender: a@x.example, recipients: [b@x.example]"
    mail = f"{{kind: smtp, host: 127.0.0.1, port: {post.port}, security: none, {people}}}"
    result = run(tmp_path, "test", sinks=f"{{chat: {{kind: slack, url: '{web.url}/secret'}}, mail: {mail}}}")
    assert result.exit_code == 0, result.output
    chat, mailed = result.output.splitlines()
    assert re.fullmatch(r"chat \(slack webhook at 127\.0\.0\.1\): delivered \(\d+\.\d\d s\)", chat)
    assert re.fullmatch(r"mail \(smtp 127\.0\.0\.1:\d+ to b@x\.example\): delivered \(\d+\.\d\d s\)", mailed)
    marked = "[test] This is a test of driftline: nothing changed"
    assert post.mails[0].message["Subject"] == marked == web.requests[0].json["text"].splitlines()[0]
    post.answer = lambda verb, line: "550 no" if verb == "RCPT" else ""
    refused = run(tmp_path, "test", "--sink", "mail", sinks=f"{{mail: {mail}}}")
    assert (refused.exit_code, "refused: b@x.example: 550 no" in refused.output) == (1, True)


def test_a_test_needs_a_sink(store: Store, tmp_path: Path) -> None:
    assert "no sink is configured" in run(tmp_path, "test").output
    assert "no sink is configured" in run(tmp_path, "test", kafka="{review_topic: x}").output, "it takes no anomalies"
    sinks = "{one: {kind: kafka}}"
    assert (
        "no sink named two; configured under alerts.sinks: one"
        in run(tmp_path, "test", "--sink", "two", sinks=sinks).output
    )


@pytest.mark.real
def test_a_test_reaches_a_real_alertmanager(store: Store, tmp_path: Path, alertmanager: str) -> None:
    import httpx

    result = run(tmp_path, "test", sinks=f"{{oncall: {{kind: alertmanager, urls: ['{alertmanager}']}}}}")
    assert result.exit_code == 0, result.output
    (alert,) = httpx.get(f"{alertmanager}/api/v2/alerts", trust_env=False).json()
    assert alert["labels"]["segment"] == "driftline-test"
    assert alert["labels"]["severity"] == "report"


def test_what_people_say_is_kept_and_shown(store: Store, tmp_path: Path) -> None:
    one = OPEN["id"][:8]
    done = run(tmp_path, "ack", one, "--by", "ann", "--note", "mail a.b@example.com")
    assert done.exit_code == 0, done.output
    assert "acknowledged by ann" in done.output
    assert "(as before)" in run(tmp_path, "ack", one, "--by", "ben").output
    assert "snoozed until" in run(tmp_path, "snooze", one, "--for", "4h", "--by", "ann").output
    assert "marked false by ben" in run(tmp_path, "mark", one, "--false", "--by", "ben", "--note", "a load test").output
    listed = run(tmp_path, "list").output
    assert "marked false by ben, acknowledged by ann, snoozed until" in listed
    assert listed.index(OVER["id"][:10]) < listed.index(OPEN["id"][:10]), "what was put aside comes last"
    shown = run(tmp_path, "show", one).output
    assert "false by ben: a load test" in shown
    assert "a.b@example.com" not in shown
    assert "acknowledged" not in run(tmp_path, "ack", one, "--undo", "--by", "ann").output
    assert "snoozed" not in run(tmp_path, "snooze", one, "--undo", "--by", "ann").output
    assert "nothing stands of it" in run(tmp_path, "mark", one, "--undo", "--by", "ann").output
    assert "accepted as the new normal" in run(tmp_path, "accept", one, "--by", "ann").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ack", "zzz"), "no anomaly's id begins with"),
        (("mark", "OPEN"), "either --real or --false"),
        (("mark", "OPEN", "--real", "--false"), "either --real or --false"),
        (("deploy", "--version", "v\udcff"), "printable"),
        (("snooze", "OPEN"), "say how long"),
        (("snooze", "OPEN", "--for", "4h", "--undo"), "say how long"),
        (("snooze", "OPEN", "--for", "soon"), "duration"),
        (("snooze", "OPEN", "--for", "40d"), "within 30 days"),
        (("accept", "OVER"), "over already"),
        (("deploy", "--version", "v2", "--mute", "25h"), "at most 24 h"),
    ],
)
def test_what_cannot_be_said_changes_nothing(
    store: Store, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    ids = {"OPEN": OPEN["id"], "OVER": OVER["id"]}
    done = run(tmp_path, *(ids.get(argument, argument) for argument in arguments))
    assert done.exit_code != 0
    assert message in done.output
    assert "Responses:" not in run(tmp_path, "show", OPEN["id"]).output


def test_deploys_are_announced_and_listed(store: Store, tmp_path: Path) -> None:
    assert "no deploys" in run(tmp_path, "deploys").output
    said = ("--version", "v2.4.1", "--route", "extract", "--mute", "30m", "--id", "b17", "--by", "ci")
    assert "announced v2.4.1 (b17)" in run(tmp_path, "deploy", *said).output
    assert "announced before" in run(tmp_path, "deploy", *said).output
    assert "v2.4.1  extract, by ci, muted until" in run(tmp_path, "deploys").output
