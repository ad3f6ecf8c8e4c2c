"""What the false-alarm budget buys before an incident: for `driftline budget` and /api/budget.

Read from the store alone: references, stream states and anomalies as the evaluator last wrote them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from detectors.drift.agreement import AgreementReference
from detectors.drift.embedding import MIN_ROWS, EmbeddingReference
from detectors.rates import RateReference
from detectors.rates.reference import MIN_DAYS, MIN_TRIALS
from detectors.rates.volume import VolumeReference
from monitor.config.model import Config
from monitor.evaluate import slices
from monitor.evaluate.bank import Stream
from monitor.evaluate.calibration import CalibrationFit
from monitor.evaluate.learning import growth, learning_segments, period
from monitor.evaluate.power import HORIZON_HOURS, Line, Situation, answer, lines_of, usual
from monitor.evaluate.references import FittedStream, Reference
from monitor.evaluate.sentences import number, percent
from monitor.evaluate.session import Session
from monitor.evaluate.streams import SLICE_PREFIX, severity_of
from monitor.serve.models import Budget, BudgetPot, BudgetStream, Detection, Waiting
from monitor.store import evaluation, references
from monitor.store.engine import Store
from monitor.store.responses import marks
from monitor.times import DAY_US, HOUR_US, iso

Float = NDArray[np.float64]

WEIGHTS = 16  # quantiles of a slice's weights
SEVERITIES = ("page", "ticket", "report")


class _Standing(Session):
    """A session that reads what is judged, not what was found: documents of open anomalies are left alone."""

    def _take_open(self) -> None:
        pass


def read_budget(
    store: Store,
    config: Config,
    *,
    owner: str | None = None,
    segment: str | None = None,
    effects: Mapping[str, Sequence[tuple[str, float]]] | None = None,
) -> Budget:
    """The budget with what every stream of ``owner`` and ``segment`` (default: all) would find.

    ``effects`` are the changes asked about (`monitor.evaluate.power.parse_effects`), by default a minimum effect and
    a few more for each signal.
    """
    lead = evaluation.standing(store)
    session = _Standing(store, config, lead)
    until = lead.done_until_us
    watched = Watched(session, until or 0)
    chosen = [
        i
        for i, stream in enumerate(session.bank.streams)
        if owner in (None, stream.owner) and segment in (None, stream.segment)
    ]
    streams = watched.found(chosen, effects)
    streams += [
        one
        for one in watched.too_short()
        if owner in (None, one.owner) and segment in (None, one.segment)
    ]  # fmt: skip
    streams.sort(key=lambda one: (one.owner, SEVERITIES.index(one.severity), one.segment, one.signal))
    waiting = [one for one in _waiting(session) if segment in (None, one.segment)]
    if owner is not None:
        waiting = [one for one in waiting if session.ownership.owner(one.segment) == owner]
    pots = [pot for pot in watched.pots() if owner in (None, pot.owner)]
    return Budget(None if until is None else iso(until), pots, streams, waiting, _summary(streams, waiting, until))


@dataclass(slots=True)
class Watched:
    """The streams of a session at ``now``, and how their allowances are divided there."""

    session: Session
    now: int

    def members(self) -> Counter[tuple[str, str]]:
        """How many streams share each allowance, by owner and severity."""
        return Counter(
            (stream.owner, stream.severity)
            for stream, here in zip(self.session.bank.streams, self.session.present(self.now), strict=True)
            if here
        )

    def pots(self) -> list[BudgetPot]:
        session, bank = self.session, self.session.bank
        members, watched = self.members(), Counter((s.owner, s.severity) for s in bank.streams)
        names = list(session.config.owners) or []
        keys = {(name, severity) for name in names for severity in ("page", "ticket")} | set(watched)
        if not names:
            keys |= {("default", severity) for severity in ("page", "ticket")}
        began = self._funded_since()
        value, found = bank.sr.value, []
        for owner, severity in sorted(keys, key=lambda key: (key[0], SEVERITIES.index(key[1]))):
            allowance = session.ownership.allowance(owner, severity)
            from_us = max(0, self.now - allowance.period_us)
            with session.store.read() as connection:
                said = marks(connection, owner=owner, severity=severity, from_us=from_us, to_us=self.now + 1)
            since = max(from_us, began.get((owner, severity), self.now))
            n = members[owner, severity]
            mine = [i for i, s in enumerate(bank.streams) if (s.owner, s.severity) == (owner, severity)]
            found.append(
                BudgetPot(
                    owner=owner,
                    severity=severity,
                    allowance=str(allowance),
                    streams=n,
                    watched=watched[owner, severity],
                    days_each=n / (allowance.per_us * DAY_US) if n else None,
                    opened=said.opened,
                    marked_real=said.real,
                    marked_false=said.false,
                    funded=allowance.per_us * max(0, self.now - since),
                    evidence=float(value[mine].sum()),
                )
            )
        return found

    def _funded_since(self) -> dict[tuple[str, str], int]:
        """Since when each allowance has been divided: the end of the first reference of its segments."""
        session = self.session
        found: dict[tuple[str, str], int] = {}
        routes = {name: info.route for name, info in session.segments.items()}
        for row in references.list_references(session.store):
            if row.state in ("active", "retired"):
                stakes = session.ownership.stakes(row.segment, routes.get(row.segment, ""))
                key = (session.ownership.owner(row.segment), severity_of(stakes))
                found[key] = min(found.get(key, row.to_us), row.to_us)
        return found

    def found(self, chosen: list[int], effects: Mapping[str, Sequence[tuple[str, float]]] | None) -> list[BudgetStream]:
        """The chosen streams with what they would find."""
        session, bank, config = self.session, self.session.bank, self.session.config
        present, members = self.session.present(self.now), self.members()
        situations, sources, shares = [], [], []
        weights = self._weights(chosen)
        for i in chosen:
            stream = bank.streams[i]
            per_hour, source = self._traffic(i)
            n = members[stream.owner, stream.severity]
            allowance = session.ownership.allowance(stream.owner, stream.severity)
            # One that is not funded now is told with what it would get.
            situations.append(
                Situation(stream, per_hour, allowance.per_us * HOUR_US / max(1, n + (not present[i])), weights.get(i))
            )
            sources.append(source)
            shares.append(1.0 / n if present[i] else 0.0)
        lines = lines_of(situations, config.prices.currency, effects)
        every = config.evaluation
        answer(situations, lines, every.every / HOUR_US, max(1.0, every.embeddings_every / HOUR_US))
        by_stream: dict[int, list[Line]] = {}
        for line in lines:
            by_stream.setdefault(line.stream, []).append(line)
        value = bank.sr.value
        found = []
        for at, i in enumerate(chosen):
            mine = sorted(by_stream.get(at, ()), key=lambda line: not line.minimum)
            state = "open" if bank.sr.suspended[i] else "ok" if present[i] else "no_data"
            grows = self._grows(bank.streams[i].segment)
            found.append(_stream(situations[at], mine, state, shares[at], float(value[i]), sources[at], grows))
        return found

    def _grows(self, segment: str) -> str:
        """What is said of a reference that is learned again by itself."""
        found = growth(self.session, segment)
        if found is None:
            return ""
        days = (found.due_us - found.clean_us) / DAY_US
        at = datetime.fromtimestamp(found.due_us / 1e6, ZoneInfo(self.session.config.timezone))
        return f"; its reference is learned again from {days:g} days on {at:%Y-%m-%d}, if no anomaly opens"

    def too_short(self) -> list[BudgetStream]:
        """Signals whose reference does not support a judgement: they have no stream."""
        session, found = self.session, []
        for segment, reference in sorted(session.references.items()):
            severity = severity_of(session.ownership.stakes(segment, reference.route))
            for signal, fitted in sorted(reference.streams.items()):
                if not fitted.enough:
                    owner = session.ownership.owner(segment)
                    grows = self._grows(segment)
                    found.append(_unjudged(owner, segment, signal, severity, fitted, reference, grows))
        return found

    def _traffic(self, i: int) -> tuple[float, str]:
        """Sessions per hour of a stream, and where that is from: its last day, or its reference where it has not been
        watched for a day or had nothing."""
        bank, session = self.session.bank, self.session
        stream = bank.streams[i]
        reference = session.references[stream.segment]
        if self.now - reference.to_us >= DAY_US:
            if stream.hourly:
                counts, _ = bank.hour_counts(i, self.now // HOUR_US * HOUR_US, self.now // HOUR_US * HOUR_US - DAY_US)
                seen = int(counts.sum())
            else:
                _, seen = bank.window(i, self.now, self.now - DAY_US)
            if seen:
                return seen / 24.0, "recent"
        hours = max(1.0, (reference.to_us - reference.from_us) / HOUR_US)
        fit = stream.fitted.fit
        if isinstance(fit, CalibrationFit):
            return fit.labels / max(1.0, (fit.until_us - fit.from_us) / HOUR_US), "reference"
        if isinstance(fit, VolumeReference):
            return float(fit.mean.mean()), "reference"
        if isinstance(fit, EmbeddingReference):
            return fit.rows / hours, "reference"
        trials = fit.below.trials if isinstance(fit, AgreementReference) else fit.trials
        return trials / hours, "reference"

    def _weights(self, chosen: list[int]) -> dict[int, Float]:
        """Quantiles of the weights of each slice's sessions of the last day, over the reference's greatest; of labels
        those that the reference was learned from."""
        session, bank = self.session, self.session.bank
        found = {
            i: np.array(fit.shares) for i in chosen if isinstance(fit := bank.streams[i].fitted.fit, CalibrationFit)
        }  # fmt: skip
        mine = [i for i in chosen if bank.streams[i].spec.kind == "slice"]
        if not mine:
            return found
        samples = session.embedded_samples(self.now - DAY_US, self.now)
        members: dict[str, list[Any]] = {}
        for i in mine:
            stream = bank.streams[i]
            if stream.segment not in members:
                name = stream.segment[len(SLICE_PREFIX) :]
                members[stream.segment] = slices.members(samples, name, session.references[stream.segment])
            _, weight, _ = slices.verdicts(members[stream.segment], stream.spec.metric)
            share = np.minimum(weight / stream.fitted.threshold, 1.0) if weight.size else np.ones(1)
            found[i] = np.quantile(share, (np.arange(WEIGHTS) + 0.5) / WEIGHTS)
        return found


def _stream(
    situation: Situation, lines: list[Line], state: str, share: float, evidence: float, source: str, grows: str
) -> BudgetStream:
    stream, per_hour = situation.stream, situation.per_hour
    detects = [
        Detection(line.words(size), _hours(median), _hours(late))
        for line in lines
        for size, (median, late) in zip(line.sizes, line.found, strict=True)
    ]
    smallest = None
    if lines and not math.isnan(lines[0].smallest):
        smallest = Detection(lines[0].words(lines[0].smallest), _hours(lines[0].smallest_hours), None)
    enough = bool(detects) and detects[0].hours is not None
    return BudgetStream(
        owner=stream.owner,
        segment=stream.segment,
        signal=stream.signal,
        severity=stream.severity,
        state=state,
        share=share,
        evidence=evidence,
        sessions_per_hour=per_hour,
        traffic=source,
        enough=enough,
        why="" if enough or not detects else _why(stream, per_hour, lines[0], grows),
        sentence=_sentence(stream.segment, detects[0], per_hour) if detects else "",
        detects=detects,
        smallest=smallest,
    )


def _unjudged(
    owner: str, segment: str, signal: str, severity: str, fitted: FittedStream, reference: Reference, grows: str
) -> BudgetStream:
    fit = fitted.fit
    hours = max(1.0, (reference.to_us - reference.from_us) / HOUR_US)
    trials, days, per_hour = 0, 0, 0.0
    why = "its reference does not support a judgement"
    if isinstance(fit, RateReference):
        trials, days, per_hour = fit.trials, fit.days, fit.trials / hours
        why = (
            f"its reference holds {trials:,} sessions on {days} days; {MIN_TRIALS} on {MIN_DAYS} are needed: "
            "build one over a longer stretch"
        )
    elif isinstance(fit, VolumeReference):
        per_hour = float(fit.mean.mean())
        why = f"its reference has {fit.days} days of {number(per_hour)} sessions/h; 5 days and 24 sessions are needed"
    return BudgetStream(
        owner, segment, signal, severity, "not_enough_data", 0.0, 0.0, per_hour, "reference", False, why + grows, "",
        [], None,
    )  # fmt: skip


def _why(stream: Stream, per_hour: float, line: Line, grows: str) -> str:
    """``grows`` is said where the reference is what stands in the way; of too little traffic it changes little."""
    fit = stream.fitted.fit
    median = line.found[0][0]
    if per_hour <= 0:
        return "no sessions in the last day"
    if isinstance(fit, CalibrationFit) and math.isfinite(median):
        return f"it would take {duration(median)} at {number(per_hour * 24)} labels a day"
    if isinstance(fit, EmbeddingReference) and per_hour * 24 < MIN_ROWS:
        return f"fewer than {MIN_ROWS} sampled sessions a day"
    if math.isfinite(median):
        return f"it would take {duration(median)} at {number(per_hour)} sessions/h"
    if isinstance(fit, RateReference):
        rises = line.data == "up"
        limit, base = (fit.p_plus if rises else fit.p_minus), float(logit(usual(fit)))
        asked = float(expit(base + (line.sizes[0] if rises else -line.sizes[0])))
        known = f"after {fit.trials:,} sessions on {fit.days} days"
        told = f"{known}, {'up' if rises else 'down'} to {percent(limit)} is no change"
        return (f"{told}, and what was asked is too near" if (asked > limit) == rises else told) + grows
    if isinstance(fit, VolumeReference):
        return f"its days differ by {percent(fit.day_sd)} and {fit.days} of them are known{grows}"
    return f"its reference allows as much without a change{grows}"


def _hours(hours: float) -> float | None:
    return round(hours, 3) if hours <= HORIZON_HOURS else None


def _sentence(segment: str, found: Detection, per_hour: float) -> str:
    where = f"slice {segment[len(SLICE_PREFIX) :]}" if segment.startswith(SLICE_PREFIX) else segment
    verb = "would not be found within 7 d" if found.hours is None else f"would be found within {duration(found.hours)}"
    return f"{where}: {found.change} {verb} at {number(per_hour)} sessions/h"


def division(found: Budget) -> list[str]:
    """How the budget is divided, what is spent, and how many streams have enough data, as lines."""
    rows = [
        ("owner", "severity", "budget", "streams", "each gets", "opened", "marked false", "funded", "evidence held")
    ]
    for pot in found.pots:
        each = "–" if pot.days_each is None else f"1 per {pot.days_each:,.0f} d"
        rows.append(
            (
                pot.owner, pot.severity, pot.allowance, f"{pot.streams} of {pot.watched}", each, str(pot.opened),
                marked(pot), f"{pot.funded:.2f}", f"{pot.evidence:.3f}",
            )
        )  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if found.evaluated_until is not None:
        lines.append(
            f"Opened and funded are of the period up to {found.evaluated_until}; opened counts real changes too.\n"
            "Of those, `driftline alerts mark` called some false; the budget promises at most as many as were funded."
        )
    return [*lines, *found.summary]


def marked(pot: BudgetPot) -> str:
    """How many of what was opened people called false, and of how many they said anything."""
    said = pot.marked_real + pot.marked_false
    return f"{pot.marked_false} of {said} marked" if said else "none marked"


def duration(hours: float) -> str:
    """``25 min``, ``7 h``, ``3.2 d``: rounded up."""
    if hours < 1.0:
        return f"{math.ceil(60.0 * hours - 1e-6)} min"
    if hours <= 48.0:
        return f"{math.ceil(hours - 1e-6)} h"
    days = hours / 24.0
    return f"{math.ceil(10.0 * days - 1e-6) / 10.0:g} d" if days < 1000 else f"{days / 365.25:.1f} years"


def _waiting(session: Session) -> list[Waiting]:
    found = [
        Waiting(name, "learning", iso(period(session.config, session.segments[name])[1]))
        for name in learning_segments(session)
    ]
    found += [Waiting(name, "draft", None) for name, info in session.segments.items() if info.drafted]
    return sorted(found, key=lambda one: one.segment)


def _summary(streams: list[BudgetStream], waiting: list[Waiting], until: int | None) -> list[str]:
    if until is None:
        return ["Nothing is evaluated yet: `driftline run` reads events and learns references from the first days."]
    found = []
    asked = [one for one in streams if one.detects or one.state == "not_enough_data"]
    if asked:
        good = sum(one.enough for one in asked)
        found.append(f"{good} of {len(asked)} streams would find their minimum effect within 7 d.")
    elif not streams and not waiting:
        found.append("No streams: no segment has been seen.")
    overdue = sum(one.until is not None and one.until <= iso(until) for one in waiting)
    due = sorted(one.until for one in waiting if one.until is not None and one.until > iso(until))
    drafts = sum(one.state == "draft" for one in waiting)
    if due:
        found.append(f"Not judged yet, learning: {len(due)} segments and slices; the first reference is due {due[0]}.")
    if overdue:
        found.append(f"Not judged yet, too little data to learn from: {overdue} segments and slices.")
    if drafts:
        found.append(f"Not judged yet, a reference waits for approval: {drafts} (`driftline reference list`).")
    return found
