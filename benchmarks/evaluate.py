"""How fast the evaluator catches up: three weeks of ticks over ten segments, from stored rows to anomalies.

    python -m benchmarks.evaluate --json [--quick]

Rows are synthetic (tests/evaluate/traffic.py: five-minute rows of independent sessions with hours, weekends and odd
days, no change in them), on SQLite. ``cpu_seconds`` is the evaluator alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time

import structlog

from monitor.config.model import Config
from monitor.evaluate.status import streams
from monitor.evaluate.worker import EvaluateWorker
from monitor.store.anomalies import list_anomalies
from monitor.store.engine import open_store
from tests.evaluate.traffic import Segment, write


def measure(segments: int, days: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/driftline.db")
        end_us = write(store, [Segment(f"s{i}", 40.0 + 20.0 * i) for i in range(segments)], days=days)
        worker = EvaluateWorker(store, Config(), clock=lambda: end_us / 1e6)
        cpu, wall = time.process_time(), time.perf_counter()
        ticks = worker.drain()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        worker.close()
        judged = sum(s.status in ("ok", "open") for s in streams(store))
        with store.read() as connection:
            opened = len(list_anomalies(connection))
        store.close()
    return {
        "segments": segments,
        "streams": judged,
        "ticks": ticks,
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        "milliseconds_per_tick": round(1e3 * cpu / ticks, 3),
        "false_alarms": opened,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Catch-up of the evaluator.")
    parser.add_argument("--json", action="store_true", help="Print the result as JSON on the last line.")
    parser.add_argument("--quick", action="store_true", help="Ten days of three segments.")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    result = measure(3, 10) if options.quick else measure(10, 21)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
