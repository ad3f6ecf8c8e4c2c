"""Every signal that driftline measures: what it divides by what, which outcomes count, what counts as a change.

This table is the documentation (docs/signals.md is generated from it) and what `signals.measure` computes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from detectors.summaries.metrics import METRICS

SignalKind = Literal[
    "quantile", "mean", "shortfall", "tail_share", "total", "volume", "rate", "amplification", "mix", "heaviest",
    "month", "sample",
]  # fmt: skip
Direction = Literal["up", "down", "both"]
EffectUnit = Literal["ratio", "odds ratio", "difference", "standard deviations"]

_DIVISOR = {"currency": 1e9, "s": 1e6}
_FRACTION = 1e6  # confidence and context share are counted in millionths


@dataclass(frozen=True, slots=True)
class Signal:
    """One monitored quantity.

    metric: name of the summary metric it is read from ('' where it is not read from a summary).
    q: the quantile, or the share of events in the tail.
    by_label: measured once for every label of the metric.
    unit: of the measurement: ``currency``, ``s``, ``tokens``, ``bytes`` or ``1``.
    min_effect: the least change worth an alarm, in effect_unit, towards `direction`.
    """

    name: str
    kind: SignalKind
    metric: str
    unit: str
    numerator: str
    denominator: str
    outcomes: str
    direction: Direction
    min_effect: float
    effect_unit: EffectUnit
    description: str
    q: float = 0.0
    by_label: bool = False

    @property
    def divisor(self) -> float:
        """Stored integers per unit."""
        if self.metric and METRICS[self.metric].unit == "millionths":
            return _FRACTION
        return _DIVISOR.get(self.unit, 1.0)


_ANY = "all"
_NO_TIMEOUT = "all but timeout"
_LEAST_RATIO = {0.5: 1.15, 0.1: 1.15, 0.95: 1.3, 0.99: 1.5, 0.999: 2.0}


def _percent(q: float) -> str:
    return f"p{100 * q:g}"


def _quantiles(
    metric: str, unit: str, what: str, outcomes: str, quantiles: tuple[float, ...], by_label: bool = False
) -> Iterator[Signal]:
    for q in quantiles:
        yield Signal(
            f"{metric}_{_percent(q).replace('.', '')}",
            "quantile",
            metric,
            unit,
            f"the {_percent(q)} of {what}",
            f"events with {what}",
            outcomes,
            "both" if q == 0.5 else "up",
            _LEAST_RATIO[q],
            "ratio",
            f"{_percent(q)} of {what}, within 1.1 %",
            q=q,
            by_label=by_label,
        )


def _total(name: str, metric: str, unit: str, what: str) -> Signal:
    return Signal(
        name, "total", metric, unit, f"sum of {what}", "1 (a total)", _ANY, "up", 1.5, "ratio", f"Sum of {what}, exact"
    )


def _rate(name: str, metric: str, numerator: str, denominator: str, outcomes: str, description: str) -> Signal:
    return Signal(name, "rate", metric, "1", numerator, denominator, outcomes, "up", 1.5, "odds ratio", description)


def _sampled(name: str, what: str, description: str) -> Signal:
    return Signal(
        name,
        "sample",
        "",
        "1",
        what,
        "sampled sessions, weighted by 1/pi",
        _ANY,
        "both",
        0.5,
        "standard deviations",
        description,
    )


_COST = "cost (stated by the event or priced)"
_TOTAL = "total latency"
_FULL = (0.5, 0.95, 0.99, 0.999)

SIGNALS: tuple[Signal, ...] = (
    Signal(
        "volume", "volume", "events", "1", "events", "1 (a count)", _ANY, "both", 1.5, "ratio",
        "Events; none at all is a measurement too",
    ),
    *_quantiles("cost", "currency", _COST, _ANY, _FULL),
    Signal(
        "cost_expected_shortfall", "shortfall", "cost", "currency", "cost of the dearest 1 % of events",
        "1 % of the events with a cost", _ANY, "up", 1.5, "ratio", "Mean cost of the dearest 1 % of events", q=0.99,
    ),
    Signal(
        "cost_top1_share", "tail_share", "cost", "1", "cost of the dearest 1 % of events", "cost of all events", _ANY,
        "up", 1.5, "ratio", "Share of spend in the dearest 1 % of events", q=0.01,
    ),
    _total("cost_total", "cost", "currency", _COST),
    Signal(
        "cost_heaviest_user", "heaviest", "cost", "1", "cost of the user who spends most", "cost of all events", _ANY,
        "up", 2.0, "ratio", "Share of spend of the heaviest user; the heaviest users are listed with their error bound",
    ),
    Signal(
        "cost_projected_month", "month", "", "currency", "spend of the month so far and projected to its end",
        "1 (a total)", _ANY, "up", 1.2, "ratio",
        "Spend of the calendar month at the pace of the same hours of the week (detectors.cost)",
    ),
    *_quantiles("latency_total", "s", _TOTAL, _NO_TIMEOUT, _FULL),
    Signal(
        "latency_amplification", "amplification", "latency_total", "1", "p95 of total latency", "p50 of total latency",
        _NO_TIMEOUT, "up", 1.3, "ratio", "How much slower the slow events are than the usual one: p95 / p50",
    ),
    *_quantiles("latency_first_token", "s", "latency to the first token", _ANY, (0.5, 0.95, 0.99)),
    *_quantiles("latency_stage", "s", "latency of the stage", _NO_TIMEOUT, (0.5, 0.95, 0.99), by_label=True),
    *_quantiles("latency_timeout", "s", "latency at which a timeout gave up", "timeout only", (0.5,)),
    *_quantiles("input_tokens", "tokens", "input tokens", _ANY, (0.5, 0.95, 0.99)),
    *_quantiles("output_tokens", "tokens", "output tokens", _ANY, (0.5, 0.95, 0.99)),
    *_quantiles("image_tokens", "tokens", "image tokens (a part of the input tokens)", _ANY, (0.5, 0.95)),
    *_quantiles("audio_tokens", "tokens", "audio tokens (a part of the input tokens)", _ANY, (0.5, 0.95)),
    *_quantiles("reasoning_tokens", "tokens", "reasoning tokens (a part of the output tokens)", _ANY, (0.5, 0.95)),
    _total("input_tokens_total", "input_tokens", "tokens", "input tokens"),
    _total("output_tokens_total", "output_tokens", "tokens", "output tokens"),
    _total("cached_input_tokens_total", "cached_input_tokens", "tokens", "cached input tokens"),
    *_quantiles("context_used", "1", "input tokens / context limit", _ANY, (0.5, 0.95)),
    *_quantiles("input_bytes", "bytes", "bytes of input", _ANY, (0.5, 0.95)),
    *_quantiles("concurrency", "1", "requests in flight", _ANY, (0.5, 0.95)),
    Signal(
        "retries_mean", "mean", "retries", "1", "retries", "events that state their retries", _ANY, "up", 1.5, "ratio",
        "Retries per event",
    ),
    _rate("error_rate", "error", "outcome `error`", "events", _ANY, "Failed requests; timeouts are counted apart"),
    _rate("timeout_rate", "timeout", "outcome `timeout`", "events", _ANY, "Requests given up"),
    _rate("refusal_rate", "refused", "outcome `refused`", "events", _ANY, "Requests that the model refused"),
    _rate(
        "abstention_rate", "abstained", "`quality.abstained`, or outcome `abstained`; once where both", "events", _ANY,
        "Answers withheld for lack of certainty",
    ),
    _rate(
        "schema_violation_rate", "schema_violation", "`quality.schema.valid` false", "events with a schema verdict",
        _ANY, "Outputs that break their schema",
    ),
    _rate(
        "citation_missing_rate", "citation_missing", "events whose list of citations is empty",
        "events with a list of citations", _ANY, "Answers that cite nothing where citations are expected",
    ),
    _rate(
        "citation_ungrounded_rate", "citation_ungrounded", "events with a citation that is not in its source",
        "events with at least one citation that could be checked", _ANY,
        "Quotes that are not there: where the source text is given driftline looks itself, else `found` decides",
    ),
    _rate(
        "disagreement_rate", "disagreement", "`quality.cross_check.agree` false", "events with a cross-check", _ANY,
        "Answers that a second run or model contradicts",
    ),
    _rate(
        "verification_failure_rate", "verification_failed", "`quality.verification` `failed`",
        "events verified (`passed` or `failed`; `skipped` is none)", _ANY, "Answers that failed their verification",
    ),
    Signal(
        "routing_mix", "mix", "tier", "1", "events by `quality.routing_tier`", "events with a routing tier", _ANY,
        "both", 0.05, "difference", "Share of each routing tier",
    ),
    Signal(
        "confidence_mean", "mean", "confidence", "1", "sum of `quality.confidence`", "events with a confidence", _ANY,
        "both", 0.03, "difference", "Mean confidence that the feature states",
    ),
    Signal(
        "confidence_p10", "quantile", "confidence", "1", "the p10 of `quality.confidence`", "events with a confidence",
        _ANY, "down", 0.05, "difference", "p10 of the confidence, within 0.01", q=0.1,
    ),
    _sampled(
        "image_drift", "distance of image embeddings from the reference", "Do the images look different?"
    ),
    _sampled(
        "text_drift", "distance of text embeddings from the reference", "Do the texts of requests read differently?"
    ),
    _sampled(
        "agreement", "cosine of each image with its request's text, in standard deviations of the reference",
        "Do images still match their texts? Needs an encoder with a shared image-text space, whatever its scale",
    ),
    Signal(
        "calibration", "sample", "", "1", "answers that reviewers call wrong",
        "labelled answers with a confidence, weighted by 1/pi", "all with an answer", "both", 1.5, "odds ratio",
        "Does confidence mean what it meant? Answers are wrong more often, or less, than the reference's at the same "
        "confidence; labels come from the review queue",
    ),
)  # fmt: skip

BY_NAME: dict[str, Signal] = {s.name: s for s in SIGNALS}


def signal(name: str) -> Signal:
    """The signal of that name; KeyError says which names exist."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise KeyError(f"unknown signal {name!r}; known: {', '.join(BY_NAME)}") from None
