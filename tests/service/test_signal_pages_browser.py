"""Overview, segment and latency in a real browser: a desk and a phone, light and dark, and without a script."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from monitor.store.engine import Store, open_store
from tests.service.review_browser import WIDE, Served, expect_usable, listen, serving
from tests.service.signals_of_page import END, SLOW, fill_signals
from tests.service.store_of_page import HOSTILE

pytestmark = pytest.mark.real

PAGES = (
    "/?sort=cost_total",
    "/segment?range=24h",
    f"/segment?segment={quote(HOSTILE, safe='')}&range=24h",
    "/segment?segment=nowhere",
    f"/latency?segment={quote(SLOW, safe='')}&range=24h",
)
# Tables have a row a point: one of them is looked at unfolded, so that a test takes seconds.
UNFOLD = """for (const one of [...document.querySelectorAll('details.more'), document.querySelector('figure details')])
    if (one) one.open = true"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("pages") / "d.db"
    shutil.copy(migrated, path)
    store: Store = open_store(f"sqlite:///{path}", migrate=False)
    fill_signals(store, hostile=True)
    with serving(store) as found:
        found.now[0] = END / 1e6 + 300
        yield found
    store.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_everybody_can_use_them(served: Served, browser: Browser, axe: str, scheme: Any, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    try:
        page = context.new_page()
        complaints = listen(page)
        for path in PAGES:
            page.goto(f"{served.url}{path}")
            page.evaluate(UNFOLD)
            expect_usable(page, axe, path)
            charts = page.locator(f".chart.{'narrow' if width < 720 else 'wide'}")
            assert "/latency" not in path or charts.first.is_visible(), path
        assert page.evaluate("window.pwned") is None
        # What is not there is answered with 404, which browsers write to the console.
        assert [text for text in complaints if "404" not in text] == []
    finally:
        context.close()


def test_from_the_overview_to_a_slow_stage_without_a_script(served: Served, browser: Browser) -> None:
    context = browser.new_context(viewport=WIDE, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(served.url)
        expect(page.get_by_role("heading", level=1)).to_have_text("1 anomaly open: 1 page")
        table = page.get_by_role("region", name="Segments")
        table.get_by_role("link", name="latency p95").click()
        expect(page.get_by_role("columnheader", name="latency p95")).to_have_attribute("aria-sort", "descending")
        page.get_by_role("region", name="Segments").get_by_role("link", name=SLOW, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(SLOW)
        page.get_by_role("link", name="Latency", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Latency: {SLOW}")
        assert page.url.endswith("/latency?segment=invoice%2Fslow&range=24h"), "the range goes along"
        expect(page.get_by_role("list").filter(has_text="The extra time of slow requests is")).to_contain_text("queue")
        page.get_by_label("Segment").fill("invoice/plain")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Latency: invoice/plain")
        page.go_back()
        page.get_by_role("link", name="28 days").click()
        expect(page.get_by_role("img", name="Total latency").first).to_be_visible()
    finally:
        context.close()
