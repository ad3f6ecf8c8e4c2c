"""An issued report on its way to people: one message a sink, in the transaction that archives it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from markupsafe import escape

from alerts.sinks import Delivery
from monitor.alerting import REPORTS
from monitor.config.model import Config
from monitor.report import schedule, telling
from monitor.store.outbox import Message
from monitor.store.reports import Issue

KIND: Final = "report"


def addressees(config: Config) -> list[str]:
    """Outbox names of the sinks that an issued report goes to."""
    return [*config.report.sinks, *([REPORTS] if config.report.folder is not None else [])]


def messages(config: Config, issue: Issue, pages: Mapping[str, str], now_us: int) -> list[Message]:
    """What the outbox is to send: the pages as they were issued. An issue has one key, and is sent once."""
    days = name(issue.from_us, issue.to_us, config.timezone)
    key = f"report-{days}-{issue.from_us // 1_000_000}-{issue.to_us // 1_000_000}-{issue.revision}"
    payload = {
        "title": title(msgspec.json.decode(pages["json"])),
        "name": f"report-{days}" if issue.revision == 1 else f"report-{days}-revision-{issue.revision}",
        "revision": issue.revision,
        "pages": dict(pages),
    }
    return [Message(sink, key, KIND, payload, now_us, now_us) for sink in addressees(config)]


def trial(config: Config, key: str, now_us: int) -> Delivery:
    """A message in place of a report that says it is a test, and what to expect; ``key``: its own. It goes past the
    outbox and the archive."""
    wanted, zone = config.report.schedule, config.timezone
    due = "no schedule is configured, so that reports are issued by hand"
    if wanted is not None:
        at = datetime.fromtimestamp(schedule.next_due(wanted, now_us, zone) / 1e6, ZoneInfo(zone))
        due = f"the next one is due on {at:%A %Y-%m-%d %H:%M} ({zone})"
    head = "[test] driftline: where the weekly report goes"
    text = f"This is a test by `driftline report --test`: it tells of no week. The weekly report comes here; {due}."
    return Delivery(
        key=key,
        kind=KIND,
        payload={
            "title": head,
            "name": "test-of-reports",
            "revision": 0,
            "test": True,
            "pages": {
                "md": f"# {head}\n\n{text}\n",
                "html": f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(head)}</title>\n'
                f"<h1>{escape(head)}</h1>\n<p>{escape(text)}</p>\n</html>\n",
                "json": json.dumps({"test": True, "title": head, "text": text}) + "\n",
            },
        },
        created_us=now_us,
    )


def name(from_us: int, to_us: int, zone: str) -> str:
    """``FROM-TO``: the first day and the day after the last."""
    return "-".join(f"{datetime.fromtimestamp(us / 1e6, ZoneInfo(zone)):%Y-%m-%d}" for us in (from_us, to_us))


def title(document: Mapping[str, Any]) -> str:
    """One line for a subject: ``driftline, 2026-01-12 to 2026-01-18: 2 alarms, 1,047.33 EUR (+10 %)``."""
    zone = ZoneInfo(document["timezone"])
    begin, end = (datetime.fromisoformat(document[edge]).astimezone(zone) for edge in ("since", "until"))
    last = end - timedelta(seconds=1)
    opened = sum(not one["opened_before"] and one["severity"] != "report" for one in document["alarms"])
    told = "1 alarm" if opened == 1 else f"{opened or 'no'} alarms"
    bill = document["bill"]
    moved = telling.share(bill["spent"], bill["before"]) if bill["before"] else ""
    revised = f" (revision {document['revision']})" if document["revision"] > 1 else ""
    spent = telling.money(bill["spent"], document["currency"])
    return f"driftline, {begin:%Y-%m-%d} to {last:%Y-%m-%d}{revised}: {told}, {spent}{moved}"
