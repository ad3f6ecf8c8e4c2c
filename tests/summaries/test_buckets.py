"""The same value is in the same bucket on every machine, and the bucket is the one that OpenTelemetry names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.summaries import buckets

values = st.one_of(
    st.integers(0, 70_000),
    st.integers(0, buckets.MAX_VALUE),
    st.builds(
        lambda power, off: min(max(2**power + off, 0), buckets.MAX_VALUE), st.integers(0, 53), st.integers(-2, 2)
    ),
    st.builds(
        lambda code, off: min(int(buckets.largest()[code]) + off, buckets.MAX_VALUE),
        st.integers(0, buckets.N_CODES - 1),
        st.integers(0, 1),
    ),
)


def code_by_integers(value: int, scale: int) -> int:
    """Smallest k with value ** r <= 2 ** k, plus one; 0 for 0: the definition, in unbounded integers."""
    return 0 if value == 0 else (value ** (1 << scale) - 1).bit_length() + 1 if value > 1 else 1


@given(st.lists(values, min_size=1, max_size=50), st.sampled_from([5, 3, 0]))
def test_codes_are_exact(sample: list[int], scale: int) -> None:
    codes = buckets.coarser(buckets.codes(np.array(sample, dtype=np.int64)), scale)
    assert codes.tolist() == [code_by_integers(value, scale) for value in sample]


@pytest.mark.parametrize("scale", [5, 3, 0])
def test_every_boundary(scale: int) -> None:
    """The largest integer of a bucket is in it, the next one is not."""
    largest = buckets.largest(scale)
    codes = buckets.coarser(buckets.codes(largest), scale)
    assert (buckets.largest(scale)[codes] == largest).all()
    after = largest[:-1] + 1
    assert (buckets.coarser(buckets.codes(after), scale) > codes[:-1]).all()
    assert (buckets.smallest(scale)[buckets.coarser(buckets.codes(after), scale)] <= after).all()


def test_boundaries_are_those_of_opentelemetry() -> None:
    """Powers of two are the upper, included, boundaries of their buckets at any scale."""
    powers = 1 << np.arange(54, dtype=np.int64)
    assert (buckets.codes(powers) == 32 * np.arange(54) + 1).all()
    assert (buckets.codes(powers[6:53] + 1) == 32 * np.arange(6, 53) + 2).all()
    assert np.allclose(buckets.upper()[1:], 2.0 ** ((np.arange(1, buckets.N_CODES) - 1) / 32))


def test_middle_of_a_bucket_is_within_the_stated_error() -> None:
    low, high = buckets.smallest().astype(float)[1:], buckets.largest().astype(float)[1:]
    filled = low <= high
    middle = 2 * low * high / (low + high)
    assert (np.abs(middle - low) <= buckets.RELATIVE_ERROR * low)[filled].all()
    assert (np.abs(middle - high) <= buckets.RELATIVE_ERROR * high)[filled].all()


def test_values_beyond_the_largest_are_counted_as_it() -> None:
    assert buckets.clipped(np.array([2**62, 5])).tolist() == [buckets.MAX_VALUE, 5]
