"""A process whose children are killed: `python -m tests.ingest.victim STORE_URL SEED KILLS`.

Imports everything once, then forks a child per life. Each child ingests (and embeds) from where the store says, and is
killed with SIGKILL at a moment drawn from the seed: mostly some way into its work, sometimes while it starts; the last
one runs to the end. Prints the records the store held at each kill, one JSON object on the last line.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time

from monitor.embed.worker import EmbedWorker
from monitor.ingest.worker import IngestWorker
from monitor.store.engine import open_store
from monitor.store.partitions import status
from tests.ingest import streams
from tests.ingest.memory_source import MemoryLog, MemorySource

RECORDS = 2200
MOST_STEPS = 14  # polls of new records in one life; 30 lives of half as many cover most of the log
PATIENCE_S = 60.0


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
    while not last:
        time.sleep(1)
    worker.drain()
    while embed.step():
        pass
    embed.close()
    store.close()


def wait(progress: int, rng: random.Random) -> None:
    """Return at a random moment of a life, which does not depend on how fast the machine is."""
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0.0, 0.2))
        return
    for _ in range(rng.randint(1, MOST_STEPS)):
        if not select.select([progress], [], [], PATIENCE_S)[0]:
            return
        os.read(progress, 1)
    time.sleep(rng.uniform(0.0, 0.02))


def taken(url: str) -> int:
    store = open_store(url)
    found: dict[str, int] = status(store)["offsets"]
    store.close()
    return sum(found.values())


def main() -> None:
    url, seed, kills = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    log = MemoryLog(streams.stream(2, RECORDS))
    rng = random.Random(seed)
    seen: list[int] = []
    while True:
        last = len(seen) == kills
        ours, theirs = os.pipe()
        life = rng.randrange(2**32)
        child = os.fork()
        if child == 0:
            try:
                live(url, log, life, theirs, last)
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        os.close(theirs)
        if not last:
            wait(ours, rng)
            os.kill(child, signal.SIGKILL)
        _, how = os.waitpid(child, 0)
        os.close(ours)
        if last:
            if os.waitstatus_to_exitcode(how):
                sys.exit("the last child failed")
            break
        if not os.WIFSIGNALED(how):
            sys.exit("a child failed by itself")
        seen.append(taken(url))
    print(json.dumps({"kills": len(seen), "records_at_kill": seen, "records": 2 * RECORDS}))


if __name__ == "__main__":
    main()
