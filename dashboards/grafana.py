"""The overview dashboard and the alert rules as Grafana's own types, through grafana-foundation-sdk (extra `dev`).

Only generation needs the SDK: import this module inside functions. The generated files ship with the package.
"""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders import alerting, common, dashboard, expr, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting as alerting_models
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from dashboards.panels import ROWS, PanelSpec, panel_numbers
from dashboards.rules import ANOMALY, HEALTH, RuleSpec

DASHBOARD_UID = "driftline-overview"
FOLDER = "driftline"
DATASOURCE_UID = "driftline-prometheus"

# The data source that the person chose; alert rules cannot use variables and name the provisioned one.
_CHOSEN = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

# (name, label, where its values come from); in this order, since each narrows the next.
_VARIABLES = (
    ("route", "Route", "label_values(driftline_events, route)"),
    ("segment", "Segment", 'label_values(driftline_events{route=~"$route"}, segment)'),
    (
        "version",
        "Version",
        'label_values(driftline_version_events{route=~"$route",segment=~"$segment"}, version)',
    ),
)


def overview() -> dict[str, Any]:
    """The dashboard as the JSON document that Grafana loads."""
    built = (
        dashboard.Dashboard("driftline: overview")
        .uid(DASHBOARD_UID)
        .description("Is anything wrong, where, since when; per segment; and driftline itself.")
        .tags(["driftline"])
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-24h", "now")
        .refresh("1m")
        .timezone("browser")
        .variables([_datasource_variable(), *(_variable(*names) for names in _VARIABLES)])
        .annotation(_annotations())
    )
    for row in ROWS:
        built = built.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            built = built.with_panel(_panel(panel))
    document = _plain(built.build())
    for number, panel in enumerate(document["panels"], start=1):
        panel["id"] = number  # links of alerts name panels by number
    for variable in document["templating"]["list"]:
        del variable["id"]  # a constant the SDK writes; Grafana gives its own
    return document


def panel_id(title: str) -> int:
    """Number of the panel of this title. KeyError where there is none."""
    return panel_numbers()[title]


def alert_rules() -> dict[str, Any]:
    """The provisioning file of Grafana-managed rules (``apiVersion: 1``)."""
    return {
        "apiVersion": 1,
        "groups": [
            _group("driftline anomalies", "1m", (ANOMALY,)),
            _group("driftline health", "1m", HEALTH),
        ],
    }


def _group(name: str, interval: str, rules: tuple[RuleSpec, ...]) -> dict[str, Any]:
    return {
        "orgId": 1,
        "name": name,
        "folder": FOLDER,
        "interval": interval,
        "rules": [_rule(rule) for rule in rules],
    }


def _rule(rule: RuleSpec) -> dict[str, Any]:
    query = (
        alerting.Query("A")
        .datasource_uid(DATASOURCE_UID)
        .relative_time_range(alerting_models.RelativeTimeRange(from_val=1800, to=0))
        .model(prometheus.Dataquery().expr(rule.expr).ref_id("A").instant())
    )
    limit = (
        alerting.Query("C")
        .datasource_uid("__expr__")
        .relative_time_range(alerting_models.RelativeTimeRange(from_val=0, to=0))
        .model(
            expr.TypeThreshold()
            .ref_id("C")
            .expression("A")
            .conditions(
                [
                    expr.ExprTypeThresholdConditions().evaluator(
                        expr.ExprTypeThresholdConditionsEvaluator()
                        .type("gt" if rule.operator == ">" else "lt")
                        .params([rule.threshold])
                    )
                ]
            )
        )
    )
    built = (
        alerting.Rule(rule.name)
        .condition("C")
        .with_query(query)
        .with_query(limit)
        .for_val(rule.hold)
        .no_data_state("OK")
        .exec_err_state("Error")
        .labels({"severity": rule.severity} if rule.severity else {})
        .annotations(
            {
                # Grafana replaces $NAME in provisioning files by environment variables; $$ is a dollar.
                "summary": rule.summary.replace("$", "$$"),
                "description": rule.description.replace("$", "$$"),
                "runbook_url": rule.runbook_url,
                "__dashboardUid__": DASHBOARD_UID,
                "__panelId__": str(panel_id(rule.panel)),
            }
        )
    )
    document = _plain(built.build())
    # The SDK's rule is the HTTP API's, which names folder, group and organisation in each rule; a file does not.
    for name in ("folderUID", "orgID", "ruleGroup"):
        document.pop(name, None)
    return {"uid": rule.uid, **document}


def _panel(spec: PanelSpec) -> Any:
    match spec.kind:
        case "stat":
            panel: Any = stat.Panel().color_mode(common_models.BigValueColorMode.NONE)
            panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
            panel = panel.height(4)
        case "table":
            panel = table.Panel().height(6).show_header(True)
        case "timeseries":
            legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
            legend = legend.display_mode(common_models.LegendDisplayMode.LIST).calcs([])
            panel = timeseries.Panel().height(8).legend(legend).fill_opacity(0).line_width(1)
            panel = panel.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    panel = panel.title(spec.title).description(spec.description).unit(spec.unit).span(spec.width)
    panel = panel.datasource(_CHOSEN)
    if spec.quiet:
        panel = panel.no_value("none")
    for letter, query in zip("ABCDEFGH", spec.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).ref_id(letter).datasource(_CHOSEN)
        target = target.instant() if spec.kind == "table" else target.range()
        if spec.kind == "table":
            target = target.format(prometheus_models.PromQueryFormat.TABLE)
        panel = panel.with_target(target.legend_format(query.legend) if query.legend else target)
    return panel


def _datasource_variable() -> Any:
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _variable(name: str, label: str, query: str) -> Any:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(_CHOSEN)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all", selected=True))
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def _annotations() -> Any:
    target = dashboard.AnnotationTarget().limit(100).match_any(False).tags(["driftline"]).type("tags")
    return (
        dashboard.AnnotationQuery()
        .name("Anomalies")
        .datasource(models.DataSourceRef(type_val="grafana", uid="-- Grafana --"))
        .enable(True)
        .icon_color("orange")
        .target(target)
    )


def _plain(built: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(built, cls=JSONEncoder))
    return document
