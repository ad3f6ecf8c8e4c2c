"""`driftline reference approve` and `activate`: on record, with who and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from monitor.cli import main
from monitor.store import references
from monitor.store.engine import open_store
from tests.service.inputs_of_page import SEGMENT, fill_inputs


def call(tmp_path: Path, *arguments: str) -> Result:
    path = tmp_path / "driftline.yaml"
    path.write_text(f"store: {{url: 'sqlite:///{tmp_path}/driftline.db'}}\n")
    return CliRunner().invoke(main, ["reference", arguments[0], "--config", str(path), *arguments[1:]])


def test_a_decision_is_recorded_and_shown(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    filled = fill_inputs(store)
    draft = filled.draft[:6]
    early = call(tmp_path, "activate", draft)
    assert early.exit_code == 1
    assert "only one that is approved or retired can become active" in early.output
    done = call(tmp_path, "approve", draft, "--by", "Ann", "--note", "asked a.b@example.com")
    assert done.exit_code == 0, done.output
    assert call(tmp_path, "activate", draft, "--by", "Ann").exit_code == 0
    assert references.active_ids(store) == {SEGMENT: filled.draft}
    shown = call(tmp_path, "show", draft).output
    assert "approved   " in shown
    assert " UTC by Ann: asked " in shown
    assert "example.com" not in shown
    assert "activated  " in shown
    with store.read() as connection:
        (_, activated) = references.decisions(connection, [filled.draft])[filled.draft]
    assert activated.replaced == filled.active
    store.close()


def test_by_default_it_is_who_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "cy")
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    filled = fill_inputs(store)
    assert call(tmp_path, "approve", filled.draft).exit_code == 0
    with store.read() as connection:
        assert references.decisions(connection, [filled.draft])[filled.draft][0].who == "cy"
    store.close()
