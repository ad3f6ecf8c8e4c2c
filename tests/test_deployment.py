"""docker-compose.yml and the files it mounts: valid, pinned, with health checks. (No container engine is needed.)"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_compose_is_valid_against_the_specification() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", sorted(compose()["services"]))
def test_every_service_is_pinned_and_has_a_health_check(name: str) -> None:
    service = compose()["services"][name]
    tag = service["image"].rpartition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+.*", tag), f"{name}: {service['image']} is not pinned to a version"
    if "build" in service:
        assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()
    else:
        assert service["healthcheck"]["test"]


def test_every_mounted_file_exists() -> None:
    for name, service in compose()["services"].items():
        for volume in service.get("volumes", []):
            source = str(volume).split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name} mounts {source}, which does not exist"


def test_prometheus_loads_the_generated_rules() -> None:
    from dashboards.generate import GENERATED

    files = YAML(typ="safe").load((ROOT / "deploy" / "prometheus.yml").read_text())["rule_files"]
    names = [name.removeprefix("/etc/prometheus/driftline/") for name in files]
    assert sorted(names) == sorted(path.name for path in GENERATED.glob("*.yml"))


def test_the_configuration_of_the_containers_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    from monitor.config.load import load

    monkeypatch.setenv("DRIFTLINE_STORE_URL", "postgresql://driftline:driftline@postgres/driftline")
    config = load(ROOT / "deploy" / "driftline.yaml")
    assert config.store.url.startswith("postgresql://")
    assert config.kafka.bootstrap == "kafka:9092"


def test_the_image_holds_every_package() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for package in ("monitor", "detectors", "samplers", "alerts", "dashboards"):
        assert f"COPY {package} {package}" in text
