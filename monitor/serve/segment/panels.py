"""Which signals are drawn on one chart, in which section of the page, and which of them at once."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.summaries.catalogue import signal


@dataclass(frozen=True, slots=True)
class Line:
    """A signal of the catalogue and what its line is called; of one by label ('' as the name) every label is one."""

    signal: str
    name: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart. ``first``: drawn at once; the others stand under "More signals". ``log``: on a logarithmic scale."""

    key: str
    section: str
    title: str
    lines: tuple[Line, ...]
    first: bool = False
    log: bool = False

    @property
    def metrics(self) -> frozenset[str]:
        """What is read of summaries for it."""
        return frozenset(signal(line.signal).metric for line in self.lines)

    @property
    def totals(self) -> bool:
        """Whether it counts or adds up, so that a step that is not over says too little."""
        return all(signal(line.signal).kind in ("volume", "total") for line in self.lines)


def _quantiles(metric: str, *names: str) -> tuple[Line, ...]:
    return tuple(Line(f"{metric}_{name}", name) for name in names)


TRAFFIC, COST, LATENCY, QUALITY, INPUT = "Traffic and mix", "Cost", "Latency", "Quality and outcomes", "Input"
SECTIONS = (TRAFFIC, COST, LATENCY, QUALITY, INPUT)
PANELS: tuple[Panel, ...] = (
    Panel("volume", TRAFFIC, "Events per {every}", (Line("volume", "events"),), first=True),
    Panel("mix", TRAFFIC, "Share of each routing tier", (Line("routing_mix", ""),), first=True),
    Panel("concurrency", TRAFFIC, "Requests in flight", _quantiles("concurrency", "p50", "p95")),
    Panel("retries", TRAFFIC, "Retries per event", (Line("retries_mean", "mean"),)),
    Panel("spend", COST, "Spend per {every}", (Line("cost_total", "spend"),), first=True),
    Panel("cost", COST, "Cost of a request", _quantiles("cost", "p50", "p95", "p99"), first=True, log=True),
    Panel("cost-tail", COST, "Share of spend in the dearest 1 % of requests", (Line("cost_top1_share", "share"),)),
    Panel("cost-dearest", COST, "Mean cost of the dearest 1 %", (Line("cost_expected_shortfall", "mean"),)),
    Panel("latency", LATENCY, "Total latency", _quantiles("latency_total", "p50", "p95", "p99"), first=True),
    Panel("stages", LATENCY, "p95 of each stage", (Line("latency_stage_p95", ""),), first=True, log=True),
    Panel("first-token", LATENCY, "Latency to the first token", _quantiles("latency_first_token", "p50", "p95")),
    Panel("amplification", LATENCY, "Amplification: p95 / p50", (Line("latency_amplification", "p95 / p50"),)),
    Panel(
        "timeouts-at", LATENCY, "Latency at which timeouts gave up", (Line("latency_timeout_p50", "p50"),)
    ),
    Panel(
        "failures", QUALITY, "Failed requests", (Line("error_rate", "errors"), Line("timeout_rate", "timeouts")),
        first=True,
    ),
    Panel("schema", QUALITY, "Answers that break their schema", (Line("schema_violation_rate", "share"),), first=True),
    Panel(
        "citations", QUALITY, "Citations",
        (Line("citation_ungrounded_rate", "not in the source"), Line("citation_missing_rate", "missing")), first=True,
    ),
    Panel("confidence", QUALITY, "Stated confidence", (Line("confidence_mean", "mean"), Line("confidence_p10", "p10"))),
    Panel(
        "withheld", QUALITY, "Answers withheld",
        (Line("refusal_rate", "refused by the model"), Line("abstention_rate", "abstained")),
    ),
    Panel(
        "checks", QUALITY, "Checks of answers",
        (Line("disagreement_rate", "cross-checks that disagree"), Line("verification_failure_rate", "not verified")),
    ),
    Panel("input-tokens", INPUT, "Input tokens", _quantiles("input_tokens", "p50", "p95"), first=True),
    Panel("output-tokens", INPUT, "Output tokens", _quantiles("output_tokens", "p50", "p95"), first=True),
    Panel("image-tokens", INPUT, "Image tokens", _quantiles("image_tokens", "p50", "p95")),
    Panel("audio-tokens", INPUT, "Audio tokens", _quantiles("audio_tokens", "p50", "p95")),
    Panel("reasoning-tokens", INPUT, "Reasoning tokens", _quantiles("reasoning_tokens", "p50", "p95")),
    Panel("context", INPUT, "Share of the context window that is used", _quantiles("context_used", "p50", "p95")),
    Panel("bytes", INPUT, "Bytes of input", _quantiles("input_bytes", "p50", "p95")),
)  # fmt: skip
# Signals that have no value per step: they are read from samples, and shown as evidence.
SAMPLED = (("image_drift", "images"), ("text_drift", "texts"), ("agreement", "images against texts"))
METRICS_READ = frozenset({"events"}.union(*(panel.metrics for panel in PANELS)))


def belongs(stream: str, panel: Panel) -> bool:
    """Whether an anomaly of a stream (``latency_stage_ocr_p95``) belongs on a panel.

    Percentiles of one quantity are one picture: an anomaly of p99 belongs on it, whichever lines it has.
    """
    return any(_shows(line.signal, stream) for line in panel.lines)


def _shows(name: str, stream: str) -> bool:
    found = signal(name)
    if found.by_label:
        return stream.startswith(f"{found.metric}_") and stream.endswith(name.removeprefix(found.metric))
    if found.kind == "quantile" and stream.startswith(f"{found.metric}_p"):
        return True
    return stream == name or (found.kind == "mix" and stream.startswith(f"{name}_"))
