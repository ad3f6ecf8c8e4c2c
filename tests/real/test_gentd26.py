"""Production traffic with real pages through real parts: Kafka, PostgreSQL, Prometheus, Alertmanager.

Asserts exactly what is known of the trace, from driftline's own summaries, and that a change of the kind of page,
spliced in, reaches Alertmanager.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from tests.conftest import absent
from tests.data import shared_data
from tests.real.gentd26 import ROUTE, write
from tests.service.process import Running, cli, service, wait_for
from tests.services import Unavailable
from tests.services.postgres import Server
from tests.services.prometheus import alertmanager

REQUESTS = 26_790
SPLICED = datetime(2024, 12, 1, tzinfo=UTC)
DEADLINE_SECONDS = 900  # a bound on a hung test; nothing is asserted about speed

_CONFIG = """\
kafka: {{bootstrap: "{bootstrap}", topics: [{topic}], group: {topic}, idle_after: 5s}}
store: {{url: "{store}"}}
routes: {{{route}: {{stakes: high}}}}
segments: {{max_versions: 100}}
payloads: {{roots: ["{images}"]}}
retention: {{minute: 60d}}
alerts:
  send_historic: true
  sinks:
    oncall: {{kind: alertmanager, urls: ["{alertmanager}"]}}
serve: {{port: 0}}
"""


@dataclass(frozen=True)
class Replayed:
    """The service after it has read and judged the whole trace; it still runs."""

    service: Running
    config: str
    alertmanager: str

    def output(self, *words: str) -> str:
        """What a command prints."""
        done = cli(*words, "--config", self.config)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def alerts(self) -> list[dict[str, Any]]:
        """Alertmanager's alerts on the look of the images."""
        found = httpx.get(f"{self.alertmanager}/api/v2/alerts", timeout=10).json()
        return [alert for alert in found if alert["labels"].get("signal") == "image_drift"]

    def judged(self) -> bool:
        """Whether every request is read, every sample embedded and every closed tick evaluated."""
        status = self.service.get("api/status").json()
        if status["events"] < REQUESTS or status["samples"]["pending"] or not status["evaluated_until"]:
            return False
        closed, evaluated = (datetime.fromisoformat(status[key]) for key in ("closed_until", "evaluated_until"))
        return closed - evaluated < timedelta(minutes=5)


@pytest.fixture(scope="module")
def replayed(
    tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str, postgres_server: Server
) -> Iterator[Replayed]:
    shared = shared_data()
    folder = tmp_path_factory.mktemp("gentd26")
    topic = "gentd26"
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.create_topics([NewTopic(topic, num_partitions=4, replication_factor=1)])
    admin.close()
    with ExitStack() as stack:
        try:
            oncall = stack.enter_context(alertmanager(folder / "alertmanager"))
        except Unavailable as error:
            absent(error)
            raise
        config = folder / "driftline.yaml"
        config.write_text(
            _CONFIG.format(
                bootstrap=kafka_bootstrap,
                topic=topic,
                store=postgres_server.database(),
                route=ROUTE,
                images=(shared / "images").resolve(),
                alertmanager=oncall,
            )
        )
        events = folder / "gentd26.jsonl"
        assert write(events, shared, SPLICED) == REQUESTS
        done = cli("replay", str(events), "--config", str(config), "--pace", "max", "--shift", "none")
        assert done.returncode == 0, done.stderr
        running = stack.enter_context(service(config))
        run = Replayed(running, str(config), oncall)
        wait_for("the end of the trace", run.judged, running, DEADLINE_SECONDS)
        wait_for("an alert", run.alerts, running)
        yield run
        assert running.end() == 0, running.log.read_text()[-3000:]


@pytest.mark.real
def test_every_request_is_counted_once(replayed: Replayed) -> None:
    status = json.loads(replayed.output("status", "--json"))
    assert status["events"] == sum(status["offsets"]["gentd26"].values()) == REQUESTS
    # The trace is in order of time, and so is each partition: no request is late.
    assert (status["late_events"], status["duplicates"], status["dead_letters"]) == (0, 0, 0)
    assert status["samples"]["missing"] == status["samples"]["pending"] == 0


@pytest.mark.real
def test_the_worst_hour_and_two_versions_fail_as_the_trace_says(replayed: Replayed) -> None:
    hours: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    versions: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for line in replayed.output("export", "summaries", "--format", "jsonl").splitlines():
        row = json.loads(line)
        trials, failed = row["totals"]["error"]
        assert trials == row["events"]
        for cell in (hours[row["window"][: len("2024-12-06T20")]], versions[row["version"]]):
            cell[0] += failed
            cell[1] += trials
    assert hours["2024-12-06T20"] == [8, 54]
    worst = max((h for h in hours.values() if h[1] >= 30), key=lambda h: h[0] / h[1])
    assert worst == [8, 54]
    assert versions["M0013"] == [114, 114]
    assert versions["M0011"] == [62, 814]
    assert sum(cell[1] for cell in versions.values()) == REQUESTS


@pytest.mark.real
def test_the_spliced_change_reaches_alertmanager(replayed: Replayed) -> None:
    """Found after it began and within two days; when it began lies in the interval that the anomaly states."""
    found = map(json.loads, replayed.output("export", "anomalies", "--format", "jsonl").splitlines())
    (anomaly,) = [anomaly for anomaly in found if anomaly["signal"] == "image_drift"]
    assert anomaly["state"] == "open"
    assert SPLICED < datetime.fromisoformat(anomaly["opened"]) <= SPLICED + timedelta(days=2)
    assert anomaly["since"]["low"] <= SPLICED.timestamp() * 1e6 <= anomaly["since"]["high"]
    (alert,) = replayed.alerts()
    assert alert["labels"]["severity"] == "page"
    assert alert["labels"]["segment"] == anomaly["segment"] == ROUTE
    assert alert["annotations"]["summary"].startswith(f"The look of the images in {ROUTE} moved ")
    assert datetime.fromisoformat(alert["startsAt"]).timestamp() * 1e6 == anomaly["since"]["low"]


@pytest.mark.real
def test_prometheus_scrapes_the_same_anomaly(replayed: Replayed, prometheus: Callable[[str], str]) -> None:
    address = replayed.service.url.removeprefix("http://").rstrip("/")
    url = prometheus(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: driftline\n"
        f"  static_configs: [{{targets: ['{address}']}}]\n"
    )
    query = {"query": 'driftline_anomaly_active{signal="image_drift"} == 1'}

    def seen() -> Any:
        return httpx.get(f"{url}/api/v1/query", params=query, timeout=10).json()["data"]["result"]

    assert len(wait_for("the anomaly in Prometheus", seen, replayed.service)) == 1
