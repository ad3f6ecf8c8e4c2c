"""`driftline doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.options import config_option, read_config


@click.command()
@config_option
def doctor(config_path: Path) -> None:
    """Try every connection: Kafka and its topics, the store, the encoder, payload folders, sinks, the port.

    One line each; exit code 1 if any fails, with what to do.

    \b
    Example:
      driftline doctor --config driftline.yaml
    """
    from rich.console import Console

    from monitor.doctor import examine
    from monitor.logs import configure

    configure("auto", "error")
    console = Console(soft_wrap=True)
    failed = 0
    for finding in examine(read_config(config_path)):
        failed += not finding.ok
        mark = "[green]ok    [/]" if finding.ok else "[red]failed[/]"
        console.print(mark, end=" ")
        console.print(f"{finding.name}: {finding.detail}", markup=False, highlight=False)
        if finding.remedy:
            console.print(f"       {finding.remedy}", markup=False, highlight=False)
    raise SystemExit(1 if failed else 0)
