"""What is dear to make and asked for again and again: kept, and made anew when what it is made of has changed.

Nobody waits for what is made anew at length: until it is there, the last one is shown, unless it is old. What is made
in no time is made at once, so that a page of a small store is never behind it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

QUICK_S = 0.15  # what took less is made anew while one waits
STALE_S = 1800.0  # what was made longer ago is not shown any more once it has changed
log = structlog.stdlib.get_logger("driftline.serve")


@dataclass(frozen=True, slots=True)
class _Entry:
    of: Hashable
    value: Any
    made: float
    took: float


class Kept:
    """Values by key, the ``most`` last used. ``clock``: seconds that only go forward. Safe from any thread."""

    def __init__(self, most: int = 48, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, of: Hashable, make: Callable[[], T]) -> T:
        """The value of ``key`` made of ``of``; where that is being made at length, the one before it.

        ``make`` may run in another thread, so it must open what it reads itself. What it raises is raised to whoever
        waits for it, and nothing is kept.
        """
        entry = self._known(key)
        if entry is not None and entry.of == of:
            return entry.value  # type: ignore[no-any-return]
        if entry is not None and entry.took >= QUICK_S and self._clock() - entry.made < STALE_S:
            with self._lock:
                running = self._making.setdefault(key, threading.Lock()).locked()
            if not running:
                threading.Thread(target=self._beside, args=(key, of, make), name="driftline-kept", daemon=True).start()
            return entry.value  # type: ignore[no-any-return]
        return self._made(key, of, make)

    def _known(self, key: Hashable) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def _made(self, key: Hashable, of: Hashable, make: Callable[[], T]) -> T:
        """Make it, or wait for whoever does."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            entry = self._known(key)
            if entry is not None and entry.of == of:
                return entry.value  # type: ignore[no-any-return]
            began = self._clock()
            value = make()
            now = self._clock()
            with self._lock:
                self._entries[key] = _Entry(of, value, now, now - began)
                self._entries.move_to_end(key)
                while len(self._entries) > self._most:
                    gone, _ = self._entries.popitem(last=False)
                    self._making.pop(gone, None)
            return value

    def _beside(self, key: Hashable, of: Hashable, make: Callable[[], Any]) -> None:
        try:
            self._made(key, of, make)
        except Exception as error:  # the next one who asks waits for it, and is told
            log.warning("what is kept could not be made anew", error=type(error).__name__)
            with self._lock:
                self._entries.pop(key, None)


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
        """The last value, None before the first; where there is none it is waited for ``wait_s``."""
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if not running and self._clock() - self._began >= self._every_s:
                self._began = self._clock()
                self._thread = threading.Thread(target=self._run, name="driftline-beside", daemon=True)
                self._thread.start()
            thread = self._thread
        if self._value is None and wait_s and thread is not None:
            thread.join(wait_s)
        return self._value

    def _run(self) -> None:
        try:
            self._value = self._make()
        except Exception as error:
            log.warning("what is fetched beside could not be had", error=type(error).__name__)
