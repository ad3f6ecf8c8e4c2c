"""Rates, tail shares and volume: references, bets and effects."""

from detectors.rates.bets import ODDS, effect, interval, log_bets
from detectors.rates.exceedance import ExceedanceReference
from detectors.rates.reference import RateReference, pooled_day_sd
from detectors.rates.volume import VolumeBets, VolumeReference

__all__ = [
    "ODDS",
    "ExceedanceReference",
    "RateReference",
    "VolumeBets",
    "VolumeReference",
    "effect",
    "interval",
    "log_bets",
    "pooled_day_sd",
]
