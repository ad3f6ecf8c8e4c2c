"""`driftline alerts`."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli import alert_deliveries, alert_responses
from monitor.cli.alert_responses import only, said
from monitor.cli.options import Failure, config_option, opened_store, read_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerts.anomaly import Anomaly
    from monitor.config.model import Config
    from monitor.store.anomalies import AnomalyRow
    from monitor.store.outbox import OutboxRow


@click.group()
def alerts() -> None:
    """List anomalies, respond to one, announce deploys, see to deliveries, or send a test through every sink.

    \b
    Example:
      driftline alerts list --state open
      driftline alerts show 3f9a1c
      driftline alerts ack 3f9a1c
      driftline alerts mark 3f9a1c --false
      driftline alerts test
    """


for _command in (*alert_responses.COMMANDS, *alert_deliveries.COMMANDS):
    alerts.add_command(_command)


@alerts.command("list")
@config_option
@click.option("--state", type=click.Choice(("open", "resolved")), help="Only anomalies in this state.")
@click.option("--segment", help="Only this segment (a slice is written slice:NAME).")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most anomalies shown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def list_(config_path: Path, state: str | None, segment: str | None, limit: int, as_json: bool) -> None:
    """Anomalies, newest first, and deliveries that did not get through.

    \b
    Example:
      driftline alerts list --state open
    """
    from alerts.rendering import summary
    from monitor.store import anomalies, outbox
    from monitor.store.responses import NOTHING, standing
    from monitor.times import iso

    now_us = time.time_ns() // 1000
    config = read_config(config_path)
    with opened_store(config) as store, store.read() as conn:
        rows = anomalies.list_anomalies(conn, state=state, segment=segment, limit=limit)
        stuck = outbox.undelivered(conn, limit=limit)
        stands = standing(conn, [row.anomaly_id for row in rows])
    if as_json:
        for row in rows:
            click.echo(json.dumps(row.document, sort_keys=True, ensure_ascii=False))
        return
    # What was put aside comes last.
    rows.sort(key=lambda row: stands.get(row.anomaly_id, NOTHING).snoozed_at(now_us))
    for row in rows:
        notes = f"{row.state}, historic" if row.historic else row.state
        notes = ", ".join([notes, *said(stands.get(row.anomaly_id, NOTHING), now_us)])
        click.echo(f"{row.anomaly_id[:10]}  {iso(row.opened_us)}  {row.severity:<6}  {notes}")
        click.echo(f"            {summary(row.document)}")
    if not rows:
        click.echo("no anomalies")
    for waiting in stuck:
        click.echo(f"{waiting.sink}: {waiting.kind} {waiting.key[:24]} {_delivery(waiting)}")
    for hint in _hints(config, stuck):
        click.echo(hint)


@alerts.command()
@config_option
@click.argument("anomaly_id")
@click.option("--json", "as_json", is_flag=True, help="The document alone (alerts/anomaly.schema.json), for scripts.")
def show(config_path: Path, anomaly_id: str, as_json: bool) -> None:
    """One anomaly whole, with what is behind it and how its deliveries went. The first characters of its id are enough.

    \b
    Example:
      driftline alerts show 3f9a1c
      driftline alerts show 3f9a1c --json | jq .explanation.attributes
    """
    from monitor.alerting import links
    from monitor.store import anomalies, outbox
    from monitor.store import deliveries as decisions
    from monitor.store.responses import history
    from monitor.times import iso

    config = read_config(config_path)
    with opened_store(config) as store, store.read() as conn:
        found = anomalies.find_anomalies(conn, anomaly_id)
        row = only(found, anomaly_id)
        deliveries = outbox.deliveries(conn, row.anomaly_id)
        responses = history(conn, row.anomaly_id)
        decided = decisions.history(conn, row.anomaly_id)
    if as_json:
        click.echo(json.dumps(row.document, sort_keys=True, ensure_ascii=False))
        return
    click.echo(_story(row, links(config).of(row.document)))
    for delivery in deliveries:
        click.echo(f"  {delivery.sink}: {_delivery(delivery)}")
    if not deliveries:
        click.echo("  told to nobody" + (" (historic)" if row.historic else ""))
    if row.muted_until_us is not None:
        click.echo(f"  opened in a deploy's mute: nobody is told before {iso(row.muted_until_us)}")
    for decision in decided:
        note = f": {decision.note}" if decision.note else ""
        click.echo(f"  {iso(decision.time_us)}  {_DECIDED[decision.action]} {decision.sink} by {decision.who}{note}")
    for hint in _hints(config, deliveries):
        click.echo(f"  {hint}")
    if responses:
        click.echo("\nResponses:")
    for one in responses:
        until = "" if one.until_us is None else f" until {iso(one.until_us)}"
        note = f": {one.note}" if one.note else ""
        click.echo(f"  {iso(one.time_us)}  {one.action}{until} by {one.who}{note}")


@alerts.command()
@config_option
@click.option("--sink", "names", multiple=True, help="Only this sink; may be given several times.")
def test(config_path: Path, names: tuple[str, ...]) -> None:
    """Send an anomaly marked as a test through every sink, and say how each answered and in what time. Exit code 1 if
    one failed.

    \b
    Example:
      driftline alerts test --sink oncall
    """
    from alerts.anomaly import to_document
    from alerts.sinks import Delivery, Sent
    from monitor.alerting import build_sinks, describe, try_out, verdict

    config = read_config(config_path)
    sinks = {name: sink for name, sink in build_sinks(config).items() if name in config.alerts.sinks}
    unknown = sorted(set(names) - set(sinks))
    if unknown:
        raise Failure(
            f"no sink named {', '.join(unknown)}; configured under alerts.sinks: {', '.join(sinks) or 'none'}"
        )
    if not sinks:
        raise Failure("no sink is configured; write one under alerts.sinks (docs/alerts.md has examples)")
    now_us = time.time_ns() // 1000
    anomaly = _test_anomaly(now_us)
    where = describe(config)
    failed = False
    for name, sink in sinks.items():
        if names and name not in names:
            continue
        delivery = Delivery(key=anomaly.id, kind="test", payload=to_document(anomaly), created_us=now_us)
        outcome, seconds = try_out(sink, delivery, now_us)
        failed |= not isinstance(outcome, Sent)
        click.echo(f"{name} ({where[name]}): {verdict(outcome)} ({seconds:.2f} s)")
    if failed:
        raise click.exceptions.Exit(1)


def _test_anomaly(now_us: int) -> Anomaly:
    """Nobody's segment and a signal that does not exist, so that no route mistakes it for a real one."""
    from alerts.anomaly import Anomaly, Effect, Evidence, Explanation, Since

    return Anomaly(
        id=secrets.token_hex(12),
        owner="test",
        segment="driftline-test",
        route="",
        signal="test",
        detector="test",
        facts=[],
        state="open",
        severity="report",
        since=Since(low=now_us, high=now_us),
        opened=now_us,
        updated=now_us,
        evidence=Evidence(kind="test", value=0.0, threshold=0.0),
        effect=Effect(value=None, unit="", low=None, high=None, baseline=None),
        explanation=Explanation(sentence="This is a test by `driftline alerts test`: nothing changed."),
    )


def _story(row: AnomalyRow, links: dict[str, str]) -> str:
    from alerts import explained
    from alerts.rendering import effect_text, evidence_text, since_text, summary

    document = row.document
    lines = [
        summary(document),
        "",
        f"  id        {row.anomaly_id}",
        f"  state     {row.state}{', historic' if row.historic else ''}",
        f"  severity  {row.severity}, owner {row.owner}",
        f"  where     {row.segment}",
        f"  signal    {row.signal}",
        f"  since     {since_text(document)}",
        f"  evidence  {evidence_text(document['evidence'])}",
    ]
    if document["effect"].get("value") is not None:
        lines.append(f"  effect    {effect_text(document['effect'])}")
    lines += [f"  {name:<9} {url}" for name, url in links.items()]
    lines += ["", *explained.lines(document), "", "Deliveries:"]
    return "\n".join(lines)


def _delivery(row: OutboxRow) -> str:
    if row.state == "sent":
        return "delivered" + (f", but re-sending fails: {row.error}" if row.error else "")
    if row.state == "pending" and not row.attempts and row.due_us > row.created_us:
        return "waiting for the end of a deploy's mute"
    attempts = f"{row.attempts} attempt{'' if row.attempts == 1 else 's'}"
    reason = f": {row.error}" if row.error else ""
    if row.state == "dismissed":
        return f"dismissed after {attempts}{reason}"
    return f"refused after {attempts}{reason}" if row.state == "failed" else f"waiting, {attempts}{reason}"


_DECIDED = {"resend": "sent again to", "dismiss": "dismissed at", "undo": "put back at"}


def _hints(config: Config, rows: Sequence[OutboxRow]) -> list[str]:
    """What can be done about deliveries that do not get through by themselves."""
    from monitor.undelivered import is_carried

    gone = sorted({row.sink for row in rows if row.state == "pending" and not is_carried(config, row.sink)})
    found = [
        f"no sink {sink} is configured any more, so nothing sends what waits for it: "
        f"`driftline alerts dismiss --sink {sink}`"
        for sink in gone
    ]
    refused = [row for row in rows if row.state == "failed"]
    if refused:
        found.append(
            "what was refused is sent again with `driftline alerts resend ID` once its target is mended, or put aside "
            "with `driftline alerts dismiss ID`"
        )
    return found
