"""What is kept for review alone: known probabilities, unbiased sums, and a sample that does not notice it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy.stats import t
from sqlalchemy import select

from detectors.summaries.columns import EventColumns
from monitor.config.model import Config
from monitor.ingest.draws import DOUBTS, Draws
from monitor.ingest.settings import Settings
from monitor.ingest.worker import IngestWorker
from monitor.store import evaluation, review
from monitor.store.engine import Store, open_store
from monitor.store.tables import samples
from tests.ingest import streams
from tests.ingest.memory_source import MemoryLog, MemorySource

WINDOW_US = 60_000_000


def config(per_hour: int, doubtful: int, seed: str = "driftline") -> Config:
    found = streams.config().model_dump(mode="json", exclude_unset=True, by_alias=True)
    return Config.model_validate(
        {**found, "sampling": {"per_hour": per_hour, "doubtful_per_hour": doubtful, "seed": seed}}
    )


def ingested(path: Path, settings: Config) -> tuple[Store, list[dict[str, Any]]]:
    store = open_store(f"sqlite:///{path}")
    worker = IngestWorker(settings, store, source=MemorySource(MemoryLog(streams.stream(7, 1200)), lambda: 500))
    while not worker.caught_up():
        worker.step(0)
    worker.drain()
    with store.read() as connection:
        rows = [dict(row) for row in connection.execute(select(samples).order_by(samples.c.sample_id)).mappings()]
    return store, rows


def doubted(row: dict[str, Any]) -> bool:
    verdicts = json.loads(row["facts"])["verdicts"]
    return any(verdicts.get(name) == 1 for name in DOUBTS)


def test_the_sample_does_not_notice_what_is_kept_for_review_alone(tmp_path: Path) -> None:
    plain, without = ingested(tmp_path / "without.db", config(400, 0))
    store, found = ingested(tmp_path / "with.db", config(400, 2000))
    names = ("sample_id", "pi", "facts", "segment", "session_key", "user_key")
    sampled = [row for row in found if row["pi"] > 0]
    assert [[row[n] for n in names] for row in sampled] == [[row[n] for n in names] for row in without]
    beside = [row for row in found if row["pi"] == 0]
    assert len(beside) > 50
    assert all(doubted(row) for row in beside)
    for row in found:
        assert row["pi"] <= row["pi_kept"] <= 1
        assert row["pi_kept"] == row["pi"] or doubted(row)
    assert any(row["pi_kept"] > row["pi"] > 0 for row in found), "a sampled one could have been kept either way"
    # Judged and explained is the sample alone; reviewers are asked about all that is kept.
    ids = {row["sample_id"] for row in sampled}
    assert {row.sample_id for row in evaluation.all_samples(store, 0, 2**62)} == ids
    kept = {row.sample_id: row.pi for row in evaluation.kept_samples(store, 0, 2**62)}
    assert kept == {row["sample_id"]: row["pi_kept"] for row in found}
    assert {one.sample_id: one.pi for one in review.candidates(store, 0, 2**62)} == kept
    plain.close()
    store.close()


def test_rows_from_before_are_kept_with_the_probability_they_were_sampled_with(tmp_path: Path) -> None:
    store, found = ingested(tmp_path / "before.db", config(400, 0))
    with store.write() as connection:
        connection.execute(samples.update().values(pi_kept=None))
    expected = {row["sample_id"]: row["pi"] for row in found}
    assert {row.sample_id: row.pi for row in evaluation.kept_samples(store, 0, 2**62)} == expected
    assert {one.sample_id: one.pi for one in review.candidates(store, 0, 2**62)} == expected
    store.close()


# -- unbiased, and worth its budget ---------------------------------------------------------------------------

HOURS, EACH_WINDOW = 5, 80  # 24,000 sessions of two segments, 60 sampled an hour of 4,800
WRONG_DOUBTED, WRONG_ELSE, DOUBTED = 0.7, 0.002, 0.02  # checks that see most of what is wrong


def population() -> tuple[np.ndarray[Any, Any], ...]:
    rng = np.random.default_rng(11)
    n = HOURS * 60 * EACH_WINDOW
    doubt = rng.random(n) < DOUBTED
    wrong = rng.random(n) < np.where(doubt, WRONG_DOUBTED, WRONG_ELSE)
    return np.repeat(np.arange(HOURS * 60) * WINDOW_US, EACH_WINDOW), rng.integers(0, 2, n), doubt, wrong


def estimates(per_hour: int, doubtful: int, repetitions: int) -> np.ndarray[Any, Any]:
    """float64[repetitions, 3]: estimated sessions, wrong ones, and how many were kept, after the first hour."""
    windows, segments, doubt, wrong = population()
    columns = cast("EventColumns", SimpleNamespace(**{name: np.zeros(len(doubt), np.int8) for name in DOUBTS}))
    columns.verification_failed[:] = doubt
    ids = [f"e{i}" for i in range(len(doubt))]
    found = []
    for repetition in range(repetitions):
        settings = Settings.of(config(per_hour, doubtful, f"seed-{repetition}"), "1", "")
        draws = Draws({}, settings, 1)
        all_of_them = np.ones(len(doubt), np.bool_)
        kept = draws.draw(
            windows, segments.astype(np.int32), all_of_them, ["low", "low"], columns, [None] * len(ids), ids
        )
        mine = windows[kept.positions] >= 60 * WINDOW_US
        weight = 1 / kept.pi_kept[mine]
        found.append((weight.sum(), weight @ wrong[kept.positions[mine]], mine.sum()))
    return np.array(found)


def test_sums_over_what_is_kept_are_unbiased_and_errors_are_known_better() -> None:
    windows, _, _, wrong = population()
    later = windows >= 60 * WINDOW_US
    alone, both = estimates(240, 0, 120), estimates(180, 60, 120)
    for found in (alone, both):
        for column, truth in ((0, later.sum()), (1, wrong[later].sum())):
            values = found[:, column]
            score = (values.mean() - truth) / (values.std(ddof=1) / np.sqrt(len(values)))
            assert abs(score) < t.isf(0.0005, len(values) - 1)
    # The same number of sessions kept, a quarter of them for what their events say.
    assert both[:, 2].mean() == pytest.approx(alone[:, 2].mean(), rel=0.05)
    assert both[:, 1].std() < 0.6 * alone[:, 1].std()


def test_state_goes_on_where_it_was() -> None:
    windows, segments, doubt, _ = population()
    columns = cast("EventColumns", SimpleNamespace(**{name: doubt.astype(np.int8) for name in DOUBTS}))
    settings = Settings.of(config(100, 50), "1", "")
    ids = [f"e{i}" for i in range(len(doubt))]

    def part(draws: Draws, start: int, end: int) -> list[tuple[int, float, float]]:
        cut = cast("EventColumns", SimpleNamespace(**{name: getattr(columns, name)[start:end] for name in DOUBTS}))
        kept = draws.draw(
            windows[start:end],
            segments[start:end].astype(np.int32),
            np.ones(end - start, np.bool_),
            ["low", "high"],
            cut,
            [None] * (end - start),
            ids[start:end],
        )
        return [(start + int(i), float(a), float(b)) for i, a, b in zip(*kept, strict=True)]

    whole = part(Draws({}, settings, 1), 0, len(ids))
    first = Draws({}, settings, 1)
    cut = 7_777
    found = part(first, 0, cut)
    found += part(Draws(json.loads(json.dumps(first.to_state())), settings, 1), cut, len(ids))
    assert found == whole
