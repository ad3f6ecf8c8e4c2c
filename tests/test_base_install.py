"""The base install, in an environment of its own: no torch, and an image is embedded by the first command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.embed.probes import probe_pages
from tests.conftest import absent
from tests.data import ROOT
from tests.services import Unavailable

DISTRIBUTIONS = (
    "import importlib.metadata as m; print('\\n'.join(d.metadata['Name'].lower() for d in m.distributions()))"
)


def run(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment in which the wheel of this checkout is installed."""
    folder = tmp_path_factory.mktemp("base")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    programs = folder / "venv" / "bin"
    install = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        run(*install, "-c", ROOT / "constraints.txt", ROOT, cwd=folder)
    except AssertionError as error:
        absent(Unavailable(f"the base install needs a package index: {str(error)[-500:]}"))
    return programs


@pytest.mark.real
@pytest.mark.timeout(900)
def test_an_image_is_embedded_by_the_first_command(base: Path, tmp_path: Path) -> None:
    installed = set(run(base / "python", "-c", DISTRIBUTIONS, cwd=tmp_path).split())
    assert "driftline" in installed and "onnxruntime" in installed
    assert not {"torch", "open-clip-torch", "timm", "transformers", "pandas"} & installed
    probe_pages()[0].save(tmp_path / "page.jpg")
    shown = json.loads(run(base / "driftline", "encoder", "embed", "--json", "page.jpg", cwd=tmp_path))
    assert shown["dimension"] == len(shown["vector"]) == 256
    assert shown["encoder"].startswith("driftline-mini:")
    assert shown["conditions"]["concepts"]["nearest"]
    assert "agreement     measured" in run(base / "driftline", "encoder", "info", cwd=tmp_path)
