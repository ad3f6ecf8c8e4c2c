"""Mail against servers on loopback: aiosmtpd, which judges what is said, and a scripted one that fails."""

from __future__ import annotations

import email
import email.policy
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from alerts.rendering import Links, Promises
from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent
from alerts.sinks.people import Occasion, title
from alerts.sinks.smtp import SmtpSink, SmtpTarget, compose
from monitor.demo.broker import free_port
from monitor.store import outbox
from monitor.store.engine import Store
from tests.alerts.mail import MailServer
from tests.alerts.parts import MINUTE, NOW, Clock, anomaly, dispatcher, tell, vast

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
LINKS = Links("http://grafana.example", "http://app.example", "http://runbooks.example")
PROMISES = Promises({"default": {"ticket": ("2", "7 days")}})
TOLD = {"state": "open", "severity": "ticket"}


def target(port: int, *recipients: str, **options: Any) -> SmtpTarget:
    settings = {"security": "none", "timeout_s": 1.0, "links": LINKS, "promises": PROMISES, **options}
    return SmtpTarget("127.0.0.1", "driftline@example.com", recipients or (ANN,), port, **settings)


def send(post: MailServer, *recipients: str, remote: dict[str, Any] | None = None, **over: Any) -> Outcome:
    document = anomaly(**over)
    (found,) = SmtpSink(target(post.port, *recipients)).send(
        [Delivery(document["id"], "anomaly", document, created_us=NOW, remote=remote or {})], NOW
    )
    return found


def to(name: str, reply: str, verb: str = "RCPT") -> Any:
    return lambda said, line: reply if said == verb and name in line else ""


# -- what is said -------------------------------------------------------------------------------------------


def test_a_mail_says_what_a_reader_asks_for(post: MailServer) -> None:
    document = anomaly()
    assert send(post, ANN, BOB) == Sent({"told": {ANN: TOLD, BOB: TOLD}})
    (mail,) = post.mails
    assert (mail.sender, mail.recipients) == ("driftline@example.com", [ANN, BOB])
    head = mail.message
    assert head["Subject"] == "[ticket] schema_violation_rate in invoice-extract/acme from 2 % to 14 %"
    assert (head["From"], head["To"]) == ("driftline@example.com", f"{ANN}, {BOB}")
    assert head["Message-ID"] == f"<{document['id']}.opened@example.com>"
    assert head["Auto-Submitted"] == "auto-generated"
    for shown in (mail.part("plain"), re.sub(r"</th><td[^>]*>", ": ", mail.part("html"))):
        assert "What: schema_violation_rate in invoice-extract/acme rose" in shown
        assert "How much: 14 % (95 % interval 11 % to 18 %), 2 % before" in shown
        assert "at most 2 false tickets in 7 days may be expected, over everything" in shown
        assert f"http://app.example/anomalies/{document['id']}" in shown
        assert "http://runbooks.example/schema-violations.md" in shown


def test_names_from_the_data_are_inert(post: MailServer) -> None:
    hostile = '<script>alert(1)</script> http://evil.example evil.com/login "\r\nBcc: eve@example.com\r\n\r\n&'
    send(post, segment=hostile, sentence=f"{hostile} changed.")
    (mail,) = post.mails
    assert mail.recipients == [ANN]
    assert "Bcc" not in mail.message
    assert set(mail.message.keys()) <= {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert "<script" not in mail.part("html")
    assert "&lt;script&gt;" in mail.part("html")
    assert "://evil" not in mail.part("html") + mail.part("plain"), "nor is it made a link"
    ours = r"http://(grafana|app|runbooks)\.example\S*"
    assert "evil.com" not in re.sub(ours, "", mail.part("html") + mail.part("plain")), "even where it would be a guess"
    assert "evil\u200b.com/login" in mail.part("plain")


def test_an_anomaly_is_one_thread_and_a_revision_is_no_mail(store: Store, clock: Clock, post: MailServer) -> None:
    work = dispatcher(store, clock, {"mail": SmtpSink(target(post.port))})
    for document in (
        anomaly(),
        anomaly(value=0.3),
        anomaly(value=0.4, severity="page"),
        anomaly(value=0.5, severity="page"),
        anomaly(state="resolved", severity="page"),
        anomaly(state="resolved", severity="page", value=0.2),
    ):
        tell(store, clock, "mail", document)
        work.step()
        clock.tick(MINUTE)
    key = anomaly()["id"]
    opened = f"<{key}.opened@example.com>"
    assert [
        (m.message["Message-ID"], m.message["In-Reply-To"], m.message["References"], m.message["Subject"].split("]")[0])
        for m in post.mails
    ] == [
        (opened, None, None, "[ticket"),
        (f"<{key}.worse-page@example.com>", opened, opened, "[now page"),
        (f"<{key}.resolved@example.com>", opened, opened, "[resolved"),
    ]


def test_every_attempt_is_the_same_message() -> None:
    document = anomaly()
    delivery = Delivery(document["id"], "anomaly", document, created_us=NOW)
    first = compose(delivery, "opened", target(25))
    assert first == compose(delivery, "opened", target(25))
    assert all(len(line) <= 998 for line in first.split(b"\r\n")), "the longest line that SMTP takes"
    assert first.isascii()


def test_a_long_story_keeps_within_the_lines_of_smtp() -> None:
    document = anomaly(segment="é" * 500, sentence="ü" * 9000)
    mail = compose(Delivery(document["id"], "anomaly", document, created_us=NOW), "opened", target(25))
    assert all(len(line) <= 998 for line in mail.split(b"\r\n"))
    assert len(mail) < 100_000


@pytest.mark.parametrize("found", ["opened", "worse", "resolved"])
def test_the_longest_names_keep_within_the_lines_of_smtp(found: Occasion) -> None:
    document = vast()
    people = tuple(f"{number}-{'a' * 50}@example.com" for number in range(100))
    whole = target(25, *people)
    mail = compose(Delivery(document["id"], "anomaly", document, created_us=NOW), found, whole)
    assert all(len(line) <= 998 for line in mail.split(b"\r\n"))
    assert len(mail) < 200_000
    read = email.message_from_bytes(mail, policy=email.policy.default)
    subject = str(read["Subject"])
    assert subject == title(document, found), "whole, however it had to be folded"
    assert len(subject) <= 150
    assert len(read["To"].addresses) == 100


# -- replies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["CONNECT", "MAIL", "RCPT", "DATA", "END"])
def test_a_temporary_reply_is_tried_again(post: MailServer, verb: str) -> None:
    post.answer = lambda said, line: "451 come back later" if said == verb else ""
    outcome = send(post)
    assert isinstance(outcome, Retry)
    assert "451 come back later" in outcome.error
    assert outcome.remote == {"told": {}} or verb == "CONNECT"
    assert post.mails == []


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "END"])
def test_a_permanent_reply_is_a_refusal(post: MailServer, verb: str) -> None:
    post.answer = lambda said, line: "550 never" if said == verb else ""
    outcome = send(post)
    assert isinstance(outcome, Refused)
    assert outcome.error == f"{ANN}: 550 never (0 of 1 recipients were told)"


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL"])
def test_what_can_be_mended_at_the_server_is_tried_again(post: MailServer, verb: str) -> None:
    reply = "530 authentication required" if verb == "MAIL" else "554 no service"
    post.answer = lambda said, line: reply if said in (verb, "HELO" if verb == "EHLO" else verb) else ""
    assert isinstance(send(post), Retry)


def test_who_was_refused_for_a_while_is_told_later_and_alone(post: MailServer) -> None:
    post.answer = to(BOB, "450 mailbox busy")
    outcome = send(post, ANN, BOB)
    assert outcome == Retry(f"{BOB}: 450 mailbox busy", {"told": {ANN: TOLD}}, partly=True)
    post.answer = lambda said, line: ""
    assert send(post, ANN, BOB, remote=dict(outcome.remote)) == Sent({"told": {ANN: TOLD, BOB: TOLD}})
    assert [mail.recipients for mail in post.mails] == [[ANN], [BOB]]
    assert len({mail.message["Message-ID"] for mail in post.mails}) == 1


def test_who_is_refused_for_good_is_seen_and_the_others_are_told(post: MailServer) -> None:
    post.answer = to(BOB, "550 no such user")
    outcome = send(post, ANN, BOB)
    assert isinstance(outcome, Refused)
    assert outcome.error == f"{BOB}: 550 no such user (1 of 2 recipients were told)"
    again = send(post, ANN, BOB, remote=dict(outcome.remote), value=0.5)
    assert isinstance(again, Refused), "a revision changes nothing of it"
    assert [mail.recipients for mail in post.mails] == [[ANN]]
    post.answer = lambda said, line: ""
    over = send(post, ANN, BOB, remote=dict(outcome.remote), state="resolved")
    assert isinstance(over, Sent)
    assert post.mails[-1].recipients == [ANN, BOB]


def test_a_server_that_closes_among_the_recipients_told_nobody(post: MailServer) -> None:
    post.answer = to(BOB, "421 closing")
    outcome = send(post, ANN, BOB, EVE)
    assert isinstance(outcome, Retry)
    assert outcome.remote == {"told": {}}
    assert post.mails == []


# -- the wire -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behave", ["cut", "hang", "drip", "flood"])
@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END"])
def test_half_an_answer_is_no_answer_and_always_ends(post: MailServer, verb: str, behave: str) -> None:
    post.answer = lambda said, line: behave if said in (verb, "HELO" if verb == "EHLO" else verb) else ""
    outcome = send(post)
    assert isinstance(outcome, Retry)
    assert not outcome.remote.get("told")
    assert post.dripped_out == 0, "the deadline is over the whole exchange, not over each byte"


def test_an_endless_reply_is_cut_before_it_is_held(post: MailServer) -> None:
    post.answer = lambda said, line: "flood" if said == "EHLO" else ""
    outcome = one(post.port, timeout_s=60.0)
    assert isinstance(outcome, Retry)
    assert "a reply of more than 65536 bytes" in outcome.error


def test_a_goodbye_that_is_not_answered_matters_to_nobody(post: MailServer) -> None:
    post.answer = lambda said, line: "hang" if said == "QUIT" else ""
    assert send(post) == Sent({"told": {ANN: TOLD}})


def test_nobody_listens() -> None:
    document = anomaly()
    outcomes = SmtpSink(target(1)).send([Delivery(str(n), "anomaly", document) for n in range(3)], NOW)
    assert [type(outcome) for outcome in outcomes] == [Retry] * 3


def test_a_connection_lost_after_the_message_repeats_it_under_the_same_id(
    store: Store, clock: Clock, post: MailServer
) -> None:
    moods = ["cut-after"]
    post.answer = lambda said, line: moods.pop() if said == "END" and moods else ""
    tell(store, clock, "mail", anomaly())
    work = dispatcher(store, clock, {"mail": SmtpSink(target(post.port))})
    for _ in range(5):
        work.step()
        clock.tick(10 * MINUTE)
    assert len(post.mails) == 2
    assert post.mails[0].body == post.mails[1].body


def test_a_batch_takes_one_connection_and_a_bad_message_does_not_hold_up_the_others(post: MailServer) -> None:
    documents = [anomaly("one"), {**anomaly("broken"), "evidence": {}}, anomaly("two")]
    ends = ["", "552 too large"]
    post.answer = lambda said, line: ends.pop() if said == "END" else ""
    outcomes = SmtpSink(target(post.port)).send([Delivery(d["id"], "anomaly", d, created_us=NOW) for d in documents], 1)
    assert [type(outcome) for outcome in outcomes] == [Refused, Refused, Sent]
    assert sum(line.upper().startswith("EHLO") for line in post.commands) == 1


def test_a_bad_day_loses_nothing_and_tells_nobody_twice(store: Store, clock: Clock, post: MailServer) -> None:
    """Every failure but the ambiguous one, with a recipient who is busy now and then: each anomaly reaches each of
    them once when it opens and once when it is over."""
    moods = {
        "CONNECT": ["421 busy", "hang", ""] * 3,
        "MAIL": ["451 later", "cut", "", ""] * 3,
        "RCPT": ["", "450 busy", "", "", "450 busy"] * 6,
        "DATA": ["drip", "", "452 full", "", ""] * 3,
        "END": ["451 later", "", "cut", "hang", ""] * 3,
    }
    post.answer = lambda said, line: moods[said].pop(0) if moods.get(said) else ""
    keys = []
    work = dispatcher(store, clock, {"mail": SmtpSink(target(post.port, ANN, BOB, timeout_s=0.3))})
    for state in ("open", "resolved"):
        for number in range(4):
            document = anomaly(f"segment-{number}", state=state)
            keys.append(f"<{document['id']}.{'opened' if state == 'open' else state}@example.com>")
            tell(store, clock, "mail", document)
        for _ in range(80):
            work.step()
            clock.tick(6 * MINUTE)
        with store.read() as conn:
            assert [(d.state, d.rows) for d in outbox.depths(conn)] == [("sent", 4)]
    # A cut or a silence at the end is the ambiguous moment; this server had not taken the message then.
    assert sorted(post.per_person()) == sorted((who, key) for key in keys for who in (ANN, BOB))


# -- a server of others -------------------------------------------------------------------------------------


class Inbox:
    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 ok"


@contextmanager
def inbox(**options: Any) -> Iterator[tuple[Inbox, int]]:
    found = Inbox()
    port = free_port()
    controller = Controller(found, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield found, port
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days",
         "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


def one(port: int, **options: Any) -> Outcome:
    document = anomaly()
    sink = SmtpSink(target(port, **{"timeout_s": 10.0, **options}))
    (found,) = sink.send([Delivery(document["id"], "anomaly", document, created_us=NOW)], NOW)
    return found


def test_another_server_takes_it() -> None:
    with inbox() as (found, port):
        assert one(port) == Sent({"told": {ANN: TOLD}})
    assert found.envelopes[0].rcpt_tos == [ANN]
    assert b"multipart/alternative" in bytes(found.envelopes[0].content or b"")


def test_starttls_with_a_login(certificate: tuple[Path, ssl.SSLContext]) -> None:
    file, context = certificate

    def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"driftline", b"open sesame"), handled=False)

    with inbox(tls_context=context, require_starttls=True, authenticator=login, auth_required=True) as (found, port):
        secure: dict[str, Any] = {"security": "starttls", "ca_file": str(file), "user": "driftline"}
        assert one(port, **secure, password="open sesame") == Sent({"told": {ANN: TOLD}})
        wrong = one(port, **secure, password="guess")
        assert isinstance(wrong, Retry) and "535" in wrong.error
        assert "guess" not in wrong.error
        untrusted = one(port, security="starttls")
        assert isinstance(untrusted, Retry) and "CERTIFICATE_VERIFY_FAILED" in untrusted.error
    assert len(found.envelopes) == 1


def test_nothing_is_sent_in_the_clear_where_tls_was_asked_for(post: MailServer) -> None:
    outcome = one(post.port, security="starttls")
    assert isinstance(outcome, Retry) and "STARTTLS" in outcome.error
    assert post.mails == []


def test_tls_from_the_first_byte(certificate: tuple[Path, ssl.SSLContext]) -> None:
    file, context = certificate
    with inbox(ssl_context=context) as (found, port):
        assert one(port, security="tls", ca_file=str(file)) == Sent({"told": {ANN: TOLD}})
    assert len(found.envelopes) == 1


def test_a_login_can_be_tried_without_writing_to_anybody(post: MailServer) -> None:
    SmtpSink(target(post.port)).try_login()
    assert post.mails == []
    assert not any(line.upper().startswith("MAIL") for line in post.commands)
