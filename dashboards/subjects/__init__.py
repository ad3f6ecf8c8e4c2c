"""The dashboards, one module a subject, and where a panel is found."""

from __future__ import annotations

import zlib
from typing import Final

from dashboards.panels import DashboardSpec
from dashboards.subjects.cost import COST
from dashboards.subjects.inputs import INPUTS
from dashboards.subjects.internals import INTERNALS
from dashboards.subjects.latency import LATENCY
from dashboards.subjects.overview import OVERVIEW
from dashboards.subjects.quality import QUALITY
from dashboards.subjects.segment import SEGMENT

DASHBOARDS: Final[tuple[DashboardSpec, ...]] = (OVERVIEW, SEGMENT, INPUTS, COST, LATENCY, QUALITY, INTERNALS)

_NUMBERS = 999_983


def number_of(title: str) -> int:
    """A panel's number, 1 to 999,983, of its title alone: links in alerts that were sent stay right when panels are
    added or moved. Tests hold that no two of a dashboard collide."""
    return zlib.crc32(title.encode()) % _NUMBERS + 1


def panel_places() -> dict[str, tuple[str, int]]:
    """Title of each panel -> the uid of its dashboard and its number there. Titles are unique over all dashboards."""
    return {panel.title: (spec.uid, number_of(panel.title)) for spec in DASHBOARDS for panel in spec.panels}
