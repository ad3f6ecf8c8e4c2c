"""Estimates from the store: whole days, unfinished work, what nobody decided, weeks, and the command for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from starlette.requests import Request

from monitor.cli import main
from monitor.config.model import Config
from monitor.estimates import ALL, Estimate, estimates, store_days, weeks
from monitor.serve.access import Caller
from monitor.serve.context import Context
from monitor.serve.review.models import EstimateQuery
from monitor.serve.review.rates import error_rates
from monitor.store import evaluation, review
from monitor.store.engine import Store, open_store
from monitor.store.review import Filters, Label, NewItem, PoolSums, item_id
from samplers.design import probabilities, race_times
from samplers.pools import pools_of
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US

DAYS = 7
PER_DAY = 300
RATES = {"a": 0.1, "b": 0.4}
ANN = "ann"
NOW = START_US + 30 * DAY_US


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    yield found
    found.close()


def truth(sample: str) -> bool:
    name, number = sample.split("-")[0], int(sample.split("-")[2])
    return (number * 2654435761 % 1000) / 1000 < RATES[name]


def fill(store: Store, labels: float = 120.0, *, seed: int = 1, days: int = DAYS, wanted: int = 1) -> None:
    """A week of samples of two segments, drawn for review, evaluated to its end."""
    rng = np.random.default_rng(seed)
    lead = evaluation.take_lead(store, "test", NOW, HOUR_US)
    assert lead is not None
    items, sums = [], []
    for day in range(days):
        at = START_US + day * DAY_US
        for name in RATES:
            ids = [f"{name}-{day}-{k}" for k in range(PER_DAY)]
            wrong = np.array([truth(i) for i in ids])
            score = np.clip(np.where(wrong, 0.5, 0.15) + rng.normal(0, 0.1, PER_DAY), 0.01, 0.99)
            pi = probabilities(score, np.zeros(PER_DAY, np.int64), labels / 2)
            race = race_times(rng.random(PER_DAY), pi)
            one = pools_of(np.full(PER_DAY, 0.5), pi, score, np.zeros(PER_DAY, np.int64), 1)
            sums.append(PoolSums(name, at, one))
            items += [
                NewItem(
                    ids[k], ids[k], name, "r", at, at, 0.5, float(pi[k]), float(race[k]), float(score[k]), wanted=wanted
                )
                for k in np.flatnonzero(race <= 1).tolist()
            ]
    results = evaluation.Results(START_US + days * DAY_US, b"{}")

    def add(connection: Any) -> None:
        review.add(connection, items, sums, now_us=NOW, expires_us=2**60)

    evaluation.write(store, lead, results, NOW, HOUR_US, [add])


def work(store: Store, most: int | None = None, say: Any = None, *, days: int = DAYS) -> int:
    """Label in the queue's order, rightly unless ``say`` does otherwise; returns how many."""
    by_item = {item_id(f"{n}-{d}-{k}"): f"{n}-{d}-{k}" for n in RATES for d in range(days) for k in range(PER_DAY)}
    done = 0
    while most is None or done < most:
        leased = review.next_items(store, ANN, Filters(), NOW, HOUR_US)
        if not leased:
            break
        item = leased[0]
        verdict = "wrong" if truth(by_item[item.item_id]) else "correct"
        verdict = say(by_item[item.item_id], verdict) if say else verdict
        if verdict == "skip":
            review.skip(store, item.item_id, ANN, "", NOW, 1)
        else:
            review.label(store, item.item_id, ANN, Label(verdict), NOW)
        done += 1
    return done


def of(found: list[Estimate], name: str) -> Estimate:
    (one,) = [row for row in found if row.segment == name]
    return one


def rate_of(name: str, days: int = DAYS) -> float:
    return float(np.mean([truth(f"{name}-{d}-{k}") for d in range(days) for k in range(PER_DAY)]))


END = START_US + DAYS * DAY_US


def test_every_segment_and_all_together_hold_the_truth(store: Store) -> None:
    fill(store)
    done = work(store)
    found = estimates(store, START_US, END, "UTC")
    assert [row.segment for row in found] == ["a", "b", ALL]
    for name in RATES:
        row = of(found, name)
        assert row.rate is not None
        assert row.once.low <= rate_of(name) <= row.once.high
        assert row.bounds == row.once
        assert row.always is not None
        assert row.always.low <= rate_of(name) <= row.always.high
        assert row.always.high - row.always.low > row.once.high - row.once.low
        assert row.events == pytest.approx(2 * DAYS * PER_DAY)
        assert (row.unsure, row.missing, row.waiting) == (0, 0, 0)
    whole = of(found, ALL)
    assert whole.labels == done == sum(of(found, name).labels for name in RATES)
    assert whole.once.low <= np.mean([rate_of(name) for name in RATES]) <= whole.once.high
    assert whole.effective > whole.labels * 0.8


def test_nothing_labelled_is_said_and_so_is_nothing_drawn(store: Store) -> None:
    assert estimates(store, START_US, END, "UTC") == []
    fill(store)
    row = of(estimates(store, START_US, END, "UTC"), "a")
    assert row.rate is None
    assert (row.once.low, row.once.high) == (0.0, 1.0)
    assert row.waiting > 100


def test_work_that_stopped_early_is_a_smaller_sample(store: Store) -> None:
    fill(store)
    work(store, most=200)
    found = estimates(store, START_US, END, "UTC")
    assert sum(of(found, name).labels for name in RATES) == 200
    for name in RATES:
        row = of(found, name)
        assert row.once.low <= rate_of(name) <= row.once.high
        assert row.always is not None
        assert row.always.low <= rate_of(name) <= row.always.high
        assert row.missing == 0


def test_a_few_that_somebody_holds_do_not_stop_the_rest(store: Store) -> None:
    fill(store)
    review.next_items(store, "slow", Filters(), NOW, 100 * DAY_US, count=3)
    work(store)
    found = estimates(store, START_US, END, "UTC")
    assert sum(of(found, name).missing for name in RATES) == 3
    for name in RATES:
        row = of(found, name)
        assert row.labels > 200
        assert row.bounds.low <= row.once.low
        assert row.bounds.high >= row.once.high
        assert row.bounds.low <= rate_of(name) <= row.bounds.high


def test_a_day_that_has_hardly_begun_does_not_hold_the_others_up(store: Store) -> None:
    fill(store)
    work(store)
    with store.write() as connection:
        last = f"WHERE day_us = {START_US + 6 * DAY_US}"
        connection.exec_driver_sql(f"DELETE FROM labels WHERE item_id IN (SELECT item_id FROM review_items {last})")
        connection.exec_driver_sql(f"UPDATE review_items SET state = 'open' {last}")
    row = of(estimates(store, START_US, END, "UTC"), "a")
    assert row.days == 6
    assert row.labels > 300
    assert row.missing == 0
    assert row.waiting > 40
    assert row.events == pytest.approx(2 * 6 * PER_DAY)
    assert row.once.low <= rate_of("a") <= row.once.high


def test_a_team_of_one_is_not_held_up_by_items_that_want_two(store: Store) -> None:
    fill(store, wanted=2)
    work(store)
    row = of(estimates(store, START_US, END, "UTC"), "a")
    assert row.labels > 300
    assert (row.waiting, row.missing) == (0, 0)
    assert row.once.low <= rate_of("a") <= row.once.high


def test_unsure_and_skipped_items_are_bounded_and_counted(store: Store) -> None:
    fill(store)

    def say(sample: str, verdict: str) -> str:
        number = int(sample.split("-")[2])
        return "skip" if number % 9 == 0 else "unsure" if verdict == "wrong" and number % 3 == 0 else verdict

    work(store, say=say)
    for name in RATES:
        row = of(estimates(store, START_US, END, "UTC"), name)
        assert row.unsure > 0
        assert row.missing > 0
        assert row.unsure_rate is not None
        assert row.unsure_once.low <= row.unsure_rate <= row.unsure_once.high
        assert row.bounds.low <= rate_of(name) <= row.bounds.high
        assert row.always is not None
        assert row.always.low <= rate_of(name) <= row.always.high


def test_a_gold_answer_is_about_the_reviewer(store: Store) -> None:
    fill(store)
    work(store)
    before = estimates(store, START_US, END, "UTC")
    with store.read() as connection:
        item = next(iter(review.labelled(connection, "a", START_US, END)))
    review.import_label(store, item.event_id, "teacher", Label("wrong"), NOW, gold=True)
    assert estimates(store, START_US, END, "UTC") == before


def test_days_count_whole_and_weeks_are_local() -> None:
    new_york = "America/New_York"
    # Clocks go forward on 2026-03-08.
    begin = store_days(1_772_600_000_000_000, 1_773_600_000_000_000, new_york)
    lengths = {b - a for a, b in pairwise(begin)}
    assert lengths == {23 * HOUR_US, 24 * HOUR_US}
    cut = weeks(begin[0], begin[-1], new_york)
    assert cut[0][0] == begin[0]
    assert cut[-1][1] == begin[-1]
    assert all(a[1] == b[0] for a, b in pairwise(cut))
    assert cut[0][1] == begin[7]


def test_a_day_that_is_not_over_is_in_no_interval_that_always_holds(store: Store) -> None:
    fill(store, days=1)
    work(store)
    (row,) = estimates(store, START_US, START_US + DAY_US, "UTC", segment="a")
    assert row.always is not None
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE evaluation SET done_until_us = done_until_us - 1")
    (row,) = estimates(store, START_US, START_US + DAY_US, "UTC", segment="a")
    assert row.always is None
    assert row.rate is not None


# -- the command --------------------------------------------------------------------------------------------


def call(tmp_path: Path, *arguments: str) -> Result:
    path = tmp_path / "driftline.yaml"
    path.write_text(f"store: {{url: 'sqlite:///{tmp_path}/driftline.db'}}\n")
    return CliRunner().invoke(main, ["review", arguments[0], "--config", str(path), *arguments[1:]])


def test_the_queue_is_worked_from_a_terminal(store: Store, tmp_path: Path) -> None:
    assert "nothing was drawn yet" in call(tmp_path, "stats").output
    refused = call(tmp_path, "next", "--reviewer", "ann")
    assert refused.exit_code == 1
    assert "nothing was drawn yet" in refused.output
    fill(store)
    item = json.loads(call(tmp_path, "next", "--reviewer", "ann", "--json").stdout)
    assert "score" not in item
    assert "confidence" not in json.dumps(item)
    said = ("label", item["item_id"], "--reviewer", "ann", "--verdict", "wrong")
    done = call(tmp_path, *said, "--answer", "field=total")
    assert done.exit_code == 0, done.output
    assert "taken back" in call(tmp_path, "undo", "--reviewer", "ann").output
    assert call(tmp_path, "skip", item["item_id"], "--reviewer", "ann", "--reason", "unreadable").exit_code == 0
    again = call(tmp_path, *said)
    assert again.exit_code == 1
    assert "Traceback" not in again.output
    bad = call(tmp_path, *said, "--answer", "total")
    assert bad.exit_code == 2
    assert "QUESTION=VALUE" in bad.output
    assert "default" in call(tmp_path, "stats").output or "open" in call(tmp_path, "stats").output
    counted = json.loads(call(tmp_path, "stats", "--json").output)
    assert sum(row["items"] for row in counted["items"]) > 500


def test_estimates_are_printed_and_as_json(store: Store, tmp_path: Path) -> None:
    nothing = call(tmp_path, "estimate")
    assert nothing.exit_code == 1
    assert "nothing was evaluated yet" in nothing.output
    fill(store)
    work(store)
    found = json.loads(call(tmp_path, "estimate", "--json").output)
    assert found["confidence"] == 0.95
    assert {row["segment"] for row in found["estimates"]} == {"a", "b", "all"}
    shown = call(tmp_path, "estimate", "--by", "week")
    assert shown.exit_code == 0
    assert "error rate" in shown.output.replace("\n", " ")
    assert call(tmp_path, "estimate", "--segment", "none").exit_code == 1


def test_the_api_tells_the_same(store: Store) -> None:
    fill(store)
    work(store)
    context = Context(store, Config, list, lambda: b"")
    request = Request({"type": "http", "headers": [], "path_params": {}})
    caller = Caller("viewer", "")
    told = error_rates(context, request, EstimateQuery(days=28), caller).error_rates
    found = estimates(store, store_days(END - 27 * DAY_US, END, "UTC")[0], END + 1, "UTC")
    assert [(row.segment, row.rate, row.once.low, row.labels) for row in told] == [
        (row.segment, row.rate, row.once.low, row.labels) for row in found
    ]
    assert len(error_rates(context, request, EstimateQuery(days=28, by="week", segment="a"), caller).error_rates) >= 1
