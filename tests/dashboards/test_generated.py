"""The generated files: current, complete, and in the shapes that Grafana documents."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from dashboards.generate import GENERATED, stale, write
from dashboards.panels import ROWS
from dashboards.rules import HEALTH, RULES
from monitor.cli.dashboards import dashboards as command

DOCS = Path(__file__).parents[2] / "docs" / "alerts.md"


def dashboard() -> dict[str, Any]:
    return dict(json.loads((GENERATED / "dashboards" / "driftline-overview.json").read_text()))


def alerting() -> dict[str, Any]:
    return dict(YAML(typ="safe").load((GENERATED / "provisioning" / "alerting" / "driftline.yaml").read_text()))


def test_the_checked_in_files_are_current() -> None:
    assert stale() == [], "run `driftline dashboards generate`"


def test_staleness_is_seen(tmp_path: Path) -> None:
    assert len(write(tmp_path)) == 5
    assert write(tmp_path) == []
    (tmp_path / "prometheus-rules.yml").write_text("groups: []\n")
    (tmp_path / "dashboards" / "driftline-overview.json").unlink()
    (tmp_path / "left.json").write_text("{}")
    assert stale(tmp_path) == [
        "dashboards/driftline-overview.json is missing",
        "prometheus-rules.yml differs from what the code generates",
        "left.json is no longer generated",
    ]


def test_the_commands(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(command, ["check", "--out", str(tmp_path)]).exit_code == 1
    assert run(command, ["generate", "--out", str(tmp_path)]).output.count("wrote ") == 5
    assert run(command, ["check", "--out", str(tmp_path)]).exit_code == 0


def test_without_the_sdk_only_generation_fails(tmp_path: Path) -> None:
    """The base install has no SDK: everything imports, and the command says what to install."""
    code = (
        "import sys\n"
        "sys.modules['grafana_foundation_sdk'] = None\n"
        "import dashboards.generate, dashboards.rules, dashboards.panels\n"
        "from click.testing import CliRunner\n"
        "from monitor.cli.dashboards import dashboards\n"
        f"result = CliRunner().invoke(dashboards, ['generate', '--out', {str(tmp_path)!r}])\n"
        "print(result.exit_code, result.output)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 ")
    assert "pip install 'driftline[dev]'" in done.stdout


def test_panels_have_ids_descriptions_units_and_complete_targets() -> None:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    assert len(panels) == sum(len(row.panels) for row in ROWS)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].strip()
        assert panel["options"] is not None, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        references = [target["refId"] for target in panel["targets"]]
        assert all(references)
        assert len(set(references)) == len(references)
    numbers = [panel["id"] for panel in dashboard()["panels"]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboards_identity_and_variables() -> None:
    document = dashboard()
    assert document["uid"] == "driftline-overview"
    assert [variable["name"] for variable in document["templating"]["list"]] == [
        "datasource",
        "route",
        "segment",
        "version",
    ]
    assert [panel["title"] for panel in document["panels"] if panel["type"] == "row"] == [
        "Overview",
        "Segment",
        "Review",
        "driftline itself",
    ]
    assert "null" not in re.findall(r'"options": (\w+)', json.dumps(document))


def test_provisioned_rules_have_the_documented_shape() -> None:
    document = alerting()
    assert document["apiVersion"] == 1
    assert "policies" not in document, "the policy tree is everybody's: provisioning it overwrites their routes"
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert {group["folder"] for group in document["groups"]} == {"driftline"}
    assert len({rule["uid"] for rule in rules}) == len(rules) == len(RULES)
    panels = {str(panel["id"]): panel["title"] for panel in dashboard()["panels"]}
    for rule, spec in zip(rules, RULES, strict=True):
        assert set(rule) == {
            "uid", "title", "condition", "data", "noDataState", "execErrState", "for", "labels", "annotations",
        }  # fmt: skip
        assert len(rule["uid"]) <= 40
        query, limit = rule["data"]
        assert set(query) == {"refId", "relativeTimeRange", "datasourceUid", "model"}
        assert limit["datasourceUid"] == "__expr__"
        assert limit["model"]["expression"] == query["refId"]
        assert rule["condition"] == limit["refId"]
        assert rule["annotations"]["__dashboardUid__"] == "driftline-overview"
        assert panels[rule["annotations"]["__panelId__"]] == spec.panel
        # Grafana expands $NAME in provisioning files; only $$ stays a dollar.
        texts = " ".join(rule["annotations"].values()) + query["model"]["expr"]
        assert not re.search(r"(?<!\$)\$(?!\$)", texts.replace("$$", ""))


def test_data_sources_are_named_as_the_rules_name_them() -> None:
    sources = YAML(typ="safe").load((GENERATED / "provisioning" / "datasources" / "driftline.yaml").read_text())
    uids = {source["uid"] for source in sources["datasources"]}
    used = {part["datasourceUid"] for group in alerting()["groups"] for rule in group["rules"] for part in rule["data"]}
    assert used - {"__expr__"} <= uids


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_alert_is_documented(rule: Any) -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{rule.name}` |")]
    assert len(rows) == 1, f"docs/alerts.md needs one row for {rule.name}"
    if rule in HEALTH:
        assert rows[0].split("|")[2].strip() == rule.severity


def test_no_documented_alert_has_gone() -> None:
    documented = set(re.findall(r"^\| `(Driftline\w+)` \|", DOCS.read_text(), flags=re.MULTILINE))
    assert documented == {rule.name for rule in RULES}
