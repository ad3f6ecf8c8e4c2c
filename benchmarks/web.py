"""Every page of the web application, and /metrics, over a large store: how long people and Prometheus wait.

    python -m benchmarks.web --json [--store DIR] [--page /cost]

The store is that of `benchmarks.report`: eight weeks of 500 segments. A real `driftline run` serves it, with the roles
evaluate (which leads, and so shows the product's series) and serve. Pages are asked for 10 times a second in open loop,
one page after another: a request is sent when its time has come, whatever became of those before, and its latency
counts from that time. Pages are those of the application's own routes that answer a GET with HTML; one that takes a
segment is asked for a random one each time, and without (``/cost`` and ``/cost?segment``), one of an anomaly for a
random one, one of another thing for what other pages link to. ``first_ms`` is the first request, before anything is in
memory; ``cpu_ms`` the processor time of the server by request, whoever else uses the machine (``load_average``): ten
times that must stay well below a second. A scrape of /metrics is made once a second. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from starlette.routing import Route, compile_path

from benchmarks._rolled_up import Made, config_of, name_of, rolled_up
from benchmarks.summaries import machine
from monitor.config.model import Config
from monitor.serve.app import create_app
from monitor.serve.context import Context
from monitor.store import anomalies
from monitor.store.engine import open_store
from tests.service.process import service, wait_for

RATE = 10  # requests a second
SECONDS = 10  # of each page
SCRAPES = 20
NO_PAGES = ("/api/", "/static/", "/healthz", "/readyz", "/metrics", "/login")
LEAST_SERIES = 60  # of a segment


def page_routes(made: Made) -> list[str]:
    """Paths of the application that may be pages, as its routes write them."""
    store = open_store(made.url)
    config = Config.model_validate(config_of(made.url))
    app: Any = create_app(Context(store, lambda: config, list, lambda: b""))
    routes = [route for route in app.app.routes if isinstance(route, Route) and "GET" in (route.methods or ())]
    store.close()
    return [route.path for route in routes if not route.path.startswith(NO_PAGES)]


class Server:
    """The address of a server, asked on a connection a request: that is what a browser's first one is."""

    def __init__(self, url: str) -> None:
        self.host, self.port = urlsplit(url).hostname or "", urlsplit(url).port

    def get(self, path: str) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request("GET", path, headers={"Accept": "text/html"})
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        finally:
            connection.close()

    def is_page(self, path: str) -> bool:
        status, kind, _ = self.get(path)
        return status == 200 and kind.startswith("text/html")


def used_by(process: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rest(process: int) -> None:
    """Wait until the server has nothing to do: a page must not wait for what was asked of another one, long given up.

    A second of wall time in which it used less than a fifth of a processor; no longer than two minutes.
    """
    for _ in range(120):
        before = used_by(process)
        time.sleep(1)
        if used_by(process) - before < 0.2:
            return


def targets(made: Made, server: Server, wanted: str | None) -> dict[str, tuple[list[str], float]]:
    """By name of a page: addresses to ask for in turn, and how many ms the first request took."""
    rng = random.Random(3)
    segments = [quote(name_of(rng.randrange(made.facts["segments"])), safe="") for _ in range(RATE * SECONDS)]
    store = open_store(made.url)
    with store.read() as connection:
        ids = anomalies.list_ids(connection)
    store.close()
    found: dict[str, tuple[list[str], float]] = {}
    linked: set[str] = set()
    paths = sorted(page_routes(made), key=lambda path: "{" in path)
    for path in paths:
        if wanted is not None and path != wanted:
            continue
        if path == "/anomalies/{id}":
            addresses = [f"/anomalies/{rng.choice(ids)}" for _ in segments]
        elif "{" in path:
            pattern = compile_path(path)[0]
            addresses = sorted(link for link in linked if pattern.match(urlsplit(link).path))[: len(segments)]
        else:
            addresses = [path]
        if not addresses:
            continue
        began = time.monotonic()
        status, kind, body = server.get(addresses[0])
        first = 1000 * (time.monotonic() - began)
        if "{" not in path and status == 200 and kind.startswith("text/html"):
            linked |= set(re.findall(r'href="(/[^"#]*)"', body.decode()))
        if status == 200 and kind.startswith("text/html"):
            found[path] = (addresses, first)
        if "{" in path:
            continue
        of_segments = [f"{path}?segment={segment}" for segment in segments]
        began = time.monotonic()
        if server.is_page(of_segments[0]):
            found[f"{path}?segment"] = (of_segments, 1000 * (time.monotonic() - began))
    return found


def ask(server: Server, addresses: Sequence[str], process: int) -> dict[str, Any]:
    """Latencies of an open loop, ms, and what a request took of the server's processors."""
    lock, took, statuses = threading.Lock(), [], []
    sizes: list[int] = []

    def one(address: str, due: float) -> None:
        try:
            status, _, body = server.get(address)
        except OSError:
            status, body = 0, b""
        with lock:
            took.append(1000 * (time.monotonic() - due))
            statuses.append(status)
            sizes.append(len(body))

    before = used_by(process)
    with ThreadPoolExecutor(RATE * SECONDS) as pool:
        begin = time.monotonic() + 0.05
        for i in range(RATE * SECONDS):
            due = begin + i / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            pool.submit(one, addresses[i % len(addresses)], due)
    return {
        "p50_ms": round(float(np.median(took)), 1),
        "p95_ms": round(float(np.quantile(took, 0.95)), 1),
        "max_ms": round(max(took), 1),
        "cpu_ms": round(1000 * (used_by(process) - before) / len(took), 1),
        "failed": sum(status != 200 for status in statuses),
        "kb": round(float(np.mean(sizes)) / 1e3, 1),
    }


def scrape(server: Server) -> dict[str, Any]:
    """What Prometheus gets, and how long it waits."""
    took = []
    body = b""
    for _ in range(SCRAPES):
        began = time.monotonic()
        _, _, body = server.get("/metrics")
        took.append(1000 * (time.monotonic() - began))
        time.sleep(max(0.0, 1 - (time.monotonic() - began)))
    series = list(_series(body))
    of_segments: dict[str, int] = {}
    for line in series:
        if segment := re.search(rb'segment="([^"]*)"', line):
            of_segments[segment[1].decode()] = of_segments.get(segment[1].decode(), 0) + 1
    return {
        "scrape_ms": round(float(np.quantile(took, 0.95)), 1),
        "scrape_p50_ms": round(float(np.median(took)), 1),
        "series": len(series),
        "metrics_segments": len(of_segments),
        "least_series_of_a_segment": min(of_segments.values(), default=0),
        "metrics_mb": round(len(body) / 1e6, 2),
    }


def _series(body: bytes) -> Iterator[bytes]:
    return (line for line in body.splitlines() if line and not line.startswith(b"#"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--store", type=Path, help="folder of the store; it is kept there, and used again")
    parser.add_argument("--page", help="this page alone, as its route is written")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        made = rolled_up(given.store or Path(temporary))
        config = Path(temporary) / "driftline.yaml"
        config.write_text(json.dumps({**config_of(made.url), "serve": {"port": 0}}))
        with service(config, "--role", "evaluate", "--role", "serve") as running:
            server = Server(running.url)

            def shown() -> bool:
                return b"driftline_events{" in server.get("/metrics")[2]

            wait_for("the product's series", shown, running, 180)
            pages = {}
            for name, (addresses, first) in targets(made, server, given.page).items():
                rest(running.process.pid)
                pages[name] = {"first_ms": round(first, 1), **ask(server, addresses, running.process.pid)}
                if not given.json:
                    print(f"{name:28} {pages[name]}", flush=True)
            rest(running.process.pid)
            scraped = {} if given.page else scrape(server)
            running.end()
    p95 = {name: page["p95_ms"] for name, page in pages.items()}
    result = {
        "benchmark": "web",
        "p95_ms": p95,
        "worst_p95_ms": max(p95.values()),
        "failed": sum(page["failed"] for page in pages.values()),
        **scraped,
        "rate": RATE,
        "pages": pages,
        "store": made.facts,
        "load_average": round(os.getloadavg()[0], 1),
        "machine": machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
