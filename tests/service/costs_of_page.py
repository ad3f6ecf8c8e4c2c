"""A store with two weeks of two segments' bills, one of them with a name that is markup."""

from __future__ import annotations

import numpy as np

from detectors.summaries import SummaryTable
from monitor.config.model import Config
from monitor.store.engine import Store
from monitor.store.tables import summaries
from tests.evaluate.traffic import DAY_US, HOUR_US, columns, set_watermark
from tests.service.queue_of_page import HOSTILE

FROM_US = 1_767_571_200_000_000  # Monday 2026-01-05 00:00 UTC
END_US = FROM_US + 14 * DAY_US + 4 * HOUR_US  # no midnight
NAMED = "receipts"
EVIL = f"bills/{HOSTILE}"[:200]
PER_STEP = 12
STEPS = 4 * HOUR_US  # a row of summaries each
CONFIG = Config.model_validate(
    {"prices": {"models": [{"model": "m", "input_per_million": 1.0, "output_per_million": 4.0}]}}
)


def fill_costs(store: Store, end_us: int = END_US) -> None:
    """Hostile users and versions there are none of: users are hashes, versions admitted ones. The second week has twice
    as many tokens a request."""
    rng = np.random.default_rng(7)
    rows = []
    for window in range(FROM_US, end_us, STEPS):
        for name in (NAMED, EVIL):
            twice = 2.0 if window >= FROM_US + 7 * DAY_US else 1.0
            inputs, outputs = ((rng.lognormal(mean, 0.6, PER_STEP) * twice).astype(np.int64) for mean in (7.0, 5.5))
            cols = columns(
                PER_STEP, rng, input_tokens=inputs, output_tokens=outputs, cost=(inputs + 4 * outputs) * 1000
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
    set_watermark(store, end_us)
