"""The generated files: current, complete, and in the shapes that Grafana documents."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from dashboards.annotations import NUMBERS
from dashboards.checking import faults
from dashboards.configured import Settings, configured
from dashboards.generate import GENERATED, dashboards_in, stale, write
from dashboards.queries import asked_by, values_of
from dashboards.records import RECORDS
from dashboards.rules import ANOMALY, HEALTH, RULES
from dashboards.subjects import DASHBOARDS, number_of, panel_places
from dashboards.variables import VARIABLES
from monitor.cli.dashboards import dashboards as command
from monitor.serve.metrics import CATALOGUE

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENTS = dashboards_in()
LABELS = {series.name: set(series.labels) for _, catalogue in CATALOGUE.values() for series in catalogue}


def alerting() -> dict[str, Any]:
    return dict(YAML(typ="safe").load((GENERATED / "provisioning" / "alerting" / "driftline.yaml").read_text()))


def test_the_checked_in_files_are_current() -> None:
    assert stale() == [], "run `driftline dashboards generate`"


def test_staleness_is_seen(tmp_path: Path) -> None:
    assert len(write(tmp_path)) == 13
    assert write(tmp_path) == []
    (tmp_path / "prometheus-rules.yml").write_text("groups: []\n")
    (tmp_path / "dashboards" / "driftline-overview.json").unlink()
    (tmp_path / "left.json").write_text("{}")
    assert stale(tmp_path) == [
        "dashboards/driftline-overview.json is missing",
        "prometheus-rules.yml differs from what the code generates",
        "left.json is no longer generated",
    ]


def test_without_the_sdk_only_generation_fails(tmp_path: Path) -> None:
    """The base install has no SDK: everything imports, and the command says what to install."""
    code = (
        "import sys\n"
        "sys.modules['grafana_foundation_sdk'] = None\n"
        "import dashboards.generate, dashboards.rules, dashboards.subjects, dashboards.pushing, dashboards.checking\n"
        "assert len(dashboards.generate.dashboards_in()) == 7\n"
        "from click.testing import CliRunner\n"
        "from monitor.cli.dashboards import dashboards\n"
        f"result = CliRunner().invoke(dashboards, ['generate', '--out', {str(tmp_path)!r}])\n"
        "print(result.exit_code, result.output)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 ")
    assert "pip install 'driftline[dev]'" in done.stdout


@pytest.mark.parametrize("spec", DASHBOARDS, ids=lambda spec: spec.uid)
def test_a_dashboard_is_complete_and_laid_out_in_full_rows(spec: Any) -> None:
    document = DOCUMENTS[spec.uid]
    assert faults(document) == []
    shown = [panel for panel in document["panels"] if panel["type"] != "row"]
    assert [panel["id"] for panel in shown] == [number_of(panel.title) for panel in spec.panels]
    assert "null" not in re.findall(r'"options": (\w+)', json.dumps(document))


def test_dashboards_have_fixed_names() -> None:
    assert sorted(DOCUMENTS) == [
        "driftline-cost",
        "driftline-inputs",
        "driftline-internals",
        "driftline-latency",
        "driftline-overview",
        "driftline-quality",
        "driftline-segment",
    ]
    titles = Counter(panel.title for spec in DASHBOARDS for panel in spec.panels)
    assert [title for title, count in titles.items() if count > 1] == [], "alerts and runbooks name panels by title"
    # Links in alerts that were sent hold these: another number breaks them.
    assert panel_places()["Cost per event"] == ("driftline-cost", 530633)
    assert panel_places()["Which anomalies are open"] == ("driftline-overview", 879983)


def test_the_overview_is_short() -> None:
    document = DOCUMENTS["driftline-overview"]
    assert max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in document["panels"]) <= 45


def spoilt(change: Any) -> list[str]:
    document = copy.deepcopy(DOCUMENTS["driftline-cost"])
    change(document, next(panel for panel in document["panels"] if panel["type"] == "timeseries"))
    return faults(document)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d, p: p["gridPos"].update(x=8), "overlaps"),
        (lambda d, p: p["gridPos"].update(w=6), "columns wide"),
        (lambda d, p: d["panels"].remove(p), "columns wide"),
        (lambda d, p: p.update(type="graph"), "not every Grafana has"),
        (lambda d, p: p.update(description=" "), "which question"),
        (lambda d, p: p.update(id=d["panels"][-1]["id"]), "2 panels have the number"),
        (lambda d, p: p["targets"][0].update(refId=""), "refId"),
        (lambda d, p: p["targets"][0].update(expr='up{a=~"$gone"}'), "'gone', which there is not"),
        (lambda d, p: d["templating"]["list"].reverse(), "does not come before it"),
        (lambda d, p: d.update(uid="a/b"), "none that Grafana takes"),
        (lambda d, p: d.pop("panels"), "not what a dashboard looks like"),
    ],
    ids=["overlap", "narrow", "hole", "type", "mute", "number", "letter", "variable", "order", "uid", "no dashboard"],
)
def test_the_check_sees(change: Any, said: str) -> None:
    assert said in " ".join(spoilt(change))


def test_variables_are_labels_of_what_they_narrow() -> None:
    for spec in VARIABLES.values():
        series, label = values_of(spec.query)
        assert label == spec.name
        assert spec.name in LABELS[series.partition("{")[0]]
    for asked in asked_by(DOCUMENTS.values()):
        for name, selector in re.findall(r"(driftline_\w+)\{([^}]*)\}", asked.expr):
            if name in LABELS:
                assert set(re.findall(r"(\w+)=", selector)) <= LABELS[name], asked


def test_every_metric_that_is_shown_exists_and_most_are_shown() -> None:
    text = " ".join(asked.expr for asked in asked_by(DOCUMENTS.values())) + " "
    text += " ".join(record.expr for record in RECORDS)
    named = set(re.findall(r"\bdriftline_\w+", text.replace("route_rate:driftline_rate", "")))
    recorded = {record.name for record in RECORDS}
    known = set(LABELS) | {name.partition(":")[2].partition(":")[0] for name in recorded}
    assert named - known == set()
    assert len(named & set(LABELS)) > 50


def test_money_names_its_currency_and_only_money() -> None:
    for uid, document in DOCUMENTS.items():
        paid = [p["title"] for p in document["panels"] if "${currency}" in p["title"]]
        costs = [p["title"] for p in document["panels"] if re.search(r"[Ss]pend|[Cc]ost|bill|month", p["title"])]
        unpaid = {"Share of spend in the tail", "Anomalies of cost", "Cost and latency"}
        assert {t.partition(" ($")[0] for t in costs} - unpaid - {t.partition(" ($")[0] for t in paid} <= {
            "What does it cost?",
            "Who drives the bill?",
        }, uid


def test_links_keep_what_was_chosen_and_lead_to_dashboards() -> None:
    text = "\n".join(json.dumps(document) for document in DOCUMENTS.values())
    links = set(re.findall(r'"url": "(/d/[^"]*)"', text))
    assert len(links) > 5
    for url in links:
        path, _, query = url.partition("?")
        target = DOCUMENTS[path.removeprefix("/d/")]
        assert query.startswith("${datasource:queryparam}&")
        assert query.endswith("&${__url_time_range}")
        known = {variable["name"] for variable in target["templating"]["list"]}
        assert set(re.findall(r"\$\{(\w+):queryparam\}|var-(\w+)=", query)) <= {
            pair for name in known for pair in ((name, ""), ("", name))
        }
    assert all(
        document["links"][0]["includeVars"] and document["links"][0]["keepTime"] for document in DOCUMENTS.values()
    )
    segment = [url for url in links if "driftline-segment" in url]
    assert all(":percentencode}" in url for url in segment), "segment names come from outside"


def test_one_segment_is_chosen_on_its_dashboard_and_many_elsewhere() -> None:
    many = {
        uid: [v["multi"] for v in document["templating"]["list"] if v["name"] == "segment"]
        for uid, document in DOCUMENTS.items()
    }
    assert many["driftline-segment"] == [False]
    assert many["driftline-cost"] == many["driftline-quality"] == [True]


def test_limits_are_those_of_the_rules() -> None:
    drawn = {
        panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"]
        for panel in DOCUMENTS["driftline-internals"]["panels"]
        if "thresholds" in panel.get("fieldConfig", {}).get("defaults", {})
    }
    assert drawn["Lag"] == next(rule.threshold for rule in HEALTH if rule.name == "DriftlineLagging")
    assert drawn["Evaluation behind"] == 3600


def test_a_configuration_adds_its_pages_and_limits() -> None:
    for document in DOCUMENTS.values():
        assert configured(document, Settings()) == document
    overview = configured(DOCUMENTS["driftline-overview"], Settings(app_url="https://watch.example/"))
    assert faults(overview) == []
    assert overview["links"][1]["url"] == "https://watch.example/"
    assert '"https://watch.example/anomalies/${__value.raw:percentencode}"' in json.dumps(overview)
    assert overview != DOCUMENTS["driftline-overview"], "the original is left as it is"
    quality = configured(DOCUMENTS["driftline-quality"], Settings(review_expires_s=1209600))
    (panel,) = [panel for panel in quality["panels"] if panel["title"] == "Oldest open item"]
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] == 1209600
    with pytest.raises(ValueError, match="http"):
        Settings(app_url="javascript:alert(1)")


def test_provisioned_rules_have_the_documented_shape() -> None:
    document = alerting()
    assert document["apiVersion"] == 1
    assert "policies" not in document, "the policy tree is everybody's: provisioning it overwrites their routes"
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert {group["folder"] for group in document["groups"]} == {"driftline"}
    assert len({rule["uid"] for rule in rules}) == len(rules) == len(RULES)
    for rule, spec in zip(rules, RULES, strict=True):
        assert set(rule) == {
            "uid", "title", "condition", "data", "noDataState", "execErrState", "for", "labels", "annotations",
        }  # fmt: skip
        assert len(rule["uid"]) <= 40
        query, limit, *figures = rule["data"]
        assert len(figures) == (len(NUMBERS) if spec is ANOMALY else 0)
        assert len({part["refId"] for part in rule["data"]}) == len(rule["data"])
        for part in (query, *figures):
            assert set(part) == {"refId", "relativeTimeRange", "datasourceUid", "model"}
            assert part["model"]["instant"], "what Grafana takes as numbers, and gives to texts"
        assert limit["datasourceUid"] == "__expr__"
        assert limit["model"]["expression"] == query["refId"]
        assert rule["condition"] == limit["refId"]
        panels = {
            str(panel["id"]): panel["title"] for panel in DOCUMENTS[rule["annotations"]["__dashboardUid__"]]["panels"]
        }
        assert panels[rule["annotations"]["__panelId__"]] == spec.panel
        # Grafana expands $NAME in provisioning files; only $$ stays a dollar.
        texts = " ".join(rule["annotations"].values()) + query["model"]["expr"]
        assert not re.search(r"(?<!\$)\$(?!\$)", texts.replace("$$", ""))


def test_data_sources_are_named_as_the_rules_name_them() -> None:
    sources = YAML(typ="safe").load((GENERATED / "provisioning" / "datasources" / "driftline.yaml").read_text())
    uids = {source["uid"] for source in sources["datasources"]}
    used = {part["datasourceUid"] for group in alerting()["groups"] for rule in group["rules"] for part in rule["data"]}
    assert used - {"__expr__"} <= uids


def test_contact_points_are_examples_without_secrets_or_policies() -> None:
    """They lie outside of provisioning/, so that nothing is made of them where that folder is mounted."""
    document = YAML(typ="safe").load((GENERATED / "examples" / "contact-points.yaml").read_text())
    assert set(document) == {"apiVersion", "contactPoints"}
    for point in document["contactPoints"]:
        assert set(point) == {"orgId", "name", "receivers"}
        for receiver in point["receivers"]:
            assert {"uid", "type", "settings"} <= set(receiver)
            given = [value for value in receiver["settings"].values() if isinstance(value, str)]
            assert any(value.startswith("${DRIFTLINE_") for value in given)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_alert_is_documented(rule: Any) -> None:
    rows = [line for line in (DOCS / "alerts.md").read_text().splitlines() if line.startswith(f"| `{rule.name}` |")]
    assert len(rows) == 1, f"docs/alerts.md needs one row for {rule.name}"
    if rule in HEALTH:
        assert rows[0].split("|")[2].strip() == rule.severity


def test_no_documented_alert_has_gone() -> None:
    documented = set(re.findall(r"^\| `(Driftline\w+)` \|", (DOCS / "alerts.md").read_text(), flags=re.MULTILINE))
    assert documented == {rule.name for rule in RULES}


def test_every_dashboard_and_its_question_is_documented() -> None:
    text = (DOCS / "dashboards.md").read_text()
    for spec in DASHBOARDS:
        assert f"| `{spec.uid}` | {spec.question} |" in text
    for record in RECORDS:
        assert f"`{record.name}`" in text


def test_files_of_a_configuration_go_to_a_folder_of_their_own(tmp_path: Path) -> None:
    run = CliRunner().invoke
    (tmp_path / "driftline.yaml").write_text("alerts: {app_url: 'https://watch.example'}\n")
    arguments = ["--config", str(tmp_path / "driftline.yaml"), "--out", str(tmp_path / "out")]
    assert run(command, ["generate", *arguments]).exit_code == 0
    for file in ("dashboards/driftline-overview.json", "prometheus-rules.yml", "provisioning/alerting/driftline.yaml"):
        assert "https://watch.example" in (tmp_path / "out" / file).read_text()
    assert run(command, ["check", *arguments]).exit_code == 0
    assert run(command, ["check", *arguments[2:]]).exit_code == 1, "without the configuration they are others"
    refused = run(command, ["generate", *arguments[:2]])
    assert refused.exit_code == 1
    assert "--config needs --out" in refused.output


def test_generate_says_what_it_wrote(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(command, ["generate", "--out", str(tmp_path)]).output.count("wrote ") == 13
    assert "up to date" in run(command, ["generate", "--out", str(tmp_path)]).output
