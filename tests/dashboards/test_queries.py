"""Every query of every panel and rule, asked of a real Prometheus that scrapes a filled store."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from alerts.rendering import LABELS
from dashboards.annotations import NUMBERS, grafana_queries
from dashboards.generate import GENERATED, dashboards_in
from dashboards.queries import Asked, asked_by, filled_in, rules_asked, variables_in
from dashboards.records import RECORDS
from dashboards.rules import ANOMALY, HEALTH, RULES
from dashboards.subjects import DASHBOARDS
from dashboards.trying import answers, parse_errors
from monitor.cli.dashboards import dashboards as command
from monitor.store.engine import open_store
from tests.conftest import absent
from tests.dashboards.watched import END, MINUTE, SEGMENTS, exposed, fill, metrics_of
from tests.services import Unavailable
from tests.services import prometheus as services

ASKED = asked_by(dashboards_in().values())


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


def all_have_data(url: str, asked: list[Asked], seconds: float) -> None:
    """Asks all, then those without data again, until none is left: on a busy machine a scrape may be missed."""
    deadline = time.monotonic() + seconds
    left = asked
    while True:
        found = dict(answers(url, left, rate_interval="10s"))
        refused = {str(one): said for one, said in found.items() if isinstance(said, str)}
        assert refused == {}
        left = [one for one, series in found.items() if series == 0]
        if not left:
            return
        assert time.monotonic() < deadline, "no data for\n" + "\n".join(map(str, left))
        time.sleep(1)


def config(target: str) -> str:
    files = [str(GENERATED / name) for name in ("prometheus-rules.yml", "prometheus-records.yml")]
    return (
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: {json.dumps(files)}\n"
        f"scrape_configs: [{{job_name: driftline, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prometheus that scrapes a store in which everything has happened, and has both files of rules."""
    folder = tmp_path_factory.mktemp("watched")
    store = open_store(f"sqlite:///{folder / 'driftline.db'}")
    fill(store)
    with ExitStack() as stack:
        target = stack.enter_context(exposed(metrics_of(store, path="rules")[0]))
        try:
            url = stack.enter_context(services.prometheus(folder / "prometheus", config(target)))
        except Unavailable as error:
            absent(error)
            raise
        until(lambda: ask(url, "sum(rate(driftline_evaluation_seconds_total[10s])) > 0"), "scraping")
        yield url
    store.close()


@pytest.mark.real
def test_every_query_returns_data(watched: str) -> None:
    assert len(ASKED) > 120
    # Here everything has happened but a rollout within the hour, a reload and a delivery that was refused.
    never = {"New versions", "Configuration reloads"}
    all_have_data(watched, [one for one in ASKED if one.panel not in never], 90)
    rules = [one for one in rules_asked() if one.panel != "DriftlineDeliveryRefused"]
    all_have_data(watched, [*rules, *(Asked("records", r.name, r.name, False) for r in RECORDS)], 60)


@pytest.mark.real
def test_the_rule_fires_with_the_labels_of_a_pushed_alert(watched: str) -> None:
    def firing() -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = {}
        for alert in httpx.get(f"{watched}/api/v1/alerts", trust_env=False).json()["data"]["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return found

    until(lambda: "DriftlineAnomaly" in firing(), "the anomaly's alert", 90)
    (page,) = [labels for labels in firing()["DriftlineAnomaly"] if labels["severity"] == "page"]
    assert set(page) == {"alertname", *LABELS}, "the same labels as an alert that driftline pushes"
    assert "was_wrong" not in str(firing()), "over, and said to be"


@pytest.mark.real
def test_the_rule_tells_what_was_measured(watched: str) -> None:
    def told() -> list[dict[str, str]]:
        alerts = httpx.get(f"{watched}/api/v1/alerts", trust_env=False).json()["data"]["alerts"]
        return [a["annotations"] for a in alerts if a["labels"].get("signal") == "page_signal"]

    until(told, "the anomaly's alert", 90)
    (said,) = told()
    since = datetime.fromtimestamp((END - 15 * MINUTE) / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
    effect = "14 % (95 % interval 11 % to 18 %), 2 % before"
    where = f"page_signal in {SEGMENTS[0]}"
    assert (said["summary"], said["effect"]) == (f"{where}: {effect}, since {since}.", effect)
    assert said["how_sure"] == (
        "the evidence reached 5.23 times what opens an anomaly; at most 1 false page in 30 days may be expected, over "
        "everything"
    )


@pytest.mark.real
def test_figures_in_grafana_are_there_for_every_alert(watched: str) -> None:
    """A rule of which one query finds nothing counts as one without data there, and all its alerts as over."""
    until(lambda: ask(watched, ANOMALY.promql()), "the anomaly's alert", 90)
    found = [series["metric"] for series in ask(watched, ANOMALY.promql())]
    alerts = [labels for labels in found if labels["severity"] != "report"]  # which no budget is promised for
    # Where figures are none, as of a version that had no such series, there is a value all the same.
    gone = {
        letter: re.sub(r"driftline_(anomaly_(since|effect|evidence)|budget)", r"old_\1", query)
        for letter, query in grafana_queries().items()
    }
    for queries in (grafana_queries(), gone):
        for number in NUMBERS.values():
            found = ask(watched, queries[number.ref])
            for labels in alerts:
                mine = {label: labels[label] for label in number.by}
                values = [float(s["value"][1]) for s in found if s["metric"] == mine]
                assert len(values) == 1, (number, labels)
                assert (values[0] == number.missing) == (queries is gone), (number, values)


@pytest.mark.real
def test_records_are_what_they_stand_for(watched: str) -> None:
    for record in RECORDS:
        until(lambda record=record: ask(watched, record.name), record.name)  # type: ignore[misc]
        made, said = (
            {tuple(sorted(s["metric"].items())): s["value"][1] for s in ask(watched, query)}
            for query in (record.expr, record.name)
        )
        assert made == {tuple(sorted((k, v) for k, v in key if k != "__name__")): value for key, value in said.items()}


@pytest.mark.real
def test_the_check_runs_every_query(watched: str) -> None:
    done = CliRunner().invoke(command, ["check", "--prometheus", watched])
    assert done.exit_code == 0, done.output
    queries = len(ASKED) + len(list(rules_asked()))
    assert f"{queries} queries (parsed)" in done.output
    assert f"Prometheus: {queries} queries, " in done.output
    assert "more have none while all is well" in done.output


@pytest.mark.real
def test_a_query_that_prometheus_refuses_is_told(watched: str) -> None:
    ((_, said),) = answers(watched, [Asked("d", "p", "sum by (", False)])
    assert "parse error" in str(said)


@pytest.mark.real
def test_the_largest_segments_are_shown_and_no_others(watched: str) -> None:
    """With a cap of one, the one with the most traffic is left over the whole range."""
    (one,) = [a.expr for a in ASKED if a.panel == "Traffic by segment"]
    expr = filled_in(one, "10s").replace("topk(10,", "topk(1,")
    (shown,) = ask(watched, expr)
    traffic = {s["metric"]["segment"]: float(s["value"][1]) for s in ask(watched, "driftline_events")}
    assert shown["metric"]["segment"] == max(traffic, key=lambda segment: traffic[segment])


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
    checked = CliRunner().invoke(command, ["check", "--prometheus", url])
    assert checked.exit_code == 0, "no data is no fault of the files"
    assert "no data: driftline-overview, “Requests per second”: sum(driftline_events" in checked.output


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "count"),
    [("prometheus-rules.yml", len(RULES)), ("prometheus-records.yml", len(RECORDS))],
    ids=["rules", "records"],
)
def test_promtool_accepts_the_rules(file: str, count: int) -> None:
    try:
        program = services.promtool()
    except Unavailable as error:
        absent(error)
    checked = subprocess.run([program, "check", "rules", str(GENERATED / file)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{count} rules found" in checked.stdout


@pytest.mark.real
def test_a_query_that_does_not_parse_is_named() -> None:
    try:
        services.promtool()
    except Unavailable as error:
        absent(error)
    assert parse_errors(ASKED) == []
    spoilt = [*ASKED[:2], Asked("driftline-cost", "Broken", "sum by (", False)]
    (said,) = parse_errors(spoilt) or []
    assert said.startswith("driftline-cost, “Broken”: sum by (:")


def test_without_promtool_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert parse_errors(ASKED) is None
    assert "not parsed, since promtool is not installed" in CliRunner().invoke(command, ["check"]).output


@pytest.mark.parametrize(
    ("url", "said"),
    [("http://ann:hush@127.0.0.1:1", "is it running"), ("http://here:nine", "address of Prometheus is none")],
    ids=["down", "no address"],
)
def test_a_prometheus_that_is_not_there(url: str, said: str) -> None:
    done = CliRunner().invoke(command, ["check", "--prometheus", url])
    assert done.exit_code == 1
    assert said in done.output
    assert "hush" not in done.output


def test_rules_read_product_series_only_through_the_anomaly() -> None:
    """Rules on raw product metrics would alarm outside the false-alarm budget."""
    from monitor.serve.series import PRODUCT

    for rule in RULES:
        assert not [series.name for series in PRODUCT if series.name in rule.expr], rule.name


def test_queries_are_filled_in_whole() -> None:
    for one in ASKED:
        assert variables_in(filled_in(one.expr, "1m")) == set(), one
        assert "$" not in filled_in(one.expr, "1m")


def test_panels_that_may_be_empty_are_few_and_declared() -> None:
    quiet = {panel.title for spec in DASHBOARDS for panel in spec.panels if panel.quiet}
    anomalies = {
        panel.title for spec in DASHBOARDS for panel in spec.panels if "driftline_anomaly_active" in str(panel)
    }
    assert quiet - anomalies == {
        "Configuration reloads",
        "Labels from elsewhere per hour",
        "Oldest delivery that waits",
        "Outbox",
        "Samples without vectors",
        "Stored dead letters",
    }
    assert anomalies - quiet == {"Segments"}
    rare = {panel.title for spec in DASHBOARDS for panel in spec.panels if any(query.rare for query in panel.queries)}
    assert rare == {
        "Cost of the segment per event",
        "Cost per event",
        "Latency",
        "Latency of the segment",
        "Samples embedded per second",
        "Segments",
    }


def test_both_roads_have_the_same_labels() -> None:
    groups = YAML(typ="safe").load((GENERATED / "provisioning" / "alerting" / "driftline.yaml").read_text())["groups"]
    (rule,) = groups[0]["rules"]
    assert f"by ({', '.join(LABELS)})" in rule["data"][0]["model"]["expr"]
