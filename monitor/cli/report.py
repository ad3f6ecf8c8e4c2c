"""`driftline report`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.alert_responses import user
from monitor.cli.options import Failure, config_option, opened_store, read_config

if TYPE_CHECKING:
    from monitor.config.model import Config
    from monitor.store.engine import Store


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
@click.option("--issue", is_flag=True, help="Archive it; where it says something else than before, as a revision.")
@click.option("--send", is_flag=True, help="With --issue: send it to the report's sinks, as the schedule would.")
@click.option("--as-of", "as_of_us", callback=_moment, metavar="TIME", help="What was issued by then, byte for byte.")
@click.option("--issued", "list_issued", is_flag=True, help="List what was issued, and do nothing else.")
@click.option("--schedule", "tell_schedule", is_flag=True, help="Say when it is next issued, and who gets it.")
@click.option("--test", "try_sinks", is_flag=True, help="Send a message marked as a test through each of its sinks.")
@click.option("--by", default=user, show_default="who runs this", help="Whose name it is issued under.")
def report(
    config_path: Path,
    from_us: int | None,
    to_us: int | None,
    formats: str,
    out: Path | None,
    level: float,
    issue: bool,
    send: bool,
    as_of_us: int | None,
    list_issued: bool,
    tell_schedule: bool,
    try_sinks: bool,
    by: str,
) -> None:
    """What changed in a week, what it cost, what there is to decide, and the figures behind it.

    The week runs from Monday to Monday in the configured timezone, and is held against the one before. Any other
    stretch of full hours is held against as long a one before it.

    --test says how each sink answered and in what time, and archives nothing; exit code 1 if one failed.

    \b
    Example:
      driftline report
      driftline report --from 2026-01-12 --to 2026-01-19 --format html,md,json --out reports
      driftline report --issue --format html --out reports
      driftline report --from 2026-01-12 --to 2026-01-19 --as-of 2026-01-20
      driftline report --schedule
      driftline report --test
    """
    from rich.console import Console
    from rich.progress import Progress

    from monitor.evaluate.changes import PeriodError
    from monitor.report import rendering
    from monitor.report.period import last_week
    from monitor.times import HOUR_US

    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    if not wanted or set(wanted) - set(rendering.FORMATS):
        raise click.BadParameter(f"expected {', '.join(rendering.FORMATS)}, got {formats!r}", param_hint="--format")
    if len(wanted) > 1 and out is None:
        raise click.UsageError("several formats are files: name a folder with --out")
    if (from_us is None) != (to_us is None):
        raise click.UsageError("give both --from and --to, or neither for the last whole week")
    if send and not issue:
        raise click.UsageError("only an issued report is sent: give --issue as well")
    if try_sinks and (issue or as_of_us is not None):
        raise click.UsageError("--test sends no report: give it without --issue and --as-of")
    if issue and as_of_us is not None:
        raise click.UsageError("--issue makes a new revision, --as-of shows an old one: give one of them")
    config = read_config(config_path)
    if list_issued:
        _list(config)
        return
    if tell_schedule:
        _tell_schedule(config)
        return
    if (send or try_sinks) and not _addressees(config):
        raise Failure("there is nobody to send it to; name report.sinks or report.folder in the configuration")
    if try_sinks:
        _try_sinks(config)
        return
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
            pages = _pages(
                store, config, begin, end, level, wanted, issue, send, as_of_us, by,
                lambda share: bar.update(task, completed=share),
            )  # fmt: skip
        except PeriodError as error:
            raise Failure(str(error)) from None
    if out is None:
        click.echo(pages[wanted[0]], nl=False)
        return
    try:
        paths = rendering.written(pages, begin, end, config.timezone, out)
    except OSError as error:
        kept = "; it is archived, and --as-of with a later time writes it as it is" if issue else ""
        raise Failure(f"cannot write into {out}: {error.strerror or error}{kept}") from None
    for path in paths:
        click.echo(f"wrote {path}")


def _pages(
    store: Store,
    config: Config,
    begin: int,
    end: int,
    level: float,
    wanted: Sequence[str],
    issue: bool,
    send: bool,
    as_of_us: int | None,
    by: str,
    told: Callable[[float], None],
) -> dict[str, str]:
    """The report in the wanted forms: as it was issued, as it is issued now, or as it reads now."""
    from monitor.report import issuing, rendering
    from monitor.report.reading import read_report
    from monitor.store import reports

    if not issue and as_of_us is None:
        found = issuing.compared(store, read_report(store, config, begin, end, level, told), (begin, end))
        return {form: rendering.rendered(found, form) for form in wanted}
    if issue:
        stands, new = issuing.issue(store, config, begin, end, by, time.time_ns() // 1000, level, told, send=send)
        state = "issued" if new else "says the same as before, and is not issued again:"
        click.echo(f"{state} revision {stands.revision}", err=True)
        if send:
            click.echo(f"the service sends it to {', '.join(_addressees(config))}, unless it did before", err=True)
    with store.read() as connection:
        last = reports.newest(connection, begin, end, as_of_us)
        if last is None:
            raise Failure("no report of this period was issued by then; `driftline report --issued` lists them")
        return {form: reports.page(connection, last, form) for form in wanted}


def _addressees(config: Config) -> list[str]:
    from monitor.report import sending

    return sending.addressees(config)


def _try_sinks(config: Config) -> None:
    """A test to everybody who gets reports: what became of it in a table. Reads and writes no store."""
    import secrets

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from alerts.sinks import Sent
    from monitor.alerting import build_sinks, describe, try_out, verdict
    from monitor.report import sending

    now_us = time.time_ns() // 1000
    trial = sending.trial(config, f"test-of-reports-{secrets.token_hex(8)}", now_us)
    sinks, where = build_sinks(config), describe(config)
    table, failed = Table(box=None), False
    for column in ("sink", "to", "outcome", "seconds"):
        table.add_column(column, overflow="fold", justify="right" if column == "seconds" else "left")
    for name in sending.addressees(config):
        outcome, seconds = try_out(sinks[name], trial, now_us)
        failed |= not isinstance(outcome, Sent)
        table.add_row(Text(name), Text(where[name]), Text(verdict(outcome)), f"{seconds:.2f}")
    Console().print(table)
    if failed:
        raise click.exceptions.Exit(1)


def _tell_schedule(config: Config) -> None:
    from monitor.report import schedule, scheduled
    from monitor.store import reports

    wanted, zone = config.report.schedule, config.timezone
    if wanted is None:
        click.echo("no schedule: write report.schedule into the configuration, or issue with --issue")
    else:
        now_us = time.time_ns() // 1000
        with opened_store(config) as store, store.read() as connection:
            done_us = scheduled.done_until(connection)
        due_us = schedule.last_due(wanted, now_us, zone)
        if done_us is not None and done_us < due_us:
            click.echo(
                f"due since {_local(due_us, zone)}, and not issued yet: by the leader, once the week is evaluated"
            )
        next_us = schedule.next_due(wanted, now_us, zone)
        click.echo(f"next: {_local(next_us, zone)} ({zone}), of the last week, Monday to Monday")
        if done_us is None:
            click.echo("no process has seen this schedule yet; it begins when `driftline run` does")
    with opened_store(config) as store, store.read() as connection:
        last = next((one for one in reports.list_issues(connection, 100) if one.who == ""), None)
    if last is not None:
        click.echo(f"last: {_local(last.issued_us, zone)}, revision {last.revision}")
    click.echo(f"sent to: {', '.join(_addressees(config)) or 'nobody; name report.sinks or report.folder'}")


def _local(us: int, zone: str) -> str:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    return f"{datetime.fromtimestamp(us / 1e6, ZoneInfo(zone)):%A %Y-%m-%d %H:%M}"


def _list(config: Config) -> None:
    from monitor.store import reports
    from monitor.times import iso

    with opened_store(config) as store, store.read() as connection:
        found = reports.list_issues(connection, limit=None)
    for one in found:
        who = f" by {one.who}" if one.who else ""
        click.echo(f"{iso(one.from_us)} to {iso(one.to_us)}  revision {one.revision}, issued {iso(one.issued_us)}{who}")
    if not found:
        click.echo("nothing was issued; `driftline report --issue` archives the report of the last whole week")
