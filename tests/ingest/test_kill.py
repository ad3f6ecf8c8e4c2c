"""SIGKILL at any moment changes no result."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from monitor.store.engine import open_store
from monitor.store.export import export_lines
from tests.ingest.contents import contents, differences

KILLS = 30


def lives(url: str, kills: int) -> dict[str, list[int] | int]:
    command = [sys.executable, "-m", "tests.ingest.victim", url, "20261102", str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[int] | int] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_thirty_kills_change_nothing(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = f"sqlite:///{tmp_path_factory.mktemp('whole') / 'driftline.db'}"
    assert lives(whole, 0)["kills"] == 0
    found = lives(store_url, KILLS)
    assert found["kills"] == KILLS
    moments = found["records_at_kill"]
    assert isinstance(moments, list)
    # The kills must fall all over the work, or they show nothing.
    assert len(set(moments)) > KILLS // 3, moments
    left, right = open_store(whole), open_store(store_url)
    expected, got = contents(left), contents(right)
    for kind in ("summaries", "samples", "anomalies"):
        assert list(export_lines(left, kind, vectors=True)) == list(export_lines(right, kind, vectors=True))
    left.close()
    right.close()
    assert expected["samples"]
    assert expected["sample_parts"]
    assert not differences(expected, got)
