"""Latency: is it slow, where, in which stage, and only under load?"""

from __future__ import annotations

from dashboards.panels import (
    PLACE,
    VERSION,
    DashboardSpec,
    PanelSpec,
    Query,
    RowSpec,
    anomalies_of,
    by_segment,
    of_largest,
    percentiles,
)

LATENCY = DashboardSpec(
    "driftline-latency",
    "driftline: latency",
    "Is it slow, where, in which stage, and only under load?",
    ("route", "segment", "version"),
    (
        RowSpec(
            "Is it slow?",
            (
                PanelSpec(
                    "Latency",
                    "How slow is it for the slowest? Percentiles of total latency, timeouts left out.",
                    "s",
                    percentiles("driftline_latency_seconds", ("0.5", "0.95", "0.99")),
                    width=12,
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Latency of stages (p95)",
                    "Which stage owns the tail?",
                    "s",
                    (
                        Query(
                            of_largest(
                                "max by (segment, stage)", f'driftline_stage_seconds{{{PLACE},quantile="0.95"}}'
                            ),
                            "{{segment}} {{stage}}",
                        ),
                    ),
                    width=12,
                    to="driftline-segment",
                ),
                anomalies_of("Anomalies of latency", "how long it takes", "latency"),
            ),
        ),
        RowSpec(
            "Only under load?",
            (
                PanelSpec(
                    "Amplification p95/p50",
                    "Does only the tail grow, as when stages contend?",
                    "none",
                    (by_segment("max", f"driftline_latency_amplification{{{PLACE}}}"),),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Concurrency (p95)",
                    "Is it slow because much is asked at a time? Requests in flight, as the events say.",
                    "short",
                    (by_segment("max", f'driftline_concurrency{{{PLACE},quantile="0.95"}}'),),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Timeouts",
                    "How many get no answer in time? Their latency is not in the percentiles.",
                    "percentunit",
                    (by_segment("max", f'driftline_rate{{{PLACE},rate="timeout"}}'),),
                    to="driftline-segment",
                ),
            ),
        ),
        RowSpec(
            "What do people notice, and since which version?",
            (
                PanelSpec(
                    "First token (p50, p95)",
                    "How long until something is seen?",
                    "s",
                    percentiles("driftline_first_token_seconds", ("0.5", "0.95")),
                    width=12,
                    to="driftline-segment",
                ),
                PanelSpec(
                    "p95 latency by version",
                    "Is a version slower than the one before it?",
                    "s",
                    (
                        Query(
                            of_largest(
                                "max by (segment, version)", f"driftline_version_latency_p95_seconds{{{VERSION}}}"
                            ),
                            "{{segment}} {{version}}",
                        ),
                    ),
                    width=12,
                    to="driftline-segment",
                ),
            ),
        ),
    ),
)
