"""What a summary row is made of: every metric with its stable id.

Ids are part of the stored form: never change or reuse one; a new metric takes the next free id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["exponential", "linear", "rate", "total", "joint"]
Family = Literal["", "stage", "tier", "model", "error_type"]

FAMILIES: tuple[Family, ...] = ("stage", "tier", "model", "error_type")
LABEL_CAP = 16  # labels of a family that one row admits, in offset order; further ones are counted as OTHER
OTHER = "other"
LINEAR_STEP = 10_000  # width of a linear bucket, in millionths
MAX_LINEAR = 100_000_000  # larger values of a linear metric are counted as this one


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity of a summary row.

    kind: ``exponential`` (scale-5 histogram with a sum per bucket), ``linear`` (histogram in steps of 0.01),
    ``rate`` (count = trials, sum = hits), ``total`` (count = events that have it, sum = their total) or
    ``joint`` (cells over another quantity's buckets; over all events only).
    unit: ``nano`` (10**-9 of the reporting currency), ``us``, ``tokens``, ``bytes``, ``millionths`` or ``1``.
    """

    id: int
    name: str
    kind: Kind
    unit: str
    family: Family = ""


_ALL = (
    Metric(0, "events", "total", "1"),
    Metric(1, "cost", "exponential", "nano"),
    Metric(2, "latency_total", "exponential", "us"),
    Metric(3, "latency_timeout", "exponential", "us"),
    Metric(4, "latency_first_token", "exponential", "us"),
    Metric(5, "latency_stage", "exponential", "us", "stage"),
    Metric(6, "input_tokens", "exponential", "tokens"),
    Metric(7, "output_tokens", "exponential", "tokens"),
    Metric(8, "cached_input_tokens", "exponential", "tokens"),
    Metric(9, "reasoning_tokens", "exponential", "tokens"),
    Metric(10, "image_tokens", "exponential", "tokens"),
    Metric(11, "audio_tokens", "exponential", "tokens"),
    Metric(12, "context_used", "linear", "millionths"),
    Metric(13, "concurrency", "exponential", "1"),
    Metric(14, "input_bytes", "exponential", "bytes"),
    Metric(15, "confidence", "linear", "millionths"),
    Metric(16, "retries", "exponential", "1"),
    Metric(17, "error", "rate", "1"),
    Metric(18, "timeout", "rate", "1"),
    Metric(19, "refused", "rate", "1"),
    Metric(20, "abstained", "rate", "1"),
    Metric(21, "schema_violation", "rate", "1"),
    Metric(22, "citation_missing", "rate", "1"),
    Metric(23, "citation_ungrounded", "rate", "1"),
    Metric(24, "disagreement", "rate", "1"),
    Metric(25, "verification_failed", "rate", "1"),
    Metric(26, "tier", "total", "1", "tier"),
    Metric(27, "error_type", "total", "1", "error_type"),
    Metric(28, "model_input_tokens", "total", "tokens", "model"),
    Metric(29, "model_output_tokens", "total", "tokens", "model"),
    Metric(30, "model_cost", "total", "nano", "model"),
    # Joint: bucket = scale-3 code of latency_total; sum = the stage's latency.
    Metric(31, "stage_by_latency", "joint", "us", "stage"),
    # Joint: bucket = concurrency at scale 0 (upper 5 bits) and latency_total at scale 3 (lower 9); sum = latency.
    Metric(32, "latency_by_concurrency", "joint", "us"),
    # Joint: bucket = scale-3 code of input_bytes; sum = cost.
    Metric(33, "cost_by_input_size", "joint", "nano"),
)

METRICS: dict[str, Metric] = {m.name: m for m in _ALL}
BY_ID: dict[int, Metric] = {m.id: m for m in _ALL}

EXPONENTIAL = tuple(m for m in _ALL if m.kind == "exponential")
RATES = tuple(m for m in _ALL if m.kind == "rate")

# A cell's key, from the lowest bit: bucket (14), label (5), thinned (1), metric (6); the row comes above.
BUCKET_BITS = 14
LABEL_BITS = 5
THINNED_SHIFT = BUCKET_BITS + LABEL_BITS
METRIC_SHIFT = THINNED_SHIFT + 1
CELL_BITS = METRIC_SHIFT + 6
BUCKET_MASK = (1 << BUCKET_BITS) - 1
LABEL_MASK = (1 << LABEL_BITS) - 1
OTHER_CODE = LABEL_MASK
MERGED_LABEL_CAP = OTHER_CODE - 1  # labels a merged summary names: the first in code-point order

JOINT_LATENCY_BITS = 9  # scale-3 codes reach 53 * 8 + 1 = 425
MAX_CONCURRENCY_CODE = (1 << (BUCKET_BITS - JOINT_LATENCY_BITS)) - 1


def metric(name: str) -> Metric:
    """The metric of that name; KeyError says which names exist."""
    try:
        return METRICS[name]
    except KeyError:
        raise KeyError(f"unknown metric {name!r}; known: {', '.join(METRICS)}") from None
