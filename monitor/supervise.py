"""Supervised threads: a part of the service that dies is logged, shown as not ready, and started again.

Restarts wait ever longer (1 s doubling up to 30 s, from 1 s again once a part has run for a minute), so that a
broken dependency is neither hammered nor given up on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import structlog

FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0
STEADY_SECONDS = 60.0

log = structlog.stdlib.get_logger("driftline.supervise")


class Worker(Protocol):
    """What a part runs: it returns soon after ``stop`` is set, with its work committed."""

    def run(self, stop: threading.Event) -> object: ...


@dataclass(frozen=True, slots=True)
class PartState:
    """How a part is doing. ``error`` is the last failure in one line, '' where there was none."""

    name: str
    state: Literal["starting", "running", "failed", "stopped"]
    restarts: int = 0
    error: str = ""

    @property
    def ready(self) -> bool:
        return self.state == "running"


class Part:
    """One worker in one thread. ``make`` builds it afresh at every start; it may raise, which is a failure too."""

    def __init__(self, name: str, make: Callable[[], Worker]) -> None:
        self.name = name
        self.worker: Worker | None = None
        self.state = PartState(name, "starting")
        self._make = make
        self._over = threading.Event()  # the service ends
        self._halt = threading.Event()  # this worker ends; handed to it
        self._thread = threading.Thread(target=self._supervise, name=f"driftline-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the worker to end; `join` waits for it."""
        self._over.set()
        self._halt.set()

    def restart(self) -> None:
        """End the worker and build it again, as after a change of configuration."""
        self._halt.set()

    def join(self, seconds: float) -> bool:
        """True once the thread has ended."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _supervise(self) -> None:
        delay = FIRST_DELAY
        while not self._over.is_set():
            self._halt.clear()
            if self._over.is_set():  # stop() came between the two lines above
                break
            began = time.monotonic()
            try:
                self.worker = self._make()
                self.state = replace(self.state, state="running")
                log.info("started", part=self.name)
                self.worker.run(self._halt)
                if self._halt.is_set():
                    continue
                problem = "ended without being told to"
                log.error("part ended by itself", part=self.name, retry_seconds=delay)
            except Exception as error:
                if self._over.is_set():
                    log.warning("failed while stopping", part=self.name, exc_info=True)
                    break
                problem = _one_line(error)
                log.error("part failed", part=self.name, retry_seconds=delay, exc_info=True)
            if time.monotonic() - began > STEADY_SECONDS:
                delay = FIRST_DELAY
            self.state = PartState(self.name, "failed", self.state.restarts + 1, problem)
            self._over.wait(delay)
            delay = min(LONGEST_DELAY, 2 * delay)
        self.state = replace(self.state, state="stopped")
        log.info("stopped", part=self.name)


class Supervisor:
    """The parts of one process."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)

    def start(self) -> None:
        for part in self.parts:
            part.start()

    def states(self) -> list[PartState]:
        return [part.state for part in self.parts]

    def stop(self, seconds: float) -> list[str]:
        """Stop every part at once and wait up to ``seconds`` in all. Returns the names of those still running."""
        deadline = time.monotonic() + seconds
        for part in self.parts:
            part.stop()
        return [part.name for part in self.parts if not part.join(deadline - time.monotonic())]


def _one_line(error: BaseException) -> str:
    name, text = type(error).__name__, str(error).strip()
    return name if text in ("", name) else f"{name}: {text.splitlines()[0][:300]}"
