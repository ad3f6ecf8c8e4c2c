"""Funded Shiryaev-Roberts: the recursion, its safety, states, and the bound on false alarms."""

import numpy as np
import pytest
from scipy.stats import poisson

from detectors.evidence import FundedSR, Pot, Recovery, divide, fund


def test_the_recursion_by_hand() -> None:
    procedure = FundedSR(2, 2)
    first = procedure.step(np.log([[2.0, 4.0], [1.0, 1.0]]), [0.1, 0.1])
    assert first.value == pytest.approx([0.05 * 2 + 0.05 * 4, 0.1])
    second = procedure.step(np.log([[2.0, 4.0], [0.5, 1.0]]), [0.1, 0.0])
    assert second.value == pytest.approx([(0.1 + 0.05) * 2 + (0.2 + 0.05) * 4, 0.05 * 0.5 + 0.05])
    assert second.alarms.tolist() == [True, False]
    assert procedure.value == pytest.approx([0.0, 0.075])


def test_no_data_moves_nothing() -> None:
    procedure = FundedSR(1, 3)
    procedure.step(np.ones((1, 3)), [0.01])
    before = procedure.value
    procedure.step(np.zeros((1, 3)), [0.0])
    assert procedure.value == pytest.approx(before, abs=0)


def test_huge_evidence_is_finite() -> None:
    procedure = FundedSR(2, 1)
    step = procedure.step([[1e9], [-1e9]], [1e-9, 1e-9])
    assert np.isfinite(step.value).all()
    assert step.alarms.tolist() == [True, False]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_a_number(bad: float) -> None:
    procedure = FundedSR(1, 1)
    with pytest.raises(ValueError, match="NaN or infinity"):
        procedure.step([[bad]], [0.0])
    with pytest.raises(ValueError, match="funding"):
        procedure.step([[0.0]], [bad])
    with pytest.raises(ValueError, match="funding"):
        procedure.step([[0.0]], [-0.1])


def test_wrong_shapes_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="grow"):
        FundedSR(1, 4).step(np.zeros((2, 4)), [0, 0])


def test_a_suspended_stream_holds_nothing_until_it_resumes() -> None:
    procedure = FundedSR(2, 1)
    procedure.step([[1.0], [1.0]], [0.1, 0.1])
    procedure.suspend([0])
    step = procedure.step([[5.0], [0.0]], [0.1, 0.0])
    assert step.value[0] == 0 and not step.alarms[0]
    procedure.resume([0])
    assert procedure.step([[0.0], [0.0]], [0.1, 0.0]).value[0] == pytest.approx(0.1)


def test_streams_appear_persist_singly_and_disappear() -> None:
    procedure = FundedSR(1, 2)
    procedure.step([[0.5, 0.2]], [0.1])
    procedure.grow(3)
    assert procedure.n == 3
    procedure.suspend([2])
    other = FundedSR(3, 2)
    for index in range(3):
        other.from_state(index, procedure.to_state(index))
    rng = np.random.default_rng(3)
    for _ in range(5):
        logs, funding = rng.normal(size=(3, 2)), rng.random(3) * 0.05
        ours, theirs = procedure.step(logs, funding), other.step(logs, funding)
        assert ours.value.tolist() == theirs.value.tolist()
    procedure.drop([0])
    assert procedure.value.tolist() == other.value[1:].tolist()
    with pytest.raises(ValueError, match="start it from zero"):
        FundedSR(1, 5).from_state(0, other.to_state(0))
    with pytest.raises(ValueError, match="funded-sr state"):
        FundedSR(1, 2).from_state(0, b"\x00garbage")


def test_streams_with_fewer_bets_use_all_their_funding() -> None:
    step = FundedSR(2, 4).step(np.zeros((2, 4)), [0.2, 0.2], bets=[4, 2])
    assert step.value == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize("dependent", [False, True])
def test_expected_false_alarms_are_at_most_the_funding(dependent: bool) -> None:
    """Gaussian bets with expectation exactly 1; 60 alarms funded. Copies of one stream are the worst dependence:
    their count is 20 times a count whose funding is 3, over 40 replicates of the latter."""
    rng = np.random.default_rng(11)
    deltas = np.array([0.2, 0.5, 1.0, 2.0])
    streams, looks, alpha, replicates = (20, 100, 0.0015, 40) if dependent else (800, 100, 0.00075, 1)
    alarms = 0
    for _ in range(replicates):
        procedure = FundedSR(streams, 4)
        for _ in range(looks):
            x = np.full(streams, rng.normal()) if dependent else rng.normal(size=streams)
            logs = x[:, None] * deltas - deltas**2 / 2
            alarms += int(procedure.step(logs, np.full(streams, alpha)).alarms.sum())
    if dependent:
        assert alarms % streams == 0
        assert alarms / streams <= poisson.ppf(0.9999, looks * alpha * replicates)
    else:
        assert alarms <= poisson.ppf(0.9999, streams * looks * alpha)


def test_division_spends_the_allowance_and_no_more() -> None:
    alpha = divide(1e-12, 300_000_000, [1.0, 3.0, 0.0])
    assert alpha.sum() == pytest.approx(3e-4)
    assert alpha.tolist() == pytest.approx([0.75e-4, 2.25e-4, 0.0])
    assert divide(1.0, 1, [0.0, 0.0]).tolist() == [0.0, 0.0]
    # Streams of another rhythm pass their own look; the hour still adds up.
    hour = sum(divide(1e-12, [300_000_000, 3_600_000_000 if look == 11 else 0], [1, 1]) for look in range(12))
    assert np.sum(hour) == pytest.approx(3.6e-3)
    with pytest.raises(ValueError, match="finite"):
        divide(1.0, 1, [np.nan])


def test_pages_and_tickets_are_funded_apart_and_low_stakes_not() -> None:
    pots = [Pot.of("high"), Pot.of("medium"), Pot.of("low"), Pot.of("medium")]
    alpha = fund(pots, 10, page_per_us=0.01, ticket_per_us=0.001)
    assert alpha.tolist() == pytest.approx([0.1, 0.005, 0.0, 0.005])
    with pytest.raises(ValueError, match="low, medium or high"):
        Pot.of("huge")


def test_recovery_forgets_quickly_and_absence_is_not_recovery() -> None:
    recovery = Recovery(1, 2)
    recovery.start([0])
    for _ in range(50):
        assert recovery.step([[5.0, -1.0]])[0]
    assert recovery.step([[0.0, 0.0]])[0]
    looks = 0
    while recovery.step([[-0.5, -0.5]])[0]:
        looks += 1
    assert looks == 9
