"""What a histogram promises: relative error for any distribution and merge shape, and intervals that cover."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from detectors.summaries import Histogram, Rate, Summary, SummaryTable, buckets
from detectors.summaries.histogram import _binomial_quantile
from tests.summaries.events import of_costs

DISTRIBUTIONS = {
    "lognormal": lambda rng, n: np.exp(rng.normal(12, 2, n)),
    "pareto": lambda rng, n: 1000 * (1 + rng.pareto(0.8, n)),
    "weibull": lambda rng, n: 1e6 * rng.weibull(0.3, n),
    "two peaks": lambda rng, n: np.where(rng.random(n) < 0.02, rng.normal(1e12, 1e10, n), rng.normal(50, 10, n)),
    "constant": lambda rng, n: np.full(n, 1023.0),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.7, 0, rng.geometric(1e-4, n)),
}
QUANTILES = (0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)


def histogram_of(values: np.ndarray, parts: int, how: str) -> Histogram:
    """The histogram of values that were cut in parts, summarised apart and merged in some shape."""
    states = []
    for piece in np.array_split(values, parts):
        table = SummaryTable()
        table.update(np.zeros(piece.size, np.int64), of_costs(piece))
        states.append(table.state(0) if piece.size else Summary().to_state())
    if how == "flat":
        return Summary.merge_all(states).histogram("cost")
    summaries = [Summary.from_state(state) for state in states]
    while len(summaries) > 1:
        if how == "chain":
            summaries = [summaries[0].merge(summaries[1]), *summaries[2:]]
        else:
            summaries = [Summary.merge_all(summaries[i : i + 2]) for i in range(0, len(summaries), 2)]
    return summaries[0].histogram("cost")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(DISTRIBUTIONS)),
    st.integers(1, 3000),
    st.integers(1, 9),
    st.sampled_from(["flat", "chain", "tree"]),
    st.integers(0, 2**32),
)
def test_quantiles_are_within_the_relative_error(name: str, n: int, parts: int, how: str, seed: int) -> None:
    values = np.clip(DISTRIBUTIONS[name](np.random.default_rng(seed), n), 0, 2**50).astype(np.int64)
    histogram = histogram_of(values, parts, how)
    ordered = np.sort(values)
    assert (histogram.count, histogram.sum) == (n, int(values.sum()))
    for q in QUANTILES:
        true = int(ordered[max(ceil(q * n - 1e-9), 1) - 1])
        assert abs(histogram.quantile(q) - true) <= buckets.RELATIVE_ERROR * true


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(DISTRIBUTIONS)), st.integers(100, 3000), st.integers(0, 2**32))
def test_tails_are_exact_but_for_the_bucket_on_the_edge(name: str, n: int, seed: int) -> None:
    values = np.clip(DISTRIBUTIONS[name](np.random.default_rng(seed), n), 0, 2**50).astype(np.int64)
    histogram = histogram_of(values, 3, "flat")
    ordered = np.sort(values)[::-1].astype(float)
    count = 0.01 * n
    whole = int(count)
    true = ordered[:whole].sum() + (count - whole) * ordered[whole]
    edge_width = 2.3 * buckets.RELATIVE_ERROR * ordered[whole] * histogram.counts.max()
    shortfall = histogram.expected_shortfall(0.99)
    assert shortfall == pytest.approx(true / count, abs=edge_width / count + 1e-6 * true)
    if values.sum():
        share = histogram.tail_share(0.01)
        assert share == pytest.approx(true / values.sum(), abs=edge_width / values.sum() + 1e-9)
    boundary = int(histogram.upper[histogram.upper.size // 2])
    assert histogram.count_above(boundary) == int((values > boundary).sum())


def test_a_quantile_that_the_data_cannot_support_has_no_interval() -> None:
    values = np.random.default_rng(0).integers(1, 10**6, 200)
    histogram = histogram_of(values, 1, "flat")
    assert histogram.quantile_interval(0.999) is None
    assert histogram.quantile_interval(0.5) is not None
    assert histogram_of(values[:3], 1, "flat").quantile_interval(0.5) is None
    assert histogram_of(values[:50], 1, "flat").expected_shortfall_interval(0.99) is None


def test_no_observations_have_no_statistics() -> None:
    empty = Summary().histogram("cost")
    assert (empty.quantile(0.5), empty.mean, empty.expected_shortfall(0.9), empty.tail_share(0.01)) == (None,) * 4
    assert empty.quantile_interval(0.5) is None
    assert empty.count_above(0) == 0
    rate = Summary().rate("error")
    assert (rate.value, rate.interval()) == (None, None)


@pytest.mark.parametrize(("n", "q"), [(60, 0.5), (200, 0.95), (700, 0.99), (4000, 0.999)])
def test_quantile_intervals_cover(n: int, q: float) -> None:
    """Coverage of the population's quantile is at least 95 %: the hits of 2,000 runs are binomial."""
    rng = np.random.default_rng(7)
    runs = 2000
    true = np.exp(12 + 1.5 * {0.5: 0.0, 0.95: 1.6448536, 0.99: 2.3263479, 0.999: 3.0902323}[q])
    codes = buckets.codes(np.exp(rng.normal(12, 1.5, (runs, n))).astype(np.int64))
    covered = 0
    for run in codes:
        code, counts = np.unique(run, return_counts=True)
        lower, upper = buckets.smallest()[code], buckets.largest()[code]
        low, high = Histogram(lower, upper, counts, lower * counts).quantile_interval(q)
        covered += low <= true <= high
    assert covered >= binom.ppf(0.001, runs, 0.95)


@given(st.integers(1, 10**7), st.floats(0.001, 0.9999), st.sampled_from([0.0005, 0.025, 0.975, 0.9995]))
def test_binomial_quantile_is_scipys(n: int, p: float, probability: float) -> None:
    assert _binomial_quantile(probability, n, p) == int(binom.ppf(probability, n, p))


@pytest.mark.parametrize(("trials", "p"), [(20, 0.01), (100, 0.08), (400, 0.5), (400, 0.995)])
def test_rate_intervals_cover_exactly_computed(trials: int, p: float) -> None:
    """Clopper-Pearson covers at least 95 %: summed over the binomial, no simulation."""
    hits = np.arange(trials + 1)
    intervals = [Rate(int(k), trials).interval() for k in hits]
    inside = np.array([i.low <= p <= i.high for i in intervals])
    assert binom.pmf(hits, trials, p)[inside].sum() >= 0.95


@pytest.mark.parametrize("statistic", ["mean", "expected_shortfall", "tail_share"])
def test_normal_intervals_cover_nearly(statistic: str) -> None:
    """Means of 4,000 lognormal values and of their upper 5 %: coverage near the stated 95 %."""
    rng = np.random.default_rng(11)
    sigma, runs, n = 0.8, 400, 4000
    tail_mean = np.exp(sigma**2 / 2) * norm.cdf(sigma - norm.ppf(0.95)) / 0.05
    true = {
        "mean": np.exp(sigma**2 / 2),
        "expected_shortfall": tail_mean,
        "tail_share": tail_mean * 0.05 / np.exp(sigma**2 / 2),
    }[statistic]
    covered = 0
    for _ in range(runs):
        values = np.exp(rng.normal(16, sigma, n)).astype(np.int64)
        code = buckets.codes(values)
        present, inverse = np.unique(code, return_inverse=True)
        sums = np.bincount(inverse, weights=values).astype(np.int64)
        histogram = Histogram(buckets.smallest()[present], buckets.largest()[present], np.bincount(inverse), sums)
        if statistic == "mean":
            low, high = (x / np.exp(16) for x in histogram.mean_interval())
        elif statistic == "expected_shortfall":
            low, high = (x / np.exp(16) for x in histogram.expected_shortfall_interval(0.95))
        else:
            low, high = histogram.tail_share_interval(0.05)
        covered += low <= true <= high
    assert covered >= binom.ppf(0.001, runs, 0.93)
