"""Image drift end to end on stored samples: found, told, refused across encoders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from monitor.evaluate.status import streams
from monitor.evaluate.worker import EvaluateWorker
from monitor.store import references
from monitor.store.engine import Store, open_store
from monitor.store.tables import sample_parts, samples
from tests.evaluate.test_worker import config, opened
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, Segment, set_watermark, write

DIMENSION = 24
PER_HOUR = 15


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    found = open_store(store_url)
    yield found
    found.close()


def write_samples(
    store: Store,
    segment: str,
    from_us: int,
    hours: int,
    *,
    shift: float = 0.0,
    encoder: str = "features-1",
    seed: int = 0,
    conditions: dict[str, Any] | None = None,
    verdict: float | None = None,
    pi: float = 0.5,
    prompt: str = "",
    agreement: float | None = None,
) -> None:
    """Embedded samples of independent sessions, PER_HOUR an hour; ``verdict``: their schema violation rate;
    ``agreement``: the mean cosine of image and text."""
    rng = np.random.default_rng([seed, from_us // HOUR_US])
    rows, parts = [], []
    for hour in range(hours):
        for k in range(PER_HOUR):
            window = from_us + hour * HOUR_US + 4 * 60_000_000 * (k % 12)
            identity = hashlib.blake2b(f"{segment}/{window}/{k}".encode(), digest_size=16).hexdigest()
            facts: dict[str, Any] = {"v": 1, "verdicts": {}}
            if prompt:
                facts["prompt"] = {"name": "extract", "version": prompt}
            if verdict is not None:
                facts["verdicts"]["schema_violation"] = int(rng.random() < verdict)
            rows.append(
                {
                    "sample_id": identity, "event_id": identity, "topic": "t", "partition": 0, "offset": 0,
                    "time_us": window, "window_us": window, "route": "extract", "segment": segment, "version": "m@1",
                    "session_key": identity, "user_key": "", "pi": pi, "state": "embedded", "reason": "",
                    "facts": json.dumps(facts), "encoder": encoder, "phash": None,
                }
            )  # fmt: skip
            vector = rng.normal(0, 1, DIMENSION) * np.linspace(1.0, 0.2, DIMENSION)
            vector[0] += 6.0  # far from the origin, so that unit norm changes little
            vector[1] += shift
            vector /= np.linalg.norm(vector)
            cosine = None if agreement is None else float(np.round(rng.normal(agreement, 0.03), 6))
            parts.append(
                {
                    "sample_id": identity, "part": 0, "modality": "image", "vector": vector.astype("<f2").tobytes(),
                    "conditions": json.dumps({"v": 1, **(conditions or {})}), "agreement": cosine,
                }
            )  # fmt: skip
    with store.write() as connection:
        connection.execute(samples.insert(), rows)
        connection.execute(sample_parts.insert(), parts)


def run(store: Store, end_us: int) -> None:
    worker = EvaluateWorker(store, config(), clock=lambda: end_us / 1e6)
    worker.drain()
    worker.close()


AT = START_US + 8 * DAY_US + 10 * HOUR_US


def test_a_shift_of_the_images_is_found_and_the_same_images_are_not(store: Store) -> None:
    end = write(store, [Segment("moved", 30.0), Segment("same", 30.0)], days=10)
    write_samples(store, "moved", START_US, 8 * 24 + 10)
    write_samples(store, "moved", AT, 10 * 24 - 8 * 24 - 10, shift=2.0)
    write_samples(store, "same", START_US, 10 * 24, seed=1)
    run(store, end)
    (row,) = opened(store)
    assert (row.segment, row.signal) == ("moved", "image_drift")
    assert AT < row.opened_us <= AT + 6 * HOUR_US
    assert row.document["since"]["low"] <= AT + HOUR_US
    assert row.document["effect"]["unit"] == "sd"
    assert row.document["effect"]["low"] > 0
    assert "look of the images in moved moved" in row.document["explanation"]["sentence"]
    by_segment = {r.segment: r for r in references.list_references(store)}
    assert by_segment["same"].encoder == "features-1"
    held = references.sample_rows(store, by_segment["same"].reference_id)
    assert {s.split for s in held} == {"fit", "held"}
    assert len(held) == by_segment["same"].rows == 7 * 24 * PER_HOUR
    status = {s.signal: s.status for s in streams(store) if s.segment == "same"}
    assert (status["image_drift"], status["text_drift"], status["agreement"]) == ("ok", "not_measured", "not_measured")


def test_another_encoder_is_never_compared(store: Store) -> None:
    end = write(store, [Segment("s", 30.0)], days=10)
    write_samples(store, "s", START_US, 8 * 24)
    write_samples(store, "s", START_US + 8 * DAY_US, 2 * 24, shift=5.0, encoder="other-2")
    run(store, end)
    assert opened(store) == []
    assert {s.status for s in streams(store) if s.signal == "image_drift"} == {"encoder_mismatch"}
    (row,) = references.list_references(store)
    with pytest.raises(references.ReferenceFault, match="encoders cannot be compared"):
        references.activate(store, row.reference_id, encoder="other-2")


def test_references_are_learned_from_what_was_embedded_however_late(store: Store) -> None:
    """Samples that are embedded after their hour closed are in the reference all the same: ticks wait for them."""
    end = write(store, [Segment("s", 30.0)], days=8)
    write_samples(store, "s", START_US, 8 * 24)
    with store.write() as connection:
        connection.execute(samples.update().where(samples.c.window_us >= START_US + 3 * DAY_US).values(state="pending"))
    worker = EvaluateWorker(store, config(), clock=lambda: end / 1e6)
    worker.drain()
    assert worker.done_until_us is not None and worker.done_until_us < START_US + 3 * DAY_US + HOUR_US
    with store.write() as connection:
        connection.execute(samples.update().values(state="embedded"))
    worker.drain()
    assert references.list_references(store)[0].rows == 7 * 24 * PER_HOUR


def test_a_segment_with_few_samples_has_no_drift_stream(store: Store) -> None:
    end = write(store, [Segment("s", 30.0)], days=8)
    write_samples(store, "s", START_US, 10)
    set_watermark(store, end)
    run(store, end)
    assert {s.status for s in streams(store) if s.signal == "image_drift"} == {"not_measured"}


def test_a_slice_is_judged_on_its_samples(store: Store) -> None:
    end = write(store, [Segment("s", 30.0)], days=10)
    write_samples(store, "s", START_US, 8 * 24 + 10, conditions={"skew_degrees": 6.0}, verdict=0.05)
    write_samples(store, "s", AT, 10 * 24 - 8 * 24 - 10, conditions={"skew_degrees": 6.0}, verdict=0.5)
    run(store, end)
    rows = opened(store)
    assert [(row.segment, row.signal) for row in rows] == [("slice:rotated_or_skewed", "schema_violation_rate")]
    document = rows[0].document
    assert (document["segment"], document["slice"]) == (None, "rotated_or_skewed")
    assert document["effect"]["low"] > 0.1
    assert "slice rotated_or_skewed rose from" in document["explanation"]["sentence"]
    status = {(s.segment, s.signal): s.status for s in streams(store)}
    assert status["slice:near_context_limit", "error_rate"] == "learning"


def test_a_bet_on_a_slice_pays_nothing_on_average_whatever_the_inclusion_probabilities() -> None:
    """Exact: the expectation of one session's payoff over who is sampled and what it says, at the limit itself."""
    from detectors.rates import RateReference
    from monitor.evaluate.references import FittedStream
    from monitor.evaluate.slices import slice_bets, specs
    from monitor.store.evaluation import SampleRow

    fit = RateReference.fit([50] * 10, [1000] * 10)
    (spec,) = [spec for spec in specs() if spec.signal == "error_rate"]
    p = float(fit.upper[0])
    # Half of the traffic is sampled with 0.5 and errs more often than the other, sampled with 0.1; together p.
    groups = [(0.5, 1.5 * p), (0.1, 0.5 * p)]
    stream = FittedStream(spec, fit, 10.0)
    expected = np.zeros(4)
    for pi, rate in groups:
        for verdict, chance in ((1, rate), (0, 1.0 - rate)):
            facts = json.dumps({"v": 1, "verdicts": {"error": verdict}})
            _, bets = slice_bets([SampleRow("i", 0, "r", "s", pi, "", facts, ())], stream, 0)
            expected += 0.5 * pi * chance * np.exp(bets)
        expected += 0.5 * (1.0 - pi)
    assert np.allclose(expected, 1.0, rtol=0, atol=1e-12)


FLOOD_AT = START_US + 8 * DAY_US + 10 * HOUR_US


def upload(store: Store, segment: str, page: np.ndarray, *, same: bool, conditions: bool = True) -> None:
    """500 samples of an hour whose images are copies of ``page``, or different pages like it."""
    rng = np.random.default_rng(11)
    rows, parts = [], []
    one = int(rng.integers(0, 2**63))
    for k in range(500):
        window = FLOOD_AT + 60_000_000 * (k % 60)
        identity = hashlib.blake2b(f"flood/{segment}/{k}".encode(), digest_size=16).hexdigest()
        phash = one ^ (1 << int(rng.integers(0, 64))) if same else int(rng.integers(0, 2**63))
        vector = page + rng.normal(0, 0.01 if same else 0.3, DIMENSION) * np.linspace(1.0, 0.2, DIMENSION)
        vector /= np.linalg.norm(vector)
        rows.append(
            {
                "sample_id": identity, "event_id": identity, "topic": "t", "partition": 0, "offset": 0,
                "time_us": window, "window_us": window, "route": "extract", "segment": segment, "version": "m@1",
                "session_key": identity, "user_key": "", "pi": 0.5, "state": "embedded", "reason": "",
                "facts": json.dumps({"v": 1, "verdicts": {}}), "encoder": "features-1", "phash": None,
            }
        )  # fmt: skip
        facts = {"v": 1, "phash": f"{phash:016x}"} if conditions else {"v": 1}
        parts.append(
            {
                "sample_id": identity, "part": 0, "modality": "image", "vector": vector.astype("<f2").tobytes(),
                "conditions": json.dumps(facts), "agreement": None,
            }
        )  # fmt: skip
    with store.write() as connection:
        connection.execute(samples.insert(), rows)
        connection.execute(sample_parts.insert(), parts)


def test_one_page_uploaded_500_times_is_not_drift_and_500_new_pages_are(store: Store) -> None:
    end = write(store, [Segment(name, 30.0) for name in ("copies", "uncounted", "new")], days=9)
    for seed, name in enumerate(("copies", "uncounted", "new")):
        write_samples(store, name, START_US, 9 * 24, seed=seed)
    page = np.zeros(DIMENSION)
    page[[0, 1, 2]] = 6.0, 1.5, -1.0  # a page such as there are every hour
    upload(store, "copies", page, same=True)
    upload(store, "uncounted", page, same=True, conditions=False)  # the same, had nobody looked for duplicates
    new = page.copy()
    new[5] = 6.0
    upload(store, "new", new, same=False)
    run(store, end)
    found = {row.segment for row in opened(store) if row.signal == "image_drift"}
    assert found == {"uncounted", "new"}
