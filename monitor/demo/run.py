"""The demo's conductor: broker, simulated feature, the real service, the webhook receiver, the score."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from monitor.budget import division, read_budget
from monitor.config.load import load
from monitor.config.model import Config
from monitor.demo.broker import embedded_broker, free_port
from monitor.demo.feature import DAY_US, Feature, Uploads
from monitor.demo.incidents import HOUR_US, INCIDENTS
from monitor.demo.receiver import Receiver, receiver
from monitor.demo.reviewer import Compared, Truth, compare, work
from monitor.demo.scorer import Reported, Score, score
from monitor.report import rendering
from monitor.report.issuing import archive
from monitor.report.reading import read_report
from monitor.store.anomalies import list_anomalies
from monitor.store.engine import Store, open_store

DAYS = 21
TOPIC = "inference"
PARTITIONS = 2
# Two processes, as two cores allow: one reads and looks at inputs, the other judges and sends.
READERS = ("--role", "ingest", "--role", "embed")
JUDGES = ("--role", "evaluate")
_CONFIG = """\
# The demo's configuration. Every key: docs/configuration.md
kafka:
  bootstrap: {bootstrap}
  topics: [{topic}]
store:
  url: sqlite:///{folder}/driftline.db
routes:
  invoice-extract:
    stakes: medium
    segment_by: [tenant]
segments:
  rules:
    # What these two tenants pay for wrong answers is worth waking someone.
    - {{name: "invoice-extract/{{tenant}}", route: invoice-extract, where: {{tenant: [umbrella, stark]}}, stakes: high}}
prices:
  models:
    - {{model: "vlm-large*", input_per_million: 2.5, output_per_million: 10}}
sampling:
  per_hour: 120
payloads:
  roots: [{folder}/uploads]
alerts:
  max_age: 10000d        # three simulated weeks are history by the wall clock, and are to be sent all the same
  send_historic: true
  sinks:
    oncall: {{kind: webhook, url: "{webhook}", secret: demo}}
serve:
  port: {port}
"""


class DemoFailed(RuntimeError):
    """The demo could not go on; the message says what stopped and where its log is."""


@dataclass(frozen=True, slots=True)
class Paths:
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "driftline.yaml"

    @property
    def log(self) -> Path:
        return self.folder / "service.log"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"


class LiveClock:
    """Where live traffic has come to, epoch µs: ``end_us`` and what passed of this hour, at real pace until told."""

    def __init__(self, end_us: int) -> None:
        self._then = time.time_ns() // 1000
        self._at = end_us + self._then % HOUR_US
        self._pace = 1.0

    def __call__(self) -> int:
        return self._at + round((time.time_ns() // 1000 - self._then) * self._pace)

    def go(self, pace: float) -> None:
        """From now on go ``pace`` times as fast as real time."""
        self._at, self._then, self._pace = self(), time.time_ns() // 1000, pace


class Conductor:
    """Runs the demo in ``folder``; ``end_us`` is where the three weeks end (a full hour, epoch µs).

    ``pace``: how many times as fast as real time live traffic goes, once the three weeks are judged.
    """

    def __init__(
        self,
        folder: Path,
        end_us: int,
        seed: int,
        console: Console,
        pace: float = 1.0,
    ) -> None:
        self.clock = LiveClock(end_us)
        self.pace = pace
        self.paths = Paths(folder)
        self.start_us = end_us - DAYS * DAY_US
        self.end_us = end_us
        self.seed = seed
        self.console = console
        self.truth = Truth()
        self.began = time.monotonic()

    def headless(self) -> int:
        """Three weeks, the score, ``summary.json``; returns 0: whoever reads the summary judges it."""
        with ExitStack() as stack:
            bootstrap, inbox, feature = self._prepare(stack)
            # Nights are quiet: without what comes after the end its last windows would stay open.
            self._produce(bootstrap, feature, then_us=HOUR_US)
            self._drain()
            self._conclude(inbox)
        return 0

    def interactive(self) -> int:
        """Three weeks while the service runs, then live traffic until Ctrl-C."""
        with ExitStack() as stack:
            bootstrap, inbox, feature = self._prepare(stack)
            config = load(self.paths.config)
            readers = stack.enter_context(self._service(*READERS, "--role", "serve"))
            judges = stack.enter_context(self._service(*JUDGES, "--port", "0"))
            services = (readers, judges)
            page = f"http://127.0.0.1:{config.serve.port}/"
            self.console.print(f"driftline's page: [bold]{page}[/]   log: {self.paths.log}")
            self._produce(bootstrap, feature)
            producer = _producer(bootstrap)
            stack.callback(producer.close)
            live = _live(feature, self.end_us, self.clock)
            self._await_evaluation(config, services, producer, live)
            self._conclude(inbox)
            self.console.print(f"Live traffic goes on. Look at [bold]{page}[/]; Ctrl-C ends the demo.")
            self.console.print(f"Some items are left to be reviewed: [bold]{page}review[/]")
            self.clock.go(self.pace)
            while True:
                self._expect_alive(services)
                _send_due(producer, live)
                time.sleep(0.5)

    def _expect_alive(self, services: Iterable[subprocess.Popen[bytes]]) -> None:
        if any(service.poll() is not None for service in services):
            raise DemoFailed(f"the service stopped; its log ends:\n{_tail(self.paths.log)}")

    def _prepare(self, stack: ExitStack) -> tuple[str, Receiver, Feature]:
        folder = self.paths.folder
        folder.mkdir(parents=True, exist_ok=True)
        for stale in (*folder.glob("driftline.db*"), *folder.glob("reports/report-*"), self.paths.log):
            stale.unlink(missing_ok=True)
        bootstrap = stack.enter_context(embedded_broker(folder))
        inbox = stack.enter_context(receiver())
        text = _CONFIG.format(
            bootstrap=bootstrap, topic=TOPIC, folder=folder.as_posix(), webhook=inbox.url, port=free_port()
        )
        self.paths.config.write_text(text)
        with self.console.status("Drawing the documents that tenants will upload"):
            uploads = Uploads(folder / "uploads", self.seed)
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        admin.create_topics([NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=1)])
        admin.close()
        return bootstrap, inbox, Feature(uploads, self.start_us, self.seed)

    def _produce(self, bootstrap: str, feature: Feature, then_us: int = 0) -> None:
        """The three weeks, and ``then_us`` of what follows."""
        producer = _producer(bootstrap)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task("Days of traffic", total=DAYS)
            for day in range(DAYS):
                begin = self.start_us + day * DAY_US
                for item in feature.events(begin, begin + DAY_US + (then_us if day == DAYS - 1 else 0)):
                    self.truth.note(item[2])
                    _send(producer, item)
                progress.advance(task)
            producer.flush()
        producer.close()

    @contextmanager
    def _service(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """`driftline run` with ``options`` as a process of its own, stopped as an operator would stop it."""
        with self.paths.log.open("ab") as out:
            process = subprocess.Popen(self._command(*options), stdout=out, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _command(self, *options: str) -> list[str]:
        command = [sys.executable, "-m", "monitor.cli", "run", "--config", str(self.paths.config)]
        return [*command, "--log-format", "json", *options]

    def _drain(self) -> None:
        """Work through what was produced: read and embed it, judge beside that, then judge the rest."""
        with self.console.status("driftline reads, embeds and evaluates the three weeks"):
            with self._service(*JUDGES):
                self._drained(*READERS)
            self._drained(*JUDGES)

    def _drained(self, *options: str) -> None:
        with self.paths.log.open("ab") as out:
            done = subprocess.run(self._command("--drain", *options), stdout=out, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise DemoFailed(
                f"`driftline run --drain {' '.join(options)}` ended with code {done.returncode}; its log ends:\n"
                f"{_tail(self.paths.log)}"
            )

    def _await_evaluation(
        self,
        config: Config,
        services: Iterable[subprocess.Popen[bytes]],
        producer: KafkaProducer,
        live: Callable[[], list[tuple[int, bytes, dict[str, Any]]]],
    ) -> None:
        """Wait until the evaluator has come to the end of the history, while live traffic already flows."""
        store = open_store(config.store.url)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeElapsedColumn(),
        )
        try:
            with Progress(*columns, console=self.console) as progress:
                task = progress.add_task("Weeks evaluated", total=self.end_us - self.start_us - HOUR_US)
                while not progress.finished:
                    self._expect_alive(services)
                    progress.update(task, completed=max(0, _evaluated_until(store) - self.start_us))
                    _send_due(producer, live)
                    time.sleep(0.5)
            time.sleep(3)  # the last alerts are on their way
        finally:
            store.close()

    def _conclude(self, inbox: Receiver) -> Score:
        config = load(self.paths.config)
        store = open_store(config.store.url)
        try:
            with store.read() as conn:
                rows = list_anomalies(conn, to_us=self.end_us, limit=None)
            counts = _counts(store)
            bought = division(read_budget(store, config))
            with self.console.status("Simulated reviewers work the queue"):
                labels = work(store, config, self.truth)
                reviewed = compare(store, config, self.truth, self.start_us, self.end_us)
            with self.console.status("A report of each of the three weeks"):
                reports = self._report(store, config)
        finally:
            store.close()
        sent = inbox.anomaly_ids()
        reported = [
            Reported(
                row.anomaly_id,
                row.segment,
                row.signal,
                row.severity,
                row.opened_us,
                str((row.document.get("explanation") or {}).get("sentence", "")),
                row.anomaly_id in sent,
            )
            for row in rows
        ]
        result = score(INCIDENTS, self.start_us, reported)
        period = DAYS * DAY_US
        budget = (config.budget.page.per_us + config.budget.ticket.per_us) * period
        summary = {
            **counts,
            "incidents": [
                {
                    "name": verdict.incident.name,
                    "segment": verdict.incident.segment,
                    "signal": verdict.anomaly.signal if verdict.anomaly else None,
                    "injected_at": _iso(verdict.injected_us),
                    "detected_at": _iso(verdict.anomaly.opened_us) if verdict.anomaly else None,
                    "alert": verdict.anomaly.anomaly_id if verdict.anomaly and verdict.anomaly.sent else None,
                }
                for verdict in result.verdicts
            ],
            "false_alarms": len(result.false_alarms),
            "false_alarm_budget": round(budget, 3),
            "false_alarm_list": [
                {"segment": r.segment, "signal": r.signal, "opened_at": _iso(r.opened_us), "sentence": r.sentence}
                for r in result.false_alarms
            ],
            "labels": labels,
            "error_rates": [
                {
                    "segment": row.estimate.segment,
                    "true": round(row.true, 4),
                    "rate": row.estimate.rate,
                    "low": row.estimate.once.low,
                    "high": row.estimate.once.high,
                    "labels": row.estimate.labels,
                    "contained": row.contained,
                    "contained_always": row.contained_always,
                }
                for row in reviewed
            ],
            "seconds": round(time.monotonic() - self.began, 1),
        }
        self.paths.summary.write_text(json.dumps(summary, indent=2) + "\n")
        self._show(result, budget, bought)
        self._show_reviewed(labels, reviewed)
        pages = ", ".join(str(path) for path in reports if path.suffix == ".html")
        self.console.print(f"Reports of the three weeks: {pages}", soft_wrap=True)
        self.console.print(f"Summary: {self.paths.summary}")
        return result

    def _report(self, store: Store, config: Config) -> list[Path]:
        """What `driftline report` tells of each week, in every form, and issued: the page of reports lists it."""
        found = []
        for begin in range(self.start_us, self.end_us, 7 * DAY_US):
            period = begin, begin + 7 * DAY_US
            report = read_report(store, config, *period)
            archive(store, config, report, period, "demo", time.time_ns() // 1000)
            found += rendering.write(report, rendering.FORMATS, self.paths.folder / "reports")
        return found

    def _show_reviewed(self, labels: int, reviewed: list[Compared]) -> None:
        table = Table(title=f"What {labels} labels say (driftline review estimate)", title_justify="left")
        for column in ("tenant", "wrong answers", "labels", "in truth"):
            table.add_column(column)
        for row in reviewed:
            found = row.estimate
            rate = (
                "no label" if found.rate is None else f"{found.rate:.1%} [{found.once.low:.1%}, {found.once.high:.1%}]"
            )
            name = found.segment.rpartition("/")[2]
            table.add_row(name, rate, str(found.labels), f"{row.true:.1%}")
        self.console.print(table)

    def _show(self, result: Score, budget: float, bought: list[str]) -> None:
        table = Table(title="What was planted, and what driftline found", title_justify="left")
        for column in ("incident", "found after", "alert", "what driftline said"):
            table.add_column(column, overflow="fold")
        for verdict in result.verdicts:
            anomaly = verdict.anomaly
            after = f"{(anomaly.opened_us - verdict.injected_us) / HOUR_US:.1f} h" if anomaly else "not within 48 h"
            sent = "sent" if anomaly and anomaly.sent else "not sent"
            table.add_row(verdict.incident.story, after, sent, anomaly.sentence if anomaly else "")
        self.console.print(table)
        self.console.print(f"False alarms: {len(result.false_alarms)} (budget for three weeks: {budget:.1f})")
        for alarm in result.false_alarms:
            self.console.print(f"  {_iso(alarm.opened_us)} {alarm.segment} {alarm.signal}: {alarm.sentence}")
        self.console.print("What the budget buys (driftline budget):")
        for line in bought:
            self.console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _producer(bootstrap: str) -> KafkaProducer:
    return KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", linger_ms=20, batch_size=256 * 1024, value_serializer=_ENCODER.encode
    )


_ENCODER = msgspec.json.Encoder()


def _send(producer: KafkaProducer, item: tuple[int, bytes, dict[str, Any]]) -> None:
    time_us, key, event = item
    producer.send(TOPIC, key=key, value=event, timestamp_ms=time_us // 1000)


def _live(
    feature: Feature, from_us: int, clock: Callable[[], int]
) -> Callable[[], list[tuple[int, bytes, dict[str, Any]]]]:
    """Returns a function that gives the events whose time has come since it was last called."""
    sent_until = from_us

    def due() -> list[tuple[int, bytes, dict[str, Any]]]:
        nonlocal sent_until
        now = clock()
        events = list(feature.events(sent_until, now))
        sent_until = now
        return events

    return due


def _send_due(producer: KafkaProducer, live: Callable[[], list[tuple[int, bytes, dict[str, Any]]]]) -> None:
    for item in live():
        _send(producer, item)
    producer.flush()


def _evaluated_until(store: Any) -> int:
    from sqlalchemy import select

    from monitor.store.tables import evaluation

    with store.read() as conn:
        return int(conn.execute(select(evaluation.c.done_until_us)).scalar() or 0)


def _counts(store: Any) -> dict[str, int]:
    from sqlalchemy import func, select

    from monitor.store.tables import partitions

    columns = (partitions.c.events, partitions.c.dead_letters, partitions.c.duplicates, partitions.c.late_events)
    with store.read() as conn:
        row = conn.execute(select(*(func.coalesce(func.sum(column), 0) for column in columns))).one()
    return dict(zip(("events", "dead_letters", "duplicates", "late_events"), map(int, row), strict=True))


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:] if log.exists() else ""


def _iso(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
