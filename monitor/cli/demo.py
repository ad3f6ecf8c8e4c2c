"""`driftline demo`."""

from __future__ import annotations

import signal
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from monitor.cli.options import Failure

HOUR_US = 3_600_000_000


@click.command()
@click.option("--headless", is_flag=True, help="Write summary.json and exit when the three weeks are evaluated.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the database, uploads, logs and summary.json. Default: a temporary one.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another three weeks.")
@click.option(
    "--end",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H"]),
    help="Where the three weeks end (UTC); live traffic goes on from there. Default: the last full hour; with "
    "--headless the last Monday, so that its reports are of whole weeks.",
)
@click.option(
    "--pace",
    type=click.FloatRange(1, 1000),
    default=1,
    show_default=True,
    help="How many times as fast as real time live traffic goes on; with 60 an hour of it passes in a minute.",
)
def demo(headless: bool, out: Path | None, seed: int, end: datetime | None, pace: float) -> None:
    """Three weeks of a simulated invoice-reading feature in a few minutes, with incidents at known times.

    Starts an embedded broker, the feature, the real service and a webhook receiver; prints the address of
    driftline's page and keeps serving live traffic until Ctrl-C. Two hours into it something breaks, and is
    mended eight hours later.

    \b
    Example:
      driftline demo
      driftline demo --pace 60
      driftline demo --headless --out demo-out
    """
    from rich.console import Console

    from monitor.demo.broker import BrokerUnavailable
    from monitor.demo.run import Conductor, DemoFailed
    from monitor.report.period import last_week

    now_us = time.time_ns() // 1000
    end_us = last_week(now_us, "UTC")[1] if headless else now_us - now_us % HOUR_US
    if end is not None:
        end_us = round(end.replace(tzinfo=UTC).timestamp() * 1e6)
    folder = (out or Path(tempfile.mkdtemp(prefix="driftline-demo-"))).resolve()
    conductor = Conductor(folder, end_us, seed, Console(), pace)
    # However it is ended, its broker and its services end with it; a shell's background job is deaf to Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        code = conductor.headless() if headless else conductor.interactive()
    except (BrokerUnavailable, DemoFailed) as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        code = 0
    raise SystemExit(code)
