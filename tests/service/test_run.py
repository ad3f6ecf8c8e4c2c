"""`driftline run` as real processes on a Kafka-protocol broker: signals, reload, roles, drain."""

from __future__ import annotations

import json
import signal
import time
import uuid
from pathlib import Path

import pytest

from tests.service.process import cli, events, produce, service, wait_for, write_config


def status(config: Path) -> dict[str, object]:
    done = cli("status", "--json", "--config", str(config))
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture
def topic() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.real)])
def either_broker(request: pytest.FixtureRequest) -> str:
    """The demo's embedded broker, and a real Apache Kafka."""
    found: str = request.getfixturevalue("kafka_bootstrap" if request.param == "kafka" else "broker_bootstrap")
    return found


def test_run_reload_and_stop(broker_bootstrap: str, topic: str, tmp_path: Path) -> None:
    """Starts, becomes ready, reads, reloads a good and a bad configuration, and stops with everything committed."""
    produce(broker_bootstrap, topic, events(500))
    config = write_config(tmp_path, broker_bootstrap, topic=topic)
    good = config.read_text()
    with service(config) as running:
        wait_for("readiness", running.ready, running)
        assert running.get("healthz").text == "ok\n"
        wait_for("500 events", lambda: running.get("api/status").json()["events"] == 500, running)
        assert b"driftline_ingest_records_total 500" in running.get("metrics").content
        assert running.get("").status_code == 200

        config.write_text(good + "budget: {page: 1 per fortnight}\n")
        running.process.send_signal(signal.SIGHUP)
        refused = wait_for(
            "the refusal", lambda: running.logged("configuration not reloaded, the old one stays"), running
        )
        assert "budget.page" in refused[0]["reason"]
        assert "1 per 30d" in json.dumps(running.get("api/status").json()["budget"])

        config.write_text(good + "budget: {page: 3 per 30d}\ntimezone: Europe/Berlin\n")
        running.process.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: running.logged("configuration reloaded"), running)
        assert running.logged("these keys take effect at the next start")[0]["keys"] == ["timezone"]
        wait_for("the new budget", lambda: "3 per 30d" in running.get("api/status").text, running)
        assert b'driftline_config_reloads_total{outcome="refused"} 1' in running.get("metrics").content

        produce(broker_bootstrap, topic, events(100, first=500))
        wait_for("600 events", lambda: running.get("api/status").json()["events"] == 600, running)
        assert running.end() == 0
        assert running.logged("stopped")
    found = status(config)
    assert found["events"] == 600
    assert sum(found["offsets"][topic].values()) == 600  # type: ignore[index]


def test_a_second_signal_ends_at_once(broker_bootstrap: str, topic: str, tmp_path: Path) -> None:
    produce(broker_bootstrap, topic, events(10))
    config = write_config(tmp_path, broker_bootstrap, topic=topic)
    with service(config) as running:
        wait_for("readiness", running.ready, running)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.6)
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) in (0, 128 + signal.SIGTERM)


def test_roles_in_processes_of_their_own(broker_bootstrap: str, topic: str, store_url: str, tmp_path: Path) -> None:
    produce(broker_bootstrap, topic, events(300))
    config = write_config(tmp_path, broker_bootstrap, topic=topic, store=store_url)
    with (
        service(config, "--role", "ingest", "--port", "0") as ingest,
        service(config, "--role", "embed", "--role", "evaluate", "--port", "0") as others,
        service(config, "--role", "serve") as serve,
    ):
        for running in (ingest, others, serve):
            wait_for("readiness", running.ready, running)
        wait_for("300 events", lambda: serve.get("api/status").json()["events"] == 300, serve)
        wait_for("no sample waits", lambda: serve.get("api/status").json()["samples"]["pending"] == 0, serve)
        assert set(ingest.get("readyz").json()["parts"]) == {"ingest", "serve"}
        assert {"embed", "evaluate", "dispatch", "upkeep"} <= set(others.get("readyz").json()["parts"])
        assert ingest.get("api/status").status_code == 404
        assert b"driftline_consumer_lag" in ingest.get("metrics").content
        assert b"driftline_consumer_lag" not in serve.get("metrics").content
        assert [running.end() for running in (serve, others, ingest)] == [0, 0, 0]


def test_drain_twice_gives_the_same(either_broker: str, topic: str, tmp_path: Path) -> None:
    """A drain closes, embeds and evaluates everything; two of them over one input export the same bytes."""
    sent = 3600
    produce(either_broker, topic, events(sent))
    exports = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        config = write_config(folder, either_broker, topic=topic)
        done = cli("run", "--drain", "--config", str(config), "--log-format", "json")
        assert done.returncode == 0, done.stderr[-3000:]
        found = status(config)
        assert found["events"] == sent
        assert found["samples"]["pending"] == 0  # type: ignore[index]
        assert str(found["closed_until"]) >= "2025-11-02T13:00"
        assert found["evaluated_until"] is not None
        kinds = ("summaries", "samples", "anomalies")
        exports.append({kind: cli("export", kind, "--config", str(config)).stdout for kind in kinds})
    assert exports[0] == exports[1]
    assert exports[0]["summaries"].count("\n") >= 60


def test_a_missing_broker_does_not_end_the_service(tmp_path: Path) -> None:
    """The other parts go on, and the probe says what is missing."""
    config = write_config(tmp_path, "127.0.0.1:1")
    with service(config) as running:
        wait_for("a failed start of ingest", lambda: running.logged("part failed"), running)
        answer = running.get("readyz")
        assert answer.status_code == 503
        assert "ingest" in answer.json()["waiting_for"]
        assert running.get("healthz").status_code == 200
        assert running.get("api/status").status_code == 200
        assert running.end() == 0


def test_a_drain_without_a_broker_says_so(tmp_path: Path) -> None:
    config = write_config(tmp_path, "127.0.0.1:1")
    done = cli("run", "--drain", "--config", str(config), "--log-format", "json")
    assert done.returncode == 1
    assert "reading from 127.0.0.1:1 failed" in done.stderr
    assert "kafka.bootstrap" in done.stderr
    assert "Traceback" not in done.stderr


def test_refuses_to_listen_openly_without_a_token(tmp_path: Path) -> None:
    config = write_config(tmp_path, "127.0.0.1:1")
    done = cli("run", "--config", str(config), "--role", "serve", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "refusing to listen on 0.0.0.0" in done.stderr
    assert "driftline token create" in done.stderr
    made = cli("token", "create", "--config", str(config), "--role", "viewer", "--quiet")
    with service(config, "--role", "serve", "--host", "0.0.0.0") as running:
        running.url = running.url.replace("0.0.0.0", "127.0.0.1")
        wait_for("readiness", running.ready, running)
        assert running.get("api/status").status_code == 401
        import httpx

        token = {"Authorization": f"Bearer {made.stdout.strip()}"}
        assert httpx.get(running.url + "api/status", headers=token).status_code == 200


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    config = write_config(tmp_path, "127.0.0.1:1")
    with service(config, "--role", "serve") as running:
        port = running.url.rstrip("/").rpartition(":")[2]
        done = cli("run", "--config", str(config), "--role", "serve", "--port", port)
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
