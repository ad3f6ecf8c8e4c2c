"""`driftline cost`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from alerts.explained import BILL_PARTS
from monitor.cli.options import Failure, config_option, opened_store, read_config

if TYPE_CHECKING:
    from monitor.spending import Saved, SegmentSpending, Spending, WhatIf

HEAVY = 2.0  # a tail index at or below which the variance is infinite


_days = click.option(
    "--days", type=click.IntRange(1, 92), default=7, show_default=True, help="Days up to the last closed hour."
)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")


@click.group(invoke_without_command=True)
@config_option
@_days
@click.option("--segment", help="Only this segment.")
@_json
@click.pass_context
def cost(context: click.Context, config_path: Path, days: int, segment: str | None, as_json: bool) -> None:
    """Say what segments cost, and why that changed; `whatif`: what a cap or a cheaper tier would have saved.

    Reads the store alone. The change is against as many days before.

    \b
    Example:
      driftline cost
      driftline cost --segment receipts
      driftline cost --days 30 --json | jq '.segments[] | {segment, bill, month}'
      driftline cost whatif --cap output_tokens=800
    """
    if context.invoked_subcommand is not None:
        given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:
            raise click.UsageError(
                f"give options after {context.invoked_subcommand}, as driftline cost whatif --days 30"
            )
        return
    import msgspec

    from monitor.spending import SpendingError, read_spending

    config = read_config(config_path)
    try:
        with opened_store(config) as store:
            found = read_spending(store, config, days, segment)
    except SpendingError as error:
        raise Failure(str(error)) from None
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)


@cost.command()
@config_option
@_days
@click.option("--segment", help="Only this segment; default: all together, and where it would save most.")
@click.option(
    "--cap",
    "caps",
    multiple=True,
    metavar="QUANTITY=LIMIT",
    help="Had no request used more: cost, input_tokens, output_tokens, image_tokens. Repeatable.",
)
@click.option(
    "--cheaper",
    multiple=True,
    metavar="QUANTITY=LIMIT@RATIO",
    help="Had requests below the limit (cost, input_bytes) gone to a tier at RATIO of the price. Repeatable.",
)
@_json
def whatif(
    config_path: Path, days: int, segment: str | None, caps: tuple[str, ...], cheaper: tuple[str, ...], as_json: bool
) -> None:
    """Say what caps and cheaper tiers would have saved, each by itself.

    Of the requests that were counted, had those been the same: an answer that is cut may be asked again, and one of a
    cheaper tier be worse. A range is what stored buckets leave open. Without --cap and --cheaper: caps at the p95 of
    input and of output tokens.

    \b
    Example:
      driftline cost whatif --cap output_tokens=800
      driftline cost whatif --segment receipts --cap output_tokens=800 --cheaper input_bytes=100KB@0.3
      driftline cost whatif --days 30 --cap cost=0.05 --json | jq '.measures[].whole'
    """
    import msgspec

    from monitor.spending import DEFAULT, SpendingError, parse_measure, read_what_if

    config = read_config(config_path)
    try:
        asked = [parse_measure("cap", text) for text in caps] + [parse_measure("cheaper", text) for text in cheaper]
        with opened_store(config) as store:
            found = read_what_if(store, config, days, segment, asked or DEFAULT)
    except SpendingError as error:
        raise Failure(str(error)) from None
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _show_what_if(found)


def _show_what_if(found: WhatIf) -> None:
    bill = f"{_money(found.bill)} {found.currency}, {found.requests:,} requests"
    lines = [f"{found.since} to {found.until}, {found.segment or 'all segments'}: {bill}"]
    lines += [f"Not counted, no longer kept: {low} to {high}." for low, high in found.gaps]
    for one in found.measures:
        lines.append(_saved(one.whole, found.currency))
        lines += [f"  leaves out: {why}" for why in one.whole.leaves_out]
        if found.segment is None:
            lines += [
                f"  {row.segment}: {_money(row.saved.saved or 0.0)} {found.currency} of {_money(row.bill)}"
                for row in one.segments
            ]
    lines.append("Each by itself; of requests that were the same: what is cut may be asked again.")
    for line in lines:
        click.echo("".join(c if c.isprintable() else "\ufffd" for c in line))


def _show(found: Spending) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        f"{found.since} to {found.until}: {_money(found.bill)} {found.currency}", markup=False, highlight=False
    )
    for low, high in found.gaps:
        console.print(f"Not counted, no longer kept: {low} to {high}.", markup=False, highlight=False)
    table = Table(box=None)
    for name in ("segment", "requests", "bill", "share", "change", "dearest 1 %", "month"):
        table.add_column(name, justify="left" if name == "segment" else "right", no_wrap=True)
    for one in found.segments:
        table.add_row(
            one.segment,
            f"{one.requests:,}",
            _money(one.bill),
            _percent(one.share),
            "–" if one.change is None else f"{one.change.change:+,.2f}",
            _percent(one.tail.top1_share),
            "–" if one.month is None else _money(one.month.projected),
        )
    console.print(table)
    for one in found.segments:
        _show_segment(one)


def _show_segment(one: SegmentSpending) -> None:
    lines = []
    if one.change is not None and one.change.change:
        parts = ((name, getattr(one.change, part)) for part, name in BILL_PARTS.items())
        listed = ", ".join(f"{name} {value:+,.2f}" for name, value in parts)
        lines.append(f"  {_money(one.change.before)} before, {one.change.change:+,.2f}: {listed}")
    if one.month is not None:
        lines.append(
            f"  the month: {_money(one.month.spent)} spent, {_money(one.month.projected)} expected at its end "
            f"(95 % interval {_money(one.month.low)} to {_money(one.month.high)})"
        )
    if one.tail.index is not None:
        heavy = ": the mean of dear requests is no stable figure" if (one.tail.high or 0.0) <= HEAVY else ""
        lines.append(f"  tail index {one.tail.index:.2f} ({one.tail.low:.2f} to {one.tail.high:.2f}){heavy}")
    if lines:
        click.echo(f"{one.segment}:")
        for line in lines:
            click.echo(line)


def _saved(saved: Saved, currency: str) -> str:
    if saved.saved is None or saved.low is None or saved.high is None:
        return f"{saved.measure}: not known, {saved.why_not}"
    # Where buckets leave nothing open the range says nothing.
    open_ = saved.high - saved.low > 0.005 * max(abs(saved.high), 1e-9)
    between = f" ({_money(saved.low)} to {_money(saved.high)})" if open_ else ""
    return (
        f"{saved.measure}: {_money(saved.saved)} {currency}{between} saved, {_percent(saved.share_of_bill)} of "
        f"the bill; {_percent(saved.share_of_requests)} of the requests"
    )


def _money(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
