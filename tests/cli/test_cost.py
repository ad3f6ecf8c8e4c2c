"""`driftline cost`: bills, their change in parts, what measures would have saved, and what cannot be said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from monitor.cli import main
from monitor.config.model import Config
from monitor.spending import Measure, SpendingError, parse_measure, read_spending
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
    return CliRunner().invoke(main, ["cost", "--config", str(tmp_path / "driftline.yaml"), *arguments])


def test_the_change_adds_up_and_the_savings_are_of_the_bill(store: Store) -> None:
    (one,) = read_spending(store, config(), 7).segments
    assert one.change is not None
    parts = (one.change.traffic, one.change.mix, one.change.units, one.change.tail, one.change.price)
    assert sum(parts) == pytest.approx(one.change.change)
    assert one.change.before + one.change.change == pytest.approx(one.bill)
    assert one.change.units + one.change.tail == pytest.approx(one.change.change, rel=0.05)
    assert one.requests == 7 * 24 * 20
    for saved in one.savings:
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
    (one,) = read_spending(store, config(), 7, "s", everything).segments
    assert sum(saved.saved or 0.0 for saved in one.savings) == pytest.approx(one.bill, rel=1e-6)
    (none,) = read_spending(store, config(), 7, "s", [Measure("cap", "cost", 1e15)]).segments
    assert none.savings[0].saved == 0.0
    free = [Measure("cheaper", "cost", 1e15, 0.25)]
    (all_,) = read_spending(store, config(), 7, "s", free).segments
    assert all_.savings[0].share_of_bill == pytest.approx(0.75)


def test_a_price_that_is_not_known_is_said(store: Store) -> None:
    (one,) = read_spending(store, Config(), 7).segments
    assert [saved.why_not for saved in one.savings] == ["no price of model 'm'; add it to prices.models"] * 2


def test_what_people_and_scripts_read(store: Store, tmp_path: Path) -> None:
    people = call(tmp_path, "--cap", "cost=0.001", "--cheaper", "cost=0.002@0.3")
    assert people.exit_code == 0, people.output
    assert "tokens per request +" in people.output
    assert "no request above 0.001 USD:" in people.output
    assert "requests below 0.002 USD at 0.3 of the price:" in people.output
    scripts = json.loads(call(tmp_path, "--json").output)
    assert scripts["segments"][0]["segment"] == "s"
    assert scripts["currency"] == "USD"


def test_what_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
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
