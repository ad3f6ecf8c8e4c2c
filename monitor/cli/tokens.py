"""`driftline token`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from monitor.cli.options import Failure, config_option, opened_store, read_config


@click.group()
def token() -> None:
    """Create, list and revoke access tokens.

    \b
    Example:
      driftline token create --role viewer --note "Ada's laptop"
      driftline token list
      driftline token revoke 3f9a1c
    """


@token.command()
@config_option
@click.option(
    "--role",
    type=click.Choice(("viewer", "reviewer", "admin", "metrics")),
    required=True,
    help="viewer: pages and API; reviewer: also the review queue; admin: also dead letters; metrics: /metrics only.",
)
@click.option("--note", default="", help="What it is for; shown by `driftline token list`.")
@click.option("--expires", metavar="DURATION", help="Stops working after this long, as 90d. Default: never.")
@click.option("--quiet", is_flag=True, help="Print the token alone, for scripts.")
def create(config_path: Path, role: str, note: str, expires: str | None, quiet: bool) -> None:
    """Make a token and print it; it is shown this once, the store keeps its hash.

    Whoever has it signs in with it at /login, to review above all: labels go under the note, so give each reviewer a
    token of role reviewer with a note of his own. A token of role metrics signs in nowhere.

    \b
    Example:
      driftline token create --role reviewer --note Ada
      driftline token create --role metrics --note prometheus --quiet > metrics-token
    """
    from monitor.config.units import parse_duration
    from monitor.store import tokens

    now_us = time.time_ns() // 1000
    try:
        expires_us = None if expires is None else now_us + parse_duration(expires)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from None
    with opened_store(read_config(config_path), migrate=True) as store:
        made = tokens.create(store, role, note=note, now_us=now_us, expires_us=expires_us)
    if quiet:
        click.echo(made.secret)
        return
    click.echo(f"{role} token {made.token_id}, shown this once:\n{made.secret}")
    click.echo("Send it as `Authorization: Bearer TOKEN`.", err=True)
    if role != "metrics":
        where = "the review page" if role in ("reviewer", "admin") else "the pages"
        click.echo(f"In a browser, sign in with it at /login to reach {where}.", err=True)


@token.command("list")
@config_option
def list_tokens(config_path: Path) -> None:
    """List tokens: id, role, note, when made, when they end. Never the secret.

    \b
    Example:
      driftline token list
    """
    from rich.console import Console
    from rich.table import Table

    from monitor.store import tokens
    from monitor.times import iso

    with opened_store(read_config(config_path)) as store:
        found = tokens.list_tokens(store)
    table = Table("id", "role", "note", "made", "expires", "revoked")
    for row in found:
        times = (row.created_us, row.expires_us, row.revoked_us)
        table.add_row(row.token_id, row.role, row.note, *("" if us is None else iso(us) for us in times))
    Console().print(table)


@token.command()
@config_option
@click.argument("token_id")
def revoke(config_path: Path, token_id: str) -> None:
    """Make the token with this id stop working, within a few seconds.

    \b
    Example:
      driftline token revoke 3f9a1c
    """
    from monitor.store import tokens

    with opened_store(read_config(config_path)) as store:
        if not tokens.revoke(store, token_id, now_us=time.time_ns() // 1000):
            raise Failure(f"no token that still works has the id {token_id!r}; `driftline token list` shows them")
    click.echo(f"revoked {token_id}")
