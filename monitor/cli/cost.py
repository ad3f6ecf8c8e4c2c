"""`driftline cost`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.options import Failure, config_option, opened_store, read_config

if TYPE_CHECKING:
    from monitor.spending import SegmentSpending, Spending

HEAVY = 2.0  # a tail index at or below which the variance is infinite


@click.command()
@config_option
@click.option(
    "--days", type=click.IntRange(1, 92), default=7, show_default=True, help="Days up to the last closed hour."
)
@click.option("--segment", help="Only this segment.")
@click.option(
    "--cap",
    "caps",
    multiple=True,
    metavar="QUANTITY=LIMIT",
    help="What would be saved had no request used more: cost, input_tokens, output_tokens, image_tokens. Repeatable.",
)
@click.option(
    "--cheaper",
    multiple=True,
    metavar="QUANTITY=LIMIT@RATIO",
    help="What would be saved had requests below the limit (cost, input_bytes) gone to a tier at RATIO of the price.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def cost(
    config_path: Path, days: int, segment: str | None, caps: tuple[str, ...], cheaper: tuple[str, ...], as_json: bool
) -> None:
    """Say what segments cost, why that changed, and what a cap or a cheaper tier would have saved.

    Reads the store alone. The change is against as many days before. Savings are of the requests that were counted,
    had those been the same; their range is what stored buckets leave open. Without --cap and --cheaper caps at each
    segment's p95 of input and of output tokens are shown.

    \b
    Example:
      driftline cost
      driftline cost --segment receipts --cap output_tokens=2000 --cheaper input_bytes=100KB@0.3
      driftline cost --days 30 --json | jq '.segments[] | {segment, bill, month}'
    """
    import msgspec

    from monitor.spending import DEFAULT, SpendingError, parse_measure, read_spending

    config = read_config(config_path)
    try:
        asked = [parse_measure("cap", text) for text in caps] + [parse_measure("cheaper", text) for text in cheaper]
        with opened_store(config) as store:
            found = read_spending(store, config, days, segment, asked or DEFAULT)
    except SpendingError as error:
        raise Failure(str(error)) from None
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)


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
        _show_segment(one, found.currency)


def _show_segment(one: SegmentSpending, currency: str) -> None:
    lines = []
    if one.change is not None and one.change.change:
        parts = [("traffic", one.change.traffic), ("mix of versions", one.change.mix)]
        parts += [("tokens per request", one.change.units), ("tail of tokens", one.change.tail)]
        parts += [("price", one.change.price)]
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
    for saved in one.savings:
        if saved.saved is None or saved.low is None or saved.high is None:
            lines.append(f"  {saved.measure}: not known, {saved.why_not}")
            continue
        # Where buckets leave nothing open the range says nothing.
        open_ = saved.high - saved.low > 0.005 * max(abs(saved.high), 1e-9)
        between = f" ({_money(saved.low)} to {_money(saved.high)})" if open_ else ""
        lines.append(
            f"  {saved.measure}: {_money(saved.saved)} {currency}{between} saved, {_percent(saved.share_of_bill)} of "
            f"the bill; {_percent(saved.share_of_requests)} of the requests"
        )
    if lines:
        click.echo(f"{one.segment}:")
        for line in lines:
            click.echo(line)


def _money(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
