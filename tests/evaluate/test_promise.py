"""The false-alarm budget through the whole evaluator, on traffic that varies without changing.

Bounds are exact: the greatest count that a Poisson mean of what was funded gives with probability 0.999. The long
measurement is `benchmarks/promise_service.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, pdtrik

from detectors.evidence import FundedSR
from detectors.rates import RateReference, log_bets, pooled_day_sd
from monitor.evaluate.bank import StreamBank
from monitor.evaluate.references import Reference
from monitor.evaluate.worker import EvaluateWorker
from monitor.store import references
from monitor.store.anomalies import list_anomalies
from monitor.store.engine import open_store
from tests.evaluate.null_traffic import Life, write_null
from tests.evaluate.test_worker import config
from tests.evaluate.traffic import DAY_US

Float = NDArray[np.float64]

LEARN_DAYS = 7
HIGH = {"routes": {"pages": {"stakes": "high"}}}


def most(funded: float) -> int:
    """What a Poisson count with this mean exceeds with probability 0.001 at most."""
    return int(np.ceil(pdtrik(0.999, funded)))


class Spending:
    """Adds up what streams are funded with, and counts what is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.funded = {"page": 0.0, "ticket": 0.0}
        step = StreamBank.step

        def counted(bank: StreamBank, logs: Float, looking: NDArray[np.bool_], end_us: int) -> Any:
            since = np.minimum(end_us - bank.last_look, 3_600_000_000)
            spent = np.where(looking & ~bank.sr.suspended, bank.share * since, 0.0)
            for severity in self.funded:
                mine = np.array([s.severity == severity for s in bank.streams], dtype=np.bool_)
                self.funded[severity] += float(spent[mine].sum())
            return step(bank, logs, looking, end_us)

        monkeypatch.setattr(StreamBank, "step", counted)


def test_segments_that_come_go_and_rest_spend_the_budget_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three weeks; most segments rest at weekends, of which the first week has shown one."""
    days = LEARN_DAYS + 14
    population = [
        Life(f"{route[0]}{i}", route, per_hour, 0.1, weekdays_only=i != 1, verdicts=("error",), **life)
        for route in ("pages", "tickets")
        for i, (per_hour, life) in enumerate(
            [(12.0, {}), (25.0, {"to_day": 16}), (30.0, {}), (16.0, {}), (24.0, {}), (20.0, {"from_day": 6})]
        )
    ]
    store = open_store(f"sqlite:///{tmp_path / 'driftline.db'}")
    end = write_null(store, population, days=days, seed=4)
    spending = Spending(monkeypatch)
    settings = config(**HIGH)
    worker = EvaluateWorker(store, settings, clock=lambda: end / 1e6)
    worker.drain()
    worker.close()
    with store.read() as connection:
        opened = [row for row in list_anomalies(connection) if row.segment not in ("p1", "t1")]  # they end
    store.close()
    for severity, allowance in (("page", settings.budget.page), ("ticket", settings.budget.ticket)):
        allowed = allowance.per_us * (days - LEARN_DAYS) * DAY_US
        assert 0.5 * allowed < spending.funded[severity] <= allowed
        false = [(row.segment, row.signal) for row in opened if row.severity == severity]
        assert len(false) <= most(spending.funded[severity]), false


def test_a_week_of_signals_that_vary_unalike_holds_the_budget() -> None:
    """Days move latency by 30 % and nothing else: the steady rates tell a latency's tail little of its days.

    300 segments of three tails of one latency and eight rates learn from seven days; every stream is judged on six
    weeks of single days under a budget of three alarms in all.
    """
    rng = np.random.default_rng(13)
    funded, days = 3.0, LEARN_DAYS + 42
    hits, trials, upper = [], [], []
    for _ in range(300):
        sessions = rng.poisson(np.exp(rng.uniform(np.log(200.0), np.log(3000.0))), days)
        moved = 0.3 * rng.standard_normal(days) / 0.5  # of a log-normal latency
        shares = [ndtr(moved - moved[:LEARN_DAYS].mean() - ndtri(q)) for q in (0.5, 0.95, 0.99)]
        shares += [np.full(days, np.exp(rng.uniform(np.log(0.003), np.log(0.06)))) for _ in range(8)]
        found = [rng.binomial(sessions, share) for share in shares]
        prior = pooled_day_sd((x[:LEARN_DAYS], sessions[:LEARN_DAYS]) for x in found)
        for x in found:
            fit = RateReference.fit(x[:LEARN_DAYS], sessions[:LEARN_DAYS], min_effect=1.25, prior_day_sd=prior)
            hits.append(x)
            trials.append(sessions)
            upper.append(fit.p_plus)
    procedure = FundedSR(len(upper))
    alpha = np.full(len(upper), funded / 42 / len(upper))
    alarms = 0
    for day in range(LEARN_DAYS, days):
        bets = log_bets([x[day] for x in hits], [n[day] for n in trials], upper)
        alarms += int(procedure.step(bets, alpha).alarms.sum())
    assert alarms <= most(funded), alarms


def test_segments_that_learn_together_tell_each_other_how_much_days_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose week happened to be steady is judged by what the days of the others show; nobody's limits narrow."""

    def learned(name: str) -> dict[str, float]:
        store = open_store(f"sqlite:///{tmp_path / name}.db")
        population = [Life(f"s{i}", "r", 20.0, 0.3, verdicts=("error",)) for i in range(5)]
        end = write_null(store, population, days=LEARN_DAYS, seed=9)
        worker = EvaluateWorker(store, config(), clock=lambda: end / 1e6)
        worker.drain()
        worker.close()
        found = {}
        for row in references.list_references(store):
            fit = Reference.from_content(row.content).streams["latency_total_p50"].fit
            assert isinstance(fit, RateReference)
            found[row.segment] = fit.day_sd
        store.close()
        return found

    together = learned("together")
    monkeypatch.setattr("monitor.evaluate.learning.kindred", lambda others, segment: {})
    alone = learned("alone")
    assert len(alone) == 5
    assert all(together[segment] >= alone[segment] - 1e-9 for segment in alone)
    steadiest = min(alone, key=alone.__getitem__)
    assert together[steadiest] > 1.1 * alone[steadiest]
