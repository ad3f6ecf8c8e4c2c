"""Does the model's confidence still mean what it meant? A stream that bets on labels.

A reference's labels say how often answers of each confidence are wrong (samplers/calibration.py). Items that reviewers
answered since are bet on, each of them once: at the first full hour at which it is answered, with the labels it has
then. What is fitted on is never bet on: the reference takes labels of events before ``until_us``, the bets those after.

Labels come days after their events, and in bursts. So the onset is looked for among the events, not the looks; what
the stream is funded with in hours without labels is kept for its next look (`StreamBank.step`); and it counts as
present for a week after its last labels (`Session.present`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from alerts.anomaly import Explanation
from detectors.evidence import Effect, Onset, onset
from detectors.rates import ODDS
from detectors.rates.bets import interval
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.sampled import parsed
from monitor.evaluate.streams import spec_of
from monitor.store import review
from monitor.store.engine import Store
from monitor.store.review import Answer
from samplers.calibration import CalibrationReference
from samplers.labelled import Labelled

if TYPE_CHECKING:
    from monitor.evaluate.bank import Stream
    from monitor.evaluate.references import Reference
    from monitor.evaluate.session import Batch, Session

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

SIGNAL: Final = "calibration"
STATED: Final = "confidence_mean"  # the signal of a segment whose answers state a confidence
FORMAT: Final = 1
DAY_US: Final = 24 * HOUR_US
MIN_LABELS: Final = 100  # of a reference
MIN_OF_EACH: Final = 10  # of them right, and wrong: with fewer the map's limits miss too often (docs/statistics.md)
MOST_US: Final = 60 * DAY_US  # of events in which the onset and the measure of a change are looked for
MOST_MEASURED: Final = 1_000  # of them the newest items
SHARES: Final = 16  # quantiles of the reference's weights that are kept
EXEMPLARS: Final = 4
MICRO: Final = 1e6  # confidence is stored in millionths


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationFit:
    """A segment's reference of calibration: labels of events in [from, until), µs."""

    reference: CalibrationReference
    from_us: int
    until_us: int
    labels: int
    wrong: float  # how many of them, the share where reviewers differed
    limits: tuple[float, float, float]  # (low, expected, high) share of wrong answers, weighted over the labels
    shares: tuple[float, ...]  # quantiles of their weights over the greatest one

    K = 2 * len(ODDS)

    @property
    def enough(self) -> bool:
        """Whether the labels support judging the stream."""
        return self.labels >= MIN_LABELS and MIN_OF_EACH <= self.wrong <= self.labels - MIN_OF_EACH

    def to_state(self) -> dict[str, Any]:
        """Ready for msgpack, with a format version."""
        return {
            "format": FORMAT, "reference": self.reference.to_state(), "from_us": self.from_us,
            "until_us": self.until_us, "labels": self.labels, "wrong": self.wrong, "limits": list(self.limits),
            "shares": list(self.shares),
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CalibrationFit:
        """The inverse of `to_state`. Raises ValueError for another version's."""
        if state.get("format") != FORMAT:
            raise ValueError(
                f"the reference of calibration has format {state.get('format')!r}, this driftline reads {FORMAT}; "
                "build the reference again"
            )
        low, expected, high = state["limits"]
        return cls(
            CalibrationReference.from_state(state["reference"]), state["from_us"], state["until_us"], state["labels"],
            state["wrong"], (low, expected, high), tuple(state["shares"]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CalibrationEffect(Effect):
    """The weighted share of wrong answers beside what the reference expects at their confidences."""

    confidence: float  # weighted mean
    labels: int


# -- learning -----------------------------------------------------------------------------------------------


def labels_of(answers: Iterable[Answer]) -> tuple[Labelled | None, list[Answer]]:
    """(labels, answers they are of): those that are decided and whose sample has a confidence; None without any."""
    kept, confidence, wrong = [], [], []
    for answer in answers:
        stated = parsed(answer.facts).get("confidence")
        if answer.wrong is not None and stated is not None:
            kept.append(answer)
            confidence.append(min(max(stated / MICRO, 0.0), 1.0))
            wrong.append(answer.wrong)
    if not kept:
        return None, kept
    first = np.array([answer.pi_sample for answer in kept])
    second = np.array([answer.pi_review for answer in kept])
    return Labelled.of(confidence, wrong, first * second, pi_sample=first, shares=True), kept


def fitted(answers: Iterable[Answer], from_us: int, until_us: int) -> CalibrationFit | None:
    """The fit of answered items of events in [from, until); None where they are too few, or too few right or wrong."""
    labels, _ = labels_of(answers)
    if labels is None or labels.size < MIN_LABELS:
        return None
    reference = CalibrationReference.fit(labels, min_effect=spec_of(SIGNAL).min_effect)
    low, expected, high = (float(labels.weights @ limit / labels.weights.sum()) for limit in _limits(reference, labels))
    shares = np.quantile(reference.share(labels), (np.arange(SHARES) + 0.5) / SHARES)
    found = CalibrationFit(
        reference, from_us, until_us, labels.size, float(labels.wrong.sum()), (low, expected, high),
        tuple(shares.tolist()),
    )  # fmt: skip
    return found if found.enough else None


def _limits(reference: CalibrationReference, labels: Labelled) -> tuple[Float, Float, Float]:
    return reference.limits(labels.confidence)


def learn_calibration(store: Store, reference: Reference, from_us: int, until_us: int) -> CalibrationFit | None:
    """The fit of a segment's labels of events in [from, until), where its answers state a confidence."""
    if STATED not in reference.streams:
        return None
    return fitted(review.answered(store, [reference.segment], from_us, until_us), from_us, until_us)


# -- looks --------------------------------------------------------------------------------------------------


def calibration_looks(session: Session, hour: int, logs: Float, looking: Bool, batch: Batch | None) -> None:
    """Add the looks of the hour that ends at ``hour``, as `judging.hourly_looks` does; what they take is marked with
    the batch. None: a past period is judged, and nothing is written."""
    bank = session.bank
    mine = {stream.segment: i for i, stream in enumerate(bank.streams) if stream.spec.kind == "calibration"}
    if not mine:
        return
    by_segment: dict[str, list[Answer]] = {}
    for answer in session.answers_due(sorted(mine), hour, batch):
        by_segment.setdefault(answer.segment, []).append(answer)
    for segment, i in mine.items():
        fit = bank.streams[i].fitted.fit
        assert isinstance(fit, CalibrationFit)
        since = max(fit.until_us, int(bank.floor[i]))
        labels, _ = labels_of(answer for answer in by_segment.get(segment, ()) if answer.time_us >= since)
        if labels is not None:
            logs[i, : CalibrationFit.K] += fit.reference.log_bets(labels)[0]
            looking[i] = True
        bank.remember_look(i, hour, logs[i], 0 if labels is None else labels.size)


# -- what is said -------------------------------------------------------------------------------------------


def _recent(session: Session, stream: Stream, from_us: int, end_us: int) -> tuple[Labelled | None, list[Answer]]:
    """Labels of the stream's events in [from, end), of the newest at most, by the time of the event."""
    begin = max(from_us, end_us - MOST_US)
    answers = review.answered(session.store, [stream.segment], begin, end_us, most=MOST_MEASURED)
    return labels_of(sorted(answers, key=lambda answer: (answer.time_us, answer.item_id)))


def calibration_onset(session: Session, i: int, end_us: int) -> Onset:
    """Since when the stream that alarmed at ``end_us`` has changed, by the times of the events that were labelled."""
    bank = session.bank
    stream = bank.streams[i]
    fit = stream.fitted.fit
    assert isinstance(fit, CalibrationFit)
    since = max(fit.until_us, int(bank.floor[i]))
    labels, of = _recent(session, stream, since, end_us)
    if labels is None:
        return Onset(end_us, since, end_us)
    return onset(fit.reference.item_log_bets(labels), [answer.time_us for answer in of])


def calibration_effect(session: Session, stream: Stream, from_us: int, end_us: int) -> CalibrationEffect:
    """The share of wrong answers among events of [from, end), with a Clopper-Pearson interval at the weights' worth."""
    fit = stream.fitted.fit
    assert isinstance(fit, CalibrationFit)
    labels, _ = _recent(session, stream, from_us, end_us)
    if labels is None:
        return CalibrationEffect(math.nan, 0.0, 1.0, fit.limits[1], "share", math.nan, 0)
    weight = labels.weights
    total = float(weight.sum())
    rate = float(weight @ labels.wrong) / total
    worth = total**2 / float(weight @ weight)
    low, high = interval(rate * worth, worth)
    expected = float(weight @ _limits(fit.reference, labels)[1]) / total
    confidence = float(weight @ labels.confidence) / total
    return CalibrationEffect(rate, min(low, rate), max(high, rate), expected, "share", confidence, labels.size)


def calibration_explanation(session: Session, stream: Stream, from_us: int, end_us: int) -> Explanation:
    """Sessions to look at: the wrong answers of the greatest confidence, or the right ones of the least."""
    fit = stream.fitted.fit
    assert isinstance(fit, CalibrationFit)
    labels, of = _recent(session, stream, from_us, end_us)
    if labels is None:
        return Explanation(sentence="")
    more = float(fit.reference.scores(labels).sum()) >= 0
    shows = np.flatnonzero(labels.wrong >= 0.5 if more else labels.wrong < 0.5)
    order = shows[np.argsort(labels.confidence[shows] * (-1.0 if more else 1.0), kind="stable")]
    return Explanation(
        sentence="",
        exemplars=[
            {"role": "most_changed", "sample_id": of[at].sample_id, "window": of[at].window_us}
            for at in order[:EXEMPLARS].tolist()
        ],
        tried={"sessions_before": fit.labels, "sessions_now": labels.size},
    )


def segments_without(session: Session, names: Sequence[str]) -> list[str]:
    """Of segments those whose answers state a confidence and that have no stream of calibration."""
    return [
        name
        for name in names
        if STATED in session.references[name].streams and SIGNAL not in session.references[name].streams
    ]
