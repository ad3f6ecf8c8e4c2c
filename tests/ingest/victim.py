"""A process whose children are killed: `python -m tests.ingest.victim STORE_URL SEED KILLS`.

Imports everything once, then forks a child per life. Each child ingests (and embeds) from where the store says, and is
killed with SIGKILL at a moment drawn from the seed; the last one runs to the end. Prints the offsets the store held
at each kill, one JSON object on the last line.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from monitor.embed.worker import EmbedWorker
from monitor.ingest.worker import IngestWorker
from monitor.store.engine import open_store
from monitor.store.partitions import status
from tests.ingest import streams
from tests.ingest.memory_source import MemoryLog, MemorySource

RECORDS = 2500
LONGEST_S = 0.6


def live(url: str, log: MemoryLog, seed: int) -> None:
    """Ingest and embed to the end of the log."""
    store = open_store(url)
    config = streams.config(url, commit_records=150)
    rng = random.Random(seed)
    worker = IngestWorker(config, store, source=MemorySource(log, lambda: rng.randint(1, 60)))
    embed = EmbedWorker(store, config)
    while not worker.caught_up():
        worker.step(0)
        embed.step()
    worker.drain()
    while embed.step():
        pass
    embed.close()
    store.close()


def offsets(url: str) -> dict[str, int]:
    store = open_store(url)
    found: dict[str, int] = status(store)["offsets"]
    store.close()
    return found


def main() -> None:
    url, seed, kills = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    log = MemoryLog(streams.stream(2, RECORDS))
    rng = random.Random(seed)
    seen = []
    killed = 0
    while True:
        child = os.fork()
        if child == 0:
            try:
                live(url, log, rng.randrange(2**32))
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        if killed < kills:
            time.sleep(rng.uniform(0.0, LONGEST_S))
            os.kill(child, signal.SIGKILL)
        _, how = os.waitpid(child, 0)
        if not os.WIFSIGNALED(how):
            if os.waitstatus_to_exitcode(how):
                sys.exit("a child failed by itself")
            break
        killed += 1
        seen.append(sum(offsets(url).values()))
    print(json.dumps({"kills": killed, "records_at_kill": seen, "records": 2 * RECORDS}))


if __name__ == "__main__":
    main()
