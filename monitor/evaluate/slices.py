"""Slices: what is known only of sampled sessions, measured on them with weight 1/pi.

A session counts in a slice with its verdict x (0 or 1) and its weight w. With p+ an upper limit of the slice's
weighted rate and W the greatest weight of the reference, the bet 1 + lambda (w / W) (x - p+) has an expectation of at
most 1 while the weighted rate of the traffic is at most p+, whatever the inclusion probabilities: the weight undoes
them. Heavier weights than W are cut to W.

``image_text_conflict`` and ``domain_notation`` need words to compare with in a shared image-text space; there are none
yet, and they are not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.evidence import Effect
from detectors.rates import ODDS, RateReference, pooled_day_sd
from detectors.rates.bets import interval
from monitor.evaluate.calendar import Calendar
from monitor.evaluate.references import FittedStream, Reference
from monitor.evaluate.streams import CATALOGUE, SLICE_PREFIX, StreamSpec
from monitor.store.evaluation import SampleRow

Float = NDArray[np.float64]

MEASURED: Final = ("dense_low_contrast", "rotated_or_skewed", "near_context_limit")
DENSE = 0.25  # text_density from which a page is dense
LOW_CONTRAST = 0.45
SKEWED = 3.0  # degrees
NEAR_LIMIT = 800_000  # millionths of the context limit


def specs() -> list[StreamSpec]:
    """The rates of a slice; they are bet on upwards."""
    return [slice_spec(spec) for spec in CATALOGUE if spec.kind == "rate"]


def slice_spec(spec: StreamSpec) -> StreamSpec:
    """A rate's spec as the stream of a slice."""
    return replace(spec, kind="slice", direction="up")


def member(sample: SampleRow, name: str) -> bool:
    """Whether a sampled session lies in a slice."""
    if name == "near_context_limit":
        return bool(_json(sample.facts).get("context_used", 0) > NEAR_LIMIT)
    for modality, _, _, text in sample.parts:
        if modality != "image":
            continue
        found = _json(text)
        if name == "dense_low_contrast":
            density, contrast = found.get("text_density"), found.get("contrast")
            if density is not None and contrast is not None and density >= DENSE and contrast <= LOW_CONTRAST:
                return True
        elif name == "rotated_or_skewed":
            skew, rotation = found.get("skew_degrees"), found.get("rotation")
            if (skew is not None and abs(skew) >= SKEWED) or rotation not in (None, 0):
                return True
    return False


def verdicts(samples: Sequence[SampleRow], metric: str) -> tuple[Float, Float, list[SampleRow]]:
    """(x, weight, sample) of the sessions that have the verdict."""
    hits, weights, of = [], [], []
    for sample in samples:
        value = _json(sample.facts).get("verdicts", {}).get(metric)
        if value is not None:
            hits.append(float(value))
            weights.append(1.0 / max(sample.pi, 1e-9))
            of.append(sample)
    return np.array(hits), np.array(weights), of


def _json(text: str) -> dict[str, Any]:
    found = msgspec.json.decode(text) if text else {}
    return found if isinstance(found, dict) else {}


def learn_slice(
    segment: str, samples: Sequence[SampleRow], *, from_us: int, to_us: int, calendar: Calendar, confidence: float
) -> Reference:
    """The reference of a slice from the samples of [from, to)."""
    mine = [s for s in samples if member(s, segment[len(SLICE_PREFIX) :])]
    reference = Reference(segment, "", from_us, to_us, sessions=len(mine))
    counted: list[tuple[StreamSpec, Float, Float, float]] = []
    for spec in specs():
        x, weight, of = verdicts(mine, spec.metric)
        if not x.size:
            continue
        day = np.array([calendar.of(s.window_us)[1] for s in of], dtype=np.int64)
        _, of_day = np.unique(day, return_inverse=True)
        # A weighted day counts as many sessions as its weights are worth (Kish).
        total = np.bincount(of_day, weight)
        worth = total**2 / np.bincount(of_day, weight**2)
        rate = np.bincount(of_day, weight * x) / total
        counted.append((spec, np.minimum(rate * worth, worth), worth, float(weight.max())))
    prior = pooled_day_sd((hits, trials) for _, hits, trials, _ in counted)
    for spec, hits, trials, heaviest in counted:
        fit = RateReference.fit(hits, trials, confidence, min_effect=spec.min_effect, prior_day_sd=prior)
        reference.streams[spec.signal] = FittedStream(spec, fit, heaviest)
    return reference


def slice_bets(samples: Sequence[SampleRow], stream: FittedStream, slot: int) -> tuple[int, Float]:
    """(sessions looked at, log bets float64[4]) of one look; ``slot`` is its hour of the week."""
    fit = stream.fit
    assert isinstance(fit, RateReference)
    x, weight, _ = verdicts(samples, stream.spec.metric)
    p = float(fit.upper[slot])
    if not x.size or not 0.0 < p < 1.0:
        return 0, np.zeros(len(ODDS))
    share = np.minimum(weight / stream.threshold, 1.0)
    odds = np.asarray(ODDS)
    chance = odds * p / (1.0 - p + odds * p)
    factor = (chance - p) / (p * (1.0 - p))
    logs = np.log1p(factor[None, :] * (share * (x - p))[:, None]).sum(axis=0) / fit.temper
    return int(x.size), np.asarray(logs, dtype=np.float64)


def slice_effect(samples: Sequence[SampleRow], stream: FittedStream) -> Effect:
    """The weighted rate with a Clopper-Pearson interval at the weights' worth, beside the reference's."""
    fit = stream.fit
    assert isinstance(fit, RateReference)
    x, weight, _ = verdicts(samples, stream.spec.metric)
    if not x.size:
        return Effect(float("nan"), 0.0, 1.0, fit.rate, "share")
    worth = float(weight.sum() ** 2 / (weight**2).sum())
    rate = float((weight * x).sum() / weight.sum())
    trials = max(1, int(worth))
    low, high = interval(round(rate * trials), trials)
    return Effect(rate, min(low, rate), max(high, rate), fit.rate, "share")
