"""Embedding and agreement references."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import ncx2

from detectors.drift import AgreementReference, EmbeddingReference
from detectors.drift.agreement import AgreementTail
from detectors.drift.noncentral import log_density
from detectors.evidence import Verdict
from detectors.evidence.packing import pack, unpack

Draw = Callable[[np.random.Generator, int], np.ndarray]
D = 48
MIX = np.random.default_rng(99).normal(size=(20, D)) / np.sqrt(20)


def gaussian(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=(n, 20)) @ MIX + 0.05 * rng.normal(size=(n, D))


def heavy(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_t(3, size=(n, 20)) @ MIX + 0.05 * rng.normal(size=(n, D))


def fitted(draw: Draw = gaussian, n: int = 500, seed: int = 0) -> EmbeddingReference:
    rng = np.random.default_rng(seed)
    return EmbeddingReference.fit(draw(rng, n), draw(rng, n), rng=rng)


def total(reference: EmbeddingReference, change: Callable[[np.random.Generator, np.ndarray], np.ndarray]) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.sum([reference.log_bets(change(rng, gaussian(rng, 60))) for _ in range(6)], axis=0)


def test_the_density_agrees_with_scipy_and_far_beyond_it() -> None:
    rng = np.random.default_rng(0)
    x, df, nc = rng.uniform(0.1, 400, 2000), rng.uniform(1.5, 200, 2000), rng.uniform(0, 600, 2000)
    ours, theirs = log_density(x, df, nc), ncx2.logpdf(x, df, nc)
    near = theirs > -200
    assert np.abs(ours - theirs)[near].max() < 1e-8
    assert np.isfinite(log_density([1e-9, 1e6, 1e6], [64.0, 64.0, 900.0], [0.0, 1e-6, 1e5])).all()
    assert log_density(5.0, 300.0, 40.0) == pytest.approx(ncx2.logpdf(5.0, 300.0, 40.0), rel=1e-3)


@pytest.mark.parametrize("draw", [gaussian, heavy])
@pytest.mark.parametrize("rows", [6, 20, 60])
def test_the_mean_payoff_without_a_change_is_not_above_one(draw: Draw, rows: int) -> None:
    rng = np.random.default_rng(rows)
    payoffs = []
    for seed in range(8):
        reference = fitted(draw, seed=seed)
        payoffs += [np.exp(reference.log_bets(draw(rng, rows))) for _ in range(150)]
    mean, error = np.mean(payoffs, axis=0), np.std(payoffs, axis=0) / np.sqrt(len(payoffs))
    assert (mean <= 1.02 + 4 * error).all()


def test_what_each_channel_sees() -> None:
    reference = fitted()
    rng = np.random.default_rng(1)
    inside = rng.normal(size=20) @ MIX
    inside /= np.sqrt(20) / 2.0
    outside = rng.normal(size=D)

    assert total(reference, lambda g, x: x).max() < 3
    assert total(reference, lambda g, x: x + inside)[:3].max() > 20
    assert total(reference, lambda g, x: 1.3 * x).max() > 20

    def cluster(g: np.random.Generator, x: np.ndarray) -> np.ndarray:
        x[g.random(x.shape[0]) < 0.2] += outside
        return x

    assert total(reference, cluster)[3:].max() > 20


def test_effect_measures_the_shift_with_an_interval_that_covers_it() -> None:
    # Equal directions, so that a shift of one standard deviation along an axis is a shift of 1 in whitened space.
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(4000, 20))
    reference = EmbeddingReference.fit(rows[:2000], rows[2000:], rng=rng)
    covered = 0
    for _ in range(100):
        look = rng.normal(size=(80, 20))
        look[:, 0] += 1.0
        effect = reference.effect(look)
        covered += effect.low <= 1.0 <= effect.high
        assert 0.3 < effect.value < 2.0
    assert covered >= 90
    assert reference.effect(rng.normal(size=(80, 20))).low == 0.0
    assert reference.effect(np.zeros((0, 20))).high == np.inf
    assert EmbeddingReference.from_state(reference.to_state()).effect(look) == reference.effect(look)


def test_days_that_move_are_part_of_the_null() -> None:
    rng = np.random.default_rng(3)
    day = np.arange(1000) % 14
    direction = rng.normal(size=20) @ MIX / np.sqrt(20) * 1.5
    moved = gaussian(rng, 1000) + rng.normal(size=14)[day, None] * direction
    groups = np.concatenate([day[::2], day[1::2]])
    knows = EmbeddingReference.fit(moved[::2], moved[1::2], rng=rng, groups=groups)
    still = EmbeddingReference.fit(*np.split(gaussian(rng, 1000), 2), rng=rng, groups=groups)
    assert still.moving == 0.0 < knows.moving
    look = gaussian(rng, 60) + direction
    assert knows.log_bets(look)[:3].max() < 1.0 < still.log_bets(look)[:3].max()


def test_hours_that_move_are_part_of_the_null() -> None:
    rng = np.random.default_rng(9)
    hour, day = np.arange(2000) % 24, np.arange(2000) // 200
    night = np.where(hour < 6, 1.0, 0.0)[:, None] * (rng.normal(size=20) @ MIX) / np.sqrt(20) * 2
    rows = gaussian(rng, 2000) + night
    halves = (rows[::2], rows[1::2])

    def pair(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[::2], values[1::2]])

    knows = EmbeddingReference.fit(*halves, rng=rng, groups=pair(day), hours=pair(hour))
    ignores = EmbeddingReference.fit(*halves, rng=rng, groups=pair(day))
    look = gaussian(rng, 60) + night[0]
    assert knows.log_bets(look).max() < 1.0 < ignores.log_bets(look)[:3].max()
    with pytest.raises(ValueError, match=r"0\.\.23"):
        EmbeddingReference.fit(*halves, rng=rng, hours=pair(hour) + 1)


def test_most_changed_rows_come_first() -> None:
    rng = np.random.default_rng(4)
    rows = gaussian(rng, 50)
    rows[[7, 31]] += 6 * rng.normal(size=D)
    assert set(fitted().contributions(rows)[:2].tolist()) == {7, 31}
    assert fitted().contributions(np.zeros((0, D))).size == 0


def test_state_round_trip_is_exact_and_versioned() -> None:
    reference = fitted()
    again = EmbeddingReference.from_state(reference.to_state())
    rows = gaussian(np.random.default_rng(6), 30) + 0.1
    assert again.log_bets(rows).tolist() == reference.log_bets(rows).tolist()
    assert again.novelty_hits(rows) == reference.novelty_hits(rows)
    assert again.to_state() == reference.to_state()
    with pytest.raises(ValueError, match="embedding-reference"):
        EmbeddingReference.from_state(b"nothing")


def test_bad_rows_are_refused_with_what_to_do() -> None:
    reference = fitted()
    with pytest.raises(ValueError, match="dimension 7"):
        reference.log_bets(np.zeros((9, 7)))
    for bad in (np.nan, np.inf):
        rows = np.zeros((9, D))
        rows[3, 3] = bad
        with pytest.raises(ValueError, match="NaN or infinity"):
            reference.log_bets(rows)
        with pytest.raises(ValueError, match="NaN or infinity"):
            EmbeddingReference.fit(rows, rows, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="longer period"):
        EmbeddingReference.fit(np.zeros((3, D)), np.zeros((3, D)), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="one day per row"):
        EmbeddingReference.fit(np.zeros((50, D)), np.zeros((50, D)), rng=np.random.default_rng(0), groups=[1, 2])


def test_few_rows_are_no_evidence() -> None:
    reference = fitted()
    assert reference.verdict(4) is Verdict.NOT_ENOUGH_DATA
    assert not reference.log_bets(np.full((4, D), 50.0)).any()
    assert not reference.log_bets(np.zeros((0, D))).any()


def test_constant_features_and_duplicates() -> None:
    rng = np.random.default_rng(7)
    constant = np.ones((100, D))
    reference = EmbeddingReference.fit(constant, constant, rng=rng)
    assert reference.components == 0
    assert (reference.log_bets(constant[:20]) <= 0).all()
    assert reference.log_bets(constant[:20] * 2).max() > 20
    few = gaussian(rng, 5)
    copies = few[rng.integers(0, 5, 400)]
    duplicated = EmbeddingReference.fit(copies[:200], copies[200:], rng=rng)
    assert duplicated.components <= 4
    looks = np.array([duplicated.log_bets(few[rng.integers(0, 5, 30)]) for _ in range(100)])
    assert np.isfinite(looks).all()
    assert (np.exp(looks).mean(axis=0) < 1.2).all()


def test_agreement_sees_a_broken_pairing() -> None:
    rng = np.random.default_rng(8)
    reference = AgreementReference.fit(rng.normal(0.3, 0.05, 1000), np.arange(1000) % 10)
    usual = sum(reference.log_bets(rng.normal(0.3, 0.05, 60)) for _ in range(10))
    broken = sum(reference.log_bets(rng.normal(0.2, 0.08, 60)) for _ in range(3))
    higher = sum(reference.log_bets(rng.normal(0.4, 0.05, 60)) for _ in range(3))
    assert np.max(usual) < 3
    assert broken[:4].max() > 20 > 3 > broken[7]
    assert higher[4:].max() > 20
    again = AgreementReference.from_state(reference.to_state())
    assert again.log_bets([0.1, 0.3]).tolist() == reference.log_bets([0.1, 0.3]).tolist()
    effect = reference.effect(rng.normal(0.2, 0.05, 50))
    assert effect.unit == "sd" and effect.baseline == 0
    assert -2.5 < effect.low < (0.2 - reference.mean) / reference.sd < effect.high < -1.5
    assert not reference.log_bets([]).any() and reference.verdict(0) is Verdict.NOT_ENOUGH_DATA
    nothing = reference.effect([])
    assert nothing.value == 0 and nothing.low == (-1.0 - reference.mean) / reference.sd
    assert reference.effect([0.3]).high == nothing.high == (1.0 - reference.mean) / reference.sd
    for bad in ([np.nan], [[0.1]]):
        with pytest.raises(ValueError, match="scores"):
            reference.log_bets(bad)
    with pytest.raises(ValueError, match="100 reference sessions"):
        AgreementReference.fit([0.1] * 5)


@pytest.mark.parametrize(("scale", "offset"), [(0.3, -0.02), (2.0, 0.1), (0.05, 0.0)])
def test_agreement_means_the_same_on_every_scale(scale: float, offset: float) -> None:
    """CLIP's cosines of matching pairs lie near 0.3, SigLIP's near 0.1 and closer together: one verdict for both."""
    rng = np.random.default_rng(18)
    reference, look = rng.normal(0.3, 0.05, 1000), rng.normal(0.24, 0.06, 40)
    one = AgreementReference.fit(reference)
    other = AgreementReference.fit(scale * reference + offset)
    assert other.log_bets(scale * look + offset).tolist() == one.log_bets(look).tolist()
    first, second = one.effect(look), other.effect(scale * look + offset)
    for name in ("value", "low", "high"):
        assert getattr(second, name) == pytest.approx(getattr(first, name), rel=1e-9)
    assert first.value == pytest.approx((look.mean() - reference.mean()) / reference.std(ddof=1))
    assert (first.unit, second.unit, first.baseline) == ("sd", "sd", 0.0)


def test_agreement_whose_tails_grow_around_its_mean_tells_the_tail() -> None:
    """As many more that match badly as that match well: the mean says nothing, and is not told."""
    rng = np.random.default_rng(20)
    reference = AgreementReference.fit(rng.normal(0.3, 0.05, 2000))
    wider = rng.normal(0.3, 0.09, 400)
    found = reference.effect(wider)
    assert isinstance(found, AgreementTail) and found.unit == "share" and found.side in ("below", "above")
    share = {"below": (wider < reference.low).mean(), "above": (wider > reference.high).mean()}
    assert found.value == max(share.values()) == share[found.side]
    assert found.baseline == 0.05 < found.low < found.value < found.high
    assert found.threshold == {"below": reference.low, "above": reference.high}[found.side]
    lower = np.concatenate([rng.normal(0.3, 0.05, 340), np.full(60, 0.1)])
    assert reference.effect(lower).unit == "sd", "a mean that moved is told"
    usual = sum(isinstance(reference.effect(rng.normal(0.3, 0.05, 400)), AgreementTail) for _ in range(200))
    assert usual <= 25, "of 200 that did not change; each of two tails is above its limit in 2.5 % of looks"


def test_an_agreement_state_without_a_deviation_is_read() -> None:
    """States written before the deviation was kept: that of a normal distribution with the two thresholds."""
    scores = np.random.default_rng(19).normal(0.3, 0.05, 4000)
    reference = AgreementReference.fit(scores)
    scalars, arrays = unpack("agreement-reference", reference.to_state())
    del scalars["sd"]
    old = AgreementReference.from_state(pack("agreement-reference", scalars, arrays))
    assert old.sd == pytest.approx(reference.sd, rel=0.05) and old.mean == reference.mean
    assert old.log_bets(scores[:50]).tolist() == reference.log_bets(scores[:50]).tolist()


def test_agreement_that_never_varies() -> None:
    reference = AgreementReference.fit(np.full(200, 0.25))
    assert (reference.log_bets(np.full(50, 0.25)) <= 0).all()
    assert reference.log_bets(np.full(50, 0.2)).max() > 20
    assert np.isfinite(reference.effect(np.full(50, 0.2)).value) and reference.effect(np.full(50, 0.25)).value == 0
