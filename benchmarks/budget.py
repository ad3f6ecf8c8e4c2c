"""The false-alarm budget through the evaluator: alarms without a change, and hours to the anomaly with one.

    OMP_NUM_THREADS=1 python -m benchmarks.budget --json [--quick]

Without a change: 40 segments of 5 to 500 sessions an hour, half of high and half of medium stakes, all signals, the
default budget and settings (references of 7 days), 120 judged days, 10 replicates. Sessions come as in GenTD26, drawn
by user-day with the hour of the day kept and their own outcome; latencies are llmperf's and GenTD26's stages, sizes
ServeGen's by quarter of the day. Verdicts, tiers, confidence, inputs and volume differ between days by 15 % (log sd),
latencies and sizes as those traces show: not. Four segments of a replicate have sampled sessions (12 an hour: images,
texts, agreement, slices), as all 40 would not fit in the time.

With one: see benchmarks/_budget_delays.py. The evaluator's own ticks run on cells in memory. Exits with 2 where the
traces are absent. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import platform
import sys
import time
from collections import Counter
from functools import cache
from typing import Any

import structlog
from scipy.special import pdtrik

from benchmarks._budget_data import DataAbsentError, Traces, load
from benchmarks._budget_delays import INCIDENTS, Incident, measure
from benchmarks._budget_rules import NAMES
from benchmarks._budget_traffic import Plan
from benchmarks._budget_world import SEVERITIES, Outcome, config_of, run
from tests.data import ROOT
from tests.evaluate.traffic import DAY_US

TRACES = ROOT.parent / "shared" / "data" / "traces"
DAYS, REPLICATES = 120, 10
PLURAL = {"page": "pages", "ticket": "tickets"}
LIMITS = {
    "error_1_to_4": 7.0, "error_1_to_10": 2.0, "embedding_1sd": 2.0, "cluster_20": 2.0, "cluster_5": 20.0, "p95": 1.75,
}  # fmt: skip


@cache
def _traces() -> Traces:
    return load(TRACES)


def _replicate(plan: Plan, days: int, seed: tuple[int, int], learn: str) -> Outcome:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    return run(_traces(), plan, days, seed, learn)


def _planted(incident: Incident, runs: int, world: Outcome, seed: int) -> dict[str, Any]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    began = time.process_time()
    return {**measure(incident, runs, world, seed), "seconds": round(time.process_time() - began, 1)}


def poisson_limit(budget: float) -> float:
    """95 % quantile of a Poisson count with mean ``budget``."""
    # pdtrik is the (real) count whose distribution function is 0.95; the quantile is the next integer.
    return float(-(-pdtrik(0.95, budget) // 1))


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Pooled counts over the replicates."""
    budget = config_of().budget
    days = sum(outcome.days for outcome in outcomes)
    found: dict[str, Any] = {"replicates": len(outcomes), "judged_days": days}
    for severity in SEVERITIES:
        name = PLURAL[severity]
        allowance = budget.page if severity == "page" else budget.ticket
        allowed = allowance.per_us * days * DAY_US
        opened = [one for outcome in outcomes for one in outcome.opened if one.severity == severity]
        alarms = [one for outcome in outcomes for one in outcome.alarms if one.severity == severity]
        found |= {
            f"{name}_ratio": round(len(opened) / allowed, 3),
            f"{name}_limit": round(poisson_limit(allowed) / allowed, 3),
            f"{name}": len(opened),
            f"{name}_budget": round(allowed, 1),
            f"{name}_funded": round(sum(outcome.funded[severity] for outcome in outcomes), 1),
            f"alarms_{name}": len(alarms),
            f"alarms_{name}_ratio": round(len(alarms) / allowed, 3),
            f"alarms_{name}_by_signal": dict(Counter(one.signal for one in alarms).most_common()),
            f"streams_{name}": round(sum(outcome.streams.get(severity, 0) for outcome in outcomes) / len(outcomes), 1),
            f"rules_{name}_ratio": {
                rule: round(sum(outcome.rules[rule][severity] for outcome in outcomes) / allowed, 1) for rule in NAMES
            },
        }
    asked, enough = (sum(getattr(outcome, name) for outcome in outcomes) for name in ("asked", "enough"))
    found["streams_with_enough_data"] = round(enough / asked, 3)
    short: Counter[str] = Counter()
    for outcome in outcomes:
        short.update(outcome.unfunded)
    found["without_enough_by_signal"] = {
        signal: round(count / len(outcomes), 1) for signal, count in short.most_common(12)
    }
    found["streams_by_kind"] = outcomes[0].kinds
    return found


def main() -> None:
    """Print the figures, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    parser.add_argument("--quick", action="store_true", help="one replicate of few segments and days, few runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicates", type=int, help=f"how many (default: {REPLICATES})")
    parser.add_argument("--days", type=int, help=f"judged days of a replicate (default: {DAYS})")
    parser.add_argument("--day-sd", type=float, default=Plan().day_sd, help="of verdicts, tiers, inputs, volume")
    parser.add_argument("--latency-sd", type=float, default=Plan().latency_sd, help="the same of latencies")
    parser.add_argument("--learn", default="7d", help="what references are learned from, as reference.learn")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--only", choices=("null", "delays"), help="one half; delays then follow a short replicate")
    args = parser.parse_args()
    began = time.monotonic()
    plan = Plan(day_sd=args.day_sd, latency_sd=args.latency_sd)
    days, replicates, runs, few = args.days or DAYS, args.replicates or REPLICATES, 60, 16
    if args.quick:
        plan = Plan(12, 2, args.day_sd, args.latency_sd)
        days, replicates, runs, few = args.days or 7, args.replicates or 1, 12, 3
    if args.only == "delays":
        days, replicates = 1, 1
    try:
        _traces()
    except DataAbsentError as error:
        print(f"benchmarks.budget cannot run without its data: {error}", file=sys.stderr)
        sys.exit(2)
    with concurrent.futures.ProcessPoolExecutor(args.workers) as pool:
        futures = [pool.submit(_replicate, plan, days, (args.seed, number), args.learn) for number in range(replicates)]
        # What a new segment learns with and shares the budget with is the first replicate's.
        world = futures[0].result()
        planted = {}
        if args.only != "null":
            planted = {
                incident.name: pool.submit(_planted, incident, few if incident.embedded else runs, world, args.seed)
                for incident in INCIDENTS
            }
        outcomes = [future.result() for future in futures]
        result = summary(outcomes)
        delays = {name: future.result() for name, future in planted.items()}
    for name, figures in delays.items():
        result[f"delay_{name}"] = figures["median"]
    result["delays"] = delays
    result["delay_limits"] = LIMITS
    result["seeds"] = [[args.seed, number] for number in range(replicates)]
    result["settings"] = {
        "segments": plan.segments, "embedded_segments": plan.embedded, "days": days, "day_sd": plan.day_sd,
        "latency_sd": plan.latency_sd, "learn": args.learn, "runs": runs,
        "runs_of_embeddings": few, "quick": args.quick,
    }  # fmt: skip
    result["cpu_seconds"] = round(
        sum(outcome.seconds for outcome in outcomes) + sum(figures["seconds"] for figures in delays.values()), 1
    )
    result["wall_seconds"] = round(time.monotonic() - began, 1)
    result["machine"] = {"processors": os.cpu_count(), "system": platform.platform(), "python": sys.version.split()[0]}
    if not args.json:
        for name, value in result.items():
            print(f"{name:28} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
