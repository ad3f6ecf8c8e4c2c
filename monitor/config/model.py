"""The configuration as typed, immutable models. One YAML file; every key has a default but ``kafka.topics``.

Descriptions here are the documentation: docs/configuration.md is generated from them, and a test fails when it
is stale.
"""

from __future__ import annotations

import re
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from monitor.config.addresses import Topic
from monitor.config.alerts import Alerts, KafkaSink
from monitor.config.dashboards import Dashboards
from monitor.config.inputs import Encoder, Payloads
from monitor.config.owners import FalseAlarmBudget, Owner, checked_owners
from monitor.config.report import Report
from monitor.config.review import Review
from monitor.config.section import SECRET, Section, written
from monitor.config.units import Duration, Size, format_duration, parse_allowance, parse_duration

Stakes = Literal["low", "medium", "high"]


class Kafka(Section):
    """Where events come from, and how they are read."""

    bootstrap: str = Field("localhost:9092", description="Comma-separated host:port list of brokers.")
    topics: tuple[Topic, ...] = Field(("inference",), min_length=1, description="Topics that carry the native events.")
    group: str = Field("driftline", description="Consumer group.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism."
    )
    username: str | None = Field(None, description="SASL user.")
    password: str | None = Field(
        None, description="SASL password; better as ${NAME} or a *_FILE variable.", repr=False, json_schema_extra=SECRET
    )
    ca_file: str | None = Field(None, description="PEM file of the certificate authority for SSL.")
    session_timeout: Duration = Field(
        written("10s"), description="How long the partitions of an ingest process that was killed wait for another one."
    )
    commit_every: Duration = Field(written("5s"), description="Longest time between two commits to the store.")
    commit_records: int = Field(200_000, ge=1, description="Most records in one commit.")
    max_record: Size = Field(written("1MB"), description="A larger record is a dead letter.")
    dedup_records: int = Field(
        100_000, ge=0, description="An id seen among this many previous records is the same event."
    )
    session_records: int = Field(
        500_000, ge=0, description="How many previous records of a partition a session is remembered for."
    )
    watermark_delay: Duration = Field(
        written("30s"), description="How far the watermark stays behind the greatest event time."
    )
    allowed_lateness: Duration = Field(written("24h"), description="Events later than this are dead letters.")
    future_tolerance: Duration = Field(
        written("10m"), description="How far an event may be ahead of its record's Kafka timestamp."
    )
    idle_after: Duration = Field(
        written("60s"),
        description="A caught-up partition without records for this long (wall clock) no longer holds windows open.",
    )
    dead_letter_topic: Topic = Field(
        "driftline.dead-letters", description="Topic for dead letters (reason and position)."
    )
    dead_letter_bytes: bool = Field(False, description="Also put the original bytes on the dead-letter topic.")
    labels_topic: Topic | None = Field(
        None, description="Topic that labels of events come from; default: none is read."
    )
    review_topic: Topic | None = Field(
        None,
        description="Topic that every item drawn for review is told to; default: none.",
    )
    review_predictions: bool = Field(
        False,
        description="Also put the model's confidence, the predicted chance of an error and why an item was chosen on "
        "the review topic; they lead whoever labels with them in view.",
    )

    @model_validator(mode="after")
    def _topics_differ(self) -> Kafka:
        """What driftline writes must not be what it reads, and labels are no events."""
        used = [*self.topics, self.dead_letter_topic, *filter(None, (self.labels_topic, self.review_topic))]
        if twice := sorted({name for name in used if used.count(name) > 1} & {self.labels_topic, self.review_topic}):
            raise ValueError(
                f"the topic {twice[0]!r} is named twice; give kafka.topics, dead_letter_topic, labels_topic and "
                "review_topic topics of their own"
            )
        return self


class Store(Section):
    """Where state is kept."""

    url: str = Field(
        "sqlite:///driftline.db",
        description="sqlite:///FILE or postgresql://USER@HOST/DB; a password in it is kept secret.",
        repr=False,
        json_schema_extra=SECRET,
    )


class Route(Section):
    """What one route of the feature is worth, and the attributes to segment it by."""

    stakes: Stakes = Field("medium", description="What is at stake when this route fails.")
    segment_by: tuple[str, ...] = Field(
        (), description="Attributes whose values split the route into segments when no rule matches."
    )


class SegmentRule(Section):
    """First match wins; a rule without conditions matches every event of its route."""

    name: str = Field(min_length=1, max_length=120, description="Segment name; {attribute} is replaced by its value.")
    route: str | None = Field(None, description="Only events of this route.")
    where: dict[str, str | tuple[str, ...]] = Field(
        {}, description="attribute: value or list of values, all of which must match."
    )
    stakes: Stakes | None = Field(None, description="Stakes of this segment; default: its route's.")


class Segments(Section):
    """How events are divided."""

    rules: tuple[SegmentRule, ...] = Field((), description="Tried in order; first match wins.")
    max_segments: int = Field(
        200, ge=1, le=5000, description="Segments admitted per partition; further ones fold into `other`."
    )
    max_versions: int = Field(
        20,
        ge=1,
        le=1000,
        description="Versions (model + prompt version) admitted per partition; further ones fold into `other`.",
    )


Slice = Literal[
    "dense_low_contrast", "rotated_or_skewed", "image_text_conflict", "near_context_limit", "domain_notation"
]


class Slices(Section):
    """Slices known only of sampled events."""

    enabled: tuple[Slice, ...] = Field(
        ("dense_low_contrast", "rotated_or_skewed", "image_text_conflict", "near_context_limit", "domain_notation"),
        description="Which of the shipped slices are measured.",
    )
    stakes: Stakes = Field("medium", description="Stakes of slices.")


class ModelPrice(Section):
    model: str = Field(description="Response model, exact or with a trailing *.")
    since: str = Field(
        "1970-01-01", alias="from", description="First day (in the configured timezone) on which the price holds."
    )
    currency: str = Field("USD", pattern="^[A-Z]{3}$", description="ISO 4217 code.")
    input_per_million: float = Field(ge=0, description="Price of a million input tokens.")
    output_per_million: float = Field(ge=0, description="Price of a million output tokens.")
    cached_input_per_million: float | None = Field(
        None, ge=0, description="Price of a million cached input tokens; default: the input price."
    )


class Prices(Section):
    """What an event costs when it does not say so itself."""

    currency: str = Field("USD", pattern="^[A-Z]{3}$", description="Reporting currency.")
    rates: dict[str, float] = Field({}, description="CODE: units of the reporting currency for one unit of CODE.")
    models: tuple[ModelPrice, ...] = Field(
        (), description="Price table; the last entry whose `from` date has come holds."
    )


class Sampling(Section):
    """How many events are embedded."""

    per_hour: int = Field(
        1200, ge=0, description="Embedding budget: sampled sessions per hour of event time, all segments together."
    )
    doubtful_per_hour: int = Field(
        60,
        ge=0,
        description="Sessions kept beside them, for review alone, per hour of event time: their event says that the "
        "answer breaks its schema, lacks a citation or cites what is not in the source, disagrees with a cross-check "
        "or failed verification.",
    )
    floor_low: int = Field(5, ge=0, description="Least sampled sessions per hour for a segment of low stakes.")
    floor_medium: int = Field(20, ge=0, description="The same for medium stakes.")
    floor_high: int = Field(60, ge=0, description="The same for high stakes.")
    parts: int = Field(4, ge=1, le=64, description="Most input parts embedded of one event.")
    seed: str = Field("driftline", description="Changes which events are chosen.")
    content: bool = Field(
        True, description="Keep redacted prompt and output, citations and a thumbnail of each sample."
    )


class Reference(Section):
    """What inputs are compared with."""

    learn: Duration = Field(
        written("7d"),
        description="With no reference, learn one per segment from this much event time. Rates, cost and latency are "
        "judged from 3 days on, volume from 5.",
    )
    skip: Duration = Field(written("0s"), description="Event time left out before learning starts.")
    grow: bool = Field(
        True,
        description="Learn a learned reference again whenever twice its length has passed without an anomaly, up to "
        "`evaluation.history` and what `retention.hour` keeps. Not those of slices, nor any built by hand; only with "
        "`auto_activate`.",
    )
    min_rows: int = Field(200, ge=20, description="Fewest sampled sessions for a reference of embeddings.")
    max_rows: int = Field(5000, ge=20, description="Most sampled sessions kept in a reference.")
    auto_activate: bool = Field(True, description="Activate a learned reference without approval.")


class Evaluation(Section):
    """When detectors step."""

    every: Duration = Field(written("5m"), description="Tick length in event time.")
    embeddings_every: Duration = Field(
        written("1h"), description="Step of the embedding detectors; a multiple of `every`."
    )
    history: Duration = Field(
        written("28d"), description="How much history rates, latency, cost and volume are compared with, at most."
    )
    min_history: Duration = Field(written("7d"), description="History needed before a stream is judged.")
    confidence: float = Field(0.998, gt=0.5, lt=1, description="Confidence of the upper limit of a reference rate.")
    resolve_after: Duration = Field(
        written("6h"), description="An anomaly is resolved after this long without evidence."
    )
    lease: Duration = Field(written("30s"), description="How long a leader that stopped answering keeps the lead.")

    @model_validator(mode="after")
    def _multiple(self) -> Evaluation:
        if self.every % 60_000_000 or self.every <= 0:
            raise ValueError("`every` must be a multiple of the window, 1m")
        if self.embeddings_every % self.every:
            raise ValueError("`embeddings_every` must be a multiple of `every`")
        return self


class Retention(Section):
    """How long each kind of data is kept, in event time."""

    minute: Duration = Field(written("7d"), description="Summaries per minute.")
    hour: Duration = Field(written("90d"), description="Summaries per hour.")
    day: Duration = Field(written("800d"), description="Summaries per day.")
    samples: Duration = Field(written("90d"), description="Samples, vectors and conditions.")
    content: Duration = Field(written("30d"), description="Prompt, output, citations and thumbnails of samples.")
    dead_letters: Duration = Field(written("30d"), description="Dead letters with their original bytes.")
    anomalies: Duration = Field(written("800d"), description="Anomalies and their evidence.")
    labels: Duration = Field(
        written("800d"),
        description="Items of the review queue, their labels, audit and the sums estimates need; at least `samples`.",
    )


class Redaction(Section):
    name: str = Field(description="Name that replaces the match, as [name].")
    pattern: str = Field(description="Regular expression (Python's re).")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(
                f"expected a regular expression, got {value!r} ({error}); write one for Python's re"
            ) from None
        return value


class Privacy(Section):
    """What is never stored."""

    hash_key: str | None = Field(
        None,
        description="Key of the user hashes; better as a *_FILE variable. Default: made once and kept in the store.",
        repr=False,
        json_schema_extra=SECRET,
    )
    redact: tuple[Redaction, ...] = Field(
        (
            Redaction(name="email", pattern=r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
            Redaction(name="card", pattern=r"\b(?:\d[ -]?){13,19}\b"),
            Redaction(name="secret", pattern=r"\b(?:sk|pk|ghp|xox[bp])[-_][A-Za-z0-9_-]{16,}\b"),
        ),
        description="Applied to every text before it is stored, logged or sent.",
    )


class Serve(Section):
    """API, pages and metrics."""

    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback only with tokens.")
    port: int = Field(8420, ge=0, le=65535, description="Port; 0 picks a free one.")


class Config(Section):
    """driftline's configuration."""

    kafka: Kafka = Kafka()
    store: Store = Store()
    routes: dict[str, Route] = Field(
        {},
        description="Route: its stakes, and how it is segmented; a route not listed is one segment of medium stakes.",
    )
    segments: Segments = Segments()
    slices: Slices = Slices()
    prices: Prices = Prices()
    sampling: Sampling = Sampling()
    payloads: Payloads = Payloads()
    encoder: Encoder = Encoder()
    reference: Reference = Reference()
    evaluation: Evaluation = Evaluation()
    budget: FalseAlarmBudget = FalseAlarmBudget()
    owners: dict[str, Owner] = Field(
        {}, description="Name: an owner with segments and a budget of its own; one owner covers everything by default."
    )
    alerts: Alerts = Alerts()
    review: Review = Review()
    report: Report = Report()
    dashboards: Dashboards = Dashboards()
    retention: Retention = Retention()
    privacy: Privacy = Privacy()
    serve: Serve = Serve()
    timezone: str = Field("UTC", description="IANA name; months, weeks and hours of the week are in it.")

    @model_validator(mode="after")
    def _minutes_outlive_lateness(self) -> Config:
        if self.retention.minute < self.kafka.allowed_lateness + 86_400_000_000:
            raise ValueError(
                "retention.minute must be at least kafka.allowed_lateness and a day more, since late events still "
                f"change minutes; got {format_duration(self.retention.minute)} and "
                f"{format_duration(self.kafka.allowed_lateness)}"
            )
        return self

    @model_validator(mode="after")
    def _items_outlive_samples(self) -> Config:
        if self.retention.labels < self.retention.samples:
            raise ValueError(
                "retention.labels must be at least retention.samples, since a sample whose item is gone could be drawn "
                f"for review again; got {format_duration(self.retention.labels)} and "
                f"{format_duration(self.retention.samples)}"
            )
        return self

    @model_validator(mode="after")
    def _owners_sinks(self) -> Config:
        for name, owner in self.owners.items():
            if unknown := sorted(set(owner.sinks or ()) - set(self.alerts.sinks)):
                configured = ", ".join(self.alerts.sinks) or "none"
                raise ValueError(
                    f"owners.{name}.sinks names {', '.join(map(repr, unknown))}, which alerts.sinks does not have; "
                    f"configured there: {configured}"
                )
        return self

    @field_validator("owners")
    @classmethod
    def _owners(cls, value: dict[str, Owner]) -> dict[str, Owner]:
        return checked_owners(value)

    @model_validator(mode="after")
    def _sinks_topics(self) -> Config:
        read = {*self.kafka.topics, *filter(None, (self.kafka.labels_topic,))}
        for name, sink in self.alerts.sinks.items():
            if isinstance(sink, KafkaSink) and sink.topic in read:
                raise ValueError(
                    f"alerts.sinks.{name}.topic is {sink.topic!r}, which driftline reads; give anomalies a topic of "
                    "their own"
                )
        return self

    @model_validator(mode="after")
    def _reports_sinks(self) -> Config:
        for name in self.report.sinks:
            sink = self.alerts.sinks.get(name)
            if sink is None or sink.kind not in ("smtp", "webhook"):
                what = "which alerts.sinks does not have" if sink is None else f"which is of the kind {sink.kind}"
                fit = [known for known, one in self.alerts.sinks.items() if one.kind in ("smtp", "webhook")]
                raise ValueError(
                    f"report.sinks names {name!r}, {what}; a report is sent to sinks of the kinds smtp and webhook, "
                    f"configured: {', '.join(fit) or 'none'}"
                )
        return self

    @model_validator(mode="after")
    def _pool_names(self) -> Config:
        if "default" in self.review.pools:
            raise ValueError(
                "review.pools may not name a pool `default`, which is the one of everything that no pool takes: "
                "its labels are `review.labels`"
            )
        if long := [name for name in self.review.pools if not 0 < len(name) <= 100]:
            raise ValueError(f"a name in review.pools has 1 to 100 characters, got {long[0][:120]!r}")
        return self

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"expected an IANA time zone, got {value!r}; write for example Europe/Berlin or UTC"
            ) from None
        return value


__all__ = ["Config", "parse_allowance", "parse_duration"]
