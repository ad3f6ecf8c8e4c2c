"""One page uploaded 500 times is one piece of evidence; 500 different new pages are 500."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from detectors.drift.duplicates import RADIUS, first_of_each
from detectors.drift.embedding import EmbeddingReference

HOURS = 400
NORMAL, FLOOD = 15, 500
LEVEL = 20.0  # by Markov's inequality evidence of an expectation of at most 1 reaches it once in 20 hours, at most


def test_near_duplicates_are_kept_once() -> None:
    page = 0x0123456789ABCDEF
    near, far = page ^ 0b1111, page ^ 0b11111
    assert first_of_each([(page,), (page,), (near,), (far,), (page,)]).tolist() == [0, 3]
    assert first_of_each([(page,), (near,)], radius=3).tolist() == [0, 1]
    assert first_of_each([]).tolist() == []


def test_what_is_never_a_near_duplicate() -> None:
    page, other = 0, 2**64 - 1
    assert first_of_each([(), (), (page,)]).tolist() == [0, 1, 2]  # without images nothing is known
    assert first_of_each([(page,), (page, page)]).tolist() == [0, 1]
    assert first_of_each([(page, other), (page, page), (other, page)]).tolist() == [0, 1, 2]
    assert first_of_each([(page,), (page,)], ["one hour", "another"]).tolist() == [0, 1]
    with pytest.raises(ValueError, match="one entry per session"):
        first_of_each([(page,)], [])


def test_against_the_definition() -> None:
    rng = np.random.default_rng(1)
    base = rng.integers(0, 2**63, 12)
    hashes = []
    for _ in range(300):
        bits = rng.integers(0, 64, rng.integers(0, 5))
        value = int(rng.choice(base))
        for bit in bits.tolist():
            value ^= 1 << bit
        hashes.append((value,))
    groups = rng.integers(0, 3, 300).tolist()
    expected: list[int] = []
    for i, (h,) in enumerate(hashes):
        if not any(groups[j] == groups[i] and (h ^ hashes[j][0]).bit_count() <= RADIUS for j in expected):
            expected.append(i)
    assert first_of_each(hashes, groups).tolist() == expected


def evidence(kind: str, *, thin: bool) -> int:
    """In how many of ``HOURS`` hours the evidence reaches ``LEVEL``: 15 usual pages, and a flood of ``kind``."""
    rng = np.random.default_rng([7, len(kind)])
    scale = np.linspace(1.5, 0.3, 16)
    reference = EmbeddingReference.fit(
        rng.normal(0, 1, (1500, 16)) * scale, rng.normal(0, 1, (1500, 16)) * scale, rng=np.random.default_rng(1)
    )
    new = np.zeros(16)
    new[3] = 6.0
    reached = 0
    for _ in range(HOURS):
        rows = rng.normal(0, 1, (NORMAL, 16)) * scale
        hashes = rng.integers(0, 2**63, NORMAL).tolist()
        if kind == "one page":  # any page of the usual ones, with the noise of encoding it again
            rows = np.vstack([rows, np.repeat(rows[:1], FLOOD, axis=0) + rng.normal(0, 0.01, (FLOOD, 16))])
            flips = rng.integers(0, 64, (FLOOD, 2))
            hashes += [hashes[0] ^ (1 << int(a)) ^ (1 << int(b)) for a, b in flips]
        elif kind == "different pages of a new kind":
            rows = np.vstack([rows, rng.normal(0, 1, (FLOOD, 16)) * scale + new])
            hashes += rng.integers(0, 2**63, FLOOD).tolist()
        order = rng.permutation(len(rows))
        rows, hashes = rows[order], [hashes[i] for i in order.tolist()]
        if thin:
            rows = rows[first_of_each([(h,) for h in hashes])]
        bets = reference.log_bets(rows)
        reached += float(np.exp(np.minimum(bets, 50.0)).mean()) >= LEVEL
    return reached


# If the chance is at most 1/20, more hours than this have a chance below one in a million.
MOST = int(binom.ppf(1 - 1e-6, HOURS, 1 / LEVEL))


def test_a_flood_of_one_page_is_no_evidence() -> None:
    assert evidence("one page", thin=True) <= MOST
    assert evidence("one page", thin=False) > 3 * MOST  # which is what counting every copy would do


def test_a_flood_of_different_pages_of_a_new_kind_is_found() -> None:
    assert evidence("different pages of a new kind", thin=True) == HOURS


def test_usual_hours_are_no_evidence() -> None:
    assert evidence("usual", thin=True) <= MOST
