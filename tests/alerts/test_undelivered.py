"""`driftline alerts resend` and `dismiss`: what a target refused, and what is left for a sink that is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert

from alerts.sinks.slack import SlackSink, SlackTarget
from alerts.sinks.smtp import SmtpSink, SmtpTarget
from monitor.cli.alerts import alerts
from monitor.config.model import Config
from monitor.store import deliveries, outbox
from monitor.store.decision import Decision
from monitor.store.engine import Store
from monitor.store.outbox import OutboxRow
from monitor.store.tables import anomalies
from monitor.undelivered import UndeliveredFault, dismiss, resend, restore
from tests.alerts.mail import MailServer
from tests.alerts.parts import MINUTE, NOW, Answer, Clock, Target, anomaly, dispatcher, tell
from tests.alerts.test_cli import row as anomaly_row

CONFIG = Config.model_validate(
    {
        "alerts": {
            "sinks": {
                "chat": {"kind": "slack", "url": "http://127.0.0.1:1/x"},
                "mail": {"kind": "smtp", "host": "h", "sender": "d@x.example", "recipients": ["a@x.example"]},
            }
        }
    }
)
ANN = Decision("Ann", NOW, "the channel is back, ask ann@x.example")


def states(store: Store) -> dict[tuple[str, str], int]:
    with store.read() as conn:
        return {(depth.sink, depth.state): depth.rows for depth in outbox.depths(conn)}


def only(store: Store, document: dict[str, Any]) -> OutboxRow:
    with store.read() as conn:
        (found,) = outbox.deliveries(conn, document["id"])
    return found


def refused(store: Store, clock: Clock, sink: str, *documents: dict[str, Any]) -> None:
    """Deliveries that a sink refused."""
    for document in documents:
        tell(store, clock, sink, document)
    with store.write() as conn:
        for found in outbox.claim_due(conn, sink=sink, now_us=clock(), lease_us=lambda count: MINUTE):
            outbox.mark_failed(conn, found, error="HTTP 400: invalid_blocks", remote={})


def test_what_a_mended_target_had_refused_is_sent_again_and_clears_the_alert(
    store: Store, clock: Clock, web: Target
) -> None:
    web.answer = lambda request: Answer(400, b"invalid_blocks")
    work = dispatcher(store, clock, {"chat": SlackSink(SlackTarget(web.url))})
    one, two = anomaly("one"), anomaly("two")
    tell(store, clock, "chat", one)
    tell(store, clock, "chat", two)
    work.step()
    assert states(store) == {("chat", "failed"): 2}
    web.answer = lambda request: Answer()
    clock.tick(60 * MINUTE)
    work.step()
    assert states(store) == {("chat", "failed"): 2}, "by itself it is not asked again"
    web.requests.clear()
    (was,) = resend(store, CONFIG, [one["id"][:8]], None, Decision("Ann", clock()))
    assert (was.key, was.state, was.error) == (one["id"], "failed", "HTTP 400: invalid_blocks")
    work.step()
    assert states(store) == {("chat", "failed"): 1, ("chat", "sent"): 1}
    assert len(resend(store, CONFIG, [], "chat", Decision("Ann", clock()))) == 1
    work.step()
    assert states(store) == {("chat", "sent"): 2}
    assert len(web.requests) == 2
    with pytest.raises(UndeliveredFault, match="nothing at 'chat' is refused"):
        resend(store, CONFIG, [], "chat", ANN)


def test_a_dismissed_one_is_put_aside_until_it_is_put_back_or_there_is_news(store: Store, clock: Clock) -> None:
    document = anomaly()
    refused(store, clock, "chat", document)
    dismiss(store, CONFIG, [document["id"]], None, Decision("Ann", clock(), "told in person"))
    assert states(store) == {("chat", "dismissed"): 1}
    assert only(store, document).error == "HTTP 400: invalid_blocks", "why it was is kept"
    with store.read() as conn:
        assert outbox.undelivered(conn) == []
        assert not outbox.has_due(conn, sink="chat", now_us=clock() + 1000 * MINUTE)
    tell(store, clock, "chat", document)
    assert states(store) == {("chat", "dismissed"): 1}, "the same again is no news"
    restore(store, CONFIG, [document["id"]], "chat", Decision("Bob", clock()))
    assert states(store) == {("chat", "failed"): 1}
    dismiss(store, CONFIG, [], "chat", Decision("Bob", clock()))
    tell(store, clock, "chat", anomaly(state="resolved"))
    assert states(store) == {("chat", "pending"): 1}
    with store.read() as conn:
        past = deliveries.history(conn, document["id"])
    assert [(one.action, one.sink, one.who, one.before) for one in past] == [
        ("dismiss", "chat", "Ann", "failed"),
        ("undo", "chat", "Bob", "dismissed"),
        ("dismiss", "chat", "Bob", "failed"),
    ]


def test_what_is_left_for_a_sink_that_is_gone_can_be_dismissed_and_what_waits_elsewhere_cannot(
    store: Store, clock: Clock
) -> None:
    document = anomaly()
    tell(store, clock, "gone", document)
    tell(store, clock, "mail", anomaly("other"))
    with pytest.raises(UndeliveredFault, match=r"is refused, or left .*: it is waiting at mail; what waits is sent"):
        dismiss(store, CONFIG, [anomaly("other")["id"]], None, ANN)
    with pytest.raises(UndeliveredFault, match="nothing at 'mail' is refused, or left for a sink that is gone"):
        dismiss(store, CONFIG, [], "mail", ANN)
    assert [row.sink for row in dismiss(store, CONFIG, [], "gone", ANN)] == ["gone"]
    assert states(store) == {("gone", "dismissed"): 1, ("mail", "pending"): 1}
    with pytest.raises(UndeliveredFault, match="no sink 'gone' is configured any more"):
        resend(store, CONFIG, [document["id"]], None, ANN)
    restore(store, CONFIG, [], "gone", ANN)
    assert states(store) == {("gone", "pending"): 1, ("mail", "pending"): 1}
    with store.read() as conn:
        assert outbox.has_due(conn, sink="gone", now_us=ANN.time_us), "as it was"


def test_mail_goes_again_to_who_was_refused_alone(sqlite_store: Store, clock: Clock, post: MailServer) -> None:
    people = ("ann@x.example", "bob@x.example")
    target = SmtpTarget("127.0.0.1", "d@x.example", people, post.port, "none", timeout_s=5.0)
    work = dispatcher(sqlite_store, clock, {"mail": SmtpSink(target)})
    post.answer = lambda verb, line: "550 no such user" if verb == "RCPT" and "bob" in line else ""
    tell(sqlite_store, clock, "mail", anomaly())
    work.step()
    assert [mail.recipients for mail in post.mails] == [["ann@x.example"]]
    assert "bob@x.example: 550" in only(sqlite_store, anomaly()).error
    post.answer = lambda verb, line: ""
    resend(sqlite_store, CONFIG, [], "mail", Decision("Ann", clock()))
    work.step()
    assert [mail.recipients for mail in post.mails] == [["ann@x.example"], ["bob@x.example"]]
    assert states(sqlite_store) == {("mail", "sent"): 1}


def test_a_row_that_changed_meanwhile_is_left_alone(store: Store, clock: Clock) -> None:
    document = anomaly()
    refused(store, clock, "chat", document)
    seen = only(store, document)
    tell(store, clock, "chat", anomaly(state="resolved"))
    with store.write() as conn:
        assert not deliveries.dismiss(conn, seen, ANN)
        assert not deliveries.resend(conn, seen, {}, ANN)
        assert deliveries.history(conn, document["id"]) == []
    assert states(store) == {("chat", "pending"): 1}


def test_an_id_that_means_nothing_or_several(sqlite_store: Store, clock: Clock) -> None:
    refused(sqlite_store, clock, "chat", *(anomaly(f"segment-{n}") for n in range(20)))
    for key, said in (
        ("zz", "no delivery has an id that begins with 'zz'"),
        ("", "no delivery has an id that begins with ''"),
        ("%", "no delivery has an id"),
        (anomaly("segment-0")["id"].upper(), "no delivery has an id"),
    ):
        with pytest.raises(UndeliveredFault, match=said):
            dismiss(sqlite_store, CONFIG, [key], None, ANN)
    heads = [anomaly(f"segment-{n}")["id"][0] for n in range(20)]
    several = next(head for head in heads if heads.count(head) > 1)
    with pytest.raises(UndeliveredFault, match="write more characters"):
        dismiss(sqlite_store, CONFIG, [several], None, ANN)
    for by in (Decision("", NOW), Decision("x" * 101, NOW), Decision("x", NOW, "y" * 1001)):
        with pytest.raises(UndeliveredFault):
            dismiss(sqlite_store, CONFIG, [], "chat", by)
    assert states(sqlite_store) == {("chat", "failed"): 20}, "all or nothing"


def run(tmp_path: Path, *arguments: str) -> Result:
    config = tmp_path / "driftline.yaml"
    config.write_text(
        f"store: {{url: 'sqlite:///{tmp_path / 'driftline.db'}'}}\n"
        "alerts: {sinks: {chat: {kind: slack, url: 'http://127.0.0.1:1/x'}}}\n"
    )
    return CliRunner().invoke(alerts, [arguments[0], "--config", str(config), *arguments[1:]])


def test_the_commands_say_what_came_of_it(sqlite_store: Store, tmp_path: Path, clock: Clock) -> None:
    one, two = anomaly("one"), anomaly("two")
    with sqlite_store.write() as conn:
        conn.execute(insert(anomalies), [anomaly_row(one), anomaly_row(two)])
    refused(sqlite_store, clock, "chat", one, two)
    tell(sqlite_store, clock, "gone", one)
    listed = run(tmp_path, "list").output
    assert f"chat: anomaly {one['id']} refused after 1 attempt: HTTP 400: invalid_blocks" in listed
    assert "no sink gone is configured any more, so nothing sends what waits for it" in listed
    assert "`driftline alerts dismiss --sink gone`" in listed
    assert "`driftline alerts resend ID` once its target is mended" in listed
    done = run(tmp_path, "dismiss", one["id"][:10], "--by", "Ann", "--note", "ask bob@x.example")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        f"chat: anomaly {one['id'][:10]}: was refused (HTTP 400: invalid_blocks); dismissed",
        f"gone: anomaly {one['id'][:10]}: was waiting; dismissed",
        "2 deliveries dismissed: nobody is told by them",
        "put back with `driftline alerts dismiss --undo`, sent after all with `driftline alerts resend`",
    ]
    shown = run(tmp_path, "show", one["id"]).output
    assert "chat: dismissed after 1 attempt: HTTP 400: invalid_blocks" in shown
    assert "dismissed at chat by Ann: ask [email]" in shown
    back = run(tmp_path, "dismiss", "--undo", one["id"], "--sink", "gone").output.splitlines()
    assert back == [
        f"gone: anomaly {one['id'][:10]}: not dismissed any more",
        "1 delivery put back: as it was before",
    ]
    again = run(tmp_path, "resend", one["id"], two["id"], "--sink", "chat").output.splitlines()
    assert again == [
        f"chat: anomaly {one['id'][:10]}: was dismissed (HTTP 400: invalid_blocks); to be sent again",
        f"chat: anomaly {two['id'][:10]}: was refused (HTTP 400: invalid_blocks); to be sent again",
        "2 deliveries to be sent again: by the running service, within seconds unless the target asked for a pause",
        "how that went: `driftline alerts list`",
    ]
    assert states(sqlite_store) == {("chat", "pending"): 2, ("gone", "pending"): 1}
    nothing = run(tmp_path, "resend", "--sink", "chat")
    assert (nothing.exit_code, "nothing at 'chat' is refused" in nothing.output) == (1, True)
    assert run(tmp_path, "resend").exit_code == run(tmp_path, "dismiss", "--undo").exit_code == 2
    assert json.loads(run(tmp_path, "show", one["id"], "--json").output) == one
