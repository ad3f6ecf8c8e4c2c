"""Pushing through the real grafana-client, against a server that holds the shapes of Grafana's HTTP API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dashboards.generate import GENERATED
from dashboards.subjects import DASHBOARDS
from monitor.cli import main
from tests.alerts.parts import Answer, Target, target
from tests.dashboards.live import TOKEN, LiveGrafana

UIDS = sorted(spec.uid for spec in DASHBOARDS)


@pytest.fixture(scope="module")
def server() -> Iterator[Target]:
    with target() as found:
        yield found


@pytest.fixture
def grafana(server: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveGrafana]:
    live = LiveGrafana()
    server.answer = live
    server.requests.clear()
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("DRIFTLINE_DASHBOARDS_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("DASHBOARD_TEST_URL", f"{server.url}/grafana")
    monkeypatch.chdir(tmp_path)  # no driftline.yaml here
    yield live
    assert live.wrong == []
    asked = [request.path for request in server.requests]
    assert not [path for path in asked if "polic" in path or "contact" in path or "mute" in path]
    assert {request.method for request in server.requests} <= {"GET", "POST", "PUT"}, "nothing is deleted"


@pytest.fixture
def run(server: Target, grafana: LiveGrafana) -> Any:
    def call(*arguments: str) -> Result:
        done = CliRunner().invoke(main, ["dashboards", *arguments, "--url", f"{server.url}/grafana"])
        assert TOKEN not in done.output
        assert "Traceback" not in done.output
        return done

    return call


def test_a_push_makes_the_folder_and_every_dashboard_and_a_second_one_nothing(run: Any, grafana: LiveGrafana) -> None:
    first = run("push")
    assert first.exit_code == 0, first.output
    assert grafana.folders == {"driftline": "driftline"}
    assert sorted(grafana.dashboards) == UIDS
    assert set(grafana.placed.values()) == {"driftline"}
    assert first.output.count("pushed dashboard ") == len(UIDS)
    changes = list(grafana.changes)
    second = run("push")
    assert second.exit_code == 0
    assert "up to date" in second.output
    assert grafana.changes == changes
    assert run("diff").exit_code == 0


def test_a_dry_run_and_a_diff_change_nothing(run: Any, grafana: LiveGrafana) -> None:
    tried = run("push", "--dry-run", "--rules")
    assert tried.exit_code == 0
    assert "would push folder driftline: missing" in tried.output
    assert "would push rules driftline health: missing" in tried.output
    compared = run("diff")
    assert compared.exit_code == 1
    assert compared.output.count(": missing") == len(UIDS) + 1
    assert grafana.changes == []


def test_what_somebody_changed_is_named_by_place_and_put_back(run: Any, grafana: LiveGrafana) -> None:
    run("push")
    panel = grafana.dashboards["driftline-cost"]["panels"][1]
    panel["title"] = "Mine"
    panel["fieldConfig"]["defaults"]["decimals"] = 7
    del grafana.dashboards["driftline-latency"]
    grafana.changes.clear()
    compared = run("diff")
    assert compared.exit_code == 1
    assert "dashboard driftline-cost: changed at panels[1].title" in compared.output
    assert "dashboard driftline-latency: missing" in compared.output
    run("push")
    assert grafana.changes == ["dashboard driftline-cost", "dashboard driftline-latency"]
    assert grafana.dashboards["driftline-cost"]["version"] == 2
    grafana.dashboards["driftline-cost"]["panels"][1]["fieldConfig"]["defaults"]["decimals"] = 7
    assert "panels[1].fieldConfig.defaults.decimals" in run("diff").output


def test_other_dashboards_in_the_folder_are_named_and_left_and_others_not_even_named(
    run: Any, grafana: LiveGrafana
) -> None:
    grafana.folders |= {"driftline": "driftline", "theirs": "Theirs"}
    grafana.put("mine", "Notes of the team", "driftline")
    grafana.put("other", "Of another team", "theirs")
    before = json.dumps([grafana.dashboards["mine"], grafana.dashboards["other"]])
    done = run("push")
    assert "dashboard mine: not one of driftline's; left as it is" in done.output
    assert "other" not in done.output
    assert json.dumps([grafana.dashboards["mine"], grafana.dashboards["other"]]) == before
    assert run("diff").exit_code == 0


def test_a_long_folder_is_read_in_pages(run: Any, grafana: LiveGrafana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.pushing._PAGE", 3)
    run("push")
    for number in range(4):
        grafana.put(f"extra-{number}", "Extra", "driftline")
    assert run("diff").output.count("left as it is") == 4


@pytest.mark.parametrize(("folder", "named"), [("theirs", "Theirs"), ("", "General")], ids=["folder", "root"])
def test_a_dashboard_of_our_uid_elsewhere_is_refused_before_anything_is_changed(
    run: Any, grafana: LiveGrafana, folder: str, named: str
) -> None:
    grafana.folders["theirs"] = "Theirs"
    grafana.put("driftline-quality", "Old", folder)
    done = run("push")
    assert done.exit_code == 1
    assert f"uid driftline-quality is in the folder '{named}'" in done.output
    assert "nothing was changed" in done.output
    assert grafana.changes == []


def test_a_provisioned_dashboard_is_refused(run: Any, grafana: LiveGrafana) -> None:
    run("push")
    grafana.provisioned.add("driftline-overview")
    done = run("push")
    assert done.exit_code == 1
    assert "driftline-overview is provisioned from a file" in done.output


def test_a_later_grafana_that_migrates_dashboards_is_no_difference(run: Any, grafana: LiveGrafana) -> None:
    run("push")
    grafana.migrates = True
    assert run("diff").exit_code == 0
    grafana.dashboards["driftline-cost"]["panels"][1]["description"] = "Mine"
    assert "panels[1].description" in run("diff").output


def test_rules_are_pushed_by_group_and_only_once(run: Any, grafana: LiveGrafana) -> None:
    assert run("push", "--rules", "--datasource", "prom-of-ours").exit_code == 0
    assert sorted(name for _, name in grafana.groups) == ["driftline anomalies", "driftline health"]
    sources = {part["datasourceUid"] for g in grafana.groups.values() for r in g["rules"] for part in r["data"]}
    assert sources == {"prom-of-ours", "__expr__"}
    changes = list(grafana.changes)
    assert run("push", "--rules", "--datasource", "prom-of-ours").exit_code == 0
    assert grafana.changes == changes
    health = grafana.groups["driftline", "driftline health"]["rules"]
    health[0]["for"] = "1h"
    compared = run("diff", "--rules", "--datasource", "prom-of-ours")
    assert compared.exit_code == 1
    assert "rules driftline health: changed at rules[0].for" in compared.output


def test_pushed_rules_have_the_links_of_the_configuration(run: Any, grafana: LiveGrafana, tmp_path: Path) -> None:
    config = tmp_path / "linked.yaml"
    config.write_text("alerts: {app_url: 'https://watch.example', dashboard_url: 'https://grafana.example'}\n")
    assert run("push", "--rules").exit_code == 0
    (plain,) = grafana.groups["driftline", "driftline anomalies"]["rules"]
    assert "app" not in plain["annotations"]
    assert run("push", "--rules", "--config", str(config)).exit_code == 0
    (rule,) = grafana.groups["driftline", "driftline anomalies"]["rules"]
    assert rule["annotations"]["app"] == "https://watch.example/anomalies/{{ $labels.id }}"
    assert "https://grafana.example/d/" in rule["annotations"]["dashboard"]
    assert run("diff", "--rules", "--config", str(config)).exit_code == 0
    assert run("diff", "--rules").exit_code == 1


def test_a_rule_of_our_uid_elsewhere_is_refused(run: Any, grafana: LiveGrafana) -> None:
    grafana.groups["theirs", "x"] = {"rules": [{"uid": "driftline-lagging", "folderUID": "theirs"}]}
    done = run("push", "--rules")
    assert done.exit_code == 1
    assert "an alert rule of uid driftline-lagging is in another folder" in done.output
    assert grafana.changes == []


def test_a_configuration_adds_its_links_and_names_the_grafana(
    server: Target, grafana: LiveGrafana, tmp_path: Path
) -> None:
    (tmp_path / "driftline.yaml").write_text(
        f"alerts: {{app_url: 'https://watch.example', dashboard_url: '{server.url}/grafana'}}\n"
    )
    done = CliRunner().invoke(main, ["dashboards", "push"])
    assert done.exit_code == 0, done.output
    assert "https://watch.example/anomalies/${__value.raw" in json.dumps(grafana.dashboards["driftline-overview"])
    (tmp_path / "driftline.yaml").write_text("dashboards: {url: 'http://127.0.0.1:1'}\n")
    assert "is it running" in CliRunner().invoke(main, ["dashboards", "push"]).output


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(401, b'{"message": "Invalid API key"}'), "knows no such token"),
        (Answer(404, b"<html>nothing here</html>"), "is it Grafana's address"),
        (Answer(500, b'{"message": "boom"}'), "HTTP 500 (boom)"),
        (Answer(200, b"<html>welcome</html>"), "no answer of Grafana's API"),
        (Answer(200, b"[1]"), "no dashboard"),
        (Answer(behave="close"), "is it running"),
        (Answer(behave="cut"), "is it running"),
    ],
    ids=["401", "404", "500", "not json", "not a dashboard", "closed", "cut"],
)
def test_faults_are_told_with_a_remedy(run: Any, grafana: LiveGrafana, answer: Answer, said: str) -> None:
    grafana.answer_instead = answer
    done = run("push")
    assert done.exit_code == 1
    assert said in done.output


def test_a_grafana_that_denies_what_does_not_exist_is_pushed_to(run: Any, grafana: LiveGrafana) -> None:
    grafana.denies = True
    assert "folder driftline: missing, or not for this token to see" in run("diff", "--rules").output
    assert run("push", "--rules").exit_code == 0
    assert sorted(grafana.dashboards) == UIDS
    assert run("diff", "--rules").exit_code == 0


def test_a_token_that_may_not_write(run: Any, grafana: LiveGrafana) -> None:
    grafana.answer_instead = Answer(403, b'{"message": "Access denied"}')
    done = run("push")
    assert done.exit_code == 1
    assert "could not make the folder driftline: the token may not do that (Access denied)" in done.output
    assert "role Editor" in done.output


def test_what_was_saved_meanwhile_is_not_overwritten(
    run: Any, grafana: LiveGrafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("push")
    grafana.dashboards["driftline-cost"]["title"] = "Mine"
    real = grafana._save

    def raced(body: Any) -> Answer:
        grafana.dashboards["driftline-cost"]["version"] += 1
        return real(body)

    monkeypatch.setattr(grafana, "_save", raced)
    done = run("push")
    assert done.exit_code == 1
    assert "somebody changed it in the meantime" in done.output
    assert grafana.dashboards["driftline-cost"]["title"] == "Mine"


def test_without_an_address_or_with_a_wrong_one(grafana: LiveGrafana, tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert "Give --url" in run(main, ["dashboards", "push"]).output
    assert "http://" in run(main, ["dashboards", "push", "--url", "grafana:3000"]).output
    with_user = run(main, ["dashboards", "push", "--url", "http://admin:secret@grafana:3000"]).output
    assert "dashboards.token" in with_user and "secret" not in with_user
    (tmp_path / "dashboards").mkdir()
    empty = run(main, ["dashboards", "push", "--url", "http://127.0.0.1:1", "--from", str(tmp_path)])
    assert "there is no dashboard" in empty.output
    spoilt = json.loads((GENERATED / "dashboards" / "driftline-cost.json").read_text())
    spoilt["uid"] = "../../admin"
    (tmp_path / "dashboards" / "a.json").write_text(json.dumps(spoilt))
    refused = run(main, ["dashboards", "push", "--url", "http://127.0.0.1:1", "--from", str(tmp_path)])
    assert "none that Grafana takes" in refused.output
    (tmp_path / "dashboards" / "a.json").write_text("[]")
    refused = run(main, ["dashboards", "push", "--url", "http://127.0.0.1:1", "--from", str(tmp_path)])
    assert "is not a dashboard" in refused.output
