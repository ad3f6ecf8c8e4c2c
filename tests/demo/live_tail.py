"""The demo's live tail, fast: something breaks, the generated rules fire in a real Prometheus, a real Alertmanager
tells a webhook receiver, and once it was mended all of them say that it is over. Ten minutes: a command of its own,

    python -m pytest tests/demo/live_tail.py
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.rendering import ALERT_NAME, LABELS
from dashboards.generate import GENERATED
from monitor.demo.incidents import LIVE
from tests.alerts.parts import Target, target
from tests.dashboards.test_queries import until
from tests.demo.test_three_weeks import END
from tests.services import prometheus as services

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]
PACE = 400  # an hour passes in nine seconds


@pytest.fixture
def oncall() -> Iterator[Target]:
    with target() as state:
        yield state


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Of a demo whose anomalies take the road over Prometheus' rules, its three weeks judged, its live tail begun."""
    with (tmp_path / "output.txt").open("wb") as out:
        command = [sys.executable, "-m", "monitor.cli", "demo", "--out", str(tmp_path), "--end", END]
        process = subprocess.Popen([*command, "--pace", str(PACE)], stdout=out, stderr=subprocess.STDOUT)
    try:
        config = tmp_path / "driftline.yaml"
        until(lambda: config.exists() and "alerts:" in config.read_text(), "the configuration", 120)
        until(lambda: (tmp_path / "service.log").exists() and len(listening(tmp_path)) == 2, "the service", 120)
        config.write_text(config.read_text().replace("alerts:\n", "alerts:\n  path: rules\n"))
        for child in children(process.pid):
            if "monitor.cli" in child[1] and " run" in child[1]:
                os.kill(child[0], signal.SIGHUP)
        until(lambda: (tmp_path / "summary.json").exists(), "the three weeks", 1800)
        yield tmp_path
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (tmp_path / "output.txt").read_text()[-3000:]


def children(parent: int) -> list[tuple[int, str]]:
    """(process id, command) of the processes that a process started."""
    listed = subprocess.run(
        ["ps", "--ppid", str(parent), "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    return [(int(line.split()[0]), line) for line in listed.splitlines() if line.strip()]


def listening(folder: Path) -> list[str]:
    return re.findall(r'"url": ?"http://([^"/]+)/?"', (folder / "service.log").read_text())


def test_the_rules_fire_when_it_breaks_and_resolve_when_it_is_mended(
    folder: Path, tmp_path: Path, oncall: Target
) -> None:
    with ExitStack() as stack:
        receiver = (
            "route: {receiver: oncall, group_by: [alertname, segment, signal], group_wait: 0s, group_interval: 1s}\n"
            f"receivers: [{{name: oncall, webhook_configs: [{{url: '{oncall.url}/page', send_resolved: true}}]}}]\n"
        )
        manager = stack.enter_context(services.alertmanager(tmp_path / "alertmanager", receiver))
        targets = ", ".join(f"'{address}'" for address in listening(folder))
        url = stack.enter_context(
            services.prometheus(
                tmp_path / "prometheus",
                "global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 2s}\n"
                f"rule_files: ['{GENERATED / 'prometheus-rules.yml'}']\n"
                "alerting: {alertmanagers: [{static_configs: [{targets: ['"
                f"{manager.removeprefix('http://')}']}}]}}]}}\n"
                f"scrape_configs: [{{job_name: driftline, static_configs: [{{targets: [{targets}]}}]}}]\n",
            )
        )

        def firing() -> list[dict[str, str]]:
            alerts = httpx.get(f"{url}/api/v1/alerts", trust_env=False).json()["data"]["alerts"]
            of_segment = [a["labels"] for a in alerts if a["labels"].get("segment") == LIVE.segment]
            return [labels for labels in of_segment if labels["alertname"] == ALERT_NAME]

        def notes(status: str) -> list[dict[str, Any]]:
            found = [alert for note in list(oncall.requests) for alert in note.json["alerts"]]
            return [a for a in found if a["status"] == status and a["labels"].get("segment") == LIVE.segment]

        def so(seconds: float, what: str, true: Callable[[], object]) -> None:
            until(true, f"{what} ({(folder / 'output.txt').read_text()[-600:]})", seconds)

        began = time.monotonic()
        so(600, "the rule's alert", firing)
        (labels,) = firing()
        assert labels["signal"] == "schema_violation_rate"
        assert set(labels) == {"alertname", *LABELS}
        fired = time.monotonic() - began
        so(60, "the notification", lambda: notes("firing"))
        so(1800, "the end of the alert", lambda: not firing())
        print(f"live tail at pace {PACE}: fired after {fired:.0f} s, over after {time.monotonic() - began:.0f} s")
        so(360, "the notification that it is over", lambda: notes("resolved"))
        assert {a["labels"]["id"] for a in notes("resolved")} == {labels["id"]}
        assert len({a["startsAt"] for a in notes("firing")}) == 1, "one incident, one alert"
        page = httpx.get(f"http://{listening(folder)[0]}/anomalies/{labels['id']}", trust_env=False, timeout=30)
        assert page.status_code == 200
        assert "resolved" in page.text
