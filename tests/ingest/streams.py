"""Messy event streams: everything the contract speaks of, in every partition, from a seed."""

from __future__ import annotations

import base64
import io
import json
import random
from typing import Any

from PIL import Image

from monitor.config.model import Config
from monitor.ingest.consumer import TopicPartition
from tests.ingest.memory_source import Record

TOPIC = "inference"
START_MS = 1_790_000_000_000

OVERSIZE = 4_000


def config(**kafka: Any) -> Config:
    """A configuration small enough that every cap, window and budget is reached by a few thousand records."""
    return Config.model_validate(
        {
            "kafka": {
                "topics": [TOPIC],
                "commit_records": 400,
                "commit_every": "10s",
                "max_record": OVERSIZE,
                "dedup_records": 300,
                "session_records": 500,
                **kafka,
            },
            "routes": {"extract": {"segment_by": ["doc"], "stakes": "high"}},
            "segments": {
                "rules": [{"name": "vip-{tenant}", "route": "chat", "where": {"tenant": ["t0", "t1"]}}],
                "max_segments": 6,
                "max_versions": 3,
            },
            "sampling": {"per_hour": 4000},
            "privacy": {"hash_key": "test"},
            "prices": {
                "rates": {"EUR": 1.1},
                "models": [{"model": "m*", "from": "2026-01-01", "input_per_million": 2, "output_per_million": 8}],
            },
        }
    )


def plain(number: int, time_ms: int) -> Record:
    """A least event, stamped with its own time."""
    return time_ms, None, json.dumps({"id": f"e{number}", "time": time_ms, "route": "r"}).encode()


def _pictures(rng: random.Random) -> list[str]:
    found = []
    for _ in range(4):
        image = Image.new("RGB", (24, 16), tuple(rng.randrange(256) for _ in range(3)))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        found.append("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
    return found


def event(rng: random.Random, number: int, time_ms: int, pictures: list[str]) -> dict[str, Any]:
    """One valid event; every optional field is sometimes absent."""
    user = rng.choice([None, *(f"u{i}" for i in range(40))])
    document: dict[str, Any] = {
        "id": f"e{number}",
        "time": time_ms,
        "route": rng.choice(["extract", "extract", "chat", "other-route"]),
        "user_id": user,
        "session_id": rng.choice([None, f"s{number // 7}", f"s{rng.randrange(50)}"]),
        "response_model": rng.choice(["m1", "m1", "m2", "x1"]),
        "prompt": {"name": "p", "version": str(rng.choice([1, 1, 1, 2, 3]))},
        "attributes": {"doc": f"d{rng.randrange(9)}", "tenant": f"t{rng.randrange(4)}", "mail": "a.b@example.com"},
        "input": [
            {"kind": "image", "uri": rng.choice(pictures), "bytes": rng.randrange(10_000)},
            {"kind": "text", "text": rng.choice(["Sum of x@example.com?", "Grüße", "What is it?"])},
        ],
        "output": [{"kind": "text", "text": "card 4111 1111 1111 1111"}],
        "usage": {"input_tokens": rng.randrange(5000), "output_tokens": rng.randrange(500), "context_limit": 8000},
        "latency": {"total_ms": rng.lognormvariate(7, 1), "stages": {"model": 5.5, f"s{rng.randrange(30)}": 2}},
        "concurrency": rng.randrange(1, 30),
        "outcome": rng.choice(["ok"] * 9 + ["error", "timeout", "refused", "abstained"]),
        "retries": rng.choice([0, 0, None, 2]),
        "quality": {
            "confidence": rng.random(),
            "routing_tier": rng.choice(["cheap", "strong"]),
            "verification": rng.choice(["passed", "failed", "skipped", None]),
            "schema": {"valid": rng.random() < 0.9},
            "citations": rng.choice(
                [None, [], [{"quote": "Total 4", "found": True, "source_text": rng.choice(["total  4", "no"])}]]
            ),
            "cross_check": rng.choice([None, {"agree": True}, {"agree": False}]),
        },
    }
    if rng.random() < 0.5:
        document["cost"] = {"amount": rng.random() / 100, "currency": rng.choice(["USD", "EUR", "XYZ"])}
    for name in rng.sample(sorted(set(document) - {"id", "time", "route"}), rng.randrange(3)):
        del document[name]
    return document


BROKEN: list[bytes | None] = [
    None,
    b"",
    b"not json",
    b'{"id": "n", "time": 1, "route": "r", "concurrency": NaN}',
    b'{"id": "n", "time": 1790000000000, "route": "r", "usage": {"input_tokens": -1}}',
    b'{"id": "n", "time": 1790000000000, "route": "\xff\xfe"}',
    b'{"id": "n", "time": 1790000000000, "route": "r", "pad": "' + b"x" * OVERSIZE + b'"}',
    b'{"id": "a\\u0000b", "time": 1790000000000, "route": "r"}',
    b'{"id": "n", "time": 12, "route": "r"}',
    b'{"id": "n", "time": 1e300, "route": "r"}',
    b'{"time": 1790000000000, "route": "r"}',
    b'{"id": "n", "time": 1790000000000, "route": "r", "z": ' + b"[" * 3000,
]


def stream(seed: int, records: int, partitions: int = 2, step_ms: int = 400) -> dict[TopicPartition, list[Record]]:
    """Records per partition; one event every ``step_ms`` of event time in each."""
    found: dict[TopicPartition, list[Record]] = {}
    for partition in range(partitions):
        rng = random.Random(f"{seed}/{partition}")
        pictures = _pictures(rng)
        rows: list[Record] = []
        for i in range(records):
            now = START_MS + i * step_ms
            roll = rng.random()
            time_ms = now - rng.randrange(2_000)
            if roll < 0.02:
                rows.append((now, b"k", rng.choice(BROKEN)))
                continue
            if roll < 0.06 and rows:
                rows.append((now, b"k", rows[-1 - rng.randrange(min(len(rows), 400))][2]))  # a producer's retry
                continue
            if roll < 0.09:
                time_ms = now - rng.randrange(20_000, 3_000_000)
            elif roll < 0.10:
                time_ms = now - 100_000_000
            elif roll < 0.11:
                time_ms = now + 5_000_000
            document = event(rng, partition * 10_000_000 + i, time_ms, pictures)
            if roll < 0.12:
                document["attributes"] = {f"a{j}": j for j in range(100)}
            rows.append((now, b"k", json.dumps(document).encode()))
        found[TopicPartition(TOPIC, partition)] = rows
    return found
