"""Repair advice: it names what goes with failure and not what merely comes with it, and nothing where nothing does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binom, spearmanr

from benchmarks._review_repair import PARTS, load
from benchmarks._review_repair import advice as noise_advice
from samplers.logistic import fit
from samplers.repair import REMEDIES, Condition, Repairs, ab_labels, repairs
from tests.data import shared_data

Float = NDArray[np.float64]
SKEW = Condition("skew_degrees", "higher", 5.0, 0.0, "degrees")
CONTRAST = Condition("contrast", "lower", 0.1, 0.6)
PAGES = Condition("pages", "higher", 1.0, 1.0, "pages")
TRIED = (SKEW, CONTRAST, PAGES)


def most(runs: int, chance: float = 0.05) -> int:
    return int(binom.ppf(0.999, runs, chance))


def inputs(rng: np.random.Generator, size: int) -> dict[str, Float]:
    """Skewed pages are often pale: contrast comes with skew. A third is straight."""
    skew = np.where(rng.random(size) < 0.33, 0.0, rng.gamma(2.0, 3.0, size))
    contrast = np.clip(0.75 - 0.02 * skew + rng.normal(0, 0.1, size), 0.05, 1.0)
    return {"skew_degrees": skew, "contrast": contrast, "pages": 1.0 + rng.poisson(0.7, size)}


def chance(values: dict[str, Float], effect: float) -> Float:
    """Only skew matters, ``effect`` on the log odds per 5 degrees."""
    return np.asarray(expit(-2.5 + effect * values["skew_degrees"] / 5.0))


def probabilities(values: dict[str, Float], labels: int) -> Float:
    """pi that leans to skewed pages, as predicted errors do."""
    lean = np.sqrt(0.05 + values["skew_degrees"] / 20.0)
    return np.asarray(np.minimum(1.0, labels * (0.5 * lean / lean.sum() + 0.5 / lean.size)))


def advice(rng: np.random.Generator, values: dict[str, Float], wrong: Float, labels: int = 500) -> Repairs:
    pi = probabilities(values, labels)
    i = rng.random(pi.size) < pi
    return repairs(TRIED, {name: x[i] for name, x in values.items()}, wrong[i], pi[i], 2.0)


def test_what_goes_with_failure_is_named_and_what_comes_with_it_is_not() -> None:
    rng = np.random.default_rng(1)
    runs, found, others = 200, 0, 0
    for _ in range(runs):
        values = inputs(rng, 8000)
        wrong = (rng.random(8000) < chance(values, 0.8)).astype(float)
        names = [finding.condition.name for finding in advice(rng, values, wrong).named]
        found += "skew_degrees" in names
        others += bool(set(names) - {"skew_degrees"})
    assert found >= 0.95 * runs
    assert others <= most(runs)


def test_nothing_stands_out_where_nothing_matters() -> None:
    rng = np.random.default_rng(2)
    runs, named = 500, 0
    for _ in range(runs):
        values = inputs(rng, 5000)
        found = advice(rng, values, (rng.random(5000) < 0.06).astype(float), labels=200)
        named += bool(found.named)
        assert found.named or found.reason.startswith(("nothing stands out", "not enough data"))
    assert named <= most(runs)


def test_rare_conditions_do_not_name_themselves() -> None:
    """Ten of 500 labels: Wald's test with a sandwich would name such a condition far too often."""
    rng = np.random.default_rng(3)
    rare = [Condition(f"type{j}", "higher", 1.0, 0.0) for j in range(20)]
    runs, named = 120, 0
    for _ in range(runs):
        kind = rng.integers(0, 50, 500)
        values = {f"type{j}": (kind == j).astype(float) for j in range(20)}
        pi = rng.choice([0.02, 0.08], 500)
        named += bool(repairs(rare, values, (rng.random(500) < 0.2).astype(float), pi, 1.0).named)
    assert named <= most(runs)


def test_attributable_failures_and_their_limits() -> None:
    """The truth: failures less those expected had every page been straight; per week, over two weeks."""
    rng = np.random.default_rng(4)
    runs, missed, above = 250, 0, 0
    values = inputs(rng, 20_000)
    truth = float((chance(values, 0.6) - expit(-2.5)).sum()) / 2.0
    for _ in range(runs):
        wrong = (rng.random(20_000) < chance(values, 0.6)).astype(float)
        found = next(f for f in advice(rng, values, wrong).findings if f.condition is SKEW)
        missed += not found.failures_per_week.low <= truth <= found.failures_per_week.high
        above += found.at_most_per_week < truth
        assert found.failures_per_week.value <= found.at_most_per_week
        assert found.risk.value * found.affected * 20_000 / 2.0 == pytest.approx(
            found.failures_per_week.value, rel=0.15
        )
    assert missed <= most(runs, 0.06)
    assert above <= most(runs, 0.035)


def test_no_more_failures_are_removed_than_there_are() -> None:
    """Few affected items, all of them right by chance: the regression alone would allow for many failures."""
    rng = np.random.default_rng(5)
    n = 400
    skew = np.where(np.arange(n) < 6, 10.0, 0.0)
    wrong = np.where(np.arange(n) < 6, 0.0, (rng.random(n) < 0.3).astype(float))
    found = repairs([SKEW], {"skew_degrees": skew}, wrong, np.full(n, 0.1), 1.0).findings[0]
    assert 0.0 <= found.at_most_per_week <= 10 * 6
    assert found.ab_labels is None
    assert not found.named


def test_unknown_values_are_a_level_of_their_own() -> None:
    rng = np.random.default_rng(6)
    values = inputs(rng, 8000)
    wrong = (rng.random(8000) < chance(values, 1.0)).astype(float)
    unknown = rng.random(8000) < 0.3
    wrong[unknown] = (rng.random(int(unknown.sum())) < 0.6).astype(float)  # what cannot be measured fails more
    values["skew_degrees"] = np.where(unknown, np.nan, values["skew_degrees"])
    pi = np.full(8000, 0.1)
    i = rng.random(8000) < pi
    found = repairs(TRIED, {name: x[i] for name, x in values.items()}, wrong[i], pi[i], 1.0)
    skew = next(f for f in found.findings if f.condition is SKEW)
    assert skew.named
    assert np.log(skew.odds_ratio.low) < 1.0 < np.log(skew.odds_ratio.high)
    assert skew.affected < 0.6
    nowhere = repairs(TRIED, {**values, "pages": np.full(8000, np.nan)}, wrong, np.ones(8000), 1.0)
    assert dict(nowhere.left_out)["pages"].startswith("0 of 0 labels with a value")


def test_what_is_held_fixed_explains_what_it_explains() -> None:
    """An old version gets the skewed pages and fails on all kinds: with it held fixed skew is not named."""
    rng = np.random.default_rng(7)
    old = (rng.random(3000) < 0.4).astype(float)
    skew = np.where(rng.random(3000) < 0.2 + 0.6 * old, 8.0, 0.0)
    wrong = (rng.random(3000) < np.where(old > 0, 0.4, 0.05)).astype(float)
    alone = repairs([SKEW], {"skew_degrees": skew}, wrong, np.full(3000, 0.1), 1.0)
    fixed = repairs([SKEW], {"skew_degrees": skew}, wrong, np.full(3000, 0.1), 1.0, adjust=old[:, None])
    assert alone.named
    assert not fixed.named


def test_separated_failures_stay_finite() -> None:
    skew = np.r_[np.full(20, 9.0), np.zeros(180)]
    wrong = (skew > 0).astype(float)
    rng = np.random.default_rng(0)
    for _ in range(50):  # shares of unequal weights round to a hair above 1, too
        found = repairs([SKEW], {"skew_degrees": skew}, wrong, rng.uniform(0.01, 1.0, 200), 1.0)
        assert np.isfinite([found.findings[0].odds_ratio.value, found.findings[0].failures_per_week.high]).all()
    assert repairs([SKEW], {"skew_degrees": skew}, wrong, np.full(200, 0.5), 1.0).named


def test_every_remedy_says_what_to_do() -> None:
    assert len({remedy.condition.name for remedy in REMEDIES}) == len(REMEDIES)
    assert all(remedy.text and remedy.step and remedy.condition.step > 0 for remedy in REMEDIES)
    rng = np.random.default_rng(8)
    values = inputs(rng, 4000)
    found = advice(rng, values, (rng.random(4000) < chance(values, 0.8)).astype(float))
    assert next(f for f in found.findings if f.condition is SKEW).remedy == "deskew"


@pytest.mark.parametrize(("before", "after"), [(0.3, 0.1), (0.2, 0.15), (0.6, 0.5)])
def test_the_labels_of_an_ab_test_have_the_power_that_is_said(before: float, after: float) -> None:
    labels = ab_labels(before, after)
    assert labels is not None
    arm, runs = labels // 2, 4000
    rng = np.random.default_rng(labels)
    first, second = rng.binomial(arm, before, runs) / arm, rng.binomial(arm, after, runs) / arm
    mean = 0.5 * (first + second)
    # Yates' corrected chi-square, which is what the number is for.
    z = (np.abs(first - second) - 1 / arm) / np.sqrt(2 * mean * (1 - mean) / arm)
    shown = int((z >= 1.96).sum())
    assert binom.ppf(0.001, runs, 0.79) <= shown <= binom.ppf(0.999, runs, 0.84)


def test_an_ab_test_of_no_gain_is_hopeless() -> None:
    assert ab_labels(0.2, 0.2) is None
    assert ab_labels(0.2, 0.3) is None
    assert ab_labels(0.0, -0.1) is None
    with pytest.raises(ValueError, match="a failure rate lies in"):
        ab_labels(1.2, 0.1)


def test_few_failures_are_not_enough_data() -> None:
    found = repairs([SKEW], {"skew_degrees": np.arange(50.0)}, np.r_[1.0, np.zeros(49)], np.full(50, 0.5), 1.0)
    assert found.findings == ()
    assert found.reason == "not enough data: 1 of 50 labels are wrong"
    flat = repairs([SKEW], {"skew_degrees": np.zeros(50)}, np.arange(50) % 2, np.full(50, 0.5), 1.0)
    assert flat.reason.startswith("not enough data: no condition varies")


def test_bad_input_is_refused() -> None:
    good = {"skew_degrees": np.arange(4.0)}
    y, pi = np.array([0, 1, 0, 1]), np.full(4, 0.5)
    with pytest.raises(ValueError, match="needs labels and at least one condition"):
        repairs([], {}, y, pi, 1.0)
    with pytest.raises(ValueError, match="needs labels"):
        repairs([SKEW], {"skew_degrees": []}, [], [], 1.0)
    with pytest.raises(ValueError, match="has no values; got pages"):
        repairs([SKEW], {"pages": np.zeros(40)}, np.tile(y, 10), np.full(40, 0.5), 1.0)
    with pytest.raises(ValueError, match="needs 40 values"):
        repairs([SKEW], {"skew_degrees": np.zeros(3)}, np.tile(y, 10), np.full(40, 0.5), 1.0)
    with pytest.raises(ValueError, match="wrong holds NaN"):
        repairs([SKEW], good, [0, 1, np.nan, 1], pi, 1.0)
    with pytest.raises(ValueError, match="only"):
        repairs([SKEW], good, [0, 1, 2, 1], pi, 1.0)
    with pytest.raises(ValueError, match="no weight"):
        repairs([SKEW], good, y, [0.5, 0.0, 0.5, 0.5], 1.0)
    with pytest.raises(ValueError, match="weeks must be"):
        repairs([SKEW], good, y, pi, 0.0)
    with pytest.raises(ValueError, match="level must lie"):
        repairs([SKEW], good, y, pi, 1.0, level=0.0)
    with pytest.raises(ValueError, match="adjust needs finite values"):
        repairs([SKEW], good, y, pi, 1.0, adjust=[[np.nan]] * 4)
    with pytest.raises(ValueError, match="must be above 0"):
        repairs([Condition("x", "higher", 0.0, 0.0)], {"x": np.zeros(40)}, np.tile(y, 10), np.full(40, 0.5), 1.0)


def test_the_regression_is_the_penalised_likelihood() -> None:
    """Where the gradient of the penalised likelihood is 0, repeated rows or weights alike."""
    rng = np.random.default_rng(9)
    x = np.column_stack([np.ones(60), rng.normal(size=(60, 2))])
    y = (rng.random(60) < expit(x @ [-0.5, 1.0, 0.0])).astype(float)
    w = rng.integers(1, 4, 60).astype(float)
    penalty = np.array([0.0, 0.3, 0.3])
    found = fit(x, y, w, penalty)
    scaled = w / w.mean()
    gradient = x.T @ (scaled * (y - expit(x @ found.coefficients))) - penalty * found.coefficients
    assert np.abs(gradient).max() < 1e-6
    with pytest.raises(ValueError, match="one outcome and weight per row"):
        fit(x, y[:-1], w, penalty)


def test_its_covariance_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(10)
    size, runs = 10_000, 300
    x = np.column_stack([np.ones(size), rng.normal(size=size)])
    y = (rng.random(size) < expit(x @ [-1.5, 0.7])).astype(float)
    pi = np.clip(0.03 * np.exp(0.5 * x[:, 1]), 0.005, 0.3)
    betas, variances = [], []
    for _ in range(runs):
        i = rng.random(size) < pi
        found = fit(x[i], y[i], 1.0 / pi[i], np.zeros(2))
        betas.append(found.coefficients[1])
        variances.append(found.covariance[1, 1])
    # 300 runs know a standard deviation within 12 % (3 standard errors); HC3 may be a little wide, never narrow.
    assert 0.88 <= np.sqrt(np.mean(variances)) / np.std(betas) <= 1.3


@pytest.mark.real
def test_noises_of_real_ocr_are_ranked_as_all_pages_rank_them() -> None:
    """500 labels against 48,000; benchmarks/_review_repair.py measures more of it."""
    data = shared_data("vlm_outputs/noisy_ocr_51304.parquet").parent.parent
    noise, stratum, wrong = load(data)
    whole, _ = noise_advice("parts", noise, stratum, wrong, np.ones(wrong.size))
    truth = {finding.condition.name: finding.failures_per_week.value for finding in whole}
    assert sorted(truth, key=lambda name: -truth[name])[:2] == ["ink", "blur"]
    rng = np.random.default_rng(12)
    pi = np.full(wrong.size, 500 / wrong.size)
    ranks, named = [], 0
    for _ in range(20):
        i = rng.random(wrong.size) < pi
        found, _ = noise_advice("parts", noise[i], stratum[i], wrong[i], pi[i])
        guess = {finding.condition.name: finding.failures_per_week.value for finding in found}
        ranks.append(spearmanr([guess.get(part, 0.0) for part in PARTS], [truth[part] for part in PARTS]).statistic)
        named += bool(noise_advice("parts", noise[i], stratum[i], rng.permutation(wrong[i]), pi[i])[1])
    assert np.mean(ranks) >= 0.85
    assert named <= most(20)
