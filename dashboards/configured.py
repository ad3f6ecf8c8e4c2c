"""What one installation's configuration adds to dashboards and rules: links to its pages, and its own limits.

Works on the finished documents, so that `driftline dashboards push` needs no SDK; the types of the SDK are held by the
tests.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

from alerts import runbooks
from dashboards.subjects import number_of

_ADDRESS = re.compile(r"https?://[^\s{}$`]+")
_OLDEST_ITEM = "Oldest open item"
_ID_COLUMN = "Anomaly"


@dataclass(frozen=True, slots=True)
class Settings:
    """``app_url``: address of driftline's own pages. ``review_expires_s``: how long an item of the review queue waits
    for its labels. ``dashboard_url`` and ``runbook_url``: where the links of alert rules lead, none where None.

    Raises ValueError for an address without http or https, or with what would be more than an address in a template.
    """

    app_url: str | None = None
    review_expires_s: float | None = None
    dashboard_url: str | None = None
    runbook_url: str | None = runbooks.DOCUMENTED

    def __post_init__(self) -> None:
        for name in ("app_url", "dashboard_url", "runbook_url"):
            url = getattr(self, name)
            if url is not None and not _ADDRESS.fullmatch(url):
                raise ValueError(
                    f"alerts.{name}: expected an address with http:// or https://, without spaces, braces and dollars, "
                    f"got {url!r}"
                )


def configured(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """A copy of a dashboard with what ``settings`` add; the same document for empty settings."""
    found = copy.deepcopy(document)
    if settings.app_url is not None:
        address = settings.app_url.rstrip("/")
        found["links"].append(_dashboard_link("Pages of driftline", f"{address}/"))
        for panel in found["panels"]:
            if panel["type"] == "table" and _ID_COLUMN in _columns(panel):
                link = {
                    "title": "What happened",
                    "url": f"{address}/anomalies/${{__value.raw:percentencode}}",
                    "targetBlank": True,
                }
                overrides = panel["fieldConfig"]["overrides"]
                overrides.append(
                    {
                        "matcher": {"id": "byName", "options": _ID_COLUMN},
                        "properties": [{"id": "links", "value": [link]}],
                    }
                )
    if settings.review_expires_s is not None:
        for panel in found["panels"]:
            if panel["id"] == number_of(_OLDEST_ITEM):
                panel["fieldConfig"]["defaults"] |= {
                    "thresholds": {
                        "mode": "absolute",
                        "steps": [
                            {"value": None, "color": "transparent"},
                            {"value": settings.review_expires_s, "color": "semi-dark-red"},
                        ],
                    },
                }
                panel["fieldConfig"]["defaults"].setdefault("custom", {})["thresholdsStyle"] = {"mode": "dashed"}
    return found


def _columns(panel: dict[str, Any]) -> set[str]:
    return {
        title
        for step in panel.get("transformations", ())
        if step["id"] == "organize"
        for title in step["options"]["renameByName"].values()
    }


def _dashboard_link(title: str, url: str) -> dict[str, Any]:
    return {
        "title": title,
        "type": "link",
        "icon": "external link",
        "tooltip": "",
        "url": url,
        "tags": [],
        "asDropdown": False,
        "targetBlank": True,
        "includeVars": False,
        "keepTime": False,
    }
