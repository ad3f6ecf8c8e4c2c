"""The figure of evidence: numbers in, coordinates out."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from detectors.evidence.recovery import CAP
from monitor.serve.anomalies import figure
from monitor.serve.anomalies.figure import Moments, Point

HOUR = 3_600_000_000


def drawn(hours: list[Point], ticks: list[Point] | None = None, **changes: Any) -> figure.Drawing:
    moments = {"begin_us": 0, "end_us": 50 * HOUR, "since_us": (24 * HOUR, 25 * HOUR), "opened_us": 26 * HOUR}
    given = Moments(**{**moments, "resolved_us": None, **changes})
    return figure.draw(hours, ticks or [], 1.0, given, ZoneInfo("UTC"), 880.0, 300.0)


def test_a_figure_is_logarithmic_against_its_threshold() -> None:
    found = drawn([Point(i * HOUR, value) for i, value in enumerate((0.0, 1e-3, 0.1, 1.0, 100.0))])
    path = [float(point.split()[1]) for point in found.lines[0][1:].split(" L")]
    assert path[0] == path[1] == found.bottom  # what is nothing lies at the bottom, not below it
    assert path[3] == found.threshold
    assert path[4] == pytest.approx(found.top)
    decade = (found.bottom - found.top) / 5
    assert path[2] == pytest.approx(found.bottom - 2 * decade, abs=0.1)


def test_the_hour_that_opened_it_is_not_drawn_behind_the_opening() -> None:
    found = drawn([Point(25 * HOUR, 0.1), Point(26 * HOUR, 5.0)], opened_us=26 * HOUR + HOUR // 6)
    last = found.lines[0].split(" L")[-1].split()
    assert float(last[0]) == found.opened


def test_a_figure_has_gaps_and_keeps_peaks() -> None:
    found = drawn([Point(i * HOUR, 0.1) for i in (0, 1, 2, 10, 11, 20)])
    assert len(found.lines) == 2
    assert len(found.dots) == 1
    many = [Point(i * HOUR, 5.0 if i == 777 else 0.1) for i in range(2000)]
    few = figure.thinned(many)
    assert len(few) <= figure.MOST_POINTS
    assert max(point.value for point in few) == 5.0


def test_a_figures_strip_ends_where_it_was_over() -> None:
    found = drawn([], [Point((26 + i) * HOUR, CAP / 2) for i in range(20)], resolved_us=50 * HOUR)
    assert found.strip is not None
    assert found.resolved == found.right
    first = found.support[0][1:].split(" L")[0].split()
    assert float(first[0]) == found.left
    assert float(first[1]) == pytest.approx(sum(found.strip) / 2, abs=0.1)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
def test_midnights_of_the_zone_carry_their_day(zone: str) -> None:
    """Over the night in which clocks are put back, too."""
    begin = round(datetime(2026, 10, 24, 9, tzinfo=ZoneInfo(zone)).timestamp() * 1e6)
    moments = Moments(begin, begin + 60 * HOUR, (begin, begin), begin + 40 * HOUR, None)
    found = figure.draw([], [], 1.0, moments, ZoneInfo(zone), 880.0, 300.0)
    assert [tick.text for tick in found.times if " " in tick.text] == ["25 Oct", "26 Oct"]
    assert 4 <= len(found.times) <= 12
