"""The chance that an answer is wrong, from what is known before anybody looks: a logistic regression.

Begun with plain prejudices (an answer of low confidence, one that its checks doubt) and moved by every label, never
further than labels carry: the coefficients have a normal prior about the prejudices, and each segment its own level,
shrunk towards the common one (Gelman et al. 2008, "A weakly informative default prior distribution for logistic and
other regression models", for the idea; the prior here is normal). A score need not be right for estimates to be
unbiased; the better it is, the fewer labels they need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

STATE_VERSION = 1
# name: (prejudice, standard deviation of the prior)
FEATURES: Mapping[str, tuple[float, float]] = {
    "level": (-2.0, 1.0),
    "confidence": (-0.5, 0.5),  # logit of the model's confidence, 0 where it gives none
    "no_confidence": (0.0, 1.0),
    "disagreement": (1.5, 1.0),
    "verification_failed": (2.0, 1.0),
    "citation_ungrounded": (1.5, 1.0),
    "citation_missing": (0.5, 1.0),
    "schema_violation": (2.0, 1.0),
    "anomaly": (0.5, 1.0),
    "drifted": (0.5, 1.0),
    "retried": (0.5, 1.0),
}
SEGMENT_DEVIATION = 0.7  # of segments' own levels
MOST_STEPS = 50
LEAST_CHANCE = 0.002


def features(facts: Sequence[Mapping[str, Any]], anomaly: NDArray[np.bool_], drifted: NDArray[np.bool_]) -> Float64:
    """float64[n, len(FEATURES)] of samples' facts (as ingest stores them), whether an anomaly is open in their segment,
    and whether their inputs lie where its reference has next to none."""
    found = np.zeros((len(facts), len(FEATURES)))
    columns = {name: position for position, name in enumerate(FEATURES)}
    found[:, columns["level"]] = 1.0
    found[:, columns["anomaly"]] = anomaly
    found[:, columns["drifted"]] = drifted
    checks = ("disagreement", "verification_failed", "citation_ungrounded", "citation_missing", "schema_violation")
    for row, fact in enumerate(facts):
        confidence = fact.get("confidence")
        if confidence is None:
            found[row, columns["no_confidence"]] = 1.0
        else:
            # Facts hold millionths.
            inside = min(max(confidence / 1e6, 1e-3), 1 - 1e-3)
            found[row, columns["confidence"]] = float(np.log(inside / (1 - inside)))
        verdicts = fact.get("verdicts", {})
        for name in checks:
            found[row, columns[name]] = float(verdicts.get(name, 0) > 0)
        found[row, columns["retried"]] = float(fact.get("retries", 0) > 0)
    return found


@dataclass(frozen=True)
class ErrorScore:
    """Fitted coefficients. ``coefficients`` float64[features], ``segments``: name -> its own level; ``labels`` seen."""

    coefficients: Float64
    segments: Mapping[str, float]
    labels: int = 0

    @classmethod
    def unfitted(cls) -> ErrorScore:
        """The prejudices alone."""
        return cls(np.array([prejudice for prejudice, _ in FEATURES.values()]), {})

    @classmethod
    def fit(cls, rows: Float64, segments: Sequence[str], wrong: Float64) -> ErrorScore:
        """Maximum a posteriori by Newton's method.

        Args:
            rows: float64[n, features], as ``features`` gives them.
            segments: of each row.
            wrong: 0 or 1 (or a reviewers' mean) of each row.

        Raises:
            ValueError: lengths differ, or a value is not finite.
        """
        if not (len(rows) == len(segments) == len(wrong)):
            raise ValueError(f"got {len(rows)} rows, {len(segments)} segments and {len(wrong)} labels")
        if not (np.isfinite(rows).all() and np.isfinite(wrong).all()):
            raise ValueError("features and labels must be finite")
        prior = cls.unfitted()
        if not len(rows):
            return prior
        names, codes = np.unique(np.asarray(segments, dtype=object).astype(str), return_inverse=True)
        design = np.hstack([rows, codes[:, None] == np.arange(len(names))])
        centre = np.concatenate([prior.coefficients, np.zeros(len(names))])
        deviation = np.array([d for _, d in FEATURES.values()] + [SEGMENT_DEVIATION] * len(names))
        precision = 1 / deviation**2
        at = centre.copy()
        for _ in range(MOST_STEPS):
            chance = _expit(design @ at)
            gradient = design.T @ (wrong - chance) - precision * (at - centre)
            curvature = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(precision)
            step = np.linalg.solve(curvature, gradient)
            at = at + step * min(1.0, 3.0 / max(float(np.abs(step).max()), 1e-12))  # no leap past what is curved
            if float(np.abs(step).max()) < 1e-8:
                break
        own = dict(zip(names.tolist(), at[len(FEATURES) :].tolist(), strict=True))
        return cls(at[: len(FEATURES)], own, len(rows))

    def score(self, rows: Float64, segments: Sequence[str]) -> Float64:
        """Chance of being wrong, float64[n], within [0.002, 0.998]."""
        own = np.array([self.segments.get(name, 0.0) for name in segments])
        return np.clip(_expit(rows @ self.coefficients + own), LEAST_CHANCE, 1 - LEAST_CHANCE)

    def to_state(self) -> dict[str, Any]:
        """JSON-ready; floats survive exactly."""
        return {
            "v": STATE_VERSION,
            "coefficients": dict(zip(FEATURES, self.coefficients.tolist(), strict=True)),
            "segments": dict(sorted(self.segments.items())),
            "labels": self.labels,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ErrorScore:
        """A feature that the state does not know has its prejudice. Raises ValueError for another version."""
        if state.get("v") != STATE_VERSION:
            raise ValueError(f"the error score has version {state.get('v')!r}, this driftline reads {STATE_VERSION}")
        known = state["coefficients"]
        coefficients = np.array([float(known.get(name, prejudice)) for name, (prejudice, _) in FEATURES.items()])
        return cls(coefficients, {name: float(v) for name, v in state["segments"].items()}, int(state["labels"]))


def _expit(values: Float64) -> Float64:
    chance: Float64 = 1 / (1 + np.exp(-np.clip(values, -40, 40)))
    return chance
