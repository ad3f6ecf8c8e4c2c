"""How much of now is new, which conditions and concepts moved: coverage and family-wise error."""

import numpy as np
import pytest
from scipy.stats import binom

from detectors.explain.concepts import concepts
from detectors.explain.conditions import Condition, conditions
from detectors.explain.share import new_share
from detectors.explain.weighted import Limits, Share, difference, median, ratio


def at_least(runs: int, chance: float) -> int:
    """Fewest hits that a true chance gives 99.9 times in 100."""
    return int(binom.ppf(0.001, runs, chance))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_the_interval_of_the_new_share_covers(share: float, weighted: bool) -> None:
    rng = np.random.default_rng(21)
    runs, covered, above, widths = 60, 0, 0, []
    for _ in range(runs):
        kinds, new = rng.normal(0, 1, (8, 32)), 1.3 * rng.normal(0, 1, 32)
        before = kinds[rng.integers(0, 8, 500)] + rng.normal(0, 1, (500, 32))
        now = kinds[rng.integers(0, 8, 250)] + rng.normal(0, 1, (250, 32))
        changed = rng.random(250) < share
        now[changed] = new + rng.normal(0, 1, (int(changed.sum()), 32))
        weights = (rng.choice([1.0, 3.0], 500), rng.choice([1.0, 3.0], 250)) if weighted else (None, None)
        found = new_share(before, now, rng=rng, before_weights=weights[0], now_weights=weights[1])
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0
        covered += found.low <= share <= found.high
        above += found.low > share
        widths.append(found.high - found.low)
    assert covered >= at_least(runs, 0.95)
    assert above <= runs - at_least(runs, 0.975)
    assert np.median(widths) <= 0.3


def test_the_lower_limit_holds_where_the_new_cannot_be_told_apart() -> None:
    """Half of now is new but mostly looks like before: the upper limit may miss, the lower one not."""
    rng = np.random.default_rng(22)
    above = 0
    for _ in range(60):
        before, now = rng.normal(0, 1, (400, 8)), rng.normal(0, 1, (300, 8))
        now[rng.random(300) < 0.5] += 0.3
        above += new_share(before, now, rng=rng).low > 0.5
    assert above == 0


def test_everything_new_and_nothing_but_constants() -> None:
    rng = np.random.default_rng(23)
    found = new_share(rng.normal(0, 1, (200, 8)), rng.normal(9, 1, (200, 8)), rng=rng)
    assert found.high == 1.0
    assert found.low > 0.9
    assert new_share(np.ones((100, 3)), np.ones((100, 3)), rng=rng).low == 0.0
    assert new_share(np.zeros(100), np.repeat([0.0, 1.0], 50), rng=rng).low > 0.3
    with pytest.raises(ValueError, match="dimension"):
        new_share(np.ones((100, 3)), np.ones((100, 2)), rng=rng)


def test_limits_of_weighted_shares_and_medians_cover() -> None:
    rng = np.random.default_rng(24)
    runs, shares, medians = 400, 0, 0
    for _ in range(runs):
        w = rng.choice([1.0, 2.0, 5.0], 120)
        limits = Share.of(rng.random(120) < 0.1, w).limits(0.95)
        shares += limits.low <= 0.1 <= limits.high
        middle = median(rng.exponential(1.0, 120), w, 0.95)
        medians += middle.low <= np.log(2.0) <= middle.high
    assert shares >= at_least(runs, 0.95)
    assert medians >= at_least(runs, 0.95)


def test_differences_and_ratios_hold_their_value() -> None:
    a, b = Limits(0.4, 0.3, 0.5), Limits(0.8, 0.7, 0.9)
    assert difference(a, b) == Limits(
        pytest.approx(-0.4), pytest.approx(-0.4 - 0.02**0.5), pytest.approx(-0.4 + 0.02**0.5)
    )
    times = ratio(a, b)
    assert times.value == pytest.approx(0.5)
    assert times.low < 0.5 < times.high
    assert ratio(a, Limits(0.0, 0.0, 0.1)).high == float("inf")


WHICH = [Condition("skew", "degrees"), Condition("contrast", told="relative"), Condition("density", told="relative")]


def measured(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {"skew": rng.normal(0, 3, n), "contrast": rng.gamma(8, 0.05, n), "density": rng.choice([0.1, 0.2, 0.4], n)}


@pytest.mark.parametrize("sessions", [8, 14, 80])
def test_conditions_that_did_not_move_are_not_named(sessions: int) -> None:
    rng = np.random.default_rng(25)
    named = 0
    for _ in range(400):
        w = rng.choice([1.0, 2.0], sessions)
        before, now = measured(rng, 150), measured(rng, sessions)
        named += bool(conditions(WHICH, before, now, rng=rng, now_weights=w).named)
    assert named <= binom.ppf(0.999, 400, 0.05)


def test_few_sessions_that_all_moved_are_named() -> None:
    rng = np.random.default_rng(29)
    for _ in range(20):
        before, now = measured(rng, 300), measured(rng, 9)
        now["skew"] += 12.0
        assert "skew" in {moved.condition.name for moved in conditions(WHICH, before, now, rng=rng).named}


def test_conditions_are_told_with_their_units_and_their_intervals_cover() -> None:
    rng = np.random.default_rng(26)
    covered = 0
    for _ in range(200):
        before, now = measured(rng, 400), measured(rng, 250)
        now["skew"] += 8.0
        now["contrast"] *= 0.7
        named = {moved.condition.name: moved for moved in conditions(WHICH, before, now, rng=rng).named}
        assert {"skew", "contrast"} <= set(named)
        covered += named["skew"].change.low <= 8.0 <= named["skew"].change.high
        covered += named["contrast"].change.low <= -0.3 <= named["contrast"].change.high
    assert covered >= at_least(400, 0.95)


def test_conditions_that_cannot_be_compared_are_left_out_with_the_reason() -> None:
    rng = np.random.default_rng(27)
    before, now = measured(rng, 100), measured(rng, 100)
    now["skew"][:93] = np.nan
    before["contrast"][0] = -1.0
    found = conditions(WHICH, before, now, rng=rng)
    assert [name for name, _ in found.left_out] == ["skew", "contrast"]
    assert found.left_out[0][1] == "measured in 100 and 7 sessions; 8 are needed"
    with pytest.raises(ValueError, match="no values of condition 'skew'"):
        conditions(WHICH, {}, now, rng=rng)


def test_words_that_kept_their_share_are_not_named() -> None:
    rng = np.random.default_rng(28)
    words, p = np.array([f"w{i}" for i in range(20)]), np.random.default_rng(0).dirichlet(np.full(20, 0.5))
    named = 0
    for _ in range(200):
        old, new = rng.choice(words, 200, p=p).tolist(), rng.choice(words, 100, p=p).tolist()
        w = rng.choice([1.0, 2.0], 200)
        named += bool(concepts(old, new, before_weights=w).named)
    assert named <= binom.ppf(0.999, 200, 0.05)


def test_words_come_in_the_order_of_what_they_gained_and_lost() -> None:
    before = ["receipt"] * 50 + ["form"] * 30 + ["letter"] * 20
    now = ["receipt"] * 20 + ["form"] * 30 + ["letter"] * 20 + ["handwriting"] * 30
    found = concepts(before, now)
    assert [c.name for c in found.gained] == ["handwriting"]
    assert [c.name for c in found.lost] == ["receipt"]
    assert [c.name for c in found.named] == ["handwriting", "receipt"]
    assert (found.gained[0].before.value, found.gained[0].now.value) == (0.0, 0.3)
    assert found.gained[0].change.low > 0.15
    # Few sessions, or as few in effect: an answer without a name.
    assert concepts(before[::20], now[::20]).named == ()
    with pytest.raises(ValueError, match="both periods"):
        concepts([], now)
