"""Does the false-alarm budget hold, and what does it find how soon? Monte Carlo without change, then with one.

    python -m benchmarks.promise --json [--quick]

600 streams for 120 days under a budget of one page per 30 days, in worlds that differ in what moves without a
change. Every reference is drawn anew, so its own error is in the figures. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detectors.drift import EmbeddingReference
from detectors.evidence import FundedSR, divide
from detectors.rates import RateReference, VolumeBets, VolumeReference, log_bets, pooled_day_sd

Float = NDArray[np.float64]
Sample = Callable[[np.random.Generator, int], Float]

HOUR_US = 3_600_000_000
PAGE_PER_US = 1.0 / (30 * 24 * HOUR_US)
STREAMS = 600
DIMENSION = 96
EMBEDDING_FUNDING = 100  # times a stream's real share, so that a handful of streams tells something


def hourly_rates(
    rng: np.random.Generator, n: int, days: int, day_sd: float, diurnal: float
) -> tuple[Float, Float, Float]:
    """(base rate [n], rate [n, hours], sessions an hour [n]) of n streams."""
    base = np.exp(rng.uniform(np.log(0.003), np.log(0.06), n))
    sessions = np.exp(rng.uniform(np.log(5), np.log(500), n))
    day = np.repeat(np.exp(rng.normal(0, day_sd, (n, days)) - day_sd**2 / 2), 24, axis=1)
    hour = 1.0 + diurnal * np.sin(2 * np.pi * (np.arange(days * 24) % 24)[None, :] / 24)
    return base, np.minimum(base[:, None] * day * hour, 0.9), sessions


def rates_world(
    rng: np.random.Generator,
    n: int,
    days: int,
    history: int,
    *,
    day_sd: float = 0.0,
    diurnal: float = 0.0,
    pooled: bool = True,
) -> dict[str, float]:
    """Rates at hourly looks; traffic by hour of day, Poisson."""
    _, rate, sessions = hourly_rates(rng, n, days + history, day_sd, diurnal)
    hours = np.arange((days + history) * 24)
    traffic = sessions[:, None] * (1.0 + 0.6 * np.sin(2 * np.pi * (hours % 24 - 6) / 24))[None, :]
    trials = rng.poisson(traffic)
    hits = rng.binomial(trials, rate)
    past = history * 24
    by_day = [values[:, :past].reshape(n, history, 24).sum(axis=2) for values in (hits, trials)]
    prior = pooled_day_sd(zip(*by_day, strict=True)) if pooled else None
    day, how = hours[:past] // 24, hours[:past] % 168
    references = [
        RateReference.fit(hits[i, :past], trials[i, :past], day=day, hour_of_week=how, prior_day_sd=prior)
        for i in range(n)
    ]
    upper = np.stack([reference.upper for reference in references])
    temper = np.array([reference.temper for reference in references])
    procedure = FundedSR(n)
    alpha = divide(PAGE_PER_US, HOUR_US, np.ones(STREAMS))[:n]
    alarms = 0
    for t in range(past, hours.size):
        bets = log_bets(hits[:, t], trials[:, t], upper[:, t % 168], temper=temper)
        alarms += int(procedure.step(bets, np.where(trials[:, t] > 0, alpha, 0.0)).alarms.sum())
    return {"alarms": alarms, "funded": float(alpha.sum() * days * 24)}


def volume_world(rng: np.random.Generator, n: int, days: int, history: int) -> dict[str, float]:
    """Volume with hours of the day, weekdays, a day effect of 20 % and overdispersed hours."""
    hours = np.arange((days + history) * 24)
    level = np.exp(rng.uniform(np.log(5), np.log(2000), n))
    shape = (1.0 + 0.7 * np.sin(2 * np.pi * (hours % 24 - 6) / 24)) * np.where(hours // 24 % 7 >= 5, 0.5, 1.0)
    day = np.repeat(np.exp(0.2 * rng.standard_t(6, (n, days + history))), 24, axis=1)
    noise = rng.gamma(12.0, 1.0 / 12.0, (n, hours.size))
    counts = rng.poisson(level[:, None] * shape[None, :] * day * noise)
    past = history * 24
    references = [VolumeReference.fit(counts[i, :past], hours[:past] % 168, hours[:past] // 24) for i in range(n)]
    bets, procedure = VolumeBets(references), FundedSR(n, VolumeBets.K)
    alpha = divide(PAGE_PER_US, HOUR_US, np.ones(STREAMS))[:n]
    alarms = 0
    for t in range(past, hours.size):
        logs = bets.step(counts[:, t], int(t % 168), int(t // 24))
        alarms += int(procedure.step(logs, alpha).alarms.sum())
    return {"alarms": alarms, "funded": float(alpha.sum() * days * 24)}


def kinds(rng: np.random.Generator) -> Sample:
    """Twelve kinds of input with a power-law spectrum within each."""
    centres = rng.normal(size=(12, DIMENSION)) * 0.5
    spectrum = np.arange(1, DIMENSION + 1) ** -0.7
    weights = rng.dirichlet(np.full(12, 2.0))

    def draw(generator: np.random.Generator, size: int) -> Float:
        which = generator.choice(12, size, p=weights)
        return np.asarray(centres[which] + generator.normal(size=(size, DIMENSION)) * spectrum)

    return draw


def heavy(rng: np.random.Generator) -> Sample:
    """Student t with 3 degrees of freedom, mixed."""
    mix = rng.normal(size=(40, DIMENSION)) / np.sqrt(40)

    def draw(generator: np.random.Generator, size: int) -> Float:
        return np.asarray(generator.standard_t(3, (size, 40)) @ mix + 0.1 * generator.normal(size=(size, DIMENSION)))

    return draw


def embedding_world(
    rng: np.random.Generator,
    n: int,
    days: int,
    world: Callable[[np.random.Generator], Sample],
    *,
    day_sd: float = 0.0,
    diurnal: float = 0.0,
) -> dict[str, float]:
    """Embeddings at 30 sessions an hour, 1,000 reference rows over 14 days; sizes in sd of one of 40 directions."""
    alpha = EMBEDDING_FUNDING * float(divide(PAGE_PER_US, HOUR_US, np.ones(STREAMS))[0])
    alarms = 0
    for _ in range(n):
        draw = world(rng)
        direction = rng.normal(size=DIMENSION)
        direction *= np.sqrt(draw(rng, 400).var(axis=0).sum() / 40) / np.linalg.norm(direction)
        of_day, of_hour = np.arange(1000) % 14, rng.integers(0, 24, 1000)

        def moved(day: Float, hour: NDArray[np.int64] | int, direction: Float = direction) -> Float:
            size = day_sd * day + diurnal * np.sin(2 * np.pi * np.asarray(hour) / 24)
            return np.asarray(np.atleast_1d(size)[:, None] * direction)

        rows = draw(rng, 1000) + moved(rng.normal(size=14)[of_day], of_hour)
        reference = EmbeddingReference.fit(
            rows[::2],
            rows[1::2],
            rng=rng,
            groups=np.concatenate([of_day[::2], of_day[1::2]]),
            hours=np.concatenate([of_hour[::2], of_hour[1::2]]),
        )
        procedure, heading = FundedSR(1, reference.K), reference.heading()
        shift = rng.normal(size=days)
        for hour in range(days * 24):
            bets = reference.log_bets(draw(rng, 30) + moved(shift[[hour // 24]], hour % 24), heading)
            alarms += int(procedure.step(bets[None], [alpha]).alarms[0])
    return {"alarms": alarms, "funded": alpha * n * days * 24}


def rate_delay(
    rng: np.random.Generator, before: float, after: float, per_hour: float, runs: int, history: int = 28
) -> float:
    """Median hours to the alarm at 5-minute looks, all runs side by side."""
    day = np.arange(history)
    trials = rng.poisson(per_hour * 24, (runs, history))
    references = [RateReference.fit(rng.binomial(row, before), row, day=day) for row in trials]
    upper = np.array([reference.p_plus for reference in references])
    alpha = np.full(runs, PAGE_PER_US * HOUR_US / 12 / STREAMS)
    procedure = FundedSR(runs)
    for _ in range(12 * 24):
        procedure.step(_look(rng, before, per_hour, upper), alpha)
    found = np.full(runs, np.inf)
    for look in range(1, 12 * 24 * 21):
        alarms = procedure.step(_look(rng, after, per_hour, upper), alpha).alarms
        found[alarms & np.isinf(found)] = look / 12
        if np.isfinite(found).all():
            break
    return float(np.median(found))


def _look(rng: np.random.Generator, rate: float, per_hour: float, upper: Float) -> Float:
    trials = rng.poisson(per_hour / 12, upper.size)
    return log_bets(rng.binomial(trials, rate), trials, upper)


def embedding_delay(rng: np.random.Generator, change: str, runs: int) -> float:
    """Median hours to the alarm, 60 sessions an hour, 1,000 reference rows, 40 equal latent dimensions."""
    alpha = float(divide(PAGE_PER_US, HOUR_US, np.ones(STREAMS))[0])
    found = []
    for _ in range(runs):
        mix = np.linalg.qr(rng.normal(size=(DIMENSION, 40)))[0].T
        direction = rng.normal(size=40) @ mix
        direction /= np.linalg.norm(direction)
        cluster = 8.0 * rng.normal(size=DIMENSION) / np.sqrt(DIMENSION)

        def draw(size: int, mix: Float = mix) -> Float:
            return np.asarray(rng.normal(size=(size, 40)) @ mix + 0.1 * rng.normal(size=(size, DIMENSION)))

        rows = draw(1000)
        reference = EmbeddingReference.fit(rows[::2], rows[1::2], rng=rng)
        procedure, heading = FundedSR(1, reference.K), reference.heading()
        hours = 0
        while hours < 240:
            hours += 1
            look = draw(60)
            if change.endswith("sd"):
                look += float(change[:-2]) * direction
            else:
                look[rng.random(60) < float(change[:-1]) / 100] += cluster
            if procedure.step(reference.log_bets(look, heading)[None], [alpha]).alarms[0]:
                break
        found.append(hours)
    return float(np.median(found))


def tick_seconds(rng: np.random.Generator, n: int, looks: int = 50) -> float:
    """Processor time of one tick of n rate streams: division, bets, evidence."""
    upper, trials = rng.uniform(0.001, 0.1, n), rng.poisson(10, n)
    hits = rng.binomial(trials, 0.01)
    procedure = FundedSR(n)
    begun = time.process_time()
    for _ in range(looks):
        procedure.step(log_bets(hits, trials, upper), divide(PAGE_PER_US, HOUR_US // 12, np.ones(n)))
    return (time.process_time() - begun) / looks


def main() -> None:
    """Print each world's figures, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    parser.add_argument("--quick", action="store_true", help="fewer streams and days")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begun = time.monotonic()
    n, days = (120, 40) if args.quick else (STREAMS, 120)
    few, runs = (4, 40) if args.quick else (6, 200)

    def rng(number: int) -> np.random.Generator:
        return np.random.default_rng([args.seed, number])

    worlds = {
        "rates_28d": lambda: rates_world(rng(1), n, days, 28),
        "rates_7d": lambda: rates_world(rng(2), n, days, 7),
        "rates_day_effect_30_28d": lambda: rates_world(rng(3), n, days, 28, day_sd=0.3),
        "rates_day_effect_30_7d": lambda: rates_world(rng(4), n, days, 7, day_sd=0.3),
        "rates_day_effect_30_7d_alone": lambda: rates_world(rng(4), n, days, 7, day_sd=0.3, pooled=False),
        "rates_diurnal_28d": lambda: rates_world(rng(5), n, days, 28, diurnal=0.6),
        "rates_diurnal_7d": lambda: rates_world(rng(6), n, days, 7, diurnal=0.6),
        "volume_28d": lambda: volume_world(rng(7), n, days, 28),
        "volume_7d": lambda: volume_world(rng(8), n, days, 7),
        "embedding_kinds": lambda: embedding_world(rng(9), few, days, kinds),
        "embedding_heavy": lambda: embedding_world(rng(10), few, days, heavy),
        "embedding_diurnal": lambda: embedding_world(rng(12), few, days, kinds, diurnal=0.5),
        "embedding_day_effect": lambda: embedding_world(rng(11), few, days, heavy, day_sd=0.3),
    }
    result: dict[str, object] = {}
    for name in worlds:
        figures = worlds[name]()
        result[name] = figures
        if not args.json:
            print(f"{name:28s} alarms {figures['alarms']:6.0f}   funded {figures['funded']:.3f}", flush=True)
    delays: dict[str, float] = {
        "error_1_to_4": rate_delay(rng(20), 0.01, 0.04, 100, runs),
        "error_1_to_4_7d": rate_delay(rng(21), 0.01, 0.04, 100, runs, history=7),
        "error_1_to_10": rate_delay(rng(22), 0.01, 0.10, 100, runs),
        "error_1_to_4_20_an_hour": rate_delay(rng(23), 0.01, 0.04, 20, runs),
        "p95_5_to_20": rate_delay(rng(24), 0.05, 0.20, 100, runs),
        **{f"embedding_{c}": embedding_delay(rng(25), c, max(9, runs // 8)) for c in ("0.5sd", "1sd", "2sd")},
        **{f"cluster_{c}": embedding_delay(rng(26), c, max(9, runs // 8)) for c in ("20%", "5%")},
    }
    result["delay_hours"] = delays
    if not args.json:
        for name, hours in delays.items():
            print(f"{name:28s} {hours:.2f} h")
    result["tick_milliseconds_1000_streams"] = round(1e3 * tick_seconds(rng(30), 1000), 2)
    if not args.json:
        print(f"{'tick of 1,000 streams':28s} {result['tick_milliseconds_1000_streams']} ms")
    result["seconds"] = round(time.monotonic() - begun, 1)
    result["machine"] = {"processors": os.cpu_count(), "system": platform.platform(), "python": sys.version.split()[0]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
