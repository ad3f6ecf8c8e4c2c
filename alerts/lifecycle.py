"""The life of an anomaly: opened, updated while it lasts, resolved; and who is told of which of these.

Pure functions over `Anomaly`. Opening and resolving are told; an update changes the record alone, so that a long
anomaly does not notify every hour. A re-opening is a new anomaly with an id of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from alerts.anomaly import (
    SLICE_PREFIX,
    Anomaly,
    Effect,
    Explanation,
    Fact,
    Severity,
    anomaly_id,
    to_document,
)
from monitor.store.outbox import Message

SENT: Final[tuple[Severity, ...]] = ("page", "ticket")
"""Severities that are sent where a sink does not say; a report is only recorded."""


@dataclass(frozen=True, slots=True)
class SendingRules:
    """Who is told. Times in µs.

    ``sinks``: names of sinks, in the order configured; ``severities``: which of them each one takes, where that is not
    `SENT`; ``of_owner``: the sinks of an owner, where these are not all. An anomaly detected more than ``max_age_us``
    (wall clock) after its opening (event time) is historic and not sent unless ``send_historic``.
    """

    sinks: tuple[str, ...] = ()
    max_age_us: int = 6 * 3_600_000_000
    send_historic: bool = False
    links: Mapping[str, str] = field(default_factory=dict)
    severities: Mapping[str, tuple[Severity, ...]] = field(default_factory=dict)
    of_owner: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def addressees(self, owner: str, severity: Severity) -> tuple[str, ...]:
        """The sinks that are told of an owner's anomaly of a severity."""
        theirs = self.of_owner.get(owner, self.sinks)
        return tuple(s for s in self.sinks if s in theirs and severity in self.severities.get(s, SENT))


def open_anomaly(
    *,
    owner: str,
    route: str,
    severity: Severity,
    fact: Fact,
    explanation: Explanation,
    detected_us: int,
    rules: SendingRules,
) -> Anomaly:
    """A new anomaly with its first fact. ``detected_us`` is the wall clock."""
    is_slice = fact.subject.startswith(SLICE_PREFIX)
    return Anomaly(
        id=anomaly_id(owner, fact.subject, fact.signal, fact.opened),
        owner=owner,
        segment=None if is_slice else fact.subject,
        slice=fact.subject[len(SLICE_PREFIX) :] if is_slice else None,
        route=route,
        signal=fact.signal,
        detector=fact.detector,
        facts=[fact],
        state="open",
        severity=severity,
        since=fact.since,
        opened=fact.opened,
        updated=fact.opened,
        evidence=fact.evidence,
        effect=fact.effect,
        explanation=explanation,
        links=dict(rules.links),
        historic=is_historic(fact.opened, detected_us, rules),
    )


def is_historic(opened_us: int, detected_us: int, rules: SendingRules) -> bool:
    """Whether what opened in event time was detected (wall clock) too late to tell anybody."""
    return detected_us - opened_us > rules.max_age_us


def join(anomaly: Anomaly, fact: Fact, *, historic: bool = False) -> Anomaly:
    """The open anomaly with another fact; one that is over already is replaced by its stream's new one.

    ``historic``: whether the fact was detected too late to tell anybody. With one that was not, nor is the anomaly.
    """
    kept = [known for known in anomaly.facts if known.stream != fact.stream or known is anomaly.facts[0]]
    if kept[0].stream == fact.stream:
        # The opener's stream is back before the others are over: what it opened with stays told.
        kept[0] = msgspec.structs.replace(
            kept[0], resolved=None, effect=fact.effect, sentence=fact.sentence, evidence=fact.evidence
        )
        changed = msgspec.structs.replace(anomaly, facts=kept, effect=fact.effect)
    else:
        changed = msgspec.structs.replace(anomaly, facts=[*kept, fact])
    return msgspec.structs.replace(changed, updated=fact.opened, historic=anomaly.historic and historic)


def update(anomaly: Anomaly, stream: tuple[str, str], *, at_us: int, effect: Effect, sentence: str) -> Anomaly:
    """The anomaly with what is known of one of its facts at ``at_us`` (event time)."""
    changed = _with_fact(anomaly, stream, at_us, effect=effect, sentence=sentence)
    return msgspec.structs.replace(changed, effect=changed.facts[0].effect)


def explain(anomaly: Anomaly, explanation: Explanation, *, at_us: int) -> Anomaly:
    """The anomaly with an explanation in place of the one before."""
    return msgspec.structs.replace(anomaly, explanation=explanation, updated=at_us)


def with_sentence(explanation: Explanation, sentence: str) -> Explanation:
    """The explanation, told in ``sentence``."""
    return msgspec.structs.replace(explanation, sentence=sentence)


def resolve(anomaly: Anomaly, stream: tuple[str, str], *, at_us: int) -> Anomaly:
    """The anomaly after one of its facts is over at ``at_us`` (event time); over itself if that was the last one."""
    changed = _with_fact(anomaly, stream, at_us, resolved=at_us)
    if any(fact.resolved is None for fact in changed.facts):
        return changed
    return msgspec.structs.replace(changed, state="resolved", resolved=at_us)


def _with_fact(anomaly: Anomaly, stream: tuple[str, str], at_us: int, **changes: object) -> Anomaly:
    facts = [msgspec.structs.replace(f, **changes) if f.stream == stream else f for f in anomaly.facts]
    return msgspec.structs.replace(anomaly, facts=facts, updated=at_us)


def messages(
    anomaly: Anomaly,
    rules: SendingRules,
    now_us: int,
    muted_until_us: int = 0,
    told_before: Collection[str] = (),
) -> list[Message]:
    """What is to be told of an anomaly that has just opened or resolved, one message per sink; of one that is muted
    when that ends.

    ``told_before``: sinks that were sent it already. That it is over is told to them as well, whatever the
    configuration has become: an Alertmanager would hold it for ever.
    """
    if anomaly.historic and not rules.send_historic:
        return []
    sinks = list(rules.addressees(anomaly.owner, anomaly.severity))
    if anomaly.state == "resolved":
        sinks += sorted((set(told_before) & set(rules.sinks)) - set(sinks))
    if not sinks:
        return []
    document = to_document(anomaly)
    return [
        Message(
            sink=sink,
            key=anomaly.id,
            kind="anomaly",
            payload=document,
            created_us=now_us,
            due_us=max(now_us, muted_until_us),
        )
        for sink in sinks
    ]
