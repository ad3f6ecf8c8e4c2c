"""SIGKILL of the whole service at any moment: nothing is lost, nothing counted twice, no verdict changes.

`driftline run` with all its roles reads a real Kafka. Before each of its lives more traffic comes in; each life ends
by SIGKILL at a random moment of its starting, reading, embedding, judging or sending. What a drain then exports is
compared, byte for byte, with what a service exports that was never interrupted.
"""

from __future__ import annotations

import base64
import io
import json
import random
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from PIL import Image, ImageDraw
from sqlalchemy import func, select

from monitor.demo.receiver import receiver
from monitor.replay import Event
from monitor.store.engine import Store, open_store
from monitor.store.tables import evaluation, outbox, partitions, samples
from tests.service.process import Running, cli, produce, service, wait_for, write_config

KILLS = 30
HOURS = 5  # of event time that come in before each of so many lives
EACH_HOUR = 150
HOUR_US = 3_600_000_000
START_US = 1_788_220_800_000_000  # 2026-09-01T00:00Z
BROKEN_US = START_US + 100 * HOUR_US
KINDS = ("summaries", "samples", "anomalies")
SETTINGS = """\
  session_timeout: 600ms
  idle_after: 1h
routes:
  extract: {stakes: high, segment_by: [doc]}
sampling: {per_hour: 40, floor_high: 5}
reference: {learn: 3d, min_rows: 60}
evaluation: {min_history: 3d, lease: 500ms, resolve_after: 6h}
budget: {page: 20 per 7d, ticket: 20 per 7d}
alerts:
  send_historic: true
  sinks:
    oncall: {kind: webhook, url: "%s", secret: s}
"""


def pictures(rng: random.Random, tilted: bool) -> list[str]:
    """Small pages of lines, as data URIs."""
    found = []
    for _ in range(12):
        page = Image.new("L", (96, 128), 255)
        draw = ImageDraw.Draw(page)
        for y in range(10, 120, rng.randint(6, 9)):
            draw.line((8, y, rng.randint(40, 88), y), fill=rng.randint(0, 90))
        page = page.rotate(25, fillcolor=255) if tilted else page
        buffer = io.BytesIO()
        page.save(buffer, "PNG")
        found.append("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
    return found


def traffic(seed: int, life: int, hours: int) -> Iterator[Event]:
    """The events of ``hours`` that come in before life number ``life``.

    One document type breaks at `BROKEN_US`, another tilts.
    """
    rng = random.Random(seed * 1000 + life)
    straight, tilted = pictures(random.Random(seed), False), pictures(random.Random(seed), True)
    begin = START_US + life * hours * HOUR_US
    for i in range(hours * EACH_HOUR):
        number = life * hours * EACH_HOUR + i
        time_us = begin + i * HOUR_US // EACH_HOUR
        if i % 61 == 60:
            time_us -= rng.randint(60, 7200) * 1_000_000  # late by up to two hours
        doc = rng.choice(("receipt", "form", "letter"))
        broken = doc == "form" and time_us >= BROKEN_US
        page = rng.choice(tilted if doc == "letter" and time_us >= BROKEN_US else straight)
        document = {
            "schema": "driftline.inference/1",
            "id": f"e{number - 1 if i % 50 == 49 else number}",  # some twice
            "time": time_us // 1000,
            "route": "extract",
            "user_id": f"u{rng.randrange(40)}",
            "session_id": f"s{number // 2}",
            "attributes": {"doc": doc},
            "input": [{"kind": "image", "uri": page}, {"kind": "text", "text": f"Extract the total of {doc} {i % 7}."}],
            "output": [{"kind": "text", "text": "{}"}],
            "cost": {"amount": round(rng.lognormvariate(-5, 1), 6), "currency": "USD"},
            "latency": {"total_ms": round(rng.lognormvariate(7, 0.5))},
            "outcome": "error" if rng.random() < (0.5 if broken else 0.02) else "ok",
        }
        if i % 97 == 96:
            document["time"] = "yesterday"  # a dead letter
        yield Event(document, str(document["user_id"]).encode(), time_us, f"event {number}")


@dataclass(frozen=True)
class Reached:
    """How far the work had come."""

    records: int
    embedded: int
    ticked_us: int
    sent: int


def reached(store: Store) -> Reached:
    with store.read() as connection:
        return Reached(
            int(connection.execute(select(func.sum(partitions.c.next_offset))).scalar() or 0),
            int(connection.execute(select(func.count()).where(samples.c.state != "pending")).scalar() or 0),
            int(connection.execute(select(func.max(evaluation.c.done_until_us))).scalar() or START_US),
            int(connection.execute(select(func.count()).where(outbox.c.state == "sent")).scalar() or 0),
        )


def waiting(store: Store) -> int:
    """Messages that are not delivered yet."""
    with store.read() as connection:
        return int(connection.execute(select(func.count()).where(outbox.c.state == "pending")).scalar_one())


# Ticks come last, after what is read and embedded, so that fewer kills would fall among them by chance.
PARTS = ("records", "ticked", "embedded", "ticked", "end", "ticked")


def await_moment(store: Store, running: Running, rng: random.Random, records: int, part: str, hours: int) -> None:
    """Return at a random moment of a life: while it starts, or once ``part`` of its work has come some way."""
    if rng.random() < 0.15:
        time.sleep(rng.uniform(0.0, 3.0))
        return
    before = reached(store)
    records_more = rng.randint(1, max(1, records - before.records))
    embedded_more, hours_more = rng.randint(1, 24 * hours), rng.randint(1, hours)
    until = time.monotonic() + 40
    while time.monotonic() < until and running.process.poll() is None:
        now = reached(store)
        if (
            (part == "records" and now.records >= before.records + records_more)
            or (part == "embedded" and now.embedded >= before.embedded + embedded_more)
            or (part == "ticked" and now.ticked_us >= before.ticked_us + hours_more * HOUR_US)
            or (now.records >= records and part in ("records", "end"))
        ):
            break
        time.sleep(0.01)
    time.sleep(rng.uniform(0.0, 0.3))


def exported(config: Path) -> dict[str, str]:
    found = {}
    for kind in KINDS:
        done = cli("export", kind, "--config", str(config), *(["--vectors"] if kind == "samples" else []))
        assert done.returncode == 0, done.stderr
        found[kind] = done.stdout
    return found


def configure(folder: Path, bootstrap: str, topic: str, store: str, webhook: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = write_config(folder, bootstrap, topic=topic, store=store)
    kafka, rest = path.read_text().split("store:\n", 1)
    path.write_text(kafka + SETTINGS % webhook + "store:\n" + rest)
    return path


def drain(config: Path) -> None:
    done = cli("run", "--drain", "--config", str(config), "--log-format", "json")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@dataclass(frozen=True)
class Outcome:
    """What a service came to in the end: its exports by kind, and the ids of the anomalies that on-call heard of."""

    exports: dict[str, str]
    told: set[str]

    def differences(self, other: Outcome) -> list[str]:
        """The first line that differs of each export that does, and ids told to one only."""
        found = []
        for kind in KINDS:
            mine, theirs = self.exports[kind].splitlines(), other.exports[kind].splitlines()
            pairs = enumerate(zip_longest(mine, theirs, fillvalue="(no such line)"))
            found += [f"{kind}, line {n}:\n  {a}\n  {b}" for n, (a, b) in pairs if a != b][:1]
        return found + [f"told to one only: {anomaly}" for anomaly in sorted(self.told ^ other.told)]


@dataclass(frozen=True)
class Lives:
    """A service that was killed again and again, one that was not, and how far the first had come at each kill."""

    killed: Outcome
    whole: Outcome
    moments: list[Reached]

    def few_distinct(self) -> list[str]:
        """Parts of the work at whose progress too few kills fell apart to show anything."""
        return [name for name in ("records", "embedded", "ticked_us") if self.distinct(name) <= len(self.moments) // 3]

    def distinct(self, name: str) -> int:
        return len({getattr(moment, name) for moment in self.moments})

    def changes(self) -> set[tuple[str, str]]:
        """(segment, signal) of the anomalies of the uninterrupted service."""
        lines = map(json.loads, self.whole.exports["anomalies"].splitlines())
        return {(line["segment"], line["signal"]) for line in lines}


def kill_again_and_again(
    bootstrap: str, store_url: str, folder: Path, *, kills: int = KILLS, hours: int = HOURS
) -> Lives:
    """Run a service in ``folder`` through ``kills`` lives and one more, and another over the same topic in one go."""
    from kafka.admin import KafkaAdminClient, NewTopic

    topic, seed = f"kill-{uuid.uuid4().hex[:8]}", 20261125
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, 2, 1)])
    admin.close()
    rng = random.Random(seed)
    store = open_store(store_url)
    moments = []
    with receiver() as inbox, receiver() as inbox_of_whole:
        config = configure(folder / "killed", bootstrap, topic, store_url, inbox.url)
        sent = 0
        for life in range(kills):
            sent += produce(bootstrap, topic, traffic(seed, life, hours), partitions=2)
            with service(config, listens=False) as running:
                await_moment(store, running, rng, sent, PARTS[life % len(PARTS)], hours)
                assert running.process.poll() is None, running.log.read_text()[-3000:]
                running.process.send_signal(signal.SIGKILL)
                running.process.wait()
            moments.append(reached(store))
        sent += produce(bootstrap, topic, traffic(seed, kills, hours), partitions=2)
        # Its last life ends as a service should. What was being sent at a kill is sent once its claim has run out.
        with service(config) as running:
            wait_for("all records", lambda: reached(store).records >= sent, running, seconds=120)
            wait_for("an empty outbox", lambda: waiting(store) == 0, running, seconds=120)
            assert running.end() == 0
        drain(config)
        whole = configure(folder / "whole", bootstrap, topic, f"sqlite:///{folder / 'whole.db'}", inbox_of_whole.url)
        drain(whole)
        told, told_by_whole = inbox.anomaly_ids(), inbox_of_whole.anomaly_ids()
    store.close()
    return Lives(Outcome(exported(config), told), Outcome(exported(whole), told_by_whole), moments)
