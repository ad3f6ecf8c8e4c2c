"""Supervised parts and logs."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from monitor import supervise
from monitor.logs import clean, configure, logger
from monitor.supervise import Part, Supervisor


class Flaky:
    """Fails as often as told, then runs until stopped."""

    def __init__(self, failures: list[BaseException | None]) -> None:
        self.failures = failures
        self.running = threading.Event()

    def run(self, stop: threading.Event) -> None:
        if self.failures:
            failure = self.failures.pop(0)
            if failure is not None:
                raise failure
            return  # ended without being told to
        self.running.set()
        stop.wait()


def test_a_part_that_dies_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_DELAY", 0.01)
    worker = Flaky([RuntimeError("boom"), None])
    supervisor = Supervisor([Part("p", lambda: worker)])
    supervisor.start()
    assert worker.running.wait(10)
    (state,) = supervisor.states()
    assert (state.state, state.restarts, state.ready) == ("running", 2, True)
    assert supervisor.stop(5) == []
    assert supervisor.states()[0].state == "stopped"


def test_a_failing_start_is_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_DELAY", 30.0)
    failed = threading.Event()

    def make() -> Any:
        failed.set()
        raise OSError("no broker\nsecond line")

    supervisor = Supervisor([Part("p", make)])
    supervisor.start()
    assert failed.wait(10)
    for _ in range(500):
        if supervisor.states()[0].state == "failed":
            break
        threading.Event().wait(0.01)
    state = supervisor.states()[0]
    assert (state.state, state.error, state.ready) == ("failed", "OSError: no broker", False)
    assert supervisor.stop(5) == []  # does not sit out the delay


def test_a_restart_builds_the_worker_anew() -> None:
    made: list[Flaky] = []

    def make() -> Flaky:
        made.append(Flaky([]))
        return made[-1]

    part = Part("p", make)
    part.start()
    while not made:
        threading.Event().wait(0.01)
    assert made[0].running.wait(10)
    part.restart()
    while len(made) < 2:
        threading.Event().wait(0.01)
    assert made[1].running.wait(10)
    part.stop()
    assert part.join(5)
    assert part.state.restarts == 0


def test_one_that_does_not_stop_is_named() -> None:
    release = threading.Event()

    class Stubborn:
        def run(self, stop: threading.Event) -> None:
            release.wait()

    supervisor = Supervisor([Part("stubborn", Stubborn)])
    supervisor.start()
    assert supervisor.stop(0.1) == ["stubborn"]
    release.set()
    assert supervisor.stop(5) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ada:hunter2@db/x", "postgresql://ada:***@db/x"),
        ("Authorization: Bearer dl_0123456789abcdef", "Authorization: Bearer ***"),
        ("plain text: nothing to hide", "plain text: nothing to hide"),
    ],
)
def test_secrets_are_masked(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_json_lines_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure("json", "info")
        logger("driftline.test").info("connected", url="kafka://u:hunter2@h", password="hunter2", partition=3)
        logging.getLogger("other.library").warning("token %s", "Bearer dl_hunter2hunter2")
        logging.getLogger("httpx").info("GET https://u:hunter2@h/")
        try:
            raise ValueError("postgresql://u:hunter2@h/db")
        except ValueError:
            logger("driftline.test").error("failed", exc_info=True)
    finally:
        root.handlers[:], root.level = handlers, level
        import structlog

        structlog.reset_defaults()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0]["event"] == "connected"
    assert lines[0]["partition"] == 3
    assert "hunter2" not in json.dumps(lines)
    assert len(lines) == 3
