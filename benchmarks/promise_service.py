"""Does the false-alarm budget hold through the whole evaluator? Weeks without a change, from stored rows to anomalies.

    python -m benchmarks.promise_service --json [--quick] [--worlds NAME ...]

Every store holds weeks of traffic that varies without changing (tests/evaluate/null_traffic.py): segments of all
default signals, sessions of several events, heavy tails, hours of the day, weekends, day effects on everything,
segments that come, go and rest at weekends. The real evaluator learns from the first days and judges the rest under
the default budget, half of the segments as pages. ``gentd26`` is a production trace joined to real pages, through the
ingest and embed roles too; it is skipped, and says so, where the data is absent.

``funded`` is the budget times the time judged, ``upper`` the exact 95 % limit of the expected number given what was
opened, were openings independent (day effects make them come together, so that several seeds are run). The volume of
a segment that has ended is a change, counted apart. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import structlog
from scipy.special import chdtri

from monitor.config.model import Config
from monitor.embed.worker import EmbedWorker
from monitor.evaluate.streams import SLICE_PREFIX, spec_of
from monitor.evaluate.worker import EvaluateWorker
from monitor.ingest.consumer import TopicPartition
from monitor.ingest.worker import IngestWorker
from monitor.store.anomalies import list_anomalies
from monitor.store.engine import Store, open_store
from tests.data import ROOT
from tests.evaluate.null_traffic import Life, lives, write_null
from tests.evaluate.traffic import DAY_US, START_US
from tests.ingest.memory_source import MemoryLog, MemorySource
from tests.real import gentd26

SEVERITIES = ("page", "ticket")


@dataclass(frozen=True)
class World:
    """One kind of traffic. ``day_sd``: log standard deviation of every day effect."""

    day_sd: float
    learn_days: int = 7
    judged_days: int = 42
    segments: int = 18
    embedded: int = 6
    seeds: int = 3


WORLDS = {
    "steady_7d": World(0.0),
    "day_effect_15_7d": World(0.15),
    "day_effect_30_7d": World(0.30),
    "day_effect_30_28d": World(0.30, learn_days=28, seeds=2),
}


@dataclass
class Outcome:
    """What came of one store. ``opened``: (severity, family, segment, signal, day, sentence) of every anomaly."""

    days: float
    streams: int
    opened: list[tuple[str, str, str, str, float, str]] = field(default_factory=list)
    endings: int = 0
    seconds: float = 0.0


def family(segment: str, signal: str) -> str:
    """Which signals belong together in the table."""
    if segment.startswith(SLICE_PREFIX):
        return "slices"
    spec = spec_of(signal)
    if spec.kind == "tail":
        return spec.metric.partition("_")[0] if "tokens" not in spec.metric else "tokens"
    return {"rate": "rates", "mix": "routing"}.get(spec.kind, spec.kind)


def judge(store: Store, config: Config, end_us: int, learned_us: int, population: Iterable[Life] = ()) -> Outcome:
    """Evaluate everything; ``learned_us`` is when the first reference is learned."""
    began = time.process_time()
    worker = EvaluateWorker(store, config, clock=lambda: end_us / 1e6)
    worker.drain()
    session = worker._session
    assert session is not None
    outcome = Outcome(days=(end_us - learned_us) / DAY_US, streams=len(session.bank.streams))
    worker.close()
    ended = {life.name: START_US + life.to_day * DAY_US for life in population}
    with store.read() as connection:
        rows = sorted(list_anomalies(connection), key=lambda row: row.opened_us)
    for row in rows:
        if row.severity not in SEVERITIES:
            continue  # recorded and told to nobody, as a segment that is new
        if row.signal == "volume" and row.opened_us > ended.get(row.segment, 2**62):
            outcome.endings += 1
            continue
        day = round((row.opened_us - learned_us) / DAY_US, 2)
        sentence = row.document["explanation"]["sentence"]
        outcome.opened.append((row.severity, family(row.segment, row.signal), row.segment, row.signal, day, sentence))
    outcome.seconds = time.process_time() - began
    return outcome


def simulate(world: World, seed: int) -> Outcome:
    """One store of a world."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    days = world.learn_days + world.judged_days
    rng = np.random.default_rng([seed, round(1000 * world.day_sd), world.learn_days])
    population = lives(world.segments, days=days, day_sd=world.day_sd, embedded=world.embedded, rng=rng)
    config = Config.model_validate(
        {"routes": {"pages": {"stakes": "high"}}, "reference": {"learn": f"{world.learn_days}d"}}
    )
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/driftline.db")
        end_us = write_null(store, population, days=days, seed=seed)
        outcome = judge(store, config, end_us, START_US + world.learn_days * DAY_US, population)
        store.close()
    return outcome


def real() -> list[Outcome] | None:
    """GenTD26 without a splice through ingest, embed and evaluate, as pages and as tickets; None without the data."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    shared = ROOT.parent / "shared" / "data"
    if not (shared / "traces" / "gentd26").exists() or not (shared / "images" / "manifest.csv").exists():
        return None
    log = MemoryLog(
        {
            TopicPartition("inference", 0): [
                (-1, None, json.dumps(event).encode()) for event in gentd26.events(shared, None)
            ]
        }
    )
    document = {
        "segments": {"max_versions": 100},
        "payloads": {"roots": [str((shared / "images").resolve())]},
        "sampling": {"content": False},
    }
    config = Config.model_validate(document)
    requests = gentd26.requests(shared / "traces")
    first, last = (int(request.time.timestamp() * 1e6) for request in (requests[0], requests[-1]))
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/high.db")
        ingest = IngestWorker(config, store, source=MemorySource(log))
        while not ingest.caught_up():
            ingest.step(0)
        ingest.drain()
        ingest.close()
        embed = EmbedWorker(store, config)
        while embed.step():
            pass
        embed.close()
        store.close()
        shutil.copy(f"{folder}/high.db", f"{folder}/medium.db")
        for stakes in ("high", "medium"):
            store = open_store(f"sqlite:///{folder}/{stakes}.db")
            judged = Config.model_validate({**document, "routes": {gentd26.ROUTE: {"stakes": stakes}}})
            outcomes.append(judge(store, judged, last, first + judged.reference.learn))
            store.close()
    return outcomes


def poisson_upper(count: int, confidence: float = 0.95) -> float:
    """The exact upper limit of a Poisson mean of which ``count`` were seen."""
    return float(chdtri(2 * (count + 1), 1.0 - confidence)) / 2.0


def summary(outcomes: list[Outcome], severities: Iterable[str] = SEVERITIES) -> dict[str, Any]:
    """A world's figures by severity and by family of signals."""
    budget = Config().budget
    found: dict[str, Any] = {"stores": len(outcomes), "streams": sum(o.streams for o in outcomes)}
    days = sum(o.days for o in outcomes)
    for severity in severities:
        allowance = budget.page if severity == "page" else budget.ticket
        funded = allowance.per_us * days * DAY_US
        opened = [one for o in outcomes for one in o.opened if one[0] == severity]
        upper = poisson_upper(len(opened))
        found[severity] = {
            "opened": len(opened),
            "funded": round(funded, 2),
            "upper": round(upper, 2),
            "rate_to_budget": round(len(opened) / funded, 3),
            "upper_to_budget": round(upper / funded, 3),
            "by_family": dict(sorted(Counter(one[1] for one in opened).items())),
        }
    found["endings"] = sum(o.endings for o in outcomes)
    found["seconds"] = round(sum(o.seconds for o in outcomes), 1)
    return found


def main() -> None:
    """Print each world's figures, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    parser.add_argument("--quick", action="store_true", help="one seed, fewer segments and days")
    parser.add_argument("--seed", type=int, default=1, help="the first seed of each world")
    parser.add_argument("--seeds", type=int, help="how many seeds of each world")
    parser.add_argument("--worlds", nargs="*", choices=[*WORLDS, "gentd26"], help="only these")
    parser.add_argument("--list", action="store_true", help="also every anomaly, as a sentence")
    args = parser.parse_args()
    began = time.monotonic()
    chosen = args.worlds or [*WORLDS, "gentd26"]
    result: dict[str, Any] = {}
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        jobs: dict[str, list[concurrent.futures.Future[Any]]] = {}
        for name in chosen:
            if name == "gentd26":
                jobs[name] = [pool.submit(real)]
                continue
            world = WORLDS[name]
            if args.quick:
                world = World(world.day_sd, world.learn_days, judged_days=14, segments=9, embedded=3, seeds=1)
            seeds = range(args.seed, args.seed + (args.seeds or world.seeds))
            jobs[name] = [pool.submit(simulate, world, seed) for seed in seeds]
        for name, futures in jobs.items():
            outcomes = [future.result() for future in futures]
            if name == "gentd26":
                outcomes = outcomes[0]
                if outcomes is None:
                    message = "the real data is not beside the repository, see tests/data.py"
                    print(f"gentd26 SKIPPED: {message}", file=sys.stderr)
                    result[name] = f"skipped: {message}"
                    continue
                page, ticket = (summary([one], [s]) for one, s in zip(outcomes, SEVERITIES, strict=True))
                result[name] = {**page, **ticket}
            else:
                result[name] = {**summary(outcomes), "seeds": [args.seed, args.seed + len(futures) - 1]}
            if not args.json:
                _tell(name, result[name])
            if args.list:
                for outcome in outcomes:
                    for one in outcome.opened:
                        print("   ", *one, file=sys.stderr, flush=True)
    result["wall_seconds"] = round(time.monotonic() - began, 1)
    result["machine"] = {"processors": os.cpu_count(), "system": platform.platform(), "python": sys.version.split()[0]}
    print(json.dumps(result))


def _tell(name: str, figures: dict[str, Any]) -> None:
    for severity in SEVERITIES:
        f = figures[severity]
        families = ", ".join(f"{k} {v}" for k, v in f["by_family"].items()) or "none"
        print(
            f"{name:18} {severity:6} opened {f['opened']:4}  funded {f['funded']:6.2f}  upper {f['upper']:6.2f}  "
            f"upper/budget {f['upper_to_budget']:6.3f}  ({families})",
            flush=True,
        )


if __name__ == "__main__":
    main()
