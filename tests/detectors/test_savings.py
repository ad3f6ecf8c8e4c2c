"""What a cap or a cheaper tier would save: the bounds hold for the raw values, and are attained."""

from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.cost.savings import Bounded, Saving, cap, reroute, reroute_by_size, together
from detectors.summaries import buckets
from detectors.summaries.histogram import Histogram
from detectors.summaries.summary import ByBucket

EMPTY = Histogram.of(np.zeros(0, np.int64))

SIZES = st.one_of(st.integers(0, 200), st.integers(0, 10**6), st.integers(0, buckets.MAX_VALUE))
VALUES = st.lists(SIZES, min_size=1, max_size=40)
LIMITS = st.one_of(SIZES.map(float), st.floats(0, 2e4), st.floats(0, 2e16))


def capped(values: list[int], at: float, price: float) -> float:
    return float(sum((max(v - Fraction(at), Fraction(0)) for v in values), Fraction(0))) * price


def rerouted(values: list[int], below: float, factor: float) -> float:
    return float(sum(v for v in values if v < below)) * factor


def holds(b: Bounded, truth: float) -> bool:
    return b.low <= truth <= b.high and b.low <= b.value <= b.high


@settings(max_examples=400, deadline=None)
@given(VALUES, LIMITS, st.sampled_from([0.0, 1.0, 0.3, 15_000.0]), st.integers(1, 50))
def test_the_bounds_hold_for_any_values(values: list[int], at: float, price: float, weight: int) -> None:
    values = values * weight
    h = Histogram.of(np.array(values, np.int64))
    found = cap(h, at, price)
    assert holds(found.saved, capped(values, at, price))
    assert holds(found.touched, sum(v > at for v in values))
    for ratio in (0.0, 0.4, 1.0, 2.5):
        found = reroute(h, at, ratio, price)
        assert holds(found.saved, rerouted(values, at, price * (1 - ratio)))
        assert holds(found.touched, sum(v < at for v in values))


@settings(max_examples=200, deadline=None)
@given(VALUES, st.data())
def test_the_bounds_hold_on_and_beside_the_values_and_edges_of_buckets(values: list[int], data: st.DataObject) -> None:
    h = Histogram.of(np.array(values, np.int64))
    edge = data.draw(st.sampled_from([*values, *h.lower.tolist(), *h.upper.tolist()]))
    at = max(float(edge) + data.draw(st.sampled_from([-1, -0.5, 0, 0.5, 1])), 0.0)
    assert holds(cap(h, at).saved, capped(values, at, 1.0))
    assert holds(cap(h, at).touched, sum(v > at for v in values))
    assert holds(reroute(h, at, 0.5).saved, rerouted(values, at, 0.5))
    assert holds(reroute(h, at, 0.5).touched, sum(v < at for v in values))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_bounds_are_attained(n: int) -> None:
    """All allocations of one bucket with the same count and sum: the bounds are their extremes, no wider."""
    h = Histogram.of(np.array([500], np.int64))
    low, high = int(h.lower[0]), int(h.upper[0])
    assert high - low >= 8
    by_sum: dict[int, list[tuple[int, ...]]] = {}
    for values in combinations_with_replacement(range(low, high + 1), n):
        by_sum.setdefault(sum(values), []).append(values)
    for total, alike in by_sum.items():
        one = Histogram(h.lower, h.upper, np.array([n]), np.array([total]))
        for at in (low - 1.0, float(low), low + 2.5, low + 5.0, high - 1.0, float(high), high + 1.0):
            found, other = cap(one, at), reroute(one, at, 0.0)
            for bounds, truths in (
                (found.saved, [capped(list(v), at, 1.0) for v in alike]),
                (found.touched, [sum(x > at for x in v) for v in alike]),
                (other.saved, [rerouted(list(v), at, 1.0) for v in alike]),
                (other.touched, [sum(x < at for x in v) for v in alike]),
            ):
                assert (bounds.low, bounds.high) == (min(truths), max(truths)), (total, at)


def test_heavy_tails_are_bounded_narrowly() -> None:
    rng = np.random.default_rng(0)
    for draw in range(300):
        index = rng.uniform(0.6, 4)
        raw = (
            np.ceil((rng.pareto(index, 2000) + 1) * 10 ** rng.uniform(0, 7)) if draw % 2 else rng.lognormal(6, 2, 2000)
        )
        values = np.minimum(raw, buckets.MAX_VALUE).astype(np.int64)
        h = Histogram.of(values)
        at = float(np.quantile(values, rng.uniform(0, 1))) * rng.choice([1.0, 1.007])
        found, truth = cap(h, at), float(np.maximum(values - at, 0).sum())
        assert found.saved.low <= truth * (1 + 1e-12) and truth <= found.saved.high * (1 + 1e-12)
        share = int((values > at).sum())
        assert holds(found.touched, share)
        straddling = int(h.counts[(h.lower <= at) & (h.upper > at)].sum())
        assert found.saved.high - found.saved.low <= straddling * at * 0.022 / 2 + 1e-6
        under = int(values[values < at].sum())
        assert holds(reroute(h, at, 0.25).saved, under * 0.75)


def test_a_limit_on_the_edge_of_a_bucket_is_exact() -> None:
    values = np.random.default_rng(1).lognormal(7, 1, 5000).astype(np.int64)
    h = Histogram.of(values)
    edge = int(h.upper[h.upper.size // 2])
    found = cap(h, edge, 3.0, bill=1e9)
    assert found.saved.low == found.saved.high == float(np.maximum(values - edge, 0).sum()) * 3
    assert found.touched.low == found.touched.high == (values > edge).sum()
    assert found.share_of_bill is not None and found.share_of_bill.value == found.saved.value / 1e9
    assert found.share_of_requests is not None and found.share_of_requests.value == (values > edge).mean()
    other = reroute(h, edge + 1, 0.2)
    assert other.saved.low == other.saved.high == float(values[values <= edge].sum()) * 0.8


def test_limits_beyond_all_values() -> None:
    h = Histogram.of(np.array([100, 200, 300], np.int64))
    assert cap(h, 0).saved == (600, 600, 600) and cap(h, 0).touched == (3, 3, 3)
    assert cap(h, 10**9).saved == (0, 0, 0) and cap(h, 10**9).touched == (0, 0, 0)
    assert reroute(h, 0, 0.1).saved == (0, 0, 0)
    whole = reroute(h, 1e18, 0.1, 2.0)
    assert whole.saved.value == 600 * (2.0 * 0.9) and whole.touched.value == 3
    assert whole.share_of_bill is not None and whole.share_of_bill.value == pytest.approx(0.9)
    assert reroute(h, 1e18, 1.5).saved == (-300, -300, -300)  # a dearer tier


def test_empty_buckets_and_no_requests() -> None:
    for h in (EMPTY, Histogram(*(np.array([v], np.int64) for v in (490, 501, 0, 0)))):
        for found in (cap(h, 495, 2.0), reroute(h, 495, 0.5)):
            assert found.saved == found.touched == (0, 0, 0)
            assert found.share_of_bill is None and found.share_of_requests is None
    zeros = Histogram.of(np.zeros(5, np.int64))
    assert cap(zeros, 0).touched.value == 0 and reroute(zeros, 1, 0.5).touched.value == 5
    assert reroute(zeros, 1, 0.5).share_of_bill is None


def test_by_another_quantity() -> None:
    rng = np.random.default_rng(2)
    size = rng.lognormal(10, 2, 3000).astype(np.int64)
    cost = rng.lognormal(12, 2, 3000).astype(np.int64)
    scale = buckets.JOINT_SCALE
    codes, inverse = np.unique(buckets.coarser(buckets.codes(size), scale), return_inverse=True)
    joint = ByBucket(
        buckets.smallest(scale)[codes],
        buckets.largest(scale)[codes],
        np.bincount(inverse),
        np.array([cost[inverse == i].sum() for i in range(codes.size)]),
    )
    for below in (0.0, 1.0, 5e3, 22_026.5, 1e6, 1e12, float(joint.upper[20] + 1)):
        found = reroute_by_size(joint, below, 0.3)
        assert holds(found.saved, float(cost[size < below].sum()) * 0.7)
        assert holds(found.touched, int((size < below).sum()))
        assert found.bill == cost.sum() and found.requests == 3000
    assert found.saved.low == found.saved.high
    none = ByBucket(*(np.zeros(0, np.int64) for _ in range(4)))
    assert reroute_by_size(none, 10, 0.5).share_of_bill is None


def test_segments_add_up() -> None:
    rng = np.random.default_rng(3)
    segments = [rng.lognormal(6 + i, 1, 500).astype(np.int64) for i in range(4)]
    caps, prices = [300.0, 1500.5, 2000.0, 1e6], [1.0, 15.0, 0.0, 2.5]
    whole = together(cap(Histogram.of(v), x, p) for v, x, p in zip(segments, caps, prices, strict=True))
    truth = sum(capped(v.tolist(), x, p) for v, x, p in zip(segments, caps, prices, strict=True))
    assert whole.saved.low <= truth <= whole.saved.high
    assert whole.requests == 2000
    assert whole.bill == sum(float(v.sum()) * p for v, p in zip(segments, prices, strict=True))
    assert together([]) == Saving(Bounded(0, 0, 0), Bounded(0, 0, 0), 0, 0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_bad_numbers_are_refused(bad: float) -> None:
    h = Histogram.of(np.array([1], np.int64))
    with pytest.raises(ValueError, match=r"the cap is .*give a finite number"):
        cap(h, bad)
    with pytest.raises(ValueError, match="the price is"):
        cap(h, 1, bad)
    with pytest.raises(ValueError, match="the bill is"):
        cap(h, 1, 1, bad)
    with pytest.raises(ValueError, match="the limit is"):
        reroute(h, bad, 1)
    with pytest.raises(ValueError, match="the ratio is"):
        reroute(h, 1, bad)


def test_sums_near_64_bits_are_exact() -> None:
    low, high = (int(edge[-1]) for edge in (buckets.smallest(), buckets.largest()))
    n = 1022
    values = [low] * (n // 2) + [high] * (n // 2)
    h = Histogram(*(np.array([v], np.int64) for v in (low, high, n, sum(values))))
    at = float(low + 1)
    assert cap(h, at).saved.high == capped(values, at, 1.0)
    assert reroute(h, at, 0.0).saved.high == rerouted(values, at, 1.0)
