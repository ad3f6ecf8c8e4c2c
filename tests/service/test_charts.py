"""Charts are where the numbers are: scales, ticks in the zone's hours, gaps, intervals, marks, the table."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.serve import cells, charts
from monitor.serve.axes import Scale, time_ticks, value_ticks
from monitor.serve.charts import Mark, Point, Series
from monitor.serve.templating import template
from monitor.times import DAY_US, HOUR_US, parse_time

UTC = ZoneInfo("UTC")
BEGIN = parse_time("2026-11-02")
WEEK = (BEGIN, BEGIN + 7 * DAY_US)


def line(*values: float | None) -> Series:
    return Series("p50", [Point(BEGIN + i * HOUR_US, v) for i, v in enumerate(values) if v is not None])


def week(*series: Series, **options: object) -> charts.Chart:
    written = cells.written("s", "USD")
    return charts.over_time("key", "Latency", series, WEEK, UTC, written, step_us=HOUR_US, **options)  # type: ignore[arg-type]


def path_of(drawn: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", drawn)]


def test_a_line_lies_where_its_values_are() -> None:
    for drawing in week(line(1.0, 2.0, 4.0)).sizes.values():
        (one,) = drawing.series
        points = path_of(one.lines[0])
        hour = (drawing.right - drawing.left) / 168
        assert [x for x, _ in points] == pytest.approx([drawing.left + i * hour for i in range(3)], abs=0.06)
        ticks = {tick.text: tick.at for tick in drawing.y_ticks}
        assert points[0][1] == pytest.approx(ticks["1 s"], abs=0.1)
        assert points[1][1] == pytest.approx(ticks["2 s"], abs=0.1)
        assert (drawing.top, drawing.bottom) == (points[2][1], ticks["0 s"])


def test_what_was_not_measured_is_a_gap_and_a_lonely_value_a_dot() -> None:
    chart = week(line(1.0, 1.0, None, 1.0, 1.0, None, None, None, 1.0))
    (one,) = chart.sizes["wide"].series
    assert [len(path_of(run)) for run in one.lines] == [4], "one missing hour is bridged, three are not"
    assert len(one.dots) == 1
    assert len(chart.rows) == 5


def test_an_interval_is_an_area_that_holds_the_line() -> None:
    points = [Point(BEGIN + i * HOUR_US, 2.0 + i % 2, 1.0, 4.0) for i in range(10)]
    chart = week(Series("p50", points))
    (one,) = chart.sizes["wide"].series
    ys = [y for _, y in path_of(one.areas[0])]
    assert min(ys) < min(y for _, y in path_of(one.lines[0]))
    assert max(ys) > max(y for _, y in path_of(one.lines[0]))
    assert chart.rows[0] == ("2026-11-02 00:00", ["2.00 s (1.00 s – 4.00 s)"])


def test_the_interval_of_a_single_point_is_a_line_through_it() -> None:
    """Of unconnected points as of one that lies alone."""
    points = [Point(BEGIN + DAY_US, 2.0, 1.0, 4.0), Point(BEGIN + 5 * DAY_US, 3.0)]
    for series in (Series("p50", points, "dots"), Series("p50", points)):
        drawing = week(series).sizes["wide"]
        (one,) = drawing.series
        ticks = {tick.text: tick.at for tick in drawing.y_ticks}
        (whisker,) = one.whiskers
        (x, low), (same, high) = path_of(whisker)
        assert x == same == one.dots[0][0]
        assert [low, high] == pytest.approx([ticks["1 s"], ticks["4 s"]], abs=0.1)
        assert str(template("chart.html").module.chart(week(series))).count("line whisker s0") == 2, "of two sizes"


def test_an_axis_of_about_a_decade_has_round_numbers() -> None:
    scale = Scale(0.0043, 0.0732, 0.0, 100.0, log=True)
    assert [tick.text for tick in value_ticks(scale, lambda value: f"{value:.4f}", 4)] == [
        "0.005",
        "0.01",
        "0.02",
        "0.05",
    ]


def test_marks_outside_of_the_range_are_left_out_and_a_stretch_is_cut_to_it() -> None:
    marks = [
        Mark(BEGIN - DAY_US, "before", end=BEGIN - 1),
        Mark(BEGIN - DAY_US, "into", end=BEGIN + DAY_US, href="/anomalies/a"),
        Mark(BEGIN + 8 * DAY_US, "after"),
        Mark(BEGIN + DAY_US, "v2", "version"),
    ]
    drawing = week(line(1.0), marks=marks).sizes["wide"]
    assert [mark.text for mark in drawing.marks] == ["into", "v2"]
    assert drawing.marks[0].x == drawing.left
    assert drawing.marks[0].width == pytest.approx((drawing.right - drawing.left) / 7, abs=0.1)


def test_a_limit_is_on_the_axis_even_where_no_value_comes_near() -> None:
    drawing = week(line(1.0, 1.1), limits=[(9.0, "limit")]).sizes["wide"]
    assert drawing.top <= drawing.limits[0][0] < drawing.series[0].dots[0][1] if drawing.series[0].dots else True
    assert drawing.limits[0][0] < path_of(drawing.series[0].lines[0])[0][1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0])
def test_a_logarithmic_axis_leaves_out_what_it_cannot_show(bad: float) -> None:
    series = Series("now", [Point(1.0, 1.0), Point(2.0, bad), Point(10.0, 0.01)])
    chart = charts.curve("t", "Tail", [series], "cost", cells.plain, cells.plain, log_x=True, log_y=True)
    (one,) = chart.sizes["wide"].series
    assert len(path_of(one.lines[0])) == 2
    assert len(chart.rows) == 3, "the table has every row"


def test_nothing_is_said_and_not_drawn() -> None:
    chart = week(Series("p50", []))
    assert chart.empty
    html = str(template("chart.html").module.chart(chart))
    assert "Nothing was measured in this range." in html
    assert "<svg" not in html


def test_names_of_events_are_text() -> None:
    hostile = "</title><script>alert(1)</script>"
    chart = week(Series(hostile, [Point(BEGIN, 1.0)]), marks=[Mark(BEGIN, hostile, href="/anomalies/a")])
    assert "<script" not in str(template("chart.html").module.chart(chart))


def test_a_long_table_is_cut_and_says_so() -> None:
    points = [Point(BEGIN + i * 60_000_000, 1.0) for i in range(charts.MOST_ROWS + 7)]
    chart = week(Series("p50", points))
    assert (len(chart.rows), chart.cut) == (charts.MOST_ROWS, 7)
    assert "7 earlier rows" in str(template("chart.html").module.chart(chart))


@pytest.mark.parametrize(
    ("begin", "days", "expected"),
    [
        ("2026-10-24T22:00Z", 3, ["25 Oct", "26 Oct", "27 Oct"]),
        ("2026-03-28T23:00Z", 3, ["29 Mar", "30 Mar", "31 Mar"]),
    ],
)
def test_midnights_stay_midnights_when_the_clock_changes(begin: str, days: int, expected: list[str]) -> None:
    at = parse_time(begin)
    end = at + days * DAY_US - 2 * HOUR_US
    ticks = time_ticks(at, end, ZoneInfo("Europe/Berlin"), Scale(at, end, 0, 1000), 4)
    assert [tick.text for tick in ticks] == expected


@given(
    low=st.floats(1e-9, 1e9),
    ratio=st.floats(1.001, 1e9),
    most=st.floats(2, 12),
    log=st.booleans(),
)
def test_ticks_are_few_in_order_and_on_the_axis(low: float, ratio: float, most: float, log: bool) -> None:
    scale = Scale(low, low * ratio, 300.0, 10.0, log=log).rounded(most)
    assert scale.low <= low * (1 + 1e-9)
    assert scale.high >= low * ratio * (1 - 1e-9)
    ticks = value_ticks(scale, lambda value: f"{value:.12g}", most)
    assert 2 <= len(ticks) <= most + 3
    assert all(10.0 <= tick.at <= 300.0 for tick in ticks)
    assert all(before.at > after.at for before, after in pairwise(ticks))
    values = [float(tick.text) for tick in ticks]
    assert [scale(value) for value in values] == pytest.approx([tick.at for tick in ticks], abs=0.2)


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("1", 0.5, "50.0 %"),
        ("1", 0.0123, "1.23 %"),
        ("1", 0.00001234, "0.001 %"),
        ("1", 1.0, "100 %"),
        ("currency", 1234567.0, "1\u202f234\u202f567 USD"),
        ("currency", 0.00012, "0.00012 USD"),
        ("s", 0.0, "0 s"),
        ("tokens", 12.345, "12.35 tokens"),
    ],
)
def test_values_are_written_with_the_digits_that_matter(unit: str, value: float, text: str) -> None:
    assert cells.written(unit, "USD")(value) == text
