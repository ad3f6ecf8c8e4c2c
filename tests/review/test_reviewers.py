"""Reviewers compared with each other and with known answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from monitor import reviewers
from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.review import Label, item_id
from tests.review.test_estimates import DAYS, END, NOW, PER_DAY, RATES, START_US, call, fill, rate_of, truth


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    yield found
    found.close()


def label_all(store: Store, misses: dict[str, float], gold: bool = True) -> dict[str, list[int]]:
    """Every reviewer labels every item of segment b, missing that share of wrong ones; a third has a known answer.

    Returns how many wrong items with a known answer each found, and how many there were."""
    rng = np.random.default_rng(3)
    samples = {item_id(f"b-{d}-{k}"): f"b-{d}-{k}" for d in range(DAYS) for k in range(PER_DAY)}
    with store.read() as connection:
        items = list(review.labelled(connection, "b", START_US, END))
    found = {name: [0, 0] for name in misses}
    for number, item in enumerate(items):
        wrong = truth(samples[item.item_id])
        known = gold and number % 3 == 0
        if known:
            verdict = "wrong" if wrong else "correct"
            review.import_label(store, item.event_id, "gold:teacher", Label(verdict), NOW, gold=True)
        for name, share in misses.items():
            says = wrong and rng.random() >= share
            review.import_label(store, item.event_id, name, Label("wrong" if says else "correct"), NOW)
            if known and wrong:
                found[name][0] += says
                found[name][1] += 1
    return found


def test_agreement_and_known_answers_correct_the_rate(store: Store, tmp_path: Path) -> None:
    fill(store)
    known = label_all(store, {"ann": 0.0, "bob": 0.5})
    found = reviewers.read(store, START_US, END, "UTC", segment="b")
    assert [row.name for row in found.reviewers] == ["ann", "bob"]
    for row in found.reviewers:
        assert [row.gold.wrong_called_wrong, row.gold.wrong] == known[row.name]
        assert row.gold.right_called_right == row.gold.right > 20
    assert 0.3 < found.alpha.value < 0.8
    (pair,) = found.pairs
    assert (pair.first, pair.second) == ("ann", "bob")
    assert pair.kappa.low < pair.kappa.value < 0.9
    # Where one says wrong and the other right nobody has decided.
    assert len(found.ties) == found.reviewers[0].wrong - found.reviewers[1].wrong
    assert found.corrected is not None
    rate = found.corrected.rate
    assert rate is not None
    assert rate.low <= rate_of("b") <= rate.high
    shown = call(tmp_path, "reviewers", "--segment", "b")
    assert "Krippendorff's alpha" in shown.output
    assert "allowed for" in shown.output
    assert json.loads(call(tmp_path, "reviewers", "--segment", "b", "--json").output)["reviewers"][0]["name"] == "ann"


def test_without_overlap_or_known_answers_that_is_said(store: Store, tmp_path: Path) -> None:
    nothing = call(tmp_path, "reviewers")
    assert nothing.exit_code == 1
    assert "nothing was evaluated yet" in nothing.output
    fill(store)
    nobody = call(tmp_path, "reviewers")
    assert nobody.exit_code == 1
    assert "nobody labelled" in nobody.output
    label_all(store, {"ann": 0.0}, gold=False)
    found = reviewers.read(store, START_US, END, "UTC")
    assert found.corrected is None
    assert found.pairs == found.ties == ()
    assert "fewer than two items were judged twice" in found.alpha.reason
    assert "not known" in call(tmp_path, "reviewers").output
    assert set(RATES) == {"a", "b"}
