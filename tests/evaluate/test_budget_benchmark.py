"""The machinery of `benchmarks/budget.py` on small traffic: what is planted is found, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, poisson

from benchmarks import budget
from benchmarks._budget_data import ATOMS, QUARTERS, DataAbsentError, Traces, load
from benchmarks._budget_delays import INCIDENTS, measure
from benchmarks._budget_rules import of_shares, of_values
from benchmarks._budget_session import MemorySession
from benchmarks._budget_traffic import Plan, Traffic
from benchmarks._budget_world import Outcome, config_of, run
from monitor.evaluate.counts import CountPlan
from monitor.store.engine import open_store
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US

BY_NAME = {incident.name: incident for incident in INCIDENTS}


@pytest.fixture(scope="module")
def traces() -> Traces:
    """Tables as the traces would give them: 400 user-days, of which a few have several sessions."""
    rng = np.random.default_rng(3)
    length = 1 + (rng.random(400) < 0.1) * 2
    many = int(length.sum())
    quantiles = np.exp(np.linspace(-2.0, 2.0, ATOMS))
    sizes = np.broadcast_to(200.0 * quantiles, (2, QUARTERS, ATOMS))
    return Traces(
        hour=rng.integers(0, 24, many),
        failed=(rng.random(many) < 0.01).astype(np.int64),
        begin=np.cumsum(length) - length,
        length=length,
        input_tokens=sizes,
        output_tokens=np.broadcast_to(np.repeat([23.0, 24.0, 25.0, 27.0], ATOMS // 4), (2, QUARTERS, ATOMS)),
        paid=5.0 * sizes,
        latency=np.broadcast_to(2e6 * quantiles, (2, ATOMS)),
        first_token=np.broadcast_to(4e5 * quantiles, (2, ATOMS)),
        stages={"model": 1e6 * quantiles},
    )


@pytest.fixture(scope="module")
def world(traces: Traces) -> Outcome:
    return run(traces, Plan(segments=6, embedded=1), days=2, seed=(1, 0))


def test_without_a_change_nothing_is_opened(world: Outcome) -> None:
    funded = world.funded["page"] + world.funded["ticket"]
    assert 0.2 < funded < 2 * (1 / 30 + 2 / 7)
    assert len(world.alarms) <= poisson.ppf(0.999, funded)
    assert not world.opened
    assert set(world.kinds) == {"rate", "tail", "mix", "volume", "embedding", "agreement", "slice"}
    assert world.streams["page"] > 50
    assert 0 < world.enough <= world.asked


@pytest.mark.parametrize(("name", "hours"), [("error_1_to_10", 2.0), ("p95", 2.0), ("embedding_1sd", 3.0)])
def test_a_planted_change_is_found(world: Outcome, name: str, hours: float) -> None:
    found = measure(BY_NAME[name], 2 if name.startswith("embedding") else 8, world, seed=1)
    assert found["before"] == 0
    assert found["found"] == found["runs"]
    median = found["median"]
    assert isinstance(median, float)
    assert 0.0 < median <= hours


def test_where_nothing_is_planted_nothing_is_found(world: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    incident = replace(BY_NAME["error_1_to_10"], after=0.01, horizon_hours=48)
    monkeypatch.setattr("benchmarks._budget_delays.INCIDENTS", (incident,))
    found = measure(incident, 8, world, seed=1)
    assert (found["found"], found["before"], found["median"]) == (0, 0, None)


def test_counts_between_thresholds_are_as_values_of_single_sessions(traces: Traces, tmp_path: Path) -> None:
    """Both ways of drawing a day give every tail the same share above its threshold."""
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    traffic = Traffic(traces, Plan(segments=4, embedded=0, latency_sd=0.2), days=9, seed=(2, 0))
    session = MemorySession(store, config_of(), traffic)
    session.run(START_US, START_US + 7 * DAY_US)
    store.close()
    day = START_US + 7 * DAY_US
    plan, shares = CountPlan(session.bank, session.decoder), []
    for make in (traffic._counted, traffic._single):
        traffic._counted = make  # type: ignore[method-assign]
        cells = traffic.cells(day, day + DAY_US, session.decoder, session.bank, whole=False)
        hits, trials = plan.count(cells, day, HOUR_US, 24)
        shares.append((hits.sum(axis=0), trials.sum(axis=0)))
    tails = [i for i, stream in enumerate(session.bank.streams) if stream.spec.kind == "tail"]
    assert len(tails) > 40
    (hits, trials), (other, again) = shares
    assert (trials == again).all()
    for i in tails:
        p = (hits[i] + other[i] + 1) / (2 * trials[i] + 2)
        low, high = binom.interval(1 - 1e-6, trials[i], p)
        assert low <= hits[i] <= high
        assert low <= other[i] <= high


def test_absent_traces_are_said_and_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataAbsentError, match="lora_request_trace"):
        load(tmp_path)
    budget._traces.cache_clear()
    monkeypatch.setattr(budget, "TRACES", tmp_path)
    monkeypatch.setattr("sys.argv", ["budget", "--quick"])
    with pytest.raises(SystemExit) as stopped:
        budget.main()
    assert stopped.value.code == 2
    assert "cannot run without its data" in capsys.readouterr().err


def test_the_limit_is_a_poisson_quantile() -> None:
    for budget_, at_most in ((40.0, 51.0), (342.857, 374.0)):
        assert budget.poisson_limit(budget_) == at_most == poisson.ppf(0.95, budget_)


def test_common_rules_flag_what_they_say() -> None:
    flags = of_shares(np.array([1.0, 12.0, 0.0]), np.array([100.0, 100.0, 0.0]), np.full(3, 0.01), np.full(3, 1e4))
    assert {name: flag.tolist() for name, flag in flags.items()} == {
        "ks": [False, False, False],
        "psi": [False, True, False],
        "three_sigma": [False, True, False],
    }
    before = np.linspace(0.0, 1.0, 1000)
    assert of_values(before[::10], before) == {"ks": False, "psi": False, "three_sigma": False}
    assert of_values(before[::10] + 0.5, before) == {"ks": True, "psi": True, "three_sigma": True}
