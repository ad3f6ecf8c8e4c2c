"""A process whose children are killed: `python -m tests.exchange.victim STORE_URL SEED KILLS`.

Each life reads the labels topic from where the store says while items are drawn beside it, and is killed at a moment
drawn from the seed; the last one runs to the end. Prints the records taken in at each kill.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

from monitor.exchange import labels_topic
from monitor.exchange.labels_topic import LabelsWorker
from monitor.store.engine import open_store
from tests.exchange import label_stream
from tests.exchange.label_stream import ITEMS, config, draw, stream
from tests.ingest.memory_source import MemoryLog, MemorySource
from tests.killing import run_lives

RECORDS = 900
MOST_STEPS = 8


def live(url: str, log: MemoryLog, seed: int, progress: int, last: bool) -> None:
    store = open_store(url)
    rng = random.Random(seed)
    labels_topic.BATCH = 7  # type: ignore[misc]  # more transactions to be killed in
    worker = LabelsWorker(config(), store, source=MemorySource(log, lambda: rng.randint(1, 20)), wall_us=lambda: 2**52)
    for number in range(3, ITEMS, 10):  # those that are skipped: a skip of what was not drawn yet says nothing
        draw(store, number, number + 1)
    while not worker.caught_up():
        if worker.step(0):
            os.write(progress, b".")
        start = rng.randrange(ITEMS)
        draw(store, start, start + 3)
    os.close(progress)
    while not last:
        time.sleep(1)
    draw(store, 0, ITEMS)
    store.close()


def taken(url: str) -> int:
    store = open_store(url)
    found = label_stream.read(store)
    store.close()
    return found


def main() -> None:
    url, seed, kills = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    log = MemoryLog(stream(2, RECORDS))
    seen = run_lives(
        lambda progress, life, last: live(url, log, life, progress, last), seed, kills, lambda: taken(url), MOST_STEPS
    )
    print(json.dumps({"kills": len(seen), "taken": seen}))


if __name__ == "__main__":
    main()
