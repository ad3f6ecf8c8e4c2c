"""Dashboards as Grafana's own types, through grafana-foundation-sdk (extra `dev`).

Only generation needs the SDK: import this module inside functions. The generated files ship with the package.
"""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from dashboards.panels import VERSION, Column, DashboardSpec, Limit, PanelSpec, Target
from dashboards.subjects import DASHBOARDS, number_of
from dashboards.variables import CURRENCY, ONE_SEGMENT, VARIABLES, VariableSpec

# The data source that the person chose; alert rules cannot use variables and name the provisioned one.
_CHOSEN = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_OWN = models.DataSourceRef(type_val="grafana", uid="-- Grafana --")
_HEIGHTS = {"stat": 4, "table": 8, "timeseries": 8, "state-timeline": 6}
_LIMIT_COLOUR = "semi-dark-red"


def document(spec: DashboardSpec) -> dict[str, Any]:
    """The dashboard as the JSON document that Grafana loads."""
    built = (
        dashboard.Dashboard(spec.title)
        .uid(spec.uid)
        .description(spec.question)
        .tags(["driftline"])
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-24h", "now")
        .refresh("1m")
        .timezone("browser")
        .variables([_datasource_variable(), *_variables(spec)])
        .annotations([_of_tag("Anomalies", "anomaly", "orange"), _of_tag("Deploys", "deploy", "blue")])
        .link(_to_the_others())
    )
    for row in spec.rows:
        built = built.with_row(dashboard.Row(row.title).id(number_of(f"row: {row.title}")))
        for panel in row.panels:
            built = built.with_panel(_panel(panel, spec.variables))
    found = plain(built.build())
    if "version" in spec.variables:
        found["annotations"]["list"].append(_new_versions())
    for variable in found["templating"]["list"]:
        del variable["id"]  # a constant the SDK writes; Grafana gives its own
    return found


def plain(built: Any) -> dict[str, Any]:
    """A built object as the JSON it is sent as."""
    found: dict[str, Any] = json.loads(json.dumps(built, cls=JSONEncoder))
    return found


def _panel(spec: PanelSpec, chosen: tuple[str, ...]) -> Any:
    """``chosen``: the dashboard's variables."""
    match spec.kind:
        case "stat":
            coloured = common_models.BigValueColorMode.VALUE if spec.limit else common_models.BigValueColorMode.NONE
            panel: Any = stat.Panel().color_mode(coloured)
            panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        case "table":
            panel = _with_columns(table.Panel().show_header(True), spec, chosen)
        case "state-timeline":
            panel = statetimeline.Panel().show_value(common_models.VisibilityMode.NEVER).merge_values(True)
            panel = (
                panel.line_width(0)
                .fill_opacity(80)
                .row_height(0.7)
                .legend(common.VizLegendOptions().show_legend(False).calcs([]))
            )
            panel = panel.color_scheme(
                dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color("semi-dark-orange")
            )
        case "timeseries":
            legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
            legend = legend.display_mode(common_models.LegendDisplayMode.LIST).calcs([])
            panel = timeseries.Panel().legend(legend).fill_opacity(0).line_width(1)
            panel = panel.tooltip(
                common.VizTooltipOptions()
                .mode(common_models.TooltipDisplayMode.MULTI)
                .sort(common_models.SortOrder.DESCENDING)
            )
            if spec.unit in ("percentunit", "short", "reqps", "bytes"):
                panel = panel.min(0)
            if spec.limit:
                line = common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.DASHED)
                panel = panel.thresholds_style(line)
    title = f"{spec.title} (${{{CURRENCY.name}}})" if spec.money else spec.title
    panel = panel.id(number_of(spec.title)).title(title).description(spec.description).unit(spec.unit)
    panel = panel.span(spec.width).height(spec.height or _HEIGHTS[spec.kind]).datasource(_CHOSEN)
    if spec.limit:
        # A number must be seen while all is well; a line or a bar needs no colour then.
        panel = panel.thresholds(_thresholds(spec.limit, fine="text" if spec.kind == "stat" else "transparent"))
    if spec.to:
        clicked = "${__field.labels.segment:percentencode}" if _segments(spec) else ""
        panel = panel.data_links([_link(spec.to, chosen, clicked)])
    if spec.quiet:
        panel = panel.no_value("none")
    for letter, query in zip("ABCDEFGH", spec.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).ref_id(letter).datasource(_CHOSEN)
        if spec.kind == "table":
            target = target.instant().format(prometheus_models.PromQueryFormat.TABLE)
        else:
            target = target.range()
        panel = panel.with_target(target.legend_format(query.legend) if query.legend else target)
    return panel


def _segments(spec: PanelSpec) -> bool:
    return any("{{segment}}" in query.legend for query in spec.queries)


def _with_columns(panel: Any, spec: PanelSpec, chosen: tuple[str, ...]) -> Any:
    """One row for each set of labels, with the columns of ``spec`` in their order and nothing else."""
    sources = {_field(column, spec): column for column in spec.columns}
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel = panel.with_transformation(
        models.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(sources)}})
    )
    order = {
        "indexByName": {name: place for place, name in enumerate(sources)},
        "renameByName": {name: column.title for name, column in sources.items()},
        "excludeByName": {},
    }
    panel = panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=order))
    for column in spec.columns:
        settings = []
        if column.unit:
            settings.append(models.DynamicConfigValue(id_val="unit", value=column.unit))
        if column.to:
            link = plain(_link(column.to, chosen, "${__value.raw:percentencode}").build())
            settings.append(models.DynamicConfigValue(id_val="links", value=[link]))
        if settings:
            panel = panel.override_by_name(column.title, settings)
    if spec.sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(spec.sort).desc(True)])
    return panel


def _field(column: Column, spec: PanelSpec) -> str:
    """What Grafana calls the column: a label by its name, a value by its query where there is more than one."""
    if column.source not in "ABCDEFGH":
        return column.source
    return f"Value #{column.source}" if len(spec.queries) > 1 else "Value"


def _link(to: Target, chosen: tuple[str, ...], segment: str) -> Any:
    """A data link that keeps the time and whatever was ``chosen``; the segment is what was clicked on, if any was."""
    (spec,) = [spec for spec in DASHBOARDS if spec.uid == to]
    kept = ["${datasource:queryparam}"]
    for name in spec.variables:
        if name == "segment" and segment:
            kept.append(f"var-segment={segment}")
        elif name in chosen:
            kept.append(f"${{{name}:queryparam}}")
    title = "Open this segment" if to == ONE_SEGMENT else f"Open {spec.title}"
    return dashboard.DashboardLink(title).url(f"/d/{to}?{'&'.join(kept)}&${{__url_time_range}}")


def _thresholds(limit: Limit, fine: str) -> Any:
    steps = [
        models.Threshold(None, _LIMIT_COLOUR if limit.below else fine),
        models.Threshold(limit.value, fine if limit.below else _LIMIT_COLOUR),
    ]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _to_the_others() -> Any:
    """All of driftline's dashboards, in a menu, with what is chosen kept."""
    return (
        dashboard.DashboardLink("driftline")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags(["driftline"])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _variables(spec: DashboardSpec) -> list[Any]:
    found = [_variable(VARIABLES[name], many=name != "segment" or spec.uid != ONE_SEGMENT) for name in spec.variables]
    if any(panel.money for panel in spec.panels):
        found.append(_variable(CURRENCY, many=False).hide(models.VariableHide.HIDE_VARIABLE))
    return found


def _datasource_variable() -> Any:
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _variable(spec: VariableSpec, *, many: bool) -> Any:
    found = (
        dashboard.QueryVariable(spec.name)
        .label(spec.label)
        .query(spec.query)
        .datasource(_CHOSEN)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if not many:
        return found
    everything = models.VariableOption(text="All", value="$__all", selected=True)
    return found.multi(True).include_all(True).all_value(".*").current(everything)


def _of_tag(name: str, tag: str, colour: str) -> Any:
    """Annotations that driftline's Grafana sink writes, and nobody else's."""
    target = dashboard.AnnotationTarget().limit(100).match_any(False).tags(["driftline", tag]).type("tags")
    built = dashboard.AnnotationQuery().name(name).datasource(_OWN).enable(True).icon_color(colour)
    return built.target(target)


def _new_versions() -> dict[str, Any]:
    """Rollouts as the events tell them: a version's first hour. Also without deploys being announced."""
    seen = f"sum by (version) (driftline_version_events{{{VERSION}}})"
    before = f"sum by (version) (driftline_version_events{{{VERSION}}} offset 1h)"
    some = f"on () group_left () (sum(driftline_version_events{{{VERSION}}} offset 1h) > bool 0)"
    built = (
        dashboard.AnnotationQuery()
        .name("New versions")
        .datasource(_CHOSEN)
        .enable(True)
        .icon_color("purple")
        .expr(f"({seen} unless {before}) * {some} > 0")
    )
    # Of Prometheus' annotations the SDK knows the query alone; these say how one is shown.
    return {**plain(built.build()), "step": "60s", "titleFormat": "{{version}}", "textFormat": "first seen"}
