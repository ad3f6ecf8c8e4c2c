"""`driftline review`: the queue from a terminal, and what its labels say."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.cli import review_advice, review_exchange
from monitor.cli.options import Failure, config_option, days_option, evaluated_days, opened_store, read_config

if TYPE_CHECKING:
    from monitor.estimates import Estimate, Interval
    from monitor.store.review import Filters


@click.group()
def review() -> None:
    """Label what was drawn for review, and read the error rates that follow.

    Items are drawn with known probabilities, so that a few labels give every segment's error rate with an honest
    interval. Reviewers use the page (`/review`); these commands are for scripts and terminals.

    \b
    Example:
      driftline review next
      driftline review label 3f9c... --verdict wrong --note "the total is the tax"
      driftline review undo
      driftline review stats
      driftline review estimate --days 28 --by week
    """


def _reviewer(command: Any) -> Any:
    return click.option(
        "--reviewer",
        default=lambda: getpass.getuser(),
        show_default="your user name",
        help="Whose work it is.",
    )(command)


def _filters(command: Any) -> Any:
    for name, what in (("segment", "segment"), ("language", "language"), ("pool", "reviewer pool")):
        command = click.option(
            f"--{name}", f"{name}s", multiple=True, metavar="NAME", help=f"Only of this {what}; may be repeated."
        )(command)
    return command


def _chosen(pools: tuple[str, ...], languages: tuple[str, ...], segments: tuple[str, ...]) -> Filters:
    from monitor.store.review import Filters

    try:
        return Filters(pools, languages, segments)
    except ValueError as error:
        raise Failure(str(error)) from None


@contextmanager
def _told() -> Iterator[None]:
    from monitor.store.review import Declined

    try:
        yield
    except (Declined, ValueError) as error:
        raise Failure(str(error)) from None


def _now_us() -> int:
    return time.time_ns() // 1000


@review.command("next")
@config_option
@_reviewer
@_filters
@click.option("--json", "as_json", is_flag=True, help="The item as JSON, with the redacted input and output.")
def next_item(
    config_path: Path,
    reviewer: str,
    pools: tuple[str, ...],
    languages: tuple[str, ...],
    segments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Take the next item and show it; nobody else gets it while you have it (`review.lease`).

    What the model's confidence was is not shown: it would lead you.

    \b
    Example:
      driftline review next --segment receipts --json
    """
    from monitor.store import review as queue

    config = read_config(config_path)
    chosen = _chosen(pools, languages, segments)
    with opened_store(config) as store, _told():
        found = queue.next_items(store, reviewer, chosen, _now_us(), config.review.lease)
        if not found:
            raise Failure(_nothing(queue.counts, store))
        item = found[0]
        content = queue.content(store, item.sample_id)
    document = {
        "item_id": item.item_id,
        "event_id": item.event_id,
        "segment": item.segment,
        "language": item.language,
        "time_us": item.time_us,
        "lease_until_us": item.lease_until_us,
        "input": content.inputs,
        "output": content.output,
        "citations": content.citations,
    }
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    click.echo(f"{item.item_id}  {_shown(item.segment)}  event {_shown(item.event_id)}")
    for name in ("input", "output", "citations"):
        if document[name]:
            click.echo(f"\n{name}:\n{json.dumps(document[name], indent=2)}")
    click.echo(f"\nThen: driftline review label {item.item_id} --verdict correct|wrong|unsure", err=True)


def _shown(text: str) -> str:
    """Without what would move a terminal's cursor: it came from events."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _nothing(counts: Any, store: Any) -> str:
    with store.read() as connection:
        rows = counts(connection)
    waiting = sum(row.items for row in rows if row.state in ("open", "leased"))
    if waiting:
        return f"nothing is left for you: {waiting} items wait, which these filters, other reviewers or you have passed"
    if rows:
        return "the queue is empty: all that was drawn is labelled or has left; new items are drawn every hour"
    return "nothing was drawn yet: items are drawn at the end of every hour with samples (`review.labels` a day)"


@review.command()
@config_option
@_reviewer
@click.argument("item_id")
@click.option("--verdict", type=click.Choice(("correct", "wrong", "unsure")), required=True, help="What you found.")
@click.option("--answer", "answers", multiple=True, metavar="QUESTION=VALUE", help="An answer; may be repeated.")
@click.option("--note", default="", help="A remark.")
def label(config_path: Path, reviewer: str, item_id: str, verdict: str, answers: tuple[str, ...], note: str) -> None:
    """Say what you found of an item that you have.

    \b
    Example:
      driftline review label 3f9c... --verdict wrong --answer field=total --note "the total is the tax"
    """
    from monitor.events.redaction import redactor
    from monitor.store import review as queue

    given: dict[str, Any] = {}
    for answer in answers:
        question, separator, value = answer.partition("=")
        if not separator or not question:
            raise click.BadParameter(f"expected QUESTION=VALUE, got {answer!r}", param_hint="--answer")
        given[question] = value
    config = read_config(config_path)
    with opened_store(config) as store, _told():
        said = queue.Label(verdict, given, note).redacted(redactor(config.privacy.redact).said)
        queue.label(store, item_id, reviewer, said, _now_us())
    click.echo(f"{item_id}: {verdict}")


@review.command()
@config_option
@_reviewer
@click.argument("item_id")
@click.option("--reason", default="", help="Why you cannot say; kept with the item.")
def skip(config_path: Path, reviewer: str, item_id: str, reason: str) -> None:
    """Pass an item on to others; it counts as no answer, not as unsure.

    \b
    Example:
      driftline review skip 3f9c... --reason "in a language that I do not read"
    """
    from monitor.events.redaction import redactor
    from monitor.store import review as queue

    config = read_config(config_path)
    with opened_store(config) as store, _told():
        reason = redactor(config.privacy.redact).said(reason)
        queue.skip(store, item_id, reviewer, reason, _now_us(), config.review.most_skips)
    click.echo(f"{item_id}: skipped")


@review.command()
@config_option
@_reviewer
def undo(config_path: Path, reviewer: str) -> None:
    """Take back your last label or skip (`review.undo`); you have the item again.

    \b
    Example:
      driftline review undo
    """
    from monitor.store import review as queue

    config = read_config(config_path)
    with opened_store(config) as store, _told():
        undone = queue.undo(store, reviewer, _now_us(), config.review.undo, config.review.lease)
    click.echo(f"{undone.item.item_id}: taken back")


@review.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def stats(config_path: Path, as_json: bool) -> None:
    """Say what is in the queue: by reviewer pool and segment, what waits, is done, or has left and why.

    \b
    Example:
      driftline review stats
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from monitor.store import review as queue

    with opened_store(read_config(config_path)) as store, store.read() as connection:
        rows = queue.counts(connection)
        unmatched = queue.unmatched(connection)
    if as_json:
        click.echo(json.dumps({"items": [asdict(row) for row in rows], "labels_without_item": unmatched}))
        return
    if not rows:
        click.echo("nothing was drawn yet: items are drawn at the end of every hour with samples (`review.labels`)")
    ended = ("open", "leased", "done", "expired", "skipped", "removed", "forgotten")
    table = Table("pool", "segment", *ended)
    found: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        cell = found.setdefault((row.pool, row.segment), dict.fromkeys(ended, 0))
        cell[row.ended or row.state] = cell.get(row.ended or row.state, 0) + row.items
    for (pool, segment), cell in sorted(found.items()):
        table.add_row(Text(pool), Text(_shown(segment)), *(str(cell[name]) for name in ended))
    if found:
        Console().print(table)
    if unmatched:
        click.echo(f"{unmatched} labels from elsewhere have no item: nobody knows how they were chosen; none counts")


@review.command()
@config_option
@days_option
@click.option("--by", type=click.Choice(("all", "week")), default="all", show_default=True, help="Cut into weeks.")
@click.option("--segment", metavar="NAME", help="Only of this segment.")
@click.option(
    "--confidence", type=click.FloatRange(0.5, 0.999), default=0.95, show_default=True, help="Of every interval."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, with bounds for what nobody decided.")
def estimate(config_path: Path, days: int, by: str, segment: str | None, confidence: float, as_json: bool) -> None:
    """Estimate every segment's error rate from the labels there are.

    The interval beside the rate holds for one look; the one under `always` however often you look and whenever you
    stop; `bounds` whatever the items are that nobody decided (unsure, or missing). All in percent.

    \b
    Example:
      driftline review estimate --days 28 --by week --segment receipts
    """
    from monitor.estimates import estimates, weeks

    config = read_config(config_path)
    with opened_store(config) as store:
        span = evaluated_days(store, config, days)
        spans = weeks(*span, config.timezone) if by == "week" else [span]
        found = [
            row
            for begin, end in spans
            for row in estimates(store, begin, end, config.timezone, segment=segment, confidence=confidence)
        ]
    if as_json:
        click.echo(json.dumps({"confidence": confidence, "estimates": [asdict(row) for row in found]}))
        return
    if not found:
        raise Failure(
            f"no sample of {'this segment' if segment else 'any segment'} could have been drawn in these {days} days"
        )
    _print(found, by)


def _print(found: list[Estimate], by: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from monitor.times import iso

    bounded = any(row.bounds != row.once for row in found)
    titles = [*(["from"] if by == "week" else []), "segment", "error rate", "always", "labels", "waiting"]
    table = Table(*titles, *(["bounds", "undecided"] if bounded else []))
    for row in found:
        rate = "no label" if row.rate is None else f"{row.rate:.1%} {_percent(row.once)}"
        cells: list[Text | str] = [Text(_shown(row.segment)), rate, "-" if row.always is None else _percent(row.always)]
        table.add_row(
            *([iso(row.from_us)[:10]] if by == "week" else []),
            *cells,
            str(row.labels),
            str(row.waiting),
            *([_percent(row.bounds), f"{row.unsure + row.missing}"] if bounded else []),
        )
    Console().print(table)


def _percent(interval: Interval) -> str:
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


for _command in (
    review_advice.advice,
    review_advice.calibration,
    review_advice.inputs,
    review_advice.reviewers,
    review_exchange.export,
    review_exchange.import_labels,
    review_exchange.gold,
):
    review.add_command(_command)
