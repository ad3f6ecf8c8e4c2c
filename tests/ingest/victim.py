"""A process whose children are killed: `python -m tests.ingest.victim STORE_URL SEED KILLS`.

Imports everything once, then forks a child per life. Each child ingests (and embeds) from where the store says, and is
killed with SIGKILL at a moment drawn from the seed: mostly some way into its work, sometimes while it starts; the last
one runs to the end. Prints the records the store held at each kill, one JSON object on the last line.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

from monitor.embed.worker import EmbedWorker
from monitor.ingest.worker import IngestWorker
from monitor.store.engine import open_store
from monitor.store.partitions import status
from tests.ingest import streams
from tests.ingest.memory_source import MemoryLog, MemorySource
from tests.killing import run_lives

RECORDS = 2200
MOST_STEPS = 14  # polls of new records in one life; 30 lives of half as many cover most of the log


def live(url: str, log: MemoryLog, seed: int, progress: int, last: bool) -> None:
    """Ingest and embed to the end of the log, telling each step; unless it is the ``last`` life, wait for the kill."""
    store = open_store(url)
    config = streams.config(commit_records=40)
    rng = random.Random(seed)
    worker = IngestWorker(config, store, source=MemorySource(log, lambda: rng.randint(1, 20)))
    embed = EmbedWorker(store, config)
    while not worker.caught_up():
        if worker.step(0):
            os.write(progress, b".")
            embed.step()
    os.close(progress)
    while not last:
        time.sleep(1)
    worker.drain()
    while embed.step():
        pass
    embed.close()
    store.close()


def taken(url: str) -> int:
    store = open_store(url)
    found: dict[str, int] = status(store)["offsets"]
    store.close()
    return sum(found.values())


def main() -> None:
    url, seed, kills = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    log = MemoryLog(streams.stream(2, RECORDS))
    seen = run_lives(
        lambda progress, life, last: live(url, log, life, progress, last), seed, kills, lambda: taken(url), MOST_STEPS
    )
    print(json.dumps({"kills": len(seen), "records_at_kill": seen, "records": 2 * RECORDS}))


if __name__ == "__main__":
    main()
