"""`driftline forget`."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.options import config_option, opened_store, read_config


@click.command()
@config_option
@click.option("--user", metavar="USER_ID", help="The user id as events carry it.")
@click.option("--event", metavar="EVENT_ID", help="The event id.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(config_path: Path, user: str | None, event: str | None, yes: bool) -> None:
    """Erase samples, content, vectors, labels and dead letters of a user or an event, and refuse to store them again.

    Summaries stay: they hold sums, and of a user only a keyed hash. What the input topic still holds is the topic's
    own retention to erase; when it is read again, nothing of it is stored about this user or event.

    \b
    Example:
      driftline forget --user u-381
      driftline forget --event 01JCZ3K8W2M0Q6V1 --yes
    """
    from monitor.store import forget as forgetting

    if (user is None) == (event is None):
        raise click.UsageError("give one of --user and --event")
    config = read_config(config_path)
    what = f"user {user!r}" if user is not None else f"event {event!r}"
    if not yes:
        click.confirm(f"Erase everything stored about {what}? This cannot be undone", abort=True)
    with opened_store(config) as store:
        if user is not None:
            counts = forgetting.forget_user(store, config, user)
        else:
            counts = forgetting.forget_event(store, str(event))
    for name, count in counts.items():
        click.echo(f"{name}: {count}")
