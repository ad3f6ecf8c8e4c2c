"""Alertmanager API v2: every alert to every peer, firing ones again and again, resolved ones for a while.

An alert's identity is its label set, so sending twice is harmless. A firing alert carries an ``endsAt`` some
minutes ahead and is re-sent well before: if driftline dies for less than that nothing flaps, and if it dies for
good the alert ends by itself. Which peer has which revision is kept in ``remote``, so a peer that was down gets
what it missed, and the others are not told again because of it. So is the pause that a peer asked for: it is that
peer's alone, and never so long that what it holds would end.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from alerts.rendering import Links, Promises, annotations, is_resolved, labels, rfc3339, since
from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent
from alerts.sinks.http import Answer, Poster, Unreachable, explain, judge

RESEND_RESOLVED_US = 5 * 60_000_000
"""How long a resolved alert is re-sent to a peer, so that a peer restarted meanwhile hears of it."""

_MAX_TEXT = 4000
"""Characters of an annotation that are sent: a hundred facts would be re-sent every minute, and receivers take less."""


@dataclass(frozen=True, slots=True)
class AlertmanagerPeers:
    """Every peer of one cluster (base URLs). A firing alert ends ``hold_us`` after it was last sent."""

    urls: tuple[str, ...]
    resend_every_us: int = 60_000_000
    hold_us: int = 0  # 0: ten times resend_every_us
    timeout_s: float = 5.0
    links: Links = Links()  # noqa: RUF009 - frozen, so one instance for all is safe
    promises: Promises = Promises()  # noqa: RUF009

    @property
    def ends_after_us(self) -> int:
        return self.hold_us or 10 * self.resend_every_us


@dataclass(frozen=True, slots=True)
class _PeerResult:
    """What one peer did: indexes it stored, those it refused with the reason, and why the rest is unknown."""

    stored: frozenset[int]
    refused: Mapping[int, str]
    retry: Retry | None = None


class AlertmanagerSink:
    batch = 100

    def __init__(self, peers: AlertmanagerPeers) -> None:
        self._peers = peers
        self._poster = Poster(peers.timeout_s)
        self._threads = ThreadPoolExecutor(len(peers.urls), thread_name_prefix="alertmanager")

    def longest_us(self, deliveries: int) -> int:
        # A 400 for an array makes each of its alerts go alone, so the bound counts that.
        return round(self._peers.timeout_s * (deliveries + 1) * 1e6)

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        alerts = [self._alert(delivery, now_us) for delivery in deliveries]
        wanted = {
            url: [i for i, delivery in enumerate(deliveries) if self._wants(delivery, url, now_us)]
            for url in self._peers.urls
        }
        work = {
            url: self._threads.submit(self._push, url, alerts, indexes, now_us)
            for url, indexes in wanted.items()
            if indexes
        }
        results = {url: future.result() for url, future in work.items()}
        return [
            self._outcome(delivery, alerts[i], i, {u: results[u] for u in results if i in wanted[u]}, now_us)
            for i, delivery in enumerate(deliveries)
        ]

    def close(self) -> None:
        self._threads.shutdown(wait=False)
        self._poster.close()

    def _alert(self, delivery: Delivery, now_us: int) -> dict[str, Any]:
        document = delivery.payload
        # What was sent first stays: a label that changed would be another alert, and the old one would linger.
        identity = dict(delivery.remote.get("labels") or labels(document))
        told = annotations(document, self._peers.links, self._peers.promises)
        told |= {name: _cut(told[name]) for name in ("summary", "description")}
        # People are told when the anomaly was found resolved, not when its event time says: a resolution
        # before the alert's last endsAt is what Alertmanager expects.
        end_us = delivery.created_us if is_resolved(document) else now_us + self._peers.ends_after_us
        start_us = min(since(document), end_us)
        return {
            "labels": identity,
            "annotations": told,
            "startsAt": rfc3339(start_us),
            "endsAt": rfc3339(end_us),
            "generatorURL": told.get("app") or told.get("dashboard") or "",
        }

    def _wants(self, delivery: Delivery, url: str, now_us: int) -> bool:
        """Whether a peer lacks this revision, or has not heard of it for half of the re-send interval; not before the
        pause is over that it asked for."""
        has = _peer(delivery.remote, url)
        return now_us >= has.get("pause_until_us", 0) and (
            has.get("revision") != delivery.revision
            or now_us - has.get("sent_us", 0) >= self._peers.resend_every_us // 2
        )

    def _push(self, url: str, alerts: Sequence[Mapping[str, Any]], indexes: Sequence[int], now_us: int) -> _PeerResult:
        try:
            answer = self._post(url, [alerts[i] for i in indexes])
        except Unreachable as error:
            return _PeerResult(frozenset(), {}, Retry(f"{url}: {error}"))
        if answer.ok:
            return _PeerResult(frozenset(indexes), {})
        if answer.status == 400:
            if len(indexes) == 1:
                return _PeerResult(frozenset(), {indexes[0]: f"{url}: {_reason(answer)}"})
            return self._push_singly(url, alerts, indexes, now_us)
        verdict = judge(answer, {}, now_us)
        after_us = verdict.after_us if isinstance(verdict, Retry) else None
        return _PeerResult(frozenset(), {}, Retry(f"{url}: HTTP {answer.status}: {explain(answer)}", after_us=after_us))

    def _push_singly(
        self, url: str, alerts: Sequence[Mapping[str, Any]], indexes: Sequence[int], now_us: int
    ) -> _PeerResult:
        """The valid ones of the array were stored; which ones, only sending each alone can tell."""
        stored: set[int] = set()
        refused: dict[int, str] = {}
        for i in indexes:
            result = self._push(url, alerts, [i], now_us)
            stored |= result.stored
            refused.update(result.refused)
            if result.retry is not None:
                return _PeerResult(frozenset(stored), refused, result.retry)
        return _PeerResult(frozenset(stored), refused)

    def _post(self, url: str, alerts: Sequence[Mapping[str, Any]]) -> Answer:
        body = json.dumps(alerts, ensure_ascii=False, allow_nan=False).encode()
        return self._poster.post(f"{url.rstrip('/')}/api/v2/alerts", body, {})

    def _outcome(
        self,
        delivery: Delivery,
        alert: Mapping[str, Any],
        index: int,
        results: Mapping[str, _PeerResult],
        now_us: int,
    ) -> Outcome:
        peers = {url: _peer(delivery.remote, url) for url in self._peers.urls}
        failed: dict[str, Retry] = {}
        for url, result in results.items():
            has = peers[url]
            if index in result.stored:
                again = has.get("revision") == delivery.revision
                first_us = has["first_us"] if again else now_us
                peers[url] = {"revision": delivery.revision, "first_us": first_us, "sent_us": now_us}
            elif result.retry is not None:
                failed[url] = result.retry
                has.pop("pause_until_us", None)
                if result.retry.after_us is not None:
                    has["pause_until_us"] = now_us + min(result.retry.after_us, self._longest_pause_us(has, now_us))
        remote = {"labels": dict(alert["labels"]), "peers": peers}
        refused = {url: result.refused[index] for url, result in results.items() if index in result.refused}
        if refused and not any(has.get("revision") == delivery.revision for has in peers.values()):
            return Refused("; ".join(refused.values()), remote)
        # What one peer takes is no fault of the content: it must not end there because another one refuses it.
        failed |= {url: Retry(why) for url, why in refused.items()}
        for url, has in peers.items():
            if url not in results and has.get("pause_until_us", 0) > now_us:
                until = rfc3339(has["pause_until_us"])
                failed[url] = Retry(f"{url}: asked for a pause, until {until}", after_us=has["pause_until_us"] - now_us)
        if failed:
            return self._put_off(delivery.revision, remote, failed, now_us)
        return Sent(remote, self._again(delivery, peers, now_us))

    def _put_off(self, revision: int, remote: Mapping[str, Any], failed: Mapping[str, Retry], now_us: int) -> Retry:
        """When the peers that failed or pause are asked again: neither back-off nor a pause of theirs may let the alert
        end at the others."""
        peers: Mapping[str, Mapping[str, int]] = remote["peers"]
        pauses = [peers[url].get("pause_until_us") for url in failed]
        pausing = [until_us for until_us in pauses if until_us is not None]
        every_us = self._peers.resend_every_us
        due = [has["sent_us"] + every_us - now_us for url, has in peers.items() if url not in failed]
        backs_off = len(pausing) < len(failed)
        return Retry(
            "; ".join(retry.error for retry in failed.values()),
            remote,
            after_us=None if backs_off else min(pausing) - now_us,
            at_most_us=max(0, min(due)) if due else every_us if backs_off else None,
            partly=any(has.get("revision") == revision for has in peers.values()),
        )

    def _longest_pause_us(self, has: Mapping[str, int], now_us: int) -> int:
        """How long a peer may be left alone: half as long as what it holds lasts, from when it heard of it."""
        heard_us = has.get("sent_us", now_us)
        return max(self._peers.resend_every_us, heard_us + self._peers.ends_after_us // 2 - now_us)

    def _again(self, delivery: Delivery, peers: Mapping[str, Mapping[str, int]], now_us: int) -> int | None:
        next_us = min(peer["sent_us"] for peer in peers.values()) + self._peers.resend_every_us
        if not is_resolved(delivery.payload):
            return next_us
        told_us = max(peer["first_us"] for peer in peers.values())
        return next_us if next_us <= told_us + RESEND_RESOLVED_US else None


def _peer(remote: Mapping[str, Any], url: str) -> dict[str, int]:
    return dict((remote.get("peers") or {}).get(url) or {})


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _reason(answer: Answer) -> str:
    """Alertmanager answers an error as a JSON string."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        return explain(answer)
    return str(body.get("message", body)) if isinstance(body, dict) else str(body)
