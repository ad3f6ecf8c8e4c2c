"""An anomaly that people accept as the new normal: it is over, and what it changed is learned anew from then on.

Its streams stay silent until there are as many days of the new normal as a reference is learned from; then the segment
gets a new version of its reference, which holds the days since the change alone. Its other signals are judged by the
old one until then. Responses are rows of the store, so that whoever leads acts on each once, with its batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from alerts.anomaly import Anomaly
from detectors.rates.reference import MIN_TRIALS
from monitor.evaluate import incidents, learning
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.references import is_slice, kindred
from monitor.store.responses import standing

if TYPE_CHECKING:
    from monitor.evaluate.session import Batch, Session

log = structlog.stdlib.get_logger("driftline.evaluate")

DAY_US = 24 * HOUR_US


def accept_due(session: Session, now: int, batch: Batch) -> None:
    """End the open anomalies that were accepted since the last batch; ``now`` is the event time it begins at."""
    if not session.open.by_id:
        return
    with session.store.read() as connection:
        said = standing(connection, list(session.open.by_id))
    for identity, found in sorted(said.items()):
        if found.accepted is not None:
            _accept(session, session.open.by_id[identity], now, batch)
            log.info("anomaly accepted as the new normal", id=identity, who=found.accepted.who)


def _accept(session: Session, anomaly: Anomaly, now: int, batch: Batch) -> None:
    length = learning.length(session.config)
    for fact in anomaly.facts:
        if fact.resolved is not None:
            continue
        info = session.segments.get(fact.subject)
        if info is not None and (anomaly.owner, *fact.stream) in session.bank.index:
            # The stream is not closed: held against the old reference it would only alarm again.
            info.accepted_us = max(info.accepted_us, -(-fact.since.high // HOUR_US) * HOUR_US)
            info.relearn_us = max(info.accepted_us + length, now)
        incidents.resolve(session, session.open.by_id.get(anomaly.id, anomaly), fact, now, batch)


def relearn_due(session: Session, hour: int, now: int, batch: Batch) -> None:
    """Learn what was accepted once there is enough of it; with too little traffic it is tried again each day."""
    for name, info in sorted(session.segments.items()):
        if not info.accepted_us or hour < info.relearn_us or name not in session.references:
            continue
        begin = max(info.accepted_us, hour - learning.kept_history(session.config))
        reference = (
            learning.fit_slice(session, name, session.embedded_samples(begin, hour), begin, hour)
            if is_slice(name)
            else learning.fit(session, name, begin, hour, kindred(session.references.values(), name))
        )
        if reference.sessions < MIN_TRIALS:
            info.relearn_us = hour + DAY_US
            continue
        clean = info.accepted_us
        learning.keep(session, reference, now, batch, activate=True)
        info.clean_us = clean
