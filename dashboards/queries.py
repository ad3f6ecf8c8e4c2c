"""The queries of dashboards as Prometheus is asked them, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dashboards.annotations import grafana_queries
from dashboards.records import RECORDS
from dashboards.rules import ANOMALY, RULES
from dashboards.subjects import DASHBOARDS, number_of

_QUIET_RULES: Final = {ANOMALY.name, "DriftlineDeliveryRefused"}
"""Rules that see no series at all while nothing is wrong."""
_VARIABLE: Final = re.compile(r'"\$(\w+)"')


@dataclass(frozen=True, slots=True)
class Asked:
    """One query. ``may_be_empty``: no data is healthy, or usual with few events."""

    dashboard: str
    panel: str
    expr: str
    may_be_empty: bool

    def __str__(self) -> str:
        return f"{self.dashboard}, “{self.panel}”: {self.expr}"


def asked_by(documents: Iterable[Mapping[str, Any]]) -> list[Asked]:
    """Every query of every panel, annotation and variable of generated dashboards, in their order."""
    found = []
    for document in documents:
        uid = str(document["uid"])
        empty = _may_be_empty(uid)
        for panel in document["panels"]:
            for target in panel.get("targets", ()):
                where = (int(panel["id"]), str(target["refId"]))
                title = str(panel["title"]).partition(" ($")[0]  # without the currency
                found.append(Asked(uid, title, str(target["expr"]), where in empty))
        found += [
            Asked(uid, str(annotation["name"]), str(annotation["expr"]), True)
            for annotation in document["annotations"]["list"]
            if "expr" in annotation
        ]
        for variable in document["templating"]["list"]:
            if variable["type"] == "query":
                series, _ = values_of(str(variable["query"]))
                found.append(Asked(uid, f"variable {variable['name']}", series, False))
    return found


def values_of(query: str) -> tuple[str, str]:
    """``label_values(series, label)`` as (series, label)."""
    series, _, label = query.removeprefix("label_values(").removesuffix(")").rpartition(", ")
    return series, label


def filled_in(expr: str, rate_interval: str) -> str:
    """What Grafana sends when every variable stands on All."""
    return _VARIABLE.sub('".*"', expr).replace("$__rate_interval", rate_interval)


def variables_in(text: str) -> set[str]:
    """Names of the dashboard's variables that a text uses; those of Grafana itself begin with two underscores."""
    names = {a or b for a, b in re.findall(r"\$(?:(\w+)|\{(\w+))", text)}
    return {name for name in names if not name.startswith("__")}


def rule_file(asked: Iterable[Asked]) -> dict[str, Any]:
    """The queries as a file of recording rules, which is what promtool can parse."""
    rules = [
        {"record": f"query{number}", "expr": filled_in(one.expr, "1m")} for number, one in enumerate(asked, start=1)
    ]
    return {"groups": [{"name": "queries", "rules": rules}]}


def rules_asked() -> Iterator[Asked]:
    """The queries of alert rules, of the figures that they tell in Grafana, and of recording rules."""
    for rule in RULES:
        yield Asked("prometheus-rules.yml", rule.name, rule.expr, rule.name in _QUIET_RULES)
    for letter, text in grafana_queries().items():
        yield Asked("provisioning/alerting/driftline.yaml", f"{ANOMALY.name} {letter}", text, True)
    for record in RECORDS:
        yield Asked("prometheus-records.yml", record.name, record.expr, False)


def _may_be_empty(uid: str) -> set[tuple[int, str]]:
    return {
        (number_of(panel.title), letter)
        for spec in DASHBOARDS
        if spec.uid == uid
        for panel in spec.panels
        for letter, query in zip("ABCDEFGH", panel.queries, strict=False)
        if panel.quiet or query.rare
    }
