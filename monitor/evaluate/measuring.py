"""How large a stream's change is, as a figure with its interval and as a sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from alerts.anomaly import Effect as EffectDocument
from detectors.drift.agreement import AgreementReference, AgreementTail
from detectors.drift.embedding import EmbeddingReference
from detectors.evidence import Effect
from detectors.rates import RateReference
from detectors.rates import effect as rate_effect
from detectors.rates.volume import VolumeReference
from monitor.evaluate import slices
from monitor.evaluate.bank import HOURLY_RING, Stream
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.calibration import calibration_effect
from monitor.evaluate.sampled import agreements, session_vectors
from monitor.evaluate.sentences import sentence, tail_of
from monitor.evaluate.story import six
from monitor.evaluate.streams import SLICE_PREFIX

if TYPE_CHECKING:
    from monitor.evaluate.session import Session


def middle(low_us: int, high_us: int) -> int:
    """The one moment named in sentences: the middle of where the change may have begun, on a full minute."""
    return (low_us + high_us) // 2 // 60_000_000 * 60_000_000


def measure(session: Session, i: int, from_us: int, end: int) -> Effect:
    """The stream's measure over [from, end), beside its reference."""
    bank = session.bank
    stream = bank.streams[i]
    fit = stream.fitted.fit
    if stream.spec.kind == "calibration":
        return calibration_effect(session, stream, from_us, end)
    if stream.spec.kind == "slice":
        found = session.embedded_samples(max(from_us, end - HOURLY_RING * HOUR_US), end)
        name = stream.segment[len(SLICE_PREFIX) :]
        return slices.slice_effect(slices.members(found, name, session.references[stream.segment]), stream.fitted)
    if isinstance(fit, RateReference):
        hits, trials = bank.window(i, end, from_us)
        return rate_effect(hits, trials, fit)
    if isinstance(fit, VolumeReference):
        hour = end // HOUR_US * HOUR_US
        counts, starts = bank.hour_counts(i, hour, from_us // HOUR_US * HOUR_US)
        if counts.size == 0:
            counts, starts = bank.hour_counts(i, hour, hour - HOUR_US)
        return fit.effect(counts, session.calendar.hours_of_week(starts))
    assert isinstance(fit, EmbeddingReference | AgreementReference)
    encoder = session.references[stream.segment].encoder
    earliest = max(from_us, end - HOURLY_RING * HOUR_US)
    samples = session.embedded_samples(earliest, end, stream.segment)
    if isinstance(fit, AgreementReference):
        scores, _ = agreements([s for s in samples if s.encoder == encoder])
        return fit.effect(scores)
    rows, _ = session_vectors(samples, stream.spec.metric, encoder)
    if len(rows) == 0:
        return Effect(math.nan, math.nan, math.nan, 0.0, "sd")
    return fit.effect(rows)


def document(effect: Effect) -> EffectDocument:
    """An effect as anomalies carry it."""
    return EffectDocument(
        value=six(effect.value),
        unit=effect.unit,
        low=six(effect.low),
        high=six(effect.high),
        baseline=six(effect.baseline),
        of=tail_of(effect) if isinstance(effect, AgreementTail) else "",
    )


def said(session: Session, stream: Stream, effect: Effect, since_us: int) -> str:
    """The effect in one sentence."""
    config = session.config
    return sentence(
        stream.spec, stream.segment, effect, stream.fitted.threshold, since_us, config.timezone, config.prices.currency
    )
