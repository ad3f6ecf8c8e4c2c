"""The page of driftline's own health: whether it keeps up, what it could not use, and whether people are told."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from monitor.config.model import Config
from monitor.ingest.dead_letters import REASONS
from monitor.serve import parameters, silences
from monitor.serve.access import Caller
from monitor.serve.anomalies.words import Clock
from monitor.serve.cells import percent
from monitor.serve.context import Context
from monitor.serve.health import reading
from monitor.serve.health.reading import LETTER_BYTES, Health, Letters
from monitor.serve.parameters import BadParameter
from monitor.serve.shell import framed
from monitor.serve.templating import count_text
from monitor.store import letters, retries
from monitor.store.letters import LetterRow
from monitor.store.outbox import NEVER, OutboxRow
from monitor.store.retries import Retry
from monitor.times import DAY_US, HOUR_US, MINUTE_US
from monitor.undelivered import is_carried

DECIDES = frozenset({"open", "reviewer", "admin"})  # who may have deliveries sent again or put aside
SEES = frozenset({"open", "admin"})  # who may see dead letters one by one, as the API
MOST_SILENCES = 50


class HealthQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters are listed, and the one that is shown (topic/partition/offset)."""

    reason: Annotated[str, Meta(max_length=60)] = ""
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1
    letter: Annotated[str, Meta(max_length=300)] = ""


def page(context: Context, request: Request, caller: Caller) -> Response:
    """The page as its address says. Raises BadParameter."""
    query = parameters.read(HealthQuery, request.query_params)
    config, clock = context.config(), Clock(context.config().timezone)
    sees = caller.role in SEES
    wanted = _position(query.letter)
    with context.store.read() as connection:
        found = reading.read(connection, config)
        listed = reading.letters_of(connection, query.reason or None, query.page) if sees else Letters([], False)
        one = letters.get_letter(connection, *wanted) if sees and wanted is not None else None
        past = retries.history(connection, *wanted) if one is not None and wanted is not None else []
    now_us = int(context.clock() * 1e6)
    may = sees and caller.session is not None
    decides = caller.role in DECIDES and caller.session is not None
    return framed(
        "health.html",
        context,
        request,
        caller,
        status=404 if sees and wanted is not None and one is None else 200,
        facts=_facts(found, context.lag(), now_us, clock),
        parts=sorted(context.states(), key=lambda part: (part.ready, part.name)),
        partitions=_partitions(found, dict(context.lags()), now_us, clock),
        reasons=[(name, count, REASONS.get(name, "").replace("`", "")) for name, count in found.reasons.items()],
        query=query,
        sees=sees,
        may=may,
        decides=decides,
        csrf=caller.session.csrf if decides and caller.session is not None else "",
        letters=[_letter(row, last, clock) for row, last in listed.rows],
        more=listed.more,
        letter=None if one is None else _whole(one, past, clock),
        topics=config.kafka.topics,
        samples=found.samples,
        covered=_covered(found),
        budget=found.budget,
        sinks=found.sinks,
        undelivered=[_undelivered(row, config, clock) for row in found.undelivered],
        silences=_silences(context, found, clock, now_us),
        percent=lambda share: f"{percent(share)} %",
        ago=lambda us: ago(now_us - us),
    )


def ago(us: int) -> str:
    """A length of time in words, cut to what matters: ``40 s``, ``12 min``, ``5 h``, ``3 days``."""
    us = max(0, us)
    if us < 2 * MINUTE_US:
        return f"{us // 1_000_000} s"
    if us < 2 * HOUR_US:
        return f"{us // MINUTE_US} min"
    return f"{us // HOUR_US} h" if us < 2 * DAY_US else f"{us // DAY_US} days"


def _position(text: str) -> tuple[str, int, int] | None:
    if not text:
        return None
    try:
        found = letters.parse_position(text)
    except ValueError as error:
        raise BadParameter("letter", str(error)) from None
    if max(found[1:]) >= 2**31:
        raise BadParameter("letter", f"{text!r} is out of range")
    return found


def _facts(found: Health, lag: int | None, now_us: int, clock: Clock) -> list[tuple[str, str, str]]:
    """(what, its value, what is to be said beside it)."""
    closed, evaluated = found.closed_us, found.evaluated_us
    return [
        (
            "Records behind",
            "–" if lag is None else count_text(lag),
            "not known: this process reads none" if lag is None else "",
        ),
        (
            "Windows closed",
            "none yet" if closed is None else f"{ago(now_us - closed)} behind the clock",
            "" if closed is None else f"until {clock.at(closed)}",
        ),
        (
            "Evaluated",
            "nothing yet" if evaluated is None else f"{ago((closed or evaluated) - evaluated)} behind those",
            "" if evaluated is None else f"until {clock.at(evaluated)}",
        ),
        ("Events", count_text(sum(p.events for p in found.partitions)), _of_events(found)),
        ("Dead letters", count_text(sum(found.reasons.values())), "kept, and no event by now"),
    ]


def _of_events(found: Health) -> str:
    late = sum(p.late_events for p in found.partitions)
    return f"{sum(p.duplicates for p in found.partitions):,} duplicates left out, {late:,} came late"


def _partitions(found: Health, lags: dict[str, int], now_us: int, clock: Clock) -> list[dict[str, Any]]:
    newest = max((p.watermark_us or 0 for p in found.partitions), default=0)
    rows = []
    for p in found.partitions:
        mark = p.watermark_us if p.begun or p.watermark_us else None
        lag = lags.get(f"{p.topic}/{p.partition}")
        rows.append(
            {
                "name": f"{p.topic}/{p.partition}",
                "lag": "–" if lag is None else count_text(lag),
                "watermark": "holds nothing" if mark is None else "holds everything" if not mark else clock.at(mark),
                "behind": "" if not mark else f"{ago(now_us - mark)} behind the clock",
                # What keeps all windows open: far behind the furthest.
                "holds": bool(mark) and newest - (mark or 0) > 10 * MINUTE_US,
                "next": p.next_offset,
                "events": p.events,
                "late": p.late_events,
                "duplicates": p.duplicates,
                "letters": p.dead_letters,
                "owner": p.owner,
            }
        )
    return rows


def _letter(row: LetterRow, last: Retry | None, clock: Clock) -> dict[str, Any]:
    return {
        "position": row.position,
        "time": clock.short(row.time_us) if row.time_us >= 0 else "no timestamp",
        "reason": row.reason,
        "detail": row.detail,
        "size": row.size,
        "state": "" if last is None else _state(last),
        "open": row.size is not None and (last is None or last.state == "refused"),
        "topic": row.topic,
    }


def _whole(row: LetterRow, past: list[Retry], clock: Clock) -> dict[str, Any]:
    original = row.original
    text, encoding = "", "utf-8"
    if original is not None:
        cut = original[:LETTER_BYTES]
        try:
            text = cut.decode()
        except UnicodeDecodeError as error:
            # A character that the cut divides is none of the bytes' faults.
            if len(original) > LETTER_BYTES and error.start >= LETTER_BYTES - 3:
                text = cut[: error.start].decode()
            else:
                text, encoding = cut.hex(" "), "hex"
    return {
        **_letter(row, past[-1] if past else None, clock),
        "meaning": REASONS.get(row.reason, "").replace("`", ""),
        "kept": original is not None,
        "text": text,
        "hex": encoding == "hex",
        "left": max(0, len(original or b"") - LETTER_BYTES),
        "past": [
            {
                "who": one.who or "somebody",
                "asked": clock.at(one.asked_us),
                "state": _state(one),
                "detail": one.detail,
                "done": None if one.done_us is None else clock.at(one.done_us),
            }
            for one in past
        ],
    }


def _state(last: Retry) -> str:
    return {
        "asked": "waits to be read again",
        "entered": "is an event by now",
        "duplicate": "was counted already",
        "refused": f"read again, still no event ({last.reason})",
    }.get(last.state, last.state)


def _covered(found: Health) -> str:
    s = found.samples
    lost = sum(s.missing.values())
    if not s.embedded + lost:
        return "none in the last day"
    return f"{percent(s.embedded / (s.embedded + lost))} % of {count_text(s.embedded + lost)}"


def _undelivered(row: OutboxRow, config: Config, clock: Clock) -> dict[str, Any]:
    carried = is_carried(config, row.sink)
    return {
        "sink": row.sink,
        "key": row.key,
        "anomaly": row.kind == "anomaly",
        "kind": row.kind.replace("_", " "),
        "state": {"failed": "refused", "pending": "waiting"}[row.state],
        "bad": row.state == "failed" or not carried,
        "attempts": row.attempts,
        "next": "never: no such sink"
        if not carried
        else "not again"
        if row.due_us == NEVER
        else clock.short(row.due_us),
        "resend": row.state == "failed" and carried,
        "dismiss": row.state == "failed" or not carried,
        "error": row.error,
    }


def _silences(context: Context, found: Health, clock: Clock, now_us: int) -> dict[str, Any] | None:
    """What is known of silences; None where no Alertmanager is configured."""
    asked = silences.asked(context)
    if asked is None:
        return None
    latest = asked.latest()
    if latest is None:
        return {"known": False, "unknown": [], "rows": []}
    standing = set(found.open_anomalies)
    rows = [
        {
            "anomaly": anomaly,
            "until": clock.at(one.until_us),
            "who": one.who,
            "comment": one.comment,
        }
        for anomaly, of in sorted(latest.by_anomaly.items())
        if anomaly in standing
        for one in of
        if one.until_us > now_us
    ]
    return {"known": True, "unknown": latest.unknown, "rows": rows[:MOST_SILENCES]}
