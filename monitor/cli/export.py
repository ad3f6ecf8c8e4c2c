"""`driftline export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

import click

from monitor.cli.options import Failure, config_option, opened_store, read_config


@click.command()
@config_option
@click.argument("kind", type=click.Choice(("summaries", "samples", "anomalies")))
@click.option(
    "--format", "file_format", type=click.Choice(("jsonl",)), default="jsonl", show_default=True, help="JSON lines."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File; default: standard output.")
@click.option("--vectors", is_flag=True, help="With samples: their vectors too.")
def export(config_path: Path, kind: str, file_format: str, out: Path | None, vectors: bool) -> None:
    """Write rows in a canonical order with nothing that differs between runs over the same input.

    Two exports compare byte for byte.

    \b
    Example:
      driftline export summaries --format jsonl --out summaries.jsonl
      driftline export anomalies | jq .explanation.sentence
    """
    from monitor.store.export import export_lines

    if vectors and kind != "samples":
        raise click.UsageError(f"--vectors goes with samples, not with {kind}")
    with opened_store(read_config(config_path)) as store:
        try:
            target: IO[bytes] = out.open("wb") if out else sys.stdout.buffer
        except OSError as error:
            raise Failure(f"cannot write {out}: {error.strerror}") from None
        try:
            for line in export_lines(store, kind, vectors=vectors):
                target.write(line)
            target.flush()
        finally:
            if out:
                target.close()
