"""The review queue under eight reviewers who never pause: 100,000 items, each labelled once.

    python -m benchmarks.queue --json [--quick]

A label and the lease on what comes next are one call, `review.label_and_next`, with one item leased ahead as a page
does; its wall time is what is reported, from before the connection is taken until after the commit. Nobody thinks
between two calls, so that eight are always under way: the latency is that of a queue of eight at whatever throughput
the machine has. PostgreSQL: eight processes. SQLite: eight threads of one process, which is how `driftline run` serves
it, and beside that eight processes on one file (``sqlite_processes``). Before the labelling, while all items are open,
the time of `review.next_items` alone is taken for filters (one reviewer, leases given back). ``duplicates`` counts
items with more than one label; ``unfinished`` those that are not done. Latency at full speed is a matter of who else
uses the machine: ``load_average`` (one minute, before and after) says so, and ``cpu_ms`` is what one call takes of a
processor on the client's side, waiting aside. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.ingest import machine
from monitor.store import review
from monitor.store.engine import Store, StoreUnavailable, open_store
from tests.services.postgres import postgres

DAY_US = 86_400_000_000
START_US = 1_790_000_000_000_000 // DAY_US * DAY_US
ITEMS, QUICK_ITEMS = 100_000, 4_000
REVIEWERS = 8
LEASE_US = 600_000_000
AHEAD = 2
POOLS, LANGUAGES, SEGMENTS = ("main", "legal", "medical"), ("en", "de", "fr", "ja", ""), 60
LABEL = review.Label("wrong", {"field": "total", "severity": 2}, "the sum of the second page is missing")
FILTERS = {
    "none": review.Filters(),
    "pool": review.Filters(pools=("legal",)),
    "language": review.Filters(languages=("ja",)),
    "segment": review.Filters(segments=("segment-59",)),
    "pool_and_languages": review.Filters(pools=("medical",), languages=("de", "fr")),
    "all_three": review.Filters(pools=("medical",), languages=("ja", ""), segments=("segment-58", "segment-59")),
}


class Labelled(NamedTuple):
    """What one reviewer did: the wall seconds of each call, how often the store had to be asked again, CPU seconds."""

    seconds: list[float]
    again: int
    cpu: float


def now_us() -> int:
    return time.time_ns() // 1000


def build(store: Store, items: int, seed: int = 5) -> None:
    """Items over three pools, five languages and sixty segments of unequal size, drawn over two weeks."""
    rng = np.random.default_rng(seed)
    share = 1 / (5 + np.arange(SEGMENTS))
    segment = rng.choice(SEGMENTS, items, p=share / share.sum())
    pool, race = rng.choice(len(POOLS), items, p=(0.8, 0.15, 0.05)), rng.random(items)
    language = rng.choice(len(LANGUAGES), items, p=(0.6, 0.2, 0.1, 0.02, 0.08))
    score = rng.beta(1, 8, items)
    for start in range(0, items, 5_000):
        new = [
            review.NewItem(
                sample_id=f"sample-{i:08d}",
                event_id=f"event-{i:08d}",
                segment=f"segment-{segment[i]}",
                route="extract",
                day_us=START_US + i * 14 // items * DAY_US,
                time_us=START_US + i * 14 * DAY_US // items,
                pi_sample=0.05,
                pi_review=0.1,
                race=float(race[i]),
                score=float(score[i]),
                reasons=("uniform", "low confidence"),
                pool=POOLS[pool[i]],
                language=LANGUAGES[language[i]],
            )
            for i in range(start, min(start + 5_000, items))
        ]
        with store.write() as connection:
            review.add(connection, new, [], now_us=now_us(), expires_us=now_us() + 14 * DAY_US)


def time_filters(store: Store, times: int) -> dict[str, dict[str, float]]:
    """Wall time of `next_items` per filter."""
    found: dict[str, dict[str, float]] = {}
    for name, filters in FILTERS.items():
        seconds = []
        for _ in range(times):
            begin = time.perf_counter()
            items = review.next_items(store, "filters", filters, now_us(), LEASE_US)
            seconds.append(time.perf_counter() - begin)
            for item in items:
                review.release(store, item.item_id, "filters", now_us())
        found[name] = _milliseconds(np.array(seconds))
    return found


def label_all(store: Store, reviewer: str) -> Labelled:
    """Label until nothing is left."""
    seconds: list[float] = []
    again = 0
    cpu = time.thread_time()
    items = list(review.next_items(store, reviewer, review.Filters(), now_us(), LEASE_US, AHEAD))
    while items:
        begin = time.perf_counter()
        while True:
            try:
                done = review.label_and_next(
                    store,
                    items[0].item_id,
                    reviewer,
                    LABEL,
                    review.Filters(),
                    now_us(),
                    LEASE_US,
                    count=AHEAD,
                    request_id=f"{len(seconds)}",
                )
                break
            except StoreUnavailable:
                again += 1
        seconds.append(time.perf_counter() - begin)
        items = list(done.items)
    return Labelled(seconds, again, time.thread_time() - cpu)


def _process(url: str, reviewer: str, start: Any, results: Any) -> None:
    store = open_store(url, migrate=False)
    review.progress(store, reviewer, 0, 1)  # the connection is there
    start.wait()
    results.put(label_all(store, reviewer))
    store.close()


def in_processes(url: str) -> list[Labelled]:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(REVIEWERS), context.Queue()
    processes = [
        context.Process(target=_process, args=(url, f"reviewer-{number}", start, results))
        for number in range(REVIEWERS)
    ]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def in_threads(url: str) -> list[Labelled]:
    store = open_store(url, migrate=False)
    found: list[Labelled] = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(label_all(store, name)))
        for name in (f"reviewer-{number}" for number in range(REVIEWERS))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    return found


def _milliseconds(seconds: np.ndarray[Any, Any]) -> dict[str, float]:
    p50, p99 = np.quantile(seconds, (0.5, 0.99), method="higher") * 1e3
    return {"p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "max_ms": round(float(seconds.max()) * 1e3, 2)}


def measure(url: str, items: int, work: Callable[[str], list[Labelled]]) -> dict[str, Any]:
    store = open_store(url)
    begin = time.perf_counter()
    build(store, items)
    built = time.perf_counter() - begin
    if store.dialect == "postgresql":  # which autovacuum does by itself, within a minute of so many rows
        with store.write() as connection:
            connection.exec_driver_sql("ANALYZE review_items")
    filters = time_filters(store, 30 if items < ITEMS else 200)
    before = round(os.getloadavg()[0], 1)
    begin = time.perf_counter()
    found = work(url)
    wall = time.perf_counter() - begin
    with store.read() as connection:
        labelled = [item for item in review.labelled(connection, None, 0, 2**62) if item.verdicts]
        unfinished = sum(count.items for count in review.counts(connection) if count.state != "done")
    store.close()
    return {
        "labelled": len(labelled),
        "duplicates": sum(len(item.verdicts) > 1 for item in labelled),
        "unfinished": unfinished,
        **_milliseconds(np.concatenate([one.seconds for one in found])),
        "cpu_ms": round(1e3 * sum(one.cpu for one in found) / len(labelled), 2),
        "labels_per_second": round(len(labelled) / wall, 1),
        "each_reviewer": sorted(len(one.seconds) for one in found),
        "asked_again": sum(one.again for one in found),
        "load_average": [before, round(os.getloadavg()[0], 1)],
        "next_with_filter": filters,
        "next_with_filter_p99_ms": max(taken["p99_ms"] for taken in filters.values()),
        "build_seconds": round(built, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ITEMS} items")
    parser.add_argument("--only", choices=["postgresql", "sqlite", "sqlite_processes"], help="one of the three")
    arguments = parser.parse_args()
    items = QUICK_ITEMS if arguments.quick else ITEMS
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="driftline-queue-") as folder, postgres(Path(folder) / "pg") as server:
        runs = {
            "postgresql": (server.database(), in_processes),
            "sqlite": (f"sqlite:///{folder}/threads.db", in_threads),
            "sqlite_processes": (f"sqlite:///{folder}/processes.db", in_processes),
        }
        for name, (url, work) in runs.items():
            if arguments.only in (None, name):
                results[name] = measure(url, items, work)
                if not arguments.json:
                    print(f"{name}: {json.dumps(results[name])}", flush=True)
    summary = {
        "benchmark": "queue",
        "items": items,
        "reviewers": REVIEWERS,
        "labelled": min(result["labelled"] for result in results.values()),
        "duplicates": max(result["duplicates"] for result in results.values()),
        **{f"p99_ms_{name}": result["p99_ms"] for name, result in results.items()},
        **results,
        "machine": machine(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
