"""Quality and review: is it wrong, silently; since which version; and what did reviewers find?"""

from __future__ import annotations

from dashboards.panels import (
    PLACE,
    ROUTE,
    VERSION,
    DashboardSpec,
    PanelSpec,
    Query,
    RowSpec,
    anomalies_of,
    by_segment,
    of_largest,
)
from dashboards.records import HITS, TRIALS

_OUTCOMES = "error|timeout|refused|abstained"
_RATES = (
    "errors",
    "refusals",
    "schema-violations",
    "citations",
    "wrong-answers",
    "routing",
    "confidence",
    "calibration",
)

QUALITY = DashboardSpec(
    "driftline-quality",
    "driftline: quality and review",
    "Is it wrong, silently, since which version, and what did reviewers find?",
    ("route", "segment", "version"),
    (
        RowSpec(
            "Is it wrong?",
            (
                PanelSpec(
                    "Rates over all segments",
                    (
                        "Is it worse on the whole? Exact rates of the chosen routes, over every segment of them. Needs "
                        "the recording rules (prometheus-records.yml)."
                    ),
                    "percentunit",
                    (
                        Query(
                            f"sum by (rate) ({HITS}{{{ROUTE}}}) / sum by (rate) ({TRIALS}{{{ROUTE}}})",
                            "{{rate}}",
                        ),
                    ),
                ),
                PanelSpec(
                    "Outcomes",
                    "Does it answer? Errors, timeouts, refusals and abstentions over the events that could show them.",
                    "percentunit",
                    (
                        Query(
                            of_largest("max by (segment, rate)", f'driftline_rate{{{PLACE},rate=~"{_OUTCOMES}"}}'),
                            "{{segment}} {{rate}}",
                        ),
                    ),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Quality rates",
                    "Is it wrong, silently? Each rate of wrong answers over the events that could show it.",
                    "percentunit",
                    (
                        Query(
                            of_largest("max by (segment, rate)", f'driftline_rate{{{PLACE},rate!~"{_OUTCOMES}"}}'),
                            "{{segment}} {{rate}}",
                        ),
                    ),
                    to="driftline-segment",
                ),
                anomalies_of("Anomalies of quality", "how right the answers are", *_RATES),
                PanelSpec(
                    "Events that could show it",
                    "How many events does each rate rest on? A rate of few says little.",
                    "short",
                    (
                        Query(
                            of_largest("max by (segment, rate)", f"driftline_rate_trials{{{PLACE}}}"),
                            "{{segment}} {{rate}}",
                        ),
                    ),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Confidence",
                    "Is the feature less sure of itself? Mean and the 5th percentile of stated confidence.",
                    "percentunit",
                    (
                        Query(
                            of_largest("max by (segment)", f"driftline_confidence_mean{{{PLACE}}}"), "{{segment}} mean"
                        ),
                        Query(
                            of_largest("max by (segment)", f'driftline_confidence{{{PLACE},quantile="0.05"}}'),
                            "{{segment}} p5",
                        ),
                    ),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Routing",
                    "Does traffic move between tiers? Share of events by tier.",
                    "percentunit",
                    (
                        Query(
                            of_largest("max by (segment, tier)", f"driftline_routing_share{{{PLACE}}}"),
                            "{{segment}} {{tier}}",
                        ),
                    ),
                    to="driftline-segment",
                ),
            ),
        ),
        RowSpec(
            "Since which version?",
            (
                PanelSpec(
                    "Events by version",
                    "Which versions are live? A new line is a rollout.",
                    "short",
                    (Query(f"sum by (version) (driftline_version_events{{{VERSION}}})", "{{version}}"),),
                    width=12,
                ),
                PanelSpec(
                    "Rates by version",
                    "Is a version worse than the one before it?",
                    "percentunit",
                    (
                        Query(
                            of_largest("max by (segment, version, rate)", f"driftline_version_rate{{{VERSION}}}"),
                            "{{segment}} {{version}} {{rate}}",
                        ),
                    ),
                    width=12,
                    to="driftline-segment",
                ),
            ),
        ),
        RowSpec(
            "What did reviewers find?",
            (
                PanelSpec(
                    "Error rate from labels",
                    (
                        "How often is it wrong, by what reviewers said? Rate of the last 28 days with the limits of a "
                        "95 % interval that holds however often you look."
                    ),
                    "percentunit",
                    (
                        Query(
                            of_largest("max by (segment, bound)", f"driftline_review_error_rate{{{PLACE}}}"),
                            "{{segment}} {{bound}}",
                        ),
                    ),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Labels behind the error rate",
                    "How many labels does each segment's error rate rest on?",
                    "short",
                    (by_segment("max", f"driftline_review_labels{{{PLACE}}}"),),
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Labels a day",
                    (
                        "Do reviewers give the labels that are drawn for? Labels of the last day, and what each pool "
                        "can give."
                    ),
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
                    (
                        Query(
                            'max by (pool, state) (driftline_review_items{state=~"open|leased"})', "{{pool}} {{state}}"
                        ),
                    ),
                ),
                PanelSpec(
                    "Oldest open item",
                    (
                        "Does somebody work here? Items leave the queue unanswered once they have waited for "
                        "`review.expires`."
                    ),
                    "s",
                    (Query("max by (pool) (driftline_review_oldest_open_seconds)", "{{pool}}"),),
                ),
                PanelSpec(
                    "Items that ended",
                    "How much of what was drawn got no answer? Removed items widen the bounds of error rates.",
                    "short",
                    (
                        Query(
                            'max by (pool, state) (driftline_review_items{state=~"done|removed"})', "{{pool}} {{state}}"
                        ),
                    ),
                ),
            ),
        ),
    ),
)
