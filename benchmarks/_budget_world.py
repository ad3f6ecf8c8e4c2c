"""A replicate without a change: weeks of traffic judged under the default budget, and what is opened."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._budget_data import Traces
from benchmarks._budget_rules import NAMES, Rules
from benchmarks._budget_session import Alarm, MemorySession
from benchmarks._budget_traffic import Plan, Traffic
from monitor.budget import Watched
from monitor.config.model import Config
from monitor.evaluate.references import kindred
from monitor.store.engine import open_store
from tests.evaluate.traffic import DAY_US, START_US

SEVERITIES = ("page", "ticket")
CONFIG = {"routes": {"pages": {"stakes": "high"}, "tickets": {"stakes": "medium"}}}


@dataclass(slots=True)
class Outcome:
    """What came of one replicate. ``streams``: by severity; ``days``: judged."""

    days: float
    streams: dict[str, int]
    kinds: dict[str, int]
    enough: int
    asked: int
    unfunded: dict[str, int]  # streams that are watched and have too little data, by signal
    opened: list[Alarm] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    funded: dict[str, float] = field(default_factory=dict)
    rules: dict[str, dict[str, int]] = field(default_factory=dict)
    kindred: dict[str, float] = field(default_factory=dict)  # how much days differ, which a new segment learns with
    per_hour: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def config_of(learn: str = "7d") -> Config:
    """The default configuration, with one route of high and one of medium stakes, and references of ``learn``."""
    return Config.model_validate({**CONFIG, "reference": {"learn": learn}})


def learn_days(config: Config) -> int:
    """Full days until the first references."""
    return -(-max(config.reference.learn, config.evaluation.min_history) // DAY_US)


def run(traces: Traces, plan: Plan, days: int, seed: tuple[int, int], learn: str = "7d") -> Outcome:
    """Learn from ``learn``, then judge ``days`` days."""
    began = time.process_time()
    config = config_of(learn)
    learned = learn_days(config)
    traffic = Traffic(traces, plan, learned + days, seed)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder) / 'driftline.db'}")
        session = MemorySession(store, config, traffic, Rules())
        end = START_US + (learned + days) * DAY_US
        session.run(START_US, end)
        watched = Watched(session, end)
        found = [*watched.found(list(range(len(session.bank))), None), *watched.too_short()]
        store.close()
    assert session.simple is not None
    return Outcome(
        days=days,
        streams=dict(Counter(stream.severity for stream in session.bank.streams)),
        kinds=dict(Counter(stream.spec.kind for stream in session.bank.streams)),
        enough=sum(one.enough for one in found),
        asked=len(found),
        unfunded=dict(Counter(one.signal for one in found if not one.enough).most_common(12)),
        opened=list(session.noted.opened.values()),
        alarms=session.noted.alarms,
        funded={severity: session.bank.funded(severity) for severity in SEVERITIES},
        rules={name: session.simple.alarms[name] for name in NAMES},
        kindred=kindred(session.references.values(), ""),
        per_hour=dict(zip(traffic.names, traffic.per_hour.tolist(), strict=True)),
        seconds=time.process_time() - began,
    )
