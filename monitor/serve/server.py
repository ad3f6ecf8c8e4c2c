"""The web server of a process: uvicorn in the thread of its part."""

from __future__ import annotations

import socket
import threading

import uvicorn

from monitor.serve.app import create_app
from monitor.serve.context import Context

CLOSE_SECONDS = 3  # requests under way get this long when the service stops


class WebServer:
    """Answers on ``listener`` until told to stop. The listener stays open, so that a restarted part can go on."""

    def __init__(self, listener: socket.socket, context: Context) -> None:
        self._listener = listener
        self._app = create_app(context)

    def run(self, stop: threading.Event) -> None:
        server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                timeout_keep_alive=15,
                timeout_graceful_shutdown=CLOSE_SECONDS,
                limit_concurrency=200,
                ws="none",
            )
        )
        ended = threading.Event()

        def watch() -> None:
            while not ended.is_set() and not stop.wait(0.2):
                pass
            server.should_exit = True

        threading.Thread(target=watch, name="driftline-serve-stop", daemon=True).start()
        try:
            with self._listener.dup() as own:
                server.run(sockets=[own])
        finally:
            ended.set()
