"""`driftline alerts ack`, `snooze`, `mark`, `accept`, `deploy` and `deploys`: what people say of anomalies."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.options import Failure, config_option, opened_store, read_config

if TYPE_CHECKING:
    from monitor.config.model import Config
    from monitor.store.anomalies import AnomalyRow
    from monitor.store.responses import Action, Standing


def user() -> str:
    """The name of whoever runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user that has no name
        return "unknown"


by_option = click.option("--by", default=user, show_default="who runs this", help="Whose name it goes under.")
note_option = click.option("--note", default="", help="Why, or what was done; shown with the anomaly.")
_id = click.argument("anomaly_id", metavar="ID")


@click.command()
@config_option
@_id
@click.option("--undo", is_flag=True, help="Nobody is at it any more.")
@by_option
@note_option
def ack(config_path: Path, anomaly_id: str, undo: bool, by: str, note: str) -> None:
    """Say that somebody is at it. The first characters of the id are enough.

    \b
    Example:
      driftline alerts ack 3f9a1c --note "looking at the scanner's update"
    """
    _respond(config_path, anomaly_id, "unacknowledge" if undo else "acknowledge", by, note)


@click.command()
@config_option
@_id
@click.option("--for", "length", metavar="DURATION", help="How long, as 4h or 2d; at most 30d.")
@click.option("--undo", is_flag=True, help="End the snooze.")
@by_option
@note_option
def snooze(config_path: Path, anomaly_id: str, length: str | None, undo: bool, by: str, note: str) -> None:
    """Put an anomaly aside for a while; lists show it last. What Alertmanager repeats is silenced there, not here.

    \b
    Example:
      driftline alerts snooze 3f9a1c --for 4h
    """
    if undo == (length is not None):
        raise click.UsageError("say how long with --for, or --undo to end the snooze")
    until = None if length is None else _now_us() + _duration(length)
    _respond(config_path, anomaly_id, "wake" if undo else "snooze", by, note, until)


@click.command()
@config_option
@_id
@click.option("--real", is_flag=True, help="Something had changed.")
@click.option("--false", "wrong", is_flag=True, help="Nothing had: a false alarm.")
@click.option("--undo", is_flag=True, help="Take the mark back.")
@by_option
@note_option
def mark(config_path: Path, anomaly_id: str, real: bool, wrong: bool, undo: bool, by: str, note: str) -> None:
    """Say whether an alarm was real. `driftline budget` shows how many were false beside what was promised.

    \b
    Example:
      driftline alerts mark 3f9a1c --false --note "a load test"
    """
    if real + wrong + undo != 1:
        raise click.UsageError("say either --real or --false, or --undo to take a mark back")
    _respond(config_path, anomaly_id, "real" if real else "false" if wrong else "unmark", by, note)


@click.command()
@config_option
@_id
@by_option
@note_option
def accept(config_path: Path, anomaly_id: str, by: str, note: str) -> None:
    """Accept what changed as the new normal.

    The anomaly ends at the next tick. The signals that changed are silent until there are as many days of the new
    normal as a reference is learned from (reference.learn); then the segment gets a new version of its reference. Its
    other signals are watched meanwhile. It cannot be taken back: activate the old reference instead
    (`driftline reference activate`).

    \b
    Example:
      driftline alerts accept 3f9a1c --note "the new scanner is here to stay"
    """
    _respond(config_path, anomaly_id, "accept", by, note)


@click.command()
@config_option
@click.option("--version", "version", required=True, help="What was deployed, as v2.4.1 or a commit.")
@click.option("--route", default="", help="Only this route changed.")
@click.option("--segment", default="", help="Only these segments changed; a pattern (`*`).")
@click.option("--mute", metavar="DURATION", help="Tell nobody of what opens there for so long, as 30m; at most 24h.")
@click.option("--id", "deploy_id", default="", help="Your own id; announcing it again changes nothing.")
@by_option
@note_option
def deploy(
    config_path: Path,
    version: str,
    route: str,
    segment: str,
    mute: str | None,
    deploy_id: str,
    by: str,
    note: str,
) -> None:
    """Announce a deploy: shown beside what changed, and as an annotation in Grafana.

    What opens while it is muted is recorded and shown, and told when the mute ends; what is over by then is told to
    nobody. That holds for sinks and for alert rules alike (alerts.path).

    \b
    Example:
      driftline alerts deploy --version v2.4.1 --route extract --mute 30m
    """
    from monitor.announcing import announced
    from monitor.store.deploys import Deploy, DeployFault, identity

    config, now_us = read_config(config_path), _now_us()
    found = Deploy(
        deploy_id=deploy_id or identity(version, route, segment, now_us),
        time_us=now_us,
        who=by,
        version=version,
        route=route,
        segment=segment,
        note=note,
        mute_until_us=None if mute is None else now_us + _duration(mute),
    )
    with opened_store(config) as store:
        try:
            new = announced(store, config, found, now_us)
        except DeployFault as error:
            raise Failure(str(error)) from None
    click.echo(f"announced {version} ({found.deploy_id})" if new else f"{found.deploy_id} was announced before")


@click.command()
@config_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most deploys shown.")
def deploys(config_path: Path, limit: int) -> None:
    """Deploys that were announced, newest first.

    \b
    Example:
      driftline alerts deploys
    """
    from monitor.store.deploys import list_deploys
    from monitor.times import iso

    with opened_store(read_config(config_path)) as store, store.read() as connection:
        found = list_deploys(connection, limit=limit)
    for one in found:
        where = ", ".join(part for part in (one.route, one.segment) if part) or "all routes"
        muted = "" if one.mute_until_us is None else f", muted until {iso(one.mute_until_us)}"
        click.echo(f"{iso(one.time_us)}  {one.version}  {where}, by {one.who}{muted}")
        if one.note:
            click.echo(f"            {one.note}")
    if not found:
        click.echo("no deploys; announce one with `driftline alerts deploy --version VERSION`")


COMMANDS = (ack, snooze, mark, accept, deploy, deploys)


def said(standing: Standing, now_us: int) -> list[str]:
    """What stands of an anomaly, a phrase each."""
    from monitor.times import iso

    found = []
    if standing.accepted is not None:
        found.append(f"accepted as the new normal by {standing.accepted.who}")
    if standing.marked is not None:
        found.append(f"marked {standing.marked.action} by {standing.marked.who}")
    if standing.acknowledged is not None:
        found.append(f"acknowledged by {standing.acknowledged.who}")
    if standing.snoozed is not None and standing.snoozed_at(now_us):
        found.append(f"snoozed until {iso(standing.snoozed.until_us or 0)} by {standing.snoozed.who}")
    return found


def only(found: list[AnomalyRow], prefix: str) -> AnomalyRow:
    """The one anomaly whose id begins with ``prefix``. Raises Failure."""
    if not found:
        raise Failure(f"no anomaly's id begins with {prefix!r}; `driftline alerts list` shows them")
    exact = [row for row in found if row.anomaly_id == prefix]
    if len(found) > 1 and not exact:
        raise Failure(f"several anomalies' ids begin with {prefix!r}; write more characters")
    return (exact or found)[0]


def _respond(
    config_path: Path, anomaly_id: str, action: Action, by: str, note: str, until_us: int | None = None
) -> None:
    from monitor.events.redaction import Redactor
    from monitor.store import anomalies
    from monitor.store.responses import ResponseFault, respond

    config = read_config(config_path)
    with opened_store(config) as store:
        with store.read() as connection:
            row = only(anomalies.find_anomalies(connection, anomaly_id), anomaly_id)
        try:
            with store.write() as connection:
                standing, new = respond(
                    connection,
                    row.anomaly_id,
                    action,
                    by,
                    _now_us(),
                    until_us=until_us,
                    note=_redacted(config, Redactor, note),
                )
        except ResponseFault as error:
            raise Failure(str(error)) from None
    phrases = said(standing, _now_us())
    state = "; ".join(phrases) if phrases else "nothing stands of it"
    click.echo(f"{row.anomaly_id[:10]}: {state}" + ("" if new else " (as before)"))


def _redacted(config: Config, redactor: type, note: str) -> str:
    return str(redactor(config.privacy.redact).text(note)) if note else ""


def _duration(text: str) -> int:
    from monitor.config.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _now_us() -> int:
    return time.time_ns() // 1000
