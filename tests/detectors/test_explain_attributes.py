"""Which attribute value carries a change: the guarantees, and what is planted is found."""

import numpy as np
import pytest
from scipy.stats import binom

from detectors.explain.attributes import MISSING, POOLED, attribute
from detectors.explain.holm import holm

LEVEL = 0.05
RUNS = 100


def allowed(runs: int) -> int:
    """Most namings that a true chance of 5 % gives 99.9 times in 100."""
    return int(binom.ppf(0.999, runs, LEVEL))


def labels(rng: np.random.Generator, n: int) -> dict[str, list[str | None]]:
    return {
        "tenant": [f"t{i}" for i in rng.choice(5, n, p=[0.4, 0.25, 0.15, 0.1, 0.1])],
        "client": [f"c{i}" for i in rng.integers(0, 4, n)],
    }


def levels(attributes: dict[str, list[str | None]]) -> np.ndarray:
    """What every tenant always was like."""
    return np.array([int(str(tenant)[1:]) for tenant in attributes["tenant"]], dtype=float)


@pytest.mark.parametrize("world", ["scores", "shifted scores", "rare errors", "more errors", "rows", "shifted rows"])
def test_nothing_is_named_where_no_attribute_carries_it(world: str) -> None:
    rng = np.random.default_rng(11)
    named = 0
    for _ in range(RUNS):
        n, m = 200, 120
        old, new = labels(rng, n), labels(rng, m)
        if "errors" in world:
            rates = (0.02, 0.02 if world == "rare errors" else 0.15)
            before, now = (rng.random(k) < rate for k, rate in zip((n, m), rates, strict=True))
        elif "scores" in world:
            before, now = levels(old) + rng.normal(0, 1, n), levels(new) + rng.normal(0, 1, m)
            now = now + 1.5 * (world == "shifted scores")
        else:
            means = rng.normal(0, 1, (5, 24))
            before = means[levels(old).astype(int)] + rng.normal(0, 1, (n, 24))
            now = means[levels(new).astype(int)] + rng.normal(0, 1, (m, 24)) + 0.6 * (world == "shifted rows")
        weights = rng.choice([1.0, 2.5], n), rng.choice([1.0, 2.5], m)
        found = attribute(before, now, old, new, rng=rng, before_weights=weights[0], now_weights=weights[1])
        named += bool(found.named)
    assert named <= allowed(RUNS)


def test_a_new_kind_spread_over_all_values_is_nobodys() -> None:
    """Tenants differ, so the same new inputs move each of them by another amount; none carries the change."""
    rng = np.random.default_rng(12)
    named = 0
    for _ in range(60):
        old, new = labels(rng, 500), labels(rng, 300)
        means, fresh = rng.normal(0, 1, (5, 24)), rng.normal(0, 1, 24)
        before = means[levels(old).astype(int)] + rng.normal(0, 1, (500, 24))
        now = means[levels(new).astype(int)] + rng.normal(0, 1, (300, 24))
        changed = rng.random(300) < 0.3
        now[changed] = fresh + rng.normal(0, 1, (int(changed.sum()), 24))
        found = attribute(before, now, old, new, rng=rng)
        assert found.p < 0.01
        named += bool(found.named)
    assert named <= allowed(60)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_value_whose_sessions_changed_is_named_with_the_change_left_without_it(sign: float) -> None:
    rng = np.random.default_rng(13)
    right, covered = 0, 0
    for _ in range(40):
        old, new = labels(rng, 400), labels(rng, 250)
        before, now = rng.normal(0, 1, 400), rng.normal(0, 1, 250)
        now[np.array(new["client"]) == "c2"] += 2.0 * sign
        found = attribute(before, now, old, new, rng=rng)
        right += [(c.attribute, c.value) for c in found.named] == [("client", "c2")]
        if found.named:
            covered += found.named[0].without.low <= 0.0 <= found.named[0].without.high
            assert np.sign(found.change.value) == sign
            assert found.named[0].adjusted <= LEVEL
    assert right >= 38
    assert covered >= binom.ppf(0.001, right, 0.95)


def test_a_value_that_came_and_one_that_went_are_named() -> None:
    rng = np.random.default_rng(14)
    for went in (False, True):
        many, few = labels(rng, 400), labels(rng, 400)
        x, y = rng.normal(0, 1, (400, 16)), rng.normal(0, 1, (400, 16))
        who = rng.random(400) < 0.2
        y[who] += 1.5
        few["tenant"] = ["guest" if w else t for w, t in zip(who, few["tenant"], strict=True)]
        found = attribute(y, x, few, many, rng=rng) if went else attribute(x, y, many, few, rng=rng)
        assert [(c.attribute, c.value) for c in found.named] == [("tenant", "guest")]
        assert (found.named[0].now == 0.0) is went
        assert (found.named[0].before == 0.0) is not went


def test_values_of_the_same_sessions_are_named_together_and_a_wider_one_apart() -> None:
    rng = np.random.default_rng(15)
    old, new = labels(rng, 600), labels(rng, 400)
    for period in (old, new):
        period["customer"] = ["acme" if t == "t1" else "others" for t in period["tenant"]]
        period["region"] = ["north" if t in ("t1", "t2") else "south" for t in period["tenant"]]
    before, now = rng.normal(0, 1, 600), rng.normal(0, 1, 400)
    now[np.array(new["tenant"]) == "t1"] += 2.5
    found = attribute(before, now, old, new, rng=rng)
    assert {(c.attribute, c.value) for c in found.named} == {("tenant", "t1"), ("customer", "acme")}
    assert ("region", "north") in {(c.attribute, c.value) for c in found.also}


def test_rare_errors_of_a_value_are_found_and_weights_count() -> None:
    rng = np.random.default_rng(16)
    old, new = labels(rng, 600), labels(rng, 400)
    before = (rng.random(600) < 0.02).astype(float)
    now = np.where(np.array(new["client"]) == "c0", rng.random(400) < 0.5, rng.random(400) < 0.02).astype(float)
    found = attribute(before, now, old, new, rng=rng)
    assert [(c.attribute, c.value) for c in found.named] == [("client", "c0")]
    heavy = np.where(np.array(new["client"]) == "c0", 3.0, 1.0)
    weighted = attribute(before, now, old, new, rng=rng, now_weights=heavy)
    assert weighted.named[0].now == pytest.approx(heavy[heavy == 3.0].sum() / heavy.sum())
    assert weighted.change.value == pytest.approx(np.average(now, weights=heavy) - before.mean())


def test_what_is_not_tried_is_told_with_the_reason() -> None:
    rng = np.random.default_rng(17)
    old: dict[str, list[str | None]] = {"tenant": ["a"] * 95 + ["b"] * 5, "all": ["x"] * 100, "none": [None] * 100}
    new: dict[str, list[str | None]] = {"tenant": ["a"] * 90 + ["c"] * 10, "all": ["x"] * 100, "none": [None] * 100}
    new["user"] = [f"u{i}" for i in range(100)]
    old["user"] = [f"u{i % 50}" for i in range(100)]
    found = attribute(rng.normal(0, 1, 100), rng.normal(0, 1, 100), old, new, rng=rng)
    reasons = {(left.attribute, left.value): left.reason for left in found.left_out}
    assert reasons["tenant", "b"] == "5 sessions: pooled with other rare values"
    assert "only 0 sessions" in reasons["all", "x"]
    assert "only 0 sessions" in reasons["none", MISSING]
    assert ("user", POOLED) in reasons
    assert found.named == ()


def test_constant_scores_change_nothing() -> None:
    rng = np.random.default_rng(18)
    found = attribute(np.ones(100), np.ones(100), labels(rng, 100), labels(rng, 100), rng=rng)
    assert found.named == ()
    assert found.change.value == 0.0
    rows = attribute(np.ones((100, 4)), np.ones((100, 4)), labels(rng, 100), labels(rng, 100), rng=rng)
    assert rows.named == ()


def test_bad_input_is_refused_with_what_to_do() -> None:
    rng = np.random.default_rng(19)
    x, old = rng.normal(0, 1, 100), labels(rng, 100)
    with pytest.raises(ValueError, match="needs 40 in each period"):
        attribute(x[:30], x, {"tenant": old["tenant"][:30], "client": old["client"][:30]}, old, rng=rng)
    with pytest.raises(ValueError, match="one value per session"):
        attribute(x, x, {"tenant": ["a"]}, {"tenant": ["a"]}, rng=rng)
    with pytest.raises(ValueError, match="different attributes"):
        attribute(x, x, old, {}, rng=rng)
    with pytest.raises(ValueError, match="positive"):
        attribute(x, x, old, old, rng=rng, now_weights=np.zeros(100))
    with pytest.raises(ValueError, match="NaN"):
        attribute(np.full(100, np.nan), x, old, old, rng=rng)
    with pytest.raises(ValueError, match="p-values"):
        holm([0.5, np.nan])


def test_holm_is_the_step_down_correction() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0
