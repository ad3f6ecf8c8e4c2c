"""Rates, tail shares and volume: references, bets and effects."""

from detectors.rates.bets import ODDS, effect, log_bets
from detectors.rates.exceedance import ExceedanceReference
from detectors.rates.reference import RateReference

__all__ = [
    "ODDS",
    "ExceedanceReference",
    "RateReference",
    "effect",
    "log_bets",
]
