"""A store as eight weeks of 500 segments leave it: hours and days rolled up, references, evidence, samples, labels.

Every state is a real one, of events that the project's own table summarised: some 2,000 hours of traffic, 120 of each
of 16 sizes of segment, are used again and again over segments and weeks, and days are their merged hours. So the store
is made in minutes, and whoever reads it has as many bytes and cells to work through as in one that took eight weeks.

In the last four days of the last week the requests of every 50th segment are dearer and answers break their schema. One
more hour after the last week is there in minutes, with every signal, as a service has it that is still running.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.summaries import absent, events
from detectors.summaries import EventColumns, Summary, SummaryTable
from monitor.config.model import Config
from monitor.evaluate.calendar import Calendar
from monitor.evaluate.cells import Decoder, SummaryRow
from monitor.evaluate.references import Reference, learn
from monitor.report.issuing import issue
from monitor.store import coverage, deploys, evaluation, references, responses, review, rollups
from monitor.store.coverage import Coverage
from monitor.store.deploys import Deploy
from monitor.store.engine import Store, open_store
from monitor.store.review import Label, NewItem, PoolSums
from monitor.store.tables import anomalies, evidence, partitions, samples, summaries
from samplers.pools import pools_of
from tests.service.anomalies_of_page import row_of, story

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US
START_US = 1_767_571_200_000_000  # Monday 2026-01-05 00:00 UTC
WEEKS, SEGMENTS, EVENTS = 8, 500, 100_000_000
END_US = START_US + WEEKS * WEEK_US
SIZES = 16
WEEKDAYS, WEEKENDS, CHANGED = 3, 1, 1  # different days of each size
DETAILED_US = 2 * WEEK_US  # before the end: how much evidence and how many samples there are
SAMPLED_A_HOUR, ITEMS_A_DAY = 1200, 150
ROUTES = 4
VERSION = 5  # of what is made here: a store of another one is made anew
# The signals that are left out, so that 20 are measured: stages, first token, tiers and some kinds of tokens.
LEFT_OUT = (
    "stages", "latency_first_token", "cached_input_tokens", "reasoning_tokens", "audio_tokens", "context_used",
    "concurrency", "tier", "error_type", "retries", "citation_missing",
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A store and what is in it; ``seconds`` it took to make, when it was made."""

    url: str
    facts: dict[str, Any]


def rolled_up(folder: Path, *, segments: int = SEGMENTS, weeks: int = WEEKS, total: int = EVENTS) -> Made:
    """The store in ``folder``, which is made where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    url, facts = f"sqlite:///{folder}/rolled-up.db", folder / "rolled-up.json"
    wanted = {"version": VERSION, "segments": segments, "weeks": weeks, "asked_events": total}
    if facts.exists():
        known = json.loads(facts.read_text())
        if {name: known.get(name) for name in wanted} == wanted:
            return Made(url, known)
        facts.unlink()
    for stale in folder.glob("rolled-up.db*"):
        stale.unlink()
    began = time.monotonic()
    store = open_store(url)
    found = _Maker(store, segments, weeks, total).make()
    store.close()
    found = {**wanted, **found, "make_seconds": round(time.monotonic() - began, 1)}
    facts.write_text(json.dumps(found))
    return Made(url, found)


def name_of(segment: int) -> str:
    return f"r{segment % ROUTES}/t{segment:03d}"


def config_of(url: str) -> dict[str, Any]:
    """The configuration that the store is read with."""
    return {
        "store": {"url": url},
        "kafka": {"bootstrap": "127.0.0.1:1", "topics": ["inference"]},
        "routes": {"r0": {"stakes": "high"}, "r1": {"stakes": "medium"}, "r2": {"stakes": "low"}},
        "segments": {"max_segments": 1000},
    }


class _Maker:
    def __init__(self, store: Store, segments: int, weeks: int, total: int) -> None:
        self.store = store
        self.segments, self.weeks = segments, weeks
        self.end_us = START_US + weeks * WEEK_US
        self.rng = np.random.default_rng(5)
        share = 1 / (20 + np.arange(segments))
        an_hour = total / (weeks * 168) * share / share.sum()
        self.levels = np.geomspace(an_hour[-1], an_hour[0], SIZES)
        self.level = np.abs(np.log(an_hour[:, None] / self.levels)).argmin(axis=1)
        self.changed = set(range(7, segments, 50))

    def make(self) -> dict[str, Any]:
        self._summarise()
        events = self._roll_ups()
        self._minutes()
        streams = self._references()
        self._coverage()
        self._samples()
        self._review()
        found = self._anomalies(streams)
        config = Config.model_validate(config_of(self.store.url.render_as_string().replace("+pysqlite", "")))
        issue(self.store, config, self.end_us - WEEK_US, self.end_us, "ann", self.end_us + HOUR_US)
        with self.store.write() as connection:
            connection.exec_driver_sql("ANALYZE")
        with self.store.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
        signals = len({signal for _, signal in streams})
        return {"events": events, "streams": len(streams), "signals": signals, **found,
                "store_mb": round(pages * size / 1e6)}  # fmt: skip

    # -- summaries ------------------------------------------------------------------------------------------

    def _summarise(self) -> None:
        """``hours[level][kind of day]``: the states of its 24 hours with their events; ``days``: merged."""
        hour = np.arange(24)
        shape = 0.35 + 1.1 * np.sin(np.pi * ((hour - 4) % 24) / 24) ** 2
        self.hours: list[list[list[tuple[int, bytes]]]] = []
        self.days: list[list[tuple[int, bytes]]] = []
        self.minutes: list[list[tuple[int, bytes]]] = []
        for an_hour in self.levels:
            kinds = []
            for kind in range(WEEKDAYS + WEEKENDS + CHANGED):
                # The mean over a week is the level: five weekdays and two quieter days.
                quiet = 0.55 if kind in range(WEEKDAYS, WEEKDAYS + WEEKENDS) else 1.18
                expected = an_hour * quiet * shape / shape.mean()
                kinds.append(self._states(self.rng.poisson(expected), changed=kind >= WEEKDAYS + WEEKENDS))
            self.hours.append(kinds)
            self.days.append(
                [(sum(n for n, _ in day), Summary.merge_all([s for _, s in day]).to_state()) for day in kinds]
            )
            self.minutes.append(self._states(1 + self.rng.poisson(an_hour / 60, 12), whole=True))

    def _states(self, counts: np.ndarray, *, changed: bool = False, whole: bool = False) -> list[tuple[int, bytes]]:
        table = SummaryTable()
        table.update(np.repeat(np.arange(counts.size), counts), self._columns(int(counts.sum()), changed, whole))
        ids = table.row_ids()
        return [(table.events(row), state) for row, state in zip(ids, table.states(ids), strict=True)]

    def _columns(self, n: int, changed: bool, whole: bool) -> EventColumns:
        nothing = absent(n)
        found = events(self.rng, n)
        if not whole:
            found = replace(found, **{name: nothing[name] for name in LEFT_OUT})
        if changed:
            broken = (self.rng.random(n) < 0.14).astype(np.int8)
            found = replace(found, cost=found.cost * 14 // 10, schema_violation=broken)
        return found

    def _kind(self, segment: int, day: int) -> int:
        """The kind of a segment's day."""
        if segment in self.changed and day >= 7 * self.weeks - 4:
            return WEEKDAYS + WEEKENDS
        return WEEKDAYS if day % 7 >= 5 else (segment * 7 + day * 3) % WEEKDAYS

    def _version(self, segment: int, day: int) -> str:
        """A third of the segments got another prompt at the beginning of the last week."""
        return f"vl-small@{2 if segment % 3 == 0 and day >= 7 * (self.weeks - 1) else 1}"

    def _roll_ups(self) -> int:
        events = 0
        insert = "INSERT INTO summaries VALUES (?,?,?,?,?,0,'',-1,?,?)"

        def hourly(day: int) -> Iterator[tuple[Any, ...]]:
            of_day = [
                (f"r{s % ROUTES}", name_of(s), self._version(s, day), self.hours[self.level[s]][self._kind(s, day)])
                for s in sorted(range(self.segments), key=name_of)
            ]
            for hour in range(24):
                at = START_US + day * DAY_US + hour * HOUR_US
                for route, name, version, states in of_day:
                    yield (coverage.HOUR, at, route, name, version, *states[hour])

        for day in range(7 * self.weeks):
            rows = list(hourly(day))
            events += sum(row[5] for row in rows)
            with self.store.write() as connection:
                connection.exec_driver_sql(insert, rows)
        whole = [
            (coverage.DAY, START_US + day * DAY_US, f"r{s % ROUTES}", name_of(s), self._version(s, day),
             *self.days[self.level[s]][self._kind(s, day)])
            for day in range(7 * self.weeks) for s in sorted(range(self.segments), key=name_of)
        ]  # fmt: skip
        with self.store.write() as connection:
            connection.exec_driver_sql(insert, whole)
        return events

    def _minutes(self) -> None:
        """The hour after the last week, which is not rolled up yet."""
        rows = []
        for minute in range(60):
            for s in range(self.segments):
                count, state = self.minutes[self.level[s]][(minute + s) % 12]
                rows.append(
                    {
                        "level": 0, "window_us": self.end_us + minute * MINUTE_US, "route": f"r{s % ROUTES}",
                        "segment": name_of(s), "version": self._version(s, 7 * self.weeks - 1), "late": False,
                        "topic": "inference", "partition": s % 4, "events": count, "state": state,
                    }
                )  # fmt: skip
        zero = dict.fromkeys(("events", "duplicates", "dead_letters", "late_events"), 0)
        until = self.end_us + HOUR_US
        of_partitions = [
            {
                **zero, "topic": "inference", "partition": number, "next_offset": 1, "generation": 1, "owner": "b",
                "watermark_us": until, "max_time_us": until, "begun": True, "state": b"", "counters": "{}",
            }
            for number in range(4)
        ]  # fmt: skip
        with self.store.write() as connection:
            connection.execute(summaries.insert(), rows)
            connection.execute(partitions.insert(), of_partitions)

    def _coverage(self) -> None:
        state = Coverage(
            done={(level, late): self.end_us for level in (coverage.HOUR, coverage.DAY) for late in (False, True)},
            included=frozenset(("inference", number) for number in range(4)),
            zones=[(coverage.NEVER, "UTC")],
            kept={coverage.MINUTE: self.end_us},
            lateness_us=Config().kafka.allowed_lateness,
        )
        lead = evaluation.take_lead(self.store, "benchmark", self.end_us, 1)
        assert lead is not None
        done = evaluation.Results(done_until_us=self.end_us + HOUR_US, state=b"")
        evaluation.write(self.store, lead, done, self.end_us, 1)
        with self.store.write() as connection:
            rollups.save(self.store, connection, state)

    # -- what was learned and found -------------------------------------------------------------------------

    def _references(self) -> list[tuple[str, str]]:
        """Active references of all segments, learned from the first four weeks, one of each size. Their streams."""
        learned = []
        days = range(min(28, 7 * (self.weeks - 1)))
        for level in range(SIZES):
            rows = [
                SummaryRow(START_US + day * DAY_US + hour * HOUR_US, "one", state)
                for day in days
                for hour, (_, state) in enumerate(self.hours[level][WEEKDAYS if day % 7 >= 5 else (day * 3) % WEEKDAYS])
            ]
            decoder = Decoder()
            cells = decoder.decode(rows).by_hour()
            learned.append(
                learn(
                    "one", "r0", cells, decoder.segments.code("one"), decoder.labels, (), from_us=START_US,
                    to_us=START_US + len(days) * DAY_US, calendar=Calendar("UTC"), confidence=0.998, min_rows=200,
                    max_rows=5000, kindred_day_sd={},
                )
            )  # fmt: skip
        streams = []
        with self.store.write() as connection:
            for s in range(self.segments):
                reference: Reference = learned[self.level[s]]
                reference.segment, reference.route = name_of(s), f"r{s % ROUTES}"
                references.add(
                    connection, segment=reference.segment, encoder="", from_us=reference.from_us,
                    to_us=reference.to_us, origin="learned", rows=0, content=reference.to_content(), samples=[],
                    state="active",
                )  # fmt: skip
                streams += [(reference.segment, name) for name, one in reference.streams.items() if one.enough]
        return streams

    def _anomalies(self, streams: list[tuple[str, str]]) -> dict[str, Any]:
        """Evidence by hour of every stream; sixty anomalies, those of the segments that changed open."""
        hours = range(self.end_us - min(DETAILED_US, self.weeks * WEEK_US), self.end_us, HOUR_US)
        small = self.rng.exponential(0.02, 4096).tolist()
        for day in range(0, len(hours), 24):
            rows = [
                (segment, signal, at, "hour", small[(i * 31 + at // HOUR_US) % 4096], 1.0)
                for at in hours[day : day + 24]
                for i, (segment, signal) in enumerate(streams)
            ]
            with self.store.write() as connection:
                connection.exec_driver_sql("INSERT INTO evidence VALUES (?,?,?,?,?,?,NULL)", rows)
        broken = self.end_us - 4 * DAY_US
        documents = [story(name_of(s), opened=broken + (2 + s % 20) * HOUR_US) for s in sorted(self.changed)]
        count = len(documents)
        for i in range(50):
            opened = START_US + (i + 10) * (self.end_us - START_US - 14 * DAY_US) // 60 // HOUR_US * HOUR_US
            closed = story(name_of(i * 7 % self.segments), opened=opened)
            closed.update(
                state="resolved", resolved=opened + 30 * HOUR_US, severity=("page", "ticket", "report")[i % 3]
            )
            documents.append(closed)
        with self.store.write() as connection:
            connection.execute(anomalies.insert(), [row_of(document) for document in documents])
            ticks = [
                {"segment": d["segment"], "signal": d["signal"], "tick_us": d["opened"] + i * 5 * MINUTE_US,
                 "resolution": "tick", "value": 6.0, "threshold": 0.0, "effect": 0.1}
                for d in documents for i in range(12 * 24)
            ]  # fmt: skip
            connection.execute(evidence.insert(), ticks)
            for i, document in enumerate(documents):
                if i % 3 == 0:
                    said = "false" if i % 6 else "real"
                    responses.respond(connection, document["id"], said, "ann", self.end_us, note="seen")
            for i in range(12):
                at = self.end_us - (i + 1) * 4 * DAY_US + 9 * HOUR_US
                deploys.announce(self.store, connection, Deploy(f"d{i}", at, "pipeline", f"v2.{12 - i}", note="weekly"))
        return {"anomalies": len(documents), "open": count, "evidence_rows": len(hours) * len(streams) + len(ticks)}

    # -- samples and labels ---------------------------------------------------------------------------------

    def _samples(self) -> None:
        share = self.levels[self.level] / self.levels[self.level].sum()
        names = [name_of(s) for s in range(self.segments)]
        for hour in range(self.end_us - min(DETAILED_US, self.weeks * WEEK_US), self.end_us + HOUR_US, HOUR_US):
            chosen = self.rng.choice(self.segments, SAMPLED_A_HOUR, p=share)
            rows = [
                {
                    "sample_id": f"{hour // HOUR_US:x}{i:06x}", "event_id": f"e{hour // HOUR_US}-{i}",
                    "topic": "inference", "partition": s % 4, "offset": i, "time_us": hour + i * 3_000_000,
                    "window_us": hour + i // 20 * MINUTE_US, "route": f"r{s % ROUTES}", "segment": names[s],
                    "version": "vl-small@1", "session_key": "", "user_key": "", "pi": 0.02, "pi_kept": 0.02,
                    "state": "missing" if i % 40 == 0 else "embedded", "reason": "gone" if i % 40 == 0 else "",
                    "facts": '{"v":1,"confidence":930000}', "encoder": "", "phash": None,
                }
                for i, s in enumerate(chosen.tolist())
            ]  # fmt: skip
            with self.store.write() as connection:
                connection.execute(samples.insert(), rows)

    def _review(self) -> None:
        """Items of every day of the last four weeks, two thirds of them labelled, in the order of the work."""
        names = [name_of(s) for s in range(self.segments)]
        for day_us in range(self.end_us - min(4, self.weeks) * WEEK_US, self.end_us, DAY_US):
            segment = self.rng.integers(0, self.segments, 20 * ITEMS_A_DAY)
            pi, score = np.full(segment.size, 0.02), self.rng.beta(1, 12, segment.size)
            second = np.full(segment.size, 0.05)
            pools = pools_of(pi, second, score, segment, self.segments)
            sums = [
                PoolSums(names[s], day_us, type(pools)(**{f: getattr(pools, f)[s : s + 1] for f in pools.__slots__}))
                for s in np.unique(segment).tolist()
            ]
            items = [
                NewItem(
                    sample_id=f"i{day_us // DAY_US}-{i}", event_id=f"i{day_us // DAY_US}-{i}", segment=names[s],
                    route=f"r{s % ROUTES}", day_us=day_us, time_us=day_us + i * MINUTE_US, pi_sample=0.02,
                    pi_review=0.05, race=(i + 0.5) / ITEMS_A_DAY, score=float(score[i]),
                )
                for i, s in enumerate(segment[:ITEMS_A_DAY].tolist())
            ]  # fmt: skip
            with self.store.write() as connection:
                review.add(connection, items, sums, now_us=day_us, expires_us=2**60)
            for i, one in enumerate(items[: 2 * ITEMS_A_DAY // 3]):
                said = Label("wrong" if i % 12 == 0 else "correct")
                review.import_label(self.store, one.event_id, "ann", said, day_us + DAY_US, gold=False)
