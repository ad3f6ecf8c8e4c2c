"""What the false-alarm budget buys, read from a store that was evaluated: division, spending, what would be found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import select

from detectors.rates.power import volume_hours
from monitor.budget import duration, read_budget
from monitor.cli import main
from monitor.config.model import Config
from monitor.evaluate.power import SEED, parse_effects, risen
from monitor.evaluate.worker import EvaluateWorker
from monitor.serve.models import Budget, BudgetStream
from monitor.store.engine import Store, open_store
from monitor.store.tables import metadata
from tests.detectors.test_power import FUNDING, volume_reference
from tests.evaluate.null_traffic import Life, write_null
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, Change, Segment, write

BROKEN_AT = START_US + 8 * DAY_US + 9 * HOUR_US
SEGMENTS = [
    Segment("receipts", 100.0),
    Segment("quiet", 1.0),
    Segment("broken", 80.0, changes=(Change(BROKEN_AT, rates={"schema_violation": 0.2}),)),
]
OWNED = {
    "routes": {"extract": {"stakes": "high"}},
    "owners": {
        "team-a": {"segments": ["receipts"], "budget": {"page": "1 per 10d"}},
        "team-b": {"segments": ["quiet", "broken"]},
    },
}


def evaluate(store: Store, config: Config, now_us: int) -> None:
    worker = EvaluateWorker(store, config, clock=lambda: now_us / 1e6)
    worker.drain()
    worker.close()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    found = open_store(store_url)
    yield found
    found.close()


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Config]]:
    """Nine days of three segments, two of them judged from the eighth on; one changes there."""
    found = open_store(f"sqlite:///{tmp_path_factory.mktemp('budget') / 'd.db'}")
    config = Config.model_validate(OWNED)
    evaluate(found, config, write(found, SEGMENTS, days=9))
    yield found, config
    found.close()


def stream(budget: Budget, segment: str, signal: str) -> BudgetStream:
    return next(one for one in budget.streams if (one.segment, one.signal) == (segment, signal))


def test_the_division_adds_up_and_an_open_anomaly_takes_no_part(judged: tuple[Store, Config]) -> None:
    budget = read_budget(*judged)
    assert {(pot.owner, pot.severity) for pot in budget.pots} >= {("team-a", "page"), ("team-b", "ticket")}
    for pot in budget.pots:
        mine = [one for one in budget.streams if (one.owner, one.severity) == (pot.owner, pot.severity)]
        funded = [one for one in mine if one.share > 0]
        assert len(funded) == pot.streams
        assert sum(one.share for one in mine) == pytest.approx(1.0 if funded else 0.0)
        assert pot.evidence == pytest.approx(sum(one.evidence for one in mine))
    pages = next(pot for pot in budget.pots if (pot.owner, pot.severity) == ("team-a", "page"))
    assert pages.days_each == pytest.approx(10.0 * pages.streams)
    # Judged from the end of the first week on, so that two days of an allowance of ten are funded.
    assert pages.funded == pytest.approx(0.2)
    assert pages.opened == 0
    found = stream(budget, "broken", "schema_violation_rate")
    assert (found.state, found.share, found.evidence) == ("open", 0.0, 0.0)
    assert next(pot for pot in budget.pots if pot.owner == "team-b" and pot.severity == "page").opened >= 1


def test_what_would_be_found_is_said_in_words(judged: tuple[Store, Config]) -> None:
    found = stream(read_budget(*judged), "receipts", "error_rate")
    said = r"receipts: a rise of the error rate from (0\.9\d?|1|1\.1) % to (3\.\d|4|4\.\d) % would be found within"
    assert re.match(said, found.sentence), found.sentence
    assert found.sentence.endswith(f"at {found.sessions_per_hour:.3g} sessions/h")
    assert found.traffic == "recent"
    assert found.enough
    assert found.why == ""
    assert found.detects[0].hours is not None
    assert found.detects[0].hours_90 is not None
    assert found.detects[0].hours < found.detects[0].hours_90
    assert found.smallest is not None
    assert found.smallest.hours is not None
    assert found.smallest.hours <= 168


def test_what_was_found_lay_within_what_was_said(judged: tuple[Store, Config]) -> None:
    """The planted rise to 20 % is asked about: it was found in a time as it is told for it."""
    store, config = judged
    asked = read_budget(store, config, effects=parse_effects("schema_violation_rate=20%"))
    told = stream(asked, "broken", "schema_violation_rate").detects[0]
    with store.read() as connection:
        row = connection.execute(
            select(metadata.tables["anomalies"]).where(metadata.tables["anomalies"].c.signal == "schema_violation_rate")
        ).one()
    took = (row.opened_us - BROKEN_AT) / HOUR_US
    assert told.hours is not None
    assert told.hours_90 is not None
    assert told.hours / 3 <= took <= 2 * told.hours_90
    assert stream(asked, "broken", "error_rate").detects == []


def test_streams_with_too_little_data_say_why(judged: tuple[Store, Config]) -> None:
    budget = read_budget(*judged)
    poor = [one for one in budget.streams if one.segment == "quiet" and not one.enough]
    assert poor
    assert all(one.why for one in poor)
    limited = stream(budget, "quiet", "error_rate")
    assert "is no change" in limited.why
    # It will be known better: it had sessions enough after eight days, and is learned again from twice as many.
    assert limited.why.endswith("; its reference is learned again from 16 days on 2026-01-21, if no anomaly opens")
    assert "would not be found within 7 d" in limited.sentence
    slow = stream(budget, "quiet", "latency_total_p95")
    assert slow.why.startswith("it would take ")
    assert "learned again" not in slow.why  # traffic is what it lacks
    near = read_budget(*judged, effects=parse_effects("error_rate=1.6%"))
    assert "what was asked is too near" in stream(near, "receipts", "error_rate").why
    fixed = judged[1].model_copy(update={"reference": judged[1].reference.model_copy(update={"grow": False})})
    assert "learned again" not in stream(read_budget(judged[0], fixed), "quiet", "error_rate").why
    good = sum(one.enough for one in budget.streams)
    assert budget.summary[0] == f"{good} of {len(budget.streams)} streams would find their minimum effect within 7 d."


def test_a_reference_that_supports_nothing_is_listed(store: Store) -> None:
    """Too few verdicts for a limit: no stream, but it is said."""
    config = Config()
    segments = [Segment("receipts", 30.0, rates={"error": 0.01}), Segment("tiny", 0.4)]
    evaluate(store, config, write(store, segments, days=8))
    budget = read_budget(store, config)
    tiny = [one for one in budget.streams if one.segment == "tiny"]
    assert {one.state for one in tiny} <= {"not_enough_data", "ok", "no_data"}
    named = [one for one in tiny if one.state == "not_enough_data"]
    waiting = [one for one in budget.waiting if one.segment == "tiny"]
    assert named or waiting
    assert all("are needed" in one.why for one in named)


def test_before_the_first_reference(store: Store) -> None:
    """An empty store, and one that still learns: what is awaited, until when."""
    empty = read_budget(store, Config())
    assert empty.summary == [
        "Nothing is evaluated yet: `driftline run` reads events and learns references from the first days."
    ]
    assert [(pot.allowance, pot.streams, pot.days_each) for pot in empty.pots] == [
        ("1 per 30d", 0, None), ("2 per 1w", 0, None),
    ]  # fmt: skip
    evaluate(store, Config(), write(store, [Segment("receipts", 20.0)], days=2))
    learning = read_budget(store, Config())
    assert learning.streams == []
    receipts = next(one for one in learning.waiting if one.segment == "receipts")
    assert (receipts.state, receipts.until) == ("learning", "2026-01-12T01:00:00Z")
    assert any("the first reference is due 2026-01-12T01:00:00Z" in line for line in learning.summary)


def test_nothing_is_written(judged: tuple[Store, Config]) -> None:
    store, config = judged

    def everything() -> list[Any]:
        with store.read() as connection:
            return [[tuple(r) for r in connection.execute(select(table))] for table in metadata.sorted_tables]

    before = everything()
    read_budget(store, config)
    assert everything() == before


def test_the_same_budget_every_time(judged: tuple[Store, Config]) -> None:
    assert read_budget(*judged) == read_budget(*judged)


def test_filters(judged: tuple[Store, Config]) -> None:
    store, config = judged
    mine = read_budget(store, config, owner="team-a")
    assert {one.segment for one in mine.streams} == {"receipts"}
    assert {pot.owner for pot in mine.pots} == {"team-a"}
    assert {one.segment for one in read_budget(store, config, segment="quiet").streams} == {"quiet"}
    everything = read_budget(store, config)
    assert stream(mine, "receipts", "volume") == stream(everything, "receipts", "volume")


def test_every_kind_of_stream_is_told(tmp_path: Path) -> None:
    """Embeddings, agreement, routing and slices beside rates, tails and volume."""
    store, config = open_store(f"sqlite:///{tmp_path / 'd.db'}"), Config()
    evaluate(store, config, write_null(store, [Life("s1", "pages", 60.0, embedded=8)], days=8, seed=1))
    budget = read_budget(store, config)
    store.close()
    told = {one.signal: one for one in budget.streams if one.segment == "s1"}
    assert told["image_drift"].sentence.startswith(
        "s1: a shift of the look of the images by 1 standard deviation would"
    )
    assert [d.change for d in told["image_drift"].detects[1:]] == [
        "a new kind of images in 20 % of the sessions", "a new kind of images in 5 % of the sessions",
    ]  # fmt: skip
    assert told["agreement"].detects[0].change == "a fall of the agreement of images and texts by 1 standard deviation"
    assert "a fall of the share of requests routed to" in told["routing_mix"].detects[1].change
    assert [d.change for d in told["volume"].detects] == [
        "a fall of the number of sessions to 25 % of the usual", "silence",
        "a rise of the number of sessions to 2.5 times the usual",
    ]  # fmt: skip
    assert all(one.detects[0].hours is not None for one in (told["image_drift"], told["agreement"], told["volume"]))
    assert any(one.segment.startswith("slice:") and one.detects for one in budget.streams)


@pytest.mark.parametrize("factor", [2.5, 0.25])
def test_few_plays_of_a_volume_tell_as_much_as_many(factor: float) -> None:
    fits = [volume_reference(8.0), volume_reference(100.0), volume_reference(40.0, days=10)]
    funding, factors = np.full(3, FUNDING), np.full(3, factor)
    few = np.median(volume_hours(fits, funding, factors, np.random.default_rng(SEED)), axis=1)
    many = np.median(volume_hours(fits, funding, factors, np.random.default_rng(1), paths=120), axis=1)
    assert np.isfinite(many).all()
    assert (np.abs(np.log(few / many)) < np.log(1.25)).all(), (few, many)


@pytest.mark.parametrize("text", ["rate", "rate=4", "rate=x", "volume=-1", "drift=1 meter", "=x4"])
def test_wrong_effects_say_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="rate=x4"):
        parse_effects(text)


def test_effects() -> None:
    assert parse_effects("rate=x4, error_rate=5%,drift=0.5sd,cluster=20 %") == {
        "rate": [("x", 4.0)], "error_rate": [("%", 0.05)], "drift": [("sd", 0.5)], "cluster": [("%", 0.2)],
    }  # fmt: skip
    assert (risen(0.01), risen(0.5), risen(0.001)) == (0.04, 0.75, pytest.approx(0.011))


@pytest.mark.parametrize(
    ("hours", "text"), [(0.41, "25 min"), (1.0, "1 h"), (6.2, "7 h"), (48.0, "48 h"), (50.0, "2.1 d"), (168.0, "7 d")]
)
def test_durations_are_rounded_up(hours: float, text: str) -> None:
    assert duration(hours) == text


@pytest.fixture
def told(judged: tuple[Store, Config], tmp_path: Path) -> Any:
    """Calls `driftline budget` on the judged store."""
    path = tmp_path / "driftline.yaml"
    url = judged[0].engine.url.render_as_string()
    path.write_text(json.dumps({"kafka": {"topics": ["t"]}, "store": {"url": url}, **OWNED}))
    return lambda *arguments: CliRunner().invoke(main, ["budget", "--config", str(path), *arguments])


def test_the_command(told: Any) -> None:
    short = told("--short")
    assert short.exit_code == 0, short.output
    assert "team-a  page      1 per 10d" in short.output
    assert "streams would find their minimum effect within 7 d." in short.output
    assert "receipts:" not in short.output
    full = told("--sort", "time")
    assert full.exit_code == 0, full.output
    assert "receipts: a rise of the error rate from " in full.output
    assert "Too little data:" in full.output
    found = json.loads(told("--json", "--segment", "receipts").output)
    assert {one["segment"] for one in found["streams"]} == {"receipts"}


def test_the_command_says_what_is_unknown(told: Any) -> None:
    assert "known: default, team-a, team-b" in told("--owner", "nobody").output
    assert "no segment 'nothing' has been seen" in told("--segment", "nothing").output
    wrong = told("--effects", "rate")
    assert wrong.exit_code == 2
    assert "rate=x4" in wrong.output.replace("\n", " ")
