"""An anomaly to send, a clock to hold, and an HTTP target that fails in every way there is."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from alerts.anomaly import Anomaly, Effect, Evidence, Explanation, Fact, Since, anomaly_id, to_document
from alerts.dispatch import Dispatcher
from alerts.sinks import Sink
from monitor.store.engine import Store
from monitor.store.outbox import enqueue

MINUTE = 60_000_000
NOW = time.time_ns() // 1000


def anomaly(
    segment: str = "invoice-extract/acme",
    signal: str = "schema_violation_rate",
    *,
    state: str = "open",
    severity: str = "ticket",
    opened: int = NOW - 10 * MINUTE,
    value: float = 0.14,
    sentence: str | None = None,
) -> dict[str, Any]:
    """A complete document, as the evaluator writes it."""
    since, evidence = (
        Since(low=opened - 5 * MINUTE, high=opened),
        Evidence(kind="funded_sr", value=5230.0, threshold=1e3),
    )
    effect = Effect(value=value, unit="share", low=0.11, high=0.18, baseline=0.02)
    sentence = sentence or f"{signal} in {segment} rose from 0.02 to {value} since 09:14 UTC."
    fact = Fact(
        subject=segment,
        signal=signal,
        detector="rate",
        opened=opened,
        since=since,
        evidence=evidence,
        effect=effect,
        sentence=sentence,
    )
    return to_document(
        Anomaly(
            id=anomaly_id("default", segment, signal, opened),
            owner="default",
            segment=segment,
            route="invoice-extract",
            signal=signal,
            detector="rate",
            facts=[fact],
            state=state,  # type: ignore[arg-type]
            severity=severity,  # type: ignore[arg-type]
            since=since,
            opened=opened,
            updated=opened,
            resolved=opened + MINUTE if state == "resolved" else None,
            evidence=evidence,
            effect=effect,
            explanation=Explanation(sentence=sentence),
        )
    )


class Clock:
    """Wall-clock microseconds that pass when told to."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now
        self._passed_us = 0

    def __call__(self) -> int:
        return self.now

    def tick(self, us: int) -> None:
        self.now += us
        self._passed_us += us

    def set(self, us: int) -> None:
        """It is set to another time; none passes."""
        self.now = us

    def monotonic(self) -> float:
        return self._passed_us / 1e6


def tell(store: Store, clock: Clock, sink: str, document: Mapping[str, Any]) -> None:
    with store.write() as conn:
        enqueue(
            conn,
            sink=sink,
            key=document["id"],
            kind="anomaly",
            payload=document,
            created_us=clock(),
            due_us=clock(),
        )


def dispatcher(store: Store, clock: Clock, sinks: Mapping[str, Sink], *, poll_s: float = 0.02) -> Dispatcher:
    return Dispatcher(store, sinks, clock, random.Random(7), poll_s=poll_s, monotonic=clock.monotonic)


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """``behave`` names how the answer goes wrong on the wire: '' (it does not), cut, drip, drip-header,
    hang, close (without a byte)."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    behave: str = ""


class Target:
    """Records every request; ``answer`` is asked what to do with each."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Answer] = lambda request: Answer()
        self.closing = threading.Event()


@contextmanager
def target() -> Iterator[Target]:
    """A real HTTP server on loopback."""
    state = Target()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, dict(self.headers), body)
            state.requests.append(request)
            answer = state.answer(request)
            if answer.behave == "close":
                self.close_connection = True
                return
            if answer.behave == "hang":
                state.closing.wait(30)
                return
            if answer.behave == "drip-header":
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 500:
                    if state.closing.wait(0.05):
                        return
                    self.wfile.write(bytes([byte]))
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.body) + (1000 if answer.behave else 0)))
            self.end_headers()
            if answer.behave == "drip":
                for _ in range(600):
                    if state.closing.wait(0.05):
                        return
                    self.wfile.write(b" ")
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # the client gave up, as it should

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Tests look at ``requests``."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
