"""`driftline cost`: bills, their change in parts, what measures would have saved, and what cannot be said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from monitor.cli import main
from monitor.config.model import Config
from monitor.spending import DEFAULT, Measure, Saved, SpendingError, parse_measure, read_spending, read_what_if
from monitor.store.engine import Store, open_store
from tests.evaluate.test_accounts import fill
from tests.evaluate.traffic import DAY_US, START_US

END = START_US + 16 * DAY_US
PRICES = {"models": [{"model": "m", "input_per_million": 1.0, "output_per_million": 4.0}]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Sixteen days of one version, the last week's requests with twice as many tokens."""
    found = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    fill(found, START_US, END - 7 * DAY_US, per_hour=20)
    fill(found, END - 7 * DAY_US, END, per_hour=20, tokens=2.0)
    yield found
    found.close()


def config(**over: Any) -> Config:
    return Config.model_validate({"prices": PRICES, **over})


def call(tmp_path: Path, *arguments: str) -> Result:
    (tmp_path / "driftline.yaml").write_text(
        f"store: {{url: 'sqlite:///{tmp_path}/driftline.db'}}\nprices: {json.dumps(PRICES)}\n"
    )
    return CliRunner().invoke(main, ["cost", *arguments, "--config", str(tmp_path / "driftline.yaml")])


def whole(store: Store, config: Config, segment: str | None, measures: Sequence[Measure]) -> list[Saved]:
    return [one.whole for one in read_what_if(store, config, 7, segment, measures).measures]


def test_the_change_adds_up_and_the_savings_are_of_the_bill(store: Store) -> None:
    (one,) = read_spending(store, config(), 7).segments
    assert one.change is not None
    parts = (one.change.traffic, one.change.mix, one.change.units, one.change.tail, one.change.price)
    assert sum(parts) == pytest.approx(one.change.change)
    assert one.change.before + one.change.change == pytest.approx(one.bill)
    assert one.change.units + one.change.tail == pytest.approx(one.change.change, rel=0.05)
    assert one.requests == 7 * 24 * 20
    for saved in whole(store, config(), "s", DEFAULT):
        assert saved.saved is not None
        assert saved.low is not None
        assert saved.high is not None
        assert 0 < saved.low <= saved.saved <= saved.high < one.bill
        assert saved.share_of_requests == pytest.approx(0.05, abs=0.01)
    assert one.tail.top1_share is not None
    assert 0.01 < one.tail.top1_share < 0.1
    assert one.month is not None
    assert one.month.low <= one.month.projected <= one.month.high


def test_a_cap_that_cuts_everything_saves_its_part_of_the_bill(store: Store) -> None:
    """Input and output tokens together are all that is paid for."""
    everything = [Measure("cap", name, 0.0) for name in ("input_tokens", "output_tokens")]
    (one,) = read_spending(store, config(), 7, "s").segments
    assert sum(saved.saved or 0.0 for saved in whole(store, config(), "s", everything)) == pytest.approx(
        one.bill, rel=1e-6
    )
    (none,) = whole(store, config(), None, [Measure("cap", "cost", 1e15)])
    assert none.saved == 0.0
    (tier,) = whole(store, config(), None, [Measure("cheaper", "cost", 1e15, 0.25)])
    assert tier.share_of_bill == pytest.approx(0.75)
    assert tier.leaves_out == []


def test_a_price_that_is_not_known_is_said(store: Store) -> None:
    assert [saved.why_not for saved in whole(store, Config(), None, DEFAULT)] == [
        "no price of model 'm'; add it to prices.models"
    ] * 2


def test_what_people_and_scripts_read(store: Store, tmp_path: Path) -> None:
    bills = call(tmp_path)
    assert bills.exit_code == 0, bills.output
    assert "tokens per request +" in bills.output
    people = call(tmp_path, "whatif", "--cap", "cost=0.001", "--cheaper", "cost=0.002@0.3")
    assert people.exit_code == 0, people.output
    assert "all segments" in people.output
    assert "no request above 0.001 USD:" in people.output
    assert "requests below 0.002 USD at 0.3 of the price:" in people.output
    scripts = json.loads(call(tmp_path, "--json").output)
    assert scripts["segments"][0]["segment"] == "s"
    assert scripts["currency"] == "USD"
    told = json.loads(call(tmp_path, "whatif", "--cap", "output_tokens=800", "--segment", "s", "--json").output)
    (found,) = told["measures"]
    assert found["whole"]["measure"] == "no request above 800 output tokens"
    assert found["segments"] == [{"segment": "s", "bill": told["bill"], "saved": found["whole"]}]
    misplaced = call(tmp_path, "--days", "3", "whatif")
    assert misplaced.exit_code == 2
    assert "give options after whatif" in misplaced.output
    wrong = call(tmp_path, "whatif", "--cap", "tokens=5")
    assert wrong.exit_code == 1
    assert "output_tokens=2000" in wrong.output


def test_a_model_without_a_price_is_left_out_and_named(store: Store) -> None:
    fill(store, END - DAY_US, END, version="other@1", per_hour=20)
    (saved,) = whole(store, config(), "s", [Measure("cap", "output_tokens", 0.0)])
    assert saved.saved is not None
    assert saved.leaves_out == ["no price of model 'other'; add it to prices.models"]


def test_what_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
    refused = call(tmp_path, "whatif", "--segment", "nobody")
    assert refused.exit_code == 1
    assert "no event of segment 'nobody'" in refused.output
    refused = call(tmp_path, "--segment", "nobody")
    assert refused.exit_code == 1
    assert "no event of segment 'nobody' in the last 7 days" in refused.output
    other = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(SpendingError, match="nothing is closed yet"):
        read_spending(other, config(), 7)
    other.close()


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("cap", "output_tokens=2000", Measure("cap", "output_tokens", 2000.0)),
        ("cap", "cost=0.05", Measure("cap", "cost", 5e7)),
        ("cheaper", "input_bytes=100KB@0.3", Measure("cheaper", "input_bytes", 1e5, 0.3)),
        ("cheaper", "input_bytes=5000@0", Measure("cheaper", "input_bytes", 5000.0, 0.0)),
    ],
)
def test_measures(kind: Any, text: str, expected: Measure) -> None:
    assert parse_measure(kind, text) == expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("cap", "tokens=5"), ("cap", "cost=0.05@0.3"), ("cap", "cost"), ("cap", "cost=x"), ("cap", "cost=-1"),
        ("cheaper", "cost=0.05"), ("cheaper", "output_tokens=5@0.3"), ("cheaper", "cost=nan@0.3"),
        ("cheaper", "cost=1@inf"), ("cheaper", "input_bytes=1parsec@1"),
    ],
)  # fmt: skip
def test_measures_that_cannot_be_read_say_what_to_write(kind: Any, text: str) -> None:
    with pytest.raises(SpendingError, match=r"output_tokens=2000|input_bytes=100KB@0\.3"):
        parse_measure(kind, text)
