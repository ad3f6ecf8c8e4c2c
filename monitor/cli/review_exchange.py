"""`driftline review export`, `import` and `gold`: the queue and its labels as files."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from monitor.cli.options import Failure, config_option, opened_store, read_config

if TYPE_CHECKING:
    from monitor.config.model import Config
    from monitor.exchange.intake import Report

_DAY_US = 86_400_000_000


@click.command()
@config_option
@click.option(
    "--format",
    "file_format",
    type=click.Choice(("jsonl", "csv", "label-studio", "label-studio-config")),
    default="jsonl",
    show_default=True,
    help="JSON lines, CSV, tasks for Label Studio, or the labelling configuration that fits them.",
)
@click.option(
    "--state",
    type=click.Choice(("open", "done", "all")),
    help="Items that wait, that have their labels, or all. Default: open for label-studio, else all.",
)
@click.option("--segment", metavar="NAME", help="Only of this segment.")
@click.option("--days", type=click.IntRange(1, 800), help="Only of so many last days of event time.")
@click.option(
    "--with-predictions",
    "predictions",
    is_flag=True,
    help="Also the predicted chance of an error and the model's confidence. Whoever labels with them in view is led by "
    "them: the labels are no longer blind.",
)
@click.option(
    "--url",
    metavar="URL",
    help="Address of driftline's own pages, for images in Label Studio. Default: alerts.app_url.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File; default: standard output.")
def export(
    config_path: Path,
    file_format: str,
    state: str | None,
    segment: str | None,
    days: int | None,
    predictions: bool,
    url: str | None,
    out: Path | None,
) -> None:
    """Write items and labels to a file, with both probabilities of each item.

    Images are not in it: Label Studio asks driftline for them, so that whoever labels must be logged in there too.

    \b
    Example:
      driftline review export --format label-studio-config --out config.xml
      driftline review export --format label-studio --segment receipts --out tasks.json
      driftline review export --format csv --state all --days 28 --out labels.csv
    """
    config = read_config(config_path)
    if file_format == "label-studio-config":
        from monitor.exchange.label_studio import labelling_configuration

        _write(iter([labelling_configuration(config.review.questions, segment).encode()]), out)
        return
    from monitor.exchange import label_studio, rows, spreadsheet
    from monitor.exchange.queued import queued

    with opened_store(config) as store:
        from_us = None if days is None else _since(store, config, days)
        with store.read() as connection:
            chosen = state or ("open" if file_format == "label-studio" else "all")
            items = queued(connection, chosen, segment, from_us)
            if file_format == "label-studio":
                waiting = (item for item in items if item.state != "removed")
                made = label_studio.write(waiting, address=_address(config, url), predictions=predictions)
            elif file_format == "csv":
                made = spreadsheet.write(items, predictions=predictions)
            else:
                made = rows.write(items, predictions=predictions)
            _write(made, out)


def _since(store: Any, config: Config, days: int) -> int:
    from monitor.store import evaluation
    from monitor.store.days import day_start

    done_us = evaluation.standing(store).done_until_us
    until_us = time.time_ns() // 1000 if done_us is None else done_us
    return day_start(until_us - (days - 1) * _DAY_US, config.timezone)


def _address(config: Config, url: str | None) -> str:
    if found := url or config.alerts.app_url:
        return found
    return f"http://{config.serve.host}:{config.serve.port}"


def _write(pieces: Iterator[bytes], out: Path | None) -> None:
    """Write a whole file or none: a half-written one would be taken for all there is."""
    if out is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    unfinished = out.with_name(out.name + ".part")
    try:
        with unfinished.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        unfinished.replace(out)
    except OSError as error:
        raise Failure(f"cannot write {out}: {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)


@click.command("import")
@config_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--format",
    "file_format",
    type=click.Choice(("jsonl", "csv", "label-studio")),
    default="jsonl",
    show_default=True,
    help="JSON lines or CSV as `export` writes them, or an export of Label Studio (JSON or JSON-MIN).",
)
@click.option("--reviewer", default="", metavar="NAME", help="Whose labels those are that name nobody.")
def import_labels(config_path: Path, file: Path, file_format: str, reviewer: str) -> None:
    """Take in labels from FILE; they find their item by its id or by the event's id and need no lease.

    The same file again changes nothing. Lines that are no labels are counted, shown, and passed over. Labels of events
    that were not drawn are kept, and enter no estimate unless the event is drawn later.

    \b
    Example:
      driftline review import project-7-at-2026-11-26.json --format label-studio
      driftline review import labels.csv --format csv --reviewer ann
    """
    _take(config_path, file, file_format, reviewer, gold=False)


@click.command()
@config_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--reviewer",
    default=lambda: f"gold:{getpass.getuser()}",
    show_default="gold: and your user name",
    help="Who knows the answers; not a name that labels items, since a reviewer has one answer to an item.",
)
def gold(config_path: Path, file: Path, reviewer: str) -> None:
    """Mark answers that are known, by which reviewers are judged: JSON lines of item_id or event_id, and verdict.

    They finish no item, no reviewer sees that they are there, and they enter no error rate.

    \b
    Example:
      echo '{"event_id": "01JCZ3K8W2M0Q6V1", "verdict": "wrong"}' > known.jsonl
      driftline review gold known.jsonl
    """
    _take(config_path, file, "jsonl", reviewer, gold=True)


def _take(config_path: Path, path: Path, file_format: str, reviewer: str, *, gold: bool) -> None:
    from monitor.exchange import label_studio, rows, spreadsheet
    from monitor.exchange.intake import Interrupted, take_in
    from monitor.exchange.splitting import NotThisFormat, chunks
    from monitor.progress import counting

    read = {"jsonl": rows.read, "csv": spreadsheet.read, "label-studio": label_studio.read}[file_format]
    config = read_config(config_path)
    try:
        file: BinaryIO = path.open("rb")
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None
    with file, opened_store(config) as store, counting("bytes read", path.stat().st_size) as tell:
        try:
            report = take_in(
                store,
                read(_told(chunks(file), tell), default_reviewer=reviewer),
                config=config,
                now_us=lambda: time.time_ns() // 1000,
                gold=gold,
            )
        except NotThisFormat as error:
            raise Failure(f"{path}: {error}") from None
        except Interrupted as error:
            _show(error.report)
            raise Failure(
                f"{error}\nWhat is counted above was taken in; import the file again: that changes nothing twice."
            ) from None
    _show(report)
    if report.outcomes["unusable"] and not report.usable:
        raise Failure(f"nothing in {path} could be used as {file_format}; see --format")
    if not report.outcomes:
        click.echo("no label is in it")


def _told(parts: Iterator[bytes], tell: Any) -> Iterator[bytes]:
    done = 0
    for part in parts:
        done += len(part)
        tell(done)
        yield part


def _show(report: Report) -> None:
    for problem in report.problems:
        click.echo("passed over: " + "".join(c if c.isprintable() else "�" for c in problem), err=True)
    if (more := report.outcomes["unusable"] - len(report.problems)) > 0:
        click.echo(f"passed over: {more} more", err=True)
    meaning = {
        "labelled": "labelled",
        "replaced": "in place of this reviewer's earlier label",
        "repeated": "known already",
        "kept": "kept, but of no item that counts",
        "skipped": "skipped",
        "ignored": "skips of what has ended or has this reviewer's label",
        "forgotten": "of forgotten events: not stored",
        "unusable": "no labels: passed over",
    }
    for outcome, what in meaning.items():
        if report.outcomes[outcome]:
            click.echo(f"{report.outcomes[outcome]}  {what}")
