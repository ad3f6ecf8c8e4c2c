"""Grafana annotations through grafana-client: an interval per anomaly, closed when it is resolved.

``POST /api/annotations`` opens it, ``PATCH /api/annotations/:id`` changes its text and closes it. The tag
``anomaly:<id>`` makes it idempotent: as long as no answer has told the annotation's id, it is looked for by that tag
before another one is made, since an answer may be lost, or whoever waited for it.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from alerts.grafana import connect
from alerts.rendering import Links, Promises, is_resolved, resolved_at, segment, since, summary, told
from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent


@dataclass(frozen=True, slots=True)
class GrafanaTarget:
    """A Grafana and a service account token that may write annotations."""

    url: str
    token: str | None = None
    dashboard_uid: str | None = None  # None: an annotation of the organisation, shown wherever its tags are asked for
    timeout_s: float = 5.0
    links: Links = Links()  # noqa: RUF009 - frozen, so one instance for all is safe
    promises: Promises = Promises()  # noqa: RUF009


_SUMMARISED = ("What", "Where", "Behind it")  # in the summary, and among the tags


class GrafanaSink:
    batch = 10

    def __init__(self, target: GrafanaTarget) -> None:
        self._target = target
        self._annotations = _connect(target)

    def longest_us(self, deliveries: int) -> int:
        return round(3 * self._target.timeout_s * deliveries * 1e6)  # look for it, post, close

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for delivery in deliveries:
            outcome = self._send(delivery)
            outcomes.append(outcome)
            if isinstance(outcome, Retry):
                outcomes += [Retry(outcome.error, d.remote) for d in deliveries[len(outcomes) :]]
                break
        return outcomes

    def close(self) -> None:
        self._annotations.client.s.close()

    def _send(self, delivery: Delivery) -> Outcome:
        remote = dict(delivery.remote)
        try:
            if "annotation" not in remote:  # also at the first attempt: its sender may have died after the POST
                remote.update(self._look_for(delivery))
            if "annotation" in remote:
                self._annotations.partial_update_annotation(remote["annotation"], **self._fields(delivery))
            else:
                answer = self._annotations.add_annotation(
                    dashboard_uid=self._target.dashboard_uid, **self._fields(delivery)
                )
                remote["annotation"] = _identity(answer)
        except Exception as error:  # the client leaks exceptions of the HTTP library it is built on
            return _failure(error, remote)
        return Sent(remote)

    def _fields(self, delivery: Delivery) -> dict[str, Any]:
        """Time and end in epoch milliseconds. A PATCH without tags would clear them, so all fields go each time."""
        document = delivery.payload
        if delivery.kind == "deploy":
            at = int(document["time_us"]) // 1000
            text = _announcement(document)  # escaped already
            return {"time_from": at, "time_to": at, "tags": _tags(delivery), "text": text}
        start_us = since(document)
        end_us = resolved_at(document) if is_resolved(document) else None
        rest = [f"{name}: {text}" for name, text in told(document, self._target.promises) if name not in _SUMMARISED]
        pointers = [f"{name}: {url}" for name, url in self._target.links.of(document).items() if name != "dashboard"]
        return {
            "time_from": start_us // 1000,
            "time_to": max(start_us, end_us or delivery.created_us or start_us) // 1000,
            "tags": _tags(delivery),
            # Grafana shows the text as HTML that it cleans; names from the data are no markup to begin with.
            "text": escape("\n".join([summary(document), *rest, *pointers]), quote=False),
        }

    def _look_for(self, delivery: Delivery) -> dict[str, int]:
        """The annotation that there may be already; the client does not escape tags, so it is done here."""
        found = self._annotations.find_annotations(tags=[quote(_tag(delivery), safe="")], limit=1)
        return {"annotation": _identity(found[0])} if isinstance(found, list) and found else {}


def _connect(target: GrafanaTarget) -> Any:
    client = connect(target.url, target.token, target.timeout_s)
    from grafana_client.elements.annotations import Annotations

    return Annotations(client)


def _tags(delivery: Delivery) -> list[str]:
    document: Mapping[str, Any] = delivery.payload
    if delivery.kind == "deploy":
        places = (("route", document["route"]), ("segment", document["segment"]))
        return ["driftline", "deploy", _tag(delivery), *(f"{name}:{value}" for name, value in places if value)]
    facts = (("segment", segment(document)), ("signal", document.get("signal")), ("severity", document.get("severity")))
    return ["driftline", "anomaly", _tag(delivery), *(f"{name}:{value}" for name, value in facts if value)]


def _tag(delivery: Delivery) -> str:
    return delivery.key if delivery.kind == "deploy" else f"anomaly:{delivery.key}"


def _announcement(deploy: Mapping[str, Any]) -> str:
    where = ", ".join(html.escape(deploy[name]) for name in ("route", "segment") if deploy[name]) or "all routes"
    said = f": {html.escape(deploy['note'])}" if deploy["note"] else ""
    return f"{html.escape(deploy['version'])} deployed ({where}) by {html.escape(deploy['who'])}{said}"


def _identity(answer: Any) -> int:
    if isinstance(answer, Mapping) and isinstance(answer.get("id"), int):
        return int(answer["id"])
    raise ValueError(f"expected an annotation with an integer id, got {str(answer)[:100]!r}")


def _failure(error: Exception, remote: Mapping[str, Any]) -> Outcome:
    status = getattr(error, "status_code", None)
    text = f"HTTP {status}: {error}" if status else f"{type(error).__name__}: {error}"
    if status == 404 and "annotation" in remote:
        # Somebody deleted the annotation: make a new one next time.
        return Retry(text, {name: value for name, value in remote.items() if name != "annotation"})
    if status in (400, 413, 422):
        return Refused(text, remote)
    return Retry(text, remote)
