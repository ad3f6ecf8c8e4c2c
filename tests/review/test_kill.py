"""SIGKILL of who is labelling, at any moment, loses no label and doubles none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from monitor.store import review
from monitor.store.engine import open_store
from tests.review.items import check_audit, item, put

KILLS, ITEMS = 30, 900


def test_thirty_kills_lose_and_double_nothing(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url)
    put(store, [item(n, n * 7919 % ITEMS / ITEMS) for n in range(ITEMS)], expires_us=2**62)
    command = [sys.executable, "-m", "tests.review.victim", store_url, str(tmp_path), "20261126", str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["kills"] == KILLS
    # The kills must fall all over the work, or they show nothing.
    assert len(set(found["standing_at_kill"])) > KILLS // 2, found
    with store.read() as connection:
        items = list(review.labelled(connection, None, 0, 2**62))
    assert Counter((row.state, len(row.verdicts)) for row in items) == {("done", 1): ITEMS}
    done_to = check_audit(store)
    undone = Counter(
        row.detail["kind"] for found in items for row in review.audit_of(store, found.item_id) if row.action == "undo"
    )
    assert done_to["label"] - undone["label"] == ITEMS
    assert done_to["skip"] - undone["skip"] == sum(row.skips for row in items)
    assert undone["label"] > 0
    assert done_to["skip"] > 0
    store.close()
