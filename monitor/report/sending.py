"""An issued report on its way to people: one message a sink, in the transaction that archives it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from monitor.alerting import REPORTS
from monitor.config.model import Config
from monitor.report import telling
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
