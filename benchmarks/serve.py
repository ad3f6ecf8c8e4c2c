"""What /metrics and the API cost at 500 segments.

    python -m benchmarks.serve --json

Builds two SQLite stores with one hour of minute rows over 4 partitions, every listed signal present in every event and
the version of every segment changing at half past: one with 500 segments for /metrics, one with 200 for the API. Then
processes of their own measure, each from its first read on: processor seconds (user + system) of the first refresh of
the product series, of the next minute's and of one without anything new, and the peak memory; and the seconds of
`/api/segments`, of the sums by segment behind it, and of one segment's `/api/summaries`. The digest is that of the
first refresh's text: equal code gives equal digests. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.ingest import machine
from benchmarks.summaries import events
from detectors.summaries import SummaryTable
from monitor.store.engine import Store, open_store
from monitor.store.tables import partitions, summaries

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
START_US = 1_790_000_000_000_000 // HOUR_US * HOUR_US
MINUTES = 61  # the hour, and the minute that the second refresh adds
PARTITIONS = 4
SEGMENTS, API_SEGMENTS = 500, 200
EVENTS_PER_SECOND = 500
END_US = START_US + HOUR_US


def build(url: str, segments: int, rate: int, seed: int = 11) -> None:
    """The store: every minute the events of ``rate`` a second, over segments of unequal size."""
    rng = np.random.default_rng(seed)
    store = open_store(url)
    share = 1 / (20 + np.arange(segments))
    share /= share.sum()
    count = 60 * rate
    for minute in range(MINUTES):
        cols = events(rng, count)
        segment = rng.choice(segments, count, p=share)
        segment[:segments] = np.arange(segments)  # no segment is ever silent
        table = SummaryTable()
        table.update(segment * PARTITIONS + rng.integers(0, PARTITIONS, count), cols)
        ids = table.row_ids()
        rows = [
            {
                "level": 0,
                "window_us": START_US + minute * MINUTE_US,
                "route": f"r{row // PARTITIONS % 4}",
                "segment": f"r{row // PARTITIONS % 4}/t{row // PARTITIONS:03d}",
                "version": f"vl-{1 + (minute >= 30)}@14",
                "late": False,
                "topic": "inference",
                "partition": row % PARTITIONS,
                "events": table.events(row),
                "state": state,
            }
            for row, state in zip(ids, table.states(ids), strict=True)
        ]
        with store.write() as connection:
            connection.execute(summaries.insert(), rows)
    with store.write() as connection:
        connection.execute(partitions.insert(), [_partition(number) for number in range(PARTITIONS)])
    with store.read() as connection:
        totals = "SELECT count(*), sum(events), sum(length(state)) FROM summaries"
        found = connection.exec_driver_sql(totals).one()
    store.close()
    print(json.dumps(dict(zip(("rows", "events", "state_bytes"), found, strict=True))))


def _partition(number: int) -> dict[str, Any]:
    zero = dict.fromkeys(("events", "duplicates", "dead_letters", "late_events"), 0)
    until = START_US + MINUTES * MINUTE_US
    return zero | {
        "topic": "inference",
        "partition": number,
        "next_offset": 1,
        "generation": 1,
        "owner": "benchmark",
        "watermark_us": until,
        "max_time_us": until,
        "begun": True,
        "state": b"",
        "counters": "{}",
    }


class Meter:
    """Processor and wall seconds of the work within ``with``."""

    def __enter__(self) -> Meter:
        self._cpu, self._wall = _cpu_seconds(), time.monotonic()
        self.cpu = self.wall = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = round(_cpu_seconds() - self._cpu, 2), round(time.monotonic() - self._wall, 2)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def measure_metrics(store: Store) -> None:
    """Prints the cost of three refreshes."""
    from monitor.serve.metrics import ProductMetrics, ProductSettings

    product = ProductMetrics(store, ProductSettings("USD", (), lambda row, now_us: "none"), lambda: END_US)
    before = _peak_mb()
    with Meter() as first:
        product.refresh(END_US)
    digest = hashlib.sha256(product.text).hexdigest()
    lines = product.text.count(b"\n")
    with Meter() as following:
        product.refresh(END_US + MINUTE_US)
    with Meter() as idle:
        product.refresh(END_US + MINUTE_US)
    result = {
        "first_refresh_cpu_seconds": first.cpu,
        "next_minute_cpu_seconds": following.cpu,
        "nothing_new_cpu_seconds": idle.cpu,
        "peak_mb": _peak_mb(),
        "before_mb": before,
        "lines": lines,
        "text_sha256": digest,
    }
    print(json.dumps(result))


def measure_api(store: Store) -> None:
    """Prints the wall seconds of reads over the hour."""
    from monitor.config.model import Config
    from monitor.serve import measured, queries
    from monitor.store import reads

    config = Config.model_validate({"kafka": {"bootstrap": "localhost:9092", "topics": ["inference"]}})
    with store.read() as connection:
        with Meter() as endpoint:
            queries.segments(connection, config, (START_US, END_US))
        with Meter() as places:
            measured.by_place(connection, START_US, END_US)
        with Meter() as one:
            queries.summaries(connection, "r0/t000", None, "range", START_US, END_US)
        with Meter() as everything:
            queries.summaries(connection, "all", None, "range", START_US, END_US)
        peak = _peak_mb()
        with Meter() as whole:
            reads.by_segment(connection, START_US, END_US)
    result = {
        "api_segments_seconds": endpoint.wall,
        "api_segments_cpu_seconds": endpoint.cpu,
        "by_place_seconds": places.wall,
        "api_summaries_of_a_segment_seconds": one.wall,
        "api_summaries_of_all_seconds": everything.wall,
        "peak_mb": peak,
        "by_segment_seconds": whole.wall,
    }
    print(json.dumps(result))


def _child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.serve", *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=EVENTS_PER_SECOND, help="events a second")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--role", choices=["build", "metrics", "api"], help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    parser.add_argument("--segments", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--profile", help="with --role: write a profile to this file")
    arguments = parser.parse_args()
    if arguments.role == "build":
        build(arguments.store, arguments.segments, arguments.rate)
        return
    if arguments.role:
        store = open_store(arguments.store)
        work = measure_metrics if arguments.role == "metrics" else measure_api
        if arguments.profile:
            import cProfile

            profiler = cProfile.Profile()
            profiler.runcall(work, store)
            profiler.dump_stats(arguments.profile)
        else:
            work(store)
        store.close()
        return

    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for role, segments in (("metrics", SEGMENTS), ("api", API_SEGMENTS)):
            url = f"sqlite:///{folder}/{role}.db"
            common = ["--store", url, "--segments", str(segments), "--rate", str(arguments.rate)]
            built = _child("--role", "build", *common)
            results[role] = {"segments": segments, **built, **_child("--role", role, *common)}
            if not arguments.json:
                print(f"{role}: {json.dumps(results[role])}")
    summary = {
        "benchmark": "serve",
        "first_refresh_cpu_seconds": results["metrics"]["first_refresh_cpu_seconds"],
        "peak_mb": results["metrics"]["peak_mb"],
        "api_segments_seconds": results["api"]["api_segments_seconds"],
        "events_per_second": arguments.rate,
        "partitions": PARTITIONS,
        "minutes": 60,
        **results,
        "machine": machine(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
