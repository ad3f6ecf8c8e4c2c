"""The anomaly's rule as people hear of it: once for one anomaly, over when it is over, and with what there is to know.
Rules are evaluated by promtool, over series as a scrape would have left them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ruamel.yaml import YAML

from alerts import runbooks
from alerts.rendering import Links
from dashboards.annotations import NUMBERS, grafana_queries
from dashboards.configured import Settings
from dashboards.generate import GENERATED, provisioned_rules
from dashboards.rule_files import configured_rules, prometheus_rules
from dashboards.rules import ANOMALY, HEALTH
from dashboards.subjects import panel_places
from tests.alerts.parts import anomaly
from tests.conftest import absent
from tests.services import Unavailable
from tests.services import prometheus as services

SETTINGS = Settings(
    app_url="https://driftline.example/",
    dashboard_url="https://grafana.example",
    runbook_url="https://wiki.example/runbooks",
)
LABELS = {"id": "a1", "segment": "s", "route": "r", "signal": "error_rate", "severity": "page", "owner": "default"}
SINCE = 1_794_897_600  # 2026-11-17 06:40 UTC


def selector(name: str, **labels: str) -> str:
    return name + "{" + ",".join(f"{key}={json.dumps(text)}" for key, text in labels.items()) + "}"


def active(values: str, path: str = "rules", instance: str = "one", **labels: str) -> dict[str, str]:
    return {
        "series": selector("driftline_anomaly_active", **{**LABELS, **labels}, path=path, instance=instance),
        "values": values,
    }


def resolved(values: str) -> dict[str, str]:
    return {"series": selector("driftline_anomaly_resolved_seconds", id="a1", instance="two"), "values": values}


def promtool(folder: Path, rules: dict[str, Any], tests: list[dict[str, Any]]) -> str:
    """What promtool says of tests of rules; empty where they hold."""
    try:
        program = services.promtool()
    except Unavailable as error:
        absent(error)
    with (folder / "rules.yml").open("w") as file:
        YAML().dump(rules, file)
    with (folder / "tests.yml").open("w") as file:
        YAML().dump({"rule_files": ["rules.yml"], "evaluation_interval": "30s", "tests": tests}, file)
    done = subprocess.run([program, "test", "rules", "tests.yml"], cwd=folder, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def heard(name: str, series: list[dict[str, str]], firing: dict[str, int]) -> dict[str, Any]:
    """A test in which so many alerts fire at each time. A scrape every 15 s."""
    return {
        "name": name,
        "interval": "15s",
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": 'count(ALERTS{alertname="DriftlineAnomaly",alertstate="firing"}) or vector(0)',
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": count}],
            }
            for at, count in firing.items()
        ],
    }


MINUTES = [f"{minute}m" for minute in range(1, 30)]
GOES_ON = dict.fromkeys(MINUTES, 1)


def until(end: int) -> dict[str, int]:
    return {at: 1 if number <= end else 0 for number, at in enumerate(MINUTES, start=1)}


@pytest.mark.real
def test_a_restart_is_no_end_and_an_end_is_heard_at_once(tmp_path: Path) -> None:
    """What a scrape says to be over is over at the next evaluation, 30 s later at most."""
    stories = [
        # A restart of nine minutes, an hour after which it is still open.
        heard("restart", [active("1x20 stale _x35 1x80")], GOES_ON),
        # Another process leads after a minute.
        heard("leader", [active("1x20 stale"), active("_x24 1x100", instance="two")], GOES_ON),
        # Over at 5 min: the series of the open one goes, and it is said to be over.
        heard("end", [active("1x20 stale"), resolved("_x20 1x100")], until(4)),
        # Over while nobody led: told as soon as somebody leads again, at 8 min.
        heard("end in a gap", [active("1x20 stale"), resolved("_x32 1x100")], until(7)),
        # One scrape of it is enough: a replay shows an end for seconds.
        heard("short end", [active("1x20 stale"), resolved("_x20 1 stale")], until(4)),
        # Nobody ever says: as a pushed alert it ends by itself after ten minutes.
        heard("gone", [active("1x19 stale")], until(14)),
        # A deploy's mute ends at 10 min: told from then on. It was over by then: never.
        heard("muted", [active("1x39 stale", "none"), active("_x40 1x80")], {m: 1 - v for m, v in until(9).items()}),
        heard("muted and over", [active("1x20 stale", "none"), resolved("_x20 1x60")], dict.fromkeys(MINUTES, 0)),
        # The road is changed to push at 5 min: rules end what driftline tells from now on.
        heard("other road", [active("1x19 stale"), active("_x20 1x80", "push")], until(4)),
    ]
    assert promtool(tmp_path, prometheus_rules(), stories) == ""


def figures(unit: str = "share", *, over: dict[str, float] | None = None, **effect: float) -> list[dict[str, str]]:
    """Series of an alert's numbers, steady."""
    given: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("driftline_anomaly_since_seconds", (("id", "a1"),)): SINCE,
        ("driftline_anomaly_evidence", (("id", "a1"),)): 57.3,
        ("driftline_budget_allowed", (("owner", "default"), ("severity", "page"))): 1,
        ("driftline_budget_period_seconds", (("owner", "default"), ("severity", "page"))): 30 * 86_400,
        ("driftline_budget_allowed", (("owner", "billing"), ("severity", "ticket"))): 2,
        ("driftline_budget_period_seconds", (("owner", "billing"), ("severity", "ticket"))): 86_400,
    }
    for what, value in effect.items():
        given["driftline_anomaly_effect", (("id", "a1"), ("unit", unit), ("what", what))] = value
    # Another anomaly's numbers are not this one's.
    given["driftline_anomaly_effect", (("id", "b2"), ("unit", "sd"), ("what", "value"))] = 99
    return [
        {"series": selector(name, **dict(labels)), "values": f"{value!r}x8"} for (name, labels), value in given.items()
    ]


def told(name: str, numbers: list[dict[str, str]], said: dict[str, str], **labels: str) -> dict[str, Any]:
    carried = {key: text for key, text in {**LABELS, **labels}.items() if text}
    series = selector("driftline_anomaly_active", **carried, path="rules")
    return {
        "name": name,
        "interval": "15s",
        "input_series": [{"series": series, "values": "1x8"}, *numbers],
        "alert_rule_test": [
            {
                "eval_time": "1m",
                "alertname": "DriftlineAnomaly",
                "exp_alerts": [{"exp_labels": carried, "exp_annotations": said}],
            }
        ],
    }


def only(name: str, settings: Settings = SETTINGS) -> dict[str, Any]:
    """The anomaly's rule with some of its annotations (those whose names match)."""
    groups = json.loads(json.dumps(prometheus_rules(settings)))["groups"]
    (rule,) = groups[0]["rules"]
    rule["annotations"] = {key: text for key, text in rule["annotations"].items() if re.fullmatch(name, key)}
    return {"groups": groups[:1]}


@pytest.mark.real
def test_what_a_person_reads(tmp_path: Path) -> None:
    tail = figures(value=0.1314, low=0.12, high=0.146, baseline=0.0086)
    drift = figures("sd", value=8.113, low=7.79, high=8.43, baseline=0)
    many = figures("events/h", value=1234.6, low=1100, high=1301, baseline=640.25)
    sure = "the evidence reached 57.3 times what opens an anomaly; at most "
    everything = f"{sure}1 false page in 30 days may be expected, over everything"
    since = "2026-11-17 06:40 UTC"
    stories = [
        told(
            "a tail",
            tail,
            {
                "summary": "cost_p99 in acme: 13 % of requests beyond the reference's p99 (95 % interval 12 % to "
                f"15 %), 0.86 % before, since {since}.",
                "since": since,
                "effect": "13 % of requests beyond the reference's p99 (95 % interval 12 % to 15 %), 0.86 % before",
                "how_sure": everything,
            },
            signal="cost_p99",
            segment="acme",
        ),
        told(
            "a rate",
            figures(value=0.31, low=0.29, high=0.34, baseline=0),
            {
                "summary": f"error_rate in s: 31 % (95 % interval 29 % to 34 %), 0 % before, since {since}.",
                "since": since,
                "effect": "31 % (95 % interval 29 % to 34 %), 0 % before",
                "how_sure": f"{sure}2 false tickets in a day may be expected, over all that billing owns",
            },
            severity="ticket",
            owner="billing",
        ),
        told(
            "drift, of an owner who has gone",
            drift,
            {
                "summary": "image_drift in s: 8.11 standard deviations from the reference (95 % interval 7.79 to "
                f"8.43), since {since}.",
                "since": since,
                "effect": "8.11 standard deviations from the reference (95 % interval 7.79 to 8.43)",
                "how_sure": "the evidence reached 57.3 times what opens an anomaly",
            },
            signal="image_drift",
            owner='gone "} or vector(1)',
        ),
        told(
            "volume",
            many,
            {
                "summary": f"volume in s: 1235 an hour (95 % interval 1100 to 1301), 640 before, since {since}.",
                "since": since,
                "effect": "1235 an hour (95 % interval 1100 to 1301), 640 before",
                "how_sure": everything,
            },
            signal="volume",
        ),
        told(
            "a size that is not known",
            figures(),
            {
                "summary": f"error_rate in s changed, since {since}.",
                "since": since,
                "effect": "",
                "how_sure": everything,
            },
        ),
        told(
            "nothing but the anomaly; a name from outside is no template",
            [],
            {
                "summary": 'error_rate in {{ query "up" }}<b> changed.',
                "since": "",
                "effect": "",
                "how_sure": "",
            },
            segment='{{ query "up" }}<b>',
        ),
    ]
    assert promtool(tmp_path, only("summary|since|effect|how_sure"), stories) == ""


@pytest.mark.real
def test_what_to_look_at_is_that_of_the_signal(tmp_path: Path) -> None:
    story = "; all of it: `driftline alerts show a1`"
    cost = "run `driftline cost --days 1 --segment {}`: it says which part of the bill grew" + story
    stories = [
        told(
            "a segment",
            [],
            {
                "look_first": cost.format("a/b-c_1"),
                "description": "Usually a few requests or one user with much larger inputs or outputs, a dearer model, "
                "or retries. `driftline alerts show a1` tells the whole story.",
            },
            signal="cost_p95",
            segment="a/b-c_1",
        ),
        told(
            "a segment that should not be pasted",
            [],
            {
                "look_first": cost.format("'SEGMENT'"),
                "description": "Usually a few requests or one user with much larger inputs or outputs, a dearer model, "
                "or retries. `driftline alerts show a1` tells the whole story.",
            },
            signal="cost_p95",
            segment="$(reboot)",
        ),
        told(
            "a signal of a later version",
            [],
            {
                "look_first": "run `driftline alerts show a1`",
                "description": "Usually a release, a provider, or a new kind of input. `driftline alerts show a1` "
                "tells the whole story.",
            },
            signal="smell",
        ),
    ]
    assert promtool(tmp_path, only("look_first|description"), stories) == ""


@pytest.mark.real
def test_links_are_those_of_a_pushed_alert(tmp_path: Path) -> None:
    """Of one signal of each runbook, a slice, and a segment without a route."""
    links = Links(
        dashboard_url=SETTINGS.dashboard_url,
        app_url=SETTINGS.app_url,
        runbook_url=SETTINGS.runbook_url,
        panels=panel_places(),
    )
    cases = [(f"{runbook.signals[0]}x", "invoice/a&b=c #1", "r") for runbook in runbooks.RUNBOOKS]
    cases += [("smell", "s", ""), ("error_rate", "slice:near_context_limit", "r")]
    stories = []
    for signal, segment, route in cases:
        document = anomaly(segment, signal, opened=SINCE * 1_000_000 + 5 * 60_000_000)
        document |= {"id": "a1", "route": route}
        if segment.startswith("slice:"):
            document |= {"segment": None, "slice": segment.removeprefix("slice:")}
        expected = links.of(document)
        # The same parameters in another order: the panel's number comes with its dashboard.
        address, query = urlsplit(expected["dashboard"]), parse_qs(urlsplit(expected["dashboard"]).query)
        order = ("viewPanel", "from", "to", "var-route", "var-segment")
        assert set(query) <= set(order)
        quoted = {name: re.search(rf"(?:^|&){name}=([^&]*)", address.query) for name in order}
        expected["dashboard"] = address._replace(
            query="&".join(f"{name}={found[1]}" for name, found in quoted.items() if found)
        ).geturl()
        stories.append(told(signal, figures(), expected, signal=signal, segment=segment, route=route))
    assert promtool(tmp_path, only("app|dashboard|runbook_url"), stories) == ""


def test_beginnings_of_signals_do_not_overlap() -> None:
    """The rule asks for them in an order of its own."""
    begun = [(signal, runbook.page) for runbook in runbooks.RUNBOOKS for signal in runbook.signals]
    assert [
        (a, b) for a, page in begun for b, other in begun if page != other and (a.startswith(b) or b.startswith(a))
    ] == []


def test_a_configuration_adds_its_links_to_both_files_of_rules() -> None:
    plain, linked = provisioned_rules(), configured_rules(provisioned_rules(), SETTINGS)
    assert configured_rules(plain, Settings()) == plain
    none = configured_rules(plain, Settings(runbook_url=None))
    for document, wanted in ((linked, True), (none, False)):
        for group in document["groups"]:
            for rule in group["rules"]:
                said = rule["annotations"]
                assert ("runbook_url" in said) == ("dashboard" in said) == wanted
                assert ("app" in said) == (wanted and rule["title"] == ANOMALY.name)
                assert {"__dashboardUid__", "__panelId__"} <= set(said)
                assert {key: rule[key] for key in rule if key != "annotations"} in [
                    {key: other[key] for key in other if key != "annotations"}
                    for g in plain["groups"]
                    for other in g["rules"]
                ]
    assert linked["groups"][0]["rules"][0]["annotations"]["app"] == (
        "https://driftline.example/anomalies/{{ $$labels.id }}"
    ), "Grafana replaces $NAME in files"
    for group in prometheus_rules(SETTINGS)["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["dashboard"].count("https://grafana.example/d/") == 1
            assert "https://wiki.example/runbooks/" in rule["annotations"]["runbook_url"]
    stale = prometheus_rules(SETTINGS)["groups"][1]["rules"][-1]["annotations"]
    assert stale["runbook_url"] == f"https://wiki.example/runbooks/{HEALTH[-1].name}.md"
    assert "dashboard" not in prometheus_rules()["groups"][1]["rules"][0]["annotations"]


@pytest.mark.parametrize("name", ["app_url", "dashboard_url", "runbook_url"])
@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://a/{{ .Labels }}", "https://a/$HOME", "https://a b"])
def test_an_address_that_would_be_more_is_refused(name: str, url: str) -> None:
    with pytest.raises(ValueError, match=f"alerts.{name}"):
        Settings(**{name: url})


def test_texts_in_grafana_are_those_in_prometheus_but_for_where_figures_come_from() -> None:
    """Grafana has no `query` in templates: each figure is a query of the rule."""
    (rule,) = provisioned_rules()["groups"][0]["rules"]
    queries = {part["refId"]: part["model"].get("expr") for part in rule["data"]}
    assert {letter: queries[letter] for letter in grafana_queries()} == grafana_queries()
    assert rule["condition"] == "C"
    file = YAML(typ="safe").load((GENERATED / "prometheus-rules.yml").read_text())
    (native,) = file["groups"][0]["rules"]
    for name, text in native["annotations"].items():
        theirs = rule["annotations"][name].replace("$$", "$")
        for number in NUMBERS.values():
            theirs = theirs.replace(f"with $values.{number.ref} ", "FIGURE ")
        assert theirs == re.sub(r"range query \(printf `[^`]*`[^)]*\) ", "FIGURE ", text)
        assert "query" not in theirs.replace("urlquery", "")
