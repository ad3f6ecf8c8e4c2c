"""The comparison with online MMD and LSDD: statistics against their definitions, delays in a world that is known."""

import numpy as np
import pytest

from benchmarks import detect
from benchmarks._detect_measure import CHANGE, delays, realised, threshold
from benchmarks._detect_peers import LSDD, MMD, bandwidth, kernel
from benchmarks._detect_worlds import Iso, Kinds, Pairs

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(size=(80, 6)).astype(np.float32)
STREAM = RNG.normal(size=(2, 30, 6)).astype(np.float32)


def test_mmd_is_the_unbiased_estimate_over_reference_and_window() -> None:
    order = RNG.permutation(80)
    mmd = MMD(REFERENCE, (5, 10), order)
    mmd.start(2)
    found = np.concatenate([mmd.update(STREAM[:, :13]), mmd.update(STREAM[:, 13:])], axis=2)
    distance = ((REFERENCE[:, None] - REFERENCE[None]) ** 2).sum(axis=2)
    assert mmd.sigma_square == pytest.approx(0.5 * np.median(distance[~np.eye(80, dtype=bool)]), rel=0.02)
    for j, w in enumerate((5, 10)):
        x = REFERENCE[order[: 80 - 2 * w + 1]]
        for stream in range(2):
            rows = np.concatenate([REFERENCE[order[-w:]], STREAM[stream]])
            for t in (0, 7, 12, 13, 29):
                y = rows[t + 1 : t + 1 + w]
                xx, yy, xy = (kernel(a, b, mmd.sigma_square) for a, b in ((x, x), (y, y), (x, y)))
                n = len(x)
                expected = (xx.sum() - n) / (n * (n - 1)) + (yy.sum() - w) / (w * (w - 1)) - 2 * xy.mean()
                assert found[j, stream, t] == pytest.approx(expected, abs=2e-6)


def test_lsdd_is_the_quadratic_form_of_mean_kernels() -> None:
    order = RNG.permutation(80)
    lsdd = LSDD(REFERENCE, (5,), order)
    lsdd.start(2)
    found = np.concatenate([lsdd.update(STREAM[:, :13]), lsdd.update(STREAM[:, 13:])], axis=2)
    part = lsdd.parts[0]
    y = (STREAM[1, 16:21] - REFERENCE.mean(axis=0)) / REFERENCE.std(axis=0, ddof=1)
    h = part.target - kernel(y.astype(np.float32), part.centres, lsdd.sigma_square).mean(axis=0)
    assert found[0, 1, 20] == pytest.approx(h @ part.weights @ h, rel=1e-4)


def test_streams_that_are_dropped_stay_dropped() -> None:
    order = RNG.permutation(80)
    for detector in (MMD(REFERENCE, (5,), order), LSDD(REFERENCE, (5,), order)):
        detector.start(2)
        whole = detector.update(STREAM)
        detector.start(2)
        detector.update(STREAM[:, :10])
        detector.keep(np.array([False, True]))
        assert detector.update(STREAM[1:, 10:])[0, 0] == pytest.approx(whole[0, 1, 10:], abs=1e-6)


class Fixed:
    """Statistic of a row: its first column."""

    names = ("fixed",)

    def start(self, streams: int) -> None: ...

    def keep(self, mask: np.ndarray) -> None: ...

    def update(self, x: np.ndarray) -> np.ndarray:
        return x[None, :, :, 0].astype(float)


class Known:
    scenarios = {"change": ("change", 0.0)}  # noqa: RUF012

    def reference(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        return self.rows(rng, rows, None)

    def rows(self, rng: np.random.Generator, count: int, scenario: str | None) -> np.ndarray:
        return (rng.random((count, 1)) ** (0.1 if scenario else 1.0)).astype(np.float32)


def test_threshold_and_delays_of_a_known_world() -> None:
    rng = np.random.default_rng(1)
    level = threshold(rng.random((400, 1000)), 100)
    assert level == pytest.approx(0.99, abs=0.002)
    assert realised(np.maximum.accumulate(rng.random((400, 150)), axis=1), 0.99) == pytest.approx(100, rel=0.15)
    # After the change a row passes 0.99 with a chance of 1 - 0.99^10.
    alarmed = np.zeros((1, 2000), dtype=bool)
    found = delays([Fixed()], np.array([0.99]), alarmed, Known(), rng, "change", 300)
    assert found.mean() == pytest.approx(1 / (1 - 0.99**10), rel=0.1)
    alarmed[0, :1000] = True
    assert (delays([Fixed()], np.array([2.0]), alarmed, Known(), rng, "change", 70) == 70).all()


def test_ratios_are_over_the_best_peer_and_absent_without_one() -> None:
    with_peers = [{"delays": {"a": {"ours": [2, 4], "mmd_25": [10, 10], "lsdd_25": [6, 6], "mmd_50": [4, 4]}}}] * 2
    found = detect.summary(with_peers, 10)["a"]
    assert (found["ratio"], found["ratio_any_window"], found["streams"], found["references"]) == (0.5, 0.75, 4, 2)
    assert found["capped"] == {"mmd_25": 1.0}
    # Other windows are compared on the references that have them.
    without = [{"delays": {"a": {"ours": [100], "mmd_25": [100], "lsdd_25": [100]}}}]
    assert detect.summary(with_peers + without, 10)["a"]["ratio_any_window"] == 0.75
    assert "ratio" not in detect.summary([{"delays": {"a": {"ours": [2, 4]}}}], 10)["a"]
    assert detect.geometric([0.25, 1.0]) == 0.5


def test_worlds_change_what_they_say() -> None:
    rng = np.random.default_rng(2)
    assert CHANGE == 130
    for world in (Iso(rng), Kinds(rng)):
        usual = world.rows(rng, 4000, None)
        assert usual.shape == (4000, 512)
        off = world.basis[:, -1]
        assert abs((usual @ off).mean()) < 0.01
        outside = world.rows(rng, 4000, "cluster_outside_20") @ off
        far = 6.0 * np.sqrt(np.mean(world.sd**2))
        assert (outside > far / 2).mean() == pytest.approx(0.2, abs=0.03)
        along = world.basis[:, :-1] @ (world.direction / world.sd)
        moved = (world.rows(rng, 4000, "shift_2") @ along).mean() - (usual @ along).mean()
        assert moved == pytest.approx(2.0, abs=0.15)
    pairs = Pairs(rng)
    agreement = [pairs.agreement(pairs.rows(rng, 2000, what)).mean() for what in (None, "pairing_20", "pairing_100")]
    assert agreement == pytest.approx([0.6, 0.48, 0.0], abs=0.04)


def test_the_bandwidth_is_the_peers_choice_of_a_median() -> None:
    distance = np.array([[0.0, 2.0, 8.0], [2.0, 0.0, 4.0], [8.0, 4.0, 0.0]], dtype=np.float32)
    # Sorted: 0 0 0 2 2 4 4 8 8; of the six off the diagonal the third.
    assert bandwidth(distance) == 2.0
