"""A store with labels of one segment, whose answers say how confident they are, and checks of two, one with a name that
is markup."""

from __future__ import annotations

import numpy as np

from detectors.summaries import SummaryTable
from monitor.store.engine import Store
from monitor.store.tables import summaries
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, columns, set_watermark
from tests.review.test_advice import DAYS, END, World
from tests.service.queue_of_page import HOSTILE

NAMED = "a"
EVIL = f"forms/{HOSTILE}"[:200]
PER_STEP = 40
STEPS = 4 * HOUR_US
END_US = END
FROM_US = START_US
__all__ = ["DAYS", "DAY_US", "END_US", "EVIL", "FROM_US", "NAMED", "fill_quality"]


def fill_quality(store: Store, labels: float = 250.0) -> None:
    """Five days; a tenth of the schemas is broken, and a fifth of the citations of the hostile segment."""
    world = World()
    world.fill(store, labels)
    world.label(store)
    rng = np.random.default_rng(3)
    rows = []
    for window in range(FROM_US, END_US, STEPS):
        for name, rate in ((NAMED, 0.0), (EVIL, 0.2)):
            cols = columns(
                PER_STEP,
                rng,
                schema_violation=(rng.random(PER_STEP) < 0.1).astype(np.int8),
                citation_ungrounded=(rng.random(PER_STEP) < rate).astype(np.int8),
            )
            table = SummaryTable()
            table.update(np.zeros(PER_STEP, dtype=np.int64), cols)
            rows.append(
                {
                    "level": 0, "window_us": window, "route": "r", "segment": name, "version": "m@1", "late": False,
                    "topic": "t", "partition": 0, "events": PER_STEP, "state": table.states([0])[0],
                }
            )  # fmt: skip
    with store.write() as connection:
        connection.execute(summaries.insert(), rows)
    set_watermark(store, END_US)
