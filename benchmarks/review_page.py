"""The review page in a real browser: how long a reviewer waits from a key until the next item is there.

    python -m benchmarks.review_page --json [--items 50]

Chromium and the service share this machine, on loopback, over SQLite. A key press is sent; the clock of the page runs
from the event until the first frame after the facts of the next item are written and its picture is decoded. ``paced``:
a reviewer who looks at an item for half a second, so that the one ahead has come; ``hurried``: the next key as soon as
the next item is there, which no reader does. The last line is one JSON object, times in ms.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import expect

from benchmarks.ingest import machine
from monitor.store.engine import open_store
from tests.service.queue_of_page import fill_queue
from tests.service.review_browser import reviewing, serving
from tests.services.chromium import chromium

WAIT = """(event) => new Promise((done) => {
  let from = 0;
  addEventListener("keydown", (e) => { from ||= e.timeStamp; }, { capture: true, once: true });
  const look = (now) => {
    const image = document.querySelector("#turned img");
    const there = from && document.getElementById("facts").textContent.includes(event);
    if (there && image && image.complete && image.naturalWidth) requestAnimationFrame((at) => done(at - from));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""


def measure(page: Any, first: int, items: int, pause_ms: int) -> list[float]:
    """Milliseconds of ``items`` presses; the item ``first`` is shown."""
    found = []
    for seed in range(first, first + items):
        page.evaluate(f"(event) => {{ window.waited = ({WAIT})(event); }}", f"01JCZ3K8W2-{seed + 1:04d}")
        page.keyboard.press("cwu"[seed % 3])
        found.append(float(page.evaluate("window.waited")))
        page.wait_for_timeout(pause_ms)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="only the last line")
    parser.add_argument("--items", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        store = open_store(f"sqlite:///{Path(folder) / 'q.db'}")
        fill_queue(store, 2 * given.items + 2)
        result: dict[str, Any] = {"items": given.items}
        with serving(store) as served, reviewing(browser, served) as page:
            expect(page.locator("#turned img")).to_be_visible()
            page.wait_for_timeout(500)
            for at, (name, pause) in enumerate((("paced", 500), ("hurried", 0))):
                took = measure(page, at * given.items, given.items, pause)
                result[f"{name}_median_ms"] = round(float(np.median(took)), 1)
                result[f"{name}_p95_ms"] = round(float(np.quantile(took, 0.95)), 1)
                result[f"{name}_max_ms"] = round(max(took), 1)
                if not given.json:
                    print(name, [round(value, 1) for value in took])
        store.close()
    print(json.dumps({**result, "machine": machine()}))


if __name__ == "__main__":
    main()
