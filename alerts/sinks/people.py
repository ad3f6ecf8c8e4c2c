"""What a person is told of one anomaly, and when: once when it opens, once when it resolves, once if it gets worse.

People read every message, so a revision of an open anomaly, or a delivery that is repeated after an unclear answer,
must not become another one. What was told is kept in ``remote`` of the delivery, per reader where one message has
several: ``{"state": "open" | "resolved", "severity": …}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from alerts.rendering import headline, is_resolved
from alerts.sinks import Delivery

Occasion = Literal["opened", "worse", "resolved", "test", "report"]

_RANK: Final = {"report": 0, "ticket": 1, "page": 2}
# A mention, an address that is made a link by itself, or a link of Markdown: a zero-width space goes into each.
# Programs guess addresses where no `//` is: at a name that ends as domains do, at four numbers with dots, at `\\\\`.
_ALIVE: Final = re.compile(
    r"(?<=[@~#])(?=\w)|(?<=:)(?=//)|(?<=[wW]{3})(?=\.)|(?<=\])(?=\()"
    r"|(?<=\S)(?=[.\u3002\uff0e\uff61][^\W\d_]{2})|(?<=\d)(?=(?:\.\d{1,3}){3}(?!\d))|(?<=\\)(?=\\)"
)
_MAX_HEADLINE = 150  # characters: what Slack's header takes, and a subject line shows


def occasion(delivery: Delivery, already: Mapping[str, Any] | None) -> Occasion | None:
    """What is to be told to who was told ``already`` (None: nothing), or None where that is all there is to say."""
    if delivery.kind == "test":
        return None if already else "test"
    if delivery.kind == "report":  # an issue is a delivery of its own, and told once
        return None if already else "report"
    document = delivery.payload
    if is_resolved(document):
        return None if already and already.get("state") == "resolved" else "resolved"
    if not already:
        return "opened"
    worse = _RANK.get(str(document.get("severity")), 0) > _RANK.get(str(already.get("severity")), 0)
    return "worse" if worse and already.get("state") == "open" else None


def after(delivery: Delivery) -> dict[str, Any]:
    """What a reader was told once the delivery has arrived."""
    if delivery.kind == "report":
        return {"revision": delivery.payload.get("revision")}
    document = delivery.payload
    return {"state": str(document.get("state")), "severity": str(document.get("severity"))}


def without_refusals(remote: Mapping[str, Any]) -> dict[str, Any]:
    """What a sink knows of a delivery, but that readers were refused for good: sent again, they are written to again,
    and nobody else is told twice."""
    told = remote.get("told")
    if not isinstance(told, Mapping):
        return dict(remote)
    kept = {name: known for name, known in told.items() if not (isinstance(known, Mapping) and "refused" in known)}
    return {**remote, "told": kept}


def inert(text: str) -> str:
    """Text on one line in which chats and mail programs find no mention and no address to make a link of: neither
    `http://…` nor a bare `name.example/path`. Numbers and versions stay as they are."""
    return _ALIVE.sub("\u200b", " ".join(text.split()))


def title(document: Mapping[str, Any], found: Occasion) -> str:
    """One line without line breaks or control characters, whatever the data says."""
    if found == "report":
        return _line(inert(str(document.get("title"))))
    mark = {
        "opened": f"[{document.get('severity')}] ",
        "worse": f"[now {document.get('severity')}] ",
        "resolved": "[resolved] ",
        "test": "[test] ",
    }[found]
    what = "This is a test of driftline: nothing changed" if found == "test" else headline(document)
    return _line(mark + what)


def _line(told: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in told)
    return text if len(text) <= _MAX_HEADLINE else text[: _MAX_HEADLINE - 1] + "…"
