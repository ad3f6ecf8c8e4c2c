"""What Alertmanager keeps quiet, shown back: which alerts of driftline are silenced there, until when and by whom.

Alertmanager says itself which silences hold for an alert, so that no matcher is understood twice. It is asked beside
the requests and never by one: a peer that is slow or away makes no page wait, it makes the answer unknown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from alerts.rendering import ALERT_NAME
from monitor.config.alerts import AlertmanagerSink
from monitor.config.model import Config
from monitor.serve.anomalies.words import Clock
from monitor.serve.beside import Beside
from monitor.serve.context import Context
from monitor.times import parse_time

EVERY_S = 30.0
TIMEOUT_S = 2.0
OLD_S = 120.0  # an answer from longer ago is not shown: silences end
MOST_BYTES = 8 << 20
MOST_TEXT = 200
SIZE = 10_000  # bytes, about, of what is remembered


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence: ``until_us`` (wall clock), who made it and why."""

    silence_id: str
    until_us: int
    who: str
    comment: str


@dataclass(frozen=True, slots=True)
class Silences:
    """By anomaly the silences that hold for its alert, as one peer of each cluster said at ``asked_s`` (seconds that
    only go forward). ``unknown``: (sink, why) where no peer answered."""

    by_anomaly: Mapping[str, tuple[Silence, ...]]
    unknown: tuple[tuple[str, str], ...]
    asked_s: float


class NoAnswer(Exception):
    """A peer did not answer as Alertmanager does; the message says what happened, without its address."""


def ask(sinks: Mapping[str, Sequence[str]], timeout_s: float = TIMEOUT_S) -> Silences:
    """Ask a peer of every sink (name: base URLs of one cluster), the next one where it does not answer."""
    found: dict[str, list[Silence]] = {}
    unknown = []
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(timeout=timeout_s, trust_env=False, follow_redirects=False, limits=limits) as client:
        for name, urls in sinks.items():
            why = []
            for url in urls:
                try:
                    for anomaly, silence in _of_peer(client, url, timeout_s):
                        found.setdefault(anomaly, []).append(silence)
                    break
                except NoAnswer as error:
                    why.append(f"{urlsplit(url).hostname or 'peer'}: {error}")
            else:
                unknown.append((name, "; ".join(why)))
    by_anomaly = {
        anomaly: tuple(sorted({one.silence_id: one for one in of}.values(), key=lambda one: -one.until_us))
        for anomaly, of in found.items()
    }
    return Silences(by_anomaly, tuple(unknown), time.monotonic())


def _of_peer(client: httpx.Client, url: str, timeout_s: float) -> list[tuple[str, Silence]]:
    """(anomaly, silence that holds for its alert) as a peer says. Raises NoAnswer."""
    base = url.rstrip("/") + "/api/v2"
    filters = {"filter": f'alertname="{ALERT_NAME}"', "active": "false", "inhibited": "false", "silenced": "true"}
    alerts = _json(client, f"{base}/alerts", filters, timeout_s)
    if not alerts:
        return []
    silences = {one.silence_id: one for one in map(_silence, _json(client, f"{base}/silences", {}, timeout_s)) if one}
    found = []
    for alert in alerts:
        labels, status = (alert.get(key) if isinstance(alert, dict) else None for key in ("labels", "status"))
        if not isinstance(labels, dict) or not isinstance(status, dict):
            continue
        by = status.get("silencedBy")
        for identity in by if isinstance(by, list) else ():
            silence = silences.get(identity) if isinstance(identity, str) else None
            if silence is not None:
                found.append((str(labels.get("id", "")), silence))
    return found


def _json(client: httpx.Client, url: str, params: Mapping[str, str], timeout_s: float) -> list[Any]:
    until = time.monotonic() + timeout_s
    try:
        with client.stream("GET", url, params=params) as answer:
            if answer.status_code != 200:
                raise NoAnswer(f"HTTP {answer.status_code}")
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > MOST_BYTES:
                    raise NoAnswer("an answer of more than 8 MB")
                if time.monotonic() > until:
                    raise NoAnswer(f"no whole answer within {timeout_s:g} s")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoAnswer(type(error).__name__) from None
    try:
        found = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise NoAnswer("no JSON") from None
    if not isinstance(found, list):
        raise NoAnswer("no list")
    return found


def _silence(found: Any) -> Silence | None:
    if not isinstance(found, dict):
        return None
    try:
        until = parse_time(str(found.get("endsAt")))
    except (ValueError, OverflowError):
        return None
    who, comment = (str(found.get(key) or "")[:MOST_TEXT] for key in ("createdBy", "comment"))
    return Silence(str(found.get("id")), until, who, comment)


class Asked:
    """What Alertmanager said last. ``wanted``: base URLs of the peers by sink."""

    def __init__(self, wanted: Mapping[str, Sequence[str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beside = Beside(lambda: ask(wanted), EVERY_S, clock)

    def latest(self, wait_s: float = 0.0) -> Silences | None:
        """The last answer; None before there is one, or where it is old."""
        found: Silences | None = self._beside.latest(wait_s)
        return found if found is not None and self._clock() - found.asked_s <= OLD_S else None


def peers(config: Config) -> dict[str, tuple[str, ...]]:
    """Base URLs of Alertmanager's peers by the name of the sink."""
    return {name: sink.urls for name, sink in config.alerts.sinks.items() if isinstance(sink, AlertmanagerSink)}


def asked(context: Context) -> Asked | None:
    """What is known of silences; None where no Alertmanager is configured."""
    wanted = peers(context.config())
    if not wanted:
        return None
    return context.remembered.value(("silences",), tuple(sorted(wanted.items())), lambda: Asked(wanted), lambda _: SIZE)


def told(context: Context, clock: Clock) -> Callable[[str], list[str]]:
    """What to say of an anomaly by its id: ``silenced in Alertmanager until … by …``; nothing where none is known."""
    found = asked(context)
    latest = None if found is None else found.latest()
    if latest is None:
        return lambda anomaly: []
    now_us = int(context.clock() * 1e6)

    def of(anomaly: str) -> list[str]:
        return [words(one, clock) for one in latest.by_anomaly.get(anomaly, ()) if one.until_us > now_us][:1]

    return of


def words(silence: Silence, clock: Clock) -> str:
    """One silence in a few words."""
    by = f" by {silence.who}" if silence.who else ""
    return f"silenced in Alertmanager until {clock.short(silence.until_us)}{by}"
