"""What a tick's evidence leads to: hourly looks, evidence rows, anomalies opened, updated and resolved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from numpy.typing import NDArray

from alerts import lifecycle
from alerts.anomaly import Anomaly, Evidence, Since
from alerts.anomaly import Effect as EffectDocument
from alerts.lifecycle import SendingRules
from detectors.drift.agreement import AgreementReference
from detectors.drift.embedding import EmbeddingReference
from detectors.evidence import Effect
from detectors.rates import RateReference
from detectors.rates import effect as rate_effect
from detectors.rates.silence import silence_log_bet
from detectors.rates.volume import VolumeBets, VolumeReference
from monitor.config.model import Config
from monitor.evaluate import slices
from monitor.evaluate.bank import HOURLY_RING, Stream
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.cells import Cells
from monitor.evaluate.references import agreements, session_vectors
from monitor.evaluate.sentences import sentence
from monitor.evaluate.streams import SLICE_PREFIX
from monitor.store import evaluation
from monitor.store.evaluation import SampleRow

if TYPE_CHECKING:
    from monitor.evaluate.session import Batch, Session

log = structlog.stdlib.get_logger("driftline.evaluate")

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

DAY_US = 24 * HOUR_US
EVIDENCE_KIND = "funded_sr"
THRESHOLD = 1.0
# Of late: the shortest of these stretches with enough sessions to tell a reference from a change.
RECENT_HOURS = (3, 6, 12, 24)
RECENT_TRIALS = 30


def sending_rules(config: Config) -> SendingRules:
    """Who is told of what, from the configuration. With ``alerts.path: rules`` Prometheus rules reach on-call, and
    nothing is pushed to an Alertmanager."""
    alerts = config.alerts
    return SendingRules(
        sinks=tuple(
            name for name, sink in alerts.sinks.items() if alerts.path == "push" or sink.kind != "alertmanager"
        ),
        max_age_us=alerts.max_age,
        send_historic=alerts.send_historic,
    )


# -- hourly looks -------------------------------------------------------------------------------------------


def read_samples(session: Session, start_us: int, end_us: int) -> list[SampleRow]:
    """Embedded samples that the looks of [start, end) may need: those since each stream's last look, a day at most."""
    looks = [
        int(session.bank.last_look[i])
        for i, stream in enumerate(session.bank.streams)
        if stream.spec.kind in ("embedding", "agreement", "slice")
    ]
    if not looks and not session.segments:
        return []
    oldest = max(min([*looks, start_us]), start_us - DAY_US) // HOUR_US * HOUR_US
    found = evaluation.embedded_samples(session.store, oldest, end_us)
    # A slice that its reference defines may get one within the batch; its members are looked for at the look.
    names = [name for name in session.config.slices.enabled if name != slices.CONFLICT]
    known = session.memberships
    session.memberships = {
        s.sample_id: known[s.sample_id]
        if s.sample_id in known
        else frozenset(name for name in names if slices.told_alone(s, name))
        for s in found
    }
    return found


def hourly_looks(session: Session, cells: Cells, hour: int, logs: Float, looking: Bool) -> None:
    """Add the looks of the hour that ends at ``hour`` to a tick's log bets, and to who is looking."""
    _volume_looks(session, cells, hour, logs, looking)
    if hour % session.config.evaluation.embeddings_every == 0:
        _embedding_looks(session, hour, logs, looking)


def _volume_looks(session: Session, cells: Cells, hour: int, logs: Float, looking: Bool) -> None:
    bank = session.bank
    plan = session.plan()
    if not plan.volume:
        return
    mine = cells.where((cells.window >= hour - HOUR_US) & (cells.window < hour))
    positions = [bank.streams[i].volume for i, _ in plan.volume]
    counts = plan.hour_events(mine, bank.volume.n, positions)
    slot, day = session.calendar.of(hour - HOUR_US)
    # A reference that was activated within this hour looks from the next one on.
    whole = np.ones(bank.volume.n, dtype=np.bool_)
    for (i, _), position in zip(plan.volume, positions, strict=True):
        whole[position] = bank.last_look[i] <= hour - HOUR_US
    found = bank.volume.step(counts, slot, day, whole)
    for (i, _), position in zip(plan.volume, positions, strict=True):
        if whole[position]:
            fit = bank.streams[i].fitted.fit
            assert isinstance(fit, VolumeReference)
            logs[i, : VolumeBets.K] += found[position]
            logs[i, VolumeBets.K] += silence_log_bet(int(counts[position]), fit, slot)
            looking[i] = True
        bank.remember_look(i, hour, logs[i], int(counts[position]))


def _embedding_looks(session: Session, hour: int, logs: Float, looking: Bool) -> None:
    bank = session.bank
    by_segment: dict[str, list[SampleRow]] | None = None
    in_slice: dict[str, list[SampleRow]] = {}
    for i, stream in enumerate(bank.streams):
        if stream.spec.kind not in ("embedding", "agreement", "slice"):
            continue
        if by_segment is None:
            by_segment = {}
            for sample in session.samples:
                by_segment.setdefault(sample.segment, []).append(sample)
        since = max(int(bank.last_look[i]), hour - DAY_US)
        if stream.spec.kind == "slice":
            if stream.segment not in in_slice:
                name = stream.segment[len(SLICE_PREFIX) :]
                recent = [s for s in session.samples if hour - DAY_US <= s.window_us < hour]
                reference = session.references[stream.segment]
                in_slice[stream.segment] = (
                    slices.members(recent, name, reference)
                    if name == slices.CONFLICT
                    else slices.of_encoder([s for s in recent if name in session.memberships[s.sample_id]], reference)
                )
            mine = [s for s in in_slice[stream.segment] if s.window_us >= since]
            count, bets = slices.slice_bets(mine, stream.fitted, session.calendar.of(hour - HOUR_US)[0])
        else:
            mine = [s for s in by_segment.get(stream.segment, ()) if since <= s.window_us < hour]
            count, bets = _embedding_bets(session, stream, mine)
        # Too few rows wait for the next hour's: whether data came decides, never what they say.
        if count:
            logs[i, : stream.bets] = bets
            looking[i] = True
        bank.remember_look(i, hour, logs[i], count)


def _embedding_bets(session: Session, stream: Stream, samples: list[SampleRow]) -> tuple[int, Float]:
    """(sessions looked at, log bets); 0 where there are too few."""
    fit = stream.fitted.fit
    encoder = session.references[stream.segment].encoder
    none = np.zeros(stream.bets)
    if isinstance(fit, AgreementReference):
        scores, _ = agreements([s for s in samples if s.encoder == encoder])
        return (len(scores), fit.log_bets(scores)) if len(scores) else (0, none)
    assert isinstance(fit, EmbeddingReference)
    rows, _ = session_vectors(samples, stream.spec.metric, encoder)
    if len(rows) == 0 or fit.verdict(len(rows)) != "ok":
        return 0, none
    return len(rows), fit.log_bets(rows)


# -- evidence rows ------------------------------------------------------------------------------------------


def note_open(session: Session, end: int, batch: Batch) -> None:
    """A row per tick for streams with an open anomaly: how firmly the change is still supported."""
    bank = session.bank
    for key, anomaly in session.open.items():
        i = bank.index.get(key)
        if i is None:
            continue
        hits, trials = bank.window(i, end, end - bank.tick_us)
        batch.evidence.append(
            {
                "segment": anomaly.subject,
                "signal": anomaly.signal,
                "tick_us": end - bank.tick_us,
                "resolution": "tick",
                "value": float(bank.recovery.sums[i].max()),
                "threshold": 0.0,
                "effect": hits / trials if trials else None,
            }
        )


def note_hour(session: Session, hour: int, batch: Batch) -> None:
    """The greatest evidence of the hour that ends, for every stream that was funded in it."""
    bank = session.bank
    for i in np.flatnonzero(bank.hour_max > 0).tolist():
        stream = bank.streams[i]
        batch.evidence.append(
            {
                "segment": stream.segment,
                "signal": stream.signal,
                "tick_us": hour - HOUR_US,
                "resolution": "hour",
                "value": float(bank.hour_max[i]),
                "threshold": THRESHOLD,
                "effect": None,
            }
        )
    bank.hour_max[:] = 0.0


# -- anomalies ----------------------------------------------------------------------------------------------


def open_stream(session: Session, i: int, value: float, end: int, batch: Batch) -> None:
    """The stream's evidence reached the threshold at the tick that ends at ``end``."""
    bank = session.bank
    stream = bank.streams[i]
    found = bank.onset_of(i, end, session.calendar.hours_of_week)
    effect = measure(session, i, found.at_us, end)
    anomaly = lifecycle.open_anomaly(
        owner=stream.owner,
        subject=stream.segment,
        route=stream.route,
        signal=stream.signal,
        detector=stream.spec.detector,
        severity=stream.severity,  # type: ignore[arg-type]
        since=Since(low=found.low_us, high=found.high_us),
        opened_us=end,
        # What is beyond the threshold says little more, and its last digits depend on the processor.
        evidence=Evidence(kind=EVIDENCE_KIND, value=float(f"{min(value, 1e12):.6g}"), threshold=THRESHOLD),
        effect=_document(effect),
        sentence=_sentence(session, stream, effect, middle(found.low_us, found.high_us)),
        detected_us=batch.now_us,
        rules=session.rules,
    )
    bank.open(i, end)
    session.open[stream.key] = anomaly
    batch.changed[anomaly.id] = batch.told[anomaly.id] = anomaly
    log.info("anomaly opened", id=anomaly.id, severity=anomaly.severity, sentence=anomaly.sentence)


def review_open(session: Session, now: int, batch: Batch) -> None:
    """Every hour: open anomalies get their present effect, and are resolved where the change is gone."""
    bank = session.bank
    patience = session.config.evaluation.resolve_after
    for key in sorted(session.open):
        anomaly = session.open[key]
        i = bank.index.get(key)
        if i is None:  # its stream is no more: a new reference does not know the signal
            _resolve(session, key, now, batch)
            continue
        over = int(bank.last_data[i]) - int(bank.supported[i]) >= patience
        silent = now - int(bank.last_data[i]) >= max(DAY_US, patience)
        if over or silent:
            bank.close(i, now)
            _resolve(session, key, now, batch)
            continue
        stream = bank.streams[i]
        if int(bank.supported[i]) < int(bank.last_data[i]) or _back_to_normal(session, i, anomaly, now):
            continue  # what is measured now no longer tells of the change
        effect = measure(session, i, max(anomaly.since.low, now - DAY_US), now)
        document = _document(effect)
        if document != anomaly.effect and document.value is not None:
            text = _sentence(session, stream, effect, middle(anomaly.since.low, anomaly.since.high))
            changed = lifecycle.update(anomaly, at_us=now, effect=document, sentence=text)
            session.open[key] = changed
            batch.changed[changed.id] = changed


def _back_to_normal(session: Session, i: int, anomaly: Anomaly, now: int) -> bool:
    """Whether what a rate did of late is likelier under its reference than under the change.

    Small bets take long to tell; meanwhile the stretch of the change must not be diluted by what came after it.
    """
    fit = session.bank.streams[i].fitted.fit
    if not isinstance(fit, RateReference) or anomaly.effect.value is None:
        return False
    for hours in RECENT_HOURS:
        hits, trials = session.bank.window(i, now, now - hours * HOUR_US)
        if trials >= RECENT_TRIALS:  # fewer, and one stray hit would speak for the change
            break

    def log_likelihood(rate: float) -> float:
        least = 0.5 / (fit.trials + 1)
        bounded = min(max(rate, least), 1.0 - least)
        return hits * math.log(bounded) + (trials - hits) * math.log1p(-bounded)

    return log_likelihood(fit.rate) >= log_likelihood(anomaly.effect.value)


def _resolve(session: Session, key: tuple[str, str, str], now: int, batch: Batch) -> None:
    done = lifecycle.resolve(session.open.pop(key), at_us=now)
    batch.changed[done.id] = batch.told[done.id] = done
    log.info("anomaly resolved", id=done.id, sentence=done.sentence)


def middle(low_us: int, high_us: int) -> int:
    """The one moment named in sentences: the middle of where the change may have begun, on a full minute."""
    return (low_us + high_us) // 2 // 60_000_000 * 60_000_000


def measure(session: Session, i: int, from_us: int, end: int) -> Effect:
    """The stream's measure over [from, end), beside its reference."""
    bank = session.bank
    stream = bank.streams[i]
    fit = stream.fitted.fit
    if stream.spec.kind == "slice":
        found = evaluation.embedded_samples(session.store, max(from_us, end - HOURLY_RING * HOUR_US), end)
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
    encoder = session.references[stream.segment].encoder
    earliest = max(from_us, end - HOURLY_RING * HOUR_US)
    samples = evaluation.embedded_samples(session.store, earliest, end, stream.segment)
    if isinstance(fit, AgreementReference):
        scores, _ = agreements([s for s in samples if s.encoder == encoder])
        return fit.effect(scores)
    rows, _ = session_vectors(samples, stream.spec.metric, encoder)
    if len(rows) == 0:
        return Effect(math.nan, math.nan, math.nan, 0.0, "sd")
    return fit.effect(rows)


def _document(effect: Effect) -> EffectDocument:
    def finite(value: float) -> float | None:
        # Six digits: what a figure means, without the last bits that depend on the order of a sum.
        return float(f"{value:.6g}") if math.isfinite(value) else None

    return EffectDocument(
        value=finite(effect.value),
        unit=effect.unit,
        low=finite(effect.low),
        high=finite(effect.high),
        baseline=finite(effect.baseline),
    )


def _sentence(session: Session, stream: Stream, effect: Effect, since_us: int) -> str:
    config = session.config
    return sentence(
        stream.spec, stream.segment, effect, stream.fitted.threshold, since_us, config.timezone, config.prices.currency
    )


def anomaly_row(anomaly: Anomaly, document: str) -> dict[str, Any]:
    """The row of the table ``anomalies``."""
    return {
        "anomaly_id": anomaly.id,
        "owner": anomaly.owner,
        "segment": anomaly.subject,
        "signal": anomaly.signal,
        "state": anomaly.state,
        "severity": anomaly.severity,
        "historic": anomaly.historic,
        "opened_us": anomaly.opened,
        "updated_us": anomaly.updated,
        "resolved_us": anomaly.resolved,
        "document": document,
    }
