"""`driftline dlq`."""

from __future__ import annotations

import base64
import sys
import time
from pathlib import Path
from typing import IO, Any

import click

from monitor.cli.alert_responses import user
from monitor.cli.options import Failure, config_option, opened_store, read_config


@click.group()
def dlq() -> None:
    """Look at records that could not be used, and have them read again.

    \b
    Example:
      driftline dlq list --reason invalid_json
      driftline dlq show inference/3/18271
      driftline dlq export --out dead-letters.jsonl
      driftline dlq retry --reason oversize
    """


@dlq.command("list")
@config_option
@click.option("--reason", help="Only this reason.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
def list_letters(config_path: Path, reason: str | None, limit: int) -> None:
    """List dead letters, newest first: where, when, why. The original bytes are not shown.

    \b
    Example:
      driftline dlq list --limit 20
    """
    from rich.console import Console
    from rich.table import Table

    from monitor.store import letters, retries
    from monitor.times import iso

    with opened_store(read_config(config_path)) as store, store.read() as connection:
        rows = letters.list_letters(connection, reason=reason, limit=limit)
        again = retries.newest(connection, [(row.topic, row.partition, row.offset) for row in rows])
        counts = letters.count_by_reason(connection)
    table = Table("record", "time", "reason", "detail", "bytes", "read again")
    for row in rows:
        found = again.get((row.topic, row.partition, row.offset))
        size, state = "" if row.size is None else str(row.size), "" if found is None else found.state
        table.add_row(row.position, iso(row.time_us), row.reason, row.detail, size, state)
    console = Console()
    console.print(table)
    console.print("  ".join(f"{name}: {count}" for name, count in counts.items()) or "No dead letters.", markup=False)


@dlq.command()
@config_option
@click.argument("position")
def show(config_path: Path, position: str) -> None:
    """Write the original bytes of the record at POSITION (topic/partition/offset) to standard output.

    What a terminal could mistake for commands is escaped there; into a file or pipe the bytes go as they came.

    \b
    Example:
      driftline dlq show inference/3/18271 > record.bin
    """
    from monitor.store import letters

    try:
        topic, partition, offset = letters.parse_position(position)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="POSITION") from None
    with opened_store(read_config(config_path)) as store, store.read() as connection:
        found = letters.get_letter(connection, topic, partition, offset)
    if found is None:
        raise Failure(f"no dead letter at {position}; `driftline dlq list` shows those that are kept")
    click.echo(f"{found.reason}: {found.detail}", err=True)
    if found.original is None:
        click.echo("the record had no value (a tombstone), or it was forgotten", err=True)
    elif sys.stdout.isatty():
        click.echo(found.original.decode("utf-8", "backslashreplace").encode("unicode_escape").decode())
    else:
        sys.stdout.buffer.write(found.original)


@dlq.command()
@config_option
@click.option("--reason", help="Only this reason.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File; default: standard output.")
def export(config_path: Path, reason: str | None, out: Path | None) -> None:
    """Write dead letters with their original bytes as JSON lines (base64 where they are not UTF-8).

    \b
    Example:
      driftline dlq export --reason schema --out dead-letters.jsonl
    """
    import msgspec

    from monitor.store import letters

    with opened_store(read_config(config_path)) as store, store.read() as connection:
        target: IO[bytes] = out.open("wb") if out else sys.stdout.buffer
        try:
            for row in letters.stream_letters(connection, reason=reason):
                target.write(msgspec.json.encode({**_head(row), **_body(row.original)}) + b"\n")
        finally:
            if out:
                target.close()


@dlq.command()
@config_option
@click.argument("position", required=False)
@click.option("--reason", help="All of this reason (the oldest 1000) instead of the one at POSITION.")
@click.option("--by", default=user, show_default="who runs this", help="Whose name it goes under.")
def retry(config_path: Path, position: str | None, reason: str | None, by: str) -> None:
    """Have dead letters read again by whoever owns their partition, under the configuration that runs by then.

    What is an event by now is counted once, as a late one: within `kafka.allowed_lateness` of its partition's
    watermark, and without changing a verdict. What is none still says why. `driftline dlq list` and the page /health
    show what came of it.

    \b
    Example:
      driftline dlq retry inference/3/18271
      driftline dlq retry --reason oversize
    """
    from monitor.store import letters, retries

    if (position is None) == (reason is None):
        raise click.UsageError("give a POSITION or --reason, one of them")
    config = read_config(config_path)
    with opened_store(config) as store, store.write() as connection:
        topics = config.kafka.topics
        if position is None:
            wanted = retries.open_letters(connection, reason or "", topics)
        else:
            try:
                wanted = [letters.parse_position(position)]
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="POSITION") from None
            if letters.get_letter(connection, *wanted[0]) is None:
                raise Failure(f"no dead letter at {position}; `driftline dlq list` shows those that are kept")
        asked = retries.ask(connection, wanted, topics, by[:100], time.time_ns() // 1000)
    click.echo(
        f"{asked} to be read again by the service that ingests"
        + ("" if asked == len(wanted) else f"; {len(wanted) - asked} wait already, have no bytes, or are events by now")
    )


def _head(row: Any) -> dict[str, Any]:
    from monitor.times import iso

    return {"record": row.position, "time": iso(row.time_us), "reason": row.reason, "detail": row.detail}


def _body(original: bytes | None) -> dict[str, Any]:
    if original is None:
        return {"value": None}
    try:
        return {"value": original.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(original).decode()}
