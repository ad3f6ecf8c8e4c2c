"""GenTD26 as native events: production image-generation requests joined to real pages as their inputs.

Users, versions, failures and durations are the trace's own. Stage latencies are sampled from the trace's one-day
series (another period, so they are drawn, not joined). Which page an event carries is drawn from a pool of kinds;
``spliced`` says when the pool changes, and only that.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUTE = "image-generation"
USUAL = ("doclaynet_manuals", "doclaynet_laws_and_regulations", "olmocr_table_tests", "olmocr_multi_column")
SHIFTED = ("photos_coco", "handwritten")
_STAGES = {"queue": "queue_rt_raw", "model_load": "basemodel_update_latency", "model": "model_predict_data"}


@dataclass(frozen=True, slots=True)
class Request:
    """One finished request of the trace."""

    time: datetime
    user: str
    version: str
    failed: bool
    seconds: float
    prompt_length: int
    images: int


def requests(traces: Path) -> list[Request]:
    """The 26,790 finished requests, in order of time; PENDING and PROCESSING rows are left out."""
    with gzip.open(traces / "gentd26" / "lora_request_trace.csv.gz", "rt") as file:
        rows = [
            Request(
                datetime.strptime(row["gmt_create"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC),
                row["groupId"],
                row["checkpoint_model_version_id"],
                row["predict_status"] == "FAILED",
                float(row["exec_time_seconds"]),
                int(float(row["prompt_length"] or 0)),
                int(float(row["num_images_per_prompt"] or 1)),
            )
            for row in csv.DictReader(file)
            if row["predict_status"] in ("SUCCEED", "FAILED")
        ]
    return sorted(rows, key=lambda request: request.time)


def _series(traces: Path, name: str) -> NDArray[np.float64]:
    with gzip.open(traces / "gentd26" / f"{name}_anon.csv.gz", "rt") as file:
        values = [float(row["value"]) for row in csv.DictReader(file) if row["value"]]
    return np.asarray(values, float)


def pages(images: Path, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    """Input parts for every picture of the given kinds."""
    with (images / "manifest.csv").open() as file:
        return [
            {
                "kind": "image",
                "uri": (images / row["file"]).resolve().as_uri(),
                "media_type": "image/jpeg",
                "bytes": (images / row["file"]).stat().st_size,
                "width": int(row["width"]),
                "height": int(row["height"]),
            }
            for row in csv.DictReader(file)
            if row["kind"] in kinds
        ]


def events(shared: Path, spliced: datetime | None, seed: int = 26) -> Iterator[dict[str, Any]]:
    """Native events; from ``spliced`` on, half of them carry pages of the SHIFTED kinds."""
    traces, images = shared / "traces", shared / "images"
    rng = np.random.default_rng(seed)
    usual, shifted = pages(images, USUAL), pages(images, SHIFTED)
    stages = {name: _series(traces, file) for name, file in _STAGES.items()}
    for number, request in enumerate(requests(traces)):
        pool = shifted if spliced and request.time >= spliced and rng.random() < 0.5 else usual
        yield {
            "schema": "driftline.inference/1",
            "id": f"gentd26-{number}",
            "time": request.time.isoformat().replace("+00:00", "Z"),
            "route": ROUTE,
            "user_id": request.user,
            "operation": "generate_content",
            "response_model": request.version,
            "input": [pool[int(rng.integers(len(pool)))], {"kind": "text", "text": "word " * request.prompt_length}],
            "usage": {"input_tokens": request.prompt_length, "image_tokens": 256 * request.images},
            "latency": {
                "total_ms": request.seconds * 1000,
                "stages": {name: float(rng.choice(values)) for name, values in stages.items()},
            },
            "outcome": "error" if request.failed else "ok",
            "error_type": "FAILED" if request.failed else None,
        }


def write(path: Path, shared: Path, spliced: datetime | None) -> int:
    """Write the events as JSON lines; returns how many."""
    count = 0
    with path.open("w") as file:
        for event in events(shared, spliced):
            file.write(json.dumps(event) + "\n")
            count += 1
    return count
