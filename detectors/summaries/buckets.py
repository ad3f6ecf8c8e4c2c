"""Bucket boundaries of the exponential histogram, and the exact map from a value to its bucket.

Boundaries are those of OpenTelemetry and Prometheus native histograms: base ``2 ** (2 ** -scale)``, the upper
boundary included. Bucket codes here are non-negative: code 0 holds the value 0 alone, and code ``k >= 1`` holds
``2 ** ((k - 2) / r) < v <= 2 ** ((k - 1) / r)`` with ``r = 2 ** scale`` (the OpenTelemetry index is ``k - 2``).

Values are integers, so the map is made exact with integers too: for j in 0..31 the boundary ``2 ** (j / 32)`` is
irrational (or 1), so that a float64 lies above it iff its 52 mantissa bits exceed the floor of the boundary,
which is an integer root. No logarithm is taken, and every machine finds the same bucket for the same value.
"""

from __future__ import annotations

from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

SCALE = 5  # 32 buckets per doubling: a bucket's middle is within 1.083 % of every value in it
JOINT_SCALE = 3  # joint summaries: 8 per doubling (4.4 %); four marginal buckets nest exactly in each
CONCURRENCY_SCALE = 0  # concurrency in joint summaries: powers of two
MAX_VALUE = 2**53  # larger values are counted as this one: 9 million currency units, 285 years, 9 PB
RELATIVE_ERROR = 0.010831  # (g - 1) / (g + 1) with g = 2 ** (1 / 32), rounded up

_TOP = 11  # leading mantissa bits looked up; 2**-11 is well below the narrowest bucket, so at most one boundary each
_PER_DOUBLING = 1 << SCALE
_EXPONENTS = 54  # float64 exponents of 1 .. 2**53
N_CODES = 53 * _PER_DOUBLING + 2


def _root_floor(power: int, bits: int) -> int:
    """Floor of ``2 ** (power / 32) * 2 ** bits``, exactly."""
    # 2**(power/32 + bits) = (2**(power + 32*bits)) ** (1/32), and 32 = 2**5: five integer square roots.
    root = 1 << (power + _PER_DOUBLING * bits)
    for _ in range(SCALE):
        root = isqrt(root)
    return root


def _make_tables() -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Per leading bits of a float64 >= 1: the code of the slot's first value, and where the next code begins."""
    boundaries = [_root_floor(j, 52) for j in range(_PER_DOUBLING)]  # in units of 2**-52; a value above it is past it
    slots = 1 << _TOP
    code = np.empty(slots, dtype=np.int16)
    above = np.empty(slots, dtype=np.float64)
    for slot in range(slots):
        first = (1 << 52) + (slot << (52 - _TOP))
        last = first + (1 << (52 - _TOP)) - 1
        passed = sum(first > b for b in boundaries)
        inside = [b for b in boundaries if first <= b < last]
        code[slot] = passed + 1
        above[slot] = (inside[0] if inside else last) / 2**52
    codes = np.concatenate([code + np.int16(e * _PER_DOUBLING) for e in range(_EXPONENTS)])
    thresholds = np.concatenate([np.ldexp(above, e) for e in range(_EXPONENTS)])
    return codes, thresholds


_CODE, _ABOVE = _make_tables()
_BIAS = np.int64(1023 << _TOP)
_SMALL_BITS = 16
_SHIFT = np.int64(52 - _TOP)


def _code_large(values: Int64) -> Int64:
    x = values.astype(np.float64)  # exact: at most 2**53
    slot = (x.view(np.int64) >> _SHIFT) - _BIAS
    code: Int64 = _CODE[slot] + (x > _ABOVE[slot])
    return code.astype(np.int64)


_SMALL = np.zeros(1 << _SMALL_BITS, dtype=np.int64)
_SMALL[1:] = _code_large(np.arange(1, 1 << _SMALL_BITS, dtype=np.int64))


def codes(values: Int64) -> Int64:
    """Bucket code of each value at scale 5.

    values: int64[n], each in 0..MAX_VALUE (see `clipped`). Returns int64[n].
    """
    if values.size == 0:
        return values.astype(np.int64)
    if int(values.max()) < 1 << _SMALL_BITS:
        return _SMALL[values]
    code = _code_large(values | (values == 0))
    code[values == 0] = 0
    return code


def clipped(values: Int64) -> Int64:
    """The values with those above MAX_VALUE replaced by it."""
    if values.size and int(values.max()) > MAX_VALUE:
        return np.minimum(values, MAX_VALUE)
    return values


def coarser(code: Int64, scale: int) -> Int64:
    """Codes at a lower scale from codes at scale 5: buckets nest exactly."""
    shift = SCALE - scale
    out: Int64 = ((code - 1 + (1 << shift) - 1) >> shift) + 1
    out[code == 0] = 0
    return out


@cache
def smallest(scale: int = SCALE) -> Int64:
    """Smallest integer of every bucket, by code. Empty buckets of small values carry the next integer."""
    largest_ = largest(scale)
    out = np.empty_like(largest_)
    out[0] = 0
    out[1:] = largest_[:-1] + 1
    out.setflags(write=False)
    return out


@cache
def largest(scale: int = SCALE) -> Int64:
    """Largest integer of every bucket, by code: the floor of its upper boundary."""
    step = 1 << (SCALE - scale)
    count = 53 * (1 << scale) + 2
    out = np.zeros(count, dtype=np.int64)
    for code in range(1, count):
        exponent, part = divmod((code - 1) * step, _PER_DOUBLING)
        out[code] = _root_floor(part, exponent)
    out.setflags(write=False)
    return out


@cache
def upper(scale: int = SCALE) -> NDArray[np.float64]:
    """Upper boundary of every bucket, by code (included in the bucket)."""
    out = np.exp2((np.arange(53 * (1 << scale) + 2) - 1) / (1 << scale))
    out[0] = 0.0
    out.setflags(write=False)
    return out
