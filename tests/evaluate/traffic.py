"""Synthetic summary rows, written as ingest writes them: independent sessions with hours, weekends and odd days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import EventColumns, Labelled, Ragged, SummaryTable
from monitor.store.engine import Store
from monitor.store.tables import partitions, summaries

MINUTE_US = 60_000_000
STEP_US = 5 * MINUTE_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
START_US = 1_767_571_200_000_000  # Monday 2026-01-05 00:00 UTC

CONFIDENCE = (20.0, 1.5)  # Beta; 0.93 on average
VERDICTS = (
    "error", "timeout", "refused", "abstained", "schema_violation", "citation_missing", "citation_ungrounded",
    "disagreement", "verification_failed",
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """From ``from_us`` to ``to_us``: other rates, and factors of latency, cost and volume."""

    from_us: int
    to_us: int = 2**62
    rates: Mapping[str, float] = field(default_factory=dict)
    slow_share: float = 0.0  # of sessions that take ``slow`` times as long
    slow: float = 1.0
    cost: float = 1.0
    volume: float = 1.0


@dataclass(frozen=True)
class Segment:
    name: str
    per_hour: float = 60.0
    rates: Mapping[str, float] = field(default_factory=lambda: {"error": 0.01, "schema_violation": 0.02})
    changes: tuple[Change, ...] = ()
    route: str = "extract"
    confident: bool = False  # whether answers state a confidence


def columns(n: int, rng: np.random.Generator, **over: Any) -> EventColumns:
    """Columns of ``n`` sessions with nothing but what ``over`` says."""
    absent = {name: np.full(n, -1, dtype=np.int64) for name in (
        "cost", "latency_total", "latency_first_token", "input_tokens", "output_tokens", "cached_input_tokens",
        "reasoning_tokens", "image_tokens", "audio_tokens", "context_used", "concurrency", "input_bytes", "confidence",
        "retries",
    )}  # fmt: skip
    verdicts = {name: np.full(n, -1, dtype=np.int8) for name in VERDICTS}
    none = Labelled(np.full(n, -1, dtype=np.int32), [])
    empty = np.zeros(0, dtype=np.int32)
    values: dict[str, Any] = {
        "n": n, "thinned": np.ones(n, dtype=np.bool_), "user": rng.integers(1, 500, n).astype(np.uint64),
        "latency_timeout": np.zeros(n, dtype=np.bool_), "stages": Ragged(empty, empty, np.zeros(0, dtype=np.int64), []),
        "tier": none, "model": none, "error_type": none,
    }  # fmt: skip
    return EventColumns(**{**values, **absent, **verdicts, **over})


def sessions(segment: Segment, start_us: int, days: int, seed: int) -> tuple[NDArray[np.int64], EventColumns]:
    """(window of each session, columns), windows in steps of five minutes."""
    name = int.from_bytes(segment.name.encode()[-6:], "big")
    rng = np.random.default_rng([seed, name])
    windows = start_us + STEP_US * np.arange(days * 288, dtype=np.int64)
    hour = windows // HOUR_US % 24
    day = (windows - start_us) // DAY_US
    weekday = (windows // DAY_US + 3) % 7
    shape = (0.35 + 0.65 * np.sin(np.pi * ((hour - 4) % 24) / 24.0) ** 2) * np.where(weekday >= 5, 0.6, 1.0)
    shape = shape * np.exp(rng.normal(0, 0.05, days))[day] * segment.per_hour / 12.0
    for change in segment.changes:
        shape = np.where((windows >= change.from_us) & (windows < change.to_us), shape * change.volume, shape)
    window = np.repeat(windows, rng.poisson(shape))
    n = window.size
    latency = rng.lognormal(14.5, 0.5, n)
    cost = rng.lognormal(15.0, 0.9, n)
    over: dict[str, Any] = {}
    draws = {name: rng.random(n) for name in VERDICTS}
    slow = rng.random(n)
    chance = {name: np.full(n, segment.rates[name]) for name in VERDICTS if name in segment.rates}
    for change in segment.changes:
        at = (window >= change.from_us) & (window < change.to_us)
        for verdict, rate in change.rates.items():
            chance[verdict][at] = rate
        latency[at & (slow < change.slow_share)] *= change.slow
        cost[at] *= change.cost
    for verdict, p in chance.items():
        over[verdict] = (draws[verdict] < p).astype(np.int8)
    input_tokens, output_tokens = rng.lognormal(7.5, 0.4, n), rng.lognormal(6.0, 0.5, n)
    if segment.confident:
        over["confidence"] = (1e6 * rng.beta(*CONFIDENCE, n)).astype(np.int64)
    return window, columns(
        n,
        rng,
        latency_total=latency.astype(np.int64),
        latency_first_token=(latency / 3).astype(np.int64),
        cost=cost.astype(np.int64),
        input_tokens=input_tokens.astype(np.int64),
        output_tokens=output_tokens.astype(np.int64),
        **over,
    )


def write(
    store: Store, segments: list[Segment], *, days: int, seed: int = 1, start_us: int = START_US, partition: int = 0
) -> int:
    """Rows of all segments, and a partition whose watermark is at their end, which is returned."""
    end_us = start_us + days * DAY_US
    rows = []
    for segment in segments:
        window, cols = sessions(segment, start_us, days, seed + 1000 * partition)
        table = SummaryTable()
        index = (window - start_us) // STEP_US
        table.update(index, cols)
        ids = table.row_ids()
        for i, state in zip(ids, table.states(ids), strict=True):
            rows.append(
                {
                    "level": 0,
                    "window_us": start_us + i * STEP_US,
                    "route": segment.route,
                    "segment": segment.name,
                    "version": "m@1",
                    "late": False,
                    "topic": "t",
                    "partition": partition,
                    "events": table.events(i),
                    "state": state,
                }
            )
    with store.write() as connection:
        connection.execute(summaries.insert(), rows)
    set_watermark(store, end_us, partition)
    return end_us


def set_watermark(store: Store, watermark_us: int, partition: int = 0) -> None:
    """Close event time up to ``watermark_us``."""
    row = {
        "topic": "t", "partition": partition, "next_offset": 0, "generation": 1, "owner": "", "begun": True,
        "watermark_us": watermark_us, "max_time_us": watermark_us, "events": 0, "duplicates": 0, "dead_letters": 0,
        "late_events": 0, "state": b"", "counters": "{}",
    }  # fmt: skip
    with store.write() as connection:
        store.upsert(connection, partitions, [row])
