"""Lives that end by SIGKILL: forked children of a process that imported everything once."""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 60.0
T = TypeVar("T")

# live(progress, seed, last): works, writing a byte to the descriptor ``progress`` for each step, and closes it when all
# is done; the last life then returns, any other waits for its kill.
Live = Callable[[int, int, bool], None]


def run_lives(live: Live, seed: int, kills: int, note: Callable[[], T], most_steps: int) -> list[T]:
    """Run ``kills`` lives that are killed at moments drawn from ``seed``, then one to the end.

    Returns ``note()`` as it was after each kill. Exits with a message if a child fails by itself.
    """
    rng = random.Random(seed)
    noted: list[T] = []
    while True:
        last = len(noted) == kills
        ours, theirs = os.pipe()
        life = rng.randrange(2**32)
        child = os.fork()
        if child == 0:
            try:
                live(theirs, life, last)
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        os.close(theirs)
        if not last:
            _wait(ours, rng, most_steps)
            os.kill(child, signal.SIGKILL)
        _, how = os.waitpid(child, 0)
        os.close(ours)
        if last:
            if os.waitstatus_to_exitcode(how):
                sys.exit("the last child failed")
            return noted
        if not os.WIFSIGNALED(how):
            sys.exit("a child failed by itself")
        noted.append(note())


def _wait(progress: int, rng: random.Random, most_steps: int) -> None:
    """Return at a random moment of a life, which does not depend on how fast the machine is."""
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0.0, 0.2))
        return
    for _ in range(rng.randint(1, most_steps)):
        if not select.select([progress], [], [], PATIENCE_S)[0]:
            return
        if not os.read(progress, 1):  # it has done all there is to do, and waits
            return
    time.sleep(rng.uniform(0.0, 0.02))
