"""The whole service under SIGKILL, on PostgreSQL: half the lives of the run on SQLite, each with twice the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.kills import kill_again_and_again


@pytest.mark.real
@pytest.mark.timeout(900)
def test_ten_kills_of_the_service_change_nothing(kafka_bootstrap: str, postgres_url: str, tmp_path: Path) -> None:
    lives = kill_again_and_again(kafka_bootstrap, postgres_url, tmp_path, kills=10, hours=10)
    assert lives.few_distinct() == [], "the kills must fall all over the work, or they show nothing"
    assert ("extract/form", "error_rate") in lives.changes()
    assert lives.killed.told
    assert lives.killed.differences(lives.whole) == []
