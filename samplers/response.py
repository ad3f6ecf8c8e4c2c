"""What reviewers did not decide: 'unsure' is an answer, and an item nobody answered is a gap; both are bounded.

The error rate is estimated from decided items as if the others were like them (missing at random within the pool).
Beside it stand the rates if every undecided item were right, and if every one were wrong: whatever the undecided are,
the rate of all items lies between the low limit of the one and the high limit of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samplers.estimators import Rates, Reviewed, error_rates
from samplers.pools import Pools

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

DECIDED, UNSURE, MISSING = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Answered:
    """Rates of each pool.

    ``decided``: error rate among what reviewers decided. ``low``, ``high``: float64[g], limits of the error rate of
    all items, whatever the undecided are. ``unsure``: the rate of 'unsure' among answers.
    """

    decided: Rates
    low: Float64
    high: Float64
    unsure: Rates
    missing: Int64


def answered(
    labelled: Reviewed, answer: Int64, pools: Pools, *, stop: float | Float64 = 1.0, confidence: float = 0.95
) -> Answered:
    """Error rates, bounded for what is undecided.

    Args:
        labelled: every drawn item whose race time is at most ``stop``; ``wrong`` of undecided ones is not looked at.
        answer: DECIDED, UNSURE or MISSING (skipped by all, expired, removed) of each, int[n].
        pools: sums over every item of each pool.
        stop: as in ``error_rates``.
        confidence: of each interval.

    Raises:
        ValueError: lengths differ, or an answer is none of the three.
    """
    if len(answer) != len(labelled.wrong):
        raise ValueError(f"one answer for each item: got {len(answer)} for {len(labelled.wrong)}")
    if not bool(np.isin(answer, (DECIDED, UNSURE, MISSING)).all()):
        raise ValueError(f"an answer is {DECIDED}, {UNSURE} or {MISSING}; got others")
    decided = answer == DECIDED
    rates = error_rates(labelled.where(decided), pools, stop=stop, confidence=confidence)
    low, high = rates.low, rates.high
    if not decided.all():
        low = error_rates(_with(labelled, decided, 0.0), pools, stop=stop, confidence=confidence).low
        high = error_rates(_with(labelled, decided, 1.0), pools, stop=stop, confidence=confidence).high
    # Whether somebody is unsure has no score: the pool's own are not looked at.
    replied = answer != MISSING
    plain = Reviewed(
        (answer == UNSURE).astype(np.float64)[replied],
        np.zeros(int(replied.sum())),
        labelled.pi_sample[replied],
        labelled.pi_review[replied],
        labelled.group[replied],
    )
    unsure = error_rates(plain, _unscored(pools), stop=stop, confidence=confidence)
    missing = np.bincount(labelled.group[~replied], minlength=len(pools))
    return Answered(rates, np.minimum(low, rates.low), np.maximum(high, rates.high), unsure, missing.astype(np.int64))


def _with(labelled: Reviewed, decided: NDArray[np.bool_], value: float) -> Reviewed:
    wrong = np.where(decided, labelled.wrong, value)
    return Reviewed(wrong, labelled.score, labelled.pi_sample, labelled.pi_review, labelled.group)


def _unscored(pools: Pools) -> Pools:
    state = pools.to_state()
    nothing = np.zeros(len(pools)).tolist()
    return Pools.from_state({**state, "score": nothing, "first_score": nothing})
