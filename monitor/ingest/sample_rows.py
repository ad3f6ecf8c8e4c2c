"""The rows of a sampled event: its facts, and its redacted content. Only the few sampled events come here.

``samples.facts`` and ``sample_content.inputs`` are JSON with a format version; docs/events.md lists the fields.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from detectors.summaries.columns import EventColumns, Labelled
from monitor.events.native import Event
from monitor.events.redaction import UserHasher
from monitor.events.segments import MAX_ATTRIBUTES
from monitor.ingest.settings import Settings
from monitor.store.samples import sample_id
from monitor.store.secrets import rendered
from samplers.embedding import chosen_parts

FACTS_VERSION = 1
DAY_US = 86_400_000_000
_MAX_TEXT = 256  # characters of an attribute kept
_VERDICTS = (
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
_NUMBERS = (
    "cost",
    "latency_total",
    "latency_first_token",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "image_tokens",
    "audio_tokens",
    "context_used",
    "concurrency",
    "input_bytes",
    "confidence",
    "retries",
)


def session_key(event: Event, time_us: int, user: int, hasher: UserHasher) -> str:
    """Keyed hash of what thins the event: its session, else its user's UTC day, else the event itself."""
    if event.session_id is not None:
        return rendered(hasher.hash(f"session\x00{event.session_id}"))
    if user:
        return rendered(hasher.hash(f"day\x00{user:x}\x00{time_us // DAY_US}"))
    return rendered(hasher.hash(f"event\x00{event.id}"))


def facts(columns: EventColumns, index: int, event: Event, settings: Settings, parts: list[int]) -> dict[str, Any]:
    """What slices, review and explanation need of one event, in the units of the columns; absent is left out."""
    redact = settings.redactor
    found: dict[str, Any] = {"v": FACTS_VERSION, "outcome": event.outcome, "parts": parts}
    found["attributes"] = {
        redact.text(key)[:_MAX_TEXT]: _scalar(redact.text(value)[:_MAX_TEXT] if isinstance(value, str) else value)
        for key, value in list((event.attributes or {}).items())[:MAX_ATTRIBUTES]
        if not isinstance(value, list | dict)
    }
    for name in _NUMBERS:
        if (value := int(getattr(columns, name)[index])) >= 0:
            found[name] = value
    found["verdicts"] = {name: value for name in _VERDICTS if (value := int(getattr(columns, name)[index])) >= 0}
    stages = columns.stages
    mine = np.flatnonzero(stages.event == index)
    found["stages"] = {redact.text(stages.names[stages.code[j]]): int(stages.value[j]) for j in mine}
    for name in ("tier", "model", "error_type"):
        labelled: Labelled = getattr(columns, name)
        if (code := int(labelled.codes[index])) >= 0:
            found[name] = redact.text(labelled.names[code])
    if event.prompt is not None:
        found["prompt"] = {
            "name": redact.text(event.prompt.name or ""),
            "version": redact.text(event.prompt.version or ""),
        }
    return found


def _scalar(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def content(value: bytes, event_id: str, settings: Settings) -> tuple[dict[str, str], list[int]]:
    """(redacted ``inputs, output, citations`` as JSON, chosen input parts) of the event in ``value``.

    ``inputs`` is ``{"v": 1, "parts": [{"part": index, "kind", ...}], "chosen": [index, ...]}``. With
    ``sampling.content`` off only the inputs are kept, since embedding needs them; embed then removes them.
    """
    document = msgspec.json.decode(value)
    sampling = settings.config.sampling
    tree = settings.redactor.tree
    inputs = [{**part, "part": index} for index, part in enumerate(_parts(document.get("input")))]
    chosen = chosen_parts(sampling.seed, event_id, len(inputs), sampling.parts)
    found = {
        "inputs": _json({"v": 1, "parts": tree(inputs), "chosen": chosen}),
        "output": "[]",
        "citations": "[]",
    }
    if sampling.content:
        quality = document.get("quality")
        citations = quality.get("citations") if isinstance(quality, dict) else None
        found["output"] = _json(tree(_parts(document.get("output"))))
        found["citations"] = _json(tree(_parts(citations)))
    return found, chosen


def _parts(value: Any) -> list[Any]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _json(value: Any) -> str:
    # PostgreSQL's text holds no NUL; escaped in JSON it is six harmless characters.
    return msgspec.json.encode(value).decode()


def rows(
    *,
    topic: str,
    partition: int,
    offset: int,
    event: Event,
    value: bytes,
    time_us: int,
    window_us: int,
    segment: tuple[str, str],
    version: str,
    user: int,
    pi: float,
    pi_kept: float,
    columns: EventColumns,
    index: int,
    settings: Settings,
    hasher: UserHasher,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``samples`` row (pending) and the ``sample_content`` row of one chosen event."""
    identity = sample_id(topic, partition, event.id)
    kept, chosen = content(value, event.id, settings)
    sample = {
        "sample_id": identity,
        "event_id": event.id,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "time_us": time_us,
        "window_us": window_us,
        "route": segment[0],
        "segment": segment[1],
        "version": version,
        "session_key": session_key(event, time_us, user, hasher),
        "user_key": rendered(user),
        "pi": pi,
        "pi_kept": pi_kept,
        "state": "pending",
        "reason": "",
        "facts": _json(facts(columns, index, event, settings, chosen)),
        "encoder": "",
        "phash": None,
    }
    return sample, {"sample_id": identity, "time_us": time_us, "thumbnail": None, **kept}
