"""Traffic without a change, as the cells that the evaluator reads from stored summaries.

Sessions come by user-days drawn with replacement from GenTD26, each at its own time of the day and with its own
outcome; everything else is drawn per segment, day and hour. Until the evaluator has streams every session has a value
of its own. Afterwards a tail's values are drawn as counts between its thresholds, which is all that is looked at and
the same in law.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from benchmarks._budget_data import QUARTERS, STEPS, Traces
from detectors.summaries import buckets
from detectors.summaries.metrics import METRICS
from monitor.evaluate.bank import StreamBank
from monitor.evaluate.cells import Cells, Decoder, added_runs
from monitor.store.evaluation import SampleRow
from tests.evaluate.traffic import DAY_US, START_US, STEP_US, VERDICTS

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

LEAST, MOST = 5.0, 500.0  # sessions an hour
TIERS = ("large", "small", "tiny")
NUMBERS = ("latency_total", "latency_first_token", "input_tokens", "output_tokens", "cost")
KINDS, DIMENSION = 8, 32
SAMPLED = 12.0  # sessions an hour that are embedded, of a segment whose inputs are
ROUNDING = 1e-9  # the exponential of a whole number's logarithm may lie just below it
_LARGEST = buckets.largest().astype(np.float64)


@dataclass(frozen=True)
class Plan:
    """How many segments, of which ``embedded`` have sampled sessions; log standard deviations of day effects."""

    segments: int = 40
    embedded: int = 4
    day_sd: float = 0.15  # of verdicts, tiers, confidence, kinds of inputs, volume
    latency_sd: float = 0.0


class Traffic:
    """One population of segments from ``START_US`` on. ``days`` bounds how long it may be asked."""

    def __init__(self, traces: Traces, plan: Plan, days: int, seed: Sequence[int]) -> None:
        self.traces, self.plan = traces, plan
        self.rng = rng = np.random.default_rng([*seed, 1])
        n = plan.segments
        self.names = [f"s{i:02d}" for i in range(n)]
        self.routes = [("pages", "tickets")[i % 2] for i in range(n)]
        self.per_hour = np.geomspace(LEAST, MOST, n)
        common = rng.standard_normal(days)
        shared = 0.5 * common[None] + 0.5 * rng.standard_normal((n, days))

        def effect(width: int = 1) -> Float:
            """[n, days, width], unit variance: a half shared by everything, a half of the rest by the segment."""
            return np.asarray(shared[:, :, None] + np.sqrt(0.5) * rng.standard_normal((n, days, width)))

        sd = plan.day_sd
        self.volume = np.exp(sd * effect()[:, :, 0])
        self.rates = logit(np.exp(rng.uniform(np.log(0.003), np.log(0.06), (n, len(VERDICTS)))))
        self.has = rng.random((n, len(VERDICTS))) < 0.6
        self.has[:, :4] = True
        self.rate_days = sd * effect(len(VERDICTS))
        self.tiers = rng.normal(0.0, 0.8, (n, len(TIERS)))
        self.tier_days = sd * effect(len(TIERS))
        self.confidence = np.quantile(rng.standard_normal(100_000), (np.arange(512) + 0.5) / 512)
        self.tables, self.moved = self._tables(effect, rng)
        self.kinds = rng.normal(0.0, 0.7, (n, KINDS))
        self.kind_days = sd * effect(KINDS)
        self.size_of_kind = np.exp(rng.normal(0.0, 0.4, (n, KINDS)))
        self.centres = rng.normal(0.0, 0.35, (2, n, KINDS, DIMENSION))
        self._day: tuple[int, Int64, Int64] | None = None

    def _tables(self, effect: object, rng: np.random.Generator) -> tuple[dict[str, Float], dict[str, Float]]:
        """Per signal its values on the scale on which effects add, [n, QUARTERS, ATOMS], and the days' [n, days]."""
        assert callable(effect)
        n, sd, traces = self.plan.segments, self.plan.day_sd, self.traces
        client = rng.integers(0, traces.input_tokens.shape[0], n)
        provider = rng.integers(0, traces.latency.shape[0], n)
        tables = {
            "latency_total": traces.latency[provider][:, None],
            "latency_first_token": traces.first_token[provider][:, None],
            "input_tokens": traces.input_tokens[client],
            "output_tokens": traces.output_tokens[client],
            "cost": 1e3 * traces.paid[client],
            **{f"stage/{name}": values[None, None] for name, values in traces.stages.items()},
        }
        found = {
            name: np.sort(np.log(np.broadcast_to(values, (n, QUARTERS, values.shape[-1]))), axis=-1)
            for name, values in tables.items()
        }
        found["confidence"] = np.broadcast_to(1.5 + self.confidence, (n, QUARTERS, self.confidence.size))
        # Neither llmperf nor ServeGen shows how days differ: latencies and sizes move by ``latency_sd`` alone.
        slow = self.plan.latency_sd * effect()[:, :, 0]
        moved = {name: slow if name.startswith(("latency", "stage")) else 0.0 * slow for name in found}
        return found, moved | {"confidence": sd * effect()[:, :, 0]}

    # -- sessions -------------------------------------------------------------------------------------------

    def sessions(self, day: int) -> tuple[Int64, Int64]:
        """(sessions, failed ones) of a day, int64[n, STEPS]."""
        if self._day is not None and self._day[0] == day:
            return self._day[1], self._day[2]
        traces, n = self.traces, self.plan.segments
        many = self.rng.poisson(24.0 * self.per_hour * self.volume[:, day] / traces.sessions_per_user_day)
        which = self.rng.integers(0, traces.begin.size, int(many.sum()))
        length = traces.length[which]
        of = np.repeat(np.repeat(np.arange(n), many), length)
        ends = np.cumsum(length)
        at = np.arange(of.size) - np.repeat(ends - length, length) + np.repeat(traces.begin[which], length)
        # The hour is kept, the minute is not: a large segment draws the same user-day several times a day, and its
        # copies would come in the same five minutes.
        flat = of * STEPS + 12 * traces.hour[at] + self.rng.integers(0, 12, of.size)
        count = np.bincount(flat, minlength=n * STEPS).reshape(n, STEPS)
        failed = np.bincount(flat, traces.failed[at], n * STEPS).reshape(n, STEPS).astype(np.int64)
        self._day = day, count, failed
        return count, failed

    def chances(self, day: int, hour: Int64) -> Float:
        """The chance of every verdict, [n, verdicts, hours]; that of an error is the trace's."""
        wave = np.log1p(0.25 * np.sin(2.0 * np.pi * (hour - 8) / 24.0))
        return np.asarray(expit((self.rates + self.rate_days[:, day])[:, :, None] + wave))

    # -- cells ----------------------------------------------------------------------------------------------

    def cells(self, start_us: int, end_us: int, decoder: Decoder, bank: StreamBank, *, whole: bool) -> Cells:
        """Thinned cells of [start, end), full hours within one day."""
        day, first = divmod((start_us - START_US) // STEP_US, STEPS)
        count, failed = self.sessions(day)
        steps = slice(first, first + (end_us - start_us) // STEP_US)
        seg, step = np.nonzero(count[:, steps])
        n, bad = count[:, steps][seg, step], failed[:, steps][seg, step]
        window = start_us + STEP_US * step
        hours = first // 12 + np.arange((end_us - start_us) // (12 * STEP_US))
        hour = step // 12
        codes = np.array([decoder.segments.code(name) for name in self.names])[seg]
        zero = np.zeros(seg.size, dtype=np.int64)

        def part(metric: str, chosen: NDArray[np.bool_] | None, counts: Int64, sums: Int64, label: int = 0) -> Cells:
            kept = slice(None) if chosen is None else chosen
            size = window[kept].size
            of = np.full(size, METRICS[metric].id)
            return Cells(
                window[kept], codes[kept], of, np.full(size, label), zero[kept], counts[kept], sums[kept]
            )  # fmt: skip

        parts = [part("events", None, n, n), part("error", None, n, bad)]
        chance = self.chances(day, hours)
        for v, verdict in enumerate(VERDICTS[1:], 1):
            mine = self.has[seg, v]
            hits = np.where(mine, self.rng.binomial(n, chance[seg, v, hour]), 0)
            parts.append(part(verdict, mine, n, hits))
        parts += self._tier_cells(part, day, seg, n, decoder)
        make = self._single if whole or not len(bank) else self._counted
        for name in self.tables:
            parts.append(make(name, day, hours, (seg, hour, n), (window, codes), decoder, bank))
        return added_runs(parts)

    def _tier_cells(self, part: object, day: int, seg: Int64, n: Int64, decoder: Decoder) -> list[Cells]:
        assert callable(part)
        weight = np.exp(self.tiers + self.tier_days[:, day])
        share = weight / weight.sum(axis=1, keepdims=True)
        large = self.rng.binomial(n, share[seg, 0])
        small = self.rng.binomial(n - large, share[seg, 1] / (share[seg, 1] + share[seg, 2]))
        return [
            part("tier", got > 0, got, got, decoder.labels.code(f"tier/{tier}"))
            for tier, got in zip(TIERS, (large, small, n - large - small), strict=True)
        ]

    def _single(
        self, name: str, day: int, hours: Int64, drawn: tuple[Int64, Int64, Int64], place: tuple[Int64, Int64],
        decoder: Decoder, bank: StreamBank,
    ) -> Cells:  # fmt: skip
        """A cell per session, with its own value."""
        seg, hour, n = drawn
        seg, hour, window, codes = (np.repeat(x, n) for x in (seg, hour, *place))
        table = self.tables[name]
        quarter = hours[hour] * QUARTERS // 24
        z = table[seg, quarter, self.rng.integers(0, table.shape[2], seg.size)]
        z = z + self.moved[name][seg, day]
        if name == "confidence":
            bucket = np.minimum(np.floor(100.0 * expit(z)), 99).astype(np.int64)
        else:
            bucket = buckets.codes(np.floor(np.exp(z + ROUNDING)).astype(np.int64))
        ones = np.ones(seg.size, dtype=np.int64)
        return Cells(window, codes, *_what(name, decoder, seg.size), bucket, ones, ones)

    def _counted(
        self, name: str, day: int, hours: Int64, drawn: tuple[Int64, Int64, Int64], place: tuple[Int64, Int64],
        decoder: Decoder, bank: StreamBank,
    ) -> Cells:  # fmt: skip
        """A cell per stretch between the thresholds that the streams of a segment have."""
        seg, hour, n = drawn
        window, codes = place
        marks = self._marks(name, bank)  # [n, K] ascending
        edges = logit((marks + 1) / 100.0) if name == "confidence" else np.log(_LARGEST[marks] + 1.0) - ROUNDING
        table = self.tables[name]
        edges = edges - self.moved[name][:, day, None]
        below = np.empty((marks.shape[0], hours.size, marks.shape[1]))
        for quarter in np.unique(hours * QUARTERS // 24).tolist():
            at = np.flatnonzero(hours * QUARTERS // 24 == quarter)
            for i in range(marks.shape[0]):
                below[i, at] = np.searchsorted(table[i, quarter], edges[i])
        below /= table.shape[2]
        left, parts = n, []
        for k in range(marks.shape[1] - 1, -1, -1):
            within = below[:, :, k + 1] if k + 1 < marks.shape[1] else np.ones(below.shape[:2])
            chance = np.where(within > 0, (within - below[:, :, k]) / np.where(within > 0, within, 1.0), 0.0)
            above = self.rng.binomial(left, np.clip(chance, 0.0, 1.0)[seg, hour])
            parts.append((above, marks[seg, k] + 1))
            left = left - above
        parts.append((left, marks[seg, 0]))
        found = []
        for got, bucket in parts:
            kept = got > 0
            what = _what(name, decoder, int(kept.sum()))
            found.append(Cells(window[kept], codes[kept], *what, bucket[kept], got[kept], got[kept]))
        return added_runs(found)

    def _marks(self, name: str, bank: StreamBank) -> Int64:
        known = self.__dict__.setdefault("_marks_of", {})
        key = (len(bank), name)
        if key not in known:
            metric, _, label = name.partition("/")
            metric = "latency_stage" if label else metric
            by_segment: dict[str, set[int]] = {}
            for stream in bank.streams:
                if (stream.spec.kind, stream.spec.metric, stream.spec.label) == ("tail", metric, label):
                    by_segment.setdefault(stream.segment, set()).add(stream.code)
            most = max((len(codes) for codes in by_segment.values()), default=1)
            # A segment with fewer thresholds has its last one again: nothing lies between.
            rows = [sorted(by_segment.get(segment, {1})) for segment in self.names]
            known[key] = np.array([row + [row[-1]] * (most - len(row)) for row in rows])
        found: Int64 = known[key]
        return found

    # -- samples --------------------------------------------------------------------------------------------

    def samples(self, start_us: int, end_us: int) -> list[SampleRow]:
        """Sampled sessions of [start, end), full hours within one day, by window."""
        day, first = divmod((start_us - START_US) // STEP_US, STEPS)
        count, failed = self.sessions(day)
        steps = np.arange(first, first + (end_us - start_us) // STEP_US)
        rng, found = self.rng, []
        last = self.plan.segments - 1
        # An odd step takes both stakes in turn; the upper half has traffic enough.
        for i in range(last, last - 5 * self.plan.embedded, -5):
            at = np.repeat(steps, count[i, steps])
            pi = min(1.0, SAMPLED / float(self.per_hour[i]))
            at = at[rng.random(at.size) < pi]
            found += self._rows(i, day, at, pi, failed[i], count[i])
        found.sort(key=lambda sample: (sample.window_us, sample.sample_id))
        return found

    def _rows(self, i: int, day: int, at: Int64, pi: float, failed: Int64, count: Int64) -> list[SampleRow]:
        rng, m = self.rng, at.size
        weight = np.exp(self.kinds[i] + self.kind_days[i, day])
        kind = rng.choice(KINDS, m, p=weight / weight.sum())
        noise = rng.standard_t(5, (2, m, DIMENSION)) * (np.arange(1, DIMENSION + 1) ** -0.6 * 0.35)
        vectors = self.centres[:, i][:, kind] + noise
        vectors[:, :, 0] += 3.0  # encoders' vectors share a direction
        half = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype("<f2")
        agreement = 0.28 + 0.02 * np.log(self.size_of_kind[i, kind]) + 0.03 * rng.standard_t(5, m)
        chance = self.chances(day, np.arange(24))[i][:, at // 12]
        chance[0] = failed[at] / count[at]
        hit = rng.random(chance.shape) < chance
        odd, near = rng.random(m) < 0.15, rng.random(m) < 0.1
        rows = []
        for k in range(m):
            verdicts = {v: int(hit[j, k]) for j, v in enumerate(VERDICTS) if self.has[i, j]}
            facts = {"v": 1, "verdicts": verdicts, "context_used": 900_000 if near[k] else 300_000}
            conditions = '{"v": 1, "skew_degrees": 5.0}' if odd[k] else '{"v": 1, "skew_degrees": 0.3}'
            parts = (
                ("image", half[0, k].tobytes(), float(np.clip(agreement[k], -1, 1)), conditions),
                ("text", half[1, k].tobytes(), None, ""),
            )
            window = START_US + day * DAY_US + int(at[k]) * STEP_US
            rows.append(
                SampleRow(
                    f"{self.names[i]}-{day}-{at[k]}-{k}", window, self.routes[i], self.names[i], pi, "e-1",
                    json.dumps(facts), parts,
                )
            )  # fmt: skip
        return rows


def _what(name: str, decoder: Decoder, size: int) -> tuple[Int64, Int64]:
    """(metric, label) of a signal's cells."""
    metric, _, stage = name.partition("/")
    label = decoder.labels.code(f"stage/{stage}") if stage else 0
    return np.full(size, METRICS["latency_stage" if stage else metric].id), np.full(size, label)
