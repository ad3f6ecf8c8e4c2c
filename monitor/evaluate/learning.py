"""Learning a segment's reference from its own first days, and again from more of them while nothing changes.

A week tells little of how much days differ, and nothing of the hours of a week: limits are wide. A learned reference is
therefore learned again when the segment has been free of anomalies for twice its length (`reference.grow`), until it
holds `evaluation.history`. What is bet from then on is decided before it is seen, as always, so that the budget holds
through it; streams begin again from zero evidence, and so wait while any has some.

Labels come later than a segment's first days. Once there are enough, calibration joins its reference, the rest of which
stays as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import structlog
from sqlalchemy import Connection

from detectors.rates.reference import MIN_TRIALS
from monitor.config.model import Config
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.calibration import MIN_LABELS, SIGNAL, learn_calibration, segments_without
from monitor.evaluate.cells import Cells, added_runs
from monitor.evaluate.references import FittedStream, Reference, is_slice, kindred, learn
from monitor.evaluate.slices import learn_slice
from monitor.evaluate.streams import spec_of
from monitor.store import references, review
from monitor.store.evaluation import NotLeader, SampleRow

if TYPE_CHECKING:
    from monitor.evaluate.session import Batch, SegmentInfo, Session

log = structlog.stdlib.get_logger("driftline.evaluate")

DAY_US = 24 * HOUR_US
# Evidence, of the 1 that opens an anomaly, with which a segment's reference stays as it is. Without a change it is
# about what was funded, which may be a tenth where few streams share a budget.
DOUBT = 0.2


def period(config: Config, info: SegmentInfo) -> tuple[int, int]:
    """From when to when a segment's reference is learned: its first full hour on, without what is skipped."""
    begin = -(-info.first_us // HOUR_US) * HOUR_US + -(-config.reference.skip // HOUR_US) * HOUR_US
    return begin, begin + length(config)


def length(config: Config) -> int:
    """How much event time a first reference is learned from: full hours, µs."""
    return -(-max(config.reference.learn, config.evaluation.min_history, HOUR_US) // HOUR_US) * HOUR_US


def learning_segments(session: Session) -> list[str]:
    """Segments that have no reference and none that waits for approval."""
    return [name for name, info in sorted(session.segments.items()) if name not in session.active and not info.drafted]


def keep_history(session: Session, cells: Cells, hour: int) -> None:
    """Keep the hour that ends at ``hour`` for segments that are learning, so that it need not be read again."""
    learning = [name for name in learning_segments(session) if not is_slice(name)]
    if not learning:
        session.history, session.history_from_us = [], None
        return
    if session.history_from_us is None:
        session.history_from_us = hour - HOUR_US
    codes = [session.decoder.segments.get(name) for name in learning]
    mine = cells.where((cells.window >= hour - HOUR_US) & (cells.window < hour))
    if len(mine):
        session.history.append(mine.where(np.isin(mine.segment, codes)).by_hour())


def learn_due(session: Session, hour: int, now: int, batch: Batch) -> None:
    """Learn every segment whose time has come at ``hour``. With too little traffic it is tried again each day."""
    due: list[tuple[str, int]] = []
    for name in learning_segments(session):
        begin, end = period(session.config, session.segments[name])
        latest = begin + max(session.config.evaluation.history, end - begin)
        if end <= hour <= latest and _due(name, hour, begin, end):
            due.append((name, begin))
    # What is due together learns from each other how much days differ: first each alone, then all with what the
    # others and the references in use have found.
    alone = [fit(session, name, begin, hour, {}, embedded=False) for name, begin in due if not is_slice(name)]
    others = [*session.references.values(), *alone]
    sampled: dict[int, list[SampleRow]] = {}  # all routes' samples from a moment on, read once for all slices
    for name, begin in due:
        if is_slice(name) and begin not in sampled:
            sampled[begin] = session.embedded_samples(begin, hour)
        reference = (
            fit_slice(session, name, sampled[begin], begin, hour)
            if is_slice(name)
            else fit(session, name, begin, hour, kindred(others, name))
        )
        latest = begin + max(
            session.config.evaluation.history, period(session.config, session.segments[name])[1] - begin
        )
        if reference.sessions < MIN_TRIALS and (is_slice(name) or hour + DAY_US <= latest):
            continue
        keep(session, reference, now, batch)


class Growth(NamedTuple):
    """A reference that is to be learned again: from when on its hours are free of anomalies, and when there are enough
    of them (the segment's turn comes within the day). Event time, µs."""

    clean_us: int
    due_us: int


def kept_history(config: Config) -> int:
    """How much history a reference may grow to, µs: hours that retention has taken, or is about to, are no silence."""
    return min(config.evaluation.history, (config.retention.hour - DAY_US) // HOUR_US * HOUR_US)


def growth(session: Session, name: str) -> Growth | None:
    """When a segment's reference is learned again if no anomaly opens; None where it stays as it is."""
    settings, history = session.config.reference, kept_history(session.config)
    if not (settings.grow and settings.auto_activate) or name not in session.learned or is_slice(name):
        return None
    used, (first, _) = session.references[name], period(session.config, session.segments[name])
    held = used.to_us - used.from_us
    if held >= history or session.segments[name].accepted_us:
        return None
    clean = max(first, -(-session.segments[name].clean_us // HOUR_US) * HOUR_US)
    return Growth(clean, clean + min(2 * held, history))


def grow_due(session: Session, hour: int, now: int, batch: Batch) -> None:
    """Learn again what is due for it at ``hour``, from all of a segment's hours without an anomaly."""
    for name in sorted(session.learned):
        found = growth(session, name) if _turn(name, hour) else None
        if found is None or found.due_us > hour:
            continue
        if session.bank.evidence_of(session.ownership.owner(name), name) > DOUBT:
            continue
        begin = max(found.clean_us, hour - kept_history(session.config))
        longer = fit(session, name, begin, hour, kindred(session.references.values(), name))
        lost = judged(session.references[name]) - judged(longer)
        if lost:
            log.info("a longer reference judges less and is not used", segment=name, signals=sorted(lost))
        else:
            keep(session, longer, now, batch)


def calibrate_due(session: Session, hour: int, now: int, batch: Batch) -> None:
    """Let calibration join the references of segments whose turn is ``hour`` and that have the labels for it by now.

    The others wait, so that no hour reads the labels of all: of those whose turn it is they are counted, by an index.
    """
    turn = [name for name in sorted(session.learned) if not is_slice(name) and _turn(name, hour)]
    turn = segments_without(session, turn)
    if not turn:
        return
    counts = review.count_to_bet(session.store, turn)
    for name in turn:
        if counts.get(name, 0) < MIN_LABELS or not _newest(session, name, batch):
            continue
        if session.segments[name].accepted_us:
            continue  # a new version would fund the streams that are silent until theirs is learned anew
        if session.bank.evidence_of(session.ownership.owner(name), name) > DOUBT:
            continue
        used = session.references[name]
        begin = max(used.from_us, session.segments[name].clean_us)
        found = learn_calibration(session.store, used, begin, hour)
        if found is None:
            continue
        joined = replace(used, streams={**used.streams, SIGNAL: FittedStream(spec_of(SIGNAL), found)})
        # Those of a reference that was written before this batch are read; they are copied into the new version.
        joined.rows = used.rows or references.sample_rows(session.store, session.active[name])
        keep(session, joined, now, batch)


def _newest(session: Session, name: str, batch: Batch) -> bool:
    """Whether the reference in use is the segment's newest: else one waits for approval, or somebody went back."""
    if name in batch.versions:
        return session.config.reference.auto_activate
    return references.newest_id(session.store, name) == session.active[name]


def judged(reference: Reference) -> set[str]:
    """The signals that a reference supports."""
    return {signal for signal, stream in reference.streams.items() if stream.enough}


def _turn(name: str, hour: int) -> bool:
    """Whether ``hour`` is the segment's own of the day: segments that began together do not all come at once."""
    return (hour // HOUR_US + zlib.crc32(name.encode())) % 24 == 0


def _due(name: str, hour: int, begin: int, end: int) -> bool:
    """Whether ``hour`` is one at which learning is tried: daily, for slices (all samples are read) more rarely."""
    if not is_slice(name):
        return (hour - end) % DAY_US == 0
    lengths, rest = divmod(hour - begin, end - begin)
    return rest == 0 and lengths & (lengths - 1) == 0


def hour_cells(session: Session, segment: str, begin: int, end: int) -> Cells:
    """Thinned cells by hour of a segment's hours in [begin, end)."""
    kept = session.history_from_us
    if segment not in session.active and kept is not None and kept <= begin:
        return added_runs(session.history)
    return session.stored_hours(begin, end, segment)


def fit(
    session: Session, segment: str, begin: int, end: int, kindred_day_sd: Mapping[str, float], *, embedded: bool = True
) -> Reference:
    """A reference of [begin, end), full hours; without embeddings and labels where ``embedded`` is False."""
    cells = hour_cells(session, segment, begin, end)
    config = session.config
    reference = learn(
        segment,
        session.segments[segment].route,
        cells,
        session.decoder.segments.code(segment),
        session.decoder.labels,
        session.embedded_samples(begin, end, segment) if embedded else (),
        from_us=begin,
        to_us=end,
        calendar=session.calendar,
        confidence=config.evaluation.confidence,
        min_rows=config.reference.min_rows,
        max_rows=config.reference.max_rows,
        kindred_day_sd=kindred_day_sd,
    )
    if embedded and (found := learn_calibration(session.store, reference, begin, end)) is not None:
        reference.streams[SIGNAL] = FittedStream(spec_of(SIGNAL), found)
    return reference


def fit_slice(session: Session, name: str, samples: Sequence[SampleRow], begin: int, end: int) -> Reference:
    """A slice's reference of [begin, end), full hours, from the samples of all routes."""
    return learn_slice(
        name,
        samples,
        from_us=begin,
        to_us=end,
        calendar=session.calendar,
        confidence=session.config.evaluation.confidence,
    )


def keep(session: Session, reference: Reference, now: int, batch: Batch, *, activate: bool | None = None) -> None:
    """Write a learned reference with the batch, and activate it where that needs no approval (or has it)."""
    content = reference.to_content()
    with session.store.read() as connection:
        version = references.next_version(connection, reference.segment)
    version = max(version, batch.versions.get(reference.segment, 0) + 1)
    batch.versions[reference.segment] = version
    identity = references.reference_id(reference.segment, version, content)
    if activate is None:
        activate = session.config.reference.auto_activate

    def write(connection: Connection) -> None:
        written = references.add(
            connection,
            segment=reference.segment,
            encoder=reference.encoder,
            from_us=reference.from_us,
            to_us=reference.to_us,
            origin="learned",
            rows=len(reference.rows),
            content=content,
            samples=reference.rows,
            state="active" if activate else "draft",
        )
        if written != identity:
            raise NotLeader(f"another reference of {reference.segment} was made meanwhile")

    batch.steps.append(write)
    if activate:
        batch.dropped += session.activate(reference, identity, now, learned=True)
    else:
        session.segments[reference.segment].drafted = True
    log.info(
        ("learned a reference again, from more days" if version > 1 else "learned a reference from the first days")
        + ("" if activate else "; it waits for approval"),
        segment=reference.segment,
        reference=identity,
        sessions=reference.sessions,
        signals=sorted(name for name, stream in reference.streams.items() if stream.enough),
        not_enough_data=sorted(name for name, stream in reference.streams.items() if not stream.enough),
        encoder=reference.encoder or None,
        embedded=len(reference.rows),
    )
