"""Alert rules and examples of contact points as Grafana's own types (extra `dev`; see `dashboards.grafana`)."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import alerting, expr, prometheus
from grafana_foundation_sdk.models import alerting as alerting_models

from dashboards.annotations import grafana_queries
from dashboards.configured import Settings
from dashboards.grafana import plain
from dashboards.names import DATASOURCE_UID, FOLDER_TITLE
from dashboards.rule_files import grafana_annotations
from dashboards.rules import ANOMALY, HEALTH, RuleSpec


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
        "folder": FOLDER_TITLE,
        "interval": interval,
        "rules": [_rule(rule) for rule in rules],
    }


def _rule(rule: RuleSpec) -> dict[str, Any]:
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
        .with_query(_query("A", rule.expr))
        .with_query(limit)
        .for_val(rule.hold)
        .no_data_state("OK")
        .exec_err_state("Error")
        .labels({"severity": rule.severity} if rule.severity else {})
        .annotations(grafana_annotations(rule, Settings()))
    )
    if rule is ANOMALY:
        for letter, text in grafana_queries().items():
            built = built.with_query(_query(letter, text))
    document = plain(built.build())
    # The SDK's rule is the HTTP API's, which names folder, group and organisation in each rule; a file does not.
    for name in ("folderUID", "orgID", "ruleGroup"):
        document.pop(name, None)
    return {"uid": rule.uid, **document}


def _query(letter: str, text: str) -> alerting.Query:
    return (
        alerting.Query(letter)
        .datasource_uid(DATASOURCE_UID)
        .relative_time_range(alerting_models.RelativeTimeRange(from_val=1800, to=0))
        .model(prometheus.Dataquery().expr(text).ref_id(letter).instant())
    )


# What a contact point of each kind needs; ${NAME} is filled in by Grafana from its environment.
_CONTACTS = (
    ("driftline-pages", "webhook", {"url": "${DRIFTLINE_PAGER_URL}", "httpMethod": "POST"}),
    ("driftline-tickets", "slack", {"url": "${DRIFTLINE_SLACK_URL}"}),
    ("driftline-mail", "email", {"addresses": "${DRIFTLINE_MAIL_TO}", "singleEmail": True}),
)


def contact_points() -> dict[str, Any]:
    """Examples for people whose on-call hears through Grafana; nothing is provisioned from them by itself.

    There are no notification policies beside them: Grafana has one tree of them, and provisioning it would overwrite
    everybody's routes.
    """
    found = []
    for name, kind, settings in _CONTACTS:
        built = alerting.ContactPoint().uid(name).type(kind).settings(settings).disable_resolve_message(False)
        receiver = plain(built.build())
        receiver.pop("name", None)  # of the HTTP API; in a file it stands above
        found.append({"orgId": 1, "name": name, "receivers": [receiver]})
    return {"apiVersion": 1, "contactPoints": found}
