"""Segment: everything about one segment on one page."""

from __future__ import annotations

from dashboards.panels import PLACE, VERSION, Column, DashboardSpec, PanelSpec, Query, RowSpec, percentiles
from dashboards.subjects.overview import since

_ANOMALIES = f"max by (id, segment, signal, severity, owner, path) (driftline_anomaly_active{{{PLACE}}})"

SEGMENT = DashboardSpec(
    "driftline-segment",
    "driftline: segment",
    "How is this one segment: what is wrong with it, what does it cost, how slow and how right is it?",
    ("route", "segment", "version"),
    (
        RowSpec(
            "Now",
            (
                PanelSpec(
                    "Events of the segment",
                    "How much traffic does it have? Events in the trailing hour of event time.",
                    "short",
                    (Query(f"sum(driftline_events{{{PLACE}}})", "events"),),
                    kind="stat",
                    width=6,
                ),
                PanelSpec(
                    "Errors of the segment",
                    "Does it fail? Share of events that ended in an error.",
                    "percentunit",
                    (Query(f'max(driftline_rate{{{PLACE},rate="error"}})', "errors"),),
                    kind="stat",
                    width=6,
                    to="driftline-quality",
                ),
                PanelSpec(
                    "p95 latency of the segment",
                    "Is it slow? 95th percentile of total latency, timeouts left out.",
                    "s",
                    (Query(f'max(driftline_latency_seconds{{{PLACE},quantile="0.95"}})', "p95"),),
                    kind="stat",
                    width=6,
                    to="driftline-latency",
                ),
                PanelSpec(
                    "Spend of the segment",
                    "What does it cost? Spend of the trailing hour, in the reporting currency.",
                    "none",
                    (Query(f"sum(driftline_spend{{{PLACE}}})", "spend"),),
                    kind="stat",
                    width=6,
                    money=True,
                    to="driftline-cost",
                ),
                PanelSpec(
                    "Anomalies of the segment",
                    "What is wrong with it, and since when at the earliest? None is healthy.",
                    "short",
                    (Query(_ANOMALIES), Query(since(_ANOMALIES))),
                    kind="table",
                    width=12,
                    height=7,
                    quiet=True,
                    columns=(
                        Column("severity", "Severity"),
                        Column("signal", "Signal"),
                        Column("B", "Since", "dateTimeAsIso"),
                        Column("id", "Anomaly"),
                    ),
                    sort="Since",
                ),
                PanelSpec(
                    "Signals of the segment that changed",
                    "Which signals were outside of the budget, and for how long? Nothing is healthy.",
                    "short",
                    (Query(f"max by (signal) (driftline_anomaly_active{{{PLACE}}})", "{{signal}}"),),
                    kind="state-timeline",
                    width=12,
                    height=7,
                    quiet=True,
                ),
            ),
        ),
        RowSpec(
            "Traffic and answers",
            (
                PanelSpec(
                    "Traffic of the segment by version",
                    "Is traffic as usual, and which versions answer it? A new colour is a rollout.",
                    "short",
                    (Query(f"sum by (version) (driftline_version_events{{{VERSION}}})", "{{version}}"),),
                ),
                PanelSpec(
                    "Rates of the segment",
                    "Is it wrong, silently? Each rate over the events that could show it.",
                    "percentunit",
                    (Query(f"max by (rate) (driftline_rate{{{PLACE}}})", "{{rate}}"),),
                    to="driftline-quality",
                ),
                PanelSpec(
                    "Confidence of the segment",
                    "Is the feature less sure of itself here? Mean and the 5th percentile of stated confidence.",
                    "percentunit",
                    (
                        Query(f"max(driftline_confidence_mean{{{PLACE}}})", "mean"),
                        Query(f'max(driftline_confidence{{{PLACE},quantile="0.05"}})', "p5"),
                    ),
                ),
            ),
        ),
        RowSpec(
            "Cost and latency",
            (
                PanelSpec(
                    "Cost of the segment per event",
                    "How heavy is its tail of cost? Percentiles, and the mean of the dearest 1 %.",
                    "none",
                    (
                        *percentiles("driftline_cost", largest=False),
                        Query(f"max(driftline_cost_expected_shortfall{{{PLACE}}})", "dearest 1 %"),
                    ),
                    money=True,
                    to="driftline-cost",
                ),
                PanelSpec(
                    "Latency of the segment",
                    "How slow is it for the slowest? Percentiles of total latency, timeouts left out.",
                    "s",
                    percentiles("driftline_latency_seconds", largest=False),
                    to="driftline-latency",
                ),
                PanelSpec(
                    "Stages of the segment (p95)",
                    "Which stage owns its tail?",
                    "s",
                    (Query(f'max by (stage) (driftline_stage_seconds{{{PLACE},quantile="0.95"}})', "{{stage}}"),),
                ),
            ),
        ),
        RowSpec(
            "Inputs and review",
            (
                PanelSpec(
                    "Tokens of the segment per event (p95)",
                    "Do its largest inputs or outputs grow?",
                    "short",
                    (
                        Query(
                            f'max by (kind) (driftline_tokens_per_event{{{PLACE},quantile="0.95"}})',
                            "{{kind}}",
                        ),
                    ),
                ),
                PanelSpec(
                    "Coverage of the segment",
                    "How much of its sample was seen? Share of completed samples with vectors.",
                    "percentunit",
                    (Query(f"min(driftline_sample_coverage{{{PLACE}}})", "coverage"),),
                ),
                PanelSpec(
                    "Error rate of the segment from labels",
                    "How often is it wrong, by what reviewers said? With the 95 % interval that always holds.",
                    "percentunit",
                    (Query(f"max by (bound) (driftline_review_error_rate{{{PLACE}}})", "{{bound}}"),),
                ),
            ),
        ),
    ),
)
