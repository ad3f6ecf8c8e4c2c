"""CSV for spreadsheets: a row for each answer, and one for each item that has none. Formulas are made inert."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from monitor.exchange.given import Given, Unusable, given
from monitor.exchange.queued import QueuedItem, text_of
from monitor.exchange.splitting import NotThisFormat, lines
from monitor.times import iso

_FACTS: Final = (
    "v", "item_id", "event_id", "segment", "route", "time", "pool", "language", "state", "pi_sample", "pi_review",
    "race", "prompt", "output",
)  # fmt: skip
_PREDICTIONS: Final = ("score", "confidence")
_ANSWER: Final = ("kind", "reviewer", "verdict", "answers", "note", "reason", "gold", "answered")
_GOLD: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}  # else it does not say
MOST_CELL: Final = 1 << 20  # characters
# What spreadsheets take for a formula, in full width too; an apostrophe before it makes it a text. Apostrophes that
# stand before such a sign already get one more, so that taking one away always gives back what was there.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")


def escaped(cell: str) -> str:
    """The cell with an apostrophe before what a spreadsheet would calculate."""
    return "'" + cell if _FORMULA.match(cell) else cell


def unescaped(cell: str) -> str:
    """What `escaped` was given."""
    return cell[1:] if _ESCAPED.match(cell) else cell


def write(items: Iterable[QueuedItem], *, predictions: bool) -> Iterator[bytes]:
    """The header and the rows. ``predictions``: with what was predicted of each item."""
    names = (*_FACTS, *(_PREDICTIONS if predictions else ()), *_ANSWER)
    yield _row(names)
    for item in items:
        facts = _facts(item, predictions)
        for answer in item.answers or (None,):
            cells = facts | (dict.fromkeys(_ANSWER, "") if answer is None else _answer(answer))
            yield _row(escaped(cells[name]) for name in names)


def _row(cells: Iterable[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(list(cells))
    return line.getvalue().encode()


def _facts(item: QueuedItem, predictions: bool) -> dict[str, str]:
    found = {
        "v": "1",
        "item_id": item.item_id,
        "event_id": item.event_id,
        "segment": item.segment,
        "route": item.route,
        "time": iso(item.time_us),
        "pool": item.pool,
        "language": item.language,
        "state": item.ended or item.state,
        "pi_sample": repr(item.pi_sample),
        "pi_review": repr(item.pi_review),
        "race": repr(item.race),
        "prompt": text_of(item.inputs),
        "output": text_of(item.output),
    }
    if predictions:
        found |= {"score": repr(item.score), "confidence": "" if item.confidence is None else repr(item.confidence)}
    return found


def _answer(answer: Given) -> dict[str, str]:
    label = answer.label
    return {
        "kind": "skip" if label is None else "label",
        "reviewer": answer.reviewer,
        "verdict": "" if label is None else label.verdict,
        "answers": "" if label is None or not label.answers else json.dumps(dict(label.answers), ensure_ascii=False),
        "note": "" if label is None else label.note,
        "reason": answer.skip_reason,
        "gold": "" if answer.gold is None else str(answer.gold).lower(),
        "answered": "" if answer.time_us is None else iso(answer.time_us),
    }


def read(parts: Iterable[bytes], *, default_reviewer: str = "") -> Iterator[Given | Unusable]:
    """The labels and skips of a file, in order; rows without a verdict are passed over, unusable ones say why.

    Columns are found by the names in the header, in any order; ``,``, ``;`` and tab divide. ``default_reviewer`` has
    said it where a row names nobody. Raises NotThisFormat for a header that lacks what is needed.
    """
    skipped: list[Unusable] = []
    text = _text(lines(parts), skipped.append)
    first = next(text, "")
    divider = max(",;\t", key=first.count)
    header = [unescaped(name).strip().lower() for name in next(csv.reader([first], delimiter=divider), [])]
    if "verdict" not in header or not {"item_id", "event_id"} & set(header):
        raise NotThisFormat(
            "the first line must name the columns, among them verdict and item_id or event_id; "
            f"got {first.strip()[:200]!r}"
        )
    limit = csv.field_size_limit(MOST_CELL)  # of the whole interpreter, and so given back
    try:
        reader = csv.reader(text, delimiter=divider)
        number = 1
        while True:
            number += 1
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                yield Unusable("invalid_label", f"row {number}: {error}")
                continue
            finally:
                for one in skipped:
                    yield Unusable(one.reason, f"row {number}: {one}")
                skipped.clear()
            try:
                found = _given(dict(zip(header, map(unescaped, row), strict=False)), default_reviewer)
            except Unusable as error:
                yield Unusable(error.reason, f"row {number}: {error}", error.event_id)
            else:
                if found is not None:
                    yield found
    finally:
        csv.field_size_limit(limit)


def _text(found: Iterable[bytes | Unusable], skip: Callable[[Unusable], Any]) -> Iterator[str]:
    """Lines as text; bytes that are no UTF-8 become half characters, which no label takes."""
    for line in found:
        if isinstance(line, Unusable):
            skip(line)
        else:
            yield line.decode("utf-8", "surrogateescape")


def _given(row: dict[str, str], default_reviewer: str) -> Given | None:
    skips = row.get("kind", "").strip().lower() == "skip"
    if not skips and not row.get("verdict", "").strip():
        return None
    if any("\udc80" <= character <= "\udcff" for cell in row.values() for character in cell):
        raise Unusable("invalid_utf8", "it is not UTF-8; save the sheet as CSV UTF-8")
    try:
        answers = json.loads(row.get("answers") or "{}")
        if not isinstance(answers, dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise Unusable("invalid_label", 'answers must be a JSON object, as {"field": "total"}') from None
    if row.get("v", "1") not in ("", "1"):
        raise Unusable("invalid_label", f"version 1 was expected, got {row['v'][:20]!r}; it is of a newer driftline")
    return given(
        item_id=row.get("item_id", ""),
        event_id=row.get("event_id", ""),
        reviewer=row.get("reviewer", "") or default_reviewer,
        verdict=None if skips else row["verdict"].strip().lower(),
        answers=answers,
        note=row.get("note", ""),
        skip_reason=row.get("reason", "") if skips else "",
        time=row.get("answered") or None,
        gold=None if skips else _GOLD.get(row.get("gold", "").strip().lower()),
    )
