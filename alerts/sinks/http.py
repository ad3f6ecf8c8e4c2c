"""One HTTP POST that always ends: with a deadline over the whole exchange and a bound on the answer's size."""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from alerts.sinks import Delivery, Outcome, Refused, Retry
from alerts.sinks.watchdog import Watchdog

_MAX_ANSWER = 64 * 1024
_EXPLAIN = 300  # characters of an answer quoted in an error

# The content itself is refused by these; everything else (a wrong token, a missing path, a full server) can be
# mended at the target, and the message is wanted after that.
_REFUSED = frozenset({400, 413, 415, 422})


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Unreachable(Exception):
    """The target did not give a whole HTTP answer: refused, timed out, cut off. What happened is in the text."""


class Poster:
    """Posts bytes. ``timeout_s`` bounds the exchange as a whole, however slowly the target drips its answer."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        # Connections are not kept: an alert is rare, and a pooled connection is often one the target has closed.
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 3.0)),
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
            follow_redirects=False,
        )

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, status_suffices: bool = False) -> Answer:
        """Send ``body``; raises `Unreachable` unless a whole answer came in time, or its head, if that is enough."""
        watchdog = Watchdog(self.timeout_s)
        try:
            with self._client.stream(
                "POST",
                url,
                content=body,
                headers={"Content-Type": "application/json", "User-Agent": "driftline", **headers},
                extensions={"trace": _watching(watchdog)},
            ) as response:
                answer = bytearray()
                try:
                    for chunk in response.iter_raw():
                        answer += chunk
                        if len(answer) > _MAX_ANSWER:
                            break
                except (httpx.HTTPError, OSError):
                    if not status_suffices:
                        raise
                return Answer(
                    response.status_code, bytes(answer[:_MAX_ANSWER]).decode("utf-8", "replace"), response.headers
                )
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if watchdog.expired:
                raise Unreachable(f"no whole answer within {self.timeout_s:g} s") from error
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        finally:
            watchdog.cancel()

    def close(self) -> None:
        self._client.close()


def _watching(watchdog: Watchdog) -> Callable[[str, Mapping[str, Any]], None]:
    def trace(event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            sock = info["return_value"].get_extra_info("socket")
            if sock is not None:
                watchdog.watch(sock)

    return trace


def judge(answer: Answer, remote: Mapping[str, Any], now_us: int) -> Outcome | None:
    """What a failed answer means for the delivery; None for a good one."""
    if answer.ok:
        return None
    error = f"HTTP {answer.status}: {explain(answer)}"
    if answer.status in _REFUSED:
        return Refused(error, remote)
    return Retry(error, remote, after_us=retry_after_us(answer, now_us))


def explain(answer: Answer) -> str:
    return " ".join(answer.body.split())[:_EXPLAIN] or "(empty answer)"


def retry_after_us(answer: Answer, now_us: int) -> int | None:
    """The delay of a Retry-After header (seconds or an HTTP date), at most one hour; None without one."""
    value = answer.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isdigit():
        delay = int(value[:9]) * 1_000_000
    else:
        try:
            delay = round(email.utils.parsedate_to_datetime(value).timestamp() * 1e6) - now_us
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0, min(delay, 3_600_000_000))


def in_turn(deliveries: Sequence[Delivery], send: Callable[[Delivery], Outcome]) -> list[Outcome]:
    """Send one after the other; a target that is away or asks for a pause puts off the rest."""
    outcomes: list[Outcome] = []
    for delivery in deliveries:
        outcome = send(delivery)
        outcomes.append(outcome)
        if isinstance(outcome, Retry) and (outcome.after_us is not None or not outcome.error.startswith("HTTP")):
            outcomes += [Retry(outcome.error, d.remote, outcome.after_us) for d in deliveries[len(outcomes) :]]
            break
    return outcomes
