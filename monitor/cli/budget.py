"""`driftline budget`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.options import Failure, config_option, opened_store, read_config

if TYPE_CHECKING:
    from monitor.serve.models import Budget, BudgetStream, Detection

ORDERS = ("segment", "time", "evidence")


@click.command()
@config_option
@click.option("--owner", help="Only this owner's streams.")
@click.option("--segment", help="Only this segment's (a slice is written slice:NAME).")
@click.option(
    "--effects",
    "wanted",
    metavar="KIND=SIZE,...",
    help="Ask about these changes, as rate=x4,error_rate=5%,volume=x0.5,drift=1sd,cluster=20%,agreement=1sd.",
)
@click.option(
    "--sort", "order", type=click.Choice(ORDERS), default="segment", show_default=True, help="Order of the streams."
)
@click.option("--short", is_flag=True, help="Without the streams: the division, what is spent, how many have enough.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def budget(
    config_path: Path,
    owner: str | None,
    segment: str | None,
    wanted: str | None,
    order: str,
    short: bool,
    as_json: bool,
) -> None:
    """Say what the false-alarm budget buys: its division, what is spent, what each stream would find and when.

    Reads the store alone; the service need not run. Times are medians from the change to the alarm, with the traffic
    of the last day; 9 of 10 such changes are found within the time in brackets.

    \b
    Example:
      driftline budget
      driftline budget --segment receipts --effects rate=x2,volume=x0.5
      driftline budget --json | jq '.streams[] | select(.enough | not) | .why'
    """
    import msgspec

    from monitor.budget import division, read_budget
    from monitor.evaluate.power import parse_effects

    config = read_config(config_path)
    try:
        effects = None if wanted is None else parse_effects(wanted)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--effects") from None
    if owner is not None and owner not in {*config.owners, "default"}:
        raise Failure(f"no owner {owner!r}; known: {', '.join(sorted({*config.owners, 'default'}))}")
    with opened_store(config) as store:
        found = read_budget(store, config, owner=owner, segment=segment, effects=effects)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    if segment is not None and not found.streams and not found.waiting:
        raise Failure(f"no segment {segment!r} has been seen; `driftline reference list` names those with a reference")
    for line in division(found):
        click.echo(line)
    if not short:
        for line in _streams(found, order):
            click.echo(line)


def _streams(found: Budget, order: str) -> list[str]:
    keys = {
        "segment": lambda one: (one.segment, one.signal),
        "time": lambda one: (one.detects[0].hours is None, one.detects[0].hours or 0.0) if one.detects else (True, 0.0),
        "evidence": lambda one: -one.evidence,
    }
    streams = sorted(found.streams, key=keys[order])
    lines = []
    good = [one for one in streams if one.detects and one.enough]
    if good:
        lines += ["", "What would be found:"]
        lines += [text for one in good for text in _told(one)]
    poor = [one for one in streams if not one.enough and (one.detects or one.why)]
    if poor:
        lines += ["", "Too little data:"]
        lines += [text for one in poor for text in _told(one)]
    if found.waiting:
        lines += ["", "Not judged yet:"]
        for one in found.waiting:
            if one.state == "draft":
                lines.append(f"  {one.segment}: a reference waits for approval")
            elif one.until is not None and found.evaluated_until is not None and one.until <= found.evaluated_until:
                lines.append(f"  {one.segment}: too little data to learn from so far")
            else:
                lines.append(f"  {one.segment}: learning until {one.until}")
    return lines


def _told(one: BudgetStream) -> list[str]:
    if not one.detects:
        return [f"  {one.segment} {one.signal}: {one.why}"]
    state = {"ok": "", "open": "; an anomaly is open", "no_data": "; no data for a day"}.get(one.state, "")
    first = one.detects[0]
    reason = f": {one.why}" if one.why else ""
    lines = [f"  {one.sentence}{_late(first)}{reason} ({one.signal}, evidence {one.evidence:.2g}{state})"]
    lines += [f"    {other.change}: {_time(other)}{_late(other)}" for other in one.detects[1:]]
    if one.smallest is not None:
        lines.append(f"    smallest within 7 d: {one.smallest.change}")
    return lines


def _time(found: Detection) -> str:
    from monitor.budget import duration

    return "not within 7 d" if found.hours is None else f"within {duration(found.hours)}"


def _late(found: Detection) -> str:
    from monitor.budget import duration

    return "" if found.hours_90 is None else f" [{duration(found.hours_90)}]"
