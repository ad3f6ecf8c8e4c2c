"""`driftline encoder` without a configuration, as after a base install."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from monitor.cli.encoder import encoder
from monitor.embed.encoders.features import FeatureEncoder


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRIFTLINE_CONFIG", raising=False)
    return CliRunner()


def test_info(runner: CliRunner) -> None:
    result = runner.invoke(encoder, ["info"])
    assert result.exit_code == 0, result.output
    assert FeatureEncoder().identity in result.output
    assert "not measured" in result.output


def test_embed(runner: CliRunner, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "white").save(tmp_path / "page.png")
    (tmp_path / "prompt.txt").write_text("Extract the total.")
    result = runner.invoke(encoder, ["embed", "page.png", "prompt.txt"])
    assert result.exit_code == 0, result.output
    page, prompt = (json.loads(line) for line in result.stdout.splitlines())
    assert page["conditions"]["width"] == 30
    assert len(page["vector"]) == len(prompt["vector"]) == FeatureEncoder.dim
    (tmp_path / "broken.jpg").write_bytes(b"no")
    result = runner.invoke(encoder, ["embed", "--no-vectors", "page.png", "broken.jpg", "absent.jpg"])
    assert result.exit_code == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert "vector" not in rows[0]
    assert rows[1] == {"file": "broken.jpg", "missing": "image_unknown_format"}
    assert rows[2]["missing"]


def test_a_named_configuration_must_exist(runner: CliRunner) -> None:
    assert runner.invoke(encoder, ["info", "--config", "nowhere.yaml"]).exit_code != 0


def test_every_help_has_an_example(runner: CliRunner) -> None:
    for command in ([], ["info"], ["embed"], ["export"]):
        assert "Example:" in runner.invoke(encoder, [*command, "--help"]).output
