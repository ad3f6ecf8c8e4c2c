"""SIGKILL of the evaluator at any moment changes no anomaly, no evidence, no reference and no item drawn for review."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from monitor.store import review
from monitor.store.engine import open_store
from monitor.store.export import export_lines
from tests.evaluate.test_embeddings import write_samples
from tests.evaluate.test_worker import BROKEN, everything
from tests.evaluate.traffic import START_US, Segment, write

KILLS = 30


def lives(url: str, end_us: int, kills: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.evaluate.victim", url, str(end_us), "20261123", str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_thirty_kills_change_no_verdict(store_url: str, tmp_path: Path) -> None:
    whole, killed = open_store(f"sqlite:///{tmp_path / 'whole.db'}"), open_store(store_url)
    for store in (whole, killed):
        end_us = write(store, [Segment("quiet", 30.0), BROKEN], days=10)
        write_samples(store, "quiet", START_US, 240)
    assert lives(f"sqlite:///{tmp_path / 'whole.db'}", end_us, 0)["kills"] == 0
    found = lives(store_url, end_us, KILLS)
    assert found["kills"] == KILLS
    # The kills must fall all over the work, or they show nothing.
    assert len(set(found["reached_at_kill"])) > KILLS // 3, found
    anomalies = list(export_lines(whole, "anomalies"))
    assert anomalies
    assert anomalies == list(export_lines(killed, "anomalies"))
    with whole.read() as connection:
        assert sum(row.items for row in review.counts(connection)) > 500
    assert everything(whole) == everything(killed)
    whole.close()
    killed.close()
