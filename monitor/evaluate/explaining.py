"""Why a stream changed: its segment's sampled sessions since the change against those of its reference.

Everything said is compared with chance over all that was tried (detectors/explain); nothing found is an answer. The
day before the change is looked at too: what began with the change and is in nearly every session since leaves nothing
to compare within, and is told as a coincidence in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from alerts.anomaly import Anomaly, Explanation, Fact, anomaly_id
from detectors.drift.embedding import EmbeddingReference
from detectors.explain.attributes import MIN_SESSIONS as VALUE_NEEDS
from detectors.explain.attributes import MISSING, POOLED, attribute
from detectors.explain.coincidence import MIN_BEFORE, began_with
from detectors.explain.concepts import Concept, concepts
from detectors.explain.conditions import MIN_SESSIONS as CONDITIONS_NEED
from detectors.explain.conditions import Condition, Moved, conditions
from detectors.explain.direction import MIN_SESSIONS
from detectors.explain.exemplars import most_changed, typical
from detectors.explain.holm import LEVEL
from detectors.explain.share import new_share
from monitor.evaluate import accounts, slices
from monitor.evaluate.bank import Stream
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.calibration import calibration_explanation
from monitor.evaluate.compared import (
    IMAGE_CONDITIONS,
    NUMBERS,
    STAGE_PREFIX,
    TEXT_CONDITIONS,
    Sessions,
    scored,
    with_users_named,
)
from monitor.evaluate.references import Reference, is_slice
from monitor.evaluate.sampled import rank, unpacked
from monitor.evaluate.story import six
from monitor.evaluate.streams import SLICE_PREFIX
from monitor.store import evaluation, references
from monitor.store.evaluation import SampleRow

if TYPE_CHECKING:
    from monitor.evaluate.session import Session

Float = NDArray[np.float64]

DAY_US = 24 * HOUR_US
MOST_US = 4 * DAY_US  # of a change that is looked at
MAX_SESSIONS = 2000  # of each period
EXEMPLARS = 4  # of each role
MOST_SHARES = 12  # values told of a change in volume
HOURS = (1, 2, 4, 8, 16, 24)  # after the opening: explained again, from more sessions


def is_due(anomaly: Anomaly, now_us: int) -> bool:
    """Whether an anomaly is to be explained at a full hour: again from more sessions, or for the first time."""
    age = (now_us - anomaly.opened) // HOUR_US
    return age in HOURS or (not anomaly.explanation.tried and age <= HOURS[-1])


def explain(session: Session, stream: Stream, fact: Fact, end_us: int) -> Explanation:
    """Why the stream of ``fact`` changed, from what was sampled until ``end_us`` (event time); without its sentence."""
    if not session.explains:
        return Explanation(sentence="")
    if stream.spec.kind == "calibration":
        return calibration_explanation(session, stream, fact.since.high, end_us)
    reference = session.references[stream.segment]
    # The latest likely beginning: what came before it may be of the old kind.
    since = max(fact.since.high, end_us - MOST_US)
    now = _chosen(_sampled(session, stream, since, end_us))
    before = _chosen(_of_reference(session, stream.segment))
    recent = _chosen(_sampled(session, stream, fact.since.low - DAY_US, fact.since.low))
    rng = np.random.default_rng(int(anomaly_id(stream.owner, stream.segment, stream.signal, fact.opened), 16))
    found = compare(stream, reference, Sessions.of(before), Sessions.of(recent), Sessions.of(now), rng)
    metric, before_us = stream.spec.metric, fact.since.low
    if is_slice(stream.segment) or since >= end_us:
        return found
    if metric in accounts.PAID:
        return msgspec.structs.replace(found, bill=accounts.bill(session.store, stream.segment, since, end_us))
    if metric not in accounts.LATENCIES:
        return found
    stages = accounts.stages(session.store, stream.segment, before_us, since, end_us)
    if metric != "latency_total":
        return msgspec.structs.replace(found, stages=stages)
    load = accounts.load(session.store, stream.segment, stream.fitted.threshold, before_us, since, end_us)
    return msgspec.structs.replace(found, stages=stages, load=load)


def compare(
    stream: Stream, reference: Reference, before: Sessions, recent: Sessions, now: Sessions, rng: np.random.Generator
) -> Explanation:
    """The explanation from sessions of the reference, of the day before the change, and since.

    What an encoder told is compared among sessions of the reference's encoder alone.
    """
    if stream.spec.kind in ("embedding", "agreement"):
        before, recent, now = (s.embedded_by(reference.encoder) for s in (before, recent, now))
    before, recent, now = with_users_named(before, recent, now)
    tried = {"sessions_before": len(before), "sessions_now": len(now)}
    if not len(before) or not len(now):
        return Explanation(sentence="", tried=tried)
    seen = _Seen.of(stream, before, now)
    carried, values = _shares(before, now) if stream.spec.kind == "volume" else _attributes(stream, seen, rng)
    began, more = _beginnings(stream, recent, now)
    where = _carriers(before, now, carried)
    moved, looked_at = _conditions(stream, *where, rng)
    words, bank = _concepts(stream, *(s.embedded_by(reference.encoder) for s in where))
    return Explanation(
        sentence="",
        concepts=words,
        conditions=moved,
        attributes=[*carried, *began],
        share=_share(stream, seen, rng),
        exemplars=_exemplars(stream, seen, carried),
        tried=tried | {"values": values + more, "conditions": looked_at, "concepts": bank},
    )


# -- sessions -----------------------------------------------------------------------------------------------


def _sampled(session: Session, stream: Stream, from_us: int, to_us: int) -> list[SampleRow]:
    """The stream's sampled sessions of [from, to).

    Ticks do not wait for the hour's samples to be embedded: of the hour under way only what was known when its windows
    closed is taken (attributes, verdicts, numbers), so that the same input is explained alike in every run.
    """
    if is_slice(stream.segment):
        found = session.embedded_samples(from_us, to_us)
        return slices.members(found, stream.segment[len(SLICE_PREFIX) :], session.references[stream.segment])
    hour = to_us // HOUR_US * HOUR_US
    found = evaluation.all_samples(session.store, from_us, to_us, stream.segment)
    return [s if s.window_us < hour else replace(s, parts=(), encoder="") for s in found]


def _of_reference(session: Session, segment: str) -> list[SampleRow]:
    # A reference that was learned in this batch is not written yet.
    rows = session.references[segment].rows or references.sample_rows(
        session.store, session.active[segment], MAX_SESSIONS
    )
    return [sample for row in rows if (sample := unpacked(row)) is not None]


def _chosen(samples: Sequence[SampleRow]) -> list[SampleRow]:
    """At most so many, a uniform choice that is the same in every run, in the order of their ids."""
    kept = samples if len(samples) <= MAX_SESSIONS else sorted(samples, key=rank)[:MAX_SESSIONS]
    return sorted(kept, key=lambda sample: sample.sample_id)


# -- the parts ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the stream looks at in both periods: one score or row per session that has one."""

    was: Float
    of_was: Sessions
    is_: Float
    of_is: Sessions

    @classmethod
    def of(cls, stream: Stream, before: Sessions, now: Sessions) -> _Seen:
        threshold = stream.fitted.threshold
        return cls(*scored(before, stream.spec, threshold), *scored(now, stream.spec, threshold))

    @property
    def enough(self) -> bool:
        """For a direction, and for comparing attributes."""
        return min(len(self.of_was), len(self.of_is)) >= MIN_SESSIONS


def _attributes(stream: Stream, seen: _Seen, rng: np.random.Generator) -> tuple[list[dict[str, Any]], int]:
    """Values that carry the change, and how many were tried."""
    if not seen.enough:
        return [], 0
    was, of_was, is_, of_is = seen.was, seen.of_was, seen.is_, seen.of_is
    first, last = _both(of_was, of_is, is_slice(stream.segment))
    if stream.spec.kind == "mix":
        for values in (first, last):
            values.pop("tier", None)  # that another tier carries another tier says nothing
    found = attribute(was, is_, first, last, rng=rng, before_weights=of_was.weights, now_weights=of_is.weights)
    named = [
        {
            "attribute": carrier.attribute,
            "value": carrier.value,
            "how": "carries",
            "before": six(carrier.before),
            "now": six(carrier.now),
            "left": six(carrier.without.value / found.change.value) if found.change.value else None,
            "p": six(carrier.adjusted),
        }
        for carrier in found.named
    ]
    return named, len(found.tried)


def _both(
    before: Sessions, now: Sessions, segment: bool
) -> tuple[dict[str, list[str | None]], dict[str, list[str | None]]]:
    """Attributes of both periods under the same names."""
    first, last = before.attributes(segment=segment), now.attributes(segment=segment)
    names = sorted({*first, *last})
    return (
        {name: first.get(name, [None] * len(before)) for name in names},
        {name: last.get(name, [None] * len(now)) for name in names},
    )


def _shares(before: Sessions, now: Sessions) -> tuple[list[dict[str, Any]], int]:
    """Of a change in volume: the values whose share of the sessions changed."""
    first, last = _both(before, now, segment=False)
    found: list[tuple[str, Concept]] = []
    tried = 0
    for name in sorted(first):
        told = concepts(
            *_common(first[name], last[name]),
            before_weights=before.weights,
            now_weights=now.weights,
            level=LEVEL / max(1, len(first)),
        )
        tried += len(told.gained) + len(told.lost)
        found += [(name, value) for value in told.named]
    found.sort(key=lambda pair: (-abs(pair[1].change.value), pair[0], pair[1].name))
    found = found[:MOST_SHARES]
    named = [
        {
            "attribute": name, "value": value.name, "how": "share", "before": six(value.before.value),
            "now": six(value.now.value), "left": None, "p": six(value.adjusted),
        }
        for name, value in found
    ]  # fmt: skip
    return named, tried


def _common(before: Sequence[str | None], now: Sequence[str | None]) -> tuple[list[str], list[str]]:
    """Values, those of few sessions under one name: what is different in every session is no value to compare."""
    count = Counter([*before, *now])
    first, last = (
        [MISSING if text is None else text if count[text] >= VALUE_NEEDS else POOLED for text in of]
        for of in (before, now)
    )
    return first, last


def _beginnings(stream: Stream, recent: Sessions, now: Sessions) -> tuple[list[dict[str, Any]], int]:
    """Values that began with the change, and how many were tried."""
    if len(recent) < MIN_BEFORE:
        return [], 0
    first, last = _both(recent, now, is_slice(stream.segment))
    found = began_with(first, last, before_weights=recent.weights, now_weights=now.weights)
    named = [
        {
            "attribute": value.attribute, "value": value.value, "how": "began", "before": six(value.before),
            "now": six(value.now), "left": None, "p": six(value.adjusted),
        }
        for value in found
    ]  # fmt: skip
    return named, sum(len({text for text in values if text is not None}) for values in last.values())


def _carriers(before: Sessions, now: Sessions, carried: Sequence[dict[str, Any]]) -> tuple[Sessions, Sessions]:
    """Of both periods the sessions that carry the change, where a value does and has enough of them: what they were
    and are is not diluted by the others. A value that is new is compared with all that was."""
    if not carried or carried[0]["how"] != "carries":
        return before, now
    name, value = carried[0]["attribute"], carried[0]["value"]

    def having(sessions: Sessions) -> Sessions:
        values = sessions.attributes(segment=True).get(name, [None] * len(sessions))
        return sessions.where([i for i, text in enumerate(values) if text == value])

    first, last = having(before), having(now)
    if len(last) < CONDITIONS_NEED:
        return before, now
    return (first if len(first) >= CONDITIONS_NEED else before), last


def _conditions(
    stream: Stream, before: Sessions, now: Sessions, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], int]:
    """Conditions that moved, and how many were looked at."""
    spec = stream.spec
    which: list[Condition] = []
    was: dict[str, Float] = {}
    is_: dict[str, Float] = {}

    def take(some: Sequence[Condition], read: Callable[[Sessions], dict[str, Float]]) -> None:
        which.extend(some)
        was.update(read(before))
        is_.update(read(now))

    if spec.kind == "volume":
        return [], 0
    if not (spec.kind == "embedding" and spec.metric == "text"):
        take(IMAGE_CONDITIONS, Sessions.images)
    if spec.kind in ("embedding", "agreement"):
        if spec.metric != "image":
            take(TEXT_CONDITIONS, Sessions.texts)
    else:
        take([c for c in NUMBERS if c.name != spec.metric], Sessions.numbers)
        if spec.metric.startswith("latency"):
            stages = sorted({name for name in (*was, *is_) if name.startswith(STAGE_PREFIX)})
            own = STAGE_PREFIX + spec.label
            which.extend(Condition(name, told="relative") for name in stages if name != own)
    have = [c for c in which if c.name in was and c.name in is_]
    # What hardly any session has is not looked at; a condition must have been measured in both periods.
    have = [c for c in have if min(np.isfinite(was[c.name]).sum(), np.isfinite(is_[c.name]).sum()) > 0]
    found = conditions(have, was, is_, rng=rng, before_weights=before.weights, now_weights=now.weights)
    told = [
        {
            "name": moved.condition.name, **_shown(moved), "told": moved.condition.told,
            "change": six(moved.change.value), "low": six(moved.change.low), "high": six(moved.change.high),
            "above": six(moved.above), "p": six(moved.adjusted),
        }
        for moved in found.named
    ]  # fmt: skip
    return told, len(found.moved)


def _shown(moved: Moved) -> dict[str, Any]:
    """Medians before and now with their unit: times are kept in microseconds, and told in milliseconds."""
    name, unit = moved.condition.name, moved.condition.unit
    time = name.startswith(STAGE_PREFIX) or name == "latency_total"
    per = 1000.0 if time else 1.0
    return {
        "before": six(moved.before.value / per),
        "now": six(moved.now.value / per),
        "unit": "ms" if time else unit,
    }


def _concepts(stream: Stream, before: Sessions, now: Sessions) -> tuple[list[dict[str, Any]], int]:
    """Words that gained and lost share among the images, and how many were looked at."""
    if stream.spec.kind == "volume" or (stream.spec.kind == "embedding" and stream.spec.metric == "text"):
        return [], 0
    known, seen = before.concepts(), now.concepts()
    both = [version for version in seen if version in known]
    if not both:
        return [], 0
    version = max(both, key=lambda name: (len(seen[name][0]), name))
    (was, at_was), (is_, at_is) = known[version], seen[version]
    found = concepts(was, is_, before_weights=before.weights[at_was], now_weights=now.weights[at_is])
    told = [
        {
            "name": word.name, "before": six(word.before.value), "now": six(word.now.value),
            "change": six(word.change.value), "low": six(word.change.low), "high": six(word.change.high),
            "p": six(word.adjusted),
        }
        for word in found.named
    ]  # fmt: skip
    return told, len(found.gained) + len(found.lost)


def _share(stream: Stream, seen: _Seen, rng: np.random.Generator) -> dict[str, Any] | None:
    """How much of now is new, for what is looked at as a whole; rates and tails are shares themselves."""
    if stream.spec.kind not in ("embedding", "agreement") or not seen.enough:
        return None
    weights = seen.of_was.weights, seen.of_is.weights
    found = new_share(seen.was, seen.is_, rng=rng, before_weights=weights[0], now_weights=weights[1])
    return {"value": six(found.value), "low": six(found.low), "high": six(found.high)}


def _exemplars(stream: Stream, seen: _Seen, carried: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sessions to look at, by their roles."""
    was, of_was, is_, of_is = seen.was, seen.of_was, seen.is_, seen.of_is
    if not len(of_was) or not len(of_is):
        return []
    roles: list[tuple[str, Sessions, list[int]]] = []
    if stream.spec.kind in ("embedding", "agreement"):
        roles.append(("typical_before", of_was, typical(was, EXEMPLARS, of_was.weights).tolist()))
        roles.append(("typical_now", of_is, typical(is_, EXEMPLARS, of_is.weights).tolist()))
        roles.append(("most_changed", of_is, most_changed(is_, _how_changed(stream, was, is_), EXEMPLARS).tolist()))
    else:
        hits = np.flatnonzero(is_ > 0).tolist()
        if carried:
            values = of_is.attributes(segment=True).get(carried[0]["attribute"], [None] * len(of_is))
            hits.sort(key=lambda i: values[i] != carried[0]["value"])
        roles.append(("most_changed", of_is, hits[:EXEMPLARS]))
    return [
        {"role": role, "sample_id": of.samples[i].sample_id, "window": of.samples[i].window_us}
        for role, of, at in roles
        for i in at
    ]


def _how_changed(stream: Stream, was: Float, is_: Float) -> Float:
    """A score of each session of now: high for one that shows the change."""
    fit = stream.fitted.fit
    if isinstance(fit, EmbeddingReference):
        scores = np.empty(len(is_))
        scores[fit.contributions(is_)] = -np.arange(len(is_), dtype=np.float64)
        return scores
    middle = float(np.median(was))
    return np.asarray((is_ - middle) * (1.0 if np.median(is_) >= middle else -1.0), dtype=np.float64)
