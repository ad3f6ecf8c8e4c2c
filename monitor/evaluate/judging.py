"""Hourly looks, and rows of evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alerts.lifecycle import SendingRules
from detectors.drift.agreement import AgreementReference
from detectors.drift.embedding import EmbeddingReference
from detectors.rates.silence import silence_log_bet
from detectors.rates.volume import VolumeBets, VolumeReference
from monitor.config.model import Config
from monitor.evaluate import incidents, slices
from monitor.evaluate.bank import Stream
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.cells import Cells
from monitor.evaluate.sampled import agreements, session_vectors
from monitor.evaluate.streams import SLICE_PREFIX
from monitor.store.evaluation import SampleRow

if TYPE_CHECKING:
    from monitor.evaluate.session import Batch, Session

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

DAY_US = 24 * HOUR_US


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
        severities={name: sink.severities for name, sink in alerts.sinks.items()},
        of_owner={name: owner.sinks for name, owner in config.owners.items() if owner.sinks is not None},
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
    found = session.embedded_samples(oldest, end_us)
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
    return len(rows), fit.log_bets(rows, stream.heading)


# -- evidence rows ------------------------------------------------------------------------------------------


def note_open(session: Session, end: int, batch: Batch) -> None:
    """A row per tick for streams with an open anomaly: how firmly the change is still supported."""
    bank = session.bank
    for key, _, fact in session.open.facts():
        i = bank.index.get(key)
        if i is None:
            continue
        hits, trials = bank.window(i, end, end - bank.tick_us)
        batch.evidence.append(
            {
                "segment": fact.subject,
                "signal": fact.signal,
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
                "threshold": incidents.THRESHOLD,
                "effect": None,
            }
        )
    bank.hour_max[:] = 0.0
