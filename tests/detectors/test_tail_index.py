"""The tail index: its interval covers the truth on bucketed Pareto data, and too little data is said to be so."""

import numpy as np
import pytest
from scipy.special import betaincinv

from detectors.cost.tail_index import TailIndex, fit_tail_index
from detectors.evidence.effect import Verdict
from detectors.summaries import buckets
from detectors.summaries.histogram import MIN_TAIL, Histogram

DRAWS = 3000


def pareto(rng: np.random.Generator, n: int, index: float, scale: float) -> np.ndarray:
    """int64[n], rounded up; what is beyond the greatest value is clipped as it is when counted."""
    return np.minimum(np.ceil(scale * (1 - rng.random(n)) ** (-1 / index)), buckets.MAX_VALUE).astype(np.int64)


def at_least(hits: int, trials: int, confidence: float = 0.99) -> float:
    """Exact lower limit of a probability that gave `hits` of `trials`."""
    return float(betaincinv(hits, trials - hits + 1, 1 - confidence))


@pytest.mark.parametrize(
    ("index", "n", "q", "scale"),
    [
        (1.0, 14, 0.0, 1e6),  # hardly more than MIN_TAIL beyond the threshold
        (0.2, 400, 0.9, 1e6),  # many values clipped
        (0.5, 400, 0.9, 1e6),
        (1.0, 50, 0.5, 100),
        (1.7, 4000, 0.95, 1e6),
        (3.0, 250, 0.9, 20),  # tokens: buckets of single integers
        (8.0, 4000, 0.95, 100),
        (25.0, 400, 0.9, 1e6),  # buckets about as wide as the tail
    ],
)
def test_the_interval_covers_the_index(index: float, n: int, q: float, scale: float) -> None:
    rng = np.random.default_rng(int(index * 10) + n)
    stated = covered = 0
    for _ in range(DRAWS):
        found = fit_tail_index(Histogram.of(pareto(rng, n, index, scale)), q)
        if found.low is not None and found.high is not None and found.index is not None:
            assert found.low < found.index < found.high
            stated += 1
            covered += found.low <= index <= found.high
    assert stated >= 0.9 * DRAWS
    assert at_least(covered, stated) >= 0.93, covered / stated


def test_it_covers_whatever_lies_below_the_threshold() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(DRAWS):
        body, tail = rng.integers(0, 10**6, 700), pareto(rng, 100, 1.4, 1e6)
        found = fit_tail_index(Histogram.of(np.concatenate([body, tail])), 0.93)
        assert found.threshold is not None and found.low is not None and found.high is not None
        covered += found.low <= 1.4 <= found.high
    assert at_least(covered, DRAWS) >= 0.93, covered / DRAWS


def test_it_agrees_with_hill_where_buckets_are_narrow() -> None:
    values = pareto(np.random.default_rng(1), 50_000, 1.5, 1e6)
    found = fit_tail_index(Histogram.of(values), 0.9)
    assert found.verdict is Verdict.OK and found.index is not None and found.threshold is not None
    beyond = values[values > found.threshold]
    assert found.above == beyond.size
    assert found.index == pytest.approx(1 / np.log(beyond / found.threshold).mean(), rel=2e-3)


def test_it_is_a_maximum_and_its_ends_are_equally_likely() -> None:
    h = Histogram.of(pareto(np.random.default_rng(2), 2000, 2.0, 1e6))
    found = fit_tail_index(h)
    assert found.index and found.low and found.high and found.threshold
    over = h.lower > found.threshold
    ends = np.log(np.stack([h.lower[over] - 1, h.upper[over]]) / found.threshold)

    def log_likelihood(a: float) -> float:
        return float(h.counts[over] @ np.log(np.exp(-a * ends[0]) - np.exp(-a * ends[1])))

    best = log_likelihood(found.index)
    assert best >= max(log_likelihood(found.index * f) for f in (0.999, 1.001))
    drop = 3.841458820694124 / 2 * (1 + 1 / (6 * found.above))
    assert best - log_likelihood(found.low) == pytest.approx(drop, rel=1e-6)
    assert best - log_likelihood(found.high) == pytest.approx(drop, rel=1e-6)
    wider, narrower = fit_tail_index(h, confidence=0.99), fit_tail_index(h, confidence=0.5)
    assert wider.low is not None and wider.high is not None and narrower.low is not None and narrower.high is not None
    assert wider.low < found.low < narrower.low < found.index < narrower.high < found.high < wider.high


@pytest.mark.parametrize("index", [0.7, 2.0, 6.0])
def test_values_rounded_down_bias_it_by_less_than_one_unit_of_the_threshold(index: float) -> None:
    n = 1_000_000
    values = np.minimum(50 * (1 - np.random.default_rng(4).random(n)) ** (-1 / index), 2.0**53).astype(np.int64)
    found = fit_tail_index(Histogram.of(values), 0.3)
    assert found.index is not None and found.threshold is not None
    assert abs(found.index / index - 1) <= 1 / found.threshold + 3 / found.above**0.5


def test_empty_buckets_change_nothing() -> None:
    h = Histogram.of(pareto(np.random.default_rng(3), 500, 2.0, 1e6))
    every = np.arange(buckets.N_CODES)
    counts, sums = np.zeros(every.size, np.int64), np.zeros(every.size, np.int64)
    at = np.searchsorted(buckets.largest(), h.upper)
    counts[at], sums[at] = h.counts, h.sums
    assert fit_tail_index(Histogram(buckets.smallest(), buckets.largest(), counts, sums)) == fit_tail_index(h)


def test_too_little_data_is_said_to_be_so() -> None:
    def of(values: list[int], q: float = 0.5) -> TailIndex:
        return fit_tail_index(Histogram.of(np.array(values, np.int64)), q)

    assert of([]) == TailIndex(Verdict.NOT_MEASURED, None, None, None, None, 0)
    assert of([0] * 100) == TailIndex(Verdict.NOT_ENOUGH_DATA, None, None, None, None, 0)
    alike = of([700] * 1000)
    assert (alike.verdict, alike.index, alike.above) == (Verdict.NOT_ENOUGH_DATA, None, 0)
    spread = [1000 * 2**i for i in range(MIN_TAIL)]
    assert of([500] * 20 + spread[1:]).verdict is Verdict.NOT_ENOUGH_DATA
    assert of([500] * 20 + spread).verdict is Verdict.OK
    adjacent = int(buckets.largest()[buckets.codes(np.array([500], np.int64))][0]) + 1
    assert of([500] * 100 + [adjacent] * 100).verdict is Verdict.NOT_ENOUGH_DATA  # lighter than buckets can tell
    assert of([500] * 100 + [buckets.MAX_VALUE] * 100).verdict is Verdict.NOT_ENOUGH_DATA  # all clipped
    mostly_zero = of([0] * 900 + [10] * 20 + spread, 0.5)
    assert mostly_zero.verdict is Verdict.OK and mostly_zero.threshold == 10 and mostly_zero.above == MIN_TAIL


def test_bad_input_is_refused() -> None:
    h = Histogram.of(np.arange(1, 1000, dtype=np.int64))
    for bad in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="q is"):
            fit_tail_index(h, bad)
        with pytest.raises(ValueError, match="confidence is"):
            fit_tail_index(h, 0.9, bad)
    linear = Histogram(h.lower, h.upper, h.counts, h.sums, linear=True)
    with pytest.raises(ValueError, match="needs an exponential histogram"):
        fit_tail_index(linear)
