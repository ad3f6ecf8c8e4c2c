"""How large a change is, with its interval, and the verdicts a detector may give."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What can be said about a stream at a look."""

    OK = "ok"  # evidence was computed
    NOT_ENOUGH_DATA = "not_enough_data"  # too few rows in the reference or in the look
    NOT_MEASURED = "not_measured"  # the signal does not exist here (no shared space, no such field)


@dataclass(frozen=True, slots=True)
class Effect:
    """The present value of a quantity beside its baseline.

    ``low`` and ``high`` are the two-sided confidence interval of ``value`` (95 % unless the function that
    made it says otherwise), all in ``unit``.
    """

    value: float
    low: float
    high: float
    baseline: float
    unit: str
