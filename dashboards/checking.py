"""What is wrong with a generated dashboard, told without Grafana: structure, layout, references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dashboards.queries import variables_in

COLUMNS: Final = 24
PANEL_TYPES: Final = frozenset({"row", "timeseries", "stat", "table", "state-timeline"})
"""Those that every Grafana from 9.4 to 13 has, of which dashboards use these."""
_MOST_UID: Final = 40  # characters, in Grafana


def faults(document: Mapping[str, Any]) -> list[str]:
    """One sentence for everything that is wrong; none for a dashboard that can be loaded and read."""
    try:
        return [*_identity(document), *_panels(document), *_layout(document), *_variables(document)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return [f"is not what a dashboard looks like: {error!r}"]


def _identity(document: Mapping[str, Any]) -> Iterator[str]:
    uid = document["uid"]
    if not 0 < len(uid) <= _MOST_UID or not all(c.isalnum() or c in "-_" for c in uid):
        yield f"uid {uid!r} is none that Grafana takes"
    if "driftline" not in document["tags"]:
        yield "lacks the tag driftline, by which dashboards find each other"
    if not document["title"].strip() or not document["description"].strip():
        yield "needs a title and a description"


def _panels(document: Mapping[str, Any]) -> Iterator[str]:
    for number, count in Counter(panel["id"] for panel in document["panels"]).items():
        if count > 1:
            yield f"{count} panels have the number {number}"
    for panel in document["panels"]:
        name = f"panel {panel['title']!r}"
        if panel["type"] not in PANEL_TYPES:
            yield f"{name} is of type {panel['type']!r}, which not every Grafana has"
        if panel["type"] == "row":
            continue
        if not panel.get("description", "").strip():
            yield f"{name} does not say which question it answers"
        if panel.get("options") is None:
            yield f"{name} has no options"
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"{name} has no unit"
        if panel["datasource"]["uid"] != "${datasource}":
            yield f"{name} does not ask the data source that was chosen"
        letters = [target.get("refId") for target in panel["targets"]]
        if not letters or not all(letters) or len(set(letters)) < len(letters):
            yield f"{name} needs queries with a refId each, got {letters}"
        for target in panel["targets"]:
            if panel["type"] != "table" and len(panel["targets"]) > 1 and not target.get("legendFormat"):
                yield f"{name} has a query without a legend among others"


def _layout(document: Mapping[str, Any]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for panel in document["panels"]:
        place = panel["gridPos"]
        for y in range(place["y"], place["y"] + place["h"]):
            for x in range(place["x"], place["x"] + place["w"]):
                if x >= COLUMNS:
                    yield f"panel {panel['title']!r} reaches beyond the {COLUMNS} columns"
                    break
                if (x, y) in taken:
                    yield f"panel {panel['title']!r} overlaps {taken[x, y]!r}"
                    break
                taken[x, y] = panel["title"]
    widths = Counter(y for _, y in taken)
    for y in sorted(widths):
        if widths[y] < COLUMNS:
            yield f"line {y} of the page is only {widths[y]} columns wide"
    if widths and set(range(max(widths) + 1)) - set(widths):
        yield "the page has empty lines"


def _variables(document: Mapping[str, Any]) -> Iterator[str]:
    defined = [variable["name"] for variable in document["templating"]["list"]]
    used: set[str] = set()
    for panel in document["panels"]:
        texts = [panel["title"], panel.get("description", ""), *(t["expr"] for t in panel.get("targets", ()))]
        links = list(panel.get("fieldConfig", {}).get("defaults", {}).get("links", ()))
        for override in panel.get("fieldConfig", {}).get("overrides", ()):
            links += [link for p in override["properties"] if p["id"] == "links" for link in p["value"]]
        found = variables_in(" ".join([*texts, *(link["url"] for link in links)]))
        for name in sorted(found - set(defined)):
            yield f"panel {panel['title']!r} uses the variable {name!r}, which there is not"
        used |= found
    for annotation in document["annotations"]["list"]:
        used |= variables_in(annotation.get("expr", ""))
    for variable in document["templating"]["list"]:
        query = str(variable.get("query", ""))
        narrowed = variables_in(query)
        for name in sorted(narrowed - set(defined[: defined.index(variable["name"])])):
            yield f"variable {variable['name']!r} is narrowed by {name!r}, which does not come before it"
        used |= narrowed
    for name in defined:
        if name not in used and name != "datasource":
            yield f"nothing uses the variable {name!r}"
