"""The life of an anomaly: opened, updated while it lasts, resolved; and who is told of which of these.

Pure functions over `Anomaly`. Opening and resolving are told; an update changes the record alone, so that a long
anomaly does not notify every hour. A re-opening is a new anomaly with an id of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from alerts.anomaly import (
    SLICE_PREFIX,
    Anomaly,
    Effect,
    Evidence,
    Explanation,
    Fact,
    Severity,
    Since,
    anomaly_id,
    to_document,
)
from monitor.store.outbox import Message

SENT: Final = ("page", "ticket")
"""Severities that are sent; a report is only recorded."""


@dataclass(frozen=True, slots=True)
class SendingRules:
    """Who is told. Times in µs.

    ``sinks``: names of sinks, in the order configured. An anomaly detected more than ``max_age_us`` (wall clock)
    after its opening (event time) is historic and not sent unless ``send_historic``.
    """

    sinks: tuple[str, ...] = ()
    max_age_us: int = 6 * 3_600_000_000
    send_historic: bool = False
    links: Mapping[str, str] = field(default_factory=dict)


def open_anomaly(
    *,
    owner: str,
    subject: str,
    route: str,
    signal: str,
    detector: str,
    severity: Severity,
    since: Since,
    opened_us: int,
    evidence: Evidence,
    effect: Effect,
    sentence: str,
    detected_us: int,
    rules: SendingRules,
) -> Anomaly:
    """A new anomaly. ``opened_us`` is the end of the tick that alarmed (event time), ``detected_us`` the wall clock.

    ``subject`` is a segment or ``slice:<name>``.
    """
    is_slice = subject.startswith(SLICE_PREFIX)
    fact = Fact(
        signal=signal,
        detector=detector,
        opened=opened_us,
        since=since,
        evidence=evidence,
        effect=effect,
        sentence=sentence,
    )
    return Anomaly(
        id=anomaly_id(owner, subject, signal, opened_us),
        owner=owner,
        segment=None if is_slice else subject,
        slice=subject[len(SLICE_PREFIX) :] if is_slice else None,
        route=route,
        signal=signal,
        detector=detector,
        facts=[fact],
        state="open",
        severity=severity,
        since=since,
        opened=opened_us,
        updated=opened_us,
        evidence=evidence,
        effect=effect,
        explanation=Explanation(sentence=sentence),
        links=dict(rules.links),
        historic=detected_us - opened_us > rules.max_age_us,
    )


def update(anomaly: Anomaly, *, at_us: int, effect: Effect, sentence: str) -> Anomaly:
    """The anomaly with what is known at ``at_us`` (event time)."""
    fact = msgspec.structs.replace(anomaly.facts[0], effect=effect, sentence=sentence)
    return msgspec.structs.replace(
        anomaly,
        updated=at_us,
        effect=effect,
        facts=[fact, *anomaly.facts[1:]],
        explanation=msgspec.structs.replace(anomaly.explanation, sentence=sentence),
    )


def resolve(anomaly: Anomaly, *, at_us: int) -> Anomaly:
    """The anomaly, over at ``at_us`` (event time)."""
    return msgspec.structs.replace(anomaly, state="resolved", resolved=at_us, updated=at_us)


def messages(anomaly: Anomaly, rules: SendingRules, now_us: int) -> list[Message]:
    """What is to be told of an anomaly that has just opened or resolved, one message per sink."""
    if anomaly.severity not in SENT or (anomaly.historic and not rules.send_historic):
        return []
    document = to_document(anomaly)
    return [
        Message(sink=sink, key=anomaly.id, kind="anomaly", payload=document, created_us=now_us, due_us=now_us)
        for sink in rules.sinks
    ]
