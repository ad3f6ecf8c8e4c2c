"""What dashboards ask, as plain data: the types, and the pieces of PromQL that panels share. No Grafana is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from alerts.runbooks import RUNBOOKS

ROUTE: Final = 'route=~"$route"'
PLACE: Final = f'{ROUTE},segment=~"$segment"'
MODEL: Final = f'{PLACE},model=~"$model"'
VERSION: Final = f'{PLACE},version=~"$version"'

SHOWN_SEGMENTS: Final = 10

Kind = Literal["timeseries", "stat", "table", "state-timeline"]
Target = Literal["driftline-segment", "driftline-cost", "driftline-latency", "driftline-quality", "driftline-internals"]


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL over the dashboard's variables, and the legend of its series.

    ``rare``: there is data only with enough of it (p99.9 of few events has none) or now and then.
    """

    expr: str
    legend: str = ""
    rare: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column: ``source`` is a label, or the letter of the query whose value it shows.

    ``to``: the dashboard that a click opens, with the cell as its segment.
    """

    source: str
    title: str
    unit: str = ""
    to: Target | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """A line that is not to be crossed: upwards, or downwards with ``below``."""

    value: float
    below: bool = False


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """One panel. ``description`` says which question it answers. ``quiet``: no data is the healthy state.

    ``width`` in columns of 24, ``height`` in Grafana's units (None: as usual for its kind). ``to``: the dashboard that
    a click on a series opens, with the series' segment where it has one. ``money``: the title names the currency.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    height: int | None = None
    quiet: bool = False
    money: bool = False
    limit: Limit | None = None
    to: Target | None = None
    columns: tuple[Column, ...] = ()
    sort: str = ""  # title of the column that a table is sorted by, the largest first


@dataclass(frozen=True, slots=True)
class RowSpec:
    title: str
    panels: tuple[PanelSpec, ...]


@dataclass(frozen=True, slots=True)
class DashboardSpec:
    """``question``: what the dashboard answers. ``variables``: names of `dashboards.variables`, in their order."""

    uid: str
    title: str
    question: str
    variables: tuple[str, ...]
    rows: tuple[RowSpec, ...]

    @property
    def panels(self) -> tuple[PanelSpec, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)


def of_largest(aggregation: str, selector: str, place: str = PLACE) -> str:
    """``aggregation``, as ``max by (segment, rate)``, of ``selector``, as ``driftline_rate{…}``: over the segments that
    had the most traffic in the last six hours of the range, of those that are chosen.

    With hundreds of segments on All, nobody reads a line for each. The choice is the same over the whole range, and
    made before the aggregation: behind it, 500 segments of nine rates take seven times as long (docs/dashboards.md).
    """
    traffic = f"sum by (segment) (max_over_time(driftline_events{{{place}}}[6h:$__rate_interval] @ end()))"
    return f"{aggregation} ({selector} and on (segment) topk({SHOWN_SEGMENTS}, {traffic}))"


def by_segment(operator: str, selector: str, place: str = PLACE) -> Query:
    """A line for each of the largest segments: ``operator`` (sum, max or min) over the rest of the labels."""
    return Query(of_largest(f"{operator} by (segment)", selector, place), "{{segment}}")


def percentiles(
    metric: str, quantiles: tuple[str, ...] = ("0.5", "0.95", "0.99", "0.999"), *, largest: bool = True
) -> tuple[Query, ...]:
    """A query per quantile, so that legends say p95 and not p0.95; the largest have data only with many events."""
    found = []
    for quantile in quantiles:
        selector, name = f'{metric}{{{PLACE},quantile="{quantile}"}}', f"p{float(quantile) * 100:g}"
        expr = of_largest("max by (segment)", selector) if largest else f"max({selector})"
        found.append(Query(expr, f"{{{{segment}}}} {name}" if largest else name, rare=float(quantile) >= 0.99))
    return tuple(found)


def signals_of(*pages: str) -> str:
    """Regular expression of the signals whose runbooks are ``pages``."""
    known = {runbook.page: runbook for runbook in RUNBOOKS}
    return "|".join(f"{beginning}.*" for page in pages for beginning in known[page].signals)


def anomalies_of(title: str, about: str, *pages: str, place: str = PLACE) -> PanelSpec:
    """Which anomalies of these runbooks' signals are open, over time."""
    return PanelSpec(
        title,
        f"Is {about} outside of what the false-alarm budget lets pass, where, and since when? Nothing is healthy.",
        "short",
        (
            Query(
                f'max by (segment, signal) (driftline_anomaly_active{{{place},signal=~"{signals_of(*pages)}"}})',
                "{{segment}} {{signal}}",
            ),
        ),
        kind="state-timeline",
        width=24,
        quiet=True,
        to="driftline-segment",
    )
