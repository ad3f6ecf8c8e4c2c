"""What each stream would find, how soon, with the traffic and the funding it has.

Every way in which a stream may change is a line: a rise of its rate, a fall, silence, a shift, a new kind of inputs.
Sizes are asked of all lines of a kind together (`detectors.rates.power`, `detectors.drift.power`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from detectors.drift.agreement import AgreementReference
from detectors.drift.embedding import EmbeddingReference
from detectors.drift.power import EmbeddingPower, tail_odds
from detectors.evidence.power import NEVER, Walks, hours_to_alarm, smallest
from detectors.rates import RateReference
from detectors.rates.power import PATHS, RatePower, volume_hours
from detectors.rates.volume import VolumeReference
from monitor.evaluate.bank import Stream
from monitor.evaluate.calibration import CalibrationFit
from monitor.evaluate.sentences import number, percent, quantity

Float = NDArray[np.float64]

HORIZON_HOURS = 168  # what takes longer is "too little data"
LATE = 0.9  # the second probability that is told beside the median
LEAST_RISE = 0.01  # of a rate: a smaller one is not asked about by default
SHIFT, CLUSTERS, AGREEMENT = 1.0, (0.2, 0.05), 1.0
VOLUME_FALL, VOLUME_RISE = 0.25, 2.5
FALLS = (0.6, 0.5, 0.4, 0.25, 0.1, 0.0)  # volumes tried for the smallest change, ascending in size
FEW_PATHS = 4  # plays of each of them
MOST_LOG_ODDS, MOST_SHIFT = 7.0, 8.0
# Of the plays: the same budget in every run. Of 60 seeds the one whose 8 plays agree best with 240, over five volumes
# and two factors (within 10 %; the middle one within 25 %).
SEED = 48
KEYS = ("rate", "tail", "mix", "volume", "drift", "cluster", "agreement", "calibration")
_EFFECT = re.compile(r"([a-z0-9_]+)=(?:x(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)\s*%|(\d+(?:\.\d+)?)\s*sd)")


@dataclass(slots=True)
class Line:
    """One way in which the stream at position ``stream`` may change. ``words`` tells a size; ``found`` holds (median,
    90 %) hours of each size asked."""

    stream: int
    kind: str
    words: Callable[[float], str]
    sizes: list[float]
    minimum: bool = False  # its first size is the stream's minimum effect
    data: Any = None
    found: list[tuple[float, float]] = field(default_factory=list)
    smallest: float = math.nan
    smallest_hours: float = NEVER


@dataclass(frozen=True, slots=True)
class Situation:
    """A stream with what decides how soon it finds something. ``weights``: of recent sessions of a slice over the
    greatest one of its reference."""

    stream: Stream
    per_hour: float  # sessions
    funding: float  # false alarms per hour
    weights: Float | None = None


def parse_effects(text: str) -> dict[str, list[tuple[str, float]]]:
    """``rate=x4,volume=x0.5,drift=1sd,cluster=20%`` as sizes by kind or signal.

    Raises ValueError saying what to write.
    """
    found: dict[str, list[tuple[str, float]]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _EFFECT.fullmatch(part)
        if match is None:
            raise ValueError(
                f"expected effects, got {part!r}; write KIND=SIZE with commas between, as in rate=x4,error_rate=5%,"
                f"volume=x0.5,drift=1sd,cluster=20%,agreement=1sd (kinds: {', '.join(KEYS)}, or a signal)"
            )
        unit, value = next(
            (u, float(v)) for u, v in zip(("x", "%", "sd"), match.groups()[1:], strict=True) if v is not None
        )
        found.setdefault(match[1], []).append((unit, value / 100.0 if unit == "%" else value))
    return found


def lines_of(
    situations: Sequence[Situation], currency: str, effects: Mapping[str, Sequence[tuple[str, float]]] | None = None
) -> list[Line]:
    """Every line of every stream, with its default sizes or those of ``effects``."""
    found: list[Line] = []
    for i, situation in enumerate(situations):
        stream = situation.stream
        fit = stream.fitted.fit
        asked = None if effects is None else effects.get(stream.signal, effects.get(_key(stream), ()))
        phrase = stream.spec.phrase.replace(
            "{threshold}", quantity(stream.spec.metric, stream.fitted.threshold, currency)
        )
        if isinstance(fit, RateReference):
            mine = _rate_lines(i, stream, fit, phrase, asked)
        elif isinstance(fit, VolumeReference):
            mine = _volume_lines(i, asked)
        elif isinstance(fit, CalibrationFit):
            mine = _calibration_lines(i, fit, phrase, asked)
        elif isinstance(fit, EmbeddingReference):
            cluster = None if effects is None else effects.get("cluster", ())
            mine = _embedding_lines(i, stream, phrase, asked, cluster)
        else:
            mine = _agreement_lines(i, phrase, asked)
        found += [line for line in mine if line.sizes]
    return found


def answer(situations: Sequence[Situation], lines: Sequence[Line], tick_hours: float, embeddings_hours: float) -> None:
    """Fill in what every line finds."""
    by_kind: dict[str, list[Line]] = {}
    for line in lines:
        by_kind.setdefault(line.kind, []).append(line)
    rates: dict[int, list[Line]] = {}
    for line in (*by_kind.get("rate", ()), *by_kind.get("agreement", ())):
        rates.setdefault(_conditions(line, situations[line.stream]), []).append(line)
    for conditions, members in rates.items():
        _answer_rates(situations, members, conditions, tick_hours, embeddings_hours)
    if "volume" in by_kind:
        _answer_volumes(situations, by_kind["volume"])
    for kind in ("shift", "cluster"):
        if kind in by_kind:
            _answer_embeddings(situations, by_kind[kind], kind, embeddings_hours)


# -- what is asked ------------------------------------------------------------------------------------------


def _key(stream: Stream) -> str:
    return {"slice": "rate", "embedding": "drift"}.get(stream.spec.kind, stream.spec.kind)


def risen(rate: float) -> float:
    """The rise of a rate that is asked about by default: to four times as much or half the way to 1, whichever is
    less, and by a percentage point at least."""
    return min(max(min(4.0 * rate, 0.5 * (1.0 + rate)), rate + LEAST_RISE), 0.999)


def usual(fit: RateReference) -> float:
    """The rate without a change; where nothing was hit, half a hit."""
    return min(max(fit.rate, 0.5 / (fit.trials + 1.0)), 1.0 - 0.5 / (fit.trials + 1.0))


def _rate_lines(
    i: int, stream: Stream, fit: RateReference, phrase: str, asked: Sequence[tuple[str, float]] | None
) -> list[Line]:
    p = usual(fit)

    def words(verb: str, sign: float) -> Callable[[float], str]:
        def told(size: float) -> str:
            odds = p / (1.0 - p) * math.exp(sign * size)
            return f"a {verb} of {phrase} from {percent(fit.rate)} to {percent(odds / (1.0 + odds))}"

        return told

    up, down = [risen(p)], [1.0 - risen(1.0 - p)]
    if asked is not None:
        wanted = [min(max(p * size if unit == "x" else size, 1e-6), 0.999) for unit, size in asked if unit != "sd"]
        up, down = [w for w in wanted if w > p], [w for w in wanted if w < p]
    base = float(logit(p))
    # Of a share that is bet on both ways, the minimum effect makes the rarer outcome more frequent: a rise from 90 to
    # 95 % is none that anybody waits for where a fall to 60 % is asked about as well.
    falls = bool(down) and stream.spec.direction == "both" and (p > 0.5 or not up)
    above = Line(i, "rate", words("rise", 1.0), [float(logit(w)) - base for w in up], not falls, "up")
    if stream.spec.direction != "both":
        return [above]
    return [above, Line(i, "rate", words("fall", -1.0), [base - float(logit(w)) for w in down], falls, "down")]


def _calibration_lines(
    i: int, fit: CalibrationFit, phrase: str, asked: Sequence[tuple[str, float]] | None
) -> list[Line]:
    """As those of a rate: at each confidence the odds of being wrong change by the same factor."""
    p = fit.limits[1]
    base = float(logit(p))

    def words(verb: str, sign: float) -> Callable[[float], str]:
        def told(size: float) -> str:
            return f"a {verb} of {phrase} from {percent(p)} to {percent(float(expit(base + sign * size)))}"

        return told

    up, down = [risen(p)], [1.0 - risen(1.0 - p)]
    if asked is not None:
        wanted = [min(max(p * size if unit == "x" else size, 1e-6), 0.999) for unit, size in asked if unit != "sd"]
        up, down = [w for w in wanted if w > p], [w for w in wanted if w < p]
    falls = bool(down) and (p > 0.5 or not up)
    above = Line(i, "rate", words("rise", 1.0), [float(logit(w)) - base for w in up], not falls, "up")
    return [above, Line(i, "rate", words("fall", -1.0), [base - float(logit(w)) for w in down], falls, "down")]


def _volume_lines(i: int, asked: Sequence[tuple[str, float]] | None) -> list[Line]:
    def words(factor: float) -> str:
        if factor == 0.0:
            return "silence"
        if factor < 1.0:
            return f"a fall of the number of sessions to {percent(factor)} of the usual"
        return f"a rise of the number of sessions to {number(factor)} times the usual"

    wanted = [size for unit, size in asked if unit != "sd"] if asked is not None else None
    falls = [VOLUME_FALL, 0.0] if wanted is None else [w for w in wanted if w < 1.0]
    rises = [VOLUME_RISE] if wanted is None else [w for w in wanted if w > 1.0]
    return [Line(i, "volume", words, falls, True, "down"), Line(i, "volume", words, rises, not falls, "up")]


def _embedding_lines(
    i: int,
    stream: Stream,
    phrase: str,
    asked: Sequence[tuple[str, float]] | None,
    cluster: Sequence[tuple[str, float]] | None,
) -> list[Line]:
    what = "images" if stream.spec.metric == "image" else "texts"
    shifts = [SHIFT] if asked is None else [size for unit, size in asked if unit == "sd"]
    shares = list(CLUSTERS) if cluster is None else [min(size, 1.0) for unit, size in cluster if unit == "%"]
    return [
        Line(i, "shift", lambda s: f"a shift of {phrase} by {_deviations(s)}", shifts, True),
        Line(i, "cluster", lambda s: f"a new kind of {what} in {percent(s)} of the sessions", shares, not shifts),
    ]


def _deviations(size: float) -> str:
    return f"{number(size)} standard deviation{'' if size == 1.0 else 's'}"


def _agreement_lines(i: int, phrase: str, asked: Sequence[tuple[str, float]] | None) -> list[Line]:
    sizes = [AGREEMENT] if asked is None else [size for unit, size in asked if unit == "sd"]

    def words(verb: str) -> Callable[[float], str]:
        return lambda size: f"a {verb} of {phrase} by {_deviations(size)}"

    return [
        Line(i, "agreement", words("fall"), sizes, True, "below"),
        Line(i, "agreement", words("rise"), sizes, False, "above"),
    ]


# -- what is found ------------------------------------------------------------------------------------------


def _conditions(line: Line, situation: Situation) -> int:
    if situation.weights is not None:
        return int(situation.weights.size)
    fit = situation.stream.fitted.fit
    return fit.upper.size if isinstance(fit, RateReference) and fit.seasonal else 1


def _rate_row(line: Line, situation: Situation, conditions: int) -> tuple[Float, Float, float]:
    """(rate without a change, limit, temper) of a line, float[conditions] each, as of something that rises."""
    fit = situation.stream.fitted.fit
    if isinstance(fit, CalibrationFit):
        low, usual_share, high = fit.limits
        share, limit_of = (usual_share, high) if line.data != "down" else (1.0 - usual_share, 1.0 - low)
        return np.full(conditions, share), np.full(conditions, limit_of), 1.0
    if isinstance(fit, AgreementReference):
        fit = fit.below if line.data == "below" else fit.above
    assert isinstance(fit, RateReference)
    rate = fit.baseline if fit.seasonal else np.full(1, usual(fit))
    limit = fit.upper if line.data != "down" else 1.0 - fit.lower
    if line.data == "down":
        rate = 1.0 - rate
    return np.resize(rate, conditions), np.resize(limit, conditions), fit.temper


def _answer_rates(
    situations: Sequence[Situation], lines: list[Line], conditions: int, tick_hours: float, embeddings_hours: float
) -> None:
    rows = [_rate_row(line, situations[line.stream], conditions) for line in lines]
    mine = [situations[line.stream] for line in lines]
    weights = [np.ones(conditions) if s.weights is None else s.weights for s in mine]
    power = RatePower.of(
        np.stack([rate for rate, _, _ in rows]),
        np.stack([limit for _, limit, _ in rows]),
        np.array([temper for _, _, temper in rows]),
        np.array([s.per_hour for s in mine]),
        np.array([s.funding for s in mine]),
        bets=np.array([s.stream.bets for s in mine]),
        look=np.array([embeddings_hours if s.stream.hourly else tick_hours for s in mine]),
        share=np.stack(weights),
    )
    by_sd = np.array([line.kind == "agreement" for line in lines], dtype=np.bool_)
    base = power.baseline.mean(axis=1)

    def walks(size: Float) -> Walks:
        moved = tail_odds(base, np.where(by_sd, size, 0.0))
        return power.walks(np.where(by_sd, moved, np.exp(np.where(by_sd, 0.0, size))))

    most = np.where(by_sd, MOST_SHIFT, np.minimum(MOST_LOG_ODDS, logit(0.999) - logit(np.clip(base, 1e-9, 0.998))))
    _fill(lines, walks, most)


def _answer_embeddings(situations: Sequence[Situation], lines: list[Line], kind: str, hours: float) -> None:
    mine = [situations[line.stream] for line in lines]
    fits = [s.stream.fitted.fit for s in mine]
    power = EmbeddingPower.of(
        [fit for fit in fits if isinstance(fit, EmbeddingReference)],
        np.array([s.per_hour for s in mine]),
        np.array([s.funding for s in mine]),
        look=hours,
    )
    if kind == "shift":
        _fill(lines, power.walks, np.full(len(lines), MOST_SHIFT))
    else:
        _fill(lines, lambda share: power.walks(0.0, share), np.ones(len(lines)))


def _fill(lines: list[Line], walks: Callable[[Float], Walks], most: Float) -> None:
    for q in range(max(len(line.sizes) for line in lines)):
        sizes = np.array([line.sizes[min(q, len(line.sizes) - 1)] for line in lines])
        asked = walks(sizes)
        for line, *hours in zip(lines, hours_to_alarm(asked), hours_to_alarm(asked, LATE), strict=True):
            if q < len(line.sizes):
                line.found.append((float(hours[0]), float(hours[1])))
    least, took = smallest(lambda size: hours_to_alarm(walks(size)), np.zeros(len(lines)), most, HORIZON_HOURS)
    for line, size, hours in zip(lines, least.tolist(), took.tolist(), strict=True):
        line.smallest, line.smallest_hours = size, hours


def _answer_volumes(situations: Sequence[Situation], lines: list[Line]) -> None:
    def play(members: list[Line], factors: list[float], paths: int) -> Float:
        mine = [situations[line.stream] for line in members]
        fits = [s.stream.fitted.fit for s in mine]
        return volume_hours(
            [fit for fit in fits if isinstance(fit, VolumeReference)],
            np.array([s.funding for s in mine]),
            np.array(factors),
            np.random.default_rng(SEED),
            horizon=HORIZON_HOURS,
            paths=paths,
        )

    asked = [(line, size) for line in lines for size in line.sizes]
    played = play([line for line, _ in asked], [size for _, size in asked], paths=PATHS)
    for (line, _), hours in zip(asked, played, strict=True):
        line.found.append((_at(hours, 0.5), _at(hours, LATE)))
    falling = [line for line in lines if line.data == "down"]
    low, high = np.zeros(len(falling), dtype=np.int64), np.full(len(falling), len(FALLS) - 1)
    best = np.full(len(falling), NEVER)
    while (low <= high).any():
        live = np.flatnonzero(low <= high)
        middle = (low + high)[live] // 2
        hours = play([falling[i] for i in live], [FALLS[m] for m in middle], FEW_PATHS)
        took = np.array([_at(one, 0.5) for one in hours])
        good = took <= HORIZON_HOURS
        for i, m, ok, t in zip(live, middle, good, took, strict=True):
            if ok:
                high[i], best[i] = m - 1, t
                falling[i].smallest, falling[i].smallest_hours = FALLS[m], float(t)
            else:
                low[i] = m + 1


def _at(hours: Float, probability: float) -> float:
    return float(np.quantile(hours, probability, method="inverted_cdf"))
