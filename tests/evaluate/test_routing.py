"""Routing is a distribution: a change between any of its tiers is found, and confidence at its low end too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.summaries import Labelled, SummaryTable
from monitor.evaluate.status import streams
from monitor.evaluate.streams import spec_of
from monitor.store.engine import Store, open_store
from monitor.store.tables import summaries
from tests.evaluate.test_worker import config, evaluate, opened
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, STEP_US, columns, set_watermark

AT = START_US + 8 * DAY_US + 9 * HOUR_US
END = START_US + 9 * DAY_US
TIERS = ["cheap", "strong", "fallback", "human"]
USUAL = (0.7, 0.2, 0.07, 0.03)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    yield found
    found.close()


def fill(store: Store, since: tuple[float, ...], *, unsure: float = 0.0, tiers: int = 4) -> None:
    """Eight sessions every five minutes; from AT on routed by ``since``, a part ``unsure`` of them little confident."""
    rng = np.random.default_rng(7)
    windows = np.repeat(np.arange(START_US, END, STEP_US), 8)
    n = windows.size
    usual, changed = (np.array(p[:tiers]) / sum(p[:tiers]) for p in (USUAL, since))
    tier = np.where(windows < AT, rng.choice(tiers, n, p=usual), rng.choice(tiers, n, p=changed))
    confidence = rng.beta(16, 4, n)
    confidence[(windows >= AT) & (rng.random(n) < unsure)] *= 0.4
    cols = columns(n, rng, tier=Labelled(tier.astype(np.int32), TIERS), confidence=(confidence * 1e6).astype(np.int64))
    table = SummaryTable()
    table.update((windows - START_US) // STEP_US, cols)
    ids = table.row_ids()
    rows: list[dict[str, Any]] = [
        {
            "level": 0, "window_us": START_US + i * STEP_US, "route": "extract", "segment": "s", "version": "m@1",
            "late": False, "topic": "t", "partition": 0, "events": table.events(i), "state": state,
        }
        for i, state in zip(ids, table.states(ids), strict=True)
    ]  # fmt: skip
    with store.write() as connection:
        connection.execute(summaries.insert(), rows)
    set_watermark(store, END)


def mixes(store: Store) -> set[str]:
    return {s.signal for s in streams(store) if s.signal.startswith("routing_mix") and s.status == "ok"}


def test_a_change_between_tiers_that_are_not_the_commonest_is_found(store: Store) -> None:
    fill(store, (0.7, 0.03, 0.24, 0.03))
    evaluate(store, config(), END)
    (row,) = opened(store)
    assert {fact["signal"] for fact in row.document["facts"]} == {"routing_mix_strong", "routing_mix_fallback"}
    assert "The share of requests routed to " in row.document["explanation"]["sentence"]


def test_streams_of_four_tiers_and_of_two(store: Store, tmp_path: Path) -> None:
    fill(store, USUAL)
    evaluate(store, config(), END)
    assert opened(store) == []
    assert mixes(store) == {"routing_mix", "routing_mix_strong", "routing_mix_fallback", "routing_mix_human"}
    other = open_store(f"sqlite:///{tmp_path / 'other.db'}")
    fill(other, USUAL, tiers=2)
    evaluate(other, config(), END)
    assert mixes(other) == {"routing_mix"}  # the second tier's share says nothing else
    other.close()


def test_a_few_answers_of_little_confidence_are_found_at_the_low_end(store: Store) -> None:
    fill(store, USUAL, unsure=0.25)
    evaluate(store, config(), END)
    (row,) = opened(store)
    assert row.document["facts"][0]["signal"] == "confidence_p10"


def test_the_stored_signal_says_which_tier_it_counts() -> None:
    assert spec_of("routing_mix", "cheap").label == "cheap"
    assert spec_of("routing_mix_strong").label == "strong"
    assert "routed to strong" in spec_of("routing_mix_strong").phrase
