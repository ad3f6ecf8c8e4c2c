"""Alarms of a period as the report tells them, and what the budgets promised."""

from __future__ import annotations

import base64
import re
from typing import Any

from sqlalchemy import Connection, select

from alerts import explained
from alerts.rendering import Links
from monitor.config.model import Config
from monitor.evaluate.incidents import NEW_SEGMENT
from monitor.evaluate.story import named
from monitor.evaluate.streams import Ownership
from monitor.report.model import Alarm, Picture, Promise
from monitor.store import anomalies, outbox, responses
from monitor.store.tables import sample_content
from monitor.times import iso

PICTURES = 3  # before, and as many now, of an alarm
MOST_PICTURED = 12  # alarms with pictures: a page is to stay below some megabytes
CAUSES = 6
LEAST_STAGE = 0.01  # of the time: less is not worth a line


def alarms_between(connection: Connection, from_us: int, to_us: int, app_url: str | None) -> list[Alarm]:
    """Anomalies that opened in [from, to), or were open when it began; what is new first, the gravest before others.
    ``app_url``: where their pages are, where that is known."""
    rows = [
        row
        for row in anomalies.list_anomalies(connection, to_us=to_us, limit=None)
        if row.signal != NEW_SEGMENT and (row.resolved_us is None or row.resolved_us >= from_us)
    ]
    stands = responses.standing(connection, [row.anomaly_id for row in rows])
    rank = {"page": 0, "ticket": 1, "report": 2}
    # What is new comes first, and has the pictures.
    rows.sort(key=lambda row: (row.opened_us < from_us, rank.get(row.severity, 3), row.opened_us, row.anomaly_id))
    links = Links(app_url=app_url)
    found = []
    for position, row in enumerate(rows):
        said = stands.get(row.anomaly_id, responses.NOTHING)
        told = [one for one in outbox.deliveries(connection, row.anomaly_id) if one.state == "sent"]
        found.append(
            Alarm(
                id=row.anomaly_id,
                owner=row.owner,
                segment=row.segment,
                signal=row.signal,
                severity=row.severity,
                state=row.state,
                opened=iso(row.opened_us),
                resolved=None if row.resolved_us is None else iso(row.resolved_us),
                opened_before=row.opened_us < from_us,
                sentence=_worded(str((row.document.get("explanation") or {}).get("sentence", "")), row.document),
                short=_worded(_short(row.document), row.document),
                causes=_causes(row.document),
                marked=None if said.marked is None else said.marked.action,
                accepted=said.accepted is not None,
                acknowledged=said.acknowledged is not None,
                told=len(told),
                pictures=_pictures(connection, row.document) if position < MOST_PICTURED else [],
                page=links.app(row.anomaly_id),
            )
        )
    return found


def _short(document: dict[str, Any]) -> str:
    """The opener's own sentence, and the first thing that was found behind it."""
    fact = str(next((one["sentence"] for one in document.get("facts") or ()), ""))
    story = str((document.get("explanation") or {}).get("sentence", ""))
    behind = story.removeprefix(fact).strip()
    if not fact or not story.startswith(fact) or behind.startswith(("No explanation", "With it changed")):
        return fact or story
    first = re.split(r"; |\. ", behind, maxsplit=1)[0].rstrip(".")
    return f"{fact} {first}." if first else fact


def _causes(document: dict[str, Any]) -> list[str]:
    """What was found behind it, a line each, without attribute values that the story names and stages that hold next to
    nothing."""
    explanation = dict(document.get("explanation") or {})
    story = str(explanation.get("sentence", ""))
    explanation["attributes"] = [
        entry for entry in explanation.get("attributes") or () if f"{entry['attribute']} {entry['value']}" not in story
    ]
    explanation["stages"] = [
        stage
        for stage in explanation.get("stages") or ()
        if max(stage["now"] or 0.0, stage["before"] or 0.0) >= LEAST_STAGE
    ]
    lines: list[str] = []
    for line in explained.causes({**document, "explanation": explanation}):
        if line.startswith(" ") and lines:  # a part of the line before
            lines[-1] += f"{' ' if lines[-1].endswith('of which') else '; '}{line.strip()}"
        else:
            lines.append(line)
    return [_worded(line, document) for line in lines[:CAUSES]]


def _worded(text: str, document: dict[str, Any]) -> str:
    """Names of signals and conditions in words: ``cost p95`` of ``cost_p95``."""
    words = {fact["signal"]: fact["signal"].replace("_", " ") for fact in document.get("facts") or ()}
    words |= {one["name"]: named(one["name"]) for one in (document.get("explanation") or {}).get("conditions") or ()}
    for name in sorted((name for name in words if "_" in name), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", words[name], text)
    return text


def _pictures(connection: Connection, document: dict[str, Any]) -> list[Picture]:
    """Thumbnails of the sessions that the anomaly points to, as far as they are kept."""
    wanted: list[tuple[str, str]] = []
    for role in ("typical_before", "typical_now"):
        ids = [e["sample_id"] for e in (document.get("explanation") or {}).get("exemplars") or () if e["role"] == role]
        wanted += [(role, one) for one in ids[:PICTURES]]
    query = select(sample_content.c.sample_id, sample_content.c.thumbnail).where(
        sample_content.c.sample_id.in_([one for _, one in wanted]), sample_content.c.thumbnail.is_not(None)
    )
    kept = {row.sample_id: bytes(row.thumbnail) for row in connection.execute(query)} if wanted else {}
    return [Picture(role, one, base64.b64encode(kept[one]).decode()) for role, one in wanted if one in kept]


def promises_between(
    connection: Connection, config: Config, from_us: int, to_us: int, begun_us: int | None
) -> list[Promise]:
    """Each owner's budgets over a stretch of this length, beside what opened and how it was marked. Before the first
    window (``begun_us``, None before any) nothing was watched, and nothing allowed."""
    watched_us = to_us - max(from_us, min(to_us, to_us if begun_us is None else begun_us))
    ownership = Ownership(config)
    found = []
    for owner in [*config.owners, "default"] if "default" not in config.owners else list(config.owners):
        for severity in ("page", "ticket"):
            allowance = ownership.allowance(owner, severity)
            said = responses.marks(connection, owner=owner, severity=severity, from_us=from_us, to_us=to_us)
            if owner == "default" and config.owners and not said.opened:
                continue
            found.append(
                Promise(
                    owner,
                    severity,
                    str(allowance),
                    allowance.per_us * watched_us,
                    said.opened,
                    said.real,
                    said.false,
                )
            )
    return found
