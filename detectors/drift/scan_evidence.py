"""Evidence of a change at each row, for many streams at once: arithmetic of ``detectors.drift.scan``.

Location. S is the sum of the last w whitened rows. Without a change it is N(0, w v I), v = 1 + w / n: the centre of a
reference of n rows is wrong by N(0, I / n), which long sums find. Against a shift drawn from N(0, t2 I), t2 =
delta^2 / k, of expected length delta, its likelihood ratio is (k is the effective number of directions)

    log B = q r / (2 (1 + r)) - (k / 2) log(1 + r),    q = |S|^2 / (w v),    r = w t2 / v

summed over windows, each weighted by its distance from the one before (so that the sum stands for one over every
onset), and over deltas.

Novelty. With u the tail probability of a row's norm (or of what lies off the subspace), uniform without a change, and
a share eps of rows whose u has density kappa u^(kappa - 1): L = 1 - eps + eps kappa u^(kappa - 1), summed over every
onset by R <- (R + 1) L (Shiryaev 1963; Roberts 1966). eps = 1 is a spread that grew (or, from 1 - u, shrank).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

WINDOWS: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181)
DELTAS: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
LEAST_LOG_P = float(np.log(1e-5))  # of a tail that a few hundred rows tell nothing of
MOST_NATS = 600.0  # of one likelihood ratio; double precision ends at 709

# (channel, eps, kappa); channels: 0 norm, 1 off the subspace, 2 a norm that is small
_FAR = ((0.03, 0.15), (0.1, 0.15), (0.3, 0.15), (0.3, 0.5), (1.0, 0.2), (1.0, 0.5))
HYPOTHESES: tuple[tuple[int, float, float], ...] = (
    *((0, eps, kappa) for eps, kappa in _FAR),
    *((1, eps, kappa) for eps, kappa in _FAR),
    (2, 0.5, 0.5),
    (2, 1.0, 0.5),
)
CHANNEL_WEIGHTS: tuple[float, ...] = (0.5, 0.5, 0.05)  # location has 1

CHANNEL = np.array([channel for channel, _, _ in HYPOTHESES])
EPS = np.array([eps for _, eps, _ in HYPOTHESES])
KAPPA = np.array([kappa for _, _, kappa in HYPOTHESES])
LOG_PRIOR = np.log(np.array(CHANNEL_WEIGHTS)[CHANNEL] / np.bincount(CHANNEL)[CHANNEL])


def novelty_logs(log_p: Float) -> Float:
    """Log likelihood ratios float64[..., 14, t] of rows from their log tail probabilities float64[..., 3, t]."""
    u = np.maximum(log_p, LEAST_LOG_P)[..., CHANNEL, :]
    ratio = (1.0 - EPS)[:, None] + (EPS * KAPPA)[:, None] * np.exp((KAPPA - 1.0)[:, None] * u)
    return np.asarray(np.log(ratio), dtype=np.float64)


def shiryaev_roberts(logs: Float, before: Float) -> Float:
    """log R after each row, R <- (R + 1) L: float64[s, h, t] from ``logs`` of that shape and ``before`` [s, h]."""
    total = np.cumsum(logs, axis=2)
    starts = np.empty((*logs.shape[:2], logs.shape[2] + 1))
    starts[:, :, 0] = before
    starts[:, :, 1:2] = 0.0
    np.negative(total[:, :, :-1], out=starts[:, :, 2:])
    return np.asarray(total + np.logaddexp.accumulate(starts, axis=2)[:, :, 1:], dtype=np.float64)


def location_factors(windows: NDArray[np.int64], effective: float, reference: int) -> tuple[Float, Float]:
    """(a, b) float64[4, windows]: log B = a |S|^2 + b for sums of so many rows, each delta as likely."""
    w = windows.astype(np.float64)
    v = 1.0 + w / reference
    ratio = np.square(DELTAS)[:, None] * w / (effective * v)
    return ratio / (2.0 * w * v * (1.0 + ratio)), -0.5 * effective * np.log1p(ratio) - np.log(len(DELTAS))


def location(z: Float32, known: int, effective: float, reference: int) -> Float:
    """Sum of the likelihood ratios of all windows and deltas after each row: float64[s, t - known].

    Args:
        z: float32[s, t, k], whitened rows; the first ``known`` came before those asked for.
        effective: directions that the variance of the rows is spread over.
        reference: rows whose mean is the centre.
    """
    streams, length, k = z.shape
    total = np.zeros((streams, length - known))
    if k == 0:
        return total
    a, b = location_factors(np.array(WINDOWS), effective, reference)
    b += np.log(np.diff((0, *WINDOWS)))
    sums = np.zeros((length + 1, k), dtype=np.float32)
    for stream in range(streams):  # one at a time: its sums stay in the processor's cache
        np.cumsum(z[stream], axis=0, out=sums[1:])
        for window, slope, constant in zip(WINDOWS, a.T, b.T, strict=True):
            first = max(known, window - 1)  # the first row that ends a full window
            if first >= length:
                break
            step = sums[first + 1 :] - sums[first + 1 - window : length + 1 - window]
            square = np.einsum("tk,tk->t", step, step).astype(np.float64)
            exponent = np.multiply.outer(slope, square) + constant[:, None]
            total[stream, first - known :] += np.exp(np.minimum(exponent, MOST_NATS)).sum(axis=0)
    return total


def combined(location_sum: Float, log_r: Float) -> Float:
    """log of all evidence, float64[s, t], at most about 600 nats."""
    novelty = np.exp(np.minimum(log_r + LOG_PRIOR[:, None], MOST_NATS)).sum(axis=1)
    return np.asarray(np.log(location_sum + novelty), dtype=np.float64)


def onset_posterior(z: Float32, log_p: Float, effective: float, reference: int) -> Float:
    """Probability of each row to be the first of the change, float64[t], given that the last row is of it.

    From z float32[t, k] and log tail probabilities float64[3, t]. Every onset is as likely before; those older than the
    rows given count for the first.
    """
    length, k = z.shape
    tails = np.cumsum(novelty_logs(log_p)[:, ::-1], axis=1)[:, ::-1] + LOG_PRIOR[:, None]
    if k:
        sums = np.cumsum(z[::-1], axis=0, dtype=np.float64)
        a, b = location_factors(np.arange(1, length + 1), effective, reference)
        tails = np.concatenate([tails, (np.einsum("tk,tk->t", sums, sums) * a + b)[:, ::-1]])
    logs = np.logaddexp.reduce(tails, axis=0)
    chance = np.exp(logs - logs.max())
    return np.asarray(chance / chance.sum(), dtype=np.float64)
