"""What ingest costs: from a real Kafka topic to committed summaries, all default features on.

    python -m benchmarks.ingest --client kafka-python --json

Starts Apache Kafka, fills topics with native events (every listed signal present, 200 segments, 4 partitions, event
time at 5,000 events a second, inputs as file URIs), then lets one ingest process with the default sampling budget
read them into SQLite. The processor time (user + system) and the peak memory are those of the ingest process alone,
from its first poll to its last commit, over every event; producer and broker are other processes. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PARTITIONS = 4
EVENTS_PER_SECOND = 5_000
START_MS = 1_790_000_000_000
SEGMENTS = 200
SIZES = (800, 1500)


def events(count: int, size: int, seed: int = 7) -> Any:
    """(key, value) of ``count`` events of about ``size`` bytes in event-time order, slightly out of order."""
    rng = random.Random(seed)
    routes = [f"r{i}" for i in range(4)]
    tenants = [f"t{i:02d}" for i in range(SEGMENTS // len(routes))]
    outcomes = ["ok"] * 94 + ["error", "error", "timeout", "refused", "abstained", "abstained"]
    padding = "x" * max(0, size - 1110)
    for i in range(count):
        user = min(int(rng.paretovariate(0.8)), 50_000)
        session = f"{user}-{i // 200_000}-{rng.randrange(3)}"
        when = START_MS + i * 1000 // EVENTS_PER_SECOND - rng.randrange(4000)
        outcome = outcomes[rng.randrange(100)]
        total = int(rng.lognormvariate(7.5, 0.6)) + 20
        tokens = int(rng.lognormvariate(7, 0.7)) + 1
        document = {
            "id": f"{seed:x}-{i:x}",
            "time": when if size < 1000 else time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when / 1000)) + ".250Z",
            "route": routes[rng.randrange(4)],
            "session_id": session,
            "user_id": f"u{user}",
            "response_model": ("vl-1", "vl-2")[rng.random() < 0.3],
            "prompt": {"name": "p", "version": "14"},
            "attributes": {"t": tenants[rng.randrange(len(tenants))]},
            "input": [
                {"kind": "image", "uri": f"file:///{i}.jpg", "bytes": tokens * 97},
                {"kind": "text", "text": "Sum?"},
            ],
            "output": [{"kind": "text", "text": "41.9"}],
            "usage": {
                "input_tokens": tokens,
                "output_tokens": tokens // 8,
                "cached_input_tokens": tokens // 4,
                "reasoning_tokens": tokens // 20,
                "image_tokens": tokens // 2,
                "audio_tokens": 0,
                "context_limit": 128000,
            },
            "cost": {"amount": round(tokens * 6.1e-6, 7), "currency": "USD"},
            "latency": {
                "total_ms": total,
                "first_token_ms": total // 5,
                "stages": {"pre": total // 10, "queue": total % 97, "model": total * 3 // 4, "post": total // 12},
            },
            "concurrency": 1 + i % 40,
            "outcome": outcome,
            **({"error_type": "http"} if outcome == "error" else {}),
            "retries": int(rng.random() < 0.05),
            "quality": {
                "confidence": round(rng.betavariate(8, 2), 3),
                "abstained": outcome == "abstained",
                "routing_tier": ("low", "top")[rng.random() < 0.2],
                "verification": ("passed", "failed", "passed")[rng.randrange(3)],
                "schema": {"valid": rng.random() > 0.02},
                "citations": [] if rng.random() < 0.01 else [{"quote": "41.90", "found": rng.random() > 0.03}],
                "cross_check": {"agree": rng.random() > 0.05},
            },
        }
        if size >= 1000:
            document["schema"] = "driftline.inference/1"
            document["trace_id"] = f"{rng.getrandbits(128):032x}"
            document["request_model"] = "vlm-large"
            for citation in document["quality"]["citations"]:  # type: ignore[index]
                citation["source_text"] = f"Invoice {i}. Subtotal 35.21, VAT 6.69, Total 41.90 EUR, due in 14 days"
                citation["region"] = [0.61, 0.82, 0.9, 0.86]
            document["output"][0]["text"] += padding  # type: ignore[index]
        yield f"u{user}".encode(), json.dumps(document, separators=(",", ":")).encode()


def produce(bootstrap: str, topic: str, count: int, size: int) -> None:
    """Fill one topic; prints the mean size of a value."""
    from kafka import KafkaProducer
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, batch_size=64 << 10, acks=1)
    total = 0
    for key, value in events(count, size):
        total += len(value)
        producer.send(topic, key=key, value=value)
    producer.flush()
    producer.close()
    print(json.dumps({"mean_bytes": total / count}))


def ingest(bootstrap: str, topic: str, count: int, store_url: str, profile: str | None) -> None:
    """Read the topic to its end as the ingest role does; prints what it cost."""
    from monitor.config.model import Config
    from monitor.ingest.worker import IngestWorker
    from monitor.store.engine import open_store
    from monitor.store.partitions import status

    config = Config.model_validate(
        {
            "kafka": {"bootstrap": bootstrap, "topics": [topic], "group": f"benchmark-{topic}"},
            "routes": {f"r{i}": {"segment_by": ["t"]} for i in range(4)},
        }
    )
    store = open_store(store_url)
    worker = IngestWorker(config, store)
    startup = _cpu_seconds()
    began = time.monotonic()
    profiler = None
    if profile:
        import cProfile

        profiler = cProfile.Profile()
        profiler.enable()
    while worker.records < count:
        worker.step()
    worker.flush()
    if profiler is not None:
        profiler.disable()
        profiler.dump_stats(profile or "")
    seconds = time.monotonic() - began
    cpu = _cpu_seconds() - startup
    found = status(store)
    worker.close()
    with store.read() as connection:
        rows = connection.exec_driver_sql("SELECT count(*), sum(events) FROM summaries").one()
        samples = connection.exec_driver_sql("SELECT count(*) FROM samples").scalar_one()
    result = {
        "events": found["events"],
        "committed_events": rows[1],
        "summary_rows": rows[0],
        "samples": samples,
        "dead_letters": found["dead_letters"],
        "late_events": found["late_events"],
        "commits": worker.commits,
        "cpu_seconds": round(cpu, 3),
        "startup_cpu_seconds": round(startup, 3),
        "wall_seconds": round(seconds, 3),
        "events_per_cpu_second": round(found["events"] / cpu),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    print(json.dumps(result))


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.ingest", *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


def machine() -> dict[str, Any]:
    model = ""
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        model = next(
            (line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line), ""
        )
    return {"cpu": model or platform.machine(), "processors": os.cpu_count(), "python": platform.python_version()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", choices=["kafka-python"], default="kafka-python", help="Kafka client")
    parser.add_argument("--events", type=int, default=900_000, help="events at 800 bytes; half as many at 1.5 kB")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), help="bytes of an event")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--profile", help="write a profile of the ingest process to this file")
    parser.add_argument("--role", choices=["produce", "ingest"], help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    parser.add_argument("--topic", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "produce":
        produce(arguments.bootstrap, arguments.topic, arguments.events, arguments.size)
        return
    if arguments.role == "ingest":
        ingest(arguments.bootstrap, arguments.topic, arguments.events, arguments.store, arguments.profile)
        return

    from tests.services.kafka import kafka

    results: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, kafka(Path(folder) / "kafka") as bootstrap:
        for size in arguments.sizes:
            count = arguments.events if size == arguments.sizes[0] else arguments.events // 2
            common = ["--bootstrap", bootstrap, "--topic", f"events-{size}", "--events", str(count)]
            produced = _child("--role", "produce", "--size", str(size), *common)
            extra = ["--profile", f"{arguments.profile}.{size}"] if arguments.profile else []
            store = f"sqlite:///{folder}/{size}.db"
            results[size] = {**produced, **_child("--role", "ingest", "--store", store, *common, *extra)}
            if not arguments.json:
                print(f"{size} bytes: {json.dumps(results[size])}")
    first = results[arguments.sizes[0]]
    summary = {
        "benchmark": "ingest",
        "client": arguments.client,
        "events_per_cpu_second": first["events_per_cpu_second"],
        "rss_mb": max(result["rss_mb"] for result in results.values()),
        "partitions": PARTITIONS,
        "segments": SEGMENTS,
        "event_time_events_per_second": EVENTS_PER_SECOND,
        "by_size": {str(size): result for size, result in results.items()},
        "machine": machine(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
