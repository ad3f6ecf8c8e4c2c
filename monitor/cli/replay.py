"""`driftline replay`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from monitor.cli.options import Failure, config_option, first_line, read_config


@click.command()
@config_option
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--topic", help="Topic to send to. Default: the first of kafka.topics.")
@click.option("--bootstrap", help="Brokers to send to. Default: kafka.bootstrap.")
@click.option(
    "--pace", default="max", show_default=True, help="real: as it happened; a factor, as 60x; max: as fast as possible."
)
@click.option(
    "--shift",
    default="none",
    show_default=True,
    help="none: times stay; now: the last event is now; a date or time: the first event is then.",
)
@click.option("--create", "partitions", type=click.IntRange(1, 10_000), help="Make the topic with so many partitions.")
def replay(
    config_path: Path,
    files: tuple[Path, ...],
    topic: str | None,
    bootstrap: str | None,
    pace: str,
    shift: str,
    partitions: int | None,
) -> None:
    """Send FILES of native events (JSON lines, or Parquet) to a Kafka topic, in file order.

    \b
    Example:
      driftline replay events.jsonl
      driftline replay week.parquet --pace 60x --shift now
    """
    from monitor.progress import counting
    from monitor.replay import ReplayError, parse_pace, parse_shift, read_events, send_events, time_range
    from monitor.replay_target import TargetError, target

    kafka = read_config(config_path).kafka
    if bootstrap:
        kafka = kafka.model_copy(update={"bootstrap": bootstrap})
    name = topic or kafka.topics[0]
    try:
        factor = parse_pace(pace)
        first_us, last_us, count = time_range(files)
        shift_us = parse_shift(shift, first_us, last_us, time.time_ns() // 1000)
        with target(kafka, name, partitions) as producer, counting(f"to {name}", count) as bar:
            sent = send_events(
                read_events(files), producer, name, shift_us=shift_us, pace=factor, progress=lambda s: bar(s.events)
            )
    except (ReplayError, TargetError) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(first_line(error)) from None
    click.echo(f"{sent.events} events, {sent.bytes} bytes, sent to {name}")
