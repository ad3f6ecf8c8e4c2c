"""Where the real data for tests lies: beside the repository, never inside it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_data(relative: str = "") -> Path:
    """The path of real data under ``<repository>/../shared/data``.

    Skips the calling test when it is absent, whatever REQUIRE_REAL says: the data cannot be installed.
    """
    path = ROOT.parent / "shared" / "data" / relative
    if path.exists():
        return path
    message = (
        f"real data is not at {path}: put the data folder (see its README) beside the repository as ../shared/data"
    )
    pytest.skip(message)
