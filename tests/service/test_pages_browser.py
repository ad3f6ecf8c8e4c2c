"""The pages of cost, health, reports and quality in a real browser: a phone in the dark, a desk in the light."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from monitor.report import rendering
from monitor.store import reports, retries
from monitor.store.engine import Store, open_store
from tests.service.costs_of_page import CONFIG as PRICES
from tests.service.costs_of_page import NAMED as PAID
from tests.service.costs_of_page import fill_costs
from tests.service.health_of_page import CONFIG, fill_health
from tests.service.quality_of_page import NAMED, fill_quality
from tests.service.review_browser import WIDE, expect_usable, listen, reviewing, serving
from tests.service.test_reports_page import NEXT, documents

pytestmark = pytest.mark.real
SIZES = [(390, "dark"), (1280, "light")]
# Pages by the store that they are of.
PATHS = {
    "costs": [f"/cost?segment={PAID}&cap=output_tokens%3D300", "/cost?cap=x"],
    "health": ["/health?letter=inference/0/5", "/reports"],
    "quality": ["/quality?range=28d", f"/quality?range=28d&segment={NAMED}&target=35"],
    "empty": ["/cost", "/health", "/reports", "/quality"],
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Store]]:
    folder = tmp_path_factory.mktemp("pages")
    found = {name: open_store(f"sqlite:///{folder / name}.db") for name in PATHS}
    fill_costs(found["costs"])
    fill_health(found["health"])
    fill_quality(found["quality"])
    with found["health"].write() as connection:
        for issue, report in documents().items():
            pages = {form: rendering.rendered(report, form) for form in reports.FORMS}
            reports.add(found["health"], connection, issue, pages)
    yield found
    for store in found.values():
        store.close()


@pytest.mark.parametrize(("width", "scheme"), SIZES)
@pytest.mark.parametrize("name", PATHS)
def test_everybody_can_use_them(
    stores: dict[str, Store], browser: Browser, axe: str, name: str, width: int, scheme: Any
) -> None:
    options = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    config = PRICES if name == "costs" else CONFIG
    with serving(stores[name], config) as served, reviewing(browser, served, waits_for="h1", **options) as page:
        complaints = listen(page)
        for path in PATHS[name]:
            page.goto(f"{served.url}{path}")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
            expect_usable(page, axe, path)
            assert page.evaluate("window.pwned") is None
        # What the browser says of an answer that is a 400 or a 404 is no complaint of the page's.
        assert [text for text in complaints if "the server responded with a status" not in text] == []


def test_dead_letters_are_read_again_by_keyboard(stores: dict[str, Store], browser: Browser) -> None:
    with serving(stores["health"], CONFIG) as served, reviewing(browser, served, waits_for="h1") as page:
        complaints = listen(page)
        page.goto(f"{served.url}/health?letter=inference/0/4")
        page.get_by_role("button", name="Read it again").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("1 to be read again")
        expect(page.locator("#letters-title")).to_be_focused()
        expect(page.locator("#letter")).to_contain_text("Ada had it read again")
        expect(page.get_by_role("button", name="Read it again")).to_have_count(0)
        expect(page.get_by_text("waits to be read again")).to_have_count(2)  # in its card, and in the list
        page.get_by_role("button", name="Read all of oversize again").click()
        expect(page.get_by_text("waits to be read again")).to_have_count(3)
        page.get_by_role("button", name="Read all of tombstone again").click()
        expect(page.locator("#said")).to_contain_text("Nothing to do")
        page.route("**/retries", lambda route: route.abort())
        page.get_by_role("button", name="Read all of invalid_utf8 again").click()
        expect(page.locator("#failed")).to_contain_text("Not asked for: driftline cannot be reached")
        assert complaints == ["Failed to load resource: net::ERR_FAILED"]
    with stores["health"].read() as connection:
        assert [one.who for one in retries.history(connection, "inference", 0, 4)] == ["Ada"]
        assert retries.history(connection, "inference", 0, 6) == []


def test_a_refused_delivery_is_decided_of_by_keyboard(stores: dict[str, Store], browser: Browser) -> None:
    with serving(stores["health"], CONFIG) as served, reviewing(browser, served, waits_for="h1") as page:
        complaints = listen(page)
        page.goto(f"{served.url}/health")
        page.get_by_role("button", name="Dismiss anomaly bbbbbbbbbb at old-chat").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#sinks-said")).to_contain_text("Dismissed.")
        expect(page.locator("#sinks-title")).to_be_focused()
        page.route("**/decisions", lambda route: route.abort())
        page.get_by_role("button", name="to mail again").click()
        expect(page.locator("#sinks-failed")).to_contain_text("Nothing was changed: driftline cannot be reached")
        page.unroute("**/decisions")
        page.get_by_role("button", name="to mail again").click()
        expect(page.locator("#sinks-said")).to_contain_text("To be sent again, within seconds.")
        expect(page.get_by_role("button", name="to mail again")).to_have_count(0)
        assert complaints == ["Failed to load resource: net::ERR_FAILED"]


def test_they_work_without_a_script(stores: dict[str, Store], browser: Browser) -> None:
    context = browser.new_context(viewport=WIDE, java_script_enabled=False)
    page = context.new_page()
    try:
        with serving(stores["costs"], PRICES) as served:
            page.goto(f"{served.url}/cost")
            page.get_by_label("Cap", exact=True).fill("output_tokens=300")
            page.get_by_role("button", name="Try it").click()
            expect(page.locator("#what-if")).to_contain_text("no request above 300 output tokens")
            page.get_by_role("link", name=PAID, exact=True).click()
            expect(page.get_by_role("heading", level=1)).to_have_text(f"Cost of {PAID}")
            page.get_by_role("link", name="Quality").click()
            assert page.url.endswith(f"/quality?segment={PAID}")
        with serving(stores["health"], CONFIG) as served:
            page.goto(f"{served.url}/reports")
            page.get_by_role("link", name="Read it").first.click()
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert page.title().startswith("driftline")
    finally:
        context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_a_report_is_read_in_the_browser(stores: dict[str, Store], browser: Browser, axe: str, width: int) -> None:
    """Its own policy shuts it in, so that axe, which is put into the page from outside, still looks at it."""
    options = {"viewport": {"width": width, "height": 844}}
    with serving(stores["health"], CONFIG) as served, reviewing(browser, served, waits_for="h1", **options) as page:
        complaints = listen(page)
        page.goto(f"{served.url}/reports")
        page.get_by_role("link", name="Read it").first.click()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("origin") == "null", "an origin that is nobody's"
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_have_text("Reports")
        assert complaints == []
    assert NEXT in documents()
