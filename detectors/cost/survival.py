"""Where to draw how rare dear requests are: costs at which shares above are exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.summaries.histogram import Histogram


def survival_edges(histograms: Sequence[Histogram], most: int, above: float = 1.0) -> list[int]:
    """At most ``most`` values in the histograms' unit, ascending and about evenly apart on a log scale.

    Each is the upper edge of a bucket, where `Histogram.count_above` is exact. They begin where ``above`` (0 to 1) of
    the observations of some histogram are greater, and end at the greatest of all; none without a positive value.
    """
    low, high = [], []
    for h in histograms:
        positive = h.upper > 0
        if positive.any():
            first = int(np.searchsorted(np.cumsum(h.counts), (1.0 - above) * h.count))
            low.append(int(h.upper[max(first, int(np.argmax(positive)))]))
            high.append(int(h.upper[-1]))
    if not low:
        return []
    every = np.unique(np.concatenate([h.upper[h.upper > 0] for h in histograms]))
    wanted = np.geomspace(min(low), max(high), most)
    at = np.unique(np.minimum(np.searchsorted(every, wanted * (1 - 1e-12)), every.size - 1))
    return [int(edge) for edge in every[at]]
