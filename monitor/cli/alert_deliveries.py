"""`driftline alerts resend` and `dismiss`: what is done about deliveries that did not get through."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.alert_responses import by_option, note_option
from monitor.cli.options import Failure, config_option, opened_store, read_config

if TYPE_CHECKING:
    from monitor.config.model import Config
    from monitor.store.decision import Decision
    from monitor.store.engine import Store
    from monitor.store.outbox import OutboxRow

    Change = Callable[[Store, Config, tuple[str, ...], str | None, Decision], list[OutboxRow]]

_ids = click.argument("ids", metavar="[ID]...", nargs=-1)
_sink = click.option("--sink", metavar="NAME", help="Everything of this sink; with IDs only what is theirs at it.")


@click.command()
@config_option
@_ids
@_sink
@by_option
@note_option
def resend(config_path: Path, ids: tuple[str, ...], sink: str | None, by: str, note: str) -> None:
    """Have deliveries sent again that a target refused, once the target is mended. ID: the first characters of an
    anomaly's id, or of what `driftline alerts list` shows.

    The running service sends them. Whoever was told is not told again; mail goes to the recipients who were refused.

    \b
    Example:
      driftline alerts resend 3f9a1c
      driftline alerts resend --sink chat --note "the channel is back"
    """
    from monitor.undelivered import resend as change

    rows = _decided(config_path, ids, sink, by, note, change)
    for row in rows:
        click.echo(f"{_name(row)}: {_was(row)}; to be sent again")
    _sum_up(rows, "to be sent again", "by the running service, within seconds unless the target asked for a pause")
    click.echo("how that went: `driftline alerts list`")


@click.command()
@config_option
@_ids
@_sink
@click.option("--undo", is_flag=True, help="Put it back as it was.")
@by_option
@note_option
def dismiss(config_path: Path, ids: tuple[str, ...], sink: str | None, undo: bool, by: str, note: str) -> None:
    """Put aside deliveries that a target refused, or that are left for a sink which is configured no more. ID: the
    first characters of an anomaly's id, or of what `driftline alerts list` shows.

    They are not sent and hold no alert any more. What still waits at a configured sink cannot be put aside. A newer
    state of the anomaly is told again.

    \b
    Example:
      driftline alerts dismiss 3f9a1c --note "told the team in person"
      driftline alerts dismiss --sink old-chat
      driftline alerts dismiss 3f9a1c --undo
    """
    from monitor.undelivered import dismiss as put_aside
    from monitor.undelivered import restore

    rows = _decided(config_path, ids, sink, by, note, restore if undo else put_aside)
    if undo:
        for row in rows:
            click.echo(f"{_name(row)}: not dismissed any more")
        _sum_up(rows, "put back", "as it was before" if len(rows) == 1 else "as they were before")
        return
    for row in rows:
        click.echo(f"{_name(row)}: {_was(row)}; dismissed")
    _sum_up(rows, "dismissed", "nobody is told by " + ("it" if len(rows) == 1 else "them"))
    click.echo("put back with `driftline alerts dismiss --undo`, sent after all with `driftline alerts resend`")


COMMANDS = (resend, dismiss)


def _decided(
    config_path: Path, ids: tuple[str, ...], sink: str | None, by: str, note: str, change: Change
) -> list[OutboxRow]:
    from monitor.store.decision import Decision
    from monitor.undelivered import UndeliveredFault

    if not ids and sink is None:
        raise click.UsageError("say which: IDs, or --sink NAME for everything of a sink")
    config = read_config(config_path)
    with opened_store(config) as store:
        try:
            return change(store, config, ids, sink, Decision(by, time.time_ns() // 1000, note))
        except UndeliveredFault as error:
            raise Failure(str(error)) from None


def _name(row: OutboxRow) -> str:
    key = row.key[:10] if row.kind == "anomaly" else row.key
    return f"{row.sink}: {row.kind.replace('_', ' ')} {key}"


def _was(row: OutboxRow) -> str:
    from monitor.undelivered import WORDS

    return f"was {WORDS[row.state]}" + (f" ({row.error})" if row.error else "")


def _sum_up(rows: list[OutboxRow], what: str, how: str) -> None:
    from monitor.undelivered import MOST

    count = "1 delivery" if len(rows) == 1 else f"{len(rows)} deliveries"
    click.echo(f"{count} {what}: {how}")
    if len(rows) == MOST:
        click.echo(f"these were the oldest {MOST}; run it again for the rest")
