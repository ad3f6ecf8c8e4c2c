"""The role survives 500 hostile files: each has an embedding or a counted reason, and what follows is as usual."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from monitor.embed.images import Missing
from monitor.embed.pool import DecoderPool
from monitor.embed.worker import EmbedWorker
from monitor.store.engine import open_store
from tests.data import ROOT
from tests.embed.hostile import hostile
from tests.embed.test_worker import PAGES, TEXT, config, everything, finish, inline, outcome, put

LIMITS = {"decode_memory": "600MB", "decode_time": "2s"}
GOOD = [[inline(page), TEXT] for page in PAGES]


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    made = hostile()
    assert len(made) == 500
    assert sum(len(data) > 20_000_000 for data in made) <= 1  # one is more than payloads.max_bytes
    return made


def test_500_hostile_files_leave_the_role_as_it_was(files: list[bytes], tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/hostile.db")
    put(store, [[inline(data)] for data in files] + GOOD)
    worker = EmbedWorker(store, config(payloads=LIMITS))
    done = 0
    while found := worker.step():
        done += found
    assert done == 500 + len(GOOD)
    documented = set(re.findall(r"`([a-z0-9_]+)`", (ROOT / "docs" / "encoders.md").read_text()))
    reasons: Counter[str] = Counter()
    for number in range(500):
        state, reason = outcome(store, number)
        assert (state, bool(reason)) in (("embedded", False), ("missing", True))
        assert not reason or reason in documented, reason
        reasons[reason] += 1
    assert worker.stats.missing == {reason: count for reason, count in reasons.items() if reason}
    assert worker.stats.embedded == reasons[""] + len(GOOD)
    # A set that is refused for one reason, or accepted, would test little.
    assert len(reasons) >= 10 and 100 < reasons[""] < 400
    assert {"image_too_large", "image_truncated", "image_unknown_format", "pdf_encrypted", "heic_codec_absent"} <= set(
        reasons
    )
    after = [row for row in everything(store)[1] if int(row[0], 16) >= 500]
    worker.close()
    store.close()

    alone = open_store(f"sqlite:///{tmp_path}/alone.db")
    put(alone, GOOD)
    finish(EmbedWorker(alone, config()))
    assert [row[1:] for row in after] == [row[1:] for row in everything(alone)[1]]
    alone.close()


def test_what_a_hostile_file_gets_does_not_depend_on_what_came_before(files: list[bytes]) -> None:
    """Every eighth file, forwards by one process and backwards by two."""
    chosen = files[::8]

    def verdicts(some: list[bytes], processes: int) -> list[str]:
        pool = DecoderPool(processes, memory=600_000_000, seconds=2.0, max_pixels=50_000_000)
        found = [future.result()[0] for future in [pool.submit(data) for data in some]]
        pool.close()
        return [look.reason if isinstance(look, Missing) else look.conditions["phash"] for look in found]

    assert verdicts(chosen, 1) == verdicts(chosen[::-1], 2)[::-1]
