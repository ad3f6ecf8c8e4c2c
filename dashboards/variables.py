"""The variables of dashboards, as plain data. Each exists because a metric has its label (docs/metrics.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dashboards.panels import PLACE, ROUTE


@dataclass(frozen=True, slots=True)
class VariableSpec:
    name: str
    label: str
    query: str  # label_values(series, label): where its values come from


VARIABLES: Final = {
    spec.name: spec
    for spec in (
        VariableSpec("route", "Route", "label_values(driftline_events, route)"),
        VariableSpec("segment", "Segment", f"label_values(driftline_events{{{ROUTE}}}, segment)"),
        VariableSpec("model", "Model", f"label_values(driftline_model_spend{{{PLACE}}}, model)"),
        # One label holds both, as one version is a model with its prompt.
        VariableSpec(
            "version", "Model and prompt version", f"label_values(driftline_version_events{{{PLACE}}}, version)"
        ),
    )
}

CURRENCY: Final = VariableSpec("currency", "Currency", "label_values(driftline_currency_info, currency)")
"""Hidden: titles of panels about money name it."""

ONE_SEGMENT: Final = "driftline-segment"
"""The dashboard on which one segment is chosen; on all others as many as one likes."""
