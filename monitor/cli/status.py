"""`driftline status`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.options import config_option, opened_store, read_config

if TYPE_CHECKING:
    from monitor.serve.models import Status


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def status(config_path: Path, as_json: bool) -> None:
    """Say what has been read, stored and found. Reads the store alone; the service need not run.

    \b
    Example:
      driftline status
      driftline status --json | jq .offsets
    """
    import msgspec

    from monitor.status import read_status

    config = read_config(config_path)
    with opened_store(config) as store:
        found = read_status(store, config)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)


def _show(found: Status) -> None:
    from rich.console import Console
    from rich.table import Table

    facts = Table(show_header=False, box=None)
    for name, value in (
        ("events", f"{found.events:,}"),
        ("duplicates", f"{found.duplicates:,}"),
        ("late events", f"{found.late_events:,}"),
        ("dead letters", _counted(found.dead_letters, found.dead_letter_reasons)),
        ("segments", str(found.segments)),
        ("samples", ", ".join(f"{n:,} {state}" for state, n in found.samples.items())),
        ("not embedded", ", ".join(f"{reason} {n:,}" for reason, n in found.missing.items()) or "none"),
        ("coverage", "–" if found.coverage is None else f"{100 * found.coverage:.1f} %"),
        ("anomalies", ", ".join(f"{n} {state}" for state, n in found.anomalies.items())),
        ("closed until", found.closed_until or "–"),
        ("evaluated until", found.evaluated_until or "–"),
        *((f"{line.severity}s opened", f"{line.opened}; allowed false: {line.promised}") for line in found.budget),
        *(
            (f"outbox {sink}", ", ".join(f"{n} {state}" for state, n in kinds.items()))
            for sink, kinds in found.outbox.items()
        ),
    ):
        facts.add_row(name, value)
    partitions = Table("topic", "partition", "next offset", "watermark")
    for topic, offsets in found.offsets.items():
        for partition, offset in offsets.items():
            partitions.add_row(topic, partition, f"{offset:,}", found.watermarks[topic][partition] or "–")
    console = Console()
    console.print(facts, markup=False)
    console.print(partitions)


def _counted(total: int, reasons: Mapping[str, int]) -> str:
    listed = ", ".join(f"{reason} {n:,}" for reason, n in reasons.items())
    return f"{total:,}" + (f" (kept: {listed})" if listed else "")
