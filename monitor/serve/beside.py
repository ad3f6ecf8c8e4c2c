"""What is fetched beside the requests, so that none waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

log = structlog.stdlib.get_logger("driftline.serve")


class Beside:
    """A value that is fetched beside the requests, at most every ``every_s`` seconds; the last one is shown at once.

    ``make`` runs in a thread of its own and raises nothing that matters: what failed is its value to say.
    """

    def __init__(self, make: Callable[[], T], every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._make: Callable[[], Any] = make
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._began = float("-inf")
        self._value: Any = None

    def latest(self, wait_s: float = 0.0) -> Any:
        """The last value, None before the first; whoever has it made first waits ``wait_s``."""
        with self._lock:
            started = False
            running = self._thread is not None and self._thread.is_alive()
            if not running and self._clock() - self._began >= self._every_s:
                self._began = self._clock()
                self._thread = threading.Thread(target=self._run, name="driftline-beside", daemon=True)
                self._thread.start()
                started = True
            thread = self._thread
        if self._value is None and started and thread is not None:
            thread.join(wait_s)
        return self._value

    def _run(self) -> None:
        try:
            self._value = self._make()
        except Exception as error:
            log.warning("what is fetched beside could not be had", error=type(error).__name__)
