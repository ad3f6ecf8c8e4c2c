"""Cost: who drives the bill, how heavy its tail is, and what the month will cost."""

from __future__ import annotations

from dashboards.panels import (
    MODEL,
    PLACE,
    VERSION,
    Column,
    DashboardSpec,
    PanelSpec,
    Query,
    RowSpec,
    anomalies_of,
    by_segment,
    of_largest,
    percentiles,
)

COST = DashboardSpec(
    "driftline-cost",
    "driftline: cost",
    "Who drives the bill, how heavy is its tail, and what will the month cost?",
    ("route", "segment", "model", "version"),
    (
        RowSpec(
            "What does it cost?",
            (
                PanelSpec(
                    "Spend by segment",
                    "Where is the money spent? Spend of the trailing hour; the ten segments with the most traffic.",
                    "none",
                    (by_segment("sum", f"driftline_spend{{{PLACE}}}"),),
                    money=True,
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Spend by model",
                    "Which models is the money spent on? Spend of the trailing hour.",
                    "none",
                    (Query(f"sum by (model) (driftline_model_spend{{{MODEL}}})", "{{model}}"),),
                    money=True,
                ),
                PanelSpec(
                    "Projected month",
                    (
                        "What will the calendar month cost? Its projection with the 95 % interval, summed over the "
                        "chosen segments (so that the interval is wider than need be), and the spend so far."
                    ),
                    "none",
                    (
                        Query(f"sum by (bound) (driftline_projected_month_spend{{{PLACE}}})", "{{bound}}"),
                        Query(f"sum(driftline_month_spend{{{PLACE}}})", "so far"),
                    ),
                    money=True,
                ),
                anomalies_of("Anomalies of cost", "what an event costs", "cost"),
            ),
        ),
        RowSpec(
            "Who drives the bill?",
            (
                PanelSpec(
                    "Cost per event",
                    "How heavy is the tail of cost? Percentiles and the mean of the dearest 1 %.",
                    "none",
                    (
                        *percentiles("driftline_cost", ("0.5", "0.95", "0.99")),
                        Query(
                            of_largest("max by (segment)", f"driftline_cost_expected_shortfall{{{PLACE}}}"),
                            "{{segment}} dearest 1 %",
                        ),
                    ),
                    width=12,
                    money=True,
                    to="driftline-segment",
                ),
                PanelSpec(
                    "Share of spend in the tail",
                    "Who drives the bill? Share of the dearest 1 % of events, and of the heaviest user.",
                    "percentunit",
                    (
                        Query(
                            of_largest("max by (segment)", f"driftline_cost_top1_share{{{PLACE}}}"),
                            "{{segment}} dearest 1 %",
                        ),
                        Query(
                            of_largest("max by (segment)", f"driftline_heaviest_user_share{{{PLACE}}}"),
                            "{{segment}} heaviest user",
                        ),
                    ),
                    width=12,
                    to="driftline-segment",
                ),
                PanelSpec(
                    "The bill by segment",
                    (
                        "Which segment should be looked at first? Spend of the trailing hour and of the month, and how "
                        "uneven it is."
                    ),
                    "none",
                    (
                        Query(f"sum by (route, segment) (driftline_spend{{{PLACE}}})"),
                        Query(f"max by (route, segment) (driftline_month_spend{{{PLACE}}})"),
                        Query(f"max by (route, segment) (driftline_cost_mean{{{PLACE}}})"),
                        Query(f"max by (route, segment) (driftline_cost_expected_shortfall{{{PLACE}}})"),
                        Query(f"max by (route, segment) (driftline_cost_top1_share{{{PLACE}}})"),
                        Query(f"max by (route, segment) (driftline_heaviest_user_share{{{PLACE}}})"),
                    ),
                    kind="table",
                    width=16,
                    columns=(
                        Column("segment", "Segment", to="driftline-segment"),
                        Column("A", "This hour"),
                        Column("B", "This month"),
                        Column("C", "Mean event"),
                        Column("D", "Dearest 1 %"),
                        Column("E", "Their share", "percentunit"),
                        Column("F", "Heaviest user", "percentunit"),
                    ),
                    sort="This hour",
                    money=True,
                ),
                PanelSpec(
                    "Spend by version",
                    "Did a version make it dearer? Spend of the trailing hour.",
                    "none",
                    (Query(f"sum by (version) (driftline_version_spend{{{VERSION}}})", "{{version}}"),),
                    money=True,
                ),
            ),
        ),
    ),
)
