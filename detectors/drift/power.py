"""What the bets on embeddings find, how soon: their log payoffs under a change, as `detectors.evidence.power` takes
them. Agreement is two rates (`detectors.rates.power`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from detectors.drift.embedding import DELTAS, MIN_ROWS, EmbeddingReference
from detectors.drift.noncentral import log_density
from detectors.evidence.power import Walks
from detectors.rates.bets import ODDS

Float = NDArray[np.float64]

DAY_HOURS = 24
NODES = 9  # of the quadrature over q
_Z, _WEIGHT = np.polynomial.hermite_e.hermegauss(NODES)
_WEIGHT = _WEIGHT / _WEIGHT.sum()


@dataclass(frozen=True, slots=True)
class EmbeddingPower:
    """Bets on ``n`` embedding streams, ready to be asked about many changes. The bet along the heading is left out: a
    small shift is found sooner than is told."""

    rows: Float  # float[n], sessions per look
    look: Float  # float[n], hours
    funding: Float  # float[n], per look and bet
    unit: Float  # float[n], the null of q: unit x chi-square(df), its offset left out
    df: Float
    null: Float  # float[n], noncentrality that the null allows
    error: Float  # float[n], noncentrality that the reference's own error gives, typically
    novel: Float  # float[n], share of novel rows without a change
    hit: Float  # float[n, len(ODDS)], log payoff of a novel row
    miss: Float
    located: NDArray[np.bool_]

    @classmethod
    def of(
        cls, references: Sequence[EmbeddingReference], per_hour: ArrayLike, funding: ArrayLike, *, look: float = 1.0
    ) -> EmbeddingPower:
        """Gather the streams.

        Args:
            per_hour: float[n], sampled sessions. Looks with fewer than 5 wait for the next ones, a day at most.
            funding: float[n], false alarms per hour that each stream is funded with; at most an hour's per look.
            look: hours between looks.
        """
        traffic = np.asarray(per_hour, dtype=np.float64)
        hours = look * np.ceil(np.maximum(MIN_ROWS / np.maximum(traffic, 1e-9) / look, 1.0) - 1e-9)
        ever = hours <= DAY_HOURS
        hours = np.where(ever, hours, look)
        rows = np.where(ever, np.maximum(traffic * hours, MIN_ROWS), MIN_ROWS)
        per_bet = np.asarray(funding, dtype=np.float64) * np.minimum(hours, 1.0) / EmbeddingReference.K
        unit, df, null, error, novel, limit, temper = (np.ones(len(references)) for _ in range(7))
        located = np.zeros(len(references), dtype=np.bool_)
        for i, reference in enumerate(references):
            novel[i], limit[i], temper[i] = reference.novelty.rate, reference.novelty_limit, reference.novelty.temper
            if not reference.components or reference.null.trace <= 0:
                continue
            located[i] = True
            _, unit[i], df[i] = reference.null.at(max(1, round(rows[i])))
            null[i] = rows[i] * (np.sqrt(reference.error) + np.sqrt(reference.moving)) ** 2 / unit[i]
            error[i] = rows[i] * reference.null.trace / reference.rows / unit[i]
        odds = np.asarray(ODDS)[None, :]
        p = np.where(limit < 1.0, limit, 0.5)[:, None]
        miss = np.where(limit[:, None] < 1.0, -np.log1p(p * (odds - 1.0)), 0.0)
        hit = np.where(limit[:, None] < 1.0, miss + np.log(odds), 0.0)
        over = temper[:, None]
        return cls(
            rows, hours, np.where(ever, per_bet, 0.0), unit, df, null, error, novel, hit / over, miss / over, located
        )

    def walks(self, shift: ArrayLike, cluster: ArrayLike = 0.0) -> Walks:
        """The walks after a change.

        Args:
            shift: float[n], of the mean, in standard deviations of a whitened direction.
            cluster: float[n], share of rows of a new kind, all of them novel. That they move the mean too is left
                out: how far depends on what they are.
        """
        n = self.rows.size
        size = np.broadcast_to(np.asarray(shift, dtype=np.float64), (n,))
        share = np.broadcast_to(np.asarray(cluster, dtype=np.float64), (n,))
        located, located_null = self._location(size), self._location(np.zeros(n))
        new, usual = self._novelty(self.novel + share * (1.0 - self.novel)), self._novelty(self.novel)
        jump = np.column_stack([np.zeros((n, len(DELTAS))), self.hit - self.miss])
        drift, variance, null_drift, null_variance = (
            np.column_stack(pair) for pair in zip((*located, *located_null), (*new, *usual), strict=True)
        )
        return Walks(drift, variance, null_drift, null_variance, jump, self.funding, self.look)

    def _location(self, shift: Float) -> tuple[Float, Float]:
        """Mean and variance of the log payoffs of the mean's bets, over the distribution of q (Abdel-Aty 1954)."""
        true = self.rows * shift**2 / self.unit + self.error
        mean = self.df + true
        spread = 2.0 * (self.df + 2.0 * true) / (9.0 * mean**2)
        root = np.maximum(1.0 - spread[:, None] + np.sqrt(spread)[:, None] * _Z[None, :], 1e-3)
        q = (mean[:, None] * root**3)[:, None, :]
        df = self.df[:, None, None]
        null = self.null[:, None, None]
        shifts = null + (self.rows / self.unit)[:, None, None] * np.square(DELTAS)[None, :, None]
        logs = log_density(q, df, shifts) - log_density(q, df, null)
        logs = np.where(self.located[:, None, None], logs, 0.0)
        first = (logs * _WEIGHT).sum(axis=2)
        return first, np.maximum((logs**2 * _WEIGHT).sum(axis=2) - first**2, 0.0)

    def _novelty(self, p: Float) -> tuple[Float, Float]:
        chance = p[:, None]
        rows = self.rows[:, None]
        first = chance * self.hit + (1.0 - chance) * self.miss
        return rows * first, rows * (chance * self.hit**2 + (1.0 - chance) * self.miss**2)


def tail_odds(share: ArrayLike, shift: ArrayLike) -> Float:
    """By which factor the odds of lying beyond a threshold grow where scores move towards it by ``shift`` of their
    standard deviations, if they are normal; ``share`` lies beyond it without a change. float64[n]."""
    p = np.clip(np.asarray(share, dtype=np.float64), 1e-9, 1.0 - 1e-9)
    moved = ndtr(ndtri(p) + np.asarray(shift, dtype=np.float64))
    return np.asarray(moved / (1.0 - moved) * (1.0 - p) / p, dtype=np.float64)
