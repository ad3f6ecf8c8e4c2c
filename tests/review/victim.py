"""Two reviewers whose lives end by SIGKILL: `python -m tests.review.victim STORE_URL FOLDER SEED KILLS`.

What a client is about to ask is in a file before it asks, so that whoever comes after a kill sends it again, as a page
does whose answer was lost. Prints how many labels stood at each kill, one JSON object on the last line.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

from sqlalchemy import func, select

from monitor.store import review
from monitor.store.engine import Store, open_store
from monitor.store.tables import labels
from tests.killing import run_lives
from tests.review.items import EVERYTHING

REVIEWERS = ("ann", "bob")
HOUR_US = 3_600_000_000
MOST_STEPS = 120


def live(url: str, folder: Path, progress: int, seed: int, last: bool) -> None:
    """Label until nothing is left, now and then skipping or undoing; then, unless ``last``, wait for the kill."""
    store, rng = open_store(url), random.Random(seed)
    for reviewer in REVIEWERS:
        asked = folder / reviewer
        if asked.exists():
            _ask(store, reviewer, json.loads(asked.read_text()))
    busy = True
    while busy:
        busy = False
        for reviewer in REVIEWERS:
            found = review.next_items(store, reviewer, EVERYTHING, _now(), HOUR_US, 2)
            if not found:
                continue
            busy = True
            # An item that both skipped would be left over.
            what = rng.choices(("label", "skip", "undo"), (20, reviewer == "ann", 2))[0]
            request = {"what": what, "item": found[0].item_id, "id": f"{rng.getrandbits(64):x}"}
            (folder / "new").write_text(json.dumps(request))
            (folder / "new").rename(folder / reviewer)
            _ask(store, reviewer, request)
            os.write(progress, b".")
    os.close(progress)
    while not last:
        time.sleep(1)
    store.close()


def _now() -> int:
    return time.time_ns() // 1000


def _ask(store: Store, reviewer: str, request: dict[str, str]) -> None:
    item, key = request["item"], request["id"]
    try:
        if request["what"] == "label":
            review.label_and_next(
                store, item, reviewer, review.Label("wrong"), EVERYTHING, _now(), HOUR_US, count=2, request_id=key
            )
        elif request["what"] == "skip":
            review.skip(store, item, reviewer, "", _now(), 99, request_id=key)
        else:
            review.undo(store, reviewer, _now(), HOUR_US, HOUR_US, request_id=key)
    except review.Declined as declined:
        if declined.why != "nothing":
            raise


def standing(url: str) -> int:
    store = open_store(url)
    with store.read() as connection:
        query = select(func.count()).select_from(labels).where(labels.c.kind == "label", ~labels.c.undone)
        found = int(connection.execute(query).scalar_one())
    store.close()
    return found


def main() -> None:
    url, folder, seed, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    seen = run_lives(
        lambda progress, life, last: live(url, folder, progress, life, last),
        seed,
        kills,
        lambda: standing(url),
        MOST_STEPS,
    )
    print(json.dumps({"kills": len(seen), "standing_at_kill": seen}))


if __name__ == "__main__":
    main()
