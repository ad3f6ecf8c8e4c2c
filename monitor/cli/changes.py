"""`driftline changes`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from monitor.cli.options import Failure, config_option, opened_store, read_config


def _moment(context: click.Context, parameter: click.Parameter, value: str) -> int:
    from monitor.times import parse_time

    try:
        return parse_time(value)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@config_option
@click.option("--from", "from_us", required=True, callback=_moment, metavar="TIME", help="Begin, as 2026-01-12 (UTC).")
@click.option("--to", "to_us", required=True, callback=_moment, metavar="TIME", help="End, as 2026-01-19T08:00+01:00.")
@click.option(
    "--fdr",
    "level",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of those listed that may be expected to be false.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def changes(config_path: Path, from_us: int, to_us: int, level: float, as_json: bool) -> None:
    """List what changed in a past period, at a false discovery rate.

    The hours of the period are judged again, by the references that were known when it began, with evidence of their
    own; nothing is written. Of those listed a share of at most --fdr is expected to be false. The list may hold less
    than was alarmed, where the budget allows more false alarms, or more.

    \b
    Example:
      driftline changes --from 2026-01-12 --to 2026-01-19
      driftline changes --from 2026-01-12 --to 2026-01-19 --fdr 0.05 --json | jq '.changes[].sentence'
    """
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from monitor.evaluate.changes import PeriodError
    from monitor.evaluate.changes import changes as judged

    config = read_config(config_path)
    bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
    with opened_store(config) as store, bar:
        task = bar.add_task("Judging", total=1.0)
        try:
            found = judged(store, config, from_us, to_us, level, lambda share: bar.update(task, completed=share))
        except PeriodError as error:
            raise Failure(str(error)) from None
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    click.echo(
        f"{len(found.changes)} of {found.streams} streams changed between {found.since} and {found.until}, "
        f"at a false discovery rate of {100 * found.false_discovery_rate:g} %."
    )
    for one in found.changes:
        until = "still there at the end" if one.until is None else f"until {one.until}"
        alarm = "no alarm" if one.anomaly is None else f"anomaly {one.anomaly[:8]}"
        click.echo(f"  {one.sentence} ({one.signal}; {until}; e-value {one.e_value:.3g}; {alarm})")
    if found.without_reference:
        click.echo(f"Not judged for want of a reference: {', '.join(found.without_reference)}.")
    for low, high in found.gaps:
        click.echo(f"Not judged, hours are no longer kept: {low} to {high}.")
