"""The walls of docs/architecture.md, held against the imports of every module."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("monitor", "detectors", "samplers", "alerts", "dashboards")
PURE = ("detectors", "samplers")
# What pure code may use beside numpy, scipy and scikit-learn: no I/O, no clock, no global randomness.
PURE_THIRD_PARTY = {"numpy", "scipy", "sklearn", "msgspec"}
IMPURE_STDLIB = {
    "asyncio", "concurrent", "datetime", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random",
    "secrets", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
FACADE = ("monitor.store",)


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in PACKAGES:
        paths = sorted((ROOT / package).rglob("*.py"))
        found.extend((".".join(path.relative_to(ROOT).with_suffix("").parts), path) for path in paths)
    return found


def imports(module: str, path: Path) -> set[str]:
    """Every module named by an import statement, at any depth, relative ones resolved."""
    names: set[str] = set()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names.update(f"{stem}.{alias.name}" for alias in node.names)
    return names


def offences(module: str, names: set[str]) -> list[str]:
    top = module.split(".")[0]
    bad = []
    for name in sorted(names):
        root = name.split(".")[0]
        if top in PURE:
            if root in PACKAGES:
                if root not in PURE:
                    bad.append(f"{module} imports {name}: pure code imports only pure code")
            elif root in IMPURE_STDLIB or (root not in sys.stdlib_module_names and root not in PURE_THIRD_PARTY):
                bad.append(f"{module} imports {name}: pure code has no I/O, no clock and no other library")
        elif top in ("alerts", "dashboards") and root == "monitor" and not name.startswith(FACADE):
            bad.append(f"{module} imports {name}: only the store's facade may be imported from monitor")
    return bad


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_walls_stand(module: str, path: Path) -> None:
    assert offences(module, imports(module, path)) == []


def test_the_test_sees_an_offence() -> None:
    assert offences("detectors.rates.bets", {"time", "numpy.typing", "monitor.store.reads", "requests"}) != []
    assert len(offences("detectors.rates.bets", {"time", "numpy.typing", "monitor.store.reads", "requests"})) == 3
    assert offences("alerts.dispatch", {"monitor.store.outbox.enqueue", "monitor.config.model.Config"}) == [
        "alerts.dispatch imports monitor.config.model.Config: only the store's facade may be imported from monitor"
    ]


def test_the_base_install_pulls_no_torch() -> None:
    """Only the encoder for open_clip, its export and the benchmarks may name torch, and only inside functions."""
    for module, path in modules():
        tree = ast.parse(path.read_text())
        top_level = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in top_level:
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not any(name.split(".")[0] in {"torch", "open_clip"} for name in named), module
