"""Latency: amplification of the tail, and the stage that owns it."""

from detectors.latency.tails import StageInTail, amplification, stages_in_tail

__all__ = ["StageInTail", "amplification", "stages_in_tail"]
