"""Which page of docs/runbooks/ belongs to a signal, and the two lines of it that every alert repeats.

One entry per family of signals; the alerts about driftline itself have pages by their own names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

DOCUMENTED: Final = "https://github.com/driftline/driftline/tree/main/docs/runbooks"
"""Where the pages of this project are; the default of ``alerts.runbook_url``."""


@dataclass(frozen=True, slots=True)
class Runbook:
    """A page, the signals it is about (by the beginnings of their names), and what is worth knowing before it is open.

    ``usually``: what it mostly turns out to be. ``first``: one concrete step, where SEGMENT and ID stand for those of
    the anomaly. ``panel``: title of the panel of
    dashboards/subjects/ that shows it.
    """

    page: str
    signals: tuple[str, ...]
    usually: str
    first: str
    panel: str


RUNBOOKS: Final = (
    Runbook(
        "cost",
        ("cost_",),
        "a few requests or one user with much larger inputs or outputs, a dearer model, or retries",
        "run `driftline cost --days 1 --segment SEGMENT`: it says which part of the bill grew",
        "Cost per event",
    ),
    Runbook(
        "tokens",
        ("input_tokens_", "output_tokens_", "image_tokens_", "audio_tokens_", "reasoning_tokens_",
         "cached_input_tokens_", "context_used_", "input_bytes_"),
        "larger documents, a longer prompt after a rollout, or answers that run on",
        "see whether a new version began at the same time; then open two sampled sessions that changed most",
        "Tokens and context (p95)",
    ),
    Runbook(
        "latency",
        ("latency_", "concurrency_", "retries_"),
        "one stage that is slow (the provider, a queue), more requests at a time, or longer outputs",
        "look at which stage holds the extra time (panel “Latency of stages”), then at that stage's own log",
        "Latency",
    ),
    Runbook(
        "errors",
        ("error_rate", "timeout_rate"),
        "the provider is failing or limiting, a release is broken, or inputs of a kind that nobody expected",
        "look at the provider's status page and at the error types of the last ten minutes in the feature's log",
        "Outcomes",
    ),
    Runbook(
        "refusals",
        ("refusal_rate", "abstention_rate"),
        "a new model or prompt version that is more careful, or inputs that it was not made for",
        "see whether a new version began at the same time; then read three refused or withheld answers",
        "Outcomes",
    ),
    Runbook(
        "schema-violations",
        ("schema_violation_rate",),
        "a new model or prompt version, a changed schema, or answers cut off at the output limit",
        "see whether a version or the schema changed at that time; then read three sampled answers that broke it",
        "Quality rates",
    ),
    Runbook(
        "citations",
        ("citation_",),
        "a prompt or model that quotes loosely, or sources that are read badly (scans, another language)",
        "open three sampled sessions and look for the quote in the source",
        "Quality rates",
    ),
    Runbook(
        "wrong-answers",
        ("disagreement_rate", "verification_failure_rate"),
        "answers that are wrong without an error: a new version, or inputs of a new kind",
        "review five sampled sessions of the segment (`driftline review next`, or /review)",
        "Quality rates",
    ),
    Runbook(
        "routing",
        ("routing_mix",),
        "a changed routing rule, a tier that is down, or other inputs",
        "ask who changed the router; else compare confidence and inputs of the segment",
        "Routing",
    ),
    Runbook(
        "confidence",
        ("confidence_",),
        "a new version that states confidence differently, or inputs that are harder or easier",
        "see whether a new version began at the same time; if not, look at drift of the same segment's inputs",
        "Confidence",
    ),
    Runbook(
        "calibration",
        ("calibration",),
        "a new version that is surer than it should be, inputs of a new kind, or reviewers who judge in another way",
        "run `driftline review calibration --segment SEGMENT`, then look at the wrong answers among the newest labels",
        "Confidence",
    ),
    Runbook(
        "volume",
        ("volume",),
        "a client that stopped or is looping, a holiday, a campaign, or events that no longer reach Kafka",
        "see whether the feature itself has the same traffic: if it does, its events are missing, not its users",
        "Traffic by segment",
    ),
    Runbook(
        "image-drift",
        ("image_drift",),
        "another scanner or camera, a new sender or template, or images that are resized or turned on the way",
        "open the sampled sessions “typical now” beside “typical before” on the anomaly's page",
        "Drift of inputs",
    ),
    Runbook(
        "text-drift",
        ("text_drift",),
        "a changed prompt template, another language, a new use of the feature",
        "open the sampled sessions “typical now” beside “typical before” on the anomaly's page",
        "Drift of inputs",
    ),
    Runbook(
        "agreement",
        ("agreement",),
        "images attached to the wrong request, blank or broken uploads, or a changed prompt template",
        "open three sampled sessions and see whether the image belongs to its text",
        "Drift of inputs",
    ),
    Runbook(
        "new-segment",
        ("new_segment",),
        "a new customer or source, a renamed attribute, or a test that reached production",
        "ask whether the segment is meant to be there; a renamed one shows as another that fell silent",
        "Traffic by segment",
    ),
)  # fmt: skip

ANY: Final = Runbook(
    "DriftlineAnomaly",
    ("",),
    "a release, a provider, or a new kind of input",
    "run `driftline alerts show ID`",
    "Which anomalies are open",
)
"""For a signal that no family claims, as one of a later version."""


def of_signal(signal: str) -> Runbook:
    """The runbook of a signal; that of every anomaly for an unknown one."""
    for runbook in RUNBOOKS:
        if signal.startswith(runbook.signals):
            return runbook
    return ANY


def address(base: str, page: str) -> str:
    """Where a page is read, below ``base``."""
    return f"{base.rstrip('/')}/{quote(page)}.md"
