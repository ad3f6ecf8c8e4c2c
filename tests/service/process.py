"""`driftline run` as a process of its own, and events to give it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from monitor.config.model import Kafka
from monitor.replay import Event, send_events
from monitor.replay_target import target

ROOT = Path(__file__).resolve().parents[2]
START_US = 1_762_084_800_000_000  # 2025-11-02T12:00Z


@dataclass
class Running:
    """A running service: its process, log file and, once it listens, its address."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def records(self) -> list[dict[str, Any]]:
        """The log's JSON lines."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [record for record in self.records() if record.get("event") == event]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=10)

    def ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.get("readyz").status_code == 200
        return False

    def end(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Send a signal and wait; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


def wait_for(what: str, check: Callable[[], Any], running: Running | None = None, seconds: float = 60) -> Any:
    """Poll until ``check()`` is true; fails with the end of the log."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := check():
            return found
        if running is not None and running.process.poll() is not None:
            break
        time.sleep(0.1)
    tail = running.log.read_text(errors="replace")[-3000:] if running else ""
    raise AssertionError(f"waited in vain for: {what}\n{tail}")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "monitor.cli", *arguments]


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)


@contextlib.contextmanager
def service(config: Path, *arguments: str, listens: bool = True) -> Iterator[Running]:
    """`driftline run` with these arguments; killed at the end if it still runs."""
    log = config.with_name(f"service-{uuid.uuid4().hex[:6]}.log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            command("run", "--config", str(config), "--log-format", "json", *arguments),
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONWARNINGS": "default"},
        )
    running = Running(process, log)
    try:
        if listens:
            found = wait_for("its address", lambda: running.logged("listening"), running)
            running.url = found[0]["url"]
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def write_config(folder: Path, bootstrap: str, *, topic: str = "inference", more: str = "", store: str = "") -> Path:
    """A small configuration; ``more`` is YAML that is added."""
    path = folder / "driftline.yaml"
    url = store or f"sqlite:///{folder / 'driftline.db'}"
    path.write_text(
        f"kafka:\n  bootstrap: {bootstrap}\n  topics: [{topic}]\n  group: g-{uuid.uuid4().hex[:8]}\n"
        f"  commit_every: 200ms\nstore:\n  url: {url}\nserve:\n  port: 0\n{more}"
    )
    return path


def events(count: int, route: str = "extract", first: int = 0) -> Iterator[Event]:
    """Events a second apart, of ten users."""
    for i in range(first, first + count):
        time_us = START_US + i * 1_000_000
        document = {
            "schema": "driftline.inference/1",
            "id": f"{route}-{i}",
            "time": time_us // 1000,
            "route": route,
            "user_id": f"u-{i % 10}",
            "session_id": f"s-{i}",
            "input": [{"kind": "text", "text": f"Page {i}: extract the total."}],
            "cost": {"amount": 0.01, "currency": "USD"},
            "latency": {"total_ms": 1000 + i % 100},
            "outcome": "error" if i % 10 == 0 else "ok",
        }
        yield Event(document, f"u-{i % 10}".encode(), time_us, f"event {i}")


def produce(bootstrap: str, topic: str, found: Iterator[Event], partitions: int = 2) -> int:
    """Send events to a topic, which is made where it is missing. Returns how many."""
    with target(Kafka(bootstrap=bootstrap), topic, partitions) as producer:
        return send_events(found, producer, topic).events
