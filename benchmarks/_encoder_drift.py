"""Drift power: samples until a kind spliced into a stream is detected, at one realised run length for all encoders.

The detector is the shipped one (``detectors.drift.embedding``) under a Shiryaev-Roberts sum, looking at five samples
at a time. Its reference is one half of the evaluation images of the trained kinds; streams are drawn from the other
half, and after the change a fifth of the samples is of the new kind. For every encoder the threshold is the one at
which streams without a change, drawn from the same half, run ``RUN_LENGTH`` looks on average, so that no encoder buys
speed with false alarms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._encoder_data import Rows, held_out
from detectors.drift.embedding import EmbeddingReference

PER_LOOK, SHARE, RUN_LENGTH = 5, 0.2, 100
SEEDS = (5, 6, 7)
NULL_LOOKS, CHANGED_LOOKS, STREAMS, LONGEST = 1500, 500, 400, 400

Floats = NDArray[np.float64]


def delays(rows: Rows, kinds: Sequence[str], documents: Sequence[str]) -> dict[str, float]:
    """Mean samples to detection by spliced kind (censored at LONGEST looks), the geometric mean over SEEDS: which pages
    the reference is drawn from moves a single figure by a tenth to a quarter."""
    found = [_delays(rows, kinds, documents, seed) for seed in SEEDS]
    return {kind: round(float(np.exp(np.mean([np.log(each[kind]) for each in found]))), 1) for kind in found[0]}


def _delays(rows: Rows, kinds: Sequence[str], documents: Sequence[str], seed: int) -> dict[str, float]:
    names, held = np.asarray(kinds), held_out(kinds)
    half = np.array([hashlib.sha256(f"half {name}".encode()).digest()[0] % 2 for name in documents])
    found: dict[str, float] = {}
    quiet: dict[str, tuple[EmbeddingReference, float]] = {}
    for kind in sorted(set(kinds)):
        own = names == kind
        # A trained kind is spliced into a base without it; all held-out kinds share one base.
        base = ~held & ~own
        key = "" if held[own].all() else kind
        if key not in quiet:
            quiet[key] = _quiet(rows, np.flatnonzero(base & (half == 0)), np.flatnonzero(base & (half == 1)), seed)
        fitted, threshold = quiet[key]
        rng = np.random.default_rng((seed, 1))
        bets = _bets(fitted, rows, np.flatnonzero(base & (half == 1)), np.flatnonzero(own), SHARE, CHANGED_LOOKS, rng)
        sums = _sums(bets[rng.integers(len(bets), size=(STREAMS, LONGEST))])
        found[kind] = float(_run_lengths(sums, threshold).mean()) * PER_LOOK
    return found


def _quiet(rows: Rows, reference: NDArray[Any], stream: NDArray[Any], seed: int) -> tuple[EmbeddingReference, float]:
    """The fitted reference, and the threshold at which streams without a change run RUN_LENGTH looks on average."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(reference)
    middle = len(order) // 2
    # Limits at their median: the threshold is set by what streams without a change really do.
    fitted = EmbeddingReference.fit(rows[order[:middle]], rows[order[middle:]], rng=rng, confidence=0.51)
    bets = _bets(fitted, rows, stream, stream, 0.0, NULL_LOOKS, rng)
    sums = _sums(bets[rng.integers(len(bets), size=(STREAMS, LONGEST * 2))])
    low, high = -20.0, 200.0
    for _ in range(40):
        threshold = (low + high) / 2
        if _run_lengths(sums, threshold).mean() < RUN_LENGTH:
            low = threshold
        else:
            high = threshold
    return fitted, high


def _bets(fitted: EmbeddingReference, rows: Rows, stream: NDArray[Any], own: NDArray[Any], share: float, looks: int,
          rng: np.random.Generator) -> Floats:  # fmt: skip
    """Log bets of ``looks`` looks: float64[looks, K]."""
    out = []
    for _ in range(looks):
        new = rng.random(PER_LOOK) < share
        picks = np.where(
            new, own[rng.integers(len(own), size=PER_LOOK)], stream[rng.integers(len(stream), size=PER_LOOK)]
        )
        out.append(np.asarray(fitted.log_bets(rows[picks]), dtype=np.float64).ravel())
    return np.stack(out)


def _sums(bets: Floats) -> Floats:
    """log of the sum over bets of R <- (R + 1 / K) L: float64[streams, looks]."""
    streams, looks, count = bets.shape
    level = np.full((streams, count), -np.inf)
    out = np.empty((streams, looks))
    for look in range(looks):
        level = np.logaddexp(level, -np.log(count)) + bets[:, look]
        out[:, look] = np.logaddexp.reduce(level, axis=1)
    return out


def _run_lengths(sums: Floats, threshold: float) -> Floats:
    crossed = sums > threshold
    return np.where(crossed.any(1), crossed.argmax(1) + 1, sums.shape[1]).astype(np.float64)


def compare(found: dict[str, dict[str, float]], kinds: Sequence[str], mine: str = "driftline_mini") -> dict[str, Any]:
    """Geometric mean delays by side, and driftline-mini's over the best other encoder's."""
    held = {kind for kind, out in zip(kinds, held_out(kinds), strict=True) if out}
    means = {
        name: {
            side: round(float(np.exp(np.mean([np.log(v) for kind, v in delay.items() if (kind in held) == out]))), 2)
            for side, out in (("held_out_kinds", True), ("trained_kinds", False))
        }
        for name, delay in found.items()
    }
    result: dict[str, Any] = {"drift_delay_samples": means, "drift_delay_by_kind": found}
    others = {name: value for name, value in means.items() if name != mine}
    if mine in means and others:
        for key, side in (
            ("drift_delay_ratio", "held_out_kinds"),
            ("drift_delay_ratio_trained_kinds", "trained_kinds"),
        ):
            result[key] = round(means[mine][side] / min(value[side] for value in others.values()), 3)
        result["drift_compared_with"] = sorted(others)
    return result
