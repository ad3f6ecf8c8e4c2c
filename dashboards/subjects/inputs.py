"""Inputs and drift: did what people send change, and how much of it was looked at?"""

from __future__ import annotations

from dashboards.panels import (
    PLACE,
    DashboardSpec,
    Limit,
    PanelSpec,
    Query,
    RowSpec,
    anomalies_of,
    by_segment,
    of_largest,
)

_NEAR_LIMIT = 0.8  # where the slice near_context_limit begins

INPUTS = DashboardSpec(
    "driftline-inputs",
    "driftline: inputs and drift",
    "Did the inputs change, where, and how much of them was looked at?",
    ("route", "segment"),
    (
        RowSpec(
            "Did the inputs change?",
            (
                anomalies_of(
                    "Drift of inputs",
                    "what is sent (images, texts, how well they go together, volume, new segments)",
                    "image-drift",
                    "text-drift",
                    "agreement",
                    "volume",
                    "new-segment",
                ),
                anomalies_of("Size of inputs", "the size of what is sent and answered", "tokens"),
            ),
        ),
        RowSpec(
            "How large are they?",
            (
                PanelSpec(
                    "Tokens",
                    "Do inputs or outputs grow? Tokens in the trailing hour by kind.",
                    "short",
                    (Query(f"sum by (kind) (driftline_tokens{{{PLACE}}})", "{{kind}}"),),
                ),
                PanelSpec(
                    "Tokens and context (p95)",
                    "How large are the largest requests and answers? Tokens of an event by kind.",
                    "short",
                    (
                        Query(
                            of_largest(
                                "max by (segment, kind)",
                                f'driftline_tokens_per_event{{{PLACE},quantile="0.95",kind=~"input|output|image"}}',
                            ),
                            "{{segment}} {{kind}}",
                        ),
                    ),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Context used (p95)",
                    "How near do the largest requests come to the context limit? The line is where the slice begins.",
                    "percentunit",
                    (by_segment("max", f'driftline_context_used{{{PLACE},quantile="0.95"}}'),),
                    limit=Limit(_NEAR_LIMIT),
                    to="driftline-segment",
                ),
            ),
        ),
        RowSpec(
            "How much of them was looked at?",
            (
                PanelSpec(
                    "Coverage",
                    "How much of the sample was seen? Share of completed samples with vectors.",
                    "percentunit",
                    (by_segment("min", f"driftline_sample_coverage{{{PLACE}}}"),),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Samples",
                    "Is embedding behind? Samples of the whole store by state.",
                    "short",
                    (Query("max by (state) (driftline_samples)", "{{state}}"),),
                    to="driftline-internals",
                ),
                PanelSpec(
                    "Samples without vectors",
                    "Why could samples not be seen? Those of the whole store, by reason; none is healthy.",
                    "short",
                    (Query("max by (reason) (driftline_samples_missing)", "{{reason}}"),),
                    quiet=True,
                ),
            ),
        ),
    ),
)
