"""Files of alert rules: for Prometheus whole, for Grafana what people read (dashboards/grafana_rules.py has the rest,
which needs the SDK)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from alerts import runbooks
from dashboards import annotations as texts
from dashboards.configured import Settings
from dashboards.rules import ANOMALY, HEALTH, RULES, RuleSpec
from dashboards.subjects import panel_places


def prometheus_rules(settings: Settings | None = None) -> dict[str, Any]:
    """The rule file for Prometheus, for people without Grafana alerting."""
    settings = settings or Settings()
    return {
        "groups": [
            {"name": "driftline anomalies", "interval": "30s", "rules": [_prometheus(ANOMALY, settings)]},
            {"name": "driftline health", "interval": "1m", "rules": [_prometheus(rule, settings) for rule in HEALTH]},
        ]
    }


def _prometheus(rule: RuleSpec, settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {"alert": rule.name, "expr": rule.promql()}
    if rule.hold != "0s":
        found["for"] = rule.hold
    if rule.severity:
        found["labels"] = {"severity": rule.severity}
    found["annotations"] = _annotations(rule, settings, texts.in_prometheus)
    return found


def configured_rules(document: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A copy of the provisioning file of Grafana's rules with the links that ``settings`` add."""
    specs = {rule.uid: rule for rule in RULES}
    found: dict[str, Any] = copy.deepcopy(dict(document))
    for group in found["groups"]:
        for rule in group["rules"]:
            if rule["uid"] in specs:
                rule["annotations"] = grafana_annotations(specs[rule["uid"]], settings)
    return found


def grafana_annotations(rule: RuleSpec, settings: Settings) -> dict[str, str]:
    """Those of a rule in a provisioning file, where Grafana replaces $NAME by environment variables; $$ is a dollar."""
    uid, number = panel_places()[rule.panel]
    said = {name: text.replace("$", "$$") for name, text in _annotations(rule, settings, texts.in_grafana).items()}
    return {**said, "__dashboardUid__": uid, "__panelId__": str(number)}


def _annotations(rule: RuleSpec, settings: Settings, dialect: Callable[[str], str]) -> dict[str, str]:
    found = {"summary": rule.summary, "description": rule.description, **rule.more, **_links(rule, settings)}
    return {name: dialect(text) for name, text in found.items()}


def _links(rule: RuleSpec, settings: Settings) -> dict[str, str]:
    """Those that are configured. An anomaly's lead to what belongs to its signal, as those of pushed alerts do."""
    found, places = {}, panel_places()
    if settings.app_url is not None and rule is ANOMALY:
        found["app"] = texts.app_link(settings.app_url)
    if settings.dashboard_url is not None:
        uid, number = places[rule.panel]
        found["dashboard"] = (
            texts.dashboard_link(settings.dashboard_url, places)
            if rule is ANOMALY
            else f"{settings.dashboard_url.rstrip('/')}/d/{uid}?viewPanel={number}&from=now-6h&to=now"
        )
    if settings.runbook_url is not None:
        found["runbook_url"] = (
            texts.runbook_link(settings.runbook_url)
            if rule is ANOMALY
            else runbooks.address(settings.runbook_url, rule.name)
        )
    return found
