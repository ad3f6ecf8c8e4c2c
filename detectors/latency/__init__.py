"""Latency: amplification of the tail, the stage that owns it, and what of it comes with load."""

from detectors.latency.load import LoadSplit, Part, split_by_load
from detectors.latency.tails import StageInTail, amplification, stages_in_tail

__all__ = ["LoadSplit", "Part", "StageInTail", "amplification", "split_by_load", "stages_in_tail"]
