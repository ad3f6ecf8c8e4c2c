"""What goes wrong in the simulated feature, when, and which signals it touches: the truth the scorer knows."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

HOUR_US = 3_600_000_000
ROUTE = "invoice-extract"


@dataclass(frozen=True, slots=True)
class Incident:
    """One planted change.

    ``after_hours`` counts from the start of the simulation; ``hours`` is None for one that lasts. ``touches`` are
    shell patterns over signal names: an alarm on one of them in the same segment finds the incident.
    """

    name: str
    tenant: str
    touches: tuple[str, ...]
    after_hours: float
    hours: float | None
    story: str

    @property
    def segment(self) -> str:
        return f"{ROUTE}/{self.tenant}"

    def injected_at(self, start_us: int) -> int:
        return start_us + round(self.after_hours * HOUR_US)

    def active(self, start_us: int, time_us: int) -> bool:
        begin = self.injected_at(start_us)
        return time_us >= begin and (self.hours is None or time_us < begin + round(self.hours * HOUR_US))

    def touched(self, signal: str) -> bool:
        return any(fnmatchcase(signal, pattern) for pattern in self.touches)


INCIDENTS = (
    Incident(
        "new_scanner",
        "globex",
        ("image_drift", "agreement"),
        after_hours=8 * 24 + 10,
        hours=None,
        story="globex replaces its scanner: pages arrive skewed and faded",
    ),
    Incident(
        "new_document_type",
        "initech",
        ("image_drift", "agreement"),
        after_hours=9 * 24 + 14,
        hours=None,
        story="initech starts to send packing slips, a document type nobody announced",
    ),
    Incident(
        "broken_schema",
        "umbrella",
        ("schema_violation_rate",),
        after_hours=11 * 24 + 9,
        hours=26,
        story="prompt version 15 is rolled out to umbrella and breaks its schema",
    ),
    Incident(
        "heavy_user",
        "acme",
        ("cost_*", "*_tokens*", "context*", "volume"),
        after_hours=13 * 24 + 11,
        hours=36,
        story="one user of acme uploads eighty-page scans, all day",
    ),
    Incident(
        "stage_contention",
        "hooli",
        ("latency_*",),
        after_hours=15 * 24 + 9,
        hours=30,
        story="the queue before hooli's model contends: p95 balloons, p50 stays flat",
    ),
    Incident(
        "ungrounded_answers",
        "stark",
        ("citation_ungrounded_rate", "confidence*"),
        after_hours=17 * 24 + 12,
        hours=None,
        story="a new model answers stark with quotes that are not on the page, at full confidence",
    ),
)

# After the three weeks, so that whoever looks on sees one open and end; the score is of the weeks alone.
LIVE = Incident(
    "schema_broken_again",
    "umbrella",
    ("schema_violation_rate",),
    after_hours=21 * 24 + 2,
    hours=8,
    story="prompt version 16 is rolled out to umbrella, breaks its schema and is rolled back",
)
