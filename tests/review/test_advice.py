"""Advice from the store, and its commands: thresholds that hold, confidence that misleads, inputs that fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from monitor import advice
from monitor.cli import main
from monitor.store import evaluation, review
from monitor.store.engine import Store, open_store
from monitor.store.review import Filters, Label, NewItem, PoolSums, item_id
from monitor.store.tables import sample_parts, samples
from samplers.design import probabilities, race_times
from samplers.pools import pools_of
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US
from tests.store.test_export_and_forget import sample_row

N = 3000
DAYS = 5
END = START_US + DAYS * DAY_US


class World:
    """Samples of one segment: wrong more often where confidence is low, and where the page is skewed."""

    def __init__(self, *, confident: bool = True, skewed: bool = True) -> None:
        rng = np.random.default_rng(5)
        self.day = START_US + np.arange(N) * DAYS // N * DAY_US
        self.confidence = rng.beta(5, 1.2, N)
        self.skew = np.where(rng.random(N) < 0.3, rng.uniform(4, 15, N), rng.uniform(0, 1, N))
        straight = 0.02 + 0.6 * (1 - self.confidence)
        chance = straight + (0.03 * np.maximum(self.skew - 1, 0) if skewed else 0)
        self.attributable = float((np.minimum(chance, 1.0) - straight).sum())
        self.wrong = rng.random(N) < np.minimum(chance, 1.0)
        self.confident = confident
        self.score = np.clip(1 - self.confidence, 0.02, 0.9)
        self.rng = rng

    def fill(self, store: Store, labels: float = 400.0) -> None:
        pi = probabilities(self.score, np.zeros(N, np.int64), labels)
        race = race_times(self.rng.random(N), pi)
        rows, parts = [], []
        for k in range(N):
            facts: dict[str, Any] = {"v": 1, "outcome": "ok", "verdicts": {}, "context_used": 100_000}
            if self.confident:
                facts["confidence"] = int(self.confidence[k] * 1e6)
            row = sample_row(k, time_us=int(self.day[k])) | {
                "segment": "a", "window_us": int(self.day[k]), "pi": 0.5, "state": "embedded",
                "facts": json.dumps(facts),
            }  # fmt: skip
            rows.append(row)
            conditions = json.dumps({"v": 1, "skew_degrees": -float(self.skew[k]), "contrast": 0.8, "rotation": 0})
            parts.append(
                {
                    "sample_id": row["sample_id"],
                    "part": 0,
                    "modality": "image",
                    "vector": b"",
                    "conditions": conditions,
                    "agreement": None,
                }
            )
        first = np.full(N, 0.5)
        day = (self.day - START_US) // DAY_US
        pools = pools_of(first, pi, self.score, day, DAYS)
        sums = []
        for d in range(DAYS):
            mine = pools.to_state()
            sums.append(PoolSums("a", START_US + d * DAY_US, type(pools).from_state(
                {name: value if name == "v" else [value[d]] for name, value in mine.items()}
            )))  # fmt: skip
        items = [
            NewItem(
                f"s{k}", f"e{k}", "a", "r", int(self.day[k]), int(self.day[k]), 0.5,
                float(pi[k]), float(race[k]), float(self.score[k]),
            )
            for k in np.flatnonzero(race <= 1).tolist()
        ]  # fmt: skip
        lead = evaluation.take_lead(store, "test", END, HOUR_US)
        assert lead is not None

        def add(connection: Any) -> None:
            connection.execute(samples.insert(), rows)
            connection.execute(sample_parts.insert(), parts)
            review.add(connection, items, sums, now_us=END, expires_us=2**60)

        evaluation.write(store, lead, evaluation.Results(END, b"{}"), END, HOUR_US, [add])

    def label(self, store: Store, most: int = 10**6) -> None:
        numbers = {item_id(f"s{k}"): k for k in range(N)}
        for done in range(most):
            leased = review.next_items(store, "ann", Filters(), END + done, HOUR_US)
            if not leased:
                return
            verdict = "wrong" if self.wrong[numbers[leased[0].item_id]] else "correct"
            review.label(store, leased[0].item_id, "ann", Label(verdict), END + done)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    yield found
    found.close()


def call(tmp_path: Path, *arguments: str) -> Result:
    path = tmp_path / "driftline.yaml"
    path.write_text(f"store: {{url: 'sqlite:///{tmp_path}/driftline.db'}}\n")
    return CliRunner().invoke(main, ["review", arguments[0], "--config", str(path), *arguments[1:]])


def test_a_threshold_holds_for_everything_that_passes(store: Store, tmp_path: Path) -> None:
    world = World(skewed=False)
    world.fill(store, labels=1000)
    world.label(store)
    found = json.loads(call(tmp_path, "advice", "--segment", "a", "--target", "0.12", "--json").output)
    threshold = found["advice"]["threshold"]
    assert threshold is not None
    passing = world.confidence >= threshold
    assert world.wrong[passing].mean() <= 0.12
    assert 0.2 < passing.mean() < 0.9
    assert found["advice"]["coverage"]["low"] <= passing.mean() <= found["advice"]["coverage"]["high"]
    shown = call(
        tmp_path, "advice", "--segment", "a", "--target", "0.12", "--cost-automatic", "1", "--cost-escalated", "30"
    )
    assert "Escalate below a confidence of" in shown.output
    assert "cost an item" in shown.output
    hopeless = call(tmp_path, "advice", "--segment", "a", "--target", "0.001")
    assert hopeless.exit_code == 0
    assert "no threshold is shown to reach" in hopeless.output


def test_work_that_stopped_early_is_a_smaller_sample(store: Store) -> None:
    world = World()
    world.fill(store)
    world.label(store, most=150)
    material = advice.read(store, "a", START_US, END, "UTC")
    assert len(material.rows) <= 150
    # Weighted, they stand for all of the traffic, of which half was sampled.
    assert (1 / material.pi).sum() == pytest.approx(2 * N, rel=0.25)
    assert material.weeks == pytest.approx(DAYS / 7)


def test_confidence_that_misleads_is_told(store: Store, tmp_path: Path) -> None:
    world = World()
    world.fill(store)
    world.label(store)
    found = json.loads(call(tmp_path, "calibration", "--segment", "a", "--json").output)
    true = float(np.mean(world.confidence - (1.0 - world.wrong)))
    assert found["over"] == pytest.approx(true, abs=0.06)
    shown = call(tmp_path, "calibration", "--segment", "a")
    assert "Calibration error" in shown.output
    for kind in ("platt", "isotonic"):
        exported = json.loads(call(tmp_path, "calibration", "--segment", "a", "--map", kind).output)
        assert (exported["format"], exported["kind"]) == (1, kind)


def test_the_condition_that_fails_is_named_with_what_to_do(store: Store, tmp_path: Path) -> None:
    world = World()
    world.fill(store, labels=700)
    world.label(store)
    found = json.loads(call(tmp_path, "inputs", "--segment", "a", "--json").output)
    named = {finding["condition"]["name"]: finding for finding in found["findings"] if finding["named"]}
    assert set(named) == {"skew_degrees"}
    assert named["skew_degrees"]["remedy"] == "deskew"
    # Twice as many sessions as samples, in five days.
    true = world.attributable * 2 * 7 / DAYS
    week = named["skew_degrees"]["failures_per_week"]
    assert week["low"] <= true <= week["high"]
    shown = call(tmp_path, "inputs", "--segment", "a")
    assert "goes with failure: skew_degrees" in shown.output
    assert "straighten the page" in shown.output.lower()
    assert "not judged: contrast" in shown.output


def test_nothing_stands_out_where_nothing_does(store: Store, tmp_path: Path) -> None:
    world = World(skewed=False)
    world.fill(store)
    world.label(store)
    assert "nothing stands out" in call(tmp_path, "inputs", "--segment", "a").output


def test_what_is_missing_is_said(store: Store, tmp_path: Path) -> None:
    nothing = call(tmp_path, "advice", "--segment", "a", "--target", "0.1")
    assert nothing.exit_code == 1
    assert "nothing was evaluated yet" in nothing.output
    world = World(confident=False)
    world.fill(store)
    unlabelled = call(tmp_path, "inputs", "--segment", "a")
    assert unlabelled.exit_code == 1
    assert "label some" in unlabelled.output
    world.label(store)
    for command in (("advice", "--target", "0.1"), ("calibration",)):
        found = call(tmp_path, command[0], "--segment", "a", *command[1:])
        assert found.exit_code == 1
        assert "how confident the model was" in found.output
    assert call(tmp_path, "advice", "--segment", "a", "--target", "0.1", "--cost-automatic", "1").exit_code == 2
