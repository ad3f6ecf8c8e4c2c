"""A deadline over a whole exchange. Libraries bound each read, so a server that sends a byte a second would hold the
caller for ever."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Watchdog:
    """Shuts a connection when time is up, which ends whatever waits on it."""

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._lock = threading.Lock()
        self._ended = False
        self._watched: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, sock: socket.socket) -> None:
        """Guard this connection. A duplicate of its descriptor is kept: TLS takes the original from its owner."""
        duplicate = socket.fromfd(sock.fileno(), sock.family, sock.type)
        with self._lock:
            if not self._ended:
                self._release()
                self._watched = duplicate
            else:
                duplicate.close()
        if self.expired:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def cancel(self) -> None:
        """The exchange is over."""
        self._timer.cancel()
        with self._lock:
            self._ended = True
            self._release()

    def _shut(self) -> None:
        with self._lock:
            if self._ended:
                return
            self.expired = True
            if self._watched is not None:
                with suppress(OSError):
                    self._watched.shutdown(socket.SHUT_RDWR)

    def _release(self) -> None:
        watched, self._watched = self._watched, None
        if watched is not None:
            watched.close()
