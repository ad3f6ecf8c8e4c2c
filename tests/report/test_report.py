"""The report of a week: what is in it, in which words, and that nothing from events can break it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from monitor.cli.report import report as command
from monitor.config.model import Config
from monitor.evaluate.changes import PeriodError
from monitor.report import daily, figures, issuing, rendering, telling
from monitor.report.ahead import next_weeks_figures
from monitor.report.model import Figure, Report, schema
from monitor.report.period import last_week
from monitor.report.reading import LARGEST, read_report
from monitor.serve.projection import TOGETHER, MonthProjector, months_at_midnight
from monitor.store import deploys, reports
from monitor.store.anomalies import list_anomalies
from monitor.store.deploys import Deploy
from monitor.store.engine import Store, open_store
from monitor.store.reports import Issue
from monitor.store.responses import respond
from tests.evaluate.test_worker import evaluate
from tests.evaluate.traffic import DAY_US, HOUR_US, START_US, Change, Segment, write
from tests.report.reports import NAME, a_report

ROOT = Path(__file__).resolve().parents[2]
WEEK = 7 * DAY_US
BEGIN, END = START_US + WEEK, START_US + 2 * WEEK
BROKEN_US = BEGIN + 3 * DAY_US
HOSTILE = "<script>alert(1)</script>|[x](http://evil.example)*_`"
SETTINGS: dict[str, Any] = {
    "routes": {"extract": {"stakes": "high"}},
    "reference": {"learn": "6d", "grow": False},
    "evaluation": {"min_history": "3d"},
}


def segments() -> list[Segment]:
    broken = Segment("forms", 90.0, changes=(Change(BROKEN_US, rates={"schema_violation": 0.5}, cost=1.4),))
    return [broken, Segment(HOSTILE, 20.0), *(Segment(f"small-{i:02d}", 8.0) for i in range(LARGEST + 2))]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('report') / 'd.db'}")
    end = write(store, segments(), days=15)
    evaluate(store, Config.model_validate(SETTINGS), end)
    with store.write() as connection:
        (row,) = list_anomalies(connection, segment="forms", signal="schema_violation_rate")
        respond(connection, row.anomaly_id, "real", "ann", END)
        deploys.announce(
            store, connection, Deploy("d1", BROKEN_US, "ci", "v2 <b>", route="extract", note="[faster](x)")
        )
    yield store
    store.close()


@pytest.fixture(scope="module")
def found(filled: Store) -> Report:
    return read_report(filled, Config.model_validate(SETTINGS), BEGIN, END)


def test_it_says_what_changed_and_what_there_is_to_decide(found: Report) -> None:
    assert found.complete
    assert "The share of answers that break the schema in forms rose" in found.changed[0]
    alarm = next(one for one in found.alarms if one.signal == "schema_violation_rate")
    assert (alarm.segment, alarm.severity, alarm.state, alarm.marked) == ("forms", "page", "open", "real")
    assert ("forms", "schema_violation_rate") in {(one.segment, one.signal) for one in found.changes}
    assert found.changed[0].endswith("(Still there.)")
    assert any(
        "still open: schema violation rate in forms (page, " in text and alarm.id[:8] in text for text in found.decide
    )
    page = next(one for one in found.promises if one.severity == "page")
    assert page.opened == len([one for one in found.alarms if not one.opened_before])
    assert (page.marked_real, page.marked_false) == (1, 0)
    assert page.allowed == pytest.approx(7 / 30)
    assert [(one.version, one.where) for one in found.deploys] == [("v2 <b>", "extract")]


def test_what_opened_before_is_told_in_a_line_and_what_is_over_says_since_when() -> None:
    (one,) = a_report().alarms
    before = msgspec.structs.replace(one, opened_before=True, opened="2026-11-07T08:00:00Z", marked=None)
    over = msgspec.structs.replace(one, state="resolved", resolved="2026-11-15T12:00:00Z")
    told = telling.changed([], [over, before], 3, "Europe/Berlin")
    assert told == [
        f"{one.short} (Over since 2026-11-15 13:00 CET.)",
        f"Still there from before: image drift in {NAME} (opened 2026-11-07).",
    ]
    assert telling.changed([], [before], 3, "UTC")[0] == "Nothing new changed that could be told from chance."
    assert telling.changed([], [msgspec.structs.replace(one, marked="false")], 3, "UTC") == [
        "Nothing new changed that could be told from chance."
    ]
    assert "Nothing could be judged yet" in telling.changed([], [], 0, "UTC")[0]
    text = rendering.markdown(msgspec.structs.replace(a_report(), alarms=[before]))
    assert "began with scanner" not in text, "its causes were told when it opened"


def test_changes_that_are_an_alarms_are_a_row_and_others_a_sentence(found: Report) -> None:
    text = rendering.markdown(found)
    for one in found.changes:
        row = f"| {one.segment} | {one.signal.replace('_', ' ')} |"
        assert (row in text) == (one.anomaly is not None and one.segment != HOSTILE)
    alone = msgspec.structs.replace(found, changes=[msgspec.structs.replace(found.changes[0], anomaly=None)])
    assert "- The " in rendering.markdown(alone).split("## Changes")[1].split("## Segments")[0]


def test_a_row_stands_out_where_what_was_before_is_far_away() -> None:
    near = Figure("error_rate", "1", 0.10, 0.08, 0.12, 0.13, "measured")
    assert not telling.striking(near), "outside the interval, and hardly another value"
    assert telling.striking(msgspec.structs.replace(near, before=0.3))
    assert telling.striking(msgspec.structs.replace(near, before=0.02))
    wide = msgspec.structs.replace(near, low=0.01, high=0.5, before=0.3)
    assert not telling.striking(wide), "within the interval"
    assert not telling.striking(msgspec.structs.replace(near, before=None))


def test_the_month_of_all_together_is_told(found: Report) -> None:
    """Two whole weeks of traffic; January has 31 days, 5 to 18 are stored."""
    bill = found.bill
    assert bill.month_projected is not None
    assert bill.month_low is not None
    assert bill.month_high is not None
    assert bill.spent < bill.month_low < bill.month_projected < bill.month_high
    parts = sum(one.bill.month_projected or 0.0 for one in found.segments)
    assert bill.month_projected == pytest.approx(parts)
    width = sum((one.bill.month_high or 0.0) - (one.bill.month_low or 0.0) for one in found.segments)
    assert bill.month_high - bill.month_low < width
    assert any(text.startswith("The month is expected to end at") for text in found.cost)


def test_figures_are_those_of_the_week_and_of_the_week_before(found: Report) -> None:
    forms = next(one for one in found.segments if one.segment == "forms")
    rate = next(one for one in forms.figures if one.signal == "schema_violation_rate")
    assert rate.value is not None
    assert rate.low is not None
    assert rate.high is not None
    broken = (1 + 1 + 0.6 + 0.6) / (5 + 1.2)  # of the week's traffic: Thursday to Sunday, and weekends are quiet
    assert rate.low < 0.02 * (1 - broken) + 0.5 * broken < rate.high
    assert rate.before == pytest.approx(0.02, abs=0.005)
    assert forms.requests_before is not None
    assert forms.bill.change is not None
    assert forms.bill.change == pytest.approx(sum(forms.bill.parts.values()), rel=1e-6)
    assert forms.bill.spent - (forms.bill.before or 0) == pytest.approx(forms.bill.change, rel=1e-6)
    assert found.requests == sum(one.requests for one in found.segments)
    assert found.bill.spent == pytest.approx(sum(one.bill.spent for one in found.segments))
    assert forms.reviewed is None


def test_what_changed_and_the_largest_are_told_in_full_the_others_in_a_row(found: Report) -> None:
    assert len([one for one in found.segments if one.full]) >= LARGEST
    short = [one.segment for one in found.segments if not one.full]
    assert short
    text = rendering.markdown(found)
    for name in short:
        assert f"| {name} |" in text
        assert f"### {name}" not in text
    assert "### forms\n" in text


def test_the_next_week_is_told_or_why_it_is_not(found: Report, filled: Store) -> None:
    """Two weeks are stored: too few. Hours that are no longer kept begin later than the store."""
    assert [(one.what, one.expected, one.weeks) for one in found.ahead] == [
        ("spend", None, 2), ("requests", None, 2), ("labels", None, 0)
    ]  # fmt: skip
    assert found.ahead[0].basis == "2 whole weeks stored, 4 needed"
    assert "Not known yet: 2 whole weeks stored, 4 needed." in rendering.markdown(found)
    assert "| labels | not known | – | 2 whole weeks stored, 4 needed |" in rendering.markdown(a_report())
    # As if the store had begun two weeks earlier, without a request.
    with filled.read() as connection:
        spend, requests, _ = next_weeks_figures(connection, BEGIN, END, "UTC", "USD", START_US - 2 * WEEK)
        assert next_weeks_figures(connection, BEGIN, END - DAY_US, "UTC", "USD", START_US) == []
    assert (requests.weeks, requests.expected) == (4, found.requests)
    assert spend.low is not None
    assert spend.high is not None
    assert 0 == spend.low < (spend.expected or 0.0) < spend.high


def test_months_at_midnight_are_those_of_their_hours(filled: Store) -> None:
    with filled.read() as connection:
        for zone, at in (("UTC", END), ("Europe/Berlin", END - HOUR_US)):
            days = months_at_midnight(connection, at, zone)
            hours = MonthProjector(zone, rows_a_look=10**9).look(connection, at)
            assert days.keys() - {TOGETHER} == hours.keys() != set()
            assert days[TOGETHER].spent == sum(one.spent for one in hours.values())
            for place, one in hours.items():
                assert days[place].spent == one.spent
                if zone == "UTC":  # else the first hours lie in a day that is not whole
                    assert [days[place].low, days[place].high] == pytest.approx([one.low, one.high])
                assert days[place].projected == pytest.approx(one.projected, rel=0.05)


def test_what_was_not_measured_is_said(found: Report) -> None:
    assert any(text.startswith("No sample was looked at in") for text in found.not_measured)


@pytest.mark.parametrize("begin_us", [START_US, START_US + 6 * DAY_US])
def test_a_week_that_is_not_whole_is_nothing_to_compare_with(filled: Store, begin_us: int) -> None:
    found = read_report(filled, Config.model_validate(SETTINGS), begin_us, begin_us + WEEK)
    assert found.requests_before is None
    assert found.bill.change is None
    assert {one.requests_before for one in found.segments} == {None}
    assert all(figure.before is None for one in found.segments for figure in one.figures)
    assert any("does not go back" in text for text in found.not_measured)
    rendering.markdown(found)
    rendering.html(found)


def test_a_week_that_is_not_over_says_so_and_one_to_come_is_refused(filled: Store) -> None:
    settings = Config.model_validate(SETTINGS)
    found = read_report(filled, settings, BEGIN + 3 * DAY_US, END + 3 * DAY_US)
    assert not found.complete
    assert "Not complete" in rendering.markdown(found)
    assert any("not evaluated yet" in text for text in found.not_measured)
    with pytest.raises(PeriodError, match=r"no full hour|not evaluated"):
        read_report(filled, settings, END + WEEK, END + 2 * WEEK)


def test_a_budget_allows_nothing_before_anything_was_watched(filled: Store) -> None:
    """Two weeks are stored; a period of years that ends with them allows what two weeks do."""
    found = read_report(filled, Config.model_validate(SETTINGS), BEGIN - 500 * WEEK, END)
    page = next(one for one in found.promises if one.severity == "page")
    assert page.allowed == pytest.approx(14 / 30, rel=0.01)


# -- what it is written in ----------------------------------------------------------------------------------


def test_the_json_is_what_the_published_schema_says(found: Report) -> None:
    document = json.loads(msgspec.json.encode(found))
    Draft202012Validator(schema()).validate(document)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Report) == found


def test_the_published_schema_is_current() -> None:
    """`python -m monitor.report.model > docs/report.schema.json` renews it."""
    assert json.loads((ROOT / "docs" / "report.schema.json").read_text()) == schema()


def test_nothing_from_events_is_markup(found: Report) -> None:
    page = rendering.html(found)
    assert "<script" not in page
    assert "v2 &lt;b&gt;" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    text = rendering.markdown(found)
    assert "\\<script\\>" in text
    assert "<script>" not in text
    assert "\\[faster\\]\u200b(x)" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows
    for line in rows:  # a hostile name makes no further column
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert cells in (3, 4, 5, 6, 7, 8), line


def test_names_are_no_mention_no_link_and_no_formula_in_a_pull_request() -> None:
    name = "@org/team fixes #1 https://evil.example www.evil.example $x^2$"
    text = rendering.markdown(msgspec.structs.replace(a_report(), changed=[name], cost=[name], decide=[name]))
    for alive in ("@org", "#1", "https://evil", "www.evil", " $x"):
        assert alive not in text, alive
    assert "\\$x^2\\$" in text


def test_an_alarm_links_to_its_page() -> None:
    report = a_report()
    page = f"https://driftline.example/anomalies/{report.alarms[0].id}"
    linked = msgspec.structs.replace(report, alarms=[msgspec.structs.replace(report.alarms[0], page=page)])
    assert f'<a href="{page}">a3c76f6174</a>' in rendering.html(linked)
    assert f"[`a3c76f6174`](<{page}>)" in rendering.markdown(linked)
    assert "<a href=" not in rendering.html(report)
    assert issuing._content(linked) == issuing._content(report), "no revision where the pages moved"


def test_days_add_up_to_the_period_and_are_drawn_over_those_before(found: Report) -> None:
    assert [len(found.days), len(found.days_before)] == [7, 7]
    assert sum(day.requests for day in found.days) == found.requests
    assert sum(day.spent for day in found.days) == pytest.approx(found.bill.spent)
    assert sum(day.requests for day in found.days_before) == found.requests_before
    assert all(before.day < found.days[0].day for before in found.days_before)
    assert all(day.latency_low <= day.latency_p95 <= day.latency_high for day in found.days)  # type: ignore[operator]
    assert "the period before" in "".join(figures.of_days(found))
    assert len(figures.of_days(found)) == 2
    assert f"| {found.days[3].day} |" in rendering.markdown(found)


def test_what_is_told_in_full_has_its_tail_and_its_quality(found: Report) -> None:
    """Nobody reviews here, so that checks are told, by day over both weeks."""
    forms = next(one for one in found.segments if one.segment == "forms")
    assert forms.tail is not None
    assert forms.quality is not None
    assert forms.tail.now
    assert forms.tail.before
    assert (forms.quality.sentence, forms.quality.reviewed) == ("Nothing was drawn for review.", [])
    broken = next(one for one in forms.quality.checks if one.signal == "schema_violation_rate")
    assert [day.since for day in broken.days] == [day.day for day in (*found.days_before, *found.days)]
    held = [day.low <= (0.5 if n >= 10 else 0.02) <= day.high for n, day in enumerate(broken.days)]  # type: ignore[operator]
    assert sum(held) >= 12, "of 14 days with a 95 % interval each"
    assert max(day.rate for day in broken.days[:10]) < 0.1 < 0.4 < min(day.rate for day in broken.days[10:])
    assert broken.reference == pytest.approx(0.02, abs=0.005)
    usual = {one.signal: one.reference for one in forms.figures}
    assert usual["schema_violation_rate"] == broken.reference
    assert usual["latency_total_p95"] is not None
    assert all(one.reference is None for segment in found.segments if not segment.full for one in segment.figures)
    assert "| signal | now, 95 % interval | before | reference |" in rendering.markdown(found)
    asked = forms.requests + (forms.requests_before or 0)
    assert 0.9 * asked < sum(day.n for day in broken.days) <= asked
    drawn = figures.of_segment(found, forms)
    assert len(drawn) == 2
    assert "Nothing was drawn for review." in drawn[1], "why it is checks that are drawn"
    assert "this period begins" in drawn[1]
    short = next(one for one in found.segments if not one.full)
    assert (short.tail, short.quality) == (None, None)
    assert found.tail is not None
    assert found.quality is not None
    greatest = max(one.tail.greatest or 0.0 for one in found.segments if one.tail is not None)
    assert (found.tail.greatest or 0.0) > greatest * (1 - 0.011)
    page, text = rendering.html(found), rendering.markdown(found)
    assert page.count('<svg class="figure chart half"') == 2 + 2 + 2 * len([one for one in found.segments if one.full])
    assert f"| {broken.days[9].since} | {telling.percent(broken.days[9].rate)} |" in text
    assert "| dearest | cost more than |" in text


def test_days_are_those_of_the_zone_when_clocks_change(filled: Store) -> None:
    """25 hours long, and the week before by the clock on the wall."""
    zone = ZoneInfo("Europe/Berlin")
    begin, end = (round(datetime(2026, 10, day, tzinfo=zone).timestamp() * 1e6) for day in (19, 26))
    with filled.read() as connection:
        week = daily.days(connection, begin, end, "Europe/Berlin")
        before = daily.days_before(connection, begin, 7, "Europe/Berlin")
    assert [day.day for day in week] == [f"2026-10-{day}" for day in range(19, 26)]
    assert [day.day for day in before] == [f"2026-10-{day}" for day in range(12, 19)]


def test_a_period_of_hours_or_of_years_is_not_drawn_by_day(filled: Store) -> None:
    with filled.read() as connection:
        assert daily.days(connection, BEGIN, BEGIN + DAY_US, "UTC") == []
        assert daily.days(connection, BEGIN, BEGIN + 400 * DAY_US, "UTC") == []
        half = daily.days(connection, BEGIN + 12 * HOUR_US, END, "UTC")
    assert len(half) == 6, "a day that is not whole is left out"


def test_the_page_stands_alone(found: Report) -> None:
    page = rendering.html(found)
    assert not re.search(r"""(src|href)=["']?(?!data:image/jpeg;base64,)""", page)
    assert "http" not in page.replace("http://evil.example", "")


@pytest.mark.parametrize(
    ("now", "begin", "hours"),
    [
        ("2026-04-01T12:00", "2026-03-23T00:00", 167),  # clocks went forward on Sunday
        ("2026-10-26T00:00", "2026-10-19T00:00", 169),  # and back
        ("2026-06-08T00:00", "2026-06-01T00:00", 168),
        ("2026-06-07T23:59", "2026-05-25T00:00", 168),
    ],
)
def test_a_week_is_from_monday_to_monday_in_its_own_zone(now: str, begin: str, hours: int) -> None:
    zone = ZoneInfo("Europe/Berlin")

    def us(text: str) -> int:
        return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1e6)

    from_us, to_us = last_week(us(now), "Europe/Berlin")
    assert from_us == us(begin)
    assert to_us - from_us == hours * HOUR_US


# -- the command --------------------------------------------------------------------------------------------


def run(store: Store, tmp_path: Path, *arguments: str) -> Any:
    config = tmp_path / "driftline.yaml"
    document = {**SETTINGS, "store": {"url": store.url.render_as_string(hide_password=False).replace("+pysqlite", "")}}
    config.write_text(json.dumps(document))
    return CliRunner().invoke(command, ["--config", str(config), *arguments])


def test_the_last_whole_week_is_the_default_and_is_printed(filled: Store, tmp_path: Path) -> None:
    done = run(filled, tmp_path)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("# driftline: 2026-01-12 to 2026-01-18\n\nTimes in UTC; held against 2026-01-05")


def test_several_formats_are_files(filled: Store, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    done = run(
        filled, tmp_path, "--format", "md,html,json", "--out", str(out), "--from", "2026-01-12", "--to", "2026-01-19"
    )
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == [
        "report-2026-01-12-2026-01-19.html", "report-2026-01-12-2026-01-19.json", "report-2026-01-12-2026-01-19.md"
    ]  # fmt: skip
    document = json.loads((out / "report-2026-01-12-2026-01-19.json").read_text())
    assert document["since"] == "2026-01-12T00:00:00Z"
    assert (out / "report-2026-01-12-2026-01-19.html").stat().st_size < 3_000_000


def test_a_folder_that_cannot_be_written_is_named(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "reports"
    done = run(filled, tmp_path, "--out", str(out), "--from", "2026-01-12", "--to", "2026-01-19")
    assert done.exit_code == 1
    assert f"cannot write into {out}: Not a directory" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "pdf"), "expected md, html, json"),
        (("--format", "md,html"), "--out"),
        (("--from", "2026-01-12"), "both --from and --to"),
        (("--from", "2026-01-12", "--to", "2026-01-12"), "no full hour"),
        (("--from", "2027-01-12", "--to", "2027-01-19"), "no full hour"),
        (("--from", "soon", "--to", "2027-01-19"), "expected a time"),
    ],
)
def test_what_cannot_be_reported(filled: Store, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run(filled, tmp_path, *arguments)
    assert done.exit_code != 0
    assert message in done.output


def test_before_anything_is_evaluated(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    done = run(store, tmp_path)
    assert done.exit_code == 1
    assert "nothing is evaluated yet" in done.output
    store.close()


# -- issued -------------------------------------------------------------------------------------------------


def test_what_was_issued_stays_as_it_was_and_a_revision_says_what_it_changed(filled: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    shutil.copy(str(filled.url.database), copy)
    store, settings = open_store(f"sqlite:///{copy}"), Config.model_validate(SETTINGS)
    first, new = issuing.issue(store, settings, BEGIN, END, "ann", END)
    assert (first.revision, new) == (1, True)
    with store.read() as connection:
        pages = {form: reports.page(connection, first, form) for form in reports.FORMS}
    again, new = issuing.issue(store, settings, BEGIN, END, "ben", END + HOUR_US)
    assert (again, new) == (first, False)
    with store.write() as connection:
        (row,) = list_anomalies(connection, segment="forms", signal="schema_violation_rate")
        respond(connection, row.anomaly_id, "false", "ann", END + HOUR_US, note="a test")
    read = run(store, tmp_path).stdout
    assert "Read now, not issued. **Since revision 1** was issued 2026-01-19 00:00:" in read
    assert f"- Alarm {row.anomaly_id[:10]} of forms: marked false." in read
    second, new = issuing.issue(store, settings, BEGIN, END, "ben", END + 2 * HOUR_US)
    assert (second.revision, second.who, new) == (2, "ben", True)
    with store.read() as connection:
        assert {form: reports.page(connection, first, form) for form in reports.FORMS} == pages
        document = json.loads(reports.page(connection, second, "json"))
        assert document["revised"] == [f"Alarm {row.anomaly_id[:10]} of forms: marked false."]
        assert "revision 2" in reports.page(connection, second, "md")
        assert "marked false" in reports.page(connection, second, "html")
        assert reports.newest(connection, BEGIN, END, END + HOUR_US) == first
        assert reports.newest(connection, BEGIN, END, END - 1) is None
        assert reports.list_issues(connection) == [second, first]
    assert "Issued" in pages["md"]
    assert "data:image" not in pages["html"]
    Draft202012Validator(schema()).validate(json.loads(pages["json"]))
    # The command: what was issued by then, byte for byte.
    span = ("--from", "2026-01-12", "--to", "2026-01-19")
    as_of = run(store, tmp_path, *span, "--as-of", "2026-01-19T00:30", "--format", "html")
    assert as_of.stdout == pages["html"]
    assert "It says what revision 2 says, issued 2026-01-19 02:00." in run(store, tmp_path, *span).stdout
    assert run(store, tmp_path, *span, "--as-of", "2026-01-18").exit_code == 1
    listed = run(store, tmp_path, "--issued").stdout
    assert listed.index("revision 2, issued 2026-01-19T02:00:00Z by ben") < listed.index("revision 1")
    done = run(store, tmp_path, "--issue", "--by", "cleo")
    assert "says the same as before" in done.stderr
    assert done.stdout.startswith("# driftline: 2026-01-12")
    assert run(store, tmp_path, "--issue", *span, "--as-of", "2026-01-19").exit_code == 2
    store.close()


def test_what_was_issued_before_there_were_figures_opens_as_it_was(store_url: str) -> None:
    document = json.loads(rendering.rendered(a_report(), "json"))
    for place in (document, *document["segments"]):
        del place["tail"], place["quality"]
    old = json.dumps(document)
    without = msgspec.structs.replace(
        a_report(),
        tail=None,
        quality=None,
        segments=[msgspec.structs.replace(one, tail=None, quality=None) for one in a_report().segments],
    )
    assert msgspec.json.decode(old, type=Report) == without
    store = open_store(store_url)
    span = BEGIN, END
    with store.write() as connection:
        reports.add(store, connection, Issue(*span, 1, END, "ann"), {"md": "old", "html": "<p>old</p>", "json": old})
    second, new = issuing.archive(store, Config(), a_report(), span, "ben", END + HOUR_US)
    assert (second.revision, new) == (2, True)
    with store.read() as connection:
        first = reports.newest(connection, *span, END)
        assert first is not None
        assert reports.page(connection, first, "json") == old
        told = json.loads(reports.page(connection, second, "json"))["revised"]
    assert told == ["Figures of segments, within what is told above."]
    store.close()


def test_two_that_issue_at_once_issue_one(store_url: str) -> None:
    store = open_store(store_url)
    pages = dict.fromkeys(reports.FORMS, "first")
    one = Issue(BEGIN, END, 1, END, "ann")
    with store.write() as connection:
        assert reports.add(store, connection, one, pages)
        assert not reports.add(store, connection, Issue(BEGIN, END, 1, END + 1, "ben"), dict.fromkeys(pages, "second"))
    with store.read() as connection:
        assert reports.newest(connection, BEGIN, END) == one
        assert reports.page(connection, one, "md") == "first"
        with pytest.raises(LookupError, match="not kept"):
            reports.page(connection, Issue(BEGIN, END, 2, END, ""), "md")
    store.close()


def test_what_a_revision_can_change() -> None:
    before = a_report()
    assert issuing.revised(before, before) == ["Figures of segments, within what is told above."]
    after = msgspec.structs.replace(
        before,
        requests=before.requests + 7,
        bill=msgspec.structs.replace(before.bill, spent=1048.0),
        alarms=[],
        changes=[],
        complete=True,
        reviewed=None,
    )
    assert issuing.revised(before, after) == [
        "Requests: 16,941 before, 16,948 now.",
        "The bill: 1,047.33 EUR before, 1,048.00 EUR now.",
        f"Alarm a3c76f6174 of {NAME} is gone.",
        f"image_drift of {NAME} is no longer among the changes.",
        "Wrong by review: 10 % (693 labels) before, not known now.",
        "All of the period is evaluated now.",
    ]
    assert f"Alarm a3c76f6174 of {NAME} is new." in issuing.revised(after, before)
