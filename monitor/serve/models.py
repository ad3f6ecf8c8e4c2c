"""What the API answers, as types: responses are encoded from them and the OpenAPI document is generated from them."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

Iso = Annotated[str, Meta(description="RFC 3339, UTC.", examples=["2026-11-02T09:14:00Z"])]


class Page(Struct, frozen=True):
    """Where this page of a list is: ``next`` is the offset of the following page, null at the end."""

    limit: int
    offset: int
    next: int | None


class Problem(Struct, frozen=True):
    """Why a request was not answered, and what to do."""

    error: Annotated[str, Meta(description="What was wrong, what was got, what to write.")]
    parameter: Annotated[str | None, Meta(description="The parameter at fault, if it was one.")] = None
    why: Annotated[
        str | None,
        Meta(description="Why the queue declined: unknown, not_leased, done, removed, answered, nothing or too_late."),
    ] = None


class Figure(Struct, frozen=True):
    """One measured signal. ``value`` is null where the data cannot support one; ``status`` says why."""

    signal: str
    unit: str
    value: float | None
    low: Annotated[float | None, Meta(description="Lower end of the 95 % interval.")]
    high: Annotated[float | None, Meta(description="Upper end of the 95 % interval.")]
    n: Annotated[int, Meta(description="What it rests on: events or trials.")]
    status: Annotated[str, Meta(description="`ok`, or why there is no value.")]


class Segment(Struct, frozen=True):
    """A segment with its main figures over the asked range."""

    name: str
    route: str
    stakes: str
    events: int
    late_events: Annotated[int, Meta(description="Of these, how many came behind their partition's watermark.")]
    open_anomalies: int
    figures: list[Figure]


class Segments(Struct, frozen=True):
    """`all`, the sum of all, and the segments, those of the highest stakes and most events first."""

    since: Annotated[Iso | None, Meta(description="Start of the range measured; null before any event.")]
    until: Annotated[Iso | None, Meta(description="End of the range (exclusive).")]
    segments: list[Segment]
    page: Page


class Gap(Struct, frozen=True):
    """A stretch that can no longer be told apart, since retention deleted the finer rows it needs."""

    since: Iso
    until: Iso


class Summary(Struct, frozen=True):
    """Every signal of one segment over one stretch of event time."""

    segment: str
    version: Annotated[str | None, Meta(description="Model and prompt version; null: all together.")]
    since: Iso
    until: Iso
    events: int
    late_events: Annotated[int, Meta(description="Of these, how many came behind their partition's watermark.")]
    other_events: Annotated[int, Meta(description="Events in a folded segment or version `other`.")]
    missing: list[Gap]
    figures: list[Figure]


class Summaries(Struct, frozen=True):
    """Summaries in the order of time."""

    summaries: list[Summary]


class SampleHead(Struct, frozen=True):
    """A sampled event as it is listed."""

    id: str
    event_id: str
    time: Iso
    route: str
    segment: str
    version: str
    pi: Annotated[float, Meta(description="Inclusion probability.")]
    state: Annotated[str, Meta(description="pending, embedded or missing.")]
    reason: Annotated[str, Meta(description="Why it is missing, else empty.")]
    encoder: Annotated[str, Meta(description="Identity of the encoder that made its vectors.")]


class SamplePart(Struct, frozen=True):
    """One input part that was looked at."""

    part: int
    modality: str
    embedded: bool
    conditions: dict[str, Any]
    agreement: Annotated[
        float | None,
        Meta(description="Cosine of an image and its request's text, on the scale of the encoder; null: not measured."),
    ]


class SampleContent(Struct, frozen=True):
    """The redacted content of a sample, as long as it is kept."""

    inputs: Any
    output: Any
    citations: Any
    thumbnail: Annotated[str | None, Meta(description="JPEG, base64.")]


class Sample(Struct, frozen=True):
    """A sampled event with what was found out about it."""

    head: SampleHead
    facts: dict[str, Any]
    parts: list[SamplePart]
    content: Annotated[SampleContent | None, Meta(description="For reviewers and admins only.")]


class Samples(Struct, frozen=True):
    """Samples, newest event time first."""

    samples: list[SampleHead]
    page: Page


class AnomalyHead(Struct, frozen=True):
    """An anomaly as it is listed."""

    id: str
    owner: str
    segment: str
    signal: str
    state: Annotated[str, Meta(description="open or resolved.")]
    severity: Annotated[str, Meta(description="page, ticket or report.")]
    historic: Annotated[bool, Meta(description="Found too late after its event time to be sent.")]
    since: Iso
    opened: Iso
    updated: Iso
    resolved: Iso | None
    sentence: Annotated[str, Meta(description="What changed, since when, by how much, where.")]


class Delivery(Struct, frozen=True):
    """How telling one sink went."""

    sink: str
    state: str
    attempts: int
    error: str


class Response(Struct, frozen=True):
    """What somebody said of an anomaly, and when (wall clock)."""

    action: str
    who: str
    time: Iso
    until: Annotated[Iso | None, Meta(description="Of a snooze: when it ends.")]
    note: str


class Standing(Struct, frozen=True):
    """What stands of what people said of an anomaly; null where nothing does."""

    acknowledged: Response | None
    snoozed: Response | None
    marked: Annotated[Response | None, Meta(description="Its action is `real` or `false`.")]
    accepted: Annotated[Response | None, Meta(description="Accepted as the new normal.")]


class Deploy(Struct, frozen=True):
    """A deploy that was announced (wall clock)."""

    id: str
    time: Iso
    who: str
    version: str
    route: Annotated[str, Meta(description="Empty: all routes.")]
    segment: Annotated[str, Meta(description="Pattern of segments; empty: all.")]
    muted_until: Annotated[Iso | None, Meta(description="Until then nobody is told of what opens there.")]
    note: str


class Anomaly(Struct, frozen=True):
    """An anomaly: `document` is what alerts/anomaly.schema.json describes."""

    head: AnomalyHead
    document: dict[str, Any]
    deliveries: list[Delivery]
    standing: Standing


class Anomalies(Struct, frozen=True):
    """Anomalies, newest opening first."""

    anomalies: list[AnomalyHead]
    page: Page


class DeadLetterHead(Struct, frozen=True):
    """A record that could not be used."""

    topic: str
    partition: int
    offset: int
    time: Annotated[Iso | None, Meta(description="The Kafka record's own timestamp.")]
    reason: str
    detail: str
    bytes: int | None
    retry: Annotated[
        str, Meta(description="What came of reading it again: asked, entered, duplicate or refused; empty: it was not.")
    ] = ""


class LetterRetry(Struct, frozen=True):
    """One reading of a dead letter again, carried out by the owner of its partition (wall-clock times)."""

    state: Annotated[str, Meta(description="asked, entered (it is counted now), duplicate or refused.")]
    who: str
    asked: Iso
    done: Iso | None
    reason: Annotated[str, Meta(description="Why it was refused.")]
    detail: str


class Retried(Struct, frozen=True):
    """How many dead letters are to be read again: not those that wait already or are events by now."""

    asked: int


class Decided(Struct, frozen=True):
    """How many deliveries were changed."""

    decided: int


class DeadLetters(Struct, frozen=True):
    """Dead letters, newest first."""

    dead_letters: list[DeadLetterHead]
    reasons: dict[str, int]
    page: Page


class DeadLetter(Struct, frozen=True):
    """A dead letter with its original bytes."""

    head: DeadLetterHead
    original: Annotated[str | None, Meta(description="Base64; null for a tombstone or a forgotten record.")]
    retries: list[LetterRetry] = []


class BudgetLine(Struct, frozen=True):
    """Alarms opened over the budget's period, against what was promised about false ones."""

    owner: str
    severity: str
    promised: Annotated[str, Meta(description="The budget as configured.", examples=["1 per 30d"])]
    opened: Annotated[int, Meta(description="Opened in the period up to the newest closed window, real ones included.")]


class BudgetPot(Struct, frozen=True):
    """One allowance: an owner's false alarms of one severity, how they are divided, and what was opened."""

    owner: str
    severity: str
    allowance: Annotated[str, Meta(description="The budget as configured.", examples=["1 per 30d"])]
    streams: Annotated[int, Meta(description="Streams it is divided over now: present, without an open anomaly.")]
    watched: Annotated[int, Meta(description="Streams with a reference, present or not.")]
    days_each: Annotated[float | None, Meta(description="Days in which one stream is funded with one false alarm.")]
    opened: Annotated[int, Meta(description="Opened in the period up to `evaluated_until`, real ones included.")]
    marked_real: Annotated[int, Meta(description="Of these, those that people marked as real.")]
    marked_false: Annotated[int, Meta(description="Of these, those that people marked as false alarms.")]
    funded: Annotated[float, Meta(description="False alarms funded in that period, at most.")]
    evidence: Annotated[float, Meta(description="Evidence that its streams hold now; 1 opens an anomaly.")]


class Detection(Struct, frozen=True):
    """A change, and within how many hours it would be found: in half of the cases, and in nine of ten."""

    change: str
    hours: Annotated[float | None, Meta(description="Median; null: not within 7 days.")]
    hours_90: Annotated[float | None, Meta(description="90 %; null: not within 7 days.")]


class BudgetStream(Struct, frozen=True):
    """What one stream may spend, holds, and would find with the traffic it has."""

    owner: str
    segment: str
    signal: str
    severity: str
    state: Annotated[str, Meta(description="ok, open, no_data (none for a day) or not_enough_data (the reference).")]
    share: Annotated[float, Meta(description="Share of the allowance; 0 while it has no data or an open anomaly.")]
    evidence: Annotated[float, Meta(description="Evidence now; an anomaly opens at 1.")]
    sessions_per_hour: float
    traffic: Annotated[str, Meta(description="Where that is from: recent (the last day) or reference.")]
    enough: Annotated[bool, Meta(description="Whether its minimum effect would be found within 7 days.")]
    why: Annotated[str, Meta(description="Why not, else empty.")]
    sentence: Annotated[str, Meta(description="What it would find, in words.")]
    detects: Annotated[list[Detection], Meta(description="The changes asked about; first the minimum effect.")]
    smallest: Annotated[Detection | None, Meta(description="The smallest such change found within 7 days.")]


class Waiting(Struct, frozen=True):
    """A segment (or slice) without a reference: nothing of it is judged."""

    segment: str
    state: Annotated[str, Meta(description="learning, or draft: a reference waits for approval.")]
    until: Annotated[Iso | None, Meta(description="When learning ends, if there is enough traffic by then.")]


class Budget(Struct, frozen=True):
    """What the false-alarm budget buys: its division, what is spent, and what every stream would find."""

    evaluated_until: Iso | None
    pots: list[BudgetPot]
    streams: list[BudgetStream]
    waiting: list[Waiting]
    summary: list[str]


class Status(Struct, frozen=True):
    """What has been read, stored and found."""

    events: int
    duplicates: int
    dead_letters: int
    late_events: int
    offsets: Annotated[dict[str, dict[str, int]], Meta(description="Per topic and partition: the next offset.")]
    watermarks: Annotated[dict[str, dict[str, Iso | None]], Meta(description="Per topic and partition.")]
    closed_until: Annotated[Iso | None, Meta(description="Windows before this are closed.")]
    evaluated_until: Annotated[Iso | None, Meta(description="Ticks before this are evaluated.")]
    segments: int
    samples: Annotated[dict[str, int], Meta(description="By state.")]
    missing: Annotated[dict[str, int], Meta(description="Missing samples by reason.")]
    coverage: Annotated[float | None, Meta(description="Embedded share of the samples that are no longer pending.")]
    anomalies: Annotated[dict[str, int], Meta(description="By state.")]
    counters: Annotated[dict[str, int], Meta(description="What happened to records, by name.")]
    dead_letter_reasons: dict[str, int]
    outbox: Annotated[dict[str, dict[str, int]], Meta(description="Per sink: rows by state.")]
    budget: list[BudgetLine]
