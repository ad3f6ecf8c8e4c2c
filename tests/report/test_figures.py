"""The tail of costs and what review found, as the report tells and draws them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.summaries.histogram import Histogram
from monitor.estimates import ALL, estimates
from monitor.report import figures, rendering
from monitor.report.model import Above, Quality
from monitor.report.quality import FEWEST_LABELS, WEEKS, History
from monitor.report.tail import FEWEST_ABOVE, NOTHING, cost_tail
from monitor.store.engine import Store, open_store
from monitor.times import iso
from tests.evaluate.traffic import DAY_US, START_US
from tests.report.reports import a_quality, a_report
from tests.review.test_estimates import fill, work

WEEK = 7 * DAY_US
BEGIN, END = START_US + 2 * WEEK, START_US + 3 * WEEK


# -- the tail -----------------------------------------------------------------------------------------------


def costs(n: int, seed: int, heavy: float = 0.0) -> Any:
    rng = np.random.default_rng(seed)
    values = rng.lognormal(16.0, 1.0, n)
    values[: int(heavy * n)] *= 40
    return values.astype(np.int64)


def test_shares_are_those_of_the_requests_with_intervals_that_hold_them() -> None:
    values, was = costs(20_000, 1, 0.01), costs(15_000, 2)
    tail = cost_tail(Histogram.of(values), Histogram.of(was), None, "USD")
    for points, of in ((tail.now, values), (tail.before, was)):
        assert len(points) > 10
        for one in points:
            above = int((of > one.cost * 1e9 + 0.5).sum())
            assert one.share == above / len(of)
            assert above >= FEWEST_ABOVE
            assert one.low is not None
            assert one.high is not None
            assert one.low < one.share < one.high
    first, fifth, tenth = tail.dearest
    ordered = np.sort(values)[::-1]
    assert [first.part, fifth.part, tenth.part] == [0.01, 0.05, 0.1]
    assert first.share == pytest.approx(ordered[:200].sum() / values.sum(), rel=0.011)
    assert first.above == pytest.approx(ordered[200] / 1e9, rel=0.03)
    assert first.before is not None
    assert first.before < (first.low or 0.0) < first.share < (first.high or 0.0)
    assert tail.greatest == pytest.approx(values.max() / 1e9, rel=0.011)
    assert re.fullmatch(
        r"The dearest 1 % of requests, above [\d.]+ USD each, make up \d+ % of the spend "
        r"\(95 % interval \d+ % to \d+ %; [\d.]+ % the period before\)\. "
        r"The dearest one cost [\d.]+ USD \([\d.]+ USD the period before\)\.",
        tail.sentence,
    )


def test_a_reference_is_three_points() -> None:
    levels: Any = SimpleNamespace(of={"cost_p50": 0.01, "cost_p95": 0.05, "cost_p99": None}.get)
    tail = cost_tail(Histogram.of(costs(2000, 3)), None, levels, "USD")
    assert tail.reference == [Above(0.01, 0.5, None, None), Above(0.05, 0.05, None, None)]
    assert [one.above_reference for one in tail.dearest] == [None, 0.05, None]
    assert tail.before == []
    assert "the period before" not in tail.sentence


@pytest.mark.parametrize("values", [[], [0, 0, 0]])
def test_without_a_cost_it_says_why(values: list[int]) -> None:
    tail = cost_tail(Histogram.of(np.array(values, np.int64)), None, None, "USD")
    assert (tail.sentence, tail.now, tail.greatest) == (NOTHING, [], None)
    report = msgspec.structs.replace(a_report(), tail=tail, quality=None)
    (drawn,) = figures.of_all(report)
    assert "No request states a cost" in drawn
    assert "<svg" not in drawn
    assert NOTHING.split("(")[0] in rendering.markdown(report)


# -- quality ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Three weeks of two segments, about twenty labels a day each."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('figures') / 'd.db'}")
    fill(store, 44.0, days=21)
    work(store, days=21)
    yield store
    store.close()


def history(store: Store, from_us: int = BEGIN, to_us: int = END, whole: bool = True, only: str = "ab") -> History:
    rated = {one.segment: one for one in estimates(store, from_us, to_us, "UTC")}
    return History(store, from_us, to_us, "UTC", rated, set(only), whole=whole)


def test_weeks_are_those_of_the_estimates_and_many_labels_are_told_by_day(labelled: Store) -> None:
    told = history(labelled)
    for name, truth in (("a", 0.1), ("b", 0.4)):
        assert told.tells(name)
        found = told.of(name, None, [])
        assert (found.step, len(found.reviewed)) == ("week", 3), "none is made up of weeks without labels"
        assert WEEKS > 3
        last = next(one for one in estimates(labelled, BEGIN, END, "UTC") if one.segment == name)
        now = found.reviewed[-1]
        assert (now.rate, now.low, now.high, now.n) == (last.rate, last.once.low, last.once.high, last.labels)
        assert all(one.low < truth + 0.06 and one.high > truth - 0.06 for one in found.reviewed)  # type: ignore[operator]
        assert found.before == found.reviewed[-2]
        assert re.search(r"^Wrong by review: .* % the period before \(.* % to .* %\)\.$", found.sentence)
    together = told.of(None, None, [])
    assert (together.step, len(together.reviewed)) == ("day", 14)
    assert {one.since for one in together.reviewed} == {one.until for one in together.reviewed}
    assert told.of(ALL, None, []) == together


def test_the_days_of_a_reference_are_held_against_where_they_lie_before(labelled: Store) -> None:
    told = history(labelled)
    learned: Any = SimpleNamespace(from_us=START_US, to_us=START_US + WEEK)
    found = told.of("a", learned, [])
    assert found.reference == found.reviewed[0]
    assert "in the days of its reference" in found.sentence
    later: Any = SimpleNamespace(from_us=BEGIN, to_us=END)
    assert told.of("a", later, []).reference is None, "it would be held against itself"


def test_a_week_before_that_is_not_whole_is_not_held_against(labelled: Store) -> None:
    assert history(labelled, whole=False).of("a", None, []).before is None


def test_a_shorter_period_is_told_in_stretches_of_its_length(labelled: Store) -> None:
    found = history(labelled, END - 3 * DAY_US).of("a", None, [])
    assert (found.step, len(found.reviewed)) == ("3 days", 7)
    assert found.before == found.reviewed[-2]


def test_a_period_from_within_a_day_is_told_by_the_days_that_begin_in_it(labelled: Store) -> None:
    found = history(labelled, BEGIN - 20 * 3_600_000_000, END - 20 * 3_600_000_000).of("a", None, [])
    days = [iso(at)[:10] for at in (BEGIN, END - DAY_US)]
    assert [found.reviewed[-1].since, found.reviewed[-1].until] == days
    assert found.reviewed[-1] == history(labelled).of("a", None, []).reviewed[-1]


def test_few_labels_are_told_and_not_drawn(tmp_path: Any) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    fill(store, 20.0, days=1)
    work(store, 8)
    told = history(store, START_US, START_US + WEEK)
    found = [told.of(name, None, []) for name in "ab"]
    assert [one.reviewed for one in found] == [[], []]
    assert not told.tells("a")
    assert any(one.sentence.endswith("; too few labels to draw.") for one in found)
    assert FEWEST_LABELS > 8
    nobody = History(store, START_US, START_US + WEEK, "UTC", {}, {"a"}, whole=True)
    assert nobody.of("a", None, []).sentence == "Nothing was drawn for review."
    store.close()


def test_weeks_are_drawn_with_their_intervals_beside_the_reference() -> None:
    report = a_report()
    _, review, checks = figures.of_segment(report, report.segments[0])
    assert "Answers wrong by review, by week" in review
    assert review.count("line whisker s") == 3
    assert review.count('class="area s2"') == 1, "the reference has its own colour"
    assert "2026-11-02 to 2026-11-08" in review
    assert "schema violation rate" in checks


def test_nothing_of_quality_says_why() -> None:
    empty = Quality("Nothing was drawn for review.", "", [], None, None, [])
    report = msgspec.structs.replace(a_report(), tail=None, quality=empty)
    (drawn,) = figures.of_all(report)
    assert "Nothing was drawn for review. No event of these days says what a check found." in drawn
    few = msgspec.structs.replace(a_quality(), reviewed=a_quality().reviewed[:1], reference=None, checks=[])
    (lonely,) = figures.of_all(msgspec.structs.replace(report, quality=few))
    assert "line whisker s0" in lonely
