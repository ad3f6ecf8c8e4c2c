"""Anomalies opened, joined, updated and resolved: one incident is one anomaly, however many signals it moves.

A stream that alarms joins an open anomaly of its owner if both began at the same time and have the same root: the same
segment; the same signal, where a slice sees what its sessions' segment sees; or the same attribute value behind them.
So does one that was among its signals and taken to be over, for two days.
Joining tells nobody again, so it may only lower the number of notifications that the budget promises; where nobody was
told, since the anomaly was found too late, they are then. A stream at stake higher than the anomaly opens its own.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import structlog

from alerts import lifecycle
from alerts.anomaly import Anomaly, Evidence, Explanation, Fact, Since
from alerts.anomaly import Effect as EffectDocument
from detectors.rates import RateReference
from detectors.rates.bets import interval
from detectors.summaries.metrics import METRICS
from monitor.evaluate import explaining, learning
from monitor.evaluate.bank import Stream
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.calibration import calibration_onset
from monitor.evaluate.cells import Cells
from monitor.evaluate.measuring import document, measure, middle, said
from monitor.evaluate.references import is_slice
from monitor.evaluate.story import story, why

if TYPE_CHECKING:
    from monitor.evaluate.session import Batch, Session

log = structlog.stdlib.get_logger("driftline.evaluate")

DAY_US = 24 * HOUR_US
EVIDENCE_KIND = "funded_sr"
THRESHOLD = 1.0
NEW_SEGMENT = "new_segment"
SLACK_US = HOUR_US  # streams that look once an hour know a beginning no better
MAX_FACTS = 100  # of one anomaly; what comes then opens another
GROWING_US = 2 * DAY_US  # in which other signals of an open anomaly's family are its growth
FAMILIES = {
    "cost": ("cost", "input_tokens", "output_tokens"),
    "latency": ("latency",),
    "routing": ("routing_mix",),
    "confidence": ("confidence",),
    "inputs": ("image_drift", "text_drift", "agreement"),
}
QUIET_LABELS_US = 7 * DAY_US  # without labels for this long nobody can tell whether confidence is still off
MOST_AN_HOUR = 24  # anomalies explained anew at a full hour, of those that are due
RANK = {"report": 0, "ticket": 1, "page": 2}
RECENT_HOURS = (1, 3, 6, 12, 24)
SURE = 0.999  # an hourly question, asked for days after the change is gone


class OpenAnomalies:
    """The open anomalies, and which of them each stream with an open fact belongs to."""

    def __init__(self) -> None:
        self.by_id: dict[str, Anomaly] = {}
        self.of: dict[tuple[str, str, str], str] = {}  # (owner, subject, signal): id

    def put(self, anomaly: Anomaly) -> None:
        """Take an anomaly in, or its new version; one that is resolved goes."""
        for fact in anomaly.facts:
            key = (anomaly.owner, *fact.stream)
            if fact.resolved is None:
                self.of[key] = anomaly.id
            elif self.of.get(key) == anomaly.id:
                del self.of[key]
        if anomaly.state == "open":
            self.by_id[anomaly.id] = anomaly
        else:
            self.by_id.pop(anomaly.id, None)

    def facts(self) -> list[tuple[tuple[str, str, str], Anomaly, Fact]]:
        """Every open fact with its stream's key and its anomaly, by key."""
        found = []
        for key in sorted(self.of):
            anomaly = self.by_id[self.of[key]]
            found.append((key, anomaly, next(fact for fact in anomaly.facts if fact.stream == key[1:])))
        return found


def alarm(session: Session, i: int, value: float, end: int, batch: Batch) -> None:
    """The stream's evidence reached the threshold at the tick that ends at ``end``."""
    bank = session.bank
    stream = bank.streams[i]
    labelled = stream.spec.kind == "calibration"
    found = (
        calibration_onset(session, i, end) if labelled else bank.onset_of(i, end, session.calendar.hours_of_week)
    )  # fmt: skip
    effect = measure(session, i, found.at_us, end)
    fact = Fact(
        subject=stream.segment,
        signal=stream.signal,
        detector=stream.spec.detector,
        opened=end,
        since=Since(low=found.low_us, high=found.high_us),
        # What is beyond the threshold says little more, and its last digits depend on the processor.
        evidence=Evidence(kind=EVIDENCE_KIND, value=float(f"{min(value, 1e12):.6g}"), threshold=THRESHOLD),
        effect=document(effect),
        sentence=said(session, stream, effect, middle(found.low_us, found.high_us)),
    )
    bank.open(i, end, found.low_us)
    if labelled:
        bank.floor[i] = found.low_us  # what came before the change, labelled now, does not tell that it is gone
    # What joins for its place or its family need not be explained; of a flood of alarms the first are at once.
    home, explanation = _home(session, stream, fact, None), Explanation(sentence="")
    if home is None and session.may_explain(end):
        explanation = _explained(session, stream, fact, end)
        home = _home(session, stream, fact, explanation)
    if home is not None:
        historic = lifecycle.is_historic(fact.opened, batch.now_us, session.rules)
        changed = _put(session, lifecycle.join(home, fact, historic=historic), batch)
        if home.historic and not changed.historic and not session.rules.send_historic:
            batch.told[changed.id] = changed  # nobody was: it began too long ago, and goes on
        log.info("a change joined an open anomaly", id=changed.id, fact=fact.sentence)
        return
    anomaly = lifecycle.open_anomaly(
        owner=stream.owner,
        route=stream.route,
        severity=stream.severity,  # type: ignore[arg-type]
        fact=fact,
        explanation=explanation,
        detected_us=batch.now_us,
        rules=session.rules,
    )
    anomaly = _put(session, anomaly, batch)
    batch.told[anomaly.id] = anomaly
    log.info("anomaly opened", id=anomaly.id, severity=anomaly.severity, sentence=anomaly.sentence)


def _explained(session: Session, stream: Stream, fact: Fact, end: int) -> Explanation:
    """Why; nothing where that fails: an alarm is never held up by what would explain it."""
    try:
        found = explaining.explain(session, stream, fact, end)
        why(found, session.config.prices.currency)  # what cannot be put into words is no explanation either
        return found
    except (ValueError, ArithmeticError, LookupError, TypeError, np.linalg.LinAlgError):
        session.unexplained += 1
        log.exception("a change could not be explained", segment=stream.segment, signal=stream.signal)
        return Explanation(sentence="")


def _home(session: Session, stream: Stream, fact: Fact, explanation: Explanation | None) -> Anomaly | None:
    """The oldest open anomaly that the fact belongs to; attribute values are compared where there is an explanation.

    The wall clock has no part in it.
    """
    for anomaly in sorted(session.open.by_id.values(), key=lambda a: (a.opened, a.id)):
        if anomaly.owner != stream.owner or RANK[anomaly.severity] < RANK[stream.severity]:
            continue
        if len(anomaly.facts) >= MAX_FACTS and fact.stream not in {known.stream for known in anomaly.facts}:
            continue
        if same_start(anomaly.since, fact.since) and _same_root(anomaly, fact, explanation):
            return anomaly
        # A signal that was taken to be over, and is found again.
        ends = [known.resolved for known in anomaly.facts if known.stream == fact.stream and known.resolved is not None]
        if any(fact.opened - end <= GROWING_US for end in ends):
            return anomaly
        if fact.since.high < anomaly.since.low:
            continue
        # What shows later in another signal of the segment is the same change growing, where the same value carries
        # it or the signal is of the same family; in a slice, which sees fewer sessions, where the same value is behind
        # the same signal.
        soon = fact.opened - anomaly.opened <= GROWING_US
        if soon and _seen_by_slice(anomaly, fact) and _shared_root(anomaly, explanation):
            return anomaly
        known = [known for known in anomaly.facts if known.subject == fact.subject]
        if not known:
            continue
        if soon and family(fact.signal) in {family(other.signal) for other in known}:
            return anomaly
        if explanation is not None and _carriers(anomaly.explanation) & _carriers(explanation):
            return anomaly
    return None


def family(signal: str) -> str:
    """Signals of the same thing: what requests cost, how long they take, how they are routed, what they look like."""
    for name, prefixes in FAMILIES.items():
        if signal.startswith(prefixes):
            return name
    return signal


def same_start(one: Since, other: Since) -> bool:
    """Whether two changes may have begun together."""
    return one.low - SLACK_US <= other.high and other.low - SLACK_US <= one.high


def _same_root(anomaly: Anomaly, fact: Fact, explanation: Explanation | None) -> bool:
    if any(known.subject == fact.subject for known in anomaly.facts):
        return True
    return _seen_by_slice(anomaly, fact) or _shared_root(anomaly, explanation)


def _seen_by_slice(anomaly: Anomaly, fact: Fact) -> bool:
    return is_slice(fact.subject) and any(known.signal == fact.signal for known in anomaly.facts)


def _shared_root(anomaly: Anomaly, explanation: Explanation | None) -> bool:
    return explanation is not None and bool(_roots(anomaly.explanation) & _roots(explanation))


def _roots(explanation: Explanation) -> set[tuple[str, str]]:
    return {(a["attribute"], a["value"]) for a in explanation.attributes if a["how"] in ("carries", "began")}


def _carriers(explanation: Explanation) -> set[tuple[str, str]]:
    return {(a["attribute"], a["value"]) for a in explanation.attributes if a["how"] == "carries"}


def review_open(session: Session, now: int, batch: Batch) -> None:
    """Every hour: open facts get their present effect, and are over where the change is gone."""
    bank = session.bank
    patience = session.config.evaluation.resolve_after
    due: list[tuple[str, Stream]] = []
    for key, anomaly, fact in session.open.facts():
        anomaly = session.open.by_id[anomaly.id]  # as its facts before left it
        if fact.signal == NEW_SEGMENT:
            _review_new(session, anomaly, fact, now, batch)
            continue
        i = bank.index.get(key)
        if i is None:  # its stream is no more: a new reference does not know the signal
            resolve(session, anomaly, fact, now, batch)
            continue
        over = int(bank.last_data[i]) - int(bank.supported[i]) >= patience
        labelled = bank.streams[i].spec.kind == "calibration"
        silent = now - int(bank.last_data[i]) >= max(QUIET_LABELS_US if labelled else DAY_US, patience)
        if over or silent:
            bank.close(i, now)
            resolve(session, anomaly, fact, now, batch)
            continue
        if int(bank.supported[i]) < int(bank.last_data[i]) or not _shows(session, i, fact, now):
            continue  # what is measured now no longer tells of the change
        stream = bank.streams[i]
        begin = fact.since.low if labelled else max(fact.since.low, now - DAY_US)
        effect = measure(session, i, begin, now) if not labelled or bank.last_data[i] == now else None
        found = fact.effect if effect is None else document(effect)
        if effect is not None and found != fact.effect and found.value is not None:
            text = said(session, stream, effect, middle(fact.since.low, fact.since.high))
            anomaly = lifecycle.update(anomaly, fact.stream, at_us=now, effect=found, sentence=text)
            anomaly = _put(session, anomaly, batch)
        if fact.stream == anomaly.facts[0].stream and explaining.is_due(anomaly, now):
            due.append((anomaly.id, stream))
    # Those that have no explanation yet come first, then those that matter most.
    due.sort(key=lambda one: _urgency(session.open.by_id[one[0]]))
    for identity, stream in due[:MOST_AN_HOUR]:
        anomaly = session.open.by_id[identity]
        again = _explained(session, stream, anomaly.facts[0], now)
        _put(session, lifecycle.explain(anomaly, again, at_us=now), batch)


def _urgency(anomaly: Anomaly) -> tuple[bool, int, int, str]:
    return bool(anomaly.explanation.tried), -RANK[anomaly.severity], anomaly.opened, anomaly.id


def note_new(session: Session, cells: Cells, hour: int, batch: Batch) -> None:
    """Segments whose first event lies in the hour that ends: recorded once, and told to nobody.

    Those that were there from the beginning are not new. It is over when the segment has a reference, or none came of
    it in the time that learning may take.
    """
    names = [name for name in session.segments if not is_slice(name)]
    if not names:
        return
    earliest = min(session.segments[name].first_us for name in names)
    events = cells.metric == METRICS["events"].id
    for name in sorted(names):
        info = session.segments[name]
        begin, learned = learning.period(session.config, info)
        if not hour - HOUR_US <= info.first_us < hour or info.first_us - earliest < learned - begin:
            continue
        mine = events & (cells.segment == session.decoder.segments.get(name)) & (cells.window < hour)
        sessions = int(cells.counts[mine & (cells.window >= hour - HOUR_US)].sum())
        since = datetime.fromtimestamp(info.first_us / 1e6, ZoneInfo(session.config.timezone))
        fact = Fact(
            subject=name,
            signal=NEW_SEGMENT,
            detector=NEW_SEGMENT,
            opened=hour,
            since=Since(low=info.first_us, high=info.first_us),
            evidence=Evidence(kind="seen", value=float(sessions), threshold=1.0),
            effect=EffectDocument(value=float(sessions), unit="sessions_per_hour", low=None, high=None, baseline=0.0),
            sentence=f"Segment {name} is new: first seen {since:%Y-%m-%d %H:%M %Z}, {sessions} sessions in that hour.",
        )
        anomaly = lifecycle.open_anomaly(
            owner=session.ownership.owner(name),
            route=info.route,
            severity="report",
            fact=fact,
            explanation=Explanation(sentence=fact.sentence),
            detected_us=batch.now_us,
            rules=session.rules,
        )
        _put(session, anomaly, batch)
        log.info("a new segment", segment=name, sessions=sessions)


def _review_new(session: Session, anomaly: Anomaly, fact: Fact, now: int, batch: Batch) -> None:
    info = session.segments.get(fact.subject)
    patience = 0 if info is None else learning.period(session.config, info)[1] - info.first_us
    patience = max(patience, session.config.evaluation.history)
    if fact.subject in session.active or now - fact.opened >= patience:
        resolve(session, anomaly, fact, now, batch)


def _put(session: Session, anomaly: Anomaly, batch: Batch) -> Anomaly:
    """Keep an anomaly's new version, with its story told anew."""
    explanation = lifecycle.with_sentence(anomaly.explanation, story(anomaly, session.config.prices.currency))
    anomaly = lifecycle.explain(anomaly, explanation, at_us=anomaly.updated)
    session.open.put(anomaly)
    batch.changed[anomaly.id] = anomaly
    if anomaly.id in batch.told:
        batch.told[anomaly.id] = anomaly
    return anomaly


def resolve(session: Session, anomaly: Anomaly, fact: Fact, now: int, batch: Batch) -> None:
    """A fact is over at ``now``, and its anomaly if that was the last one; told if it is."""
    changed = _put(session, lifecycle.resolve(anomaly, fact.stream, at_us=now), batch)
    if changed.state == "resolved":
        batch.told[changed.id] = changed
        log.info("anomaly resolved", id=changed.id, sentence=changed.sentence)


def _shows(session: Session, i: int, fact: Fact, now: int) -> bool:
    """Whether what a rate did of late shows the change by itself.

    Small bets take long to tell that it is gone; meanwhile the measure of the change must not be diluted by what came
    after it. Of late is the shortest stretch in which a change of that size would show.
    """
    fit = session.bank.streams[i].fitted.fit
    if not isinstance(fit, RateReference) or fact.effect.value is None or fact.effect.baseline is None:
        return True
    value, usual = fact.effect.value, fact.effect.baseline
    for hours in RECENT_HOURS:
        hits, trials = session.bank.window(i, now, now - hours * HOUR_US)
        low, high = interval(value * trials, trials, SURE)
        if usual < low or usual > high:
            break
    low, high = interval(hits, trials, SURE)
    return usual < low if value >= usual else usual > high


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
