"""Evidence with one meaning: bets, their funding, and what they say about size and onset."""

from detectors.evidence.allocation import Pot, divide, fund
from detectors.evidence.effect import Effect, Verdict
from detectors.evidence.funding import FundedSR, Step
from detectors.evidence.recovery import Recovery, fading
from detectors.evidence.since import Onset, OnsetTracker, onset, rate_onset

__all__ = [
    "Effect",
    "FundedSR",
    "Onset",
    "OnsetTracker",
    "Pot",
    "Recovery",
    "Step",
    "Verdict",
    "divide",
    "fading",
    "fund",
    "onset",
    "rate_onset",
]
