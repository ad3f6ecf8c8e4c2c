"""Labelled items with their inclusion probabilities: what every estimate and advice from labels starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Items that reviewers judged right or wrong; make it with :meth:`of`. Poisson sampling: every item was included
    independently of the others."""

    confidence: Float  # float64[n] in [0, 1], the system's own
    wrong: Float  # float64[n], 0 or 1; where `of` was told so, the share of an item's reviewers who said "wrong"
    pi: Float  # float64[n] in (0, 1], probability that the item was sampled and reviewed
    pi_sample: (
        Float  # float64[n] in [pi, 1], probability that it was sampled at all; 1 where the whole traffic is known
    )
    predicted: Float | None  # float64[n] in [0, 1], error predicted without these labels

    @classmethod
    def of(
        cls,
        confidence: ArrayLike,
        wrong: ArrayLike,
        pi: ArrayLike,
        *,
        pi_sample: ArrayLike | None = None,
        predicted: ArrayLike | None = None,
        shares: bool = False,
    ) -> Labelled:
        """Check and gather. Leave out items labelled "unsure", and report how many they were.

        Args:
            confidence, wrong, pi, pi_sample, predicted: as the fields; ``pi_sample`` 1 where None.
            shares: whether ``wrong`` may lie between 0 and 1, where several reviewers differ.

        Raises:
            ValueError: no items, lengths that differ, NaN, labels other than 0 and 1 (outside [0, 1] for ``shares``),
                probabilities outside (0, 1].
        """
        y = vector(wrong, "wrong")
        if y.size == 0:
            raise ValueError("there are no labels; label some items first")
        if shares:
            unit(y, "wrong")
        elif not ((y == 0) | (y == 1)).all():
            raise ValueError("wrong must hold 0 (right) and 1 (wrong) only; leave out items labelled unsure")
        c = unit(confidence, "confidence", y.size)
        total = inclusion(pi, "pi", y.size)
        first = np.ones(y.size) if pi_sample is None else inclusion(pi_sample, "pi_sample", y.size)
        if (total > first * (1.0 + 1e-9)).any():
            raise ValueError("pi exceeds pi_sample; pi is pi_sample times the probability of review")
        score = None if predicted is None else unit(predicted, "predicted", y.size)
        return cls(c, y, np.minimum(total, first), first, score)

    @property
    def size(self) -> int:
        """Number of items."""
        return int(self.wrong.size)

    @property
    def weights(self) -> Float:
        """1 / pi, float64[n]."""
        return np.asarray(1.0 / self.pi, dtype=np.float64)

    def take(self, which: Bool, share: float = 1.0) -> Labelled:
        """Those of ``which`` (bool[n]), an independent part of which each item was chosen with probability ``share``:
        their inclusion probabilities are that much smaller."""
        predicted = None if self.predicted is None else self.predicted[which]
        return Labelled(
            self.confidence[which], self.wrong[which], self.pi[which] * share, self.pi_sample[which], predicted
        )


def vector(values: ArrayLike, name: str, size: int | None = None) -> Float:
    """float64[n], finite.

    Raises:
        ValueError: another shape, NaN or infinity.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or (size is not None and array.size != size):
        raise ValueError(f"{name} must be a vector of {'one entry per item' if size is None else size}, got shape "
                         f"{array.shape}")  # fmt: skip
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise ValueError(f"{name} holds NaN or infinity in {bad} of {array.size} items; leave those items out")
    return array


def unit(values: ArrayLike, name: str, size: int | None = None) -> Float:
    """float64[n] in [0, 1]. Raises ValueError otherwise."""
    array = vector(values, name, size)
    if ((array < 0) | (array > 1)).any():
        raise ValueError(f"{name} must lie in [0, 1], got {array.min():g} to {array.max():g}")
    return array


def inclusion(values: ArrayLike, name: str, size: int | None = None) -> Float:
    """Inclusion probabilities float64[n] in (0, 1]. Raises ValueError otherwise."""
    array = vector(values, name, size)
    if ((array <= 0) | (array > 1)).any():
        raise ValueError(
            f"{name} must lie in (0, 1], got {array.min():g} to {array.max():g}; an item that could not be drawn has "
            "no weight"
        )
    return array
