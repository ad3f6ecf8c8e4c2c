"""The slices that need a shared image-text space: who is in them, what defines them, how they are judged and told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.config.model import Config
from monitor.evaluate import building
from monitor.evaluate.calendar import Calendar
from monitor.evaluate.references import Reference
from monitor.evaluate.slices import MIN_AGREEMENTS, agreement_limits, learn_slice, members
from monitor.evaluate.status import streams
from monitor.evaluate.worker import EvaluateWorker
from monitor.store.engine import Store, open_store
from monitor.store.evaluation import SampleRow
from monitor.store.references import ReferenceFault
from monitor.store.tables import sample_parts, samples
from tests.evaluate.test_embeddings import write_samples
from tests.evaluate.test_worker import config, opened
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, Segment, write

PER_HOUR = 40
CHANGE_US = START_US + 8 * DAY_US + 10 * HOUR_US
CONFLICT = "image_text_conflict"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    found = open_store(store_url)
    yield found
    found.close()


def row(
    number: int, agreement: float | None, *, segment: str = "s", pi: float = 0.5, encoder: str = "e", facts: str = "{}"
) -> SampleRow:
    parts = (("image", None, agreement, "{}"), ("text", None, None, "{}"))
    return SampleRow(f"{number:08x}", START_US + number * 60_000_000, "r", segment, pi, encoder, facts, parts)


def learned(rows: Sequence[SampleRow]) -> Reference:
    return learn_slice(
        f"slice:{CONFLICT}", rows, from_us=START_US, to_us=START_US + 7 * DAY_US, calendar=Calendar("UTC"),
        confidence=0.998,
    )  # fmt: skip


def test_each_segment_has_its_own_limit_and_one_with_few_sessions_none() -> None:
    rng = np.random.default_rng(3)
    rows = [row(i, float(a)) for i, a in enumerate(rng.normal(0.3, 0.05, 2000))]
    rows += [row(i, float(a), segment="low") for i, a in enumerate(rng.normal(0.1, 0.02, 2000))]
    rows += [row(i, 0.2, segment="few") for i in range(MIN_AGREEMENTS - 1)]
    rows += [row(i, None, segment="mute") for i in range(500)]
    limits = agreement_limits(rows)
    assert set(limits) == {"s", "low"}
    assert limits["s"] == pytest.approx(0.3 - 1.645 * 0.05, abs=0.01)
    assert limits["low"] == pytest.approx(0.1 - 1.645 * 0.02, abs=0.005)


def test_limits_are_those_of_the_traffic_whatever_the_inclusion_probabilities() -> None:
    """Low agreement sampled ten times as often as the rest: it still is 5 % of the traffic."""
    rng = np.random.default_rng(4)
    traffic = rng.normal(0.3, 0.05, 40_000)
    pi = np.where(traffic < 0.25, 0.9, 0.09)
    chosen = rng.random(traffic.size) < pi
    rows = [row(i, float(a), pi=float(p)) for i, (a, p) in enumerate(zip(traffic[chosen], pi[chosen], strict=True))]
    assert agreement_limits(rows)["s"] == pytest.approx(float(np.quantile(traffic, 0.05)), abs=0.002)


def test_membership_is_frozen_with_the_reference() -> None:
    rng = np.random.default_rng(5)
    facts = json.dumps({"v": 1, "verdicts": {"error": 0}})
    reference = learned([row(i, float(a), facts=facts) for i, a in enumerate(rng.normal(0.3, 0.05, 4000))])
    assert reference.encoder == "e" and reference.sessions == pytest.approx(200, abs=2)
    back = Reference.from_content(reference.to_content())
    assert back.agreement_limits == reference.agreement_limits and back.to_content() == reference.to_content()
    limit = reference.agreement_limits["s"]
    cases = [
        row(1, limit - 0.01), row(2, limit + 0.01), row(3, None), row(4, limit - 0.01, segment="unknown"),
        row(5, limit - 0.01, encoder="another"),
    ]  # fmt: skip
    assert [s.sample_id for s in members(cases, CONFLICT, back)] == ["00000001"]
    assert members(cases, CONFLICT, None) == []


def test_a_session_is_told_by_the_mean_of_its_pairs() -> None:
    reference = Reference("slice:x", "", 0, 1, encoder="e", agreement_limits={"s": 0.2})
    low = ("image", None, 0.1, "{}")
    high = ("image", None, 0.4, "{}")
    both = SampleRow("b", 0, "r", "s", 0.5, "e", "{}", (low, high))
    one = SampleRow("o", 0, "r", "s", 0.5, "e", "{}", (low, ("image", b"", None, "{}")))
    assert [s.sample_id for s in members([both, one], CONFLICT, reference)] == ["o"]


@pytest.mark.parametrize(
    ("conditions", "inside"),
    [
        ({"concepts": {"v": 1, "nearest": [["mathematical formulas", 0.4], ["table", 0.3]]}}, True),
        ({"concepts": {"v": 1, "nearest": [["table", 0.4], ["mathematical formulas", 0.3]]}}, False),
        ({}, False),
    ],
)
def test_notation_is_the_nearest_concept_of_an_image(conditions: dict[str, Any], inside: bool) -> None:
    sample = SampleRow("n", 0, "r", "s", 0.5, "e", "{}", (("image", b"", None, json.dumps(conditions)),))
    text = SampleRow("t", 0, "r", "s", 0.5, "e", "{}", (("text", b"", None, json.dumps(conditions)),))
    assert bool(members([sample], "domain_notation", None)) is inside
    assert members([text], "domain_notation", None) == []
    assert members([sample], "domain_notation", Reference("slice:x", "", 0, 1, encoder="another")) == []


def write_pairs(store: Store, from_us: int, hours: int, *, wrong_when_low: float) -> None:
    """Sessions with an agreement; schemas break at 2 %, and at ``wrong_when_low`` where image and prompt disagree."""
    rng = np.random.default_rng([9, from_us // HOUR_US])
    rows, parts = [], []
    for hour in range(hours):
        for k in range(PER_HOUR):
            window = from_us + hour * HOUR_US + 60_000_000 * k
            identity = hashlib.blake2b(f"pair/{window}/{k}".encode(), digest_size=16).hexdigest()
            agreement = float(rng.normal(0.3, 0.05))
            wrong = int(rng.random() < (wrong_when_low if agreement < 0.22 else 0.02))
            formula = rng.random() < 0.05
            nearest = [["mathematical formulas" if formula else "invoice", 0.4]]
            rows.append(
                {
                    "sample_id": identity, "event_id": identity, "topic": "t", "partition": 0, "offset": 0,
                    "time_us": window, "window_us": window, "route": "extract", "segment": "s", "version": "m@1",
                    "session_key": identity, "user_key": "", "pi": 0.5, "state": "embedded", "reason": "",
                    "facts": json.dumps({"v": 1, "verdicts": {"schema_violation": wrong}}), "encoder": "pair-1",
                    "phash": None,
                }
            )  # fmt: skip
            conditions = {"v": 1, "concepts": {"v": 1, "nearest": nearest}}
            vector = rng.normal(0, 1, 24) * np.linspace(1.0, 0.2, 24)
            vector /= np.linalg.norm(vector)
            parts.append(
                {
                    "sample_id": identity, "part": 0, "modality": "image", "vector": vector.astype("<f2").tobytes(),
                    "conditions": json.dumps(conditions, separators=(",", ":")), "agreement": agreement,
                }
            )  # fmt: skip
    with store.write() as connection:
        connection.execute(samples.insert(), rows)
        connection.execute(sample_parts.insert(), parts)


def test_wrong_answers_where_image_and_prompt_disagree_are_found_in_their_slice(store: Store) -> None:
    end = write(store, [Segment("s", 60.0)], days=11)
    write_pairs(store, START_US, 8 * 24 + 10, wrong_when_low=0.02)
    write_pairs(store, CHANGE_US, 11 * 24 - 8 * 24 - 10, wrong_when_low=0.5)
    # In batches of a day, as the service reads them: the reference is learned in the middle of one.
    worker = EvaluateWorker(store, config(), clock=lambda: end / 1e6)
    worker.drain()
    worker.close()
    assert [(found.segment, found.signal) for found in opened(store)] == [
        (f"slice:{CONFLICT}", "schema_violation_rate")
    ]
    status = {(s.segment, s.signal): s.status for s in streams(store)}
    assert status[f"slice:{CONFLICT}", "schema_violation_rate"] == "open"
    assert status["slice:domain_notation", "schema_violation_rate"] == "ok"


def test_without_a_shared_space_they_are_not_measured(store: Store) -> None:
    end = write(store, [Segment("s", 30.0)], days=8)
    write_samples(store, "s", START_US, 8 * 24, verdict=0.05)
    worker = EvaluateWorker(store, config(), clock=lambda: end / 1e6)
    worker.drain()
    worker.close()
    status = {s.segment: s.status for s in streams(store) if s.signal == "error_rate"}
    assert status[f"slice:{CONFLICT}"] == status["slice:domain_notation"] == "not_measured"
    assert status["slice:near_context_limit"] == "learning"


def test_another_encoder_is_told(store: Store) -> None:
    end = write(store, [Segment("s", 60.0)], days=9)
    write_pairs(store, START_US, 8 * 24, wrong_when_low=0.02)
    write_samples(store, "s", START_US + 8 * DAY_US, 24, encoder="other-2")
    worker = EvaluateWorker(store, config(), clock=lambda: end / 1e6)
    worker.drain()
    worker.close()
    status = {(s.segment, s.signal): s.status for s in streams(store)}
    assert status[f"slice:{CONFLICT}", "schema_violation_rate"] == "encoder_mismatch"
    assert status["slice:domain_notation", "schema_violation_rate"] == "encoder_mismatch"


def test_slices_are_built_by_hand_too(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/driftline.db")
    write(store, [Segment("s", 60.0)], days=8)
    write_pairs(store, START_US, 8 * 24, wrong_when_low=0.02)
    span = START_US, START_US + 7 * DAY_US
    built = {made.reference.segment: made.reference for made in building.build(store, Config(), *span)}
    assert set(built) == {"s", f"slice:{CONFLICT}", "slice:domain_notation"}
    (one,) = building.build(store, Config(), *span, f"slice:{CONFLICT}")
    assert one.reference.agreement_limits == built[f"slice:{CONFLICT}"].agreement_limits != {}
    with pytest.raises(ReferenceFault, match="0 sampled sessions in the stretch, a reference needs"):
        building.build(store, Config(), *span, "slice:rotated_or_skewed")
    with pytest.raises(ReferenceFault, match="known: slice:dense_low_contrast"):
        building.build(store, Config(), *span, "slice:unheard_of")
    store.close()
