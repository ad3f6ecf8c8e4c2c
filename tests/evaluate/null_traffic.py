"""Traffic that varies without changing, written to a store as ingest and embed write it.

Many segments with every default signal: sessions of several events, heavy tails, hours of the day, weekends, effects
of single days on rates, latency, cost, volume, routing and the mixture of inputs, segments that come, go and rest at
weekends. Whatever is drawn of a segment holds for its whole life, so every anomaly on it is a false one, but for the
volume of a segment that has ended.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.summaries import Labelled, Ragged, SummaryTable
from monitor.store.engine import Store
from monitor.store.tables import sample_parts, samples, summaries
from tests.evaluate.traffic import DAY_US, START_US, STEP_US, VERDICTS, columns, set_watermark

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

KINDS = 8
DIMENSION = 32
STEPS = DAY_US // STEP_US
STAGES = ("model", "queue", "retrieval")
TIERS = ("large", "small", "tiny")
LATEST_EVENT_STEPS = 6  # the later events of a session come within half an hour
FAMILIES = (*VERDICTS, "latency", "cost", "volume", "mixture", "confidence", "tier")


@dataclass(frozen=True)
class Life:
    """One segment. ``day_sd`` is the log standard deviation of every day effect; days count from the start."""

    name: str
    route: str
    per_hour: float
    day_sd: float = 0.0
    from_day: int = 0
    to_day: int = 10_000
    weekdays_only: bool = False
    embedded: int = 0  # sampled sessions per hour, at most
    verdicts: tuple[str, ...] = VERDICTS


@dataclass
class _Drawn:
    """What is drawn once for a segment."""

    rates: dict[str, float]
    kinds: Float  # [KINDS] log weights
    size_of_kind: Float
    seconds: float
    tiers: Float
    centres: dict[str, Float] = field(default_factory=dict)


def lives(
    count: int, *, days: int, day_sd: float, embedded: int, rng: np.random.Generator, passing: bool = True
) -> list[Life]:
    """A population of segments, half of high stakes; with ``passing`` a third comes, goes or rests at weekends."""
    found = []
    for i in range(count):
        per_hour = float(np.exp(rng.uniform(np.log(6.0), np.log(120.0))))
        some = tuple(v for k, v in enumerate(VERDICTS) if k < 4 or rng.random() < 0.6)
        life = {"from_day": 0, "to_day": 10_000, "weekdays_only": False}
        if passing and i % 9 == 3:
            life["from_day"] = int(rng.integers(3, max(4, days // 2)))
        if passing and i % 9 == 5:
            life["to_day"] = int(rng.integers(days // 2, days - 2))
        if passing and i % 9 == 7:
            life["weekdays_only"] = True
        route = ("pages", "tickets")[i % 2]
        sampled = 8 if i < embedded else 0
        found.append(Life(f"s{i:02d}", route, per_hour, day_sd, embedded=sampled, verdicts=some, **life))  # type: ignore[arg-type]
    return found


def _draw(life: Life, rng: np.random.Generator) -> _Drawn:
    rates = {v: float(np.exp(rng.uniform(np.log(0.003), np.log(0.06)))) for v in life.verdicts}
    drawn = _Drawn(
        rates,
        rng.normal(0.0, 0.7, KINDS),
        np.exp(rng.normal(0.0, 0.4, KINDS)),
        float(np.exp(rng.uniform(0.0, 2.0))),
        rng.normal(0.0, 0.8, len(TIERS)),
    )
    for modality in ("image", "text"):
        drawn.centres[modality] = rng.normal(0.0, 0.35, (KINDS, DIMENSION))
    return drawn


def _softmax(logs: Float) -> Float:
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _choice(rng: np.random.Generator, weights: Float) -> Int64:
    """One of the columns for every row of weights [n, k] that sum to 1."""
    return np.asarray((rng.random(weights.shape[0])[:, None] > np.cumsum(weights, axis=1)[:, :-1]).sum(axis=1))


class _Days:
    """Effects of days, unit variance: a half shared by everything, a half of the rest by the segment."""

    def __init__(self, seed: int, days: int, rng: np.random.Generator) -> None:
        common = np.random.default_rng([seed, 7]).standard_normal(days)
        mine = rng.standard_normal(days)
        self._shared = 0.5 * common + 0.5 * mine
        self._rng, self._days = rng, days

    def of(self, width: int = 1) -> Float:
        """[days, width]."""
        own = self._rng.standard_normal((self._days, width))
        return np.asarray(self._shared[:, None] + np.sqrt(0.5) * own)


def write_null(store: Store, population: list[Life], *, days: int, seed: int, start_us: int = START_US) -> int:
    """Write everything and a watermark at the end, which is returned."""
    for i, life in enumerate(population):
        rng = np.random.default_rng([seed, 1000 + i])
        _write_segment(store, life, days, seed, start_us, rng)
    end_us = start_us + days * DAY_US
    set_watermark(store, end_us)
    return end_us


def _write_segment(store: Store, life: Life, days: int, seed: int, start_us: int, rng: np.random.Generator) -> None:
    drawn, day_of = _draw(life, rng), _Days(seed, days, rng)
    effect = {family: life.day_sd * day_of.of()[:, 0] for family in FAMILIES if family not in ("mixture", "tier")}
    kinds_of_day = drawn.kinds + life.day_sd * day_of.of(KINDS)
    tiers_of_day = drawn.tiers + life.day_sd * day_of.of(len(TIERS))

    step = np.arange(days * STEPS)
    hour, day = step // 12 % 24, step // STEPS
    weekend = (day + (start_us // DAY_US + 3)) % 7 >= 5
    alive = (day >= life.from_day) & (day < life.to_day) & ~(weekend & life.weekdays_only)
    wave = np.sin(2.0 * np.pi * (hour - 8) / 24.0)
    traffic = life.per_hour / 12.0 * (1.0 + 0.7 * wave) * np.where(weekend, 0.6, 1.0) * np.exp(effect["volume"])[day]
    at = np.repeat(step, rng.poisson(np.where(alive, traffic, 0.0)))
    n = at.size
    if n == 0:
        return
    kind = _choice(rng, _softmax(kinds_of_day)[day[at]])
    tier = _choice(rng, _softmax(tiers_of_day)[day[at]])
    busy = 1.0 + 0.15 * wave[at]
    slow = np.exp(effect["latency"])[day[at]] * busy * np.where(weekend[at], 0.95, 1.0)
    session_hits = {}
    for verdict, rate in drawn.rates.items():
        odds = rate / (1.0 - rate) * np.exp(effect[verdict])[day[at]] * (1.0 + 0.25 * wave[at])
        odds *= np.where(weekend[at], 0.9, 1.0)
        session_hits[verdict] = (odds / (1.0 + odds), rng.random(n) < odds / (1.0 + odds))

    # Sessions of several events: the later ones resemble the first, and count in no bet.
    more = rng.geometric(0.5, n) - 1
    of = np.concatenate([np.arange(n), np.repeat(np.arange(n), more)])
    first = np.zeros(of.size, dtype=np.bool_)
    first[:n] = True
    window = at[of] + np.where(first, 0, rng.integers(0, LATEST_EVENT_STEPS + 1, of.size))
    kept = window < days * STEPS
    of, first, window = of[kept], first[kept], window[kept]
    m = of.size

    seconds = drawn.seconds * slow[of] * np.exp(rng.normal(0.0, 0.5, m))
    tail = rng.random(m) < 0.05
    seconds[tail] *= 1.0 + rng.pareto(1.8, int(tail.sum()))
    total = np.minimum(1e6 * seconds, 3e9).astype(np.int64)
    tokens = 1500.0 * drawn.size_of_kind[kind[of]] * np.exp(rng.normal(0.0, 0.4, m))
    out = 300.0 * np.exp(rng.normal(0.0, 0.6, m))
    money = (tokens + 4.0 * out) * np.exp(effect["cost"])[day[at[of]]] * np.exp(rng.normal(0.0, 0.5, m))
    rare = rng.random(m) < 0.02
    money[rare] *= 1.0 + rng.pareto(1.5, int(rare.sum()))
    queue = np.exp(rng.normal(10.5, 1.2, m)) * slow[of]
    logit = 1.5 + effect["confidence"][day[at[of]]] + rng.normal(0.0, 1.0, m)
    over: dict[str, Any] = {}
    for verdict, (chance, hit) in session_hits.items():
        again = rng.random(m) < 0.7
        over[verdict] = np.where(first | again, hit[of], rng.random(m) < chance[of]).astype(np.int8)
    parts = np.stack([0.7 * total, np.minimum(queue, 3e9), 0.1 * total], axis=1).astype(np.int64)
    cols = columns(
        m,
        rng,
        thinned=first,
        user=(rng.zipf(1.6, n) % 2000 + 1).astype(np.uint64)[of],
        latency_total=total,
        latency_first_token=(0.3 * total).astype(np.int64),
        stages=Ragged(
            np.repeat(np.arange(m, dtype=np.int32), 3),
            np.tile(np.arange(3, dtype=np.int32), m),
            parts.reshape(-1),
            list(STAGES),
        ),
        cost=np.minimum(1e3 * money, 9e15).astype(np.int64),
        input_tokens=tokens.astype(np.int64),
        output_tokens=out.astype(np.int64),
        confidence=(1e6 / (1.0 + np.exp(-logit))).astype(np.int64),
        tier=Labelled(tier[of].astype(np.int32), list(TIERS)),
        **over,
    )
    order = np.argsort(window, kind="stable")
    _write_rows(store, life, window[order], _take(cols, order), start_us)
    if life.embedded:
        verdicts = {verdict: hit for verdict, (_, hit) in session_hits.items()}
        _write_samples(store, life, drawn, at, kind, verdicts, start_us, rng)


def _take(cols: Any, order: Int64) -> Any:
    """The same events in another order."""
    m = cols.n
    rank = np.empty(m, dtype=np.int32)
    rank[order] = np.arange(m, dtype=np.int32)
    for name in cols.__slots__:
        value = getattr(cols, name)
        if isinstance(value, np.ndarray):
            setattr(cols, name, value[order])
        elif isinstance(value, Labelled):
            setattr(cols, name, Labelled(value.codes[order], value.names))
    stages = cols.stages
    moved = rank[stages.event]
    by_event = np.argsort(moved, kind="stable")
    cols.stages = Ragged(moved[by_event], stages.code[by_event], stages.value[by_event], stages.names)
    return cols


def _write_rows(store: Store, life: Life, window: Int64, cols: Any, start_us: int) -> None:
    table = SummaryTable()
    table.update(window, cols)
    ids = table.row_ids()
    rows = [
        {
            "level": 0,
            "window_us": start_us + i * STEP_US,
            "route": life.route,
            "segment": life.name,
            "version": "m@1",
            "late": False,
            "topic": "t",
            "partition": 0,
            "events": table.events(i),
            "state": state,
        }
        for i, state in zip(ids, table.states(ids), strict=True)
    ]
    with store.write() as connection:
        connection.execute(summaries.insert(), rows)


def _write_samples(
    store: Store,
    life: Life,
    drawn: _Drawn,
    at: Int64,
    kind: Int64,
    verdicts: dict[str, NDArray[np.bool_]],
    start_us: int,
    rng: np.random.Generator,
) -> None:
    """Sampled sessions with an image, a text and their agreement; inclusion probabilities by hour, as ingest has."""
    hour = at // 12
    expected = np.bincount(hour, minlength=int(hour[-1]) + 1).astype(np.float64)
    # Known before the hour: the rate of the hours before.
    past = np.concatenate([[life.per_hour], expected[:-1]])
    pi = np.minimum(1.0, life.embedded / np.maximum(past, 1.0))[hour]
    chosen = np.flatnonzero(rng.random(at.size) < pi)
    spectrum = np.arange(1, DIMENSION + 1) ** -0.6
    vectors = {}
    for modality, centres in drawn.centres.items():
        noise = rng.standard_t(5, (chosen.size, DIMENSION)) * spectrum * 0.35
        found = centres[kind[chosen]] + noise
        found[:, 0] += 3.0  # encoders' vectors share a direction
        vectors[modality] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("<f2")
    agreement = np.clip(
        0.28 + 0.02 * np.log(drawn.size_of_kind[kind[chosen]]) + 0.03 * rng.standard_t(5, chosen.size), -1, 1
    )
    skewed = rng.random(chosen.size) < 0.15
    rows, parts = [], []
    usual, odd = json.dumps({"v": 1, "skew_degrees": 0.3}), json.dumps({"v": 1, "skew_degrees": 5.0})
    for k, i in enumerate(chosen.tolist()):
        identity = f"{life.name}-{i}"
        window = start_us + int(at[i]) * STEP_US
        facts = {"v": 1, "verdicts": {name: int(hit[i]) for name, hit in verdicts.items()}}
        rows.append(
            {
                "sample_id": identity, "event_id": identity, "topic": "t", "partition": 0, "offset": i,
                "time_us": window, "window_us": window, "route": life.route, "segment": life.name, "version": "m@1",
                "session_key": identity, "user_key": "", "pi": float(pi[i]), "state": "embedded", "reason": "",
                "facts": json.dumps(facts), "encoder": "e-1", "phash": None,
            }
        )  # fmt: skip
        for part, modality in enumerate(("image", "text")):
            parts.append(
                {
                    "sample_id": identity, "part": part, "modality": modality,
                    "vector": vectors[modality][k].tobytes(),
                    "conditions": (odd if skewed[k] else usual) if part == 0 else "",
                    "agreement": float(agreement[k]) if part == 0 else None,
                }
            )  # fmt: skip
    with store.write() as connection:
        connection.execute(samples.insert(), rows)
        connection.execute(sample_parts.insert(), parts)
