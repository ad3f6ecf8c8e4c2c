"""`driftline report`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from monitor.cli.options import Failure, config_option, opened_store, read_config


def _moment(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    from monitor.times import parse_time

    if value is None:
        return None
    try:
        return parse_time(value)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@config_option
@click.option("--from", "from_us", callback=_moment, metavar="TIME", help="Begin, as 2026-01-12 (UTC).")
@click.option("--to", "to_us", callback=_moment, metavar="TIME", help="End. Default for both: the last whole week.")
@click.option(
    "--format",
    "formats",
    default="md",
    show_default=True,
    help="One of md, html and json, or several with commas; several need --out.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files, report-FROM-TO.FORMAT each; without it the report is printed.",
)
@click.option(
    "--fdr",
    "level",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the listed changes that may be expected to be false.",
)
def report(
    config_path: Path, from_us: int | None, to_us: int | None, formats: str, out: Path | None, level: float
) -> None:
    """What changed in a week, what it cost, what there is to decide, and the figures behind it.

    The week runs from Monday to Monday in the configured timezone, and is held against the one before. Any other
    stretch of full hours is held against as long a one before it.

    \b
    Example:
      driftline report
      driftline report --from 2026-01-12 --to 2026-01-19 --format html,md,json --out reports
    """
    from rich.console import Console
    from rich.progress import Progress

    from monitor.evaluate.changes import PeriodError
    from monitor.report import rendering
    from monitor.report.period import last_week
    from monitor.report.reading import read_report
    from monitor.times import HOUR_US

    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    if not wanted or set(wanted) - set(rendering.FORMATS):
        raise click.BadParameter(f"expected {', '.join(rendering.FORMATS)}, got {formats!r}", param_hint="--format")
    if len(wanted) > 1 and out is None:
        raise click.UsageError("several formats are files: name a folder with --out")
    if (from_us is None) != (to_us is None):
        raise click.UsageError("give both --from and --to, or neither for the last whole week")
    config = read_config(config_path)
    bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
    with opened_store(config) as store, bar:
        if from_us is None or to_us is None:
            from monitor.store import evaluation

            done = evaluation.standing(store).done_until_us
            if done is None:
                raise Failure("nothing is evaluated yet: there is nothing to report")
            from_us, to_us = last_week(done, config.timezone)
        begin, end = -(-from_us // HOUR_US) * HOUR_US, to_us // HOUR_US * HOUR_US
        if end <= begin:
            raise Failure("the period holds no full hour; give a later --to")
        task = bar.add_task("Judging", total=1.0)
        try:
            found = read_report(store, config, begin, end, level, lambda share: bar.update(task, completed=share))
        except PeriodError as error:
            raise Failure(str(error)) from None
    if out is None:
        click.echo(rendering.rendered(found, wanted[0]), nl=False)
        return
    for path in rendering.write(found, wanted, out):
        click.echo(f"wrote {path}")
