"""Every alert and every signal has a page that exists and is linked, and what a page tells people to run exists."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from alerts.rendering import ALERT_NAME
from alerts.runbooks import ANY, DOCUMENTED, RUNBOOKS, Runbook, address, of_signal
from dashboards.rule_files import prometheus_rules
from dashboards.rules import ANOMALY, RULES, RuleSpec
from dashboards.subjects import panel_places
from detectors.summaries.catalogue import SIGNALS
from monitor.cli import main
from monitor.evaluate.incidents import NEW_SEGMENT
from monitor.evaluate.streams import CATALOGUE, stage_spec, tier_spec

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "runbooks"
PAGES = sorted(path.name for path in FOLDER.glob("*.md") if path.name != "README.md")
STREAMS = [*CATALOGUE, stage_spec("ocr"), tier_spec("small", commonest=True), tier_spec("small", commonest=False)]
NAMES = sorted({NEW_SEGMENT, *(signal.name for signal in SIGNALS), *(spec.signal for spec in STREAMS)})


@pytest.mark.parametrize("signal", NAMES)
def test_every_signal_has_a_page_of_one_family(signal: str) -> None:
    found = [runbook for runbook in RUNBOOKS if signal.startswith(runbook.signals)]
    assert found == [of_signal(signal)]
    assert f"{found[0].page}.md" in PAGES
    assert found[0].panel in panel_places()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_alert_has_a_page(rule: RuleSpec) -> None:
    assert f"{rule.name}.md" in PAGES
    (linked,) = [
        made["annotations"]["runbook_url"]
        for group in prometheus_rules()["groups"]
        for made in group["rules"]
        if made["alert"] == rule.name
    ]
    # That of an anomaly leads to the page of its signal (tests/dashboards/test_rules.py).
    assert address(DOCUMENTED, rule.name) == linked or rule is ANOMALY


def test_every_page_is_of_something_and_is_linked() -> None:
    known = {f"{name}.md" for name in [ALERT_NAME, ANY.page, *(b.page for b in RUNBOOKS), *(r.name for r in RULES)]}
    assert set(PAGES) == known
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (FOLDER / "README.md").read_text()))
    assert set(PAGES) <= linked
    assert "runbooks/README.md" in (ROOT / "docs" / "alerts.md").read_text()


def test_the_default_address_is_that_of_the_projects_documentation() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert f"{urls['Documentation']}/{FOLDER.name}" == DOCUMENTED


def test_a_signal_of_a_later_version_has_the_page_of_all() -> None:
    assert of_signal("unheard_of") is ANY


@pytest.mark.parametrize("page", PAGES)
def test_a_page_answers_the_five_questions(page: str) -> None:
    text = (FOLDER / page).read_text()
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == [
        "What it means",
        "What it usually is",
        "What to look at first",
        "What to do",
        "If it was false",
    ]
    assert "driftline alerts mark ID --false" in text
    assert "[All runbooks](README.md)" in text


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_its_links_exist_and_its_commands_can_be_run(page: str, tmp_path: Path) -> None:
    text = (FOLDER / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (FOLDER / link).resolve().exists(), link
    for words in re.findall(r"`driftline ([^`]+)`", text):
        assert_parses(words, tmp_path)
    for title in re.findall(r"“([A-Z][^”]*)”", text):
        if title in panel_places() or title in {"Targets"} or title.startswith("It "):
            continue
        pytest.fail(f"no panel {title!r}")


@pytest.mark.parametrize("runbook", [*RUNBOOKS, ANY], ids=lambda runbook: runbook.page)
def test_a_first_step_names_commands_that_can_be_run(runbook: Runbook, tmp_path: Path) -> None:
    for words in re.findall(r"`driftline ([^`]+)`", runbook.first):
        assert_parses(words, tmp_path)


STANDS_FOR = {"ID": "1", "DAY": "2026-11-02", "SEGMENT": "acme", "NAME": "oncall"}


def assert_parses(words: str, folder: Path) -> None:
    """The command exists and takes what is written, every option it cannot do without among it; it is not run."""
    file = folder / "FILE"
    file.touch()
    arguments = [str(file) if word == "FILE" else STANDS_FOR.get(word, word) for word in shlex.split(words)]
    command: click.Command = main
    context = click.Context(main, info_name="driftline")
    while isinstance(command, click.Group) and not (arguments and arguments[0].startswith("-")):
        assert arguments, f"driftline {words}: a command is missing"
        found = command.get_command(context, arguments.pop(0))
        assert found is not None, f"driftline {words}"
        command, context = found, click.Context(found, parent=context, info_name=found.name)
    if "--config" not in arguments and any("--config" in option.opts for option in command.params):
        arguments += ["--config", str(file)]
    try:
        command.make_context(command.name, arguments, parent=context.parent)
    except click.ClickException as error:
        pytest.fail(f"driftline {words}: {error.format_message()}")
