"""The whole service under SIGKILL, on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.kills import kill_again_and_again


@pytest.mark.real
@pytest.mark.timeout(900)
def test_twenty_kills_of_the_service_change_nothing(kafka_bootstrap: str, tmp_path: Path) -> None:
    lives = kill_again_and_again(kafka_bootstrap, f"sqlite:///{tmp_path / 'driftline.db'}", tmp_path, kills=20)
    assert lives.few_distinct() == [], "the kills must fall all over the work, or they show nothing"
    assert ("extract/form", "error_rate") in lives.changes()
    assert lives.killed.told
    assert lives.killed.differences(lives.whole) == []
