"""Are the percentiles as exact as promised, and what does summarising cost?

    python -m benchmarks.summaries --json [--quick]

Accuracy: a million values of each of six heavy-tailed distributions, summarised in 40 rows, stored, read back and
merged; the worst relative error of p50 .. p99.9 against the sorted values. Speed: processor time of one histogram
taking batches of 50,000 values, and of the table that ingest uses, with every metric of every event present, 800
open rows, batches of 50,000 events, and all rows stored after each batch. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import fields
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from detectors.summaries import EventColumns, Histogram, Labelled, Ragged, Summary, SummaryTable

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)
ROWS = 800
BATCH = 50_000
STAGES = ["upload", "preprocess", "queue", "model", "postprocess"]

DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "lognormal, sigma 2": lambda rng, n: np.exp(rng.normal(14, 2, n)),
    "Pareto, index 0.8": lambda rng, n: 1e4 * (1 + rng.pareto(0.8, n)),
    "Weibull, shape 0.3": lambda rng, n: 1e7 * rng.weibull(0.3, n),
    "Cauchy, absolute": lambda rng, n: 1e6 * np.abs(rng.standard_cauchy(n)),
    "log-gamma": lambda rng, n: np.exp(rng.gamma(4, 1.5, n) + 5),
    "mixture of two lognormals": lambda rng, n: np.exp(
        np.where(rng.random(n) < 0.98, rng.normal(12, 0.3, n), rng.normal(19, 1, n))
    ),
}


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.release()}",
    }


def absent(n: int) -> dict[str, Any]:
    """Every field of EventColumns, absent."""
    out: dict[str, Any] = {"n": n, "stages": Ragged(*(np.empty(0, np.int32),) * 2, np.empty(0, np.int64), [])}
    for field in fields(EventColumns):
        if field.name in ("thinned", "latency_timeout"):
            out[field.name] = np.zeros(n, np.bool_)
        elif field.name == "user":
            out[field.name] = np.zeros(n, np.uint64)
        elif field.name in ("tier", "model", "error_type"):
            out[field.name] = Labelled(np.full(n, -1, np.int32), [])
        elif field.name not in out:
            out[field.name] = np.full(n, -1, np.int64 if "Int64" in str(field.type) else np.int8)
    return out


def events(rng: np.random.Generator, n: int) -> EventColumns:
    """n events with every field present, as a busy feature sends them."""

    def lognormal(median: float, sigma: float) -> np.ndarray:
        return (median * np.exp(rng.normal(0, sigma, n))).astype(np.int64)

    def labelled(shares: dict[str, float]) -> Labelled:
        names = list(shares)
        return Labelled(rng.choice(len(names), n, p=list(shares.values())).astype(np.int32), names)

    columns = absent(n)
    tokens_in, tokens_out = lognormal(1800, 0.7), lognormal(210, 0.8)
    model = lognormal(3_500_000, 0.6)
    stages = np.stack(
        [lognormal(120_000, 0.5), lognormal(340_000, 0.3), lognormal(15_000, 1), model, lognormal(2e5, 0.2)], 1
    )
    columns |= {
        "thinned": rng.random(n) < 0.5,
        "user": (50_000 * rng.random(n) ** 3).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1),
        "cost": tokens_in * 2500 + tokens_out * 10_000,
        "latency_total": stages.sum(axis=1),
        "latency_first_token": lognormal(830_000, 0.5),
        "stages": Ragged(
            np.repeat(np.arange(n, dtype=np.int32), 5),
            np.tile(np.arange(5, dtype=np.int32), n),
            stages.ravel(),
            STAGES,
        ),
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cached_input_tokens": np.where(rng.random(n) < 0.7, 0, tokens_in // 2),
        "reasoning_tokens": np.zeros(n, np.int64),
        "image_tokens": lognormal(1105, 0.3),
        "audio_tokens": np.zeros(n, np.int64),
        "context_used": tokens_in * 1_000_000 // 128_000,
        "concurrency": rng.poisson(14, n),
        "input_bytes": lognormal(180_000, 0.6),
        "confidence": (1e6 * rng.beta(9, 1.5, n)).astype(np.int64),
        "retries": (rng.random(n) < 0.03).astype(np.int64),
        "tier": labelled({"cheap": 0.8, "large": 0.2}),
        "model": labelled({"vlm-small": 0.8, "vlm-large": 0.2}),
    }
    for name in (
        "error", "timeout", "refused", "abstained", "schema_violation", "citation_missing", "citation_ungrounded",
        "disagreement", "verification_failed",
    ):  # fmt: skip
        columns[name] = (rng.random(n) < 0.02).astype(np.int8)
    columns["latency_timeout"] = columns["timeout"] == 1
    failed = columns["error"] == 1
    columns["error_type"] = Labelled(np.where(failed, rng.integers(0, 4, n), -1).astype(np.int32), ["a", "b", "c", "d"])
    return EventColumns(**columns)


def accuracy(count: int) -> dict[str, float]:
    """Worst relative error of each distribution."""
    out = {}
    for seed, (name, draw) in enumerate(DISTRIBUTIONS.items()):
        rng = np.random.default_rng(seed)
        values = np.clip(draw(rng, count), 0, 2.0**53).astype(np.int64)
        table = SummaryTable()
        for part in np.array_split(values, 20):
            table.update(rng.integers(0, 40, part.size), EventColumns(**(absent(part.size) | {"cost": part})))
        histogram = Summary.merge_all(table.states(table.row_ids())).histogram("cost")
        ordered = np.sort(values)
        worst = 0.0
        for q in QUANTILES:
            true = int(ordered[ceil(q * count - 1e-9) - 1])
            estimate = histogram.quantile(q)
            assert estimate is not None
            worst = max(worst, abs(estimate - true) / true)
        out[name] = worst
        print(f"{name:28s} worst relative error {worst:.5f}")
    return out


def histogram_speed(batches: int) -> float:
    """Values per second of processor time."""
    values = np.exp(np.random.default_rng(1).normal(14, 1.5, BATCH)).astype(np.int64)
    Histogram.of(values)
    start = time.process_time()
    for _ in range(batches):
        Histogram.of(values)
    return batches * BATCH / (time.process_time() - start)


def table_cost(batches: int) -> dict[str, float]:
    """Processor time of the table per event and per stored row, size of a stored row, and memory of the table."""
    rng = np.random.default_rng(2)
    pool = [events(rng, BATCH) for _ in range(batches)]
    rows = [rng.integers(0, ROWS, BATCH) for _ in range(batches)]
    table = SummaryTable()
    updating = storing = 0.0
    states: list[bytes] = []
    for row, cols in zip(rows, pool, strict=True):
        start = time.process_time()
        table.update(row, cols)
        table.settle()
        middle = time.process_time()
        states = table.states(table.row_ids())
        updating += middle - start
        storing += time.process_time() - middle
    start = time.process_time()
    Summary.merge_all(states)
    merging = time.process_time() - start

    del table
    tracemalloc.start()
    again = SummaryTable()
    for row, cols in zip(rows, pool, strict=True):
        again.update(row, cols)
        for state in again.states(again.row_ids()):
            assert state
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "update_us_per_event": 1e6 * updating / (batches * BATCH),
        "store_us_per_row": 1e6 * storing / (batches * ROWS),
        "merge_us_per_row": 1e6 * merging / ROWS,
        "events_per_row": batches * BATCH / ROWS,
        "bytes_per_row": sum(map(len, states)) / ROWS,
        "table_mb": held / 1e6,
        "table_peak_mb": peak / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy and cost of summaries.")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    chosen = parser.parse_args()
    if chosen.json:
        stdout, sys.stdout = sys.stdout, sys.stderr
    scale = 10 if chosen.quick else 1
    errors = accuracy(1_000_000 // scale)
    speed = histogram_speed(400 // scale)
    print(f"one histogram: {speed / 1e6:.1f} million values per second")
    cost = table_cost(8 if not chosen.quick else 2)
    for name, value in cost.items():
        print(f"{name:20s} {value:.2f}")
    if chosen.json:
        sys.stdout = stdout
    print(
        json.dumps(
            {
                "benchmark": "summaries",
                "worst_relative_error": max(errors.values()),
                "relative_errors": errors,
                "values_per_second": round(speed),
                **{name: round(value, 3) for name, value in cost.items()},
                "rows": ROWS,
                "batch": BATCH,
                "machine": machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
