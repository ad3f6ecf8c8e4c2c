"""A lock that is given in the order it was asked for."""

from __future__ import annotations

import collections
import threading


class Turns:
    """A mutual exclusion whose waiting threads take turns: first come, first served.

    `threading.Lock` promises no order, and a thread that releases it and asks again at once mostly gets it back, so
    that one busy writer holds up all the others for as long as the interpreter lets it run. Here a release hands the
    lock to whoever has waited longest.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = False
        self._waiting: collections.deque[threading.Lock] = collections.deque()

    def acquire(self, timeout: float) -> bool:
        """Wait for one's turn, at most ``timeout`` seconds. False: it did not come, and nothing is held."""
        turn = threading.Lock()
        with self._guard:
            if not self._held:
                self._held = True
                return True
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=timeout):
            return True
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        return True  # it was handed over in the moment the time ran out

    def release(self) -> None:
        """Give the lock to the one who has waited longest. Raises RuntimeError where nobody holds it."""
        with self._guard:
            if not self._held:
                raise RuntimeError("the lock is released by one who does not hold it")
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False
