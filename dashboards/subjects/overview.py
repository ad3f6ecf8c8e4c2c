"""Overview: what is wrong, where, since when; whether the budget is kept; which segments there are. A short page."""

from __future__ import annotations

from dashboards.panels import ROUTE, Column, DashboardSpec, Limit, PanelSpec, Query, RowSpec, by_segment

_ANOMALIES = f"max by (id, segment, route, signal, severity, owner, path) (driftline_anomaly_active{{{ROUTE}}})"
_FAILED = "error|schema_violation|citation_ungrounded"

ANOMALY_COLUMNS = (
    Column("severity", "Severity"),
    Column("segment", "Segment", to="driftline-segment"),
    Column("signal", "Signal"),
    Column("B", "Since", "dateTimeAsIso"),
    Column("owner", "Owner"),
    Column("path", "On-call hears by"),
    Column("id", "Anomaly"),
)


def since(anomalies: str) -> str:
    """When the anomalies' changes began, in milliseconds, as Grafana's date units read it."""
    return f"{anomalies} * on (id) group_left max by (id) (driftline_anomaly_since_seconds) * 1000"


OVERVIEW = DashboardSpec(
    "driftline-overview",
    "driftline: overview",
    "Is anything wrong, where, and since when? Is the false-alarm budget kept?",
    ("route",),
    (
        RowSpec(
            "Is anything wrong?",
            (
                PanelSpec(
                    "Open anomalies",
                    "Is anything wrong? Open anomalies by severity; none is healthy.",
                    "short",
                    (Query(f"sum by (severity) (driftline_anomaly_active{{{ROUTE}}})", "{{severity}}"),),
                    kind="stat",
                    width=6,
                    quiet=True,
                    limit=Limit(1),
                ),
                PanelSpec(
                    "Requests per second",
                    "How much traffic is there? Events of the trailing hour of event time, divided by its length.",
                    "reqps",
                    (Query(f"sum(driftline_events{{{ROUTE}}}) / scalar(max(driftline_window_seconds))", "requests"),),
                    kind="stat",
                    width=6,
                ),
                PanelSpec(
                    "Requests that failed",
                    "How much of the traffic fails outright? Errors over the events that say whether they failed.",
                    "percentunit",
                    (
                        Query(
                            f'sum(driftline_rate{{{ROUTE},rate="error"}} * driftline_rate_trials) '
                            f'/ sum(driftline_rate_trials{{{ROUTE},rate="error"}})',
                            "failed",
                        ),
                    ),
                    kind="stat",
                    width=6,
                    to="driftline-quality",
                ),
                PanelSpec(
                    "Spend per hour",
                    "What does it cost? Spend of the trailing hour, in the reporting currency.",
                    "none",
                    (Query(f"sum(driftline_spend{{{ROUTE}}})", "spend"),),
                    kind="stat",
                    width=6,
                    money=True,
                    to="driftline-cost",
                ),
                PanelSpec(
                    "Which anomalies are open",
                    (
                        "Where is something wrong, on which signal, since when at the earliest, and how does on-call "
                        "hear of it? None is healthy."
                    ),
                    "short",
                    (Query(_ANOMALIES), Query(since(_ANOMALIES))),
                    kind="table",
                    width=24,
                    height=7,
                    quiet=True,
                    columns=ANOMALY_COLUMNS,
                    sort="Since",
                ),
                PanelSpec(
                    "Anomalies over time",
                    "What was wrong when, and what is still? A bar for as long as an anomaly was open.",
                    "short",
                    (
                        Query(
                            f"max by (segment, signal) (driftline_anomaly_active{{{ROUTE}}})",
                            "{{segment}} {{signal}}",
                        ),
                    ),
                    kind="state-timeline",
                    width=24,
                    quiet=True,
                    to="driftline-segment",
                ),
            ),
        ),
        RowSpec(
            "Is the budget kept, and does the watch itself work?",
            (
                PanelSpec(
                    "Budget: anomalies opened in the period",
                    (
                        "How often were people asked to look, against the false alarms the budget allows? True alarms "
                        "count as opened too; what people marked says how many were false."
                    ),
                    "short",
                    (
                        Query("max by (owner, severity) (driftline_budget_period_seconds)"),
                        Query("max by (owner, severity) (driftline_budget_allowed)"),
                        Query("max by (owner, severity) (driftline_budget_opened)"),
                        Query('max by (owner, severity) (driftline_budget_marked{mark="false"})'),
                        Query('max by (owner, severity) (driftline_budget_marked{mark="real"})'),
                    ),
                    kind="table",
                    width=14,
                    height=6,
                    columns=(
                        Column("owner", "Owner"),
                        Column("severity", "Severity"),
                        Column("A", "Period", "dtdurations"),
                        Column("B", "False alarms allowed"),
                        Column("C", "Opened"),
                        Column("D", "Marked false"),
                        Column("E", "Marked real"),
                    ),
                ),
                PanelSpec(
                    "Is driftline itself well",
                    "Can this page be believed? Parts that are down, records not read, event time not judged.",
                    "short",
                    (
                        Query("count(driftline_part_up == 0) or vector(0)", "parts down"),
                        Query("sum(max by (topic, partition) (driftline_consumer_lag))", "records behind"),
                        Query("max(driftline_evaluation_delay_seconds)", "seconds not judged"),
                    ),
                    kind="stat",
                    width=10,
                    height=6,
                    to="driftline-internals",
                ),
            ),
        ),
        RowSpec(
            "Where?",
            (
                PanelSpec(
                    "Segments",
                    (
                        "Which segments are there, how large and how well are they? Trailing hour; failed is the worst "
                        "of errors, schema violations and ungrounded citations. A segment opens its own dashboard."
                    ),
                    "short",
                    (
                        Query(f"sum by (route, segment) (driftline_events{{{ROUTE}}})"),
                        Query(f'max by (route, segment) (driftline_rate{{{ROUTE},rate=~"{_FAILED}"}})'),
                        Query(f'max by (route, segment) (driftline_latency_seconds{{{ROUTE},quantile="0.95"}})'),
                        Query(f"sum by (route, segment) (driftline_spend{{{ROUTE}}})"),
                        Query(f"count by (route, segment) (driftline_anomaly_active{{{ROUTE}}})", rare=True),
                    ),
                    kind="table",
                    width=24,
                    height=9,
                    columns=(
                        Column("segment", "Segment", to="driftline-segment"),
                        Column("route", "Route"),
                        Column("A", "Events"),
                        Column("B", "Failed", "percentunit"),
                        Column("C", "p95 latency", "s"),
                        Column("D", "Spend"),
                        Column("E", "Open anomalies"),
                    ),
                    sort="Events",
                ),
                PanelSpec(
                    "Traffic by segment",
                    "Which segments have the traffic? Events in the trailing hour of the ten largest.",
                    "short",
                    (by_segment("sum", f"driftline_events{{{ROUTE}}}", ROUTE),),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Errors by segment",
                    (
                        "Where does it fail? Share of events that failed, the worst of errors, schema violations and "
                        "ungrounded citations; the ten largest segments."
                    ),
                    "percentunit",
                    (by_segment("max", f'driftline_rate{{{ROUTE},rate=~"{_FAILED}"}}', ROUTE),),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "p95 latency by segment",
                    (
                        "Where is it slow? 95th percentile of total latency, timeouts left out; the ten largest "
                        "segments."
                    ),
                    "s",
                    (by_segment("max", f'driftline_latency_seconds{{{ROUTE},quantile="0.95"}}', ROUTE),),
                    to="driftline-segment",
                ),
            ),
        ),
    ),
)
