"""The anomaly: what detection found out, in the form that sinks, pages, metrics and the report render.

Detection fills it, everything else only reads it. It is published as ``alerts/anomaly.schema.json``, which is
generated from the types here (``python -m alerts.anomaly > alerts/anomaly.schema.json``; a test fails when the
file is stale). Times are integer microseconds since the epoch, in event time.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Annotated, Any, Final, Literal

import msgspec

FORMAT: Final = 1
"""Format of the document. A reader accepts its own and every older one."""

State = Literal["open", "resolved"]
Severity = Literal["page", "ticket", "report"]

SLICE_PREFIX: Final = "slice:"
"""A slice is written ``slice:<name>`` wherever segments and slices share a column."""

Time = Annotated[int, msgspec.Meta(description="Event time in microseconds since the epoch.")]
OptionalTime = Annotated[int | None, msgspec.Meta(description="Event time in microseconds since the epoch, or null.")]


class AnomalyError(ValueError):
    """A document is not an anomaly that this version can read."""


class Since(msgspec.Struct, frozen=True, kw_only=True):
    """When the change began: somewhere in [low, high]."""

    low: Time
    high: Time


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was weighed against the budget."""

    kind: Annotated[str, msgspec.Meta(description="How the value is to be read, as `funded_sr`.")]
    value: Annotated[float, msgspec.Meta(description="The evidence when it was greatest since the opening.")]
    threshold: Annotated[float, msgspec.Meta(description="The value at which an anomaly opens.")]


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """How large the change is: the value now with a 95 % interval, and what it was before."""

    value: Annotated[float | None, msgspec.Meta(description="The measure since the change; null: not enough data.")]
    unit: Annotated[str, msgspec.Meta(description="Unit of value, low, high and baseline, as `share` or `sd`.")]
    low: Annotated[float | None, msgspec.Meta(description="Lower end of the interval of value.")]
    high: Annotated[float | None, msgspec.Meta(description="Upper end of the interval of value.")]
    baseline: Annotated[float | None, msgspec.Meta(description="The same measure in the reference.")]
    of: Annotated[
        str, msgspec.Meta(description="What is measured where that is not the signal itself: words, or empty.")
    ] = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What changed, in words. Everything but the sentence may be empty: no explanation found."""

    sentence: Annotated[str, msgspec.Meta(description="What changed, since when, by how much, where, and why.")]
    concepts: Annotated[
        list[dict[str, Any]],
        msgspec.Meta(description="Words that gained or lost share: name, before, now, low, high (of the change)."),
    ] = []
    conditions: Annotated[
        list[dict[str, Any]],
        msgspec.Meta(description="Conditions that moved: name, unit, told, before, now, change, low, high, above."),
    ] = []
    attributes: Annotated[
        list[dict[str, Any]],
        msgspec.Meta(
            description="Values behind the change: attribute, value, how (carries, began, share), before, now, left, p."
        ),
    ] = []
    share: Annotated[
        dict[str, Any] | None, msgspec.Meta(description="Part of the sessions that is new: value, low, high.")
    ] = None
    stages: Annotated[
        list[dict[str, Any]],
        msgspec.Meta(
            description="Of a tail of latency: stage, before and now (parts of slow requests' extra time), slow, usual."
        ),
    ] = []
    load: Annotated[
        dict[str, Any] | None,
        msgspec.Meta(
            description="Of a tail of latency: share of slow requests before and now, and what of the change is load "
            "(other concurrency) and same_load (slower at the same one): value, low, high."
        ),
    ] = None
    bill: Annotated[
        dict[str, Any] | None,
        msgspec.Meta(
            description="Of cost and tokens, in the currency: against (the same hours a week or a day before), hours, "
            "before, now, change, and its parts, which add up to it: traffic, mix, units, tail, price."
        ),
    ] = None
    exemplars: Annotated[
        list[dict[str, Any]],
        msgspec.Meta(
            description="Sessions to look at: role (typical_before, typical_now, most_changed), sample_id, window (µs)."
        ),
    ] = []
    tried: Annotated[
        dict[str, int],
        msgspec.Meta(description="What was looked at: sessions before and now, attribute values, conditions, words."),
    ] = {}


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One signal that changed. An incident that moves several signals is one anomaly with several facts."""

    subject: Annotated[str, msgspec.Meta(description="The segment, or `slice:<name>`, whose signal it is.")]
    signal: str
    detector: str
    opened: Time
    since: Since
    evidence: Evidence
    effect: Effect
    sentence: str
    resolved: OptionalTime = None

    @property
    def stream(self) -> tuple[str, str]:
        """(subject, signal): what the fact is of, beside the anomaly's owner."""
        return self.subject, self.signal


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """A change in one segment or slice, found under the false-alarm budget of its owner.

    The first fact opened it; since, evidence and effect of the anomaly are its. Others joined it: they changed at the
    same time, and are of the same segment or have the same attribute value behind them.
    """

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{24}$", description="The same in every run over the same input.")]
    format: Annotated[int, msgspec.Meta(ge=1, le=FORMAT)] = FORMAT
    owner: Annotated[str, msgspec.Meta(description="Whose budget it was opened under.")]
    segment: Annotated[str | None, msgspec.Meta(description="The segment; null when it is a slice.")]
    slice: Annotated[str | None, msgspec.Meta(description="The slice; null when it is a segment.")] = None
    route: Annotated[str, msgspec.Meta(description="Route of the segment; empty where there are several.")]
    signal: Annotated[str, msgspec.Meta(description="The signal that opened it.")]
    detector: Annotated[str, msgspec.Meta(description="The detector that opened it.")]
    facts: list[Fact]
    state: State
    severity: Severity
    since: Since
    opened: Annotated[int, msgspec.Meta(description="End of the tick that opened it (event time, microseconds).")]
    updated: Annotated[
        int, msgspec.Meta(description="End of the tick that last changed it (event time, microseconds).")
    ]
    resolved: OptionalTime = None
    evidence: Evidence
    effect: Effect
    explanation: Explanation
    links: Annotated[dict[str, str], msgspec.Meta(description="Name: address, as `dashboard` and `app`.")] = {}
    historic: Annotated[
        bool, msgspec.Meta(description="Detected longer than alerts.max_age after its event time: recorded, not sent.")
    ] = False

    @property
    def subject(self) -> str:
        """The segment's name, or ``slice:<name>``: as in the store's columns and in labels."""
        return SLICE_PREFIX + self.slice if self.slice is not None else (self.segment or "")

    @property
    def sentence(self) -> str:
        """What changed, in one sentence."""
        return self.explanation.sentence


def anomaly_id(owner: str, subject: str, signal: str, opened: int) -> str:
    """24 hex digits from what makes an anomaly the same one in every run; ``opened`` is its opening tick (µs)."""
    text = json.dumps([owner, subject, signal, opened], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def to_document(anomaly: Anomaly) -> dict[str, Any]:
    """The anomaly as plain JSON values, every field present."""
    document: dict[str, Any] = msgspec.to_builtins(anomaly)
    return document


def to_json(anomaly: Anomaly) -> str:
    """Canonical JSON: sorted keys, no spaces, so that equal anomalies are equal text."""
    return json.dumps(to_document(anomaly), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def from_document(document: Any) -> Anomaly:
    """Read an anomaly from JSON values. Raises AnomalyError."""
    version = document.get("format") if isinstance(document, dict) else None
    if not isinstance(version, int) or not 1 <= version <= FORMAT:
        raise AnomalyError(
            f"expected an anomaly of format 1 to {FORMAT}, got format {version!r}; "
            "it was written by another version of driftline: read it with that one"
        )
    # Before incidents were joined, every fact was of the anomaly's own segment or slice, and did not say so.
    of_slice = document.get("slice")
    subject = document.get("segment") if of_slice is None else f"{SLICE_PREFIX}{of_slice}"
    facts = document.get("facts")
    if isinstance(facts, list):
        facts = [{"subject": subject, **fact} if isinstance(fact, dict) else fact for fact in facts]
        document = {**document, "facts": facts}
    try:
        return msgspec.convert(document, Anomaly)
    except msgspec.ValidationError as error:
        raise AnomalyError(f"not an anomaly: {error}; see alerts/anomaly.schema.json") from error


def from_json(text: str | bytes) -> Anomaly:
    """Read an anomaly from JSON text. Raises AnomalyError."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise AnomalyError(f"not an anomaly: {error}; expected a JSON object") from error
    return from_document(document)


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of a complete document, as driftline writes it."""
    _, components = msgspec.json.schema_components([Anomaly], ref_template="#/$defs/{name}")
    for definition in components.values():
        # driftline writes every field; only readers of older formats may miss some.
        definition["required"] = list(definition["properties"])
    top = components.pop("Anomaly")
    top["oneOf"] = [
        {"properties": {"segment": {"type": "string"}, "slice": {"type": "null"}}},
        {"properties": {"segment": {"type": "null"}, "slice": {"type": "string"}}},
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:driftline:anomaly:1",
        **top,
        "$defs": components,
    }


def schema_text() -> str:
    """What alerts/anomaly.schema.json holds."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
