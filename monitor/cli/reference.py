"""`driftline reference`: what inputs and rates are compared with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.alert_responses import user
from monitor.cli.options import Failure, config_option, opened_store, read_config

if TYPE_CHECKING:
    from monitor.config.model import Config
    from monitor.store.decision import Decision


@click.group()
def reference() -> None:
    """Build, compare and activate references.

    A reference is what a segment was over a stretch of time: limits of every rate, thresholds of every tail, and a
    sample of its embeddings. It is never changed; a new one is a new version.

    \b
    Example:
      driftline reference build --from 2026-01-05 --to 2026-01-19
      driftline reference list
      driftline reference approve 3f9c
      driftline reference activate 3f9c
    """


@contextmanager
def _told() -> Iterator[None]:
    from monitor.evaluate.references import ReferenceFormatError
    from monitor.store.references import ReferenceFault

    try:
        yield
    except (ReferenceFault, ReferenceFormatError) as error:
        raise Failure(str(error)) from None


def _moment(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """A date or a time with its zone (UTC without one), as µs."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"expected a date or a time, got {value!r}; write for example 2026-01-05 or 2026-01-05T08:00+01:00"
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return round(found.timestamp() * 1e6)


_by = click.option("--by", default=user, show_default="who runs this", help="Whose name it goes under.")
_note = click.option("--note", default="", help="Why; shown with the reference.")


def _decision(config: Config, by: str, note: str) -> Decision:
    from monitor.events.redaction import Redactor
    from monitor.store.decision import Decision

    return Decision(by, int(time.time() * 1e6), Redactor(config.privacy.redact).text(note) if note else "")


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


@reference.command()
@config_option
@click.option("--from", "from_us", required=True, callback=_moment, metavar="TIME", help="Begin, as 2026-01-05 (UTC).")
@click.option("--to", "to_us", required=True, callback=_moment, metavar="TIME", help="End, as 2026-01-19T00:00+01:00.")
@click.option(
    "--segment",
    help="Only this segment (a slice is written slice:NAME). Default: every one that the stretch has data of.",
)
def build(config_path: Path, from_us: int, to_us: int, segment: str | None) -> None:
    """Make a draft per segment and slice from a stretch of history.

    \b
    Example:
      driftline reference build --from 2026-01-05 --to 2026-01-19
      driftline reference build --from 2026-01-05 --to 2026-01-19 --segment invoice-extract/acme
    """
    from monitor.evaluate import building

    config = read_config(config_path)
    with opened_store(config) as store, _told():
        for made in building.build(store, config, from_us, to_us, segment):
            found = made.reference
            click.echo(
                f"{made.reference_id}  {found.segment}: {found.sessions:,} sessions, {len(found.streams)} signals, "
                f"{len(found.rows)} embedded"
            )


@reference.command("list")
@config_option
@click.option("--segment", help="Only this segment.")
def list_(config_path: Path, segment: str | None) -> None:
    """List references by segment and version.

    \b
    Example:
      driftline reference list
      driftline reference list --segment invoice-extract/acme
    """
    from monitor.store import references

    config = read_config(config_path)
    with opened_store(config) as store:
        rows = references.list_references(store, segment)
    if not rows:
        click.echo("No references yet: `driftline run` learns them from the first days, or build one.")
        return
    width = max(len(row.segment) for row in rows)
    click.echo(
        f"{'id':8}  {'segment':{width}}  version  state     origin   from              to                embedded"
    )
    for row in rows:
        click.echo(
            f"{row.reference_id[:8]}  {row.segment:{width}}  {row.version:7}  {row.state:8}  {row.origin:7}  "
            f"{_time(row.from_us)}  {_time(row.to_us)}  {row.rows:8}"
        )


@reference.command()
@config_option
@click.argument("identity", metavar="ID")
def show(config_path: Path, identity: str) -> None:
    """Say what a reference holds.

    \b
    Example:
      driftline reference show 3f9c
    """
    from detectors.rates import RateReference
    from monitor.evaluate.references import Reference
    from monitor.evaluate.sentences import percent
    from monitor.store import references

    config = read_config(config_path)
    with opened_store(config) as store, _told():
        row = references.get(store, identity)
        found = Reference.from_content(row.content)
        with store.read() as connection:
            decided = references.decisions(connection, [row.reference_id]).get(row.reference_id, [])
    click.echo(f"reference  {row.reference_id} (version {row.version}, {row.state}, {row.origin})")
    click.echo(f"segment    {row.segment}")
    click.echo(f"stretch    {_time(row.from_us)} to {_time(row.to_us)} UTC, {found.sessions:,} sessions")
    click.echo(f"encoder    {row.encoder or 'none: no embedded samples'} ({row.rows} rows)")
    click.echo(f"digest     sha256 {row.digest}")
    for one in decided:
        note = f": {one.note}" if one.note else ""
        click.echo(f"{one.action + 'd':10} {_time(one.time_us)} UTC by {one.who}{note}")
    for signal, stream in sorted(found.streams.items()):
        text = "" if stream.enough else "not enough data"
        if isinstance(stream.fit, RateReference) and stream.enough:
            text = f"{percent(stream.fit.rate)}, no change up to {percent(stream.fit.p_plus)}"
        click.echo(f"  {signal:32} {text}".rstrip())


@reference.command()
@config_option
@click.argument("identity", metavar="ID")
@_by
@_note
def approve(config_path: Path, identity: str, by: str, note: str) -> None:
    """Approve a draft, so that it may be activated.

    \b
    Example:
      driftline reference approve 3f9c --note "the week after the new scanner"
    """
    from monitor.store import references

    config = read_config(config_path)
    with opened_store(config) as store, _told():
        row = references.approve(store, identity, _decision(config, by, note))
    click.echo(f"{row.reference_id} of {row.segment} is approved; `driftline reference activate` puts it to use")


@reference.command()
@config_option
@click.argument("identity", metavar="ID")
@_by
@_note
def activate(config_path: Path, identity: str, by: str, note: str) -> None:
    """Compare with this reference from the next tick on; its segment's streams start from zero evidence.

    \b
    Example:
      driftline reference activate 3f9c
    """
    from monitor.store import evaluation, references

    config = read_config(config_path)
    with opened_store(config) as store, _told():
        segment = references.get(store, identity).segment
        encoder = evaluation.latest_encoder(store, segment) or None
        row = references.activate(store, identity, encoder=encoder, by=_decision(config, by, note))
    click.echo(f"{row.reference_id} of {row.segment} is active")


@reference.command()
@config_option
@click.argument("before", metavar="ID")
@click.argument("after", metavar="ID")
def diff(config_path: Path, before: str, after: str) -> None:
    """Say in words what changed from one reference to another.

    \b
    Example:
      driftline reference diff 3f9c 81aa
    """
    from monitor.evaluate import building
    from monitor.store import references

    config = read_config(config_path)
    with opened_store(config) as store, _told():
        lines = building.differences(
            references.get(store, before), references.get(store, after), config.prices.currency
        )
    for line in lines or ["Nothing changed by a tenth or more."]:
        click.echo(line)
