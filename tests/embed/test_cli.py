"""`driftline encoder` without a configuration, as after a base install."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from monitor.cli.encoder import encoder
from monitor.embed.encoders.features import FeatureEncoder
from monitor.embed.encoders.mini import FOLDER, MiniEncoder
from monitor.embed.pdf import chosen_pages
from tests.embed.pdfs import encrypted, pdf, text_page


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRIFTLINE_CONFIG", raising=False)
    return CliRunner()


def test_info(runner: CliRunner) -> None:
    result = runner.invoke(encoder, ["info"])
    assert result.exit_code == 0, result.output
    assert MiniEncoder().identity in result.output
    assert "not measured" not in result.output


def test_info_of_the_feature_encoder(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "driftline.yaml").write_text("encoder: {builtin: features}\n")
    result = runner.invoke(encoder, ["info"])
    assert result.exit_code == 0, result.output
    assert FeatureEncoder().identity in result.output
    assert "not measured" in result.output


def test_embed(runner: CliRunner, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "white").save(tmp_path / "page.png")
    (tmp_path / "prompt.txt").write_text("Extract the total.")
    result = runner.invoke(encoder, ["embed", "--json", "page.png", "prompt.txt"])
    assert result.exit_code == 0, result.output
    page, prompt = (json.loads(line) for line in result.stdout.splitlines())
    assert page["conditions"]["width"] == 30
    assert prompt["conditions"] == {"characters": 18}
    assert page["dimension"] == len(page["vector"]) == len(prompt["vector"]) == MiniEncoder().dim
    vector = MiniEncoder().encode_texts(["Extract the total."])[0]
    assert prompt["digest"] == hashlib.sha256(vector.astype("<f2").tobytes()).hexdigest()
    (tmp_path / "broken.jpg").write_bytes(b"no")
    result = runner.invoke(encoder, ["embed", "--json", "--no-vectors", "page.png", "broken.jpg", "absent.jpg"])
    assert result.exit_code == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert "vector" not in rows[0] and rows[0]["digest"] == page["digest"]
    assert rows[1] == {"file": "broken.jpg", "missing": "image_unknown_format"}
    assert rows[2]["missing"]


def test_embed_for_people(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Extract the total.")
    (tmp_path / "empty.txt").write_text("")
    result = runner.invoke(encoder, ["embed", "prompt.txt", "empty.txt"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "prompt.txt" and lines[1].startswith("  vector      sha256:")
    assert f"{MiniEncoder().dim} dimensions" in lines[1] and "characters=18" in lines[2]
    assert lines[3:] == ["empty.txt", "  missing     text_empty"]


def test_embed_pages_of_a_pdf(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "book.pdf").write_bytes(pdf([text_page(f"page{number}") for number in range(9)]))
    (tmp_path / "locked.pdf").write_bytes(encrypted())
    result = runner.invoke(encoder, ["embed", "--json", "--pages", "2", "book.pdf", "locked.pdf"])
    assert result.exit_code == 1
    *pages, locked = (json.loads(line) for line in result.stdout.splitlines())
    assert [page["conditions"]["pages"] for page in pages] == [9, 9]
    chosen = chosen_pages(hashlib.sha256((tmp_path / "book.pdf").read_bytes()).digest(), 9, 2)
    assert [page["conditions"]["page"] - 1 for page in pages] == chosen
    assert locked == {"file": "locked.pdf", "missing": "pdf_encrypted"}
    assert f"page {chosen[0] + 1} of 9" in runner.invoke(encoder, ["embed", "book.pdf"]).stdout


def test_a_named_configuration_must_exist(runner: CliRunner) -> None:
    assert runner.invoke(encoder, ["info", "--config", "nowhere.yaml"]).exit_code != 0


def test_list_without_the_extra(runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    copied = tmp_path / "models" / "mine"
    shutil.copytree(FOLDER, copied)
    broken = tmp_path / "models" / "broken"
    shutil.copytree(FOLDER, broken)
    (broken / "image.onnx").write_bytes(b"")
    result = runner.invoke(encoder, ["list", "--directory", "models"])
    assert result.exit_code == 0, result.output
    assert "  driftline-mini  driftline-mini, a small encoder" in result.stdout
    assert "  models/mine  driftline-mini, int8\n" in result.stdout
    assert "  models/broken  models/broken/image.onnx is not the file that was exported" in result.stdout
    assert f"pulled to {tmp_path}/caches/driftline (encoder.open_clip)\n" in result.stdout
    assert "open_clip models need the extra `clip`" in result.stdout
    found = json.loads(runner.invoke(encoder, ["list", "--json", "--directory", "models/mine"]).stdout)
    assert found["open_clip"] is None and "pip install 'driftline[clip]'" in found["open_clip_absent"]
    assert found["exported"] == [
        {"directory": "models/mine", "model": "driftline-mini", "precision": "int8", "dim": 256}
    ]
    (tmp_path / "driftline.yaml").write_text("encoder: {cache: weights}\n")
    assert json.loads(runner.invoke(encoder, ["list", "--json"]).stdout)["cache"] == "weights"
    for arguments in (["pull", "ViT-B-32", "openai"], ["export", "ViT-B-32", "openai", "--out", "x"]):
        result = runner.invoke(encoder, arguments)
        assert result.exit_code == 1 and "need the extra `clip`" in result.output


def test_bench(runner: CliRunner) -> None:
    result = runner.invoke(encoder, ["bench", "--seconds", "0.2", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["encoder"] == MiniEncoder().identity
    for kind in ("images", "texts"):
        assert found[kind]["n"] >= 6
        assert found[kind]["per_second"] > 0 and found[kind]["per_processor_second"] > 0
    text = runner.invoke(encoder, ["bench", "--seconds", "0.1"]).stdout
    assert "images  " in text and "per processor second" in text


def test_verify(runner: CliRunner, tmp_path: Path) -> None:
    told = {
        "": "ok     recorded vectors: ",  # equal to the bit, or as near as processors are
        "encoder: {builtin: features}\n": "ok     no vectors were recorded to compare with",
    }
    for settings, compared in told.items():
        (tmp_path / "driftline.yaml").write_text(settings)
        result = runner.invoke(encoder, ["verify"])
        assert result.exit_code == 0, result.output
        assert "ok     images: 8 unit vectors, the same alone and together (to the bit)" in result.stdout
        assert compared in result.stdout
    folder = tmp_path / "mine"
    shutil.copytree(FOLDER, folder)
    assert runner.invoke(encoder, ["verify", "mine"]).exit_code == 0
    (folder / "image.onnx").write_bytes(b"")
    (folder / "text.onnx").unlink()
    result = runner.invoke(encoder, ["verify", "mine"])
    assert result.exit_code == 1
    assert "image.onnx is not the file that was exported" in result.output  # both are named
    assert "'text.onnx', which is not in mine" in result.output
    assert runner.invoke(encoder, ["verify", "nowhere"]).exit_code == 2


def test_every_help_has_an_example(runner: CliRunner) -> None:
    names = ("info", "embed", "concepts", "list", "pull", "export", "verify", "bench")
    assert sorted(names) == sorted(encoder.commands)
    for command in ([], *([name] for name in names)):
        assert "Example:" in runner.invoke(encoder, [*command, "--help"]).output
