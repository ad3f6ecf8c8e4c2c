"""One tick of 10,000 streams: how long, and how many bytes a stream takes.

    python -m benchmarks.scale_evaluate --json [--streams N]

Segments with every rate, tail and volume that synthetic sessions have (13 streams each) and references learned from
eight days, on SQLite, all with traffic in every tick: the hardest case. Ticks are those of a live service, one at a
time through the worker. ``seconds`` is the processor time of what a tick does with the rows it has read: counts, bets,
evidence, alarms. Reading and decoding the rows, packing and writing states are measured beside it, and all of them
together as ``live_tick_seconds``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from detectors.summaries import SummaryTable
from monitor.config.model import Config
from monitor.evaluate.references import Reference
from monitor.evaluate.session import Session
from monitor.evaluate.worker import EvaluateWorker
from monitor.store import evaluation, references
from monitor.store.engine import Store, open_store
from monitor.store.tables import summaries
from tests.evaluate.traffic import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    START_US,
    STEP_US,
    Segment,
    sessions,
    set_watermark,
    write,
)

KINDS = tuple(Segment(f"kind{i}", per_hour) for i, per_hour in enumerate((20.0, 60.0, 120.0, 300.0)))
DAYS = 8
HOURS = 2  # that the ticks come from


def learned(folder: Path) -> list[Reference]:
    """References of the kinds of segments, as the evaluator learns them."""
    store = open_store(f"sqlite:///{folder}/learning.db")
    end_us = write(store, list(KINDS), days=DAYS)
    worker = EvaluateWorker(store, Config(), clock=lambda: end_us / 1e6)
    worker.drain()
    worker.close()
    ids = references.active_ids(store)
    found = [Reference.from_content(references.get(store, ids[kind.name]).content) for kind in KINDS]
    store.close()
    return found


def fill(store: Store, known: list[Reference], segments: int) -> int:
    """Active references of all segments, and rows by minute of the hours to evaluate; returns where those begin."""
    begin = START_US + DAYS * DAY_US
    names = [f"s{i:04d}" for i in range(segments)]
    with store.write() as connection:
        for i, name in enumerate(names):
            reference = known[i % len(known)]
            reference.segment = name
            references.add(
                connection, segment=name, encoder="", from_us=reference.from_us, to_us=reference.to_us,
                origin="learned", rows=0, content=reference.to_content(), samples=[], state="active",
            )  # fmt: skip
    minutes = (begin + MINUTE_US * np.arange(HOURS * 60)).tolist()
    for i, name in enumerate(names):
        kind = KINDS[i % len(KINDS)]
        window, cols = sessions(Segment(name, kind.per_hour), begin, 1, 1)
        rng = np.random.default_rng(i)
        minute = (window - begin) // MINUTE_US + rng.integers(0, STEP_US // MINUTE_US, window.size)
        table = SummaryTable()
        table.update(minute, cols)
        ids = [row for row in table.row_ids() if row < len(minutes)]
        rows = [
            {
                "level": 0, "window_us": minutes[row], "route": "extract", "segment": name, "version": "m@1",
                "late": False, "topic": "t", "partition": 0, "events": table.events(row), "state": state,
            }
            for row, state in zip(ids, table.states(ids), strict=True)
        ]  # fmt: skip
        with store.write() as connection:
            connection.execute(summaries.insert(), rows)
    return begin


class Watch:
    """Processor time of a function, call by call."""

    def __init__(self, owner: Any, name: str) -> None:
        self.calls: list[float] = []
        self._inner: Callable[..., Any] = getattr(owner, name)
        setattr(owner, name, self._timed)

    def _timed(self, *arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return self._inner(*arguments, **named)
        finally:
            self.calls.append(time.process_time() - began)


def resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(streams: int, folder: Path) -> dict[str, Any]:
    known = learned(folder)
    per_segment = sum(stream.enough for stream in known[0].streams.values())
    store = open_store(f"sqlite:///{folder}/driftline.db")
    begin = fill(store, known, -(-streams // per_segment))
    lead = evaluation.take_lead(store, "benchmark", begin, HOUR_US)
    assert lead is not None
    gc.collect()
    before = resident()
    began = time.process_time()
    session = Session(store, Config(), lead)
    loaded = time.process_time() - began
    n = len(session.bank)
    held = resident() - before
    # A day's ticks are remembered; here those of the day before, as many sessions as come.
    bank, rng = session.bank, np.random.default_rng(0)
    rates = ~np.array([stream.hourly for stream in bank.streams])
    bank.trials[rates] = rng.poisson(8.0, (int(rates.sum()), bank.ring))
    watched = {name: Watch(session, name) for name in ("_block", "_read", "_results")}
    writes: list[float] = []
    whole: list[float] = []
    every = session.config.evaluation.every
    for end in range(begin + every, begin + HOURS * HOUR_US + 1, every):
        set_watermark(store, end)
        started = time.process_time()
        results, also = session.evaluate(end - every, end, end)
        began = time.process_time()
        lead = evaluation.write(store, lead, results, end, HOUR_US, also)
        writes.append(time.process_time() - began)
        whole.append(time.process_time() - started)
    with_data = int(session.bank.trials[:, session.bank.trials.any(axis=0)].any(axis=1).sum())
    persisted = sum(len(row.state) for row in evaluation.stream_rows(store))
    store.close()
    per_hour = HOUR_US // every
    blocks = watched["_block"].calls
    usual = [took for i, took in enumerate(blocks) if (i + 1) % per_hour and i > 0]
    return {
        "streams": n,
        "streams_with_data": with_data,
        "seconds": round(statistics.median(usual), 4),
        "seconds_worst": round(max(usual), 4),
        "seconds_at_the_hour": round(max(blocks[per_hour - 1 :: per_hour]), 4),
        "read_seconds": round(statistics.median(watched["_read"].calls[1:]), 4),
        "pack_seconds": round(statistics.median(watched["_results"].calls), 4),
        "write_seconds": round(statistics.median(writes), 4),
        "live_tick_seconds": round(statistics.median(whole), 4),
        "load_seconds": round(loaded, 2),
        "bytes_persisted_per_stream": round(persisted / n),
        "bytes_resident_per_stream": round(held / n),
        "bytes_resident_per_stream_after_ticks": round((resident() - before) / n),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="One tick of many streams.")
    parser.add_argument("--json", action="store_true", help="Print the result as JSON on the last line.")
    parser.add_argument("--streams", type=int, default=10_000, help="How many, rounded up to full segments.")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.streams, Path(folder))
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:40} {value}")


if __name__ == "__main__":
    main()
