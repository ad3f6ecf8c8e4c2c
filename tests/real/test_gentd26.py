"""Production traffic with real pages through real parts: Kafka, PostgreSQL, Prometheus, Alertmanager.

Asserts exactly what is known of the trace, from driftline's own summaries, and that a change of the kind of page,
spliced in, reaches Alertmanager.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from monitor.demo.broker import free_port
from tests.data import shared_data
from tests.real.gentd26 import ROUTE, write

SPLICED = datetime(2024, 12, 1, tzinfo=UTC)
WORST_HOUR = datetime(2024, 12, 6, 20, tzinfo=UTC)
HOUR_US = 3_600_000_000
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
serve: {{port: {port}}}
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "monitor.cli", *words]


def output(*words: str) -> str:
    return subprocess.run(command(*words), check=True, capture_output=True, text=True, timeout=600).stdout


class Run:
    """A finished run: the service still serves."""

    def __init__(self, config: Path, port: int, alertmanager: str) -> None:
        self.config = config
        self.port = port
        self.alertmanager = alertmanager

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(output("status", "--config", str(self.config), "--json"))
        return status

    def summaries(self) -> list[dict[str, Any]]:
        text = output("export", "summaries", "--config", str(self.config), "--format", "jsonl")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str, request: pytest.FixtureRequest
) -> Iterator[Run]:
    from tests.services.prometheus import alertmanager

    shared = shared_data()
    folder = tmp_path_factory.mktemp("gentd26")
    topic = "gentd26"
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.create_topics([NewTopic(topic, num_partitions=4, replication_factor=1)])
    admin.close()
    server = request.getfixturevalue("postgres_server")
    port = free_port()
    with alertmanager(folder / "alertmanager") as url:
        config = folder / "driftline.yaml"
        config.write_text(
            _CONFIG.format(
                bootstrap=kafka_bootstrap,
                topic=topic,
                store=server.database(),
                route=ROUTE,
                images=(shared / "images").resolve(),
                alertmanager=url,
                port=port,
            )
        )
        events = folder / "gentd26.jsonl"
        assert write(events, shared, SPLICED) == 26_790
        output("replay", str(events), "--config", str(config), "--pace", "max", "--shift", "none")
        with (folder / "service.log").open("wb") as log:
            service = subprocess.Popen(
                command("run", "--config", str(config), "--log-format", "json"),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        try:
            finished = Run(config, port, url)
            _wait_until(lambda: _done(finished, service, folder / "service.log"))
            yield finished
        finally:
            service.send_signal(signal.SIGTERM)
            assert service.wait(60) == 0, (folder / "service.log").read_text()[-3000:]


def _wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not done():
        assert time.monotonic() < deadline, "the service did not come to the end of the trace"
        time.sleep(1)


def _done(run: Run, service: subprocess.Popen[bytes], log: Path) -> bool:
    assert service.poll() is None, f"the service stopped; its log ends:\n{log.read_text()[-3000:]}"
    alerts = httpx.get(f"{run.alertmanager}/api/v2/alerts", timeout=10).json()
    return any(alert["labels"].get("signal") == "image_drift" for alert in alerts)


@pytest.mark.real
def test_every_request_is_counted_once(run: Run) -> None:
    status = run.status()
    assert status["events"] + status["late_events"] * 0 == 26_790
    assert status["duplicates"] == 0
    assert status["dead_letters"] == 0


@pytest.mark.real
def test_the_worst_hour_and_two_versions_fail_as_the_trace_says(run: Run) -> None:
    hours: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    versions: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in run.summaries():
        if row["level"] != "minute":
            continue
        hits, trials = row["rates"]["error"]["hits"], row["rates"]["error"]["trials"]
        for cell in (hours[row["window_us"] // HOUR_US], versions[row["version"].split("@")[0]]):
            cell[0] += hits
            cell[1] += trials
    assert hours[round(WORST_HOUR.timestamp()) // 3600] == [8, 54]
    worst = max((h for h in hours.values() if h[1] >= 30), key=lambda h: h[0] / h[1])
    assert worst == [8, 54]
    assert versions["M0013"] == [114, 114]
    assert versions["M0011"] == [62, 814]
    assert sum(cell[1] for cell in versions.values()) == 26_790


@pytest.mark.real
def test_the_spliced_change_reaches_alertmanager_after_it_began(run: Run) -> None:
    alerts = httpx.get(f"{run.alertmanager}/api/v2/alerts", timeout=10).json()
    drift = [alert for alert in alerts if alert["labels"]["signal"] == "image_drift"]
    assert [alert["labels"]["severity"] for alert in drift] == ["page"]
    assert ROUTE in drift[0]["annotations"]["summary"]
    began = datetime.fromisoformat(drift[0]["startsAt"].replace("Z", "+00:00"))
    assert began.astimezone(UTC) >= SPLICED


@pytest.mark.real
def test_prometheus_scrapes_the_same_anomaly(run: Run, prometheus: Callable[[str], str]) -> None:
    url = prometheus(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: driftline\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{run.port}']}}]\n"
    )
    query = {"query": 'driftline_anomaly_active{signal="image_drift"} == 1'}

    def seen() -> bool:
        return bool(httpx.get(f"{url}/api/v1/query", params=query, timeout=10).json()["data"]["result"])

    _wait_until(seen)
    assert seen()
