"""The report on its schedule: when it is due, that it is issued once whatever happens, and that people get it once."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import select
from structlog.testing import capture_logs

from alerts.sinks import Delivery, Refused, Retry, Sent
from alerts.sinks.folder import FolderSink
from alerts.sinks.webhook import verify
from monitor.alerting import build_dispatcher
from monitor.cli.report import report as command
from monitor.config.load import ConfigError, load
from monitor.config.model import Config
from monitor.config.report import Schedule
from monitor.evaluate.changes import PeriodError
from monitor.report import issuing, rendering, schedule, scheduled, sending
from monitor.report.scheduled import LONGEST_PATIENCE_S, PATIENCE_S, ReportSchedule
from monitor.store import evaluation, outbox, reports
from monitor.store.engine import Store, open_store
from monitor.store.evaluation import Results
from monitor.store.tables import outbox as outbox_rows
from tests.alerts.mail import mail_server
from tests.alerts.parts import Answer, target
from tests.report.reports import NAME, a_report

BERLIN = "Europe/Berlin"
HOUR_US = 3_600_000_000
PATIENCE_US = int(PATIENCE_S * 1e6)
DAY_US = 24 * HOUR_US


def us(text: str, zone: str = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1_000_000


# -- when ---------------------------------------------------------------------------------------------------

MONDAYS = Schedule()
NIGHTLY = Schedule(on="sunday", at="02:30")


@pytest.mark.parametrize(
    ("wanted", "now", "last", "following"),
    [
        (MONDAYS, "2026-06-08T07:00", "2026-06-08T05:00Z", "2026-06-15T05:00Z"),
        (MONDAYS, "2026-06-08T06:59", "2026-06-01T05:00Z", "2026-06-08T05:00Z"),
        (MONDAYS, "2026-06-14T23:59", "2026-06-08T05:00Z", "2026-06-15T05:00Z"),
        # Clocks go forward on Sunday 29 March, and back on Sunday 25 October: seven o'clock stays seven o'clock.
        (MONDAYS, "2026-03-29T12:00", "2026-03-23T06:00Z", "2026-03-30T05:00Z"),
        (MONDAYS, "2026-10-25T12:00", "2026-10-19T05:00Z", "2026-10-26T06:00Z"),
        # A time that is not there is that long after midnight; one that is there twice is the first.
        (NIGHTLY, "2026-03-29T12:00", "2026-03-29T01:30Z", "2026-04-05T00:30Z"),
        (NIGHTLY, "2026-10-25T12:00", "2026-10-25T00:30Z", "2026-11-01T01:30Z"),
    ],
)
def test_it_is_due_at_the_same_local_time(wanted: Schedule, now: str, last: str, following: str) -> None:
    moments = [int(datetime.fromisoformat(text).timestamp()) * 1_000_000 for text in (last, following)]
    assert [schedule.last_due(wanted, us(now), BERLIN), schedule.next_due(wanted, us(now), BERLIN)] == moments


def test_over_a_year_it_is_due_once_a_week_and_every_week_is_reported_once() -> None:
    at, weeks = us("2026-01-01T00:00"), []
    for _ in range(52):
        at = schedule.next_due(MONDAYS, at, BERLIN)
        assert schedule.last_due(MONDAYS, at, BERLIN) == at
        assert schedule.last_due(MONDAYS, at - 1, BERLIN) < at
        weeks.append(schedule.reported_at(at, BERLIN))
    assert all(before[1] == after[0] for before, after in itertools.pairwise(weeks))
    assert {(end - begin) // HOUR_US for begin, end in weeks} == {167, 168, 169}


# -- once ---------------------------------------------------------------------------------------------------

DUE = us("2026-11-16T07:00")
BEGIN, END = us("2026-11-09T00:00"), us("2026-11-16T00:00")


@pytest.fixture
def store(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that is evaluated to the end of the week; what its report says is told elsewhere."""
    opened = open_store(store_url)
    evaluated(opened, END)

    def read(_: Store, config: Config, from_us: int, to_us: int, *rest: Any) -> Any:
        done = evaluation.standing(opened).done_until_us
        return msgspec.structs.replace(a_report(), complete=done is not None and done >= to_us)

    monkeypatch.setattr(issuing, "read_report", read)
    yield opened
    opened.close()


def evaluated(store: Store, until_us: int) -> None:
    lead = evaluation.take_lead(store, "test", until_us, 1)
    assert lead is not None
    evaluation.write(store, lead, Results(until_us, b""), until_us, 1)


class Person:
    """A process with the schedule, at a time that the test sets. Where its clock is set, no time passes."""

    def __init__(self, store: Store, config: Config, now_us: int, *, leads: bool = True) -> None:
        self.now_us, self.leads, self.set_us = now_us, leads, 0
        self.work = ReportSchedule(
            store, lambda: config, lambda: self.leads, lambda: self.now_us / 1e6,
            lambda: (self.now_us - self.set_us) / 1e6,
        )  # fmt: skip

    def at(self, now_us: int) -> bool:
        self.now_us = now_us
        return self.work.step()

    def set(self, now_us: int) -> bool:
        """The clock is set to another time."""
        self.set_us += now_us - self.now_us
        return self.at(now_us)


def settings(**report: Any) -> Config:
    document = {
        "timezone": BERLIN,
        "report": {"schedule": {}, "sinks": ["mail"], **report},
        "alerts": {
            "sinks": {
                "mail": {
                    "kind": "smtp", "host": "mail.example", "sender": "driftline@example.com",
                    "recipients": ["ann@example.com"],
                }
            }
        },
    }  # fmt: skip
    return Config.model_validate(document)


def issued(store: Store) -> list[tuple[int, int, int, str]]:
    with store.read() as connection:
        return [(one.from_us, one.to_us, one.revision, one.who) for one in reports.list_issues(connection)]


def waiting(store: Store) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(select(outbox_rows.c.key).order_by(outbox_rows.c.id)).scalars())


def test_it_is_issued_when_it_is_due_and_once(store: Store) -> None:
    process = Person(store, settings(), DUE - 3 * DAY_US)
    assert not process.at(DUE - 3 * DAY_US), "the schedule begins: what was due before is not made up for"
    assert not process.at(DUE - 1)
    assert process.at(DUE)
    assert not process.at(DUE + HOUR_US)
    assert issued(store) == [(BEGIN, END, 1, "")]
    assert len(waiting(store)) == 1
    evaluated(store, END + 7 * DAY_US)
    assert process.at(DUE + 7 * DAY_US)
    assert [row[:2] for row in issued(store)] == [(END, END + 7 * DAY_US), (BEGIN, END)]


def test_a_process_that_was_down_issues_it_late_and_once(store: Store) -> None:
    Person(store, settings(), 0).at(DUE - DAY_US)
    late = Person(store, settings(), 0)
    assert late.at(DUE + 2 * DAY_US)
    assert not late.at(DUE + 2 * DAY_US + HOUR_US)
    assert issued(store) == [(BEGIN, END, 1, "")]
    # Two weeks missed: the last one is issued.
    evaluated(store, END + 14 * DAY_US)
    assert Person(store, settings(), 0).at(DUE + 15 * DAY_US)
    assert [row[0] for row in issued(store)] == [BEGIN + 14 * DAY_US, BEGIN]


def test_of_two_processes_one_issues_it(store: Store) -> None:
    """Both believe that they lead, and have read the report before either writes."""
    config = settings()
    Person(store, config, 0).at(DUE - DAY_US)
    barrier, results = threading.Barrier(2), list[bool]()
    read = issuing.read_report

    def together(*arguments: Any) -> Any:
        found = read(*arguments)
        barrier.wait(20)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(issuing, "read_report", together)
        threads = [threading.Thread(target=lambda: results.append(Person(store, config, 0).at(DUE))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(results) == [False, True]
    assert len(issued(store)) == len(waiting(store)) == 1


def test_who_does_not_lead_issues_nothing(store: Store) -> None:
    follower = Person(store, settings(), 0, leads=False)
    assert not follower.at(DUE - DAY_US)
    assert not follower.at(DUE)
    follower.leads = True
    assert not follower.at(DUE), "and when it leads, the schedule begins"
    assert issued(store) == []


def test_a_fault_before_the_commit_leaves_nothing_and_the_next_try_everything(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Person(store, settings(), 0)
    process.at(DUE - DAY_US)
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "enqueue_many", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            process.at(DUE)
    assert issued(store) == []
    assert waiting(store) == []
    assert process.at(DUE + HOUR_US)
    assert len(issued(store)) == len(waiting(store)) == 1


def test_it_waits_for_the_end_of_the_week_but_not_for_ever(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(store_url)
    evaluated(store, END - DAY_US)
    monkeypatch.setattr(issuing, "read_report", lambda *_: a_report())
    process = Person(store, settings(), 0)
    process.at(DUE - DAY_US)
    assert not process.at(DUE)
    assert not process.at(DUE + PATIENCE_US - 1)
    restarted = Person(store, settings(), 0)
    assert not restarted.at(DUE + PATIENCE_US), "it has not waited itself: it may only be behind"
    assert process.at(DUE + PATIENCE_US)
    assert issued(store) == [(BEGIN, END, 1, "")]
    store.close()


def test_while_the_evaluation_moves_on_it_is_waited_for_longer(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(store_url)
    monkeypatch.setattr(issuing, "read_report", lambda *_: a_report())
    process = Person(store, settings(), 0)
    process.at(DUE - DAY_US)
    for hour in range(int(LONGEST_PATIENCE_S // 3600)):
        evaluated(store, END - 10 * DAY_US + hour * HOUR_US)
        assert not process.at(DUE + hour * HOUR_US)
    assert process.at(DUE + int(LONGEST_PATIENCE_S * 1e6)), "but not for ever"
    store.close()


# -- a clock that is set ------------------------------------------------------------------------------------


@pytest.mark.parametrize("back_us", [HOUR_US, DAY_US, 8 * DAY_US])
def test_a_clock_that_is_set_back_brings_no_second_report(store: Store, back_us: int) -> None:
    process = Person(store, settings(), 0)
    process.at(DUE - 20 * DAY_US)
    assert process.at(DUE)
    assert not process.set(DUE + 60_000_000 - back_us)
    restarted = Person(store, settings(), 0)
    assert not restarted.at(DUE + 120_000_000 - back_us)
    for later in range(0, back_us + HOUR_US, HOUR_US):
        assert not process.at(DUE + 60_000_000 - back_us + later), "not when that time comes round again either"
    assert issued(store) == [(BEGIN, END, 1, "")]
    assert len(waiting(store)) == 1
    evaluated(store, END + 7 * DAY_US)
    assert process.at(DUE + 7 * DAY_US), "and the next week is reported as ever"


def follow_clock(process: Person, store: Store, hours: int) -> list[bool]:
    """Hours pass, and the evaluation moves on with the events that come; whether a report was issued in each."""
    found = []
    for _ in range(hours):
        done = evaluation.standing(store).done_until_us
        assert done is not None
        evaluated(store, done + HOUR_US)
        found.append(process.at(process.now_us + HOUR_US))
    return found


@pytest.mark.parametrize("days", [2, 21])
def test_a_clock_that_is_ahead_for_a_while_tells_of_no_week_that_is_not_over(
    store: Store, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Of the last week, which is told already, and of weeks to come nothing is said; each is told when it is over."""
    process = Person(store, settings(), 0)
    process.at(DUE - DAY_US)
    assert process.at(DUE)
    real = DUE + 6 * DAY_US
    evaluated(store, real)
    assert not process.set(real + days * DAY_US)
    assert not any(follow_clock(process, store, 12))
    assert not process.set(real + 12 * HOUR_US)
    assert follow_clock(process, store, 24).count(True) == 1
    assert [row[:2] for row in issued(store)] == [(END, END + 7 * DAY_US), (BEGIN, END)]
    assert len(waiting(store)) == 2


def test_a_week_that_is_not_there_yet_is_not_passed_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock weeks ahead, for days, while the evaluation stands still: when it is right again nothing was skipped."""
    read = issuing.read_report

    def of_the_past(*given: Any) -> Any:
        if given[2] >= END + 7 * DAY_US:
            raise PeriodError("nothing")
        return read(*given)

    monkeypatch.setattr(issuing, "read_report", of_the_past)
    process = Person(store, settings(), 0)
    process.at(DUE - DAY_US)
    assert process.at(DUE)
    ahead = DUE + 21 * DAY_US
    assert not process.set(ahead)
    with capture_logs() as logs:
        for hour in range(60):
            assert not process.at(ahead + hour * HOUR_US)
    assert [line["event"] for line in logs] == ["no report of the week"], "said once"
    evaluated(store, END + 7 * DAY_US)
    assert process.set(DUE + 7 * DAY_US)
    assert [row[0] for row in issued(store)] == [END, BEGIN]


def test_a_clock_that_jumps_is_no_waiting(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(store_url)
    evaluated(store, END - HOUR_US)
    monkeypatch.setattr(issuing, "read_report", lambda *_: a_report())
    process = Person(store, settings(), 0)
    process.at(DUE - DAY_US)
    assert not process.at(DUE)
    assert not process.set(DUE + 2 * PATIENCE_US)
    assert not process.set(DUE)
    evaluated(store, END)
    assert process.at(DUE + 60_000_000)
    store.close()


def test_a_schedule_that_began_with_the_clock_ahead_begins_when_it_is_right(store: Store) -> None:
    process = Person(store, settings(), 0)
    assert not process.at(DUE + 19 * DAY_US)
    assert not process.set(DUE - DAY_US)
    with store.read() as connection:
        assert scheduled.done_until(connection) == DUE - DAY_US
    assert process.at(DUE)
    assert issued(store) == [(BEGIN, END, 1, "")]


def test_a_week_of_which_nothing_is_stored_is_passed_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> Any:
        raise PeriodError("nothing")

    process = Person(store, settings(), 0)
    process.at(DUE - DAY_US)
    monkeypatch.setattr(issuing, "read_report", nothing)
    assert not process.at(DUE)
    with store.read() as connection:
        assert scheduled.done_until(connection) == DUE


def test_what_a_person_issued_before_is_sent_as_it_stands(store: Store) -> None:
    config = settings()
    process = Person(store, config, 0)
    process.at(DUE - DAY_US)
    issuing.issue(store, config, BEGIN, END, "ann", DUE - HOUR_US)
    assert waiting(store) == []
    assert process.at(DUE)
    assert [row[2:] for row in issued(store)] == [(1, "ann")]
    assert len(waiting(store)) == 1
    issuing.issue(store, config, BEGIN, END, "ann", DUE + HOUR_US, send=True)
    assert len(waiting(store)) == 1, "it is on its way already"


# -- to people ----------------------------------------------------------------------------------------------


def test_everybody_gets_it_once(store: Store, tmp_path: Path) -> None:
    with mail_server() as post, target() as web:
        document = settings(folder=str(tmp_path / "reports")).model_dump(mode="json")
        document["report"]["sinks"] = ["mail", "hook"]
        document["alerts"]["sinks"] = {
            "mail": {
                "kind": "smtp", "host": "127.0.0.1", "port": post.port, "security": "none", "severities": [],
                "sender": "driftline@example.com", "recipients": ["ann@example.com", "bob@example.com"],
            },
            "hook": {"kind": "webhook", "url": web.url, "secret": "s3cret"},
        }  # fmt: skip
        config = Config.model_validate(document)
        work = build_dispatcher(config, store)
        process = Person(store, config, 0)
        process.at(DUE - DAY_US)
        assert process.at(DUE)
        assert work.step() == 3
        # The same issue again, as after an answer that was lost or by hand: nobody hears of it twice.
        issuing.issue(store, config, BEGIN, END, "ann", DUE + HOUR_US, send=True)
        assert work.step() == 0
        (mail,) = post.mails
        (request,) = web.requests
    with store.read() as connection:
        (issue,) = reports.list_issues(connection)
        pages = {form: reports.page(connection, issue, form) for form in reports.FORMS}
    title = "driftline, 2026-11-09 to 2026-11-15: 1 alarm, 1,047.33 EUR (+10 %)"
    assert mail.recipients == ["ann@example.com", "bob@example.com"]
    assert mail.message["Subject"] == title
    assert mail.message.get_content_type() == "multipart/alternative"
    assert mail.part("html").replace("\r\n", "\n").strip() == pages["html"].strip()
    assert mail.part("plain").replace("\r\n", "\n").strip() == pages["md"].strip()
    assert "src=" not in mail.part("html"), "nothing that has to be fetched or attached"
    assert max(len(line) for line in mail.body.split(b"\r\n")) < 998
    body = json.loads(request.body)
    assert (body["kind"], body["summary"], body["markdown"]) == ("report", title, pages["md"])
    assert body["report"] == json.loads(pages["json"])
    stamp, signature = (request.headers[f"X-Driftline-{name}"] for name in ("Timestamp", "Signature"))
    assert verify("s3cret", stamp, request.body, signature, now_s=int(stamp))
    written = {path.name: path.read_text() for path in (tmp_path / "reports").iterdir()}
    assert written == {f"report-2026-11-09-2026-11-16.{form}": page for form, page in pages.items()}


def test_a_test_reaches_every_sink_and_is_no_report(tmp_path: Path) -> None:
    """No store is there to be written to; a sink that fails is told, and does not keep the others from theirs."""
    with mail_server() as post, target() as web:
        document = settings(folder=str(tmp_path / "reports")).model_dump(mode="json")
        document["store"]["url"] = f"sqlite:///{tmp_path}/none.db"
        document["report"]["sinks"] = ["mail", "hook"]
        document["alerts"]["sinks"] = {
            "mail": {
                "kind": "smtp", "host": "127.0.0.1", "port": post.port, "security": "none", "severities": [],
                "sender": "driftline@example.com", "recipients": ["ann@example.com"],
            },
            "hook": {"kind": "webhook", "url": web.url, "secret": "s3cret"},
            "other": {"kind": "webhook", "url": f"{web.url}/other"},
        }  # fmt: skip
        path = tmp_path / "driftline.yaml"
        path.write_text(json.dumps(document))
        done = CliRunner().invoke(command, ["--config", str(path), "--test"])
        assert done.exit_code == 0, done.output
        (mail,) = post.mails
        (request,) = web.requests
        web.answer = lambda request: Answer(410, b"gone")
        failed = CliRunner().invoke(command, ["--config", str(path), "--test"])
    lines = [line.split()[0] for line in done.output.splitlines() if not line.startswith(" " * 8)]
    assert lines == ["sink", "mail", "hook", "file:reports"]
    assert done.output.count("delivered") == 3
    assert mail.recipients == ["ann@example.com"]
    assert mail.message["Subject"] == "[test] driftline: where the weekly report goes"
    assert "it tells of no week" in mail.part("plain")
    assert re.search(r"the next one is due on Monday \d{4}-\d\d-\d\d 07:00 \(Europe/Berlin\)", mail.part("html"))
    body = json.loads(request.body)
    assert (body["kind"], body["report"]["test"]) == ("test", True)
    stamp, signature = (request.headers[f"X-Driftline-{name}"] for name in ("Timestamp", "Signature"))
    assert verify("s3cret", stamp, request.body, signature, now_s=int(stamp))
    assert sorted(one.name for one in (tmp_path / "reports").iterdir()) == [
        f"test-of-reports.{form}" for form in ("html", "json", "md")
    ]
    assert failed.exit_code == 1
    assert failed.output.count("delivered") == 2
    assert "410" in failed.output
    assert len(post.mails) == 2, "a test is sent anew each time"
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--test",), "nobody to send it to"), (("--test", "--issue"), "--test sends no report")],
)
def test_what_cannot_be_tested(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    path = tmp_path / "driftline.yaml"
    path.write_text(f"store: {{url: 'sqlite:///{tmp_path}/none.db'}}")
    done = CliRunner().invoke(command, ["--config", str(path), *arguments])
    assert done.exit_code != 0
    assert message in done.output


def test_a_mail_server_that_lost_the_reply_gets_the_same_message_again(store: Store) -> None:
    with mail_server() as post:
        document = settings().model_dump(mode="json")
        document["alerts"]["sinks"]["mail"] |= {"host": "127.0.0.1", "port": post.port, "security": "none"}
        config = Config.model_validate(document)
        issuing.issue(store, config, BEGIN, END, "ann", DUE, send=True)
        post.answer = lambda verb, line: "451 later" if verb == "RCPT" else ""
        sinks = build_dispatcher(config, store).sinks
        with store.write() as connection:
            (row,) = outbox.claim_due(connection, sink="mail", now_us=DUE, lease_us=lambda n: HOUR_US)
        delivery = Delivery(row.key, row.kind, row.payload, row.revision, created_us=row.created_us)
        (put_off,) = sinks["mail"].send([delivery], DUE)
        assert isinstance(put_off, Retry)
        post.answer = lambda verb, line: "cut-after" if verb == "END" else ""
        sinks["mail"].send([delivery], DUE)
        post.answer = lambda verb, line: ""
        (sent,) = sinks["mail"].send([delivery], DUE)
        assert isinstance(sent, Sent)
        first, second = post.mails
    assert first.body == second.body
    told = Delivery(row.key, row.kind, row.payload, remote=sent.remote)
    assert sinks["mail"].send([told], DUE) == [Sent(sent.remote)], "nobody is left to be told"


def test_a_folder_that_cannot_be_written_is_tried_again_and_a_name_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    pages = {"md": "one"}

    def given(name: str) -> list[Delivery]:
        return [Delivery("k", "report", {"name": name, "pages": pages})]

    (put_off,) = FolderSink(tmp_path / "file").send(given("report-1"), 0)
    assert isinstance(put_off, Retry)
    sink = FolderSink(tmp_path / "new")
    (refused,) = sink.send(given("../report-1"), 0)
    assert isinstance(refused, Refused)
    assert sink.send(given("report-1"), 0) == sink.send(given("report-1"), 0) == [Sent({})]
    assert [(path.name, path.read_text()) for path in (tmp_path / "new").iterdir()] == [("report-1.md", "one")]


def test_a_subject_is_one_line_that_says_the_most() -> None:
    report = msgspec.structs.replace(a_report(), revision=2)
    document = json.loads(rendering.rendered(report, "json"))
    assert sending.title(document) == (
        "driftline, 2026-11-09 to 2026-11-15 (revision 2): 1 alarm, 1,047.33 EUR (+10 %)"
    )
    document["bill"]["before"], document["alarms"] = None, []
    assert sending.title(document) == "driftline, 2026-11-09 to 2026-11-15 (revision 2): no alarms, 1,047.33 EUR"
    assert NAME not in sending.title(document)


# -- configured ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("report: {schedule: {at: '7:00'}}", "report.schedule.at"),
        ("report: {schedule: {at: '24:00'}}", "report.schedule.at"),
        ("report: {schedule: {on: someday}}", "report.schedule.on"),
        ("report: {sinks: [mail]}", "which alerts.sinks does not have"),
        ("report: {sinks: [k]}\nalerts: {sinks: {k: {kind: kafka}}}", "which is of the kind kafka"),
    ],
)
def test_what_cannot_be_configured(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "driftline.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_the_command_says_when_it_is_next_due(tmp_path: Path) -> None:
    path = tmp_path / "driftline.yaml"

    def told(report: str) -> str:
        path.write_text(f"store: {{url: 'sqlite:///{tmp_path}/d.db'}}\ntimezone: Europe/Berlin\n{report}")
        done = CliRunner().invoke(command, ["--config", str(path), "--schedule"])
        assert done.exit_code == 0, done.output
        return done.output

    open_store(f"sqlite:///{tmp_path}/d.db").close()
    assert told("").startswith("no schedule: write report.schedule")
    shown = told("report: {schedule: {on: friday, at: '16:30'}, folder: out}")
    assert "next: Friday 20" in shown
    assert "16:30 (Europe/Berlin)" in shown
    assert "sent to: file:reports" in shown
    refused = CliRunner().invoke(command, ["--config", str(path), "--send"])
    assert "give --issue as well" in refused.output
