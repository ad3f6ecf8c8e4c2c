"""Random batches of events as columns, and the operations that tests do to them."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from detectors.summaries import EventColumns, Labelled, Ragged

STAGES = ["upload", "preprocess", "queue", "model", "postprocess"]
VERDICTS = (
    "error",
    "timeout",
    "refused",
    "abstained",
    "schema_violation",
    "citation_missing",
    "citation_ungrounded",
    "disagreement",
    "verification_failed",
)


def batch(
    rng: np.random.Generator, n: int, *, users: int = 200, labels: int = 3, absent: float = 0.1, stages: int = 5
) -> EventColumns:
    """n events with heavy-tailed quantities; each field is absent with probability `absent`."""

    def column(mu: float, sigma: float) -> np.ndarray:
        values = np.exp(rng.normal(mu, sigma, n)).astype(np.int64)
        values[rng.random(n) < absent] = -1
        return values

    def labelled(prefix: str, count: int) -> Labelled:
        codes = rng.integers(0, count, n).astype(np.int32)
        codes[rng.random(n) < absent] = -1
        return Labelled(codes, [f"{prefix}{i}" for i in rng.permutation(count)])

    names = [*STAGES, *(f"stage{i}" for i in range(stages))][:stages]
    has = rng.random((n, stages)) >= absent
    event, code = np.nonzero(has)
    user = rng.integers(1, users + 1, n).astype(np.uint64) * np.uint64(2**54 + 7)
    user[rng.random(n) < absent] = 0
    verdicts = {name: rng.choice([-1, 0, 1], n, p=[absent, 0.9 - absent, 0.1]).astype(np.int8) for name in VERDICTS}
    return EventColumns(
        n=n,
        thinned=rng.random(n) < 0.6,
        user=user,
        cost=column(16, 1),
        latency_total=column(15, 0.7),
        latency_first_token=column(13, 0.5),
        latency_timeout=verdicts["timeout"] == 1,
        stages=Ragged(
            event.astype(np.int32),
            code.astype(np.int32),
            np.exp(rng.normal(12, 1, event.size)).astype(np.int64),
            names,
        ),
        input_tokens=column(7.5, 0.8),
        output_tokens=column(5, 1),
        cached_input_tokens=column(0, 2),
        reasoning_tokens=column(0, 1),
        image_tokens=column(7, 0.4),
        audio_tokens=column(-2, 1),
        context_used=np.where(rng.random(n) < absent, -1, rng.integers(0, 1_100_000, n)),
        concurrency=column(2.5, 0.5),
        input_bytes=column(12, 0.7),
        confidence=np.where(rng.random(n) < absent, -1, (rng.beta(8, 1.5, n) * 1e6).astype(np.int64)),
        retries=column(-1, 1),
        **verdicts,
        tier=labelled("tier", min(labels, 2)),
        model=labelled("model", labels),
        error_type=labelled("error", labels),
    )


def cut(cols: EventColumns, start: int, stop: int) -> EventColumns:
    """Events start..stop, as ingest would have delivered them in a batch of their own."""
    parts = {}
    for field in fields(cols):
        value = getattr(cols, field.name)
        if isinstance(value, Labelled):
            parts[field.name] = Labelled(value.codes[start:stop], value.names)
        elif isinstance(value, Ragged):
            inside = (value.event >= start) & (value.event < stop)
            parts[field.name] = Ragged(
                (value.event[inside] - start).astype(np.int32), value.code[inside], value.value[inside], value.names
            )
        elif field.name == "n":
            parts["n"] = stop - start
        else:
            parts[field.name] = value[start:stop]
    return EventColumns(**parts)


def nothing(n: int) -> EventColumns:
    """n events that carry no field at all."""
    absent = np.full(n, -1, dtype=np.int64)
    verdict = np.full(n, -1, dtype=np.int8)
    unlabelled = Labelled(np.full(n, -1, dtype=np.int32), [])
    empty = np.empty(0, dtype=np.int32)
    return EventColumns(
        n=n,
        thinned=np.zeros(n, dtype=np.bool_),
        user=np.zeros(n, dtype=np.uint64),
        cost=absent,
        latency_total=absent,
        latency_first_token=absent,
        latency_timeout=np.zeros(n, dtype=np.bool_),
        stages=Ragged(empty, empty, np.empty(0, dtype=np.int64), []),
        input_tokens=absent,
        output_tokens=absent,
        cached_input_tokens=absent,
        reasoning_tokens=absent,
        image_tokens=absent,
        audio_tokens=absent,
        context_used=absent,
        concurrency=absent,
        input_bytes=absent,
        confidence=absent,
        retries=absent,
        **dict.fromkeys(VERDICTS, verdict),
        tier=unlabelled,
        model=unlabelled,
        error_type=unlabelled,
    )


def of_costs(costs: np.ndarray) -> EventColumns:
    """Events that carry a cost and nothing else."""
    return replace(nothing(costs.size), cost=costs.astype(np.int64))
