"""Learning a segment's reference, and its stored form.

A reference is learned once from a stretch of history and never changed: thresholds and limits of every signal, the
fitted embeddings with the rows they rest on, and the thinned cells of the whole stretch, from which `diff` tells in
words what two references hold. A signal that is not in it has no stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.drift.agreement import AgreementReference
from detectors.drift.embedding import EmbeddingReference
from detectors.evidence import Verdict
from detectors.rates import RateReference, pooled_day_sd
from detectors.rates.exceedance import boundary
from detectors.rates.volume import VolumeReference
from detectors.summaries.metrics import METRICS
from monitor.evaluate.calendar import HOUR_US, Calendar
from monitor.evaluate.calibration import CalibrationFit
from monitor.evaluate.cells import Cells, Names, upper_edges
from monitor.evaluate.sampled import agreements, distinct, has_vector, most_used_encoder, packed, rank, session_vectors
from monitor.evaluate.streams import CATALOGUE, SLICE_PREFIX, TIERS, StreamSpec, spec_of, stage_spec, tier_spec
from monitor.store.evaluation import SampleRow
from monitor.store.references import ReferenceSample

Int64 = NDArray[np.int64]
Fit = RateReference | VolumeReference | EmbeddingReference | AgreementReference | CalibrationFit

FORMAT = 2  # 1: routing_mix counted what is not routed to its tier
MIN_EMBEDDED_HALF = 40
KINDRED = 3  # other segments that must have a signal before they tell how much its days differ


class ReferenceFormatError(ValueError):
    """A stored reference cannot be read by this version."""


@dataclass(frozen=True, slots=True)
class FittedStream:
    """One signal of a reference. ``threshold`` is the boundary of a tail, in the metric's stored unit."""

    spec: StreamSpec
    fit: Fit
    threshold: float = 0.0

    @property
    def enough(self) -> bool:
        """Whether the history supports judging the stream."""
        if isinstance(self.fit, RateReference | VolumeReference):
            return self.fit.verdict is Verdict.OK
        return not isinstance(self.fit, CalibrationFit) or self.fit.enough


@dataclass(slots=True)
class Reference:
    """What a segment (or slice) was. Times in event time, µs."""

    segment: str
    route: str
    from_us: int
    to_us: int
    encoder: str = ""
    streams: dict[str, FittedStream] = field(default_factory=dict)
    sessions: int = 0
    totals: dict[str, Any] = field(default_factory=dict)  # per metric what `diff` tells
    rows: list[ReferenceSample] = field(default_factory=list)
    agreement_limits: dict[str, float] = field(default_factory=dict)  # by segment, of the slice image_text_conflict

    def to_content(self) -> bytes:
        """Versioned bytes; equal references give equal bytes."""
        streams = [
            [signal, stream.spec.label, stream.threshold, _KINDS[type(stream.fit)], stream.fit.to_state()]
            for signal, stream in sorted(self.streams.items())
        ]
        return msgspec.msgpack.encode(
            {
                "format": FORMAT,
                "segment": self.segment,
                "route": self.route,
                "from_us": self.from_us,
                "to_us": self.to_us,
                "encoder": self.encoder,
                "sessions": self.sessions,
                "streams": streams,
                "totals": dict(sorted(self.totals.items())),
                **({"agreement_limits": dict(sorted(self.agreement_limits.items()))} if self.agreement_limits else {}),
            }
        )

    @classmethod
    def from_content(cls, content: bytes) -> Reference:
        """The inverse of `to_content`, without the rows. Raises ReferenceFormatError."""
        try:
            found = msgspec.msgpack.decode(content)
            version = found["format"]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise ReferenceFormatError(f"not a reference: {error}; build it again") from None
        if version not in (1, FORMAT):
            raise ReferenceFormatError(
                f"the reference has format {version}, this driftline reads 1 to {FORMAT}; build it again"
            )
        reference = cls(
            found["segment"], found["route"], found["from_us"], found["to_us"], found["encoder"],
            sessions=found["sessions"], totals=found["totals"], agreement_limits=found.get("agreement_limits", {}),
        )  # fmt: skip
        for signal, label, threshold, kind, state in found["streams"]:
            spec = spec_of(signal, label)
            if is_slice(reference.segment):
                spec = replace(spec, kind="slice", direction="up")
            fit = _TYPES[kind].from_state(state)
            if version == 1 and spec.kind == "mix":
                fit = fit.complement()
            reference.streams[signal] = FittedStream(spec, fit, threshold)
        return reference


_TYPES: dict[str, Any] = {
    "rate": RateReference,
    "volume": VolumeReference,
    "embedding": EmbeddingReference,
    "agreement": AgreementReference,
    "calibration": CalibrationFit,
}
_KINDS: dict[type, str] = {kind: name for name, kind in _TYPES.items()}


def learn(
    segment: str,
    route: str,
    hours: Cells,
    segment_code: int,
    labels: Names,
    samples: Sequence[SampleRow],
    *,
    from_us: int,
    to_us: int,
    calendar: Calendar,
    confidence: float,
    min_rows: int,
    max_rows: int,
    kindred_day_sd: Mapping[str, float],
) -> Reference:
    """Fit a reference on [from, to), full hours. ``hours`` are thinned cells by hour, of any segments;
    ``kindred_day_sd`` is what `kindred` found in other segments."""
    span = (hours.segment == segment_code) & (hours.window >= from_us) & (hours.window < to_us)
    cells = hours.where(span)
    times = np.arange(from_us, to_us, HOUR_US, dtype=np.int64)
    grid = _Grid(cells, times, calendar, confidence)
    events = cells.where(cells.metric == METRICS["events"].id)
    reference = Reference(segment, route, from_us, to_us, sessions=int(events.counts.sum()))
    counted = [(spec, grid.counted(spec, labels)) for spec in specs_for(cells, labels)]
    # A week of one stream tells little of how much its days differ; the segment's streams together tell more.
    prior = pooled_day_sd(grid.by_day(found) for _, found in counted if found is not None)
    for spec, found in counted:
        if found is not None:
            # One week that happens to be steady hides a signal's day effect from itself and from all that share it.
            reference.streams[spec.signal] = grid.fit(spec, found, max(prior, kindred_day_sd.get(spec.signal, 0.0)))
    _learn_embeddings(reference, samples, calendar, confidence, min_rows, max_rows)
    reference.totals = _totals(cells)
    return reference


def kindred(others: Iterable[Reference], segment: str) -> dict[str, float]:
    """Median standard deviation of the day effect (logit scale) of each signal over the segments beside ``segment``."""
    found: dict[str, list[float]] = {}
    for reference in others:
        if reference.segment == segment or is_slice(reference.segment):
            continue
        for signal, stream in reference.streams.items():
            if isinstance(stream.fit, RateReference) and stream.enough:
                found.setdefault(signal, []).append(stream.fit.day_sd)
    return {signal: float(np.median(values)) for signal, values in found.items() if len(values) >= KINDRED}


def specs_for(cells: Cells, labels: Names) -> Iterable[StreamSpec]:
    """The catalogue's streams that are read from summaries, with one per stage that occurs."""
    for spec in CATALOGUE:
        if spec.kind in ("rate", "tail", "volume"):
            yield spec
    stages = np.unique(cells.label[cells.metric == METRICS["latency_stage"].id]).tolist()
    for name in sorted(labels.names[code] for code in stages):
        yield stage_spec(name.partition("/")[2])
    tier = cells.metric == METRICS["tier"].id
    if tier.any():
        counts = np.bincount(cells.label[tier], cells.counts[tier])
        common = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-counts[code], labels.names[code]))
        # With one tier alone nothing is mixed, and of two the second says what the first does.
        told = common[: TIERS if len(common) > 2 else len(common) - 1]
        for i, code in enumerate(told):
            yield tier_spec(labels.names[code].partition("/")[2], commonest=i == 0)


class Counted(NamedTuple):
    """Per hour: sessions that count and sessions seen; of a tail also where it begins."""

    hits: NDArray[np.float64]
    trials: NDArray[np.float64]
    threshold: float = 0.0


class _Grid:
    """A segment's cells laid out by hour, to fit streams on."""

    def __init__(self, cells: Cells, times: Int64, calendar: Calendar, confidence: float) -> None:
        self.cells = cells
        self.times = times
        self.hour = (cells.window - int(times[0])) // HOUR_US if times.size else cells.window
        self.day = calendar.days(times)
        self.slot = calendar.hours_of_week(times)
        self.confidence = confidence

    def _count(self, chosen: NDArray[np.bool_], what: Int64) -> NDArray[np.float64]:
        counted = np.bincount(self.hour[chosen], what[chosen], self.times.size)
        return np.asarray(counted, dtype=np.float64)

    def counted(self, spec: StreamSpec, labels: Names) -> Counted | None:
        """What the stream counts in every hour, or None where the segment does not have the signal."""
        chosen = self.cells.metric == METRICS[spec.metric].id
        if spec.kind == "tail" and spec.label:
            chosen &= self.cells.label == labels.get(f"stage/{spec.label}")
        if not chosen.any():
            return None
        trials = self._count(chosen, self.cells.counts)
        if spec.kind == "volume":
            return Counted(trials, trials)
        if spec.kind == "tail":
            upper = upper_edges(spec.metric)[self.cells.bucket]
            threshold = boundary(upper[chosen], self.cells.counts[chosen], spec.quantile)
            above = chosen & (upper > threshold)
            return Counted(self._count(above, self.cells.counts), trials, threshold)
        if spec.kind == "mix":
            usual = chosen & (self.cells.label == labels.get(f"tier/{spec.label}"))
            return Counted(self._count(usual, self.cells.counts), trials)
        return Counted(self._count(chosen, self.cells.sums), trials)

    def by_day(self, found: Counted) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(hits, trials) per day; volume, which is no share, has no misses and so says nothing of shares."""
        day = self.day - self.day[0]
        hits, trials = np.bincount(day, found.hits), np.bincount(day, found.trials)
        return hits.astype(np.float64), trials.astype(np.float64)

    def fit(self, spec: StreamSpec, found: Counted, prior_day_sd: float) -> FittedStream:
        """The stream's limits."""
        if spec.kind == "volume":
            # Before a segment's first event nobody knows whether it was there.
            first = int(np.flatnonzero(found.trials)[0])
            volume = VolumeReference.fit(
                found.trials[first:],
                self.slot[first:],
                self.day[first:],
                self.confidence,
                min_effect=spec.min_effect,
            )
            return FittedStream(spec, volume)
        rate = RateReference.fit(
            found.hits,
            found.trials,
            self.confidence,
            day=self.day,
            hour_of_week=self.slot,
            min_effect=spec.min_effect,
            prior_day_sd=prior_day_sd,
        )
        return FittedStream(spec, rate, found.threshold)


def _learn_embeddings(
    reference: Reference,
    samples: Sequence[SampleRow],
    calendar: Calendar,
    confidence: float,
    min_rows: int,
    max_rows: int,
) -> None:
    """Image and text drift, and agreement, from the samples of the encoder that embedded most of them."""
    reference.encoder = most_used_encoder(samples)
    if not reference.encoder:
        return
    # The first by a hash are a uniform choice, the same in every run.
    chosen = sorted((s for s in samples if s.encoder == reference.encoder), key=rank)[:max_rows]
    halves: dict[str, str] = {s.sample_id: "fit" if i % 2 == 0 else "held" for i, s in enumerate(chosen)}
    # Near-duplicates as in the looks: the first of an hour, whether or not it is among the chosen.
    firsts = {s.sample_id for s in distinct([s for s in samples if s.encoder == reference.encoder])}
    pages = [s for s in chosen if s.sample_id in firsts]
    for signal, modality in (("image_drift", "image"), ("text_drift", "text")):
        rows, of = session_vectors(pages if modality == "image" else chosen, modality, reference.encoder)
        fit = np.array([halves[s.sample_id] == "fit" for s in of], dtype=np.bool_)
        enough = min(int(fit.sum()), int((~fit).sum())) >= MIN_EMBEDDED_HALF
        if len(of) < min_rows or not enough:
            continue
        slots, days = np.array([calendar.of(s.window_us) for s in of], dtype=np.int64).T
        seed = int.from_bytes(hashlib.sha256(f"{reference.segment}\x00{signal}".encode()).digest()[:8], "big")
        fitted = EmbeddingReference.fit(
            rows[fit],
            rows[~fit],
            rng=np.random.default_rng(seed),
            groups=np.concatenate([days[fit], days[~fit]]),
            hours=np.concatenate([slots[fit], slots[~fit]]) % 24,
            confidence=confidence,
        )
        reference.streams[signal] = FittedStream(spec_of(signal), fitted)
    scores, of = agreements(pages)
    if len(of) >= max(min_rows, 100):
        slots, days = np.array([calendar.of(s.window_us) for s in of], dtype=np.int64).T
        reference.streams["agreement"] = FittedStream(
            spec_of("agreement"), AgreementReference.fit(scores, days, confidence, hours=slots % 24)
        )
    reference.rows = [
        ReferenceSample(s.sample_id, halves[s.sample_id], packed(s), s.user) for s in chosen if has_vector(s)
    ]


def _totals(cells: Cells) -> dict[str, Any]:
    """Per metric: [sessions, hits] of a rate; [sessions, p50, p95, p99] (upper edges) of a distribution."""
    totals: dict[str, Any] = {}
    for m in METRICS.values():
        chosen = cells.metric == m.id
        if m.family or m.kind in ("joint", "total") or not chosen.any():
            continue
        counts = cells.counts[chosen]
        if m.kind == "rate":
            totals[m.name] = [int(counts.sum()), int(cells.sums[chosen].sum())]
            continue
        by_bucket = np.bincount(cells.bucket[chosen], counts)
        below = np.cumsum(by_bucket)
        edges = upper_edges(m.name)
        marks = [float(edges[np.searchsorted(below, q * below[-1])]) for q in (0.5, 0.95, 0.99)]
        totals[m.name] = [int(below[-1]), *marks]
    return totals


def is_slice(segment: str) -> bool:
    """Whether a stream's segment is a slice."""
    return segment.startswith(SLICE_PREFIX)
