"""The native event, ``driftline.inference/1``, as msgspec structs, and its decoder.

The structs are the published format: docs/native-event.schema.json is generated from them by
:func:`json_schema`. Everything but ``id``, ``time`` and ``route`` may be absent or null, and absent is never
zero: an absent number is held as -1, which no present number can be. Unknown fields are skipped, and so, in
decoding, are the published fields that no measurement needs (``_UNMEASURED``): skipping costs a fraction of reading,
and the few events that are sampled are decoded a second time, whole.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

SCHEMA_ID = "driftline.inference/1"

MAX_ID = 300
MAX_ROUTE = 200
MAX_STAGES = 64

# Upper bounds keep every int64 sum of a window far from overflow; nothing real comes near them.
Count = Annotated[int, Meta(ge=0, le=2**40)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e10)]
Name = Annotated[str, Meta(max_length=512)]

Outcome = Literal["ok", "error", "timeout", "refused", "abstained"]
Verification = Literal["passed", "failed", "skipped"]


class Prompt(Struct, gc=False):
    """Which prompt made the request."""

    name: Name | None = None
    version: Name | None = None


class Part(Struct, gc=False):
    """One part of the input: an image, a text, an audio or video clip, a document.

    ``uri`` is ``file:``, ``data:``, ``http(s):`` or ``s3:``; ``inline`` is base64 in its place. ``bytes`` is the
    size of the payload. ``embedding`` is ``{"model": ..., "vector": [...]}``, a vector the producer already has.
    """

    kind: Name
    text: str | None = None
    inline: str | None = None
    bytes: Count | None = -1


class Usage(Struct, gc=False):
    """Tokens. The cached, reasoning, image and audio counts are subsets of the totals."""

    input_tokens: Count | None = -1
    output_tokens: Count | None = -1
    cached_input_tokens: Count | None = -1
    reasoning_tokens: Count | None = -1
    image_tokens: Count | None = -1
    audio_tokens: Count | None = -1
    context_limit: Count | None = -1


class Cost(Struct, gc=False):
    """What the request cost; ``currency`` is an ISO 4217 code, default: the reporting currency."""

    amount: Annotated[float, Meta(ge=0, le=1e6)] | None = -1.0
    currency: Name | None = None


class Latency(Struct, gc=False):
    """How long the request took, in milliseconds, in all and by stage."""

    total_ms: Milliseconds | None = -1.0
    first_token_ms: Milliseconds | None = -1.0
    stages: Annotated[dict[Name, Milliseconds], Meta(max_length=MAX_STAGES)] | None = None


class SchemaVerdict(Struct, gc=False):
    """Whether the output satisfied its schema."""

    valid: bool | None = None


class Citation(Struct, gc=False):
    """A quoted source. With ``source_text``, driftline itself looks for the quote in it."""

    quote: str | None = None
    found: bool | None = None
    source_text: str | None = None


class CrossCheck(Struct, gc=False):
    """Whether a second answer agreed."""

    agree: bool | None = None


class Quality(Struct, gc=False):
    """What the feature knows about the quality of its own answer."""

    confidence: Annotated[float, Meta(ge=0, le=1)] | None = -1.0
    abstained: bool | None = None
    routing_tier: Name | None = None
    verification: Verification | None = None
    schema: SchemaVerdict | None = None
    citations: list[Citation] | None = None
    cross_check: CrossCheck | None = None


class Event(Struct, gc=False):
    """One request and its response. ``time`` is when the response ended (or failed)."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    time: Annotated[datetime, Meta(tz=True)] | int | float
    route: Annotated[str, Meta(min_length=1, max_length=MAX_ROUTE)]
    session_id: Name | None = None
    user_id: Name | None = None
    request_model: Name | None = None
    response_model: Name | None = None
    prompt: Prompt | None = None
    attributes: dict[str, Any] | None = None
    input: list[Part] | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    latency: Latency | None = None
    concurrency: Count | None = -1
    outcome: Outcome | None = None
    error_type: Name | None = None
    retries: Count | None = -1
    quality: Quality | None = None


decode = msgspec.json.Decoder(Event).decode
"""``bytes -> Event``; raises msgspec.ValidationError naming the field, or msgspec.DecodeError."""


class Identity(Struct):
    """What can be read of a record that is no valid event: enough to find it again when it must be forgotten."""

    id: Any = None
    user_id: Any = None


_decode_identity = msgspec.json.Decoder(Identity).decode


def identity(value: bytes | None) -> tuple[str, str | None]:
    """The event id ('' if unreadable) and user id of a record that could not be decoded."""
    if value is None:
        return "", None
    try:
        found = _decode_identity(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", None
    name = found.id if isinstance(found.id, str) else ""
    return name[:MAX_ID].replace("\x00", "\ufffd"), found.user_id if isinstance(found.user_id, str) else None


# Published fields that decoding skips.
_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_NUMBER: dict[str, Any] = {"type": ["number", "null"], "minimum": 0}
_INTEGER: dict[str, Any] = {"type": ["integer", "null"], "minimum": 0}
_UNMEASURED: dict[str, dict[str, dict[str, Any]]] = {
    "Event": {
        "schema": {"enum": [SCHEMA_ID, None]},
        "output": {
            "description": "Parts of the output, as those of the input.",
            "type": ["array", "null"],
            "items": {"type": "object", "properties": {"kind": _TEXT, "text": _TEXT}, "required": ["kind"]},
        },
        "trace_id": _TEXT,
        "operation": _TEXT,
        "provider": _TEXT,
        "stakes": {"description": "Only an attribute: the configuration decides what a segment is worth.", **_TEXT},
    },
    "Part": {
        "uri": {"description": "file:, data:, http(s): or s3:", **_TEXT},
        "media_type": _TEXT,
        "width": _INTEGER,
        "height": _INTEGER,
        "pages": _INTEGER,
        "duration_ms": _NUMBER,
        "sha256": _TEXT,
        "embedding": {
            "description": "A vector the producer already has, and the model that made it.",
            "type": ["object", "null"],
            "properties": {
                "model": {"type": "string"},
                "vector": {"type": "array", "items": {"type": "number"}},
            },
            "required": ["model", "vector"],
        },
    },
    "SchemaVerdict": {"name": _TEXT, "violations": {"type": ["array", "null"]}},
    "Citation": {"source": _TEXT, "region": {"type": ["array", "null"], "items": {"type": "number"}}},
    "CrossCheck": {"kind": _TEXT},
}


def json_schema() -> dict[str, Any]:
    """The published JSON Schema (2020-12) of the native event, generated from the structs above."""
    schema = msgspec.json.schema(Event)
    for name, definition in schema["$defs"].items():
        for specification in definition["properties"].values():
            specification.pop("default", None)  # absent is never zero: the -1 that stands for it is ours alone
        definition["properties"].update(_UNMEASURED.get(name, {}))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://driftline.dev/schemas/{SCHEMA_ID}.json",
        "title": f"{SCHEMA_ID}: one request of a multimodal LLM feature and its response",
        **schema,
    }
