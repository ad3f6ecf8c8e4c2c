"""The parts of a changed bill add up, are nothing for what did not change, and turn with time."""

from dataclasses import fields
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.cost.decomposition import Decomposition, Parts, Usage, decompose, tail_threshold, usage
from detectors.summaries.histogram import Histogram

FACTORS = ("traffic", "mix", "units", "tail", "price")


def bill(n: float, body: float, tail: float, price: float) -> Usage:
    return Usage(n, n * (body + tail), n * tail, n * (body + tail) * price)


AMOUNT = st.floats(1e-3, 1e6)
USAGE = st.one_of(
    st.builds(bill, st.integers(1, 10**7), AMOUNT, st.one_of(st.just(0.0), AMOUNT), AMOUNT),
    st.builds(lambda n: Usage(n, 0, 0, 0), st.integers(0, 1000)),
)
PERIOD = st.dictionaries(st.sampled_from("abcdef"), USAGE, max_size=6)


def parts(p: Parts) -> list[float]:
    return [getattr(p, name) for name in FACTORS]


def scale(*periods: dict[str, Usage]) -> float:
    return sum(u.bill for period in periods for u in period.values())


@settings(max_examples=300, deadline=None)
@given(PERIOD, PERIOD)
def test_parts_sum_to_the_change_and_change_sign_when_periods_are_exchanged(
    before: dict[str, Usage], after: dict[str, Usage]
) -> None:
    found, back = decompose(before, after), decompose(after, before)
    # Parts may be far larger than the bills and cancel, as ten thousand times the traffic at a price that fell as far:
    # what rounding leaves is a matter of their size.
    largest = max((abs(part) for share in found.segments.values() for part in parts(share)), default=0.0)
    near = pytest.approx(0, abs=1e-11 * (scale(before, after) + largest))
    expected = sum(u.bill for u in after.values()) - sum(u.bill for u in before.values())
    assert found.total.change - expected == near
    assert list(found.segments) == sorted({*before, *after})
    for whole, reverse in [(found.total, back.total), *((p, back.segments[s]) for s, p in found.segments.items())]:
        assert sum(parts(whole)) - whole.change == near
        for one, other in zip(parts(whole), parts(reverse), strict=True):
            assert one + other == near
    for name in FACTORS:
        assert sum(getattr(p, name) for p in found.segments.values()) - getattr(found.total, name) == near


BEFORE = {"a": (1000, 50.0, 7.0, 3.0), "b": (300, 900.0, 0.0, 15.0), "c": (3700, 2.5, 90.0, 0.25)}


def amounts(found: Decomposition, factor: str) -> dict[str, float]:
    """The change and every factor's part, in total, and the largest part of each other factor in any segment."""
    of = {"change": found.total.change, **{name: getattr(found.total, name) for name in FACTORS}}
    for name in set(FACTORS) - {factor}:
        of[f"{name} of a segment"] = max((abs(getattr(p, name)) for p in found.segments.values()), default=0.0)
    return of


def only(factor: str, change: float) -> dict[str, object]:
    """What ``amounts`` gives where the whole of ``change`` is that factor's."""
    assert change != 0
    near = pytest.approx(0, abs=1e-9 * abs(change))
    own = {"change": pytest.approx(change, rel=1e-9), factor: pytest.approx(change, rel=1e-9)}
    rest = set(FACTORS) - {factor}
    return {**own, **dict.fromkeys(rest, near), **{f"{name} of a segment": near for name in rest}}


@pytest.mark.parametrize("times", [1.0001, 2.0, 37.0, 0.25])
@pytest.mark.parametrize(("factor", "column"), [("traffic", 0), ("units", 1), ("tail", 2), ("price", 3)])
def test_a_change_of_one_factor_is_wholly_its_part(factor: str, column: int, times: float) -> None:
    before = {s: bill(*row) for s, row in BEFORE.items()}
    after = {s: bill(*(x * times if i == column else x for i, x in enumerate(row))) for s, row in BEFORE.items()}
    assert amounts(decompose(before, after), factor) == only(factor, scale(after) - scale(before))
    assert amounts(decompose(after, before), factor) == only(factor, scale(before) - scale(after))


def test_a_change_of_mix_is_wholly_mix() -> None:
    before = {s: bill(*row) for s, row in BEFORE.items()}
    moved = {"a": 1500, "b": 2000, "c": 1500}
    after = {s: bill(moved[s], *row[1:]) for s, row in BEFORE.items()}
    assert amounts(decompose(before, after), "mix") == only("mix", scale(after) - scale(before))


def test_segments_that_appear_or_vanish_are_mix_and_traffic() -> None:
    old = bill(100, 10.0, 1.0, 2.0)
    before, after = {"stays": old, "gone": bill(50, 5.0, 0.0, 1.0)}, {"stays": old, "new": bill(50, 70.0, 9.0, 4.0)}
    found = decompose(before, after)
    assert amounts(found, "mix") == only("mix", 50 * 79 * 4 - 50 * 5)
    assert found.segments["gone"].mix == pytest.approx(-250)
    assert found.segments["new"].mix == pytest.approx(50 * 79 * 4)
    grown = decompose({"stays": old}, after)
    assert grown.total.units == grown.total.tail == grown.total.price == 0
    assert grown.total.traffic > 0 and grown.total.mix > 0
    assert decompose({"stays": old, "new": Usage(0, 0, 0, 0)}, after) == grown


def test_a_period_without_requests_and_one_without_units() -> None:
    whole = {s: bill(*row) for s, row in BEFORE.items()}
    assert amounts(decompose({}, whole), "traffic") == only("traffic", scale(whole))
    assert amounts(decompose(whole, {}), "traffic") == only("traffic", -scale(whole))
    nothing = decompose({}, {})
    assert nothing == Decomposition(Parts(0, 0, 0, 0, 0, 0), {})
    used = decompose({"a": Usage(10, 0, 0, 0)}, {"a": bill(10, 5.0, 0.0, 3.0)})
    assert amounts(used, "units") == only("units", 150)  # the price was not known before: it did not change
    free = decompose({"a": bill(10, 5.0, 0.0, 0.0)}, {"a": bill(10, 5.0, 0.0, 3.0)})
    assert amounts(free, "price") == only("price", 150)


def test_it_is_the_mean_over_all_orders() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(1, 10, (2, 3, 4))
    before, after = ({str(i): bill(*row) for i, row in enumerate(period.tolist())} for period in rows)
    levels = [(n.sum(), n / n.sum(), b, e, p) for n, b, e, p in (period.T for period in rows)]
    expected = np.zeros((5, 3))
    orders = list(permutations(range(5)))
    for order in orders:
        at = list(levels[0])
        value = at[0] * at[1] * (at[2] + at[3]) * at[4]
        for i in order:
            at[i] = levels[1][i]
            now = at[0] * at[1] * (at[2] + at[3]) * at[4]
            expected[i] += (now - value) / len(orders)
            value = now
    found = decompose(before, after)
    np.testing.assert_allclose([parts(p) for p in found.segments.values()], expected.T, rtol=1e-10)


def test_the_tail_beyond_the_earlier_p99_is_exact_from_histograms() -> None:
    rng = np.random.default_rng(1)
    old, new = rng.lognormal(6, 1, 20_000).astype(np.int64), rng.lognormal(6, 1.3, 30_000).astype(np.int64)
    h = Histogram.of(old)
    threshold = tail_threshold(h)
    assert threshold is not None
    p99 = int(np.sort(old)[int(0.99 * old.size) - 1])
    assert p99 <= threshold <= p99 * 1.022
    for values in (old, new):
        found = usage(Histogram.of(values), 5, threshold)
        assert found == Usage(values.size, values.sum(), np.maximum(values - threshold, 0).sum(), 5)
    assert tail_threshold(Histogram.of(old[:0])) is None
    assert usage(h, 5, None) == Usage(old.size, old.sum(), 0, 5)


def test_a_longer_tail_alone_is_the_tails() -> None:
    """Requests above the p99 use three times as much; the others, their number and the price are as before."""
    rng = np.random.default_rng(2)
    old = rng.lognormal(6, 1, 20_000).astype(np.int64)
    threshold = tail_threshold(Histogram.of(old))
    assert threshold is not None
    new = np.where(old > threshold, 3 * old, old)
    before, after = ({"a": usage(Histogram.of(v), float(v.sum()) * 15, threshold)} for v in (old, new))
    assert amounts(decompose(before, after), "tail") == only("tail", float(new.sum() - old.sum()) * 15)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (Usage(-1, 0, 0, 0), "finite numbers of 0 or more"),
        (Usage(1, float("nan"), 0, 0), "finite numbers of 0 or more"),
        (Usage(1, 2, 3, 4), "cannot exceed"),
        (Usage(0, 2, 1, 4), "units without requests"),
        (Usage(3, 0, 0, 4), "a bill without units"),
    ],
)
def test_what_cannot_be_is_refused(row: Usage, says: str) -> None:
    with pytest.raises(ValueError, match=f"segment 'a' has .*{says}"):
        decompose({"a": row}, {})
    with pytest.raises(ValueError, match=says):
        decompose({}, {"a": row})


def test_the_fields_are_the_factors() -> None:
    assert tuple(f.name for f in fields(Parts)) == ("change", *FACTORS)
