"""A batch of events as columns: what every summary is updated from.

One array per field and one entry per event, so that a batch of any size is summarised by a handful of numpy
calls. Absent is never zero: an absent number is ``ABSENT`` (-1), an absent verdict likewise; every present
value is >= 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
UInt64 = NDArray[np.uint64]

ABSENT = -1


@dataclass(slots=True)
class Labelled:
    """A string field as codes into a list of names.

    ``codes`` has one entry per event (-1: absent). ``names[code]`` is the value.
    """

    codes: Int32
    names: list[str]


@dataclass(slots=True)
class Ragged:
    """A map field (stage -> value): entry j says that event ``event[j]`` has ``value[j]`` under ``names[code[j]]``."""

    event: Int32
    code: Int32
    value: Int64
    names: list[str]


@dataclass(slots=True)
class EventColumns:
    """``n`` events in offset order.

    Units: money in nano-units of the reporting currency, latency in microseconds, tokens as counts,
    confidence in millionths (0..1_000_000), input size in bytes. Verdict columns hold ABSENT, 0 or 1, where 1
    is what the rate counts (an error, a violation, an abstention, ...).
    """

    n: int
    thinned: Bool  # the event represents its session (detectors bet on these)
    user: UInt64  # keyed hash of the user; 0 where there is none

    cost: Int64
    latency_total: Int64
    latency_first_token: Int64
    latency_timeout: Bool  # outcome timeout: its latency is kept apart
    stages: Ragged
    input_tokens: Int64
    output_tokens: Int64
    cached_input_tokens: Int64
    reasoning_tokens: Int64
    image_tokens: Int64
    audio_tokens: Int64
    context_used: Int64  # input tokens / context limit, in millionths, capped at 2_000_000
    concurrency: Int64
    input_bytes: Int64
    confidence: Int64
    retries: Int64

    error: Int8
    timeout: Int8
    refused: Int8
    abstained: Int8
    schema_violation: Int8
    citation_missing: Int8
    citation_ungrounded: Int8
    disagreement: Int8
    verification_failed: Int8

    tier: Labelled  # routing tier
    model: Labelled
    error_type: Labelled
