"""The API of the review queue: each call is one transaction of the store's facade and one read of what it shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, func, literal_column, select
from starlette.requests import Request

from monitor.config.model import Config
from monitor.events.redaction import redactor
from monitor.serve.access import Caller
from monitor.serve.context import Context
from monitor.serve.endpoint import Endpoint, NotFound, Picture
from monitor.serve.parameters import BadParameter, Nothing
from monitor.serve.review import content, models, questions
from monitor.serve.review.rates import error_rates
from monitor.store import review
from monitor.store.days import day_start, next_day
from monitor.store.engine import Store
from monitor.store.review.audit import carried_out
from monitor.store.review.items import encode
from monitor.store.tables import labels, review_items
from monitor.times import iso

# How the canonical form of an unsure label ends: its keys are sorted, and `verdict` is the last.
_UNSURE = encode({"verdict": "unsure"})[1:]
# Literal, for the partial indices.
_IS_OPEN = review_items.c.state == literal_column("'open'")
_IS_LEASED = review_items.c.state == literal_column("'leased'")


def take(context: Context, request: Request, given: models.Take, caller: Caller) -> models.Batch:
    config, now_us = context.config(), _now_us(context)
    with _wrong_values():
        items = review.next_items(
            context.store, caller.reviewer, _filters(given.filter), now_us, config.review.lease, count=given.count
        )
    return models.Batch(*_shown(context, config, items, caller.reviewer, given.filter))


def label(context: Context, request: Request, given: models.GivenLabel, caller: Caller) -> models.AnswerResult:
    config, now_us = context.config(), _now_us(context)
    with context.store.read() as connection, _wrong_values():
        item = _item(connection, given.item_id)
        before = carried_out(connection, caller.reviewer, given.request_id, "label", given.item_id)
    if before is None:  # what was recorded is not judged by questions that may be others by now
        questions.check(config, item.segment, given.verdict, given.answers)
    with _wrong_values("answers"):
        said = review.Label(given.verdict, given.answers, given.note).redacted(redactor(config.privacy.redact).said)
    with _wrong_values():
        if given.count:
            done = review.label_and_next(
                context.store,
                given.item_id,
                caller.reviewer,
                said,
                _filters(given.filter),
                now_us,
                config.review.lease,
                count=given.count,
                request_id=given.request_id,
            )
        else:
            done = review.label(
                context.store, given.item_id, caller.reviewer, said, now_us, request_id=given.request_id
            )
    return _answered(context, config, done, caller.reviewer, given.filter, asked_for=given.count)


def skip(context: Context, request: Request, given: models.GivenSkip, caller: Caller) -> models.AnswerResult:
    config, now_us = context.config(), _now_us(context)
    most, reason = config.review.most_skips, redactor(config.privacy.redact).said(given.reason)
    with context.store.read() as connection, _wrong_values():
        carried_out(connection, caller.reviewer, given.request_id, "skip", given.item_id)
    with _wrong_values():
        if given.count:
            done = review.skip_and_next(
                context.store,
                given.item_id,
                caller.reviewer,
                reason,
                _filters(given.filter),
                now_us,
                config.review.lease,
                most,
                count=given.count,
                request_id=given.request_id,
            )
        else:
            done = review.skip(
                context.store,
                given.item_id,
                caller.reviewer,
                reason,
                now_us,
                most,
                request_id=given.request_id,
            )
    return _answered(context, config, done, caller.reviewer, given.filter, asked_for=given.count)


def undo(context: Context, request: Request, given: models.GivenUndo, caller: Caller) -> models.UndoResult:
    config = context.config()
    with _wrong_values():
        done = review.undo(
            context.store,
            caller.reviewer,
            _now_us(context),
            config.review.undo,
            config.review.lease,
            request_id=given.request_id,
        )
    with context.store.read() as connection:
        item = content.review_items(connection, [done.item], caller.reviewer, config)[0]
    return models.UndoResult(item, "skip" if done.kind == "skip" else "label", done.leased, done.repeated)


def renew(context: Context, request: Request, given: models.GivenRenewal, caller: Caller) -> models.Renewed:
    until = review.renew(context.store, given.item_id, caller.reviewer, _now_us(context), context.config().review.lease)
    return models.Renewed(given.item_id, iso(until))


def progress(context: Context, request: Request, query: models.Filter, caller: Caller) -> models.DayProgress:
    zone, now_us = context.config().timezone, _now_us(context)
    since, until = day_start(now_us, zone), next_day(now_us, zone)
    found = review.progress(context.store, caller.reviewer, since, until)
    mine = (labels.c.reviewer == caller.reviewer, labels.c.time_us >= since, labels.c.time_us < until)
    unsure = select(func.count()).where(
        *mine, labels.c.kind == "label", ~labels.c.undone, labels.c.item_id != "", labels.c.label.endswith(_UNSURE)
    )
    # Two counts, each along the index of its state.
    left = select(func.count()).select_from(review_items).where(_IS_OPEN, *_conditions(query))
    held = select(func.count()).select_from(review_items).where(_IS_LEASED, *_conditions(query))
    held = held.where(review_items.c.leased_by == caller.reviewer)
    with context.store.read() as connection:
        return models.DayProgress(
            caller.reviewer,
            iso(since),
            found.labelled,
            int(connection.execute(unsure).scalar_one()),
            found.skipped,
            found.leased,
            int(connection.execute(left).scalar_one()) + int(connection.execute(held).scalar_one()),
        )


def item(context: Context, request: Request, query: Nothing, caller: Caller) -> models.ReviewItem:
    wanted = request.path_params["item_id"]
    with context.store.read() as connection:
        found = _item(connection, wanted)
        return content.review_items(connection, [found], caller.reviewer, context.config())[0]


def picture(context: Context, request: Request, query: models.PictureQuery, caller: Caller) -> Picture:
    wanted, part = request.path_params["item_id"], request.path_params["part"]
    with context.store.read() as connection:
        found = _item(connection, wanted)
        small = part.isascii() and part.isdigit() and len(part) <= 6
        pixels = content.picture(connection, found, int(part), query.page) if small else None
    if pixels is None:
        raise NotFound(f"no pixels are stored of page {query.page} of part {part[:20]!r} of item {wanted[:80]!r}")
    return pixels


REVIEW_ENDPOINTS = (
    Endpoint(
        "/api/review/next",
        "reviewer",
        models.Take,
        models.Batch,
        "Lease the items that are next, those the caller has first.",
        take,
        "POST",
    ),
    Endpoint(
        "/api/review/label",
        "reviewer",
        models.GivenLabel,
        models.AnswerResult,
        "Label an item, and lease what is next, in one transaction.",
        label,
        "POST",
    ),
    Endpoint(
        "/api/review/skip",
        "reviewer",
        models.GivenSkip,
        models.AnswerResult,
        "Pass an item on, and lease what is next, in one transaction.",
        skip,
        "POST",
    ),
    Endpoint(
        "/api/review/undo",
        "reviewer",
        models.GivenUndo,
        models.UndoResult,
        "Take back the caller's last label or skip.",
        undo,
        "POST",
    ),
    Endpoint(
        "/api/review/renew",
        "reviewer",
        models.GivenRenewal,
        models.Renewed,
        "Keep an item for another lease, if nobody else took it.",
        renew,
        "POST",
    ),
    Endpoint(
        "/api/review/progress",
        "reviewer",
        models.Filter,
        models.DayProgress,
        "What the caller did today, and what is left.",
        progress,
    ),
    Endpoint(
        "/api/review/estimates",
        "viewer",
        models.EstimateQuery,
        models.ErrorRates,
        "Error rates from labels, with intervals.",
        error_rates,
    ),
    Endpoint("/api/review/items/{item_id}", "reviewer", Nothing, models.ReviewItem, "One item of the queue.", item),
    Endpoint(
        "/api/review/items/{item_id}/images/{part}",
        "reviewer",
        models.PictureQuery,
        Picture,
        "The stored pixels of a page of an input part.",
        picture,
    ),
)


def why_empty(store: Store, given: models.Filter) -> str:
    """Why nothing is next for a reviewer, and what to do."""

    def waiting(connection: Connection, *conditions: Any) -> tuple[int, int]:
        counts = (select(func.count()).select_from(review_items).where(is_so, *conditions) for is_so in states)
        first, second = (int(connection.execute(count).scalar_one()) for count in counts)
        return first, second

    states = (_IS_OPEN, _IS_LEASED)
    with store.read() as connection:
        everything = waiting(connection)
        passing_open, passing_leased = waiting(connection, *_conditions(given))
        any_item = connection.execute(select(review_items.c.item_id).limit(1)).first()
    if any_item is None:
        return (
            "No event was drawn for review yet. Items are drawn as events come in: look at the overview whether any do."
        )
    if passing_open + passing_leased == 0 and (left := sum(everything)):
        return f"Nothing waits that passes your filter; {left} other items do. Clear the filter to take them."
    if passing_open:
        return "All that is left you have answered already: those items wait for another reviewer."
    if passing_leased:
        return (
            f"Other reviewers are at the {passing_leased} items that are left. One comes back when its lease ends; "
            "look again in a while."
        )
    return "Every item has its labels or has left the queue. New ones are drawn as events come in: look again later."


@contextmanager
def _wrong_values(parameter: str = "request_id") -> Iterator[None]:
    """Makes what the queue says of a wrong value (a request's id used twice, say) an answer about that parameter."""
    try:
        yield
    except ValueError as error:
        raise BadParameter(parameter, str(error)) from None


def _answered(
    context: Context, config: Config, done: review.Answered, reviewer: str, given: models.Filter, *, asked_for: int
) -> models.AnswerResult:
    items, empty = _shown(context, config, done.items, reviewer, given, asked_for)
    with context.store.read() as connection:
        answered = review.find_item(connection, done.item_id)
        told = None if answered is None else content.revealed(connection, answered, reviewer, config)
    return models.AnswerResult(done.item_id, done.state, done.repeated, told, items, empty)


def _shown(
    context: Context,
    config: Config,
    items: Sequence[review.Item],
    reviewer: str,
    given: models.Filter,
    asked_for: int = 1,
) -> tuple[list[models.ReviewItem], str]:
    if not items:
        return [], why_empty(context.store, given) if asked_for else ""
    with context.store.read() as connection:
        return content.review_items(connection, items, reviewer, config), ""


def _filters(given: models.Filter) -> review.Filters:
    return review.Filters(
        pools=() if given.pool is None else (given.pool,),
        languages=() if given.language is None else (given.language,),
        segments=() if given.segment is None else (given.segment,),
    )


def _conditions(given: models.Filter) -> list[Any]:
    columns = {
        review_items.c.segment: given.segment,
        review_items.c.language: given.language,
        review_items.c.pool: given.pool,
    }
    return [column == value for column, value in columns.items() if value is not None]


def _item(connection: Connection, wanted: str) -> review.Item:
    found = review.find_item(connection, wanted) if wanted.isascii() and wanted.isalnum() else None
    if found is None:
        raise NotFound(f"no item has the id {wanted[:80]!r}; it may be older than retention.labels")
    return found


def _now_us(context: Context) -> int:
    return int(context.clock() * 1e6)
