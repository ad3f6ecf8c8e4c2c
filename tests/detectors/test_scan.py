"""The online scan of embeddings, row by row."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks._detect_measure import Ours
from detectors.drift import Scan, ScanReference
from detectors.drift.scan import MEMORY, OnsetRow
from detectors.drift.scan_evidence import WINDOWS, location, location_factors, shiryaev_roberts
from detectors.drift.scan_reference import _drawn, run_length_curve
from detectors.drift.tails import UpperTail

D, LATENT = 64, 16
BASIS = np.linalg.qr(np.random.default_rng(9).normal(size=(D, LATENT + 1)))[0]
CENTRES = np.random.default_rng(8).normal(size=(6, LATENT))

Draw = Callable[[np.random.Generator, int], np.ndarray]


def gaussian(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=(n, LATENT)) @ BASIS[:, :LATENT].T + 0.1 * rng.normal(size=(n, D))


def kinds(rng: np.random.Generator, n: int) -> np.ndarray:
    z = CENTRES[rng.integers(6, size=n)] + 0.7 * rng.normal(size=(n, LATENT))
    return z @ BASIS[:, :LATENT].T + 0.05 * rng.normal(size=(n, D))


def heavy(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_t(4, size=(n, LATENT)) @ BASIS[:, :LATENT].T + 0.1 * rng.normal(size=(n, D))


def fitted(draw: Draw = gaussian, n: int = 600, seed: int = 0) -> ScanReference:
    rng = np.random.default_rng(seed)
    return ScanReference.fit(draw(rng, n // 2), draw(rng, n - n // 2), rng=rng)


@cache
def usual() -> ScanReference:
    return fitted()


def one_by_one(scan: Scan, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([scan.update(row[None]).evidence for row in rows])


def test_a_batch_gives_what_its_rows_give_one_at_a_time() -> None:
    rows = gaussian(np.random.default_rng(1), 2500)  # more than is worked on at once
    whole, parts = Scan(usual(), 500), Scan(usual(), 500)
    evidence = whole.update(rows).evidence
    single = one_by_one(parts, rows[:300])
    rest = [parts.update(part).evidence for part in np.split(rows[300:], [7, 8, 400, 1700])]
    # Sums are in single precision, begun anew with each batch.
    assert np.abs(np.concatenate([single, *rest]) - evidence).max() < 2e-3
    assert whole.rows == parts.rows == 2500


def test_many_streams_at_once_give_what_each_gives_alone() -> None:
    rows = gaussian(np.random.default_rng(2), 3 * 400).reshape(3, 400, D).astype(np.float32)
    ours = Ours(usual())
    ours.start(3)
    many = np.concatenate([ours.update(rows[:, :250]), ours.update(rows[:, 250:])], axis=2)[0]
    for stream in range(3):
        assert np.abs(Scan(usual(), 500).update(rows[stream]).evidence - many[stream]).max() < 2e-3


def test_the_formulas_against_their_definitions() -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(size=(1, 40, 5)).astype(np.float32)
    a, b = location_factors(np.array(WINDOWS), 5.0, 100)
    gaps = np.diff((0, *WINDOWS))
    slow = [
        sum(
            np.exp(a[d, i] * np.sum(z[0, t + 1 - w : t + 1].sum(axis=0) ** 2) + b[d, i]) * gaps[i]
            for i, w in enumerate(WINDOWS)
            for d in range(4)
            if w <= t + 1
        )
        for t in range(40)
    ]
    assert location(z, 0, 5.0, 100)[0] == pytest.approx(slow, rel=1e-4)
    # The likelihood ratio of the formula, at w = 4 and delta = 2: N(0, w v + w^2 t2) against N(0, w v).
    w, v, t2, total = 4.0, 1.04, 4.0 / 5, z[0, :4].sum(axis=0).astype(float)
    before, after = w * v, w * v + w * w * t2
    ratio = np.sum(0.5 * total**2 * (1 / before - 1 / after) - 0.5 * np.log(after / before))
    assert a[2, 3] * np.sum(total**2) + b[2, 3] + np.log(4) == pytest.approx(ratio)

    logs = rng.normal(size=(2, 3, 50))
    r, expected = np.full((2, 3), 0.5), []
    for t in range(50):
        r = (r + 1) * np.exp(logs[:, :, t])
        expected.append(r)
    found = shiryaev_roberts(logs, np.full((2, 3), np.log(0.5)))
    assert np.exp(found) == pytest.approx(np.stack(expected, axis=2), rel=1e-9)


def test_states_go_round_and_belong_to_one_reference() -> None:
    reference = usual()
    again = ScanReference.from_state(reference.to_state())
    assert again.to_state() == reference.to_state()
    rows = gaussian(np.random.default_rng(4), 300)
    scan = Scan(reference, 500)
    scan.update(rows[:200], sessions=np.arange(200))
    back = Scan.from_state(scan.to_state(), again)
    assert back.to_state() == scan.to_state()
    after = scan.update(rows[200:], sessions=np.arange(150, 250))
    assert np.array_equal(back.update(rows[200:], sessions=np.arange(150, 250)).evidence, after.evidence)
    assert back.onset() == scan.onset()
    fresh = Scan.from_state(Scan(reference, 500).to_state(), reference)
    assert np.array_equal(fresh.update(rows).evidence, Scan(reference, 500).update(rows).evidence)
    with pytest.raises(ValueError, match="another reference"):
        Scan.from_state(scan.to_state(), fitted(seed=1))
    with pytest.raises(ValueError, match="scan-reference"):
        ScanReference.from_state(scan.to_state())


def test_equal_input_gives_equal_bytes() -> None:
    assert fitted(seed=3).to_state() == fitted(seed=3).to_state()


def test_bad_input_is_refused_and_changes_nothing() -> None:
    scan = Scan(usual(), 500)
    scan.update(gaussian(np.random.default_rng(5), 20), sessions=np.arange(20))
    before = scan.to_state()
    bad = gaussian(np.random.default_rng(6), 4)
    for value in (np.nan, np.inf, 1e300, -1e16):
        bad[2, 1] = value
        with pytest.raises(ValueError, match="NaN or infinity"):
            scan.update(bad, sessions=np.arange(50, 54))
    with pytest.raises(ValueError, match="encoder"):
        scan.update(np.zeros((3, D + 1)))
    with pytest.raises(ValueError, match="one whole number or string per row"):
        scan.update(np.zeros((3, D)), sessions=[1, 2])
    with pytest.raises(ValueError, match="one kind of id"):
        scan.update(np.zeros((3, D)), sessions=["a", "b", "c"])
    assert scan.to_state() == before
    rng = np.random.default_rng(7)
    with pytest.raises(ValueError, match="longer period"):
        ScanReference.fit(gaussian(rng, 39), gaussian(rng, 100), rng=rng)
    with pytest.raises(ValueError, match="longer period"):  # of so many rows, few sessions
        ScanReference.fit(gaussian(rng, 100), gaussian(rng, 100), rng=rng, sessions=np.arange(200) // 5)
    with pytest.raises(ValueError, match="NaN"):
        ScanReference.fit(bad, gaussian(rng, 100), rng=rng)
    with pytest.raises(ValueError, match="at least 20"):
        usual().threshold(10)
    with pytest.raises(ValueError, match="no rows"):
        Scan(usual(), 500).onset()


def test_an_empty_batch_is_none() -> None:
    scan = Scan(usual(), 500)
    scanned = scan.update(np.zeros((0, D)))
    assert scanned.evidence.size == 0 and scanned.alarm is None and scan.rows == 0


def test_constant_rows_are_no_evidence_and_any_other_row_is_novel() -> None:
    rows = np.full((100, D), 0.37)
    reference = ScanReference.fit(rows, rows, rng=np.random.default_rng(0))
    assert reference.components == 0
    scan = Scan(reference, 200)
    quiet = scan.update(np.repeat(rows, 20, axis=0))
    assert quiet.alarm is None
    other = rows[:4].copy()
    other[:, 3] += 0.5
    assert scan.update(other).alarm is not None


def test_a_column_that_never_varies_and_duplicates_are_dropped() -> None:
    rng = np.random.default_rng(1)
    rows = gaussian(rng, 400)
    rows[:, 5] = 0.25
    rows = np.concatenate([rows, rows[:200]])
    order = rng.permutation(600)
    reference = ScanReference.fit(rows[order[:300]], rows[order[300:]], rng=rng)
    again = gaussian(rng, 200)
    again[:, 5] = 0.25
    assert Scan(reference, 5000).update(again).alarm is None


def test_rows_of_a_known_session_change_nothing() -> None:
    rng = np.random.default_rng(2)
    rows = gaussian(rng, 200)
    owner = np.sort(rng.integers(0, 60, size=200))
    first = np.unique(owner, return_index=True)[1]
    with_all, with_first = Scan(usual(), 500), Scan(usual(), 500)
    both = [with_all.update(rows[:90], owner[:90]), with_all.update(rows[90:], [*owner[90:]])]
    evidence = np.concatenate([each.evidence for each in both])
    alone = with_first.update(rows[first]).evidence
    assert evidence[first] == pytest.approx(alone, abs=2e-3)
    assert evidence == pytest.approx(alone[np.searchsorted(first, np.arange(200), side="right") - 1], abs=2e-3)
    assert with_all.rows == 200
    named = Scan(usual(), 500)
    names = [f"s{each}" for each in owner]
    assert named.update(rows, names).evidence == pytest.approx(evidence, abs=2e-3)
    again = Scan.from_state(named.to_state(), usual())
    assert np.ptp(again.update(rows, names).evidence) == 0
    # In the reference too.
    repeated = ScanReference.fit(
        np.repeat(rows[:100], 3, axis=0), rows[100:], rng=np.random.default_rng(0),
        sessions=np.concatenate([np.repeat(np.arange(100), 3), np.arange(100, 200)]),
    )  # fmt: skip
    plain = ScanReference.fit(rows[:100], rows[100:], rng=np.random.default_rng(0))
    assert repeated.to_state() == plain.to_state()


def first_alarms(reference: ScanReference, draw: Draw, rng: np.random.Generator, run_length: float) -> np.ndarray:
    """Rows to the alarm of 40 streams, cut off at three run lengths."""
    length = int(3 * run_length)
    ours = Ours(reference)
    ours.start(40)
    evidence = ours.update(draw(rng, 40 * length).reshape(40, length, D).astype(np.float32))[0]
    over = evidence >= reference.threshold(run_length)
    return np.where(over.any(axis=1), over.argmax(axis=1) + 1, length + 1)


@pytest.mark.parametrize("draw", [gaussian, kinds, heavy])
@pytest.mark.parametrize("run_length", [100, 300])
def test_the_run_length_is_what_was_promised(draw: Draw, run_length: int) -> None:
    """Of 15 references at least half run 0.8 to 1.5 times as long as promised, up to chance: with a true median inside,
    fewer than 4 (or more than 11) of 15 on one side have a chance below 2 %."""
    ratios = []
    for seed in range(15):
        rng = np.random.default_rng([run_length, seed])
        reference = ScanReference.fit(draw(rng, 300), draw(rng, 300), rng=rng)
        alarms = first_alarms(reference, draw, rng, run_length)
        cut = 3 * run_length
        ratios.append(np.minimum(alarms, cut).sum() / max((alarms <= cut).sum(), 1) / run_length)
    few = int(binom.ppf(0.01, 15, 0.5))
    ordered = np.sort(ratios)
    assert ordered[14 - few] >= 0.8, ordered
    assert ordered[few] <= 1.5, ordered


def test_near_duplicate_sessions_keep_the_promise_where_they_are_named() -> None:
    rng = np.random.default_rng(3)
    alarms = {True: 0, False: 0}
    reference = fitted(n=1000)
    for _ in range(30):
        common = gaussian(rng, 200)
        owner = np.repeat(np.arange(200), rng.geometric(0.2, size=200))
        rows = np.sqrt(0.7) * common[owner] + np.sqrt(0.3) * gaussian(rng, owner.size)
        for named in alarms:
            alarms[named] += Scan(reference, 400).update(rows, owner if named else None).alarm is not None
    # A stream of 200 sessions alarms with a chance of 0.39 (0.46 at 0.8 times the run length).
    assert alarms[True] <= binom.ppf(0.999, 30, 0.46)
    assert alarms[False] > 28


def changed(what: str, rng: np.random.Generator, n: int) -> np.ndarray:
    x = gaussian(rng, n)
    size = float(what.rpartition(" ")[2]) if " " in what else 0.0
    if what.startswith("shift"):
        return x + size * BASIS[:, 2]
    if what.startswith("spread"):
        return size * x
    if what.startswith("ramp"):
        return x + np.linspace(0, size, n)[:, None] * BASIS[:, 3]
    new = rng.random(n) < size
    return x + 6.0 * new[:, None] * BASIS[:, LATENT if what.startswith("outside") else 1]


@pytest.mark.parametrize(
    ("what", "within"),
    [
        ("shift 0.5", 250), ("shift 1", 80), ("shift 2", 30), ("spread 1.3", 40), ("spread 0.7", 80),
        ("inside 0.05", 250), ("inside 0.2", 60), ("outside 0.05", 150), ("outside 0.2", 40), ("ramp 2", 300),
    ],
)  # fmt: skip
def test_each_change_is_found(what: str, within: int) -> None:
    """In at least 15 of 20 streams within so many rows, where no change would alarm 0.6 of them at the most."""
    reference, found = fitted(n=1000), 0
    for seed in range(20):
        rng = np.random.default_rng([5, seed])
        scan = Scan(reference, 5000)
        if scan.update(gaussian(rng, 130)).alarm is None:
            found += scan.update(changed(what, rng, within)).alarm is not None
    assert found >= 15


def test_mixture_proportions_are_found() -> None:
    rng = np.random.default_rng(6)
    scan = Scan(fitted(kinds, 1000), 5000)
    assert scan.update(kinds(rng, 150)).alarm is None
    z = CENTRES[rng.integers(2, size=100)] + 0.7 * rng.normal(size=(100, LATENT))
    assert scan.update(z @ BASIS[:, :LATENT].T + 0.05 * rng.normal(size=(100, D))).alarm is not None


@pytest.mark.parametrize("what", ["shift 0.5", "shift 1", "shift 2", "spread 1.3", "inside 0.2", "outside 0.05"])
def test_the_interval_covers_the_onset(what: str) -> None:
    reference = fitted(n=1000)
    covered, told, widths = 0, 0, []
    for seed in range(120):
        rng = np.random.default_rng([7, seed])
        scan = Scan(reference, 2000)
        if scan.update(gaussian(rng, 150)).alarm is not None:
            continue
        rows = changed(what, rng, 450)
        scanned = scan.update(rows)
        if scanned.alarm is None:
            continue
        # As of the alarm: the onset is asked for when it comes.
        scan = Scan(reference, 2000)
        scan.update(np.concatenate([gaussian_again(seed), rows[: scanned.alarm + 1]]))
        since = scan.onset()
        assert since.low <= since.row <= since.high
        told += 1
        covered += since.low <= 150 <= since.high
        widths.append(since.high - since.low)
    assert told >= 90
    # At least 90 % are covered, up to chance.
    assert covered >= binom.ppf(0.01, told, 0.9), (covered, told)
    assert np.median(widths) < 200


def gaussian_again(seed: int) -> np.ndarray:
    return gaussian(np.random.default_rng([7, seed]), 150)


def test_the_onset_counts_every_row_and_ends_at_the_memory() -> None:
    rng = np.random.default_rng(8)
    scan = Scan(usual(), 2000)
    scan.update(np.repeat(gaussian(rng, 100), 2, axis=0), np.repeat(np.arange(100), 2))
    scan.update(np.repeat(changed("shift 2", rng, 40), 2, axis=0), np.repeat(np.arange(100, 140), 2))
    since = scan.onset()
    assert since.low <= 200 <= since.high and since.row % 2 == 0
    late = Scan(usual(), 2000)
    late.update(changed("shift 2", rng, MEMORY + 300))
    assert late.onset().low == 300
    late.reset()
    assert late.update(gaussian(rng, 1)).alarm is None
    assert late.onset() == OnsetRow(MEMORY + 300, MEMORY + 300, MEMORY + 300)


def test_the_curve_of_geometric_run_lengths() -> None:
    rng = np.random.default_rng(9)
    lengths, levels = run_length_curve(np.log(1.0 / rng.random((400, 500))))
    assert (np.diff(lengths) >= 0).all()
    # A level that one row in N reaches has a mean run length of N.
    assert np.interp(np.log(200.0), levels, lengths) == pytest.approx(200.0, rel=0.2)


def test_no_simulated_row_follows_itself() -> None:
    picks, scale = _drawn(500, np.random.default_rng(0))
    repeats = sum(int((picks[:, lag:] == picks[:, :-lag]).sum()) for lag in range(1, 17))
    assert repeats <= 2 and scale > 1.0


def test_tail_probabilities_are_those_of_the_sample_and_go_beyond_it() -> None:
    rng = np.random.default_rng(1)
    tail = UpperTail.fit(rng.exponential(size=1000), 1e-9)
    assert np.exp(tail.log_p(np.log(np.array([2.0, 10.0, 100.0])))) == pytest.approx([0.5, 0.1, 0.01], rel=0.4)
    assert -16 < float(tail.log_p(np.array([10.0]))[0]) < -6  # -10 were it known
    tied = UpperTail.fit(np.zeros(100), 1e-6)
    assert tied.log_p(np.array([0.0]))[0] > -0.01 and tied.log_p(np.array([0.1]))[0] < -20
