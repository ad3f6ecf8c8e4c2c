"""Latency: amplification of the tail, the stage that owns it, and what of it comes with load."""

from detectors.latency.change import quantile_change
from detectors.latency.load import AtLoad, LoadSplit, Part, latency_at_load, split_by_load
from detectors.latency.tails import (
    SLOW,
    StageInTail,
    Step,
    Waterfall,
    amplification,
    stages_in_tail,
    tail_ratio,
    waterfall,
)

__all__ = [
    "SLOW",
    "AtLoad",
    "LoadSplit",
    "Part",
    "StageInTail",
    "Step",
    "Waterfall",
    "amplification",
    "latency_at_load",
    "quantile_change",
    "split_by_load",
    "stages_in_tail",
    "tail_ratio",
    "waterfall",
]
