"""A store with sampled inputs of a segment that changed, and references of it; all texts hostile where asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import insert

from detectors.drift.embedding import EmbeddingReference
from detectors.rates import RateReference
from detectors.rates.volume import VolumeReference
from detectors.summaries.summary import Summary
from monitor.evaluate.references import FittedStream, Reference
from monitor.evaluate.sampled import packed
from monitor.evaluate.streams import spec_of
from monitor.store import references
from monitor.store.engine import Store
from monitor.store.evaluation import SampleRow
from monitor.store.references import ReferenceSample
from monitor.store.tables import anomalies, partitions, sample_content, sample_parts, samples, summaries
from monitor.times import DAY_US, HOUR_US, MINUTE_US
from tests.service.anomalies_of_page import row_of, story
from tests.service.queue_of_page import HOSTILE, receipt

END = 1_762_084_800_000_000  # 2025-11-02T12:00Z: closed until then
CHANGED = END - DAY_US
SEGMENT = "invoice-extract/receipt"
ENCODER = "mini-1"
EVERY = 24 * MINUTE_US
COUNT = 120  # embedded samples: of the two days before END
MISSING, PENDING = 6, 3
KEPT = 80  # sessions of the reference
DIMENSION = 48


@dataclass(frozen=True)
class Filled:
    """What `fill_inputs` wrote. ``rows``: of every embedded sample (window, pi, word, agreement, contrast)."""

    segment: str
    active: str
    draft: str
    retired: str
    anomaly: str
    rows: list[tuple[int, float, str, float, float]]


def fill_inputs(store: Store, *, hostile: bool = False) -> Filled:
    """A segment whose images changed a day before `END`: half of them lie elsewhere, and look like old scans."""
    segment = f"a/{HOSTILE}"[:200] if hostile else SEGMENT
    word = HOSTILE[:60] if hostile else "old scan"
    with store.write() as connection:
        connection.execute(insert(partitions).values(_partition()))
        hours = [_summary(segment, END - HOUR_US * (i + 1)) for i in range(50)]
        connection.execute(insert(summaries), [*hours, _summary("quiet", END - HOUR_US)])
        rows = []
        for i in range(COUNT):
            at = END - 2 * DAY_US + i * EVERY
            new = at >= CHANGED and i % 2 == 0
            pi, contrast = (0.25 if i % 4 == 0 else 1.0), (0.3 if new else 0.8) + 0.001 * (i % 7)
            agreement = 0.1 + 0.002 * (i % 11) - (0.08 if new else 0.0)
            rows.append((at, pi, word if new else "receipt", agreement, contrast))
            connection.execute(insert(samples).values(_sample(segment, i, at, pi, "embedded", hostile=hostile)))
            connection.execute(insert(sample_parts), _parts(i, new, rows[-1]))
            connection.execute(insert(sample_content).values(_content(_name(i), at, i, hostile=hostile)))
        for i in range(COUNT, COUNT + MISSING + PENDING):
            state = "missing" if i < COUNT + MISSING else "pending"
            at = END - DAY_US // 2 + i * MINUTE_US
            connection.execute(insert(samples).values(_sample(segment, i, at, 1.0, state, hostile=hostile)))
        document = story(segment, HOSTILE if hostile else "", opened=CHANGED + HOUR_US)
        document["signal"] = "image_drift"
        document["facts"] = [{**document["facts"][0], "signal": "image_drift", "subject": segment}]
        connection.execute(insert(anomalies).values(row_of(document)))
    ids = [
        _reference(store, segment, version, state)
        for version, state in ((1, "active"), (2, "active"), (3, "draft"))
    ]  # fmt: skip
    return Filled(segment, ids[1], ids[2], ids[0], str(document["id"]), rows)


def vector(seed: int, new: bool) -> bytes:
    """A unit vector near one of two places, as samples keep them."""
    found = np.random.default_rng(seed).standard_normal(DIMENSION) * 0.2
    found[1 if new else 0] += 3.0
    found[2] += seed % 4
    return (found / np.linalg.norm(found)).astype("<f2").tobytes()


def reference(segment: str, version: int) -> Reference:
    """What `fill_inputs` writes as that version: in version 3 twice as many errors."""
    begin = END - (30 - 5 * version) * DAY_US
    found = Reference(segment, "invoice-extract", begin, begin + 7 * DAY_US, ENCODER, sessions=7 * 24 * 50)
    day, hour = np.repeat(np.arange(7), 24), np.tile(np.arange(24), 7)
    for signal, share in (("error_rate", 2.0 if version == 3 else 1.0), ("refusal_rate", 0.0)):
        fit = RateReference.fit(np.full(168, share), np.full(168, 50), day=day, hour_of_week=hour + 24 * day)
        found.streams[signal] = FittedStream(spec_of(signal), fit)
    tail = RateReference.fit(np.full(168, 2.0), np.full(168, 50), day=day)
    found.streams["cost_p95"] = FittedStream(spec_of("cost_p95"), tail, 12_000_000.0 * version)
    found.streams["volume"] = FittedStream(spec_of("volume"), VolumeReference.fit(np.full(168, 50.0), hour, day))
    found.rows = [
        ReferenceSample(_name(i, "r"), "fit" if i % 2 else "held", packed(kept_session(segment, i, version)))
        for i in range(KEPT)
    ]
    vectors = np.stack([np.frombuffer(vector(1000 + i, False), dtype="<f2").astype(np.float64) for i in range(KEPT)])
    fitted = EmbeddingReference.fit(vectors[::2], vectors[1::2], rng=np.random.default_rng(1))
    found.streams["image_drift"] = FittedStream(spec_of("image_drift"), fitted)
    return found


def kept_session(segment: str, number: int, version: int = 2) -> SampleRow:
    """A session that the reference copied."""
    moved = version == 3 and number % 2 == 0
    conditions = {
        "v": 2, "contrast": 0.8 + 0.001 * (number % 9), "skew_degrees": 0.1, "rotation": 180 if number % 10 == 0 else 0,
        "concepts": {"v": 1, "nearest": [["form" if number % 4 == 0 else "receipt", 0.4]]},
    }  # fmt: skip
    part = ("image", vector(1000 + number, moved), 0.1 + 0.002 * (number % 13), json.dumps(conditions))
    at = END - 20 * DAY_US + number * HOUR_US
    return SampleRow(_name(number, "r"), at, "invoice-extract", segment, 1.0, ENCODER, "{}", (part,))


def _reference(store: Store, segment: str, version: int, state: str) -> str:
    found = reference(segment, version)
    with store.write() as connection:
        return references.add(
            connection,
            segment=segment,
            encoder=ENCODER,
            from_us=found.from_us,
            to_us=found.to_us,
            origin="built" if state == "draft" else "learned",
            rows=len(found.rows),
            content=found.to_content(),
            samples=found.rows,
            state=state,
        )


def _name(number: int, kind: str = "s") -> str:
    return f"{kind}{(number * 2_654_435_761) % 2**32:08x}"


def _partition() -> dict[str, Any]:
    return {
        "topic": "inference", "partition": 0, "next_offset": 1, "generation": 1, "owner": "w", "watermark_us": END,
        "max_time_us": END, "begun": True, "events": 1, "duplicates": 0, "dead_letters": 0, "late_events": 0,
        "state": b"", "counters": "{}",
    }  # fmt: skip


def _summary(segment: str, window: int) -> dict[str, Any]:
    return {
        "level": 0, "window_us": window, "route": "invoice-extract", "segment": segment, "version": "m@1",
        "late": False, "topic": "inference", "partition": 0, "events": 100, "state": Summary().to_state(),
    }  # fmt: skip


def _sample(segment: str, number: int, at: int, pi: float, state: str, *, hostile: bool) -> dict[str, Any]:
    return {
        "sample_id": _name(number), "event_id": HOSTILE if hostile and number % 5 == 0 else f"e-{number}",
        "topic": "inference", "partition": 0, "offset": number, "time_us": at, "window_us": at,
        "route": "invoice-extract", "segment": segment, "version": "m@1", "session_key": "", "user_key": "",
        "pi": pi, "state": state, "reason": (HOSTILE[:60] if hostile else "not_found") if state == "missing" else "",
        "facts": "{}", "encoder": ENCODER if state == "embedded" else "", "phash": None,
    }  # fmt: skip


def _parts(number: int, new: bool, row: tuple[int, float, str, float, float]) -> list[dict[str, Any]]:
    _, _, word, agreement, contrast = row
    found = {
        "v": 2, "contrast": contrast, "skew_degrees": 5.0 if new else 0.1, "rotation": 180 if number % 10 == 0 else 0,
        "concepts": {"v": 1, "nearest": [[word, 0.4]]},
    }  # fmt: skip
    image = {"part": 0, "modality": "image", "vector": vector(number, new), "conditions": json.dumps(found)}
    text = {"part": 1, "modality": "text", "vector": None, "conditions": '{"v":2,"characters":40}'}
    name = _name(number)
    return [{"sample_id": name, "agreement": agreement, **image}, {"sample_id": name, "agreement": None, **text}]


def _content(name: str, at: int, number: int, *, hostile: bool) -> dict[str, Any]:
    parts = [{"part": 1, "kind": "text", "text": HOSTILE if hostile else "Extract the total."}]
    return {
        "sample_id": name, "time_us": at, "inputs": json.dumps({"v": 1, "parts": parts, "chosen": [0, 1]}),
        "output": "[]", "citations": "[]", "thumbnail": receipt(number % 5) if number % 7 else None,
    }  # fmt: skip
