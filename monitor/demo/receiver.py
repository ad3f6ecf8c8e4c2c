"""A webhook receiver on loopback: what an on-call tool would get."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY = 1_000_000


class Receiver:
    """Keeps every delivery's JSON body, in the order of arrival."""

    def __init__(self) -> None:
        self.deliveries: list[dict[str, Any]] = []
        self.url = ""

    def anomaly_ids(self) -> set[str]:
        """Ids of the anomalies that were delivered at least once."""
        return {str(body.get("id") or body.get("anomaly", {}).get("id", "")) for body in list(self.deliveries)}


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve on a free port of the loopback interface until the block ends."""
    inbox = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length") or 0), MAX_BODY)
            try:
                body = json.loads(self.rfile.read(length))
            except ValueError:
                self.send_response(400)
            else:
                if isinstance(body, dict):
                    inbox.deliveries.append(body)
                self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Deliveries are shown by the demo itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    inbox.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, name="webhook-receiver", daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
