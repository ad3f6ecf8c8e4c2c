"""Every query of every panel and rule, asked of a real Prometheus that scrapes a filled store."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from alerts.rendering import LABELS
from dashboards.generate import GENERATED
from dashboards.panels import ROWS
from dashboards.rules import ANOMALY, HEALTH, RULES
from monitor.store.engine import open_store
from tests.conftest import absent
from tests.dashboards.watched import exposed, fill, metrics_of
from tests.services import Unavailable
from tests.services import prometheus as services

QUIET = {panel.title for row in ROWS for panel in row.panels if panel.quiet}


def filled_in(query: str) -> str:
    """What Grafana sends when every variable stands on All."""
    for name in ("route", "segment", "version"):
        query = query.replace(f'"${name}"', '".*"')
    return query.replace("$__rate_interval", "10s")


def ask(url: str, query: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, trust_env=False)
    body = answer.json()
    assert body["status"] == "success", (query, body)
    return list(body["data"]["result"])


def until(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.2)


def config(target: str) -> str:
    return (
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{GENERATED / 'prometheus-rules.yml'}']\n"
        f"scrape_configs: [{{job_name: driftline, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )


@pytest.mark.real
def test_every_query_returns_data_and_the_rules_fire(tmp_path: Path, prometheus: Callable[[str], str]) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    fill(store)
    with exposed(metrics_of(store, path="rules")[0]) as target:
        url = prometheus(config(target))
        until(lambda: ask(url, "sum(rate(driftline_evaluation_seconds_total[10s])) > 0"), "scraping")
        dashboard = json.loads((GENERATED / "dashboards" / "driftline-overview.json").read_text())
        asked = [(p["title"], t["expr"]) for p in dashboard["panels"] for t in p.get("targets", [])]
        assert len(asked) > 40
        empty = [(title, expr) for title, expr in asked if not ask(url, filled_in(expr))]
        assert empty == []
        assert [rule.name for rule in RULES if not ask(url, rule.expr)] == ["DriftlineDeliveryRefused"], (
            "nothing is refused here; every other rule sees its series"
        )
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                name = variable["name"]
                selector = filled_in(variable["query"].split("(", 1)[1].rsplit(",", 1)[0])
                values = {series["metric"].get(name) for series in ask(url, selector)}
                assert values - {None, ""}, name

        def firing() -> dict[str, list[dict[str, str]]]:
            found: dict[str, list[dict[str, str]]] = {}
            for alert in httpx.get(f"{url}/api/v1/alerts", trust_env=False).json()["data"]["alerts"]:
                if alert["state"] == "firing":
                    found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
            return found

        until(lambda: "DriftlineAnomaly" in firing(), "the anomaly's alert", 90)
        (page,) = [labels for labels in firing()["DriftlineAnomaly"] if labels["severity"] == "page"]
        assert set(page) == {"alertname", *LABELS}, "the same labels as an alert that driftline pushes"
    store.close()


@pytest.mark.real
def test_a_pushed_anomaly_does_not_fire_the_rule(tmp_path: Path, prometheus: Callable[[str], str]) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    fill(store, events=100)
    with exposed(metrics_of(store, path="push")[0]) as target:
        url = prometheus(config(target))
        until(lambda: ask(url, "driftline_anomaly_active"), "scraping")
        assert ask(url, ANOMALY.promql()) == []
    store.close()


@pytest.mark.real
def test_the_absence_of_driftline_is_seen(prometheus: Callable[[str], str]) -> None:
    url = prometheus(config("127.0.0.1:1"))
    (down,) = [rule for rule in HEALTH if rule.name == "DriftlineAbsent"]
    assert len(ask(url, down.promql())) == 1


@pytest.mark.real
def test_promtool_accepts_the_rules() -> None:
    try:
        program = services.promtool()
    except Unavailable as error:
        absent(error)
    checked = subprocess.run(
        [program, "check", "rules", str(GENERATED / "prometheus-rules.yml")], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


def test_rules_read_product_series_only_through_the_anomaly() -> None:
    """Rules on raw product metrics would alarm outside the false-alarm budget."""
    from monitor.serve.series import PRODUCT

    for rule in RULES:
        assert not [series.name for series in PRODUCT if series.name in rule.expr], rule.name


def test_quiet_panels_are_few_and_declared() -> None:
    declared = {"Open anomalies", "Which anomalies are open", "Stored dead letters", "Outbox"}
    assert declared | {"Labels from elsewhere per hour"} == QUIET


def test_both_roads_have_the_same_labels() -> None:
    groups = YAML(typ="safe").load((GENERATED / "provisioning" / "alerting" / "driftline.yaml").read_text())["groups"]
    (rule,) = groups[0]["rules"]
    assert f"by ({', '.join(LABELS)})" in rule["data"][0]["model"]["expr"]
