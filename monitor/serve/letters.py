"""The API of dead letters: those that are kept, one with its bytes, and reading them again."""

from __future__ import annotations

import base64
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request

from monitor.serve import models, parameters, queries
from monitor.serve.access import Caller
from monitor.serve.context import Context
from monitor.serve.endpoint import Endpoint, NotFound
from monitor.serve.parameters import BadParameter
from monitor.store import letters, retries
from monitor.times import iso


class GivenRetry(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters to read again: one record, or all of a reason."""

    record: Annotated[str, Meta(max_length=300, description="As topic/partition/offset.")] | None = None
    reason: Annotated[str, Meta(max_length=60, description="The oldest 1000 of this reason.")] | None = None


def dead_letters(
    context: Context, request: Request, query: parameters.DeadLetterQuery, caller: Caller
) -> models.DeadLetters:
    with context.store.read() as connection:
        rows = letters.list_letters(connection, reason=query.reason, limit=query.limit + 1, offset=query.offset)
        reasons = letters.count_by_reason(connection)
        rows_shown = rows[: query.limit]
        read_again = retries.newest(connection, [(row.topic, row.partition, row.offset) for row in rows_shown])
    heads = [queries.letter_head(row, read_again.get((row.topic, row.partition, row.offset))) for row in rows_shown]
    after = query.offset + query.limit if len(rows) > query.limit else None
    return models.DeadLetters(heads, reasons, models.Page(query.limit, query.offset, after))


def dead_letter(context: Context, request: Request, query: parameters.Nothing, caller: Caller) -> models.DeadLetter:
    topic, partition, offset = (request.path_params[name] for name in ("topic", "partition", "offset"))
    if not (_small(partition) and _small(offset)):
        raise NotFound(f"no dead letter {topic}/{partition}/{offset}")
    where = (topic, int(partition), int(offset))
    with context.store.read() as connection:
        row = letters.get_letter(connection, *where)
        read_again = retries.history(connection, *where)
    if row is None:
        raise NotFound(f"no dead letter {topic}/{partition}/{offset}; /api/dead-letters lists those that are kept")
    original = None if row.original is None else base64.b64encode(row.original).decode()
    head = queries.letter_head(row, read_again[-1] if read_again else None)
    return models.DeadLetter(head, original, [_retry(one) for one in read_again])


def read_again(context: Context, request: Request, given: GivenRetry, caller: Caller) -> models.Retried:
    if (given.record is None) == (given.reason is None):
        raise BadParameter("record", "give a record or a reason, one of them")
    topics = context.config().kafka.topics
    with context.store.write() as connection:
        if given.record is not None:
            try:
                wanted = [letters.parse_position(given.record)]
            except ValueError as error:
                raise BadParameter("record", str(error)) from None
            if not (_small(str(wanted[0][1])) and _small(str(wanted[0][2]))) or (
                letters.get_letter(connection, *wanted[0]) is None
            ):
                raise NotFound(f"no dead letter {given.record}; /api/dead-letters lists those that are kept")
        else:
            wanted = retries.open_letters(connection, given.reason or "", topics)
        who, now_us = caller.reviewer or caller.role, int(context.clock() * 1e6)
        return models.Retried(retries.ask(connection, wanted, topics, who, now_us))


def _retry(found: retries.Retry) -> models.LetterRetry:
    done = None if found.done_us is None else iso(found.done_us)
    return models.LetterRetry(found.state, found.who, iso(found.asked_us), done, found.reason, found.detail)


def _small(text: str) -> bool:
    return text.isdigit() and len(text) <= 18


LETTER_ENDPOINTS = (
    Endpoint(
        "/api/dead-letters",
        "admin",
        parameters.DeadLetterQuery,
        models.DeadLetters,
        "Records that could not be used.",
        dead_letters,
    ),
    Endpoint(
        "/api/dead-letters/{topic}/{partition}/{offset}",
        "admin",
        parameters.Nothing,
        models.DeadLetter,
        "One such record with its original bytes.",
        dead_letter,
    ),
    Endpoint(
        "/api/dead-letters/retries",
        "admin",
        GivenRetry,
        models.Retried,
        "Have dead letters read again: what is an event by now is counted once, as a late one.",
        read_again,
        method="POST",
    ),
)
