"""Messages for a chat channel through a Slack-compatible incoming webhook: Block Kit, and the same as plain `text`.

What comes from the data (names of segments, attribute values, sentences) is inert: `&`, `<` and `>` are escaped, which
is what Slack's mentions and links are written with; blocks hold it as ``plain_text``; and in ``text``, which other
chats read as Markdown, a zero-width space takes the meaning from ``@name``, addresses and Markdown links.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerts.rendering import Links, Promises, told
from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent
from alerts.sinks.http import Poster, Unreachable, in_turn, judge
from alerts.sinks.people import Occasion, after, inert, occasion, title

# What Slack takes, in characters; what it counts as one is not said, so they are counted as it would be least lenient.
_MAX_SECTION = 2900  # of a block's text: 3,000
_MAX_HEADER = 150
_MAX_LINKS = 2900  # of an element of a context: 3,000
_MAX_LINES = 40  # of 50 blocks
_NAMES = {"app": "anomaly", "dashboard": "dashboard", "runbook_url": "runbook"}


@dataclass(frozen=True, slots=True)
class SlackTarget:
    """``url`` is a secret: who knows it can post."""

    url: str
    timeout_s: float = 10.0
    links: Links = Links()  # noqa: RUF009 - frozen, so one instance for all is safe
    promises: Promises = Promises()  # noqa: RUF009


class SlackSink:
    """POSTs one message at a time; a channel that is away or asks for a pause puts off the rest of the batch."""

    batch = 10

    def __init__(self, target: SlackTarget) -> None:
        self._target = target
        self._poster = Poster(target.timeout_s)

    def longest_us(self, deliveries: int) -> int:
        return round(self._target.timeout_s * deliveries * 1e6)

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        return in_turn(deliveries, lambda delivery: self._send(delivery, now_us))

    def close(self) -> None:
        self._poster.close()

    def _send(self, delivery: Delivery, now_us: int) -> Outcome:
        found = occasion(delivery, delivery.remote.get("told"))
        if found is None:
            return Sent(delivery.remote)  # a revision of what the channel was told
        try:
            body = json.dumps(message(delivery.payload, found, self._target.links, self._target.promises)).encode()
        except (ValueError, TypeError, LookupError) as error:  # of this one alone: the others are not told again
            return Refused(f"cannot be rendered: {type(error).__name__}: {error}", delivery.remote)
        try:
            # The status alone says whether the message is in the channel: people are not told again for a lost "ok".
            answer = self._poster.post(self._target.url, body, {}, status_suffices=True)
        except Unreachable as error:
            return Retry(str(error).replace(self._target.url, "the webhook"), delivery.remote)
        return judge(answer, delivery.remote, now_us) or Sent({**delivery.remote, "told": after(delivery)})


def message(document: Mapping[str, Any], found: Occasion, links: Links, promises: Promises) -> dict[str, Any]:
    """The payload. ``text`` is all of it in plain text, for notifications and for chats that know no blocks."""
    head = title(document, found)
    lines = told(document, promises)[:_MAX_LINES]
    addresses = _fitting(links.of(document))
    return {
        "text": _text(head, lines, addresses),
        "blocks": [
            {"type": "header", "text": _plain(_cut(head, _MAX_HEADER))},
            *({"type": "section", "text": _plain(_cut(f"{name}: {text}", _MAX_SECTION))} for name, text in lines),
            *_links(addresses),
        ],
    }


def escape(text: str) -> str:
    """Text in which nothing is a mention, a link or a line break, in Slack and where Markdown is read."""
    return inert(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _cut(text: str, longest: int) -> str:
    """The escaped text within ``longest`` characters, not cut within an escape."""
    shown = escape(text)
    if _length(shown) <= longest:
        return shown
    fits, rest = 0, len(text)
    while fits < rest:  # the longest beginning that leaves room for the sign that it is one
        middle = (fits + rest + 1) // 2
        if _length(escape(text[:middle])) < longest:
            fits = middle
        else:
            rest = middle - 1
    return escape(text[:fits]) + "…"


def _length(text: str) -> int:
    """In units of UTF-16: an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _text(head: str, lines: Sequence[tuple[str, str]], addresses: Mapping[str, str]) -> str:
    told_lines = [f"{name}: {_cut(text, _MAX_SECTION)}" for name, text in lines]
    pointers = [f"{_NAMES.get(name, name)}: <{_address(url)}>" for name, url in addresses.items()]
    return "\n".join([_cut(head, _MAX_HEADER), *told_lines, *pointers])


def _links(addresses: Mapping[str, str]) -> list[dict[str, Any]]:
    if not addresses:
        return []
    return [{"type": "context", "elements": [{"type": "mrkdwn", "text": _pointers(addresses), "verbatim": True}]}]


def _pointers(addresses: Mapping[str, str]) -> str:
    return " · ".join(f"<{_address(url)}|{escape(_NAMES.get(name, name))}>" for name, url in addresses.items())


def _fitting(addresses: Mapping[str, str]) -> dict[str, str]:
    """Without the longest ones, as long as Slack would refuse the message for them: a link of a dashboard holds names
    of the data, each character up to twelve times as long. The anomaly's own page has them all."""
    kept = dict(addresses)
    while _length(_pointers(kept)) > _MAX_LINKS:
        del kept[max(kept, key=lambda name: len(kept[name]))]
    return kept


def _address(url: str) -> str:
    """An address within angle brackets; what would end it early is percent-encoded."""
    safe = url.replace("<", "%3C").replace(">", "%3E").replace("|", "%7C").replace(" ", "%20")
    return safe.replace("&", "&amp;")
