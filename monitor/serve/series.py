"""Product series: what the watched feature does, per segment, as gauges over the trailing window.

Everything is read from summaries, never from single events, so no series belongs to a user or a request, and the
number of series is bounded by the segment and version caps. A quantile that the window cannot support is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from detectors.cost.projection import Projection
from detectors.summaries import Selection, Summary
from monitor.metrics import Family, Series, families

PLACE = ("route", "segment")
QUANTILES = (0.5, 0.95, 0.99, 0.999)
STAGE_QUANTILES = (0.5, 0.95)
RATES = (
    "error", "timeout", "refused", "abstained", "schema_violation", "citation_missing", "citation_ungrounded",
    "disagreement", "verification_failed",
)  # fmt: skip
TOKENS = ("input", "output", "cached_input", "reasoning", "image", "audio")

# What `_values` asks of a summary: all events, never by session.
READ = Selection(
    frozenset(
        {
            "events", "cost", "latency_total", "latency_first_token", "latency_stage", "context_used", "concurrency",
            "confidence", "tier", "model_cost", *RATES, *(f"{kind}_tokens" for kind in TOKENS),
        }
    ),
    thinned=False,
)  # fmt: skip

_SHORTFALL = 0.99
_NANO, _US, _MILLIONTHS = 1e9, 1e6, 1e6

PRODUCT = (
    Series(
        "driftline_window_seconds",
        "gauge",
        (),
        "Length of the trailing window of event time that product series cover.",
    ),
    Series("driftline_window_end_seconds", "gauge", (), "Event time (epoch seconds) at which that window ends."),
    Series("driftline_currency_info", "gauge", ("currency",), "The reporting currency of every cost; always 1."),
    Series("driftline_segments_folded", "gauge", (), "Segments counted under `other` because the cap was reached."),
    Series("driftline_events", "gauge", PLACE, "Events in the window."),
    Series("driftline_spend", "gauge", PLACE, "Spend in the window, reporting currency."),
    Series("driftline_cost", "gauge", (*PLACE, "quantile"), "Cost of an event, reporting currency."),
    Series("driftline_cost_mean", "gauge", PLACE, "Mean cost of an event, reporting currency."),
    Series(
        "driftline_cost_expected_shortfall",
        "gauge",
        PLACE,
        "Mean cost of the dearest 1 % of events, reporting currency.",
    ),
    Series("driftline_cost_top1_share", "gauge", PLACE, "Share of spend in the dearest 1 % of events."),
    Series("driftline_heaviest_user_share", "gauge", PLACE, "Share of spend of the user who spends most."),
    Series("driftline_month_spend", "gauge", PLACE, "Spend of the calendar month so far, whole hours."),
    Series(
        "driftline_projected_month_spend",
        "gauge",
        (*PLACE, "bound"),
        "Spend of the calendar month at its end, from the same hours of the week; bound: value, or low and high of the "
        "95 % interval. Absent with less than 3 days of history.",
    ),
    Series("driftline_latency_seconds", "gauge", (*PLACE, "quantile"), "Total latency, timeouts left out."),
    Series("driftline_latency_amplification", "gauge", PLACE, "p95 of total latency over its p50."),
    Series("driftline_first_token_seconds", "gauge", (*PLACE, "quantile"), "Latency to the first token."),
    Series("driftline_stage_seconds", "gauge", (*PLACE, "stage", "quantile"), "Latency of a stage."),
    Series("driftline_concurrency", "gauge", (*PLACE, "quantile"), "Requests in flight, as the events say."),
    Series("driftline_tokens", "gauge", (*PLACE, "kind"), "Tokens in the window."),
    Series("driftline_tokens_per_event", "gauge", (*PLACE, "kind", "quantile"), "Tokens of an event."),
    Series("driftline_context_used", "gauge", (*PLACE, "quantile"), "Input tokens over the context limit."),
    Series("driftline_rate", "gauge", (*PLACE, "rate"), "Share of the events that could show it and did."),
    Series("driftline_rate_trials", "gauge", (*PLACE, "rate"), "Events that could show it."),
    Series("driftline_confidence", "gauge", (*PLACE, "quantile"), "Confidence that the feature states."),
    Series("driftline_confidence_mean", "gauge", PLACE, "Mean confidence that the feature states."),
    Series("driftline_routing_share", "gauge", (*PLACE, "tier"), "Share of events by routing tier."),
    Series("driftline_model_spend", "gauge", (*PLACE, "model"), "Spend in the window by model, reporting currency."),
    Series(
        "driftline_sample_coverage", "gauge", PLACE, "Share of the window's completed samples that have their vectors."
    ),
    Series("driftline_version_events", "gauge", (*PLACE, "version"), "Events in the window by version."),
    Series(
        "driftline_version_spend", "gauge", (*PLACE, "version"), "Spend in the window by version, reporting currency."
    ),
    Series("driftline_version_rate", "gauge", (*PLACE, "version", "rate"), "Rate by version, where it has trials."),
    Series("driftline_version_latency_p95_seconds", "gauge", (*PLACE, "version"), "p95 of total latency by version."),
)


@dataclass(frozen=True, slots=True)
class Window:
    """What the trailing window holds. ``summaries``: (route, segment, version) -> all its events.

    ``coverage``: (route, segment) -> share embedded. ``folded``: segments that went into ``other``.
    ``months``: (route, segment) -> what the calendar month will cost.
    """

    end_us: int
    length_us: int
    currency: str
    summaries: Mapping[tuple[str, str, str], Summary]
    coverage: Mapping[tuple[str, str], float] = field(default_factory=dict)
    folded: int = 0
    months: Mapping[tuple[str, str], Projection] = field(default_factory=dict)


Value = tuple[str, tuple[str, ...], float | None]
Values = dict[str, list[tuple[tuple[str, ...], float]]]


def product_families(window: Window) -> list[Family]:
    """Families of `PRODUCT` for one window."""
    return families_of_window(window) + families_of_summaries(window)


def families_of_window(window: Window) -> list[Family]:
    """What is said of the window besides its summaries."""
    return families(PRODUCT, _kept(_of_window(window)))


def families_of_summaries(window: Window, max_versions: int = 1000) -> list[Family]:
    """What is read from the window's summaries: most of the work. Versions beyond ``max_versions`` (by events) have no
    series of their own."""
    return families(PRODUCT, _kept(_values(window, max_versions)))


def _kept(values: Iterable[Value]) -> Values:
    found: Values = {}
    for name, labels, value in values:
        if value is not None:
            found.setdefault(name, []).append((labels, float(value)))
    return found


def _of_window(window: Window) -> Iterator[Value]:
    yield "driftline_window_seconds", (), window.length_us / _US
    yield "driftline_window_end_seconds", (), window.end_us / _US
    yield "driftline_currency_info", (window.currency,), 1
    yield "driftline_segments_folded", (), window.folded
    for place, month in window.months.items():
        yield "driftline_month_spend", place, month.spent / _NANO
        for bound, amount in (("value", month.projected), ("low", month.low), ("high", month.high)):
            yield "driftline_projected_month_spend", (*place, bound), amount / _NANO
    for place, share in window.coverage.items():
        yield "driftline_sample_coverage", place, share


def _values(window: Window, max_versions: int) -> Iterator[Value]:
    by_place: dict[tuple[str, str], list[Summary]] = {}
    for (route, segment, _), summary in window.summaries.items():
        by_place.setdefault((route, segment), []).append(summary)
    for place, parts in by_place.items():
        yield from _segment(place, Summary.merge_all(parts))
    by_events = sorted(window.summaries.items(), key=lambda entry: (-entry[1].events(), entry[0]))
    for key, summary in by_events[:max_versions]:
        yield from _version(key, summary)


def _segment(place: tuple[str, str], summary: Summary) -> Iterator[Value]:
    events = summary.events()
    yield "driftline_events", place, events
    yield from _cost(place, summary)
    yield from _latency(place, summary)
    for kind in TOKENS:
        found = summary.total(f"{kind}_tokens")
        if found.count:
            yield "driftline_tokens", (*place, kind), found.sum
            if kind in ("input", "output"):
                yield from _quantiles(
                    "driftline_tokens_per_event", summary, f"{kind}_tokens", (*place, kind), 1, STAGE_QUANTILES
                )
    for rate in RATES:
        found_rate = summary.rate(rate)
        if found_rate.trials:
            yield "driftline_rate", (*place, rate), found_rate.value
            yield "driftline_rate_trials", (*place, rate), found_rate.trials
    yield from _quantiles("driftline_context_used", summary, "context_used", place, _MILLIONTHS, STAGE_QUANTILES)
    yield from _quantiles("driftline_concurrency", summary, "concurrency", place, 1, STAGE_QUANTILES)
    yield from _quantiles("driftline_confidence", summary, "confidence", place, _MILLIONTHS, (0.05, 0.5))
    mean = summary.histogram("confidence").mean
    yield "driftline_confidence_mean", place, None if mean is None else mean / _MILLIONTHS
    tiers = summary.labelled("tier")
    routed = sum(total.count for total in tiers.values())
    for tier, total in tiers.items():
        yield "driftline_routing_share", (*place, tier), total.count / routed
    for model, total in summary.labelled("model_cost").items():
        yield "driftline_model_spend", (*place, model), total.sum / _NANO


def _cost(place: tuple[str, str], summary: Summary) -> Iterator[Value]:
    cost = summary.histogram("cost")
    if not cost.count:
        return
    spend = cost.sum / _NANO
    yield "driftline_spend", place, spend
    yield "driftline_cost_mean", place, spend / cost.count
    yield from _quantiles("driftline_cost", summary, "cost", place, _NANO, QUANTILES)
    shortfall = cost.expected_shortfall(_SHORTFALL)
    yield "driftline_cost_expected_shortfall", place, None if shortfall is None else shortfall / _NANO
    yield "driftline_cost_top1_share", place, cost.tail_share(1 - _SHORTFALL)
    heaviest = summary.heavy_hitters("spend", top=1)
    if heaviest and cost.sum:
        yield "driftline_heaviest_user_share", place, heaviest[0].low / cost.sum


def _latency(place: tuple[str, str], summary: Summary) -> Iterator[Value]:
    yield from _quantiles("driftline_latency_seconds", summary, "latency_total", place, _US, QUANTILES)
    yield from _quantiles("driftline_first_token_seconds", summary, "latency_first_token", place, _US, QUANTILES)
    latency = summary.histogram("latency_total")
    p50, p95 = latency.quantile(0.5), latency.quantile(0.95)
    if p50 and p95 is not None and supported(latency.count, 0.95):
        yield "driftline_latency_amplification", place, p95 / p50
    for stage in summary.labels("latency_stage"):
        yield from _quantiles(
            "driftline_stage_seconds", summary, "latency_stage", (*place, stage), _US, STAGE_QUANTILES, stage
        )


def _version(key: tuple[str, str, str], summary: Summary) -> Iterator[Value]:
    yield "driftline_version_events", key, summary.events()
    cost = summary.total("cost")
    yield "driftline_version_spend", key, cost.sum / _NANO if cost.count else None
    for rate in RATES:
        found = summary.rate(rate)
        if found.trials:
            yield "driftline_version_rate", (*key, rate), found.value
    latency = summary.histogram("latency_total")
    p95 = latency.quantile(0.95)
    if p95 is not None and supported(latency.count, 0.95):
        yield "driftline_version_latency_p95_seconds", key, p95 / _US


def _quantiles(
    series: str,
    summary: Summary,
    metric: str,
    labels: tuple[str, ...],
    scale: float,
    quantiles: Iterable[float],
    label: str = "",
) -> Iterator[Value]:
    histogram = summary.histogram(metric, label)
    n = histogram.count
    for q in quantiles:
        value = histogram.quantile(q)
        if value is not None and supported(n, q):
            yield series, (*labels, f"{q:g}"), value / scale


def supported(n: int, q: float) -> bool:
    """Whether n observations give a 95 % interval of the q-quantile: `Histogram.quantile_interval` without its cost.

    Order statistics enclose the quantile unless all n may lie on one side of it: q^n or (1-q)^n above 2.5 %.
    """
    return bool(n) and q**n <= 0.025 and (1 - q) ** n < 0.025
