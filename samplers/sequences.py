"""Error rates with intervals that hold however often one looks, and whenever one stops labelling.

Drawn items are labelled in the order of their race times, which is successive sampling without replacement: given all
labels so far, the next item is one of those left with chance proportional to its race weight. So each label gives an
unbiased estimate of what is left, and with what is known already one of the rate; a gambler who bets on these
estimates against a rate cannot grow rich when the rate is true. The interval is every rate against which neither of
two gamblers (one bets on more, one on less) has won 2 / (1 - confidence) times the stake (Waudby-Smith & Ramdas 2024,
"Estimating means of bounded random variables by betting"; with unequal weights and scores as control variates:
Shekhar, Xu, Lipton, Liang & Ramdas 2023, "Risk-limiting financial audits via weighted sampling without replacement").

It holds for the samples of the pool at every look at once. Where samples are themselves a draw from more events, the
first draw's error is added as an empirical-Bernstein bound. A pool that grows is another pool: divide the error
probability over the stages at which it is looked at (``stages``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samplers.estimators import Reviewed
from samplers.pools import Pools

Float64 = NDArray[np.float64]

STAKES = np.array([0.25, 0.5, 1.0, 2.0])  # how bold the bets are, over what the observed variance suggests
MOST_AT_RISK = 0.9  # of the wealth, in one bet
GRID = np.sin(np.linspace(0, np.pi / 2, 401)) ** 2  # rates that are tried, denser where variances are small
GUESSED = 2.0  # labels that the score's promise of the variance is worth
CHUNK = 32  # labels taken at once
FIRST_SHARE = 0.2  # of the error probability, for the first draw's error


@dataclass(frozen=True, slots=True)
class Sequence:
    """Limits of one pool's error rate after each label, float64[n] each, in the order of work."""

    low: Float64
    high: Float64

    @property
    def now(self) -> tuple[float, float]:
        """The limits after the last label; [0, 1] before the first."""
        return (float(self.low[-1]), float(self.high[-1])) if len(self.low) else (0.0, 1.0)


def stages(confidence: float, stage: int, of: int) -> float:
    """Confidence at stage 1..``of`` of a growing pool; half of the error probability is the last stage's.

    Raises ValueError for a stage outside 1..of.
    """
    if not 1 <= stage <= of:
        raise ValueError(f"a stage lies within 1 and {of}, got {stage}")
    wrong = 1 - confidence
    if of == 1:
        return confidence
    return 1 - (wrong / 2 if stage == of else wrong / 2 / (of - 1))


def confidence_sequence(
    labelled: Reviewed, race: Float64, pool: Pools, *, coefficient: float = 1.0, confidence: float = 0.95
) -> Sequence:
    """Limits of the error rate of one pool after each label.

    Args:
        labelled: every drawn item up to the last one's race time (any order; groups are not looked at).
        race: their race times.
        pool: sums over every item of the pool (of one).
        coefficient: of the score as a control variate, within [0, 1]; set before the labels are seen.
        confidence: that the rate lies within the limits at every look.

    Raises:
        ValueError: not one pool, or lengths differ.
    """
    if len(pool) != 1 or len(race) != len(labelled.wrong):
        raise ValueError(f"one pool and a race time for each label: got {len(pool)} pools and {len(race)} times")
    n = len(race)
    if not n:
        return Sequence(np.zeros(0), np.zeros(0))
    order = np.argsort(race, kind="stable")
    a = 1 / labelled.pi_sample[order]
    wrong, score, pi = labelled.wrong[order], labelled.score[order], labelled.pi_review[order]
    weight = float(pool.weight[0])
    certain = pi >= 1
    with np.errstate(divide="ignore"):
        rates = np.where(certain, 0.0, -np.log1p(-np.where(certain, 0.5, pi)))
    residual = a * (wrong - coefficient * score)
    before = np.concatenate([[0.0], np.cumsum(residual)[:-1]])
    left = np.maximum(float(pool.race[0]) - np.concatenate([[0.0], np.cumsum(rates)[:-1]]), rates)
    known = coefficient * float(pool.score[0]) + before
    # One estimate of the rate a label, whose mean given the past is the rate; certain items are no draw.
    with np.errstate(divide="ignore", invalid="ignore"):
        estimates = (residual * np.where(certain, 0.0, left / np.where(certain, 1.0, rates)) + known) / weight
    lowest = (known - coefficient * left * float(pool.largest_below[0])) / weight
    # a (wrong - coefficient score) is at most a (1 - score) + a score (1 - coefficient).
    above = float(pool.largest_above[0]) + (1 - coefficient) * float(pool.largest_below[0])
    highest = (known + left * above) / weight
    # What the labels leave: those seen wrong are, those seen right are not.
    sure_low = np.cumsum(a * wrong) / weight
    sure_high = 1 - np.cumsum(a * (1 - wrong)) / weight
    share = FIRST_SHARE if float(pool.first[0]) > 0 else 0.0
    error = (1 - confidence) * (1 - share)
    # What one estimate varies by, were the score right: known before any label.
    guess = (float(pool.score[0]) / weight, float(pool.variance[0] * pool.drawn[0]) / weight**2)
    low, high = _by_betting(estimates, lowest, highest, ~certain, error, float(pool.drawn[0]), guess)
    low, high = np.maximum(low, sure_low), np.minimum(high, sure_high)
    low, high = np.maximum.accumulate(low), np.minimum.accumulate(high)
    # Limits that contradict each other have failed, as they may: what labels leave is all that is known then.
    failed = low > high
    low, high = np.where(failed, sure_low, low), np.where(failed, sure_high, high)
    if share:
        low, high = _with_first_draw(low, high, pool, (1 - confidence) * share)
    return Sequence(np.clip(low, 0, 1), np.clip(high, 0, 1))


def _by_betting(
    estimates: Float64,
    lowest: Float64,
    highest: Float64,
    drawn: NDArray[np.bool_],
    error: float,
    planned: float,
    guess: tuple[float, float],
) -> tuple[Float64, Float64]:
    n = len(estimates)
    # Stakes follow the mean and variance of earlier estimates (predictable), begun with what scores promise.
    steps = np.arange(n) + GUESSED
    mean = np.clip((GUESSED * guess[0] + np.concatenate([[0.0], np.cumsum(estimates)[:-1]])) / steps, 0, 1)
    squares = (estimates - mean) ** 2
    spread = (GUESSED * guess[1] + np.concatenate([[0.0], np.cumsum(squares)[:-1]])) / steps
    # Planned for the labels that will come rather than for ever.
    until = np.maximum(planned, np.arange(n) + 1)
    bold = np.sqrt(2 * np.log(2 / error) / (np.maximum(spread, 1e-12) * until))
    stakes = np.where(drawn, bold, 0.0)[:, None] * STAKES  # [n, k]
    grid = GRID
    more, less = np.zeros((len(STAKES), len(grid))), np.zeros((len(STAKES), len(grid)))
    low, high = np.zeros(n), np.ones(n)
    limit = np.log(2 / error)
    for start in range(0, n, CHUNK):
        part = slice(start, min(start + CHUNK, n))
        gain = estimates[part, None] - grid  # [c, rates]
        # Wealth never falls below 1 - MOST_AT_RISK of itself in one bet, whatever the estimate may still be.
        up = np.minimum(stakes[part, :, None], MOST_AT_RISK / np.maximum(grid - lowest[part, None], 1e-12)[:, None])
        down = np.minimum(stakes[part, :, None], MOST_AT_RISK / np.maximum(highest[part, None] - grid, 1e-12)[:, None])
        wealth_more = more + np.cumsum(np.log1p(up * gain[:, None]), axis=0)
        wealth_less = less + np.cumsum(np.log1p(-down * gain[:, None]), axis=0)
        kept = (_mixed(wealth_more) < limit) & (_mixed(wealth_less) < limit)
        some = kept.any(axis=1)
        # A grid's step outwards: between two rates that were tried nothing is claimed.
        first = np.maximum(kept.argmax(axis=1) - 1, 0)
        last = np.minimum(len(grid) - kept[:, ::-1].argmax(axis=1), len(grid) - 1)
        # Of limits that crossed neither is left.
        low[part] = np.where(some, grid[first], 1.0)
        high[part] = np.where(some, grid[last], 0.0)
        # A rate that was lost once is lost: only those between the limits are tried further.
        left = slice(int(first.max()), int(last.min()) + 1) if some.all() else slice(0, 0)
        if left.stop <= left.start:
            low[part.stop :], high[part.stop :] = 1.0, 0.0
            break
        grid, more, less = grid[left], wealth_more[-1][:, left], wealth_less[-1][:, left]
    return low, high


def _mixed(wealth: Float64) -> Float64:
    """Log of the mean wealth over stakes: [c, k, rates] -> [c, rates]."""
    top = wealth.max(axis=1)
    mixed: Float64 = top + np.log(np.mean(np.exp(wealth - top[:, None]), axis=1))
    return mixed


def _with_first_draw(low: Float64, high: Float64, pool: Pools, error: float) -> tuple[Float64, Float64]:
    """Bernstein's bound on a Poisson sample's error about the events it was drawn from (one look a pool)."""
    weight = float(pool.weight[0])
    terms = np.log(2 / error)

    def slack(rate: Float64) -> Float64:
        # (wrong - rate)^2 is at most wrong (1 - 2 rate) + rate^2; of a Hájek mean that is rate (1 - rate) on average.
        variance = float(pool.first[0]) * np.maximum(rate * (1 - rate), 1 / weight) / weight**2
        bound: Float64 = np.sqrt(2 * terms * variance) + float(pool.largest_weight[0]) * terms / (3 * weight)
        return bound

    # The variance at the limit itself, or at the middle where that lies within: the greatest over the interval.
    nearest = np.clip(0.5, low, high)
    return low - slack(nearest), high + slack(nearest)
