"""What follows from labels: calibration, thresholds and inputs to repair, for one segment of the store.

Everything is of the sampled sessions with an answer in a stretch of days; what could not be drawn is known by its sums
elsewhere, but here every sample counts one by one, since its confidence and its conditions do. Items that are not
decided are left out and counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.estimates import Worked, decided_share
from monitor.store import evaluation, review
from monitor.store.days import day_start
from monitor.store.engine import Store
from monitor.store.evaluation import SampleRow
from monitor.store.review import item_id
from samplers.design import inclusion_until
from samplers.labelled import Labelled
from samplers.repair import REMEDIES, Repairs, repairs
from samplers.score import ErrorScore, features
from samplers.threshold import Traffic

Float64 = NDArray[np.float64]

MICRO: Final = 1e6  # confidence and the context used are stored in millionths
LEAST_TAUGHT: Final = 100  # labels from before that a score is learned from; with fewer there is none
UNANSWERED: Final = ("error", "timeout")


class NoAdvice(ValueError):
    """There is nothing to advise from; the message says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Material:
    """A segment's labels and traffic in [from, to).

    ``labels`` and ``traffic`` are of sessions whose confidence is known; ``undecided`` items were unsure or have no
    answer. ``rows``: the samples of decided items, ``wrong`` and ``pi`` of them, known confidence or not.
    """

    labels: Labelled | None
    traffic: Traffic | None
    rows: tuple[SampleRow, ...]
    wrong: Float64
    pi: Float64
    undecided: int
    weeks: float


def read(store: Store, segment: str, from_us: int, to_us: int, zone: str) -> Material:
    """What advice needs of a segment. Raises NoAdvice without a label, StoreUnavailable.

    Days whose items have hardly been begun are left out, and items that were not reached yet in the others: what is
    labelled is a smaller sample of known probability (monitor/estimates.py).
    """
    with store.read() as connection:
        items = list(review.labelled(connection, segment, from_us, to_us))
        pools = review.pool_sums(connection, segment, from_us, to_us)
    days, stop = Worked(items).cut(sorted({pool.day_us for pool in pools}))
    reached = [item for item in items if item.day_us in set(days) and (item.race < stop or stop >= 1)]
    samples = {
        item_id(row.sample_id): row
        for row in evaluation.kept_samples(store, from_us, to_us, segment)
        if _facts(row).get("outcome") not in UNANSWERED and day_start(row.window_us, zone) in set(days)
    }
    said = {item.item_id: share for item in reached if (share := decided_share(item)) is not None}
    chosen = [item for item in reached if item.item_id in said and item.item_id in samples]
    if not chosen or stop <= 0:
        raise NoAdvice(
            f"no item of {segment!r} in these days has a decided label whose sample is still stored; label some at "
            "/review, or look further back with --days"
        )
    rows = tuple(samples[item.item_id] for item in chosen)
    # A mean of two reviewers that differ is decided for the worse: advice is about what may be wrong.
    wrong = np.array([float(said[item.item_id] >= 0.5) for item in chosen])
    first = np.array([item.pi_sample for item in chosen])
    pi = first * inclusion_until(np.array([item.pi_review for item in chosen]), stop)
    confidence = np.array([_confidence(row) for row in rows])
    known = np.isfinite(confidence)
    labels = traffic = None
    if known.any():
        score = _taught(store, from_us)
        mine = [row for row, ok in zip(rows, known.tolist(), strict=True) if ok]
        every = [row for row in samples.values() if math.isfinite(_confidence(row))]
        labels = Labelled.of(
            confidence[known], wrong[known], pi[known], pi_sample=first[known], predicted=_predicted(score, mine)
        )
        traffic = Traffic.of(
            np.array([_confidence(row) for row in every]),
            pi_sample=np.array([row.pi for row in every]),
            predicted=_predicted(score, every),
        )
    return Material(labels, traffic, rows, wrong, pi, len(reached) - len(said), len(days) / 7)


def _taught(store: Store, from_us: int) -> ErrorScore | None:
    """A score that learned from labels of before alone, so that these labels can test what follows from it."""
    before = review.verdicts(store, 0, from_us)
    if len(before) < LEAST_TAUGHT:
        return None
    none = np.zeros(len(before), np.bool_)
    return ErrorScore.fit(
        features([json.loads(row.facts) for row in before], none, none),
        [row.segment for row in before],
        np.array([row.wrong / row.decided for row in before]),
    )


def _predicted(score: ErrorScore | None, rows: Sequence[SampleRow]) -> Float64 | None:
    if score is None:
        return None
    none = np.zeros(len(rows), np.bool_)
    return score.score(features([_facts(row) for row in rows], none, none), [row.segment for row in rows])


def _facts(row: SampleRow) -> dict[str, Any]:
    found = json.loads(row.facts) if row.facts else {}
    return found if isinstance(found, dict) else {}


def _confidence(row: SampleRow) -> float:
    """Of the model in its answer; NaN where it gave none."""
    value = _facts(row).get("confidence")
    return math.nan if value is None else min(max(value / MICRO, 0.0), 1.0)


# -- inputs to repair ---------------------------------------------------------------------------------------


def inputs(material: Material) -> Repairs:
    """Which conditions of the inputs go with failure, adjusted for each other and for the version of the prompt."""
    measured = [_conditions(row) for row in material.rows]
    names = [remedy.condition.name for remedy in REMEDIES]
    values = {name: np.array([found.get(name, math.nan) for found in measured]) for name in names}
    if np.isfinite(values["agreement"]).any():
        # In standard deviations of these sessions: cosines have no unit that an operator knows.
        spread = float(np.nanstd(values["agreement"])) or 1.0
        values["agreement"] = (values["agreement"] - np.nanmean(values["agreement"])) / spread
    versions = [str((_facts(row).get("prompt") or {}).get("version", "")) for row in material.rows]
    levels = sorted(set(versions))[1:6]  # a few, against the first
    adjust = np.array([[float(version == level) for level in levels] for version in versions])
    return repairs(
        [remedy.condition for remedy in REMEDIES],
        values,
        material.wrong,
        material.pi,
        material.weeks,
        adjust=adjust.reshape(len(versions), len(levels)),
    )


def _conditions(row: SampleRow) -> Mapping[str, float]:
    """What is known of a session's inputs, by the names of ``samplers.repair.REMEDIES``: of its images the worst."""
    found: dict[str, float] = {}
    images = [json.loads(text) for modality, _, _, text in row.parts if modality == "image" and text]
    for remedy in REMEDIES:
        condition = remedy.condition
        values = [value for image in images if (value := _measured(image, condition.name)) is not None]
        if values:
            found[condition.name] = max(values) if condition.worse == "higher" else min(values)
    agreements = [agreement for _, _, agreement, _ in row.parts if agreement is not None]
    if agreements:
        found["agreement"] = float(np.mean(agreements))
    facts = _facts(row)
    if (used := facts.get("context_used")) is not None:
        found["context_used"] = used / MICRO
    pages = [image["pages"] for image in images if isinstance(image.get("pages"), int)]
    if pages:
        found["pages"] = float(max(pages))
    return found


def _measured(image: Mapping[str, Any], name: str) -> float | None:
    if name == "rotated":
        turned = image.get("rotation")
        return None if turned is None else float(turned != 0)
    value = image.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return abs(float(value)) if name == "skew_degrees" else float(value)
