"""The second draw: at the end of every hour, which of its samples reviewers are asked about.

Sampled sessions of the hour are put to the reviewer pools (the first pool that takes an item has it), each with a
budget and a sampler of its own; the score that says how doubtful a sample is learns from the labels there are when a
day ends. Both are part of the evaluation's state, so that an hour that is stepped again draws the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import Connection

from detectors.drift.embedding import EmbeddingReference
from monitor.config.model import Config
from monitor.config.review import ReviewerPool
from monitor.evaluate.calendar import HOUR_US
from monitor.evaluate.sampled import parsed, session_vectors
from monitor.evaluate.streams import SLICE_PREFIX
from monitor.exchange.review_topic import messages
from monitor.store import review
from monitor.store.days import day_start
from monitor.store.engine import Store
from monitor.store.evaluation import SampleRow
from monitor.store.review import Candidate, NewItem, PoolSums, item_id
from samplers.pools import Pools
from samplers.review import Candidates, ReviewSampler, permanent_random_number
from samplers.score import ErrorScore, features

if TYPE_CHECKING:
    from monitor.evaluate.session import Batch, Session

log = structlog.stdlib.get_logger("driftline.evaluate")

FORMAT = 1
UNCERTAIN, ANOMALY, DRIFT, FLOOR = "uncertain", "anomaly", "drift", "floor"  # reasons that are told
UNANSWERED = frozenset({"error", "timeout"})  # outcomes that left nothing to review
MOST_SEEN = 5_000  # images of a day that near-duplicates are looked for among; they are written with every tick
LEARN_FROM_US = 90 * 24 * HOUR_US


class Reviewing:
    """Samplers by reviewer pool, the score, and the day's images, carried from hour to hour."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.samplers = {name: self._sampler(name, None) for name in self.config.review.asked()}
        self.score = ErrorScore.unfitted()
        self.day_us = -1
        self.seen: Counter[str] = Counter()

    def _sampler(self, name: str, state: dict[str, Any] | None) -> ReviewSampler:
        labels, sampling = self.config.review.asked()[name].labels, self.config.sampling
        expected = max(float(sampling.per_hour + sampling.doubtful_per_hour), 1.0)
        return ReviewSampler.from_state(state, labels, expected) if state else ReviewSampler(labels, expected)

    def to_state(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "samplers": {name: sampler.to_state() for name, sampler in sorted(self.samplers.items())},
            "score": self.score.to_state(),
            "day": self.day_us,
            "seen": dict(sorted(self.seen.items())),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any] | None, config: Config) -> Reviewing:
        """A pool that is new begins anew, one that is gone is dropped. Raises ValueError for a newer version's."""
        self = cls(config)
        if not state:
            return self
        if state["format"] != FORMAT:
            raise ValueError(
                f"the state of the review draw has format {state['format']!r}, this driftline reads {FORMAT}; "
                "it was written by a newer version: use that one"
            )
        self.samplers = {name: self._sampler(name, state["samplers"].get(name)) for name in self.config.review.asked()}
        self.score = ErrorScore.from_state(state["score"])
        self.day_us = int(state["day"])
        self.seen = Counter(state["seen"])
        return self

    def begin(self, day_us: int, store: Store) -> None:
        """A new day: no image was seen yet, and the score learns from the labels there are."""
        self.day_us = day_us
        self.seen.clear()
        rows = review.verdicts(store, day_us - LEARN_FROM_US)
        reasons = [msgspec.json.decode(row.reasons) for row in rows]
        known = [np.array([name in found for found in reasons], dtype=np.bool_) for name in (ANOMALY, DRIFT)]
        self.score = ErrorScore.fit(
            features([parsed(row.facts) for row in rows], *known),
            [row.segment for row in rows],
            np.array([row.wrong / row.decided for row in rows]),
        )

    def repeats(self, rows: Sequence[Candidate]) -> NDArray[np.int64]:
        """How many earlier samples of the day have each one's image, in the same segment; takes them in."""
        found = np.zeros(len(rows), np.int64)
        for position, row in enumerate(rows):
            if row.phash is None:
                continue
            key = _digest("image", f"{row.segment}\x00{row.phash:x}", 6).hex()
            found[position] = self.seen[key]
            if key in self.seen or len(self.seen) < MOST_SEEN:
                self.seen[key] += 1
        return found


def draw_due(session: Session, hour: int, batch: Batch) -> None:
    """Draw from the samples of the hour that ends at ``hour``; the items are written with the batch."""
    reviewing = session.reviewing
    if not reviewing.samplers:
        return
    begin = hour - HOUR_US
    day = day_start(begin, session.config.timezone)
    if day != reviewing.day_us:
        reviewing.begin(day, session.store)
    rows, facts = [], []
    for row in session.review_candidates(begin, hour):
        known = parsed(row.facts)
        if known.get("outcome") not in UNANSWERED:
            rows.append(row)
            facts.append(known)
    if not rows:
        return
    new = _novel(session, begin, hour)
    drifted = np.array([row.sample_id in new for row in rows], np.bool_)
    alarmed = {fact.subject for _, _, fact in session.open.facts()}
    anomaly = np.array([row.segment in alarmed for row in rows], np.bool_)
    scores = reviewing.score.score(features(facts, anomaly, drifted), [row.segment for row in rows])
    repeats = reviewing.repeats(rows)
    items: list[NewItem] = []
    sums: list[PoolSums] = []
    left = np.ones(len(rows), np.bool_)
    for name, pool in reviewing.config.review.asked().items():
        taken = np.array([_takes(session, pool, row, known) for row, known in zip(rows, facts, strict=True)], np.bool_)
        mine = np.flatnonzero(left & taken)
        left[mine] = False
        names = sorted({rows[i].segment for i in mine})
        codes = {segment: code for code, segment in enumerate(names)}
        chosen = [rows[i] for i in mine]
        drawn = reviewing.samplers[name].draw(
            begin,
            day,
            Candidates(
                segment=np.array([codes[row.segment] for row in chosen], np.int64),
                pi_sample=np.array([row.pi for row in chosen]),
                score=scores[mine],
                repeats=repeats[mine],
                u=np.array([permanent_random_number(session.config.sampling.seed, r.sample_id) for r in chosen]),
            ),
            names,
            {segment: _floor(session, segment) for segment in reviewing.samplers[name].segments | set(names)},
        )
        for i in drawn.drawn.tolist():
            row = chosen[i]
            said = ((UNCERTAIN, drawn.uncertain[i]), (ANOMALY, anomaly[mine[i]]), (DRIFT, drifted[mine[i]]))
            reasons = tuple(name for name, holds in said if holds) or (FLOOR,)
            items.append(
                NewItem(
                    sample_id=row.sample_id,
                    event_id=row.event_id,
                    segment=row.segment,
                    route=row.route,
                    day_us=day,
                    time_us=row.time_us,
                    pi_sample=row.pi,
                    pi_review=float(drawn.pi[i]),
                    race=float(drawn.race[i]),
                    score=float(scores[mine[i]]),
                    reasons=reasons,
                    pool=name,
                    language=_language(session, facts[mine[i]]),
                    wanted=2 if _twice(session, row.sample_id) else 1,
                    user_key=row.user_key,
                )
            )
        sums += [PoolSums(segment, day, _one(drawn.pools, code)) for code, segment in enumerate(names)]
    now_us = batch.now_us
    expires_us = now_us + session.config.review.expires

    kafka = session.config.kafka
    told = (
        messages(session.store, items, now_us, predictions=kafka.review_predictions)
        if kafka.review_topic is not None
        else {}
    )

    def write(connection: Connection) -> None:
        review.add(connection, items, sums, now_us=now_us, expires_us=expires_us, messages=told)
        if session.config.review.pixels:
            review.want(connection, [item_id(item.sample_id) for item in items])

    batch.steps.append(write)


def _one(pools: Pools, code: int) -> Pools:
    count = len(pools)
    groups = np.where(np.arange(count) == code, 0, 1)
    both = pools.grouped(groups, 2)
    return Pools(**{name: getattr(both, name)[:1] for name in Pools.__slots__})


def _takes(session: Session, pool: ReviewerPool, row: Candidate, facts: dict[str, Any]) -> bool:
    if pool.segments and not any(fnmatchcase(row.segment, pattern) for pattern in pool.segments):
        return False
    return not pool.languages or _language(session, facts) in pool.languages


def _language(session: Session, facts: dict[str, Any]) -> str:
    value = facts.get("attributes", {}).get(session.config.review.language_attribute)
    return value[:35] if isinstance(value, str) else ""


def _floor(session: Session, segment: str) -> float:
    review_ = session.config.review
    route = session.segments[segment].route if segment in session.segments else ""
    return float(
        {"low": review_.floor_low, "medium": review_.floor_medium, "high": review_.floor_high}[
            session.ownership.stakes(segment, route)
        ]
    )


def _twice(session: Session, sample_id: str) -> bool:
    """Whether two reviewers are asked, chosen by a hash that neither draw looks at."""
    return int.from_bytes(_digest("overlap", sample_id, 8), "big") < session.config.review.overlap * 2**64


def _digest(person: str, text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size, person=person.encode()).digest()


def _novel(session: Session, begin: int, end: int) -> frozenset[str]:
    """Samples of [begin, end) whose inputs lie where their segment's reference has next to none."""
    found: set[str] = set()
    by_segment: dict[str, list[SampleRow]] = {}
    for sample in session.samples:
        if begin <= sample.window_us < end:
            by_segment.setdefault(sample.segment, []).append(sample)
    for stream in session.bank.streams:
        if stream.spec.kind != "embedding" or stream.segment.startswith(SLICE_PREFIX):
            continue
        fit = stream.fitted.fit
        if not isinstance(fit, EmbeddingReference):
            continue
        mine = by_segment.get(stream.segment, [])
        rows, of = session_vectors(mine, stream.spec.metric, session.references[stream.segment].encoder)
        if len(rows):
            found.update(sample.sample_id for sample, new in zip(of, fit.novel(rows), strict=True) if new)
    return frozenset(found)
