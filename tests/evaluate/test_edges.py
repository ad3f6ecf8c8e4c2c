"""Dark corners of traffic: each has the outcome that docs/detectors.md states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from monitor.store.engine import Store, open_store
from tests.evaluate.test_worker import config, evaluate, opened
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, Change, Segment, write


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    yield found
    found.close()


def signals(store: Store) -> set[str]:
    return {fact["signal"] for row in opened(store) for fact in row.document["facts"]}


def test_one_user_with_nine_tenths_of_the_traffic_is_no_change_every_day(store: Store) -> None:
    """Their documents differ from day to day, and the segment's rate with them: that is the segment's day effect."""
    rng = np.random.default_rng(9)
    days = tuple(
        Change(START_US + d * DAY_US, START_US + (d + 1) * DAY_US, rates={"error": 0.002 + 0.018 * float(effect)})
        for d, effect in enumerate(np.exp(rng.normal(0.0, 0.6, 42)))
    )
    end = write(store, [Segment("one", 60.0, rates={"error": 0.02}, changes=days)], days=42)
    evaluate(store, config(), end)
    assert "error_rate" not in signals(store)


@pytest.mark.parametrize(("volume", "day_sd", "expected"), [(0.35, 0.35, 0), (0.35, 0.0, 1), (0.0, 0.0, 1)])
def test_a_holiday_is_one_draw_of_the_day_effect(store: Store, volume: float, day_sd: float, expected: int) -> None:
    """A day at a third of its traffic is nothing where days differ by a third. Where they hardly do it is a change, and
    so is a day without any; it is told once, and is over the day after."""
    holiday = 24
    usual = np.exp(np.random.default_rng(4).normal(0.0, day_sd, 30))
    usual[holiday] = volume
    changes = tuple(
        Change(START_US + d * DAY_US, START_US + (d + 1) * DAY_US, volume=float(v)) for d, v in enumerate(usual)
    )
    end = write(store, [Segment("s", 60.0, changes=changes)], days=30)
    evaluate(store, config(reference={"learn": "21d"}), end)
    found = [row for row in opened(store) if "volume" in {fact["signal"] for fact in row.document["facts"]}]
    assert len(found) == expected
    for row in found:
        assert START_US + holiday * DAY_US < row.opened_us <= START_US + (holiday + 1) * DAY_US
        assert row.resolved_us is not None
        assert row.resolved_us <= START_US + (holiday + 2) * DAY_US + DAY_US // 2


def test_hours_that_nobody_saw_say_nothing_of_rates(store: Store) -> None:
    """Six hours without a record: rates and tails neither gain nor lose evidence, whatever comes after."""
    gap = START_US + 9 * DAY_US + 10 * HOUR_US
    quiet = Segment("gap", 60.0, changes=(Change(gap, gap + 6 * HOUR_US, volume=0.0),))
    end = write(store, [quiet, Segment("other", 60.0)], days=12)
    evaluate(store, config(), end)
    assert signals(store) <= {"volume"}
