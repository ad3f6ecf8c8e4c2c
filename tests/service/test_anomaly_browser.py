"""The anomaly page in a real browser: responding by keyboard alone, hostile content, a phone, contrast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from monitor.store.engine import Store, open_store
from monitor.store.responses import Said, history
from tests.service.anomalies_of_page import OPENED, change, fill_story
from tests.service.queue_of_page import NOW_US
from tests.service.review_browser import WIDE, expect_usable, listen, reviewing, serving

pytestmark = pytest.mark.real


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    yield opened
    opened.close()


def said(store: Store, anomaly: str) -> list[Said]:
    with store.read() as connection:
        return history(connection, anomaly)


def press(page: Page, name: str) -> None:
    """Go to a button with the Tab key alone, and press it."""
    button = page.get_by_role("button", name=name, exact=True)
    expect(button).to_be_visible()
    for _ in range(60):
        if button.evaluate("found => found === document.activeElement"):
            page.keyboard.press("Enter")
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the Tab key does not come to {name!r}")


def test_responding_by_keyboard(store: Store, browser: Browser) -> None:
    anomaly = fill_story(store)
    with serving(store) as served, reviewing(browser, served) as page:
        complaints = listen(page)
        page.goto(f"{served.url}/anomalies/{anomaly}")
        press(page, "Nobody is at it any more")
        expect(page.locator("#said")).to_have_text("Taken back: nobody is at it.")
        page.keyboard.press("Tab")
        page.keyboard.type("looking, write to a.b@example.com")
        page.keyboard.press("Enter")  # in the note: says nothing
        press(page, "Acknowledge")
        expect(page.locator("#said")).to_have_text("Acknowledged: you are at it.")
        expect(page.locator("main")).to_contain_text("Ada is at it")
        press(page, "Snooze 4 h")
        expect(page.locator("#said")).to_have_text("Snoozed.")
        press(page, "End the snooze")
        expect(page.locator("#said")).to_have_text("The snooze is over.")
        press(page, "False alarm")
        expect(page.locator("#said")).to_have_text("Marked a false alarm.")
        expect(page.get_by_role("button", name="False alarm")).to_have_attribute("aria-pressed", "true")
        press(page, "Take the mark back")
        expect(page.locator("#said")).to_have_text("The mark is taken back.")
        press(page, "It is real")
        expect(page.locator("#said")).to_have_text("Marked real.")
        assert complaints == []
    mine = said(store, anomaly)[1:]
    assert [one.action for one in mine] == [
        "unacknowledge", "acknowledge", "snooze", "wake", "false", "unmark", "real"
    ]  # fmt: skip
    assert {one.who for one in mine} == {"Ada"}
    assert mine[1].note.startswith("looking, write to")
    assert "example.com" not in mine[1].note
    assert mine[2].until_us == NOW_US + 4 * 3_600_000_000


def test_accepting_asks_first(store: Store, browser: Browser) -> None:
    anomaly = fill_story(store)
    with serving(store) as served, reviewing(browser, served) as page:
        page.goto(f"{served.url}/anomalies/{anomaly}")
        press(page, "Accept as the new normal…")
        expect(page.locator("#sure")).to_contain_text("It cannot be undone here.")
        expect(page.get_by_role("button", name="Do not accept")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#sure")).to_be_hidden()
        press(page, "Accept as the new normal…")
        page.keyboard.press("Escape")
        expect(page.locator("#sure")).to_be_hidden()
        assert len(said(store, anomaly)) == 1
        press(page, "Accept as the new normal…")
        press(page, "Accept it")
        expect(page.locator("#said")).to_have_text("Accepted: it is over at the next tick.")
        expect(page.get_by_role("button", name="Accept as the new normal…")).to_have_count(0)
    assert said(store, anomaly)[-1].action == "accept"


def test_what_is_not_recorded_is_told_and_the_note_stays(store: Store, browser: Browser) -> None:
    anomaly = fill_story(store)
    with serving(store) as served, reviewing(browser, served) as page:
        page.goto(f"{served.url}/anomalies/{anomaly}")
        page.locator("#remark").fill("a load test")
        page.route("**/responses", lambda route: route.abort())
        press(page, "False alarm")
        expect(page.locator("#failed")).to_contain_text("Not recorded: driftline cannot be reached")
        expect(page.locator("#remark")).to_have_value("a load test")
        page.unroute("**/responses")
        change(store, anomaly, state="resolved", resolved_us=OPENED)
        press(page, "Accept as the new normal…")
        press(page, "Accept it")
        expect(page.locator("#failed")).to_contain_text("the anomaly is over already")
        press(page, "False alarm")
        expect(page.locator("#said")).to_have_text("Marked a false alarm.")
    assert said(store, anomaly)[-1].note == "a load test"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("hostile", [False, True])
def test_everybody_can_use_it(store: Store, browser: Browser, axe: str, hostile: bool, scheme: Any, width: int) -> None:
    anomaly = fill_story(store, hostile=hostile)
    options = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    with serving(store) as served, reviewing(browser, served, **options) as page:
        complaints = listen(page)

        def check(what: str) -> None:
            expect_usable(page, axe, what)

        page.goto(f"{served.url}/anomalies/{anomaly}")
        check("the page")
        expect(page.locator(f".figure.{'narrow' if width < 720 else 'wide'}").first).to_be_visible()
        assert page.locator(".shots img").evaluate_all("all => all.every((one) => one.naturalWidth > 0)")
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        check("everything unfolded")
        page.locator("#accept").click()
        check("the confirmation")
        page.keyboard.press("Escape")
        page.goto(f"{served.url}/anomalies?marked=none")
        check("the list")
        page.goto(f"{served.url}/anomalies?marked=real")
        check("an empty list")
        assert page.evaluate("window.pwned") is None
        assert complaints == []


def test_a_viewer_without_a_script_reads_it(store: Store, browser: Browser) -> None:
    anomaly = fill_story(store)
    with serving(store) as served:
        context = browser.new_context(viewport=WIDE, java_script_enabled=False)
        try:
            page = context.new_page()
            page.goto(f"{served.url}/anomalies")
            page.get_by_role("link", name="Broken schemas rose").click()
            expect(page.get_by_role("heading", level=1)).to_contain_text("Broken schemas rose from 2 % to 14 %.")
            expect(page.get_by_role("link", name="Say who you are")).to_be_visible()
            expect(page.get_by_role("img", name="Evidence of schema_violation_rate")).to_have_count(1)
            assert page.url.endswith(f"/anomalies/{anomaly}")
        finally:
            context.close()
