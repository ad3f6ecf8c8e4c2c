"""Division of the false-alarm allowance over the streams present."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


class Pot(IntEnum):
    """Which allowance a stream draws from; decided by its stakes."""

    NONE = 0  # low stakes: measured and reported, never alarmed
    TICKET = 1  # medium stakes
    PAGE = 2  # high stakes

    @classmethod
    def of(cls, stakes: str) -> Pot:
        """The pot of stakes ``low``, ``medium`` or ``high``."""
        try:
            return {"low": cls.NONE, "medium": cls.TICKET, "high": cls.PAGE}[stakes]
        except KeyError:
            raise ValueError(f"stakes must be low, medium or high, got {stakes!r}") from None


def divide(allowance_per_us: float, look_us: ArrayLike, weights: ArrayLike) -> Float:
    """Funding of one look for the streams of one pot.

    Args:
        allowance_per_us: false alarms allowed per microsecond of event time (budget / period).
        look_us: time since the stream's previous look, one number or one per stream, >= 0. Streams with other
            rhythms (embeddings hourly) pass their own.
        weights: float[n], >= 0, known before the look; 0 for absent or suspended streams. The weights of *all*
            streams of the pot belong in one call, whether they look now or not (``look_us`` 0), else the parts
            do not add up to the allowance.

    Returns:
        alpha float64[n]; over any period the alphas sum to at most allowance x period.

    Raises:
        ValueError: negative, NaN or infinite input.
    """
    weight = np.asarray(weights, dtype=np.float64)
    look = np.broadcast_to(np.asarray(look_us, dtype=np.float64), weight.shape)
    if not (np.isfinite(allowance_per_us) and allowance_per_us >= 0):
        raise ValueError(f"allowance_per_us must be finite and >= 0, got {allowance_per_us}")
    if not np.isfinite(weight).all() or (weight < 0).any() or not np.isfinite(look).all() or (look < 0).any():
        raise ValueError("weights and look_us must be finite and >= 0")
    total = float(weight.sum())
    if total == 0.0:
        return np.zeros(weight.shape)
    return np.asarray(allowance_per_us * look * weight / total, dtype=np.float64)


def fund(
    pots: ArrayLike,
    look_us: ArrayLike,
    page_per_us: float,
    ticket_per_us: float,
    weights: ArrayLike | None = None,
) -> Float:
    """Funding of one look for all streams of an owner, pages and tickets apart.

    Args:
        pots: int[n] of :class:`Pot`.
        look_us: as in :func:`divide`.
        page_per_us, ticket_per_us: the two allowances per microsecond of event time.
        weights: float[n]; default 1 for every stream; 0 for absent or suspended ones.

    Returns:
        alpha float64[n]; 0 for streams in no pot.
    """
    pot = np.asarray(pots, dtype=np.int64)
    weight = np.ones(pot.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    page = divide(page_per_us, look_us, np.where(pot == Pot.PAGE, weight, 0.0))
    ticket = divide(ticket_per_us, look_us, np.where(pot == Pot.TICKET, weight, 0.0))
    return page + ticket
