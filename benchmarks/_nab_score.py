"""The score of the Numenta Anomaly Benchmark, after Lavin and Ahmad 2015 (arXiv 1510.03336), section 2.

Of each labelled window the earliest alarm counts, by a scaled sigmoid of its position; an alarm outside of windows
costs by its distance from the window before it; alarms in the probationary period count for nothing. The sum is put on
a scale on which a detector that never alarms has 0 and a perfect one 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

PROBATION = 0.15  # of a series, and of at most 5,000 rows
PROBATION_ROWS = 5000
FAR = 3.0  # windows' widths after a window from which on an alarm costs in full


@dataclass(frozen=True, slots=True)
class Profile:
    """What an application pays: weights of detections, false alarms and missed windows, all positive."""

    name: str
    tp: float
    fp: float
    fn: float


PROFILES = (
    Profile("standard", 1.0, 0.11, 1.0),
    Profile("reward_low_fp", 1.0, 0.22, 1.0),
    Profile("reward_low_fn", 1.0, 0.11, 2.0),
)


@dataclass(frozen=True, slots=True)
class Truth:
    """What an alarm at each row of one series is worth before weights.

    ``worth`` float64[n]: in a window from 1 at its first row down to nearly 0, elsewhere from 0 to -1. ``window``
    int64[n]: number of the row's window, -1 outside. ``windows``: how many there are. ``probation``: rows that do not
    count.
    """

    worth: Float
    window: Int64
    windows: int
    probation: int

    @classmethod
    def of(cls, rows: int, windows: Sequence[tuple[int, int]]) -> Truth:
        """Of a series with this many rows and windows (first row, last row), in order and apart.

        Raises:
            ValueError: windows out of order, overlapping, or beyond the series.
        """
        edges = [edge for window in windows for edge in window]
        if edges != sorted(edges) or (edges and (edges[0] < 0 or edges[-1] >= rows)):
            raise ValueError(f"windows must be in order, apart and within {rows} rows, got {list(windows)}")
        worth, window = np.full(rows, -1.0), np.full(rows, -1, dtype=np.int64)
        for number, (first, last) in enumerate(windows):
            width = last - first + 1
            after = np.arange(last + 1, rows)
            worth[after] = _sigmoid((after - last) / max(1, width - 1))
            inside = np.arange(first, last + 1)
            worth[inside] = _sigmoid((inside - last - 1) / width) / _sigmoid(np.array(-1.0))
            window[inside] = number
        return cls(worth, window, len(windows), int(min(PROBATION * rows, PROBATION * PROBATION_ROWS)))


def _sigmoid(position: Float) -> Float:
    return np.where(position >= FAR, -1.0, 2.0 / (1.0 + np.exp(5.0 * position)) - 1.0)


def raw_score(truth: Truth, alarms: NDArray[np.bool_], profile: Profile) -> float:
    """The weighted sum of one series for alarms bool[n]."""
    rows = np.flatnonzero(alarms)
    rows = rows[rows >= truth.probation]
    total = profile.fp * float(truth.worth[rows][truth.window[rows] < 0].sum())
    for number in range(truth.windows):
        hits = truth.worth[rows[truth.window[rows] == number]]
        total += profile.tp * float(hits.max()) if hits.size else -profile.fn
    return total


def normalised(raw: float, windows: int, profile: Profile) -> float:
    """A raw score on the scale from 0 (no alarms) to 100 (every window at its first row, nothing else)."""
    return 100.0 * (raw + profile.fn * windows) / ((profile.tp + profile.fn) * windows)


def best_threshold(truths: Sequence[Truth], scores: Sequence[Float], profile: Profile) -> tuple[float, float]:
    """(threshold, raw score) that is best over all series together, an alarm being a score at or above it.

    Every distinct score is tried, and a threshold above all of them. The highest of equally good ones is taken.
    """
    parts = []
    offset = 0
    for truth, score in zip(truths, scores, strict=True):
        rows = np.arange(truth.probation, truth.worth.size)
        window = truth.window[rows]
        parts.append((score[rows], truth.worth[rows], np.where(window < 0, -1, window + offset)))
        offset += truth.windows
    score, worth, window = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-score, kind="stable")
    score, worth, window = score[order], worth[order], window[order]
    gain = np.where(window < 0, profile.fp * worth, 0.0)
    # A window's part is its best row so far: rows sorted by window keep the order of the scores inside it.
    inside = np.flatnonzero(window >= 0)
    inside = inside[np.argsort(window[inside], kind="stable")]
    for rows in np.split(inside, np.flatnonzero(np.diff(window[inside])) + 1):
        if rows.size:
            best = np.maximum.accumulate(profile.tp * worth[rows])
            gain[rows] = np.diff(best, prepend=-profile.fn)
    raw = -profile.fn * offset + np.concatenate([[0.0], np.cumsum(gain)])
    last = np.append(np.flatnonzero(np.diff(score)), score.size - 1)
    candidates = np.concatenate([[0], last + 1])
    winner = int(candidates[np.argmax(raw[candidates])])
    return (float(score[winner - 1]) if winner else float("inf")), float(raw[winner])
