"""Slices: what is known only of sampled sessions, measured on them with weight 1/pi.

A session counts in a slice with its verdict x (0 or 1) and its weight w. With p+ an upper limit of the slice's
weighted rate and W the greatest weight of the reference, the bet 1 + lambda (w / W) (x - p+) has an expectation of at
most 1 while the weighted rate of the traffic is at most p+, whatever the inclusion probabilities: the weight undoes
them. Heavier weights than W are cut to W.

``image_text_conflict`` and ``domain_notation`` need an encoder whose towers share a space. A session is in conflict
where image and prompt agree less than 95 % of its segment's sessions did when the slice's reference was learned; the
limits are kept in that reference, so that what the slice is does not move. Notation is told by the image's nearest
concept (monitor/embed/concepts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import Effect
from detectors.rates import ODDS, RateReference, pooled_day_sd
from detectors.rates.bets import interval
from monitor.embed.concepts import NOTATION
from monitor.evaluate.calendar import Calendar
from monitor.evaluate.references import FittedStream, Reference
from monitor.evaluate.sampled import agreements, mean_agreement, most_used_encoder, packed, parsed, rank
from monitor.evaluate.streams import CATALOGUE, SLICE_PREFIX, StreamSpec
from monitor.store.evaluation import SampleRow
from monitor.store.references import ReferenceSample

Float = NDArray[np.float64]

CONFLICT: Final = "image_text_conflict"
NEED_SHARED_SPACE: Final = ("domain_notation", CONFLICT)
DENSE = 0.25  # text_density from which a page is dense
LOW_CONTRAST = 0.45
SKEWED = 3.0  # degrees
NEAR_LIMIT = 800_000  # millionths of the context limit
LOW_AGREEMENT = 0.05  # share of a segment's sessions that agree less than its limit
MIN_AGREEMENTS = 100  # sessions of a segment without which it gets no limit
KEPT_SESSIONS = 2000  # copied into the reference, to explain changes with


def specs() -> list[StreamSpec]:
    """The rates of a slice; they are bet on upwards."""
    return [slice_spec(spec) for spec in CATALOGUE if spec.kind == "rate"]


def slice_spec(spec: StreamSpec) -> StreamSpec:
    """A rate's spec as the stream of a slice."""
    return replace(spec, kind="slice", direction="up")


def members(samples: Sequence[SampleRow], name: str, reference: Reference | None) -> list[SampleRow]:
    """The sampled sessions that lie in a slice. ``reference``: the slice's own; what an encoder tells is compared with
    what the same encoder told."""
    if name == CONFLICT:
        return [] if reference is None else _in_conflict(samples, reference)
    return of_encoder([sample for sample in samples if told_alone(sample, name)], reference)


def of_encoder(samples: Sequence[SampleRow], reference: Reference | None) -> list[SampleRow]:
    """The samples that the reference's encoder embedded; all of them where the slice asks none."""
    if reference is None or not reference.encoder:
        return list(samples)
    return [sample for sample in samples if sample.encoder == reference.encoder]


def told_alone(sample: SampleRow, name: str) -> bool:
    """Whether a sampled session lies in a slice that is told from the session alone (all but CONFLICT)."""
    if name == "near_context_limit":
        return bool(parsed(sample.facts).get("context_used", 0) > NEAR_LIMIT)
    return any(_WITHIN[name](parsed(text)) for modality, _, _, text in sample.parts if modality == "image")


def _dense_low_contrast(found: dict[str, Any]) -> bool:
    density, contrast = found.get("text_density"), found.get("contrast")
    return density is not None and contrast is not None and density >= DENSE and contrast <= LOW_CONTRAST


def _rotated_or_skewed(found: dict[str, Any]) -> bool:
    skew, rotation = found.get("skew_degrees"), found.get("rotation")
    return (skew is not None and abs(skew) >= SKEWED) or rotation not in (None, 0)


def _domain_notation(found: dict[str, Any]) -> bool:
    concepts = found.get("concepts")
    return concepts is not None and concepts["nearest"][0][0] in NOTATION


_WITHIN: Final[dict[str, Callable[[dict[str, Any]], bool]]] = {
    "dense_low_contrast": _dense_low_contrast,
    "rotated_or_skewed": _rotated_or_skewed,
    "domain_notation": _domain_notation,
}


def _in_conflict(samples: Sequence[SampleRow], reference: Reference) -> list[SampleRow]:
    """Sessions whose image and prompt agree less than their segment's limit, embedded by the reference's encoder."""
    limits = reference.agreement_limits
    return [
        sample
        for sample in of_encoder(samples, reference)
        if sample.segment in limits and (mean := mean_agreement(sample)) is not None and mean < limits[sample.segment]
    ]


def agreement_limits(samples: Sequence[SampleRow]) -> dict[str, float]:
    """Per segment the weighted 5 % quantile of agreement over the traffic; segments with few sessions have none."""
    by_segment: dict[str, list[SampleRow]] = {}
    for sample in samples:
        by_segment.setdefault(sample.segment, []).append(sample)
    limits = {}
    for segment, mine in sorted(by_segment.items()):
        scores, of = agreements(mine)
        if scores.size < MIN_AGREEMENTS:
            continue
        order = np.argsort(scores, kind="stable")
        weight = np.array([1.0 / max(s.pi, 1e-9) for s in of])[order]
        share = np.cumsum(weight) / weight.sum()
        limits[segment] = float(scores[order][np.searchsorted(share, LOW_AGREEMENT)])
    return limits


def verdicts(samples: Sequence[SampleRow], metric: str) -> tuple[Float, Float, list[SampleRow]]:
    """(x, weight, sample) of the sessions that have the verdict."""
    hits, weights, of = [], [], []
    for sample in samples:
        value = parsed(sample.facts).get("verdicts", {}).get(metric)
        if value is not None:
            hits.append(float(value))
            weights.append(1.0 / max(sample.pi, 1e-9))
            of.append(sample)
    return np.array(hits), np.array(weights), of


def learn_slice(
    segment: str, samples: Sequence[SampleRow], *, from_us: int, to_us: int, calendar: Calendar, confidence: float
) -> Reference:
    """The reference of a slice from the samples of [from, to)."""
    name = segment[len(SLICE_PREFIX) :]
    reference = Reference(segment, "", from_us, to_us)
    if name in NEED_SHARED_SPACE:
        reference.encoder = most_used_encoder(samples)
    if name == CONFLICT:
        reference.agreement_limits = agreement_limits(of_encoder(samples, reference))
    mine = members(samples, name, reference)
    reference.sessions = len(mine)
    kept = sorted(mine, key=rank)[:KEPT_SESSIONS]
    reference.rows = [ReferenceSample(s.sample_id, "held", packed(s), s.user) for s in kept]
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
