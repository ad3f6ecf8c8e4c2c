"""The pages of inputs and references in a real browser: the map by keyboard, deciding, hostile content, a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect

from monitor.store import references
from monitor.store.engine import Store, open_store
from tests.service.inputs_of_page import Filled, fill_inputs
from tests.service.review_browser import expect_usable, listen, reviewing, serving

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", params=["", "hostile"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Filled]]:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('inputs') / 'd.db'}")
    yield opened, fill_inputs(opened, hostile=bool(request.param))
    opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_everybody_can_use_them(
    filled: tuple[Store, Filled], browser: Browser, axe: str, width: int, scheme: Any
) -> None:
    store, found = filled
    segment = urlencode({"segment": found.segment})
    options = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    with serving(store) as served, reviewing(browser, served, waits_for="body", **options) as page:
        complaints = listen(page)
        page.goto(f"{served.url}/inputs?{segment}")
        expect(page.get_by_role("group", name="Map of the images")).to_be_visible()
        expect(page.locator(f".figure.{'narrow' if width < 980 else 'wide'}").first).to_be_visible()
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        page.evaluate("for (const one of document.querySelectorAll('img')) one.loading = 'eager'")
        expect_usable(page, axe, "inputs")
        for path in ("/references", f"/references?{segment}", f"/references?{segment}&a=2&b=3", "/inputs"):
            page.goto(served.url + path)
            expect_usable(page, axe, path)
        page.goto(f"{served.url}/references?{segment}")
        page.get_by_role("button", name="Put version 1 to use…").click()
        expect_usable(page, axe, "the confirmation")
        page.get_by_role("button", name="Leave it as it is").click()
        assert references.active_ids(store) == {found.segment: found.active}
        assert page.evaluate("window.pwned") is None
        assert complaints == []


def test_the_map_by_keyboard_and_a_decision(tmp_path: Path, browser: Browser) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    found = fill_inputs(store)
    segment = urlencode({"segment": found.segment})
    with serving(store) as served, reviewing(browser, served, waits_for="body") as page:
        complaints = listen(page)
        page.goto(f"{served.url}/inputs?{segment}")
        reached = page.locator('#dots a[tabindex="0"]')
        expect(reached).to_have_count(1)
        reached.focus()
        expect(page.locator("#peek")).to_be_visible()
        first = page.evaluate("document.activeElement.getAttribute('href')")
        page.keyboard.press("ArrowRight")
        second = page.evaluate("document.activeElement.getAttribute('href')")
        assert second != first
        expect(page.locator("#peek-text")).to_contain_text("Now, 2025-")
        page.keyboard.press("Home")
        assert page.evaluate("document.activeElement.getAttribute('href')") == first
        page.keyboard.press("Escape")
        expect(page.locator("#peek")).to_be_hidden()
        page.locator('#dots a[href$="/thumbnail"]').first.hover(force=True)
        expect(page.locator("#peek-image")).to_be_visible()
        assert page.locator("#peek-image").evaluate("image => image.decode().then(() => image.naturalWidth > 0)")

        page.goto(f"{served.url}/references?{segment}")
        page.get_by_role("button", name="Approve version 3").press("Enter")
        expect(page.locator("#said")).to_have_text("Version 3 is approved; it can be put to use now.")
        page.get_by_role("button", name="Put version 3 to use…").press("Enter")
        page.locator("#remark").fill("the scanner stays")
        page.get_by_role("button", name="Put it to use", exact=True).press("Enter")
        expect(page.locator("#said")).to_have_text("Version 3 is in use from the next tick on.")
        expect(page.locator("main")).to_contain_text("Ada put it to use in place of version 2")
        page.route("**/decisions", lambda route: route.abort())
        page.get_by_role("button", name="Put version 1 to use…").press("Enter")
        page.get_by_role("button", name="Put it to use", exact=True).press("Enter")
        expect(page.locator("#failed")).to_contain_text("Nothing was changed: driftline cannot be reached")
        assert complaints == [] or all("ERR_FAILED" in text for text in complaints)
    assert references.active_ids(store) == {found.segment: found.draft}
    with store.read() as connection:
        decided = references.decisions(connection, [found.draft])[found.draft]
    assert [(one.action, one.who, one.note) for one in decided] == [
        ("approve", "Ada", ""), ("activate", "Ada", "the scanner stays")
    ]  # fmt: skip
    store.close()
