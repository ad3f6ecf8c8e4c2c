"""What each panel asks, as plain data: the overview dashboard's rows, in order. Nothing of Grafana is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PLACE = 'route=~"$route",segment=~"$segment"'
VERSION = f'{PLACE},version=~"$version"'

Kind = Literal["timeseries", "stat", "table"]


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL over the dashboard's variables, and the legend of its series."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """One panel. ``description`` says which question it answers. ``quiet``: no data is the healthy state."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class RowSpec:
    title: str
    panels: tuple[PanelSpec, ...]


def _by_segment(expr: str) -> Query:
    return Query(expr, "{{segment}}")


OVERVIEW = RowSpec(
    "Overview",
    (
        PanelSpec(
            "Open anomalies",
            "Is anything wrong? Open anomalies of the chosen segments, by severity; none is healthy.",
            "short",
            (Query(f"sum by (severity) (driftline_anomaly_active{{{PLACE}}})", "{{severity}}"),),
            kind="stat",
            width=6,
            quiet=True,
        ),
        PanelSpec(
            "Requests per second",
            "How much traffic is there? Events of the trailing hour of event time, divided by its length.",
            "reqps",
            (Query(f"sum(driftline_events{{{PLACE}}}) / scalar(max(driftline_window_seconds))", "requests"),),
            kind="stat",
            width=6,
        ),
        PanelSpec(
            "Spend per hour",
            "What does it cost? Spend of the trailing hour, in the reporting currency.",
            "none",
            (Query(f"sum(driftline_spend{{{PLACE}}})", "spend"),),
            kind="stat",
            width=6,
        ),
        PanelSpec(
            "Budget: anomalies opened in the period",
            "How often were people asked to look, against the false alarms the budget allows? True alarms count too.",
            "short",
            (
                Query("max by (severity) (driftline_budget_opened)", "{{severity}} opened"),
                Query("max by (severity) (driftline_budget_allowed)", "{{severity}} allowed"),
                Query('max by (severity) (driftline_budget_marked{mark="false"})', "{{severity}} marked false"),
            ),
            kind="stat",
            width=6,
        ),
        PanelSpec(
            "Which anomalies are open",
            "Where is something wrong, on which signal, and how does on-call hear of it? None is healthy.",
            "short",
            (
                Query(
                    f"max by (id, segment, route, signal, severity, owner, path) (driftline_anomaly_active{{{PLACE}}})",
                    "",
                ),
            ),
            kind="table",
            width=24,
            quiet=True,
        ),
        PanelSpec(
            "Traffic by segment",
            "Which segments have the traffic? Events in the trailing hour.",
            "short",
            (_by_segment(f"sum by (segment) (driftline_events{{{PLACE}}})"),),
        ),
        PanelSpec(
            "Errors by segment",
            (
                "Where does it fail? Share of events that failed, the worst of errors, "
                "schema violations and ungrounded citations."
            ),
            "percentunit",
            (
                _by_segment(
                    f'max by (segment) (driftline_rate{{{PLACE},rate=~"error|schema_violation|citation_ungrounded"}})'
                ),
            ),
        ),
        PanelSpec(
            "p95 latency by segment",
            "Where is it slow? 95th percentile of total latency, timeouts left out.",
            "s",
            (_by_segment(f'max by (segment) (driftline_latency_seconds{{{PLACE},quantile="0.95"}})'),),
        ),
    ),
)

SEGMENT = RowSpec(
    "Segment",
    (
        PanelSpec(
            "Cost per event",
            "How heavy is the tail of cost? Percentiles and the mean of the dearest 1 %, reporting currency.",
            "none",
            (
                Query(f"max by (segment, quantile) (driftline_cost{{{PLACE}}})", "{{segment}} p{{quantile}}"),
                Query(f"max by (segment) (driftline_cost_expected_shortfall{{{PLACE}}})", "{{segment}} dearest 1 %"),
            ),
        ),
        PanelSpec(
            "Share of spend in the tail",
            "Who drives the bill? Share of the dearest 1 % of events, and of the heaviest user.",
            "percentunit",
            (
                Query(f"max by (segment) (driftline_cost_top1_share{{{PLACE}}})", "{{segment}} dearest 1 %"),
                Query(f"max by (segment) (driftline_heaviest_user_share{{{PLACE}}})", "{{segment}} heaviest user"),
            ),
        ),
        PanelSpec(
            "Spend by model",
            "Which models is the money spent on? Trailing hour, reporting currency.",
            "none",
            (Query(f"sum by (model) (driftline_model_spend{{{PLACE}}})", "{{model}}"),),
        ),
        PanelSpec(
            "Projected month",
            "What will the calendar month cost? Its projection with the 95 % interval, and the spend so far.",
            "none",
            (
                Query(
                    f"max by (segment, bound) (driftline_projected_month_spend{{{PLACE}}})",
                    "{{segment}} {{bound}}",
                ),
                Query(f"max by (segment) (driftline_month_spend{{{PLACE}}})", "{{segment}} so far"),
            ),
        ),
        PanelSpec(
            "Latency",
            "How slow is it for the slowest? Percentiles of total latency, timeouts left out.",
            "s",
            (Query(f"max by (segment, quantile) (driftline_latency_seconds{{{PLACE}}})", "{{segment}} p{{quantile}}"),),
        ),
        PanelSpec(
            "Latency of stages (p95)",
            "Which stage owns the tail?",
            "s",
            (
                Query(
                    f'max by (segment, stage) (driftline_stage_seconds{{{PLACE},quantile="0.95"}})',
                    "{{segment}} {{stage}}",
                ),
            ),
        ),
        PanelSpec(
            "First token (p50, p95)",
            "How long until something is seen?",
            "s",
            (
                Query(
                    f'max by (segment, quantile) (driftline_first_token_seconds{{{PLACE},quantile=~"0.5|0.95"}})',
                    "{{segment}} p{{quantile}}",
                ),
            ),
        ),
        PanelSpec(
            "Amplification p95/p50",
            "Does only the tail grow, as when stages contend?",
            "none",
            (_by_segment(f"max by (segment) (driftline_latency_amplification{{{PLACE}}})"),),
        ),
        PanelSpec(
            "Quality rates",
            "Is it wrong, silently? Each rate over the events that could show it.",
            "percentunit",
            (Query(f"max by (segment, rate) (driftline_rate{{{PLACE}}})", "{{segment}} {{rate}}"),),
        ),
        PanelSpec(
            "Confidence",
            "Is the feature less sure of itself? Mean and the 5th percentile of stated confidence.",
            "percentunit",
            (
                Query(f"max by (segment) (driftline_confidence_mean{{{PLACE}}})", "{{segment}} mean"),
                Query(f'max by (segment) (driftline_confidence{{{PLACE},quantile="0.05"}})', "{{segment}} p0.05"),
            ),
        ),
        PanelSpec(
            "Routing",
            "Does traffic move between tiers? Share of events by tier.",
            "percentunit",
            (Query(f"max by (segment, tier) (driftline_routing_share{{{PLACE}}})", "{{segment}} {{tier}}"),),
        ),
        PanelSpec(
            "Tokens",
            "Do inputs or outputs grow? Tokens in the trailing hour by kind.",
            "short",
            (Query(f"sum by (kind) (driftline_tokens{{{PLACE}}})", "{{kind}}"),),
        ),
        PanelSpec(
            "Tokens and context (p95)",
            "How large are the largest requests, and how near to the context limit?",
            "short",
            (
                Query(
                    f'max by (segment, kind) (driftline_tokens_per_event{{{PLACE},quantile="0.95"}})',
                    "{{segment}} {{kind}}",
                ),
            ),
        ),
        PanelSpec(
            "Context used (p95)",
            "How near do the largest requests come to the context limit?",
            "percentunit",
            (_by_segment(f'max by (segment) (driftline_context_used{{{PLACE},quantile="0.95"}})'),),
        ),
        PanelSpec(
            "Events by version",
            "Which versions are live? A new line is a rollout.",
            "short",
            (Query(f"sum by (version) (driftline_version_events{{{VERSION}}})", "{{version}}"),),
        ),
        PanelSpec(
            "Rates by version",
            "Is a version worse than the one before it?",
            "percentunit",
            (
                Query(
                    f"max by (segment, version, rate) (driftline_version_rate{{{VERSION}}})",
                    "{{segment}} {{version}} {{rate}}",
                ),
            ),
        ),
        PanelSpec(
            "p95 latency by version",
            "Is a version slower than the one before it?",
            "s",
            (
                Query(
                    f"max by (segment, version) (driftline_version_latency_p95_seconds{{{VERSION}}})",
                    "{{segment}} {{version}}",
                ),
            ),
        ),
    ),
)

REVIEW = RowSpec(
    "Review",
    (
        PanelSpec(
            "Error rate from labels",
            (
                "How often is it wrong, by what reviewers said? Rate of the last 28 days with the limits of a 95 % "
                "interval that holds however often you look."
            ),
            "percentunit",
            (
                Query(
                    f"max by (segment, bound) (driftline_review_error_rate{{{PLACE}}})",
                    "{{segment}} {{bound}}",
                ),
            ),
        ),
        PanelSpec(
            "Labels behind the error rate",
            "How many labels does each segment's error rate rest on?",
            "short",
            (_by_segment(f"max by (segment) (driftline_review_labels{{{PLACE}}})"),),
        ),
        PanelSpec(
            "Labels a day",
            "Do reviewers give the labels that are drawn for? Labels of the last day, and what each pool can give.",
            "short",
            (
                Query("sum by (pool) (increase(driftline_review_labels_given_total[1d]))", "{{pool}} given"),
                Query("max by (pool) (driftline_review_labels_per_day)", "{{pool}} budget"),
            ),
        ),
        PanelSpec(
            "Items that wait",
            "How much work is there? Items that are open, or that a reviewer has.",
            "short",
            (Query('max by (pool, state) (driftline_review_items{state=~"open|leased"})', "{{pool}} {{state}}"),),
        ),
        PanelSpec(
            "Oldest open item",
            "Does somebody work here? Items leave the queue unanswered once they have waited for `review.expires`.",
            "s",
            (Query("max by (pool) (driftline_review_oldest_open_seconds)", "{{pool}}"),),
        ),
        PanelSpec(
            "Items that ended",
            "How much of what was drawn got no answer? Removed items widen the bounds of error rates.",
            "short",
            (Query('max by (pool, state) (driftline_review_items{state=~"done|removed"})', "{{pool}} {{state}}"),),
        ),
    ),
)

INTERNALS = RowSpec(
    "driftline itself",
    (
        PanelSpec(
            "Lag",
            "Does ingest keep up? Records between the stored offset and the end of each partition.",
            "short",
            (Query("max by (topic, partition) (driftline_consumer_lag)", "{{topic}}/{{partition}}"),),
        ),
        PanelSpec(
            "Records per second",
            "How fast is it reading? By partition.",
            "reqps",
            (
                Query(
                    "sum by (topic, partition) (rate(driftline_records_total[$__rate_interval]))",
                    "{{topic}}/{{partition}}",
                ),
            ),
        ),
        PanelSpec(
            "Dropped records per second",
            "What is not counted, and why? Dead letters, duplicates; late events are counted apart.",
            "reqps",
            (
                Query("sum(rate(driftline_dead_letters_total[$__rate_interval]))", "dead letters"),
                Query("sum(rate(driftline_duplicates_total[$__rate_interval]))", "duplicates"),
                Query("sum(rate(driftline_late_events_total[$__rate_interval]))", "late"),
            ),
        ),
        PanelSpec(
            "Stored dead letters",
            "Why were records not used? None is healthy.",
            "short",
            (Query("max by (reason) (driftline_dead_letters_stored)", "{{reason}}"),),
            quiet=True,
        ),
        PanelSpec(
            "Labels from elsewhere per hour",
            "Do labels of the labels topic arrive, and what becomes of them? Dead letters say why in the store.",
            "short",
            (Query("sum by (outcome) (increase(driftline_labels_read_total[1h]))", "{{outcome}}"),),
            quiet=True,
        ),
        PanelSpec(
            "Labels without an item",
            "How many labels from elsewhere count nowhere, since their event was not drawn?",
            "short",
            (Query("max(driftline_labels_without_item)", "labels"),),
        ),
        PanelSpec(
            "Samples",
            "Is embedding behind? Samples by state.",
            "short",
            (Query("max by (state) (driftline_samples)", "{{state}}"),),
        ),
        PanelSpec(
            "Coverage",
            "How much of the sample was seen? Share of completed samples with vectors.",
            "percentunit",
            (_by_segment(f"min by (segment) (driftline_sample_coverage{{{PLACE}}})"),),
        ),
        PanelSpec(
            "Evaluation behind",
            "How much closed event time waits for the evaluator?",
            "s",
            (Query("max(driftline_evaluation_delay_seconds)", "delay"),),
        ),
        PanelSpec(
            "Evaluation load",
            "Which share of the time does the evaluator work?",
            "percentunit",
            (Query("sum(rate(driftline_evaluation_seconds_total[$__rate_interval]))", "busy"),),
        ),
        PanelSpec(
            "Explanations that failed",
            "Could a change not be explained? The alarm went out all the same; the log says why.",
            "short",
            (Query("sum(increase(driftline_explanations_failed_total[$__rate_interval]))", "failed"),),
        ),
        PanelSpec(
            "Outbox",
            "Is something not delivered? Deliveries that wait or were refused, by sink; none is healthy.",
            "short",
            (
                Query(
                    'max by (sink, state) (driftline_outbox_rows{state=~"pending|failed"})',
                    "{{sink}} {{state}}",
                ),
            ),
            quiet=True,
        ),
        PanelSpec(
            "Parts",
            "Is every part running? 1 is up.",
            "short",
            (Query("min by (part) (driftline_part_up)", "{{part}}"),),
        ),
        PanelSpec(
            "Memory",
            "How much memory does each process hold?",
            "bytes",
            (Query('process_resident_memory_bytes{job=~".*driftline.*"}', "{{instance}}"),),
        ),
        PanelSpec(
            "Processor",
            "How many processors does each process use?",
            "short",
            (Query('rate(process_cpu_seconds_total{job=~".*driftline.*"}[$__rate_interval])', "{{instance}}"),),
        ),
    ),
)

ROWS = (OVERVIEW, SEGMENT, REVIEW, INTERNALS)


def panel_numbers() -> dict[str, int]:
    """Number of each panel in the generated dashboard, by its title; rows have numbers as well."""
    numbers = {}
    number = 0
    for row in ROWS:
        number += 1
        for panel in row.panels:
            number += 1
            numbers[panel.title] = number
    return numbers
