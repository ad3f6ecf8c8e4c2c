"""Who is asked about: items drawn hour by hour, written once, learned from labels, told apart by pool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats
from sqlalchemy import select, update

from monitor.config.model import Config
from monitor.evaluate.reviewing import Reviewing
from monitor.evaluate.worker import EvaluateWorker
from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.review import Filters, Label, item_id
from monitor.store.tables import evaluation, review_items, samples
from samplers.design import inclusion_until
from samplers.estimators import Reviewed, error_rates
from samplers.pools import Pools
from tests.evaluate.test_embeddings import PER_HOUR, write_samples
from tests.evaluate.test_worker import evaluate
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, Segment, set_watermark, write

DAYS = 4


def config(**over: Any) -> Config:
    return Config.model_validate({"sampling": {"per_hour": 2 * PER_HOUR}, **over})


def traffic(store: Store, segments: tuple[str, ...] = ("a", "b")) -> int:
    for name in segments:
        write_samples(store, name, START_US, DAYS * 24, seed=len(name))
    end = write(store, [Segment(name, 20.0) for name in segments], days=DAYS)
    set_watermark(store, end)
    return end


def items(store: Store) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(review_items).order_by(review_items.c.item_id)).mappings())


def pools(store: Store) -> dict[tuple[str, int], Pools]:
    with store.read() as connection:
        found = review.pool_sums(connection, None, 0, 2**60)
    return {(pool.segment, pool.day_us): pool.sums for pool in found}


def set_facts(store: Store, of: Any) -> None:
    """``of``(sample row) -> what its facts get beside what they are."""
    with store.write() as connection:
        for row in connection.execute(select(samples)).mappings().all():
            facts = json.dumps({**json.loads(row["facts"]), **of(row)})
            connection.execute(update(samples).where(samples.c.sample_id == row["sample_id"]).values(facts=facts))


def test_a_days_labels_are_drawn_and_every_sample_is_in_the_sums(sqlite: Store) -> None:
    end = traffic(sqlite)
    evaluate(sqlite, config(review={"labels": 60}), end)
    found, sums = items(sqlite), pools(sqlite)
    assert sum(float(s.items[0]) for s in sums.values()) == DAYS * 24 * 2 * PER_HOUR
    for day in range(DAYS):
        start = START_US + day * DAY_US
        drawn = sum(row["day_us"] == start for row in found)
        expected = sum(float(s.drawn[0]) for (_, day_us), s in sums.items() if day_us == start)
        assert expected == pytest.approx(60, rel=0.35 if day == 0 else 0.1)
        assert stats.poisson.cdf(drawn, expected) > 1e-3
        assert stats.poisson.sf(drawn - 1, expected) > 1e-3
    for row in found:
        assert 0 < row["pi_review"] <= 1
        assert row["race"] <= 1
        assert row["pi_sample"] == 0.5
        assert json.loads(row["reasons"])
        assert row["pool"] == "default"
        assert row["expires_us"] - row["created_us"] == 14 * DAY_US


def test_batches_restarts_and_the_other_database_draw_the_same(store_url: str, tmp_path: Path) -> None:
    sqlite, other = open_store(f"sqlite:///{tmp_path / 'whole.db'}"), open_store(store_url)
    end = traffic(sqlite)
    traffic(other)
    settings = config(review={"labels": 60})
    evaluate(sqlite, settings, end)
    hours = 0
    while True:
        worker = EvaluateWorker(other, settings, clock=lambda: end / 1e6, batch_us=5 * HOUR_US)
        worked = worker.step()
        worker.close()
        if not worked:
            break
        hours += 1
    assert hours > 10
    assert [dict(row) for row in items(sqlite)] == [dict(row) for row in items(other)]
    mine, theirs = pools(sqlite), pools(other)
    assert {key: s.to_state() for key, s in mine.items()} == {key: s.to_state() for key, s in theirs.items()}
    sqlite.close()
    other.close()


def test_requests_without_an_answer_are_not_asked_about(sqlite: Store) -> None:
    end = traffic(sqlite, ("a",))
    set_facts(sqlite, lambda row: {"outcome": "error" if row["time_us"] % 8 else "ok"})
    with sqlite.write() as connection:
        connection.execute(update(samples).where(samples.c.time_us % 2 == 0).values(state="missing", reason="gone"))
    evaluate(sqlite, config(review={"labels": 200}), end)
    with sqlite.read() as connection:
        rows = connection.execute(
            select(samples.c.facts, samples.c.state).join(review_items, review_items.c.sample_id == samples.c.sample_id)
        ).all()
    assert {json.loads(row.facts)["outcome"] for row in rows} == {"ok"}
    assert {row.state for row in rows} >= {"missing"}, "what could not be embedded can be reviewed"


def test_pools_take_their_segments_and_languages_and_have_budgets_of_their_own(sqlite: Store) -> None:
    end = traffic(sqlite, ("a", "b", "bb"))
    set_facts(sqlite, lambda row: {"attributes": {"language": "de" if row["time_us"] % 7 < 2 else "en"}})
    settings = config(
        review={
            "labels": 10,
            "pools": {"german": {"labels": 40, "languages": ["de"]}, "bs": {"labels": 20, "segments": ["b*"]}},
        }
    )
    evaluate(sqlite, settings, end)
    found = items(sqlite)
    assert {row["pool"] for row in found} == {"german", "bs", "default"}
    assert {row["language"] for row in found if row["pool"] == "german"} == {"de"}
    assert {row["segment"] for row in found if row["pool"] == "bs"} == {"b", "bb"}
    assert {row["segment"] for row in found if row["pool"] == "default"} == {"a"}
    later = [row["pool"] for row in found if row["day_us"] > START_US]
    for name, labels in (("german", 40), ("bs", 20), ("default", 10)):
        assert abs(later.count(name) / (DAYS - 1) - labels) < 4 * np.sqrt(labels / (DAYS - 1)) + 0.1 * labels


def test_the_same_image_again_is_asked_about_less(sqlite: Store) -> None:
    end = traffic(sqlite, ("a",))
    with sqlite.write() as connection:
        for position, identity in enumerate(connection.execute(select(samples.c.sample_id)).scalars().all()):
            image = 77 if position % 3 == 0 else 1000 + position
            connection.execute(update(samples).where(samples.c.sample_id == identity).values(phash=image))
    evaluate(sqlite, config(review={"labels": 60}), end)
    with sqlite.read() as connection:
        rows = connection.execute(
            select(samples.c.phash, review_items.c.pi_review)
            .join(review_items, review_items.c.sample_id == samples.c.sample_id)
            .where(review_items.c.day_us > START_US)
        ).all()
    same = [row.pi_review for row in rows if row.phash == 77]
    others = [row.pi_review for row in rows if row.phash != 77]
    assert len(same) > 5
    assert np.mean(same) < 0.75 * np.mean(others)
    assert max(same) <= max(others)


def test_labels_teach_the_score_at_the_end_of_the_day(sqlite: Store) -> None:
    end = traffic(sqlite)
    set_facts(sqlite, lambda row: {"confidence": 900_000})
    settings = config(review={"labels": 200, "overlap": 0})
    half = START_US + 2 * DAY_US
    set_watermark(sqlite, half)
    evaluate(sqlite, settings, half)
    now = half
    while leased := review.next_items(sqlite, "ann", Filters(), now, 60_000_000):
        for item in leased:
            verdict = "wrong" if item.segment == "b" else "correct"
            review.label(sqlite, item.item_id, "ann", Label(verdict), now)
            now += 1
    set_watermark(sqlite, end)
    evaluate(sqlite, settings, end)
    later = {
        name: [row["score"] for row in items(sqlite) if row["segment"] == name and row["day_us"] > half]
        for name in ("a", "b")
    }
    assert np.mean(later["b"]) > 0.5 > 0.05 > np.mean(later["a"])
    before = [row["score"] for row in items(sqlite) if row["day_us"] < half]
    assert max(before) == min(before)
    with sqlite.read() as connection:
        state = msgspec.json.decode(connection.execute(select(evaluation.c.state)).scalar_one())
    assert state["review"]["score"]["labels"] > 150


def test_estimates_from_the_queue_contain_the_truth(sqlite: Store) -> None:
    """The whole way: samples, draw, labels, sums, estimate. Here every event was sampled with probability 1/2."""
    end = traffic(sqlite)
    evaluate(sqlite, config(review={"labels": 150, "overlap": 0}), end)

    def truth(identity: str) -> bool:
        return int(identity[:8], 16) % 10 < 3

    with sqlite.read() as connection:
        everything = connection.execute(select(samples.c.sample_id, samples.c.segment)).all()
        rows = list(review.labelled(connection, None, 0, 2**60))
    by_item = {item_id(row.sample_id): row.sample_id for row in everything}
    merged: dict[str, Pools] = {}
    for (segment, _), sums in pools(sqlite).items():
        merged[segment] = merged[segment].merge(sums) if segment in merged else sums
    names = sorted(merged)
    together = Pools(**{f: np.concatenate([getattr(merged[n], f) for n in names]) for f in Pools.__slots__})
    labelled = Reviewed(
        np.array([float(truth(by_item[row.item_id])) for row in rows]),
        np.array([row.score for row in rows]),
        np.array([row.pi_sample for row in rows]),
        inclusion_until(np.array([row.pi_review for row in rows]), 1.0),
        np.array([names.index(row.segment) for row in rows]),
    )
    rates = error_rates(labelled, together)
    for code, name in enumerate(names):
        true = np.mean([truth(row.sample_id) for row in everything if row.segment == name])
        assert rates.low[code] <= true <= rates.high[code]
        assert rates.labels[code] == sum(row.segment == name for row in rows) > 200
        # Every sample stands for two events.
        assert together.weight[code] == pytest.approx(2 * together.items[code])


def test_two_reviewers_are_asked_about_a_share(sqlite: Store) -> None:
    end = traffic(sqlite)
    evaluate(sqlite, config(review={"labels": 200, "overlap": 0.3}), end)
    twice = [row["wanted"] == 2 for row in items(sqlite)]
    assert stats.binomtest(sum(twice), len(twice), 0.3).pvalue > 1e-3


def test_nobody_is_asked_where_there_are_no_labels(sqlite: Store) -> None:
    end = traffic(sqlite, ("a",))
    evaluate(sqlite, config(review={"labels": 0}), end)
    assert items(sqlite) == []
    assert pools(sqlite) == {}


def test_a_pool_that_is_new_begins_and_one_that_is_gone_is_dropped() -> None:
    state = Reviewing(config(review={"pools": {"x": {"labels": 5}}})).to_state()
    again = Reviewing.from_state(
        msgspec.json.decode(msgspec.json.encode(state)), config(review={"labels": 0, "pools": {"y": {"labels": 1}}})
    )
    assert set(again.samplers) == {"y"}
    with pytest.raises(ValueError, match="format 9"):
        Reviewing.from_state({**state, "format": 9}, config())


def test_a_pool_called_default_is_refused() -> None:
    with pytest.raises(ValueError, match="default"):
        config(review={"pools": {"default": {"labels": 5}}})


def test_what_was_forgotten_before_its_hour_ended_is_not_asked_about(sqlite: Store) -> None:
    end = traffic(sqlite, ("a",))
    with sqlite.write() as connection:
        first = connection.execute(select(samples.c.sample_id)).scalars().first()
        connection.execute(samples.delete().where(samples.c.sample_id == first))
    evaluate(sqlite, config(review={"labels": 400}), end)
    assert item_id(str(first)) not in {row["item_id"] for row in items(sqlite)}
