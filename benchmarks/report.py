"""The weekly report of a large store: seconds, peak memory, and the size of the page.

    python -m benchmarks.report --json [--store DIR]

The store (`benchmarks._rolled_up`) holds eight weeks of 500 segments with 20 signals each, 10^8 events in hourly and
daily roll-ups. It is made in ``--store``, and used again where it is there; without it, in one that goes afterwards.
Then `driftline report` runs over the last week as a process of its own: ``seconds`` are from its start to its end with
all three forms written, ``rss_mb`` its peak; ``load_average`` says who else used the machine. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._rolled_up import START_US, WEEK_US, Made, config_of, rolled_up
from benchmarks.summaries import machine
from monitor.times import iso


def run(made: Made, folder: Path) -> dict[str, Any]:
    """The report of the last week, in a process of its own."""
    config = folder / "driftline.yaml"
    config.write_text(json.dumps(config_of(made.url)))
    end = START_US + made.facts["weeks"] * WEEK_US
    command = [
        sys.executable, "-m", "monitor.cli", "report", "--config", str(config), "--from", iso(end - WEEK_US), "--to",
        iso(end), "--format", "html,md,json", "--out", str(folder / "reports"),
    ]  # fmt: skip
    began = time.monotonic()
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - began
    if status:
        raise SystemExit(f"the report failed with status {os.waitstatus_to_exitcode(status)}")
    sizes = {path.suffix[1:]: round(path.stat().st_size / 1e6, 3) for path in (folder / "reports").iterdir()}
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "rss_mb": round(usage.ru_maxrss / 1024, 1),
        "html_mb": sizes["html"],
        "md_mb": sizes["md"],
        "json_mb": sizes["json"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--store", type=Path, help="folder of the store; it is kept there, and used again")
    parser.add_argument("--out", type=Path, help="folder that the report is kept in")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        made = rolled_up(given.store or Path(temporary))
        folder = given.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = {
            "benchmark": "report",
            **run(made, folder),
            **made.facts,
            "load_average": round(os.getloadavg()[0], 1),
            "machine": machine(),
        }
    if not given.json:
        for name, value in result.items():
            print(f"{name:16} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
