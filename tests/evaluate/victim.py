"""An evaluator whose lives end by SIGKILL: `python -m tests.evaluate.victim STORE_URL END_US SEED KILLS`.

Prints how far the ticks had come at each kill, one JSON object on the last line.
"""

from __future__ import annotations

import json
import os
import sys
import time

from sqlalchemy import select

from monitor.config.model import Config
from monitor.evaluate.worker import EvaluateWorker
from monitor.store.engine import open_store
from monitor.store.tables import evaluation
from tests.evaluate.traffic import HOUR_US
from tests.killing import run_lives

MOST_STEPS = 16  # batches of an hour; 30 lives of half as many cover most of ten days


def live(url: str, end_us: int, progress: int, last: bool) -> None:
    """Evaluate hour by hour, telling each; unless it is the ``last`` life, wait for the kill."""
    store = open_store(url)
    worker = EvaluateWorker(store, Config(), clock=lambda: end_us / 1e6, holder="same", batch_us=HOUR_US)
    while worker.step():
        os.write(progress, b".")
    os.close(progress)
    while not last:
        time.sleep(1)
    worker.close()
    store.close()


def reached(url: str) -> int:
    """The end of the last committed tick, 0 before the first."""
    store = open_store(url)
    with store.read() as connection:
        found = connection.execute(select(evaluation.c.done_until_us)).scalar()
    store.close()
    return int(found or 0)


def main() -> None:
    url, end_us, seed, kills = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    seen = run_lives(
        lambda progress, _, last: live(url, end_us, progress, last), seed, kills, lambda: reached(url), MOST_STEPS
    )
    print(json.dumps({"kills": len(seen), "reached_at_kill": seen}))


if __name__ == "__main__":
    main()
