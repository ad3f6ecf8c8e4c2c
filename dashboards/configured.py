"""What one installation's configuration adds to the dashboards: links to its pages, and its own limits.

Works on the finished documents, so that `driftline dashboards push` needs no SDK; the types of the SDK are held by the
tests.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from dashboards.subjects import number_of

_OLDEST_ITEM = "Oldest open item"
_ID_COLUMN = "Anomaly"


@dataclass(frozen=True, slots=True)
class Settings:
    """``app_url``: address of driftline's own pages (http or https). ``review_expires_s``: how long an item of the
    review queue waits for its labels."""

    app_url: str | None = None
    review_expires_s: float | None = None

    def __post_init__(self) -> None:
        if self.app_url is not None and not self.app_url.startswith(("http://", "https://")):
            raise ValueError(f"alerts.app_url: expected an address with http:// or https://, got {self.app_url!r}")


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
