"""The page of quality: rates, calibration and advice are those of the command line, and what is not known is said."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from detectors.summaries.signals import measure
from monitor import advice
from monitor.estimates import Estimate, Interval, estimates
from monitor.serve.cells import percent
from monitor.serve.quality.page import needed
from monitor.serve.templating import count_text
from monitor.store import reads, tokens
from monitor.store.engine import Store, open_store
from samplers.calibration import reliability
from samplers.threshold import Costs, advise
from tests.service.quality_of_page import DAY_US, END_US, EVIL, FROM_US, NAMED, fill_quality
from tests.service.test_web import Client, bearer, client

SPAN = (FROM_US, END_US + 1)
RANGE = "range=28d"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('quality') / 'd.db'}")
    fill_quality(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def asked(store: Store) -> Client:
    return client(store)


def shown(page: str) -> str:
    """The text of a page, on one line."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def test_error_rates_are_those_of_the_command_line(store: Store, asked: Client) -> None:
    page = shown(asked.get(f"/quality?{RANGE}").text)
    (one,) = estimates(store, *SPAN, "UTC")
    assert one.rate is not None
    assert f"{percent(one.rate)} % of answers are wrong" in page
    labels = shown(count_text(one.labels))
    assert f"95 % interval {percent(one.once.low)} to {percent(one.once.high)} %, {labels} labels" in page
    assert f"{labels} {one.waiting} {shown(needed(one))}" in page
    assert "Wrong answers by week" in page
    assert "items that several label come from review.overlap" in page


def test_checks_are_what_summaries_say(store: Store, asked: Client) -> None:
    for name, segment in ((NAMED, f"&segment={NAMED}"), (EVIL, f"&segment={quote(EVIL)}"), (None, "")):
        page = shown(asked.get(f"/quality?{RANGE}{segment}").text)
        whole = reads.merged(store, 0, 2**60, segment=name)
        for signal, words in (
            ("schema_violation_rate", "schema broken"),
            ("citation_ungrounded_rate", "citation not in"),
        ):
            value = measure(whole, signal).value
            assert value is not None
            assert f"{percent(value)} %" in page.partition(words)[2], (name, signal)


def test_calibration_and_advice_are_those_of_the_command_line(store: Store, asked: Client) -> None:
    page = shown(asked.get(f"/quality?{RANGE}&segment={NAMED}&target=35&automatic=0.01&escalated=0.4").text)
    material = advice.read(store, NAMED, *SPAN, "UTC")
    assert material.labels is not None
    assert material.traffic is not None
    found = reliability(material.labels)
    assert f"off by {percent(found.error.value)} % (" in page
    assert f"by {percent(abs(found.over))} points on average" in page
    told = advise(material.labels, material.traffic, 0.35, rng=np.random.default_rng(1), costs=Costs(0.01, 0.4))
    assert told.threshold is not None
    assert told.cost is not None
    assert f"below a confidence of {told.threshold:.3f}" in page
    assert f"An item costs {told.cost.value:.4g} on average" in page
    assert "Quality against cost" in page
    repairs = advice.inputs(material)
    assert [one.condition.name for one in repairs.named] == ["skew_degrees"]
    assert "skew degrees" in page
    assert f"at most {repairs.named[0].at_most_per_week:.3g}" in page
    without = shown(asked.get(f"/quality?{RANGE}&segment={NAMED}&target=20").text)
    none = advise(material.labels, material.traffic, 0.2, rng=np.random.default_rng(1))
    assert none.threshold is None
    assert none.reason[1:] in without
    assert "Quality against work" in without


def test_what_is_not_known_is_said(store: Store, asked: Client, tmp_path: Path) -> None:
    page = shown(asked.get(f"/quality?{RANGE}&segment={quote(EVIL)}").text)
    assert "How many answers are wrong is not known" in page
    assert "Nothing was drawn for review in these days" in page
    assert "Not known yet: no item of" in page
    early = shown(asked.get("/quality?from=2025-11-01&to=2025-11-02").text)
    assert "28 days may hold some" in early
    assert "No event of this range carries a verdict of a check" in early
    other = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    assert "No event was read yet." in client(other).get("/quality").text
    other.close()


def test_every_label_counts_at_once(tmp_path: Path) -> None:
    other = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    fill_quality(other, 20.0)
    asked = client(other)
    first = shown(asked.get(f"/quality?{RANGE}&segment={NAMED}").text)
    from monitor.store.tables import labels, review_items

    with other.write() as connection:
        connection.execute(labels.delete())
        connection.execute(review_items.update().values(state="open", labelled=0))
    second = shown(asked.get(f"/quality?{RANGE}&segment={NAMED}").text)
    assert "of answers are wrong" in first
    assert "No item of these days has a decided label." in second
    other.close()


@pytest.mark.parametrize(
    "query",
    [
        "target=0", "target=100", "target=x", "target=nan", "automatic=1", "automatic=-1&escalated=1",
        "automatic=1&escalated=inf", "range=1y", "segments=a", f"target={'1' * 21}",
    ],
)  # fmt: skip
def test_addresses_that_ask_for_something_else(asked: Client, query: str) -> None:
    assert asked.get(f"/quality?{query}").status_code == 400


def test_a_segment_that_is_not_there(asked: Client) -> None:
    answer = asked.get("/quality?segment=nobody")
    assert answer.status_code == 404
    assert "No event of this segment is stored" in shown(answer.text)


def test_hostile_names_are_text(asked: Client) -> None:
    for path in (f"/quality?{RANGE}", f"/quality?{RANGE}&segment={quote(EVIL)}", "/quality?segment=%3Cscript%3E1"):
        page = asked.get(path).text
        for bad in ("<script", "<img src=x", "<svg onload", "<link rel=stylesheet href", "\u202e"):
            assert bad not in page, (path, bad)


def test_who_may_read_it(store: Store) -> None:
    token = tokens.create(store, "viewer", now_us=END_US, note="Vi")
    shut = client(store)
    assert shut.get("/quality").status_code == 401
    page = shut.get(f"/quality?{RANGE}", bearer(token.secret))
    assert page.status_code == 200
    assert "by the roles reviewer and admin" in shown(page.text)


def test_how_many_labels_it_takes() -> None:
    def one(rate: float | None, low: float, high: float, labels: int) -> Estimate:
        limits = Interval(low, high)
        return Estimate("a", 0, DAY_US, rate, limits, limits, None, labels, 0, 0, 0, 1, 10.0, 10.0, None, limits)

    assert needed(one(None, 0, 1, 0)) == "some first"
    assert needed(one(0.1, 0.09, 0.11, 100)) == "none"
    assert needed(one(0.1, 0.06, 0.14, 100)) == "about 300"
