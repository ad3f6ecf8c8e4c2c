"""A store in which everything has happened, and a server that shows it at /metrics."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from detectors.summaries import SummaryTable
from monitor.metrics import SelfMetrics
from monitor.serve.metrics import CONTENT_TYPE, Allowed, Exposed, ProductMetrics, ProductSettings, registry, render
from monitor.store import review
from monitor.store.days import day_start
from monitor.store.engine import Store
from monitor.store.outbox import enqueue
from monitor.store.review import Label, NewItem, PoolSums
from monitor.store.tables import anomalies, dead_letters, evaluation, label_partitions, partitions, samples, summaries
from monitor.times import DAY_US
from samplers.pools import pools_of
from tests.alerts.parts import anomaly
from tests.summaries.events import batch

MINUTE = 60_000_000
END = time.time_ns() // 1000 // MINUTE * MINUTE
SEGMENTS = ("invoice-extract/acme", "invoice-extract/globex")
OF_SUBJECTS = ("cost_p99", "image_drift", "input_tokens_p95", "latency_total_p95", "error_rate")
"""Signals of an open anomaly for each dashboard that shows those of its subject."""
VERSIONS = ("vlm-large@14", "vlm-large@15")


def fill(store: Store, *, events: int = 9000) -> None:
    """An hour of two segments and two versions over two partitions, an open anomaly, dead letters, samples."""
    rng = np.random.default_rng(3)
    table = SummaryTable()
    minutes = [END - (60 - minute) * MINUTE for minute in range(0, 60, 15)]
    places = list(product((0, 1), minutes, SEGMENTS, VERSIONS))
    table.update(rng.integers(0, len(places), 4 * events), batch(rng, 4 * events))
    ids = table.row_ids()
    rows = [
        {
            "level": 0,
            "window_us": places[row][1],
            "route": "invoice-extract",
            "segment": places[row][2],
            "version": places[row][3],
            "late": False,
            "topic": "inference",
            "partition": places[row][0],
            "events": table.events(row),
            "state": state,
        }
        for row, state in zip(ids, table.states(ids), strict=True)
    ]
    rows += [{**rows[0], "window_us": rows[0]["window_us"] - hour * 60 * MINUTE} for hour in range(1, 96)]
    review_queue(store)
    with store.write() as conn:
        conn.execute(insert(summaries), rows)
        conn.execute(insert(partitions), [_partition(number) for number in (0, 1)])
        conn.execute(insert(samples), [_sample(number) for number in range(12)])
        conn.execute(insert(dead_letters), [_dead_letter(number) for number in range(3)])
        conn.execute(
            insert(evaluation),
            [
                {
                    "name": "leader",
                    "holder": "a",
                    "generation": 1,
                    "lease_until_us": END,
                    "done_until_us": END - 5 * MINUTE,
                    "state": b"",
                }
            ],
        )
        for severity in ("page", "ticket"):
            conn.execute(insert(anomalies), [_anomaly_row(f"{severity}_signal", severity)])
        for signal in OF_SUBJECTS:
            conn.execute(insert(anomalies), [_anomaly_row(signal, "report")])
        conn.execute(insert(anomalies), [_anomaly_row("was_wrong", "page", state="resolved")])
        conn.execute(
            insert(label_partitions),
            [{"topic": "labels", "partition": 0, "next_offset": 9, "counts": '{"labelled": 7, "dead_letter": 2}'}],
        )
        enqueue(conn, sink="oncall", key="a", kind="anomaly", payload={}, created_us=END - 40 * MINUTE, due_us=END)


def review_queue(store: Store) -> None:
    """Sixty items of either segment, drawn for review on each of two days from 200 samples, and forty of them labelled,
    in the order of the work; every fourth is wrong."""
    rng = np.random.default_rng(4)
    items, sums = [], []
    for day, segment in product((1, 2), SEGMENTS):
        day_us = day_start(END - 5 * MINUTE, "UTC") - day * DAY_US
        score, pi = np.full(200, 0.2), np.full(200, 0.3)
        sums.append(PoolSums(segment, day_us, pools_of(np.full(200, 0.5), pi, score, np.zeros(200, np.int64), 1)))
        for k, race in enumerate(np.sort(rng.random(60)).tolist()):
            name = f"{segment}-{day}-{k}"
            items.append(
                NewItem(name, name, segment, "invoice-extract", day_us, day_us, 0.5, 0.3, race, 0.2, pool="default")
            )
    with store.write() as conn:
        review.add(conn, items, sums, now_us=END - 120 * MINUTE, expires_us=2**60)
    for number, item in enumerate(sorted(items, key=lambda item: item.race)[:160]):
        given = Label("correct" if number % 4 else "wrong")
        review.import_label(store, item.event_id, "ann", given, END - 60 * MINUTE, origin="page")


def _partition(number: int) -> dict[str, Any]:
    return {
        "topic": "inference",
        "partition": number,
        "next_offset": 500,
        "generation": 1,
        "owner": "a",
        "watermark_us": END,
        "max_time_us": END,
        "begun": True,
        "events": 480,
        "duplicates": 7,
        "dead_letters": 13,
        "late_events": 5,
        "state": b"",
        "counters": '{"dead_letter_not_json": 13, "attributes_dropped": 2}',
    }


def _sample(number: int) -> dict[str, Any]:
    state = ("embedded", "missing", "pending")[number % 3]
    return {
        "sample_id": f"s{number}",
        "event_id": f"e{number}",
        "topic": "inference",
        "partition": 0,
        "offset": number,
        "time_us": END - 30 * MINUTE,
        "window_us": END - 30 * MINUTE,
        "route": "invoice-extract",
        "segment": SEGMENTS[number % 2],
        "version": VERSIONS[0],
        "session_key": "",
        "user_key": "",
        "pi": 0.5,
        "state": state,
        "reason": "not_allowed" if state == "missing" else "",
        "facts": "{}",
        "encoder": "",
        "phash": None,
    }


def _dead_letter(number: int) -> dict[str, Any]:
    return {
        "topic": "inference",
        "partition": 0,
        "offset": number,
        "reason": "not_json",
        "detail": "",
        "time_us": END,
        "event_id": "",
        "user_key": "",
        "key": None,
        "original": b"{",
    }


def _anomaly_row(signal: str, severity: str, state: str = "open") -> dict[str, Any]:
    document = anomaly(SEGMENTS[0], signal, severity=severity, state=state, opened=END - 10 * MINUTE)
    return {
        "anomaly_id": document["id"],
        "owner": "default",
        "segment": SEGMENTS[0],
        "signal": document["signal"],
        "state": state,
        "severity": severity,
        "historic": False,
        "opened_us": document["opened"],
        "updated_us": document["updated"],
        "resolved_us": document["resolved"],
        "document": json.dumps(document),
    }


class Workers:
    """Workers of every part whose numbers grow with each look at them."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> dict[str, object]:
        self.looks += 1
        n = self.looks
        return {
            "ingest": SimpleNamespace(
                describe=lambda: {
                    "records": 100 * n,
                    "bytes": 90_000 * n,
                    "commits": n,
                    "store_failures": 0,
                    "lag": {"inference/0": 7, "inference/1": 0},
                }
            ),
            "embed": SimpleNamespace(
                describe=lambda: {
                    "embedded": 9 * n,
                    "missing": {"not_allowed": n},
                    "images_encoded": 8 * n,
                    "texts_encoded": 9 * n,
                    "cache_hits": n,
                    "decoders_replaced": n,
                    "encode_seconds": 0.3 * n,
                    "failures": 0,
                }
            ),
            "evaluate": SimpleNamespace(
                describe=lambda: {"ticks": n, "tick_seconds": 0.2 * n, "leading": True, "unexplained": 0}
            ),
            "dispatch": SimpleNamespace(counts=Counter({("oncall", "sent"): n, ("oncall", "retry"): 1})),
        }


def metrics_of(store: Store, *, path: str = "rules") -> tuple[Exposed, ProductMetrics]:
    """The registry of a process with every role, refreshed once."""
    budgets = (
        Allowed("default", "page", 1, 30 * 1440 * MINUTE),
        Allowed("default", "ticket", 2, 7 * 1440 * MINUTE),
    )
    settings = ProductSettings("USD", budgets, lambda row, now_us: path, labels_per_day={"default": 100, "legal": 20})
    shown = ProductMetrics(store, settings, lambda: time.time_ns() // 1000)
    shown.refresh(END)
    states = {"ingest": (True, 0), "embed": (True, 2), "evaluate": (True, 0), "dispatch": (True, 0)}
    return registry(SelfMetrics(Workers(), lambda: states), shown), shown


def value_of(text: bytes, name: str, **labels: str) -> float:
    """The value of one series of a scrape. KeyError where it is not shown."""
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    raise KeyError((name, labels))


@contextmanager
def exposed(found: Exposed) -> Iterator[str]:
    """``host:port`` of a server with this registry at /metrics."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = render(found)
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Prometheus asks often."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
