"""The map of a reference, and distances in full space."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.explain.plane import Plane, apart


def cloud(n: int, seed: int, scale: tuple[float, ...] = (3.0, 2.0, 0.5, 0.1)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, len(scale))) * np.array(scale) + 5.0


@pytest.mark.parametrize("shape", [(300, 4), (6, 40), (300, 64), (60, 100)])
def test_it_is_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    n, d = shape
    rows = cloud(n, 1, tuple(3.0 / (i + 1) for i in range(d)))
    plane = Plane.fit(rows)
    _, sizes, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    assert np.allclose(np.abs(np.sum(plane.axes * axes[:2].T, axis=0)), 1.0)
    assert np.allclose(plane.part, (sizes**2 / (sizes**2).sum())[:2])
    assert np.allclose(plane.axes.T @ plane.axes, np.eye(2))
    for axis in plane.axes.T:
        assert axis[np.argmax(np.abs(axis))] > 0
    found = plane.coordinates(rows)
    assert np.allclose(found.mean(axis=0), 0.0)
    assert np.allclose(found.var(axis=0).sum(), sum(plane.part) * rows.var(axis=0).sum())


def test_the_order_of_rows_and_signs_do_not_turn_it() -> None:
    rows = cloud(100, 2)
    plane, other = Plane.fit(rows), Plane.fit(rows[::-1])
    assert np.allclose(plane.axes, other.axes)
    assert np.allclose(plane.coordinates(rows)[::-1], other.coordinates(rows[::-1]))


def test_a_weight_is_as_many_rows() -> None:
    rows = cloud(60, 3)
    weights = np.arange(60) % 3 + 1
    plain, weighted = Plane.fit(np.repeat(rows, weights, axis=0)), Plane.fit(rows, weights)
    assert np.allclose(plain.centre, weighted.centre)
    assert np.allclose(plain.axes, weighted.axes)
    assert np.allclose(plain.part, weighted.part)


def test_what_does_not_vary_is_not_drawn() -> None:
    line = np.outer(np.arange(10.0), [1.0, 2.0, 2.0])
    plane = Plane.fit(line)
    assert plane.part == (pytest.approx(1.0), 0.0)
    assert (plane.axes[:, 1] == 0).all()
    assert np.ptp(plane.coordinates(line)[:, 0]) == pytest.approx(27.0)
    wide = np.outer(np.arange(100.0), np.ones(64))
    assert Plane.fit(wide).part == (pytest.approx(1.0), 0.0)
    assert Plane.fit(np.ones((100, 64))).part == (0.0, 0.0)
    one = Plane.fit([[1.0, 2.0, 3.0]])
    assert one.part == (0.0, 0.0)
    assert (one.coordinates([[4.0, 4.0, 4.0]]) == 0).all()
    assert one.coordinates(np.zeros((0, 3))).shape == (0, 2)


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), [1.0, 2.0], [[np.nan, 1.0]]])
def test_what_cannot_be_mapped_is_refused(rows: object) -> None:
    with pytest.raises(ValueError, match="one row per session"):
        Plane.fit(rows)
    with pytest.raises(ValueError, match="2 dimensions, the reference 4"):
        Plane.fit(cloud(5, 1)).coordinates([[1.0, 2.0]])
    with pytest.raises(ValueError, match="one encoder"):
        apart(cloud(5, 1), [[1.0, 2.0]])


def test_distance_lies_in_full_space_and_chance_is_what_it_says() -> None:
    """Over 400 pairs of samples the squared distance is on average what `chance` says, within four standard errors."""
    ratios, beyond = [], []
    for seed in range(400):
        found = apart(cloud(80, 2 * seed), cloud(50, 2 * seed + 1))
        ratios.append((found.distance / found.chance) ** 2)
        beyond.append(found.beyond.value)
    error = float(np.std(ratios) / np.sqrt(len(ratios)))
    assert abs(float(np.mean(ratios)) - 1.0) < 4 * error
    assert 0.04 < float(np.mean(beyond)) < 0.08  # 5 % of the reference itself, by its own mean
    rows = cloud(500, 7)
    moved = apart(rows, rows + np.array([0.0, 0.0, 0.0, 2.0]))  # where the map shows nothing
    assert moved.distance == pytest.approx(2.0)
    assert moved.distance > 5 * moved.chance
    shadow = Plane.fit(rows).coordinates(rows + np.array([0.0, 0.0, 0.0, 2.0])).mean(axis=0)
    assert np.linalg.norm(shadow) < 0.3
    assert moved.spread == pytest.approx(float(np.sqrt(rows.var(axis=0).sum())))


def test_weights_count_in_full_space() -> None:
    before, now = cloud(100, 8), np.vstack([cloud(50, 9), cloud(50, 10) + 20.0])
    even = apart(before, now)
    rare = apart(before, now, now_weights=np.where(np.arange(100) < 50, 9.0, 1.0))
    assert even.beyond.value == pytest.approx(0.5, abs=0.08)
    assert rare.beyond.value == pytest.approx(0.1, abs=0.08)
    assert rare.beyond.low < rare.beyond.value < rare.beyond.high
    assert rare.distance < even.distance / 3
