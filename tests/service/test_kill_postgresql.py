"""The whole service under SIGKILL, on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.kills import kill_thirty_times


@pytest.mark.real
@pytest.mark.timeout(900)
def test_thirty_kills_of_the_service_change_nothing(kafka_bootstrap: str, postgres_url: str, tmp_path: Path) -> None:
    lives = kill_thirty_times(kafka_bootstrap, postgres_url, tmp_path)
    assert lives.few_distinct() == [], "the kills must fall all over the work, or they show nothing"
    assert ("extract/form", "error_rate") in lives.changes()
    assert lives.killed.told
    assert lives.killed.differences(lives.whole) == []
