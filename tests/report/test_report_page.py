"""The report's page in a real browser: readable for everybody, on a phone and on a desk, and fetching nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from playwright.sync_api import Browser
from pypdfium2 import PdfDocument

from monitor.report import rendering
from monitor.report.model import Report
from tests.conftest import absent
from tests.report.reports import NAME, a_report
from tests.services import Unavailable
from tests.services import chromium as chromium_service

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with ExitStack() as stack:
        try:
            yield stack.enter_context(chromium_service.chromium())
        except Unavailable as error:
            absent(error)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(rendering.html(a_report()), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_read_it(browser: Browser, page_file: Path, scheme: Any, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        page = context.new_page()
        asked: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        page.evaluate(chromium_service.axe())
        found = page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
        bad = [rule["id"] for rule in found["violations"] if rule["impact"] in ("serious", "critical")]
        assert bad == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("img").count() == 2
        assert errors == []
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_prints_on_white_with_what_there_is_to_decide_on_the_first_page(
    browser: Browser, page_file: Path, scheme: Any
) -> None:
    """On A4, whatever the screen's colours are; the rest begins on a page of its own and nothing is cut at the side."""
    context = browser.new_context(color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto(page_file.as_uri())
        printed = page.pdf(format="A4", print_background=True)
    finally:
        context.close()
    with PdfDocument(printed) as document:
        texts = [sheet.get_textpage().get_text_bounded() for sheet in document]
        pictures = [np.asarray(sheet.render(scale=1).to_pil().convert("L")) for sheet in document]
    decide = a_report().decide[0].split(":")[0]
    assert "What to decide" in texts[0] and decide in texts[0].replace("\r\n", " ")
    assert "Alarms" not in texts[0]
    assert 2 <= len(texts) <= 6
    assert NAME in "".join(texts[1:]).replace("\r\n", "")
    for picture in pictures:
        assert (picture > 200).mean() > 0.6, "ink on paper"
        margin = picture.shape[1] // 60
        assert (picture[:, :margin] > 250).all() and (picture[:, -margin:] > 250).all()


def test_a_report_of_nothing_reads_as_well() -> None:
    empty = msgspec.structs.replace(
        a_report(), changes=[], alarms=[], promises=[], segments=[], deploys=[], not_measured=[], reviewed=None
    )
    assert isinstance(empty, Report)
    assert "No anomaly opened." in rendering.html(empty)
    assert "No anomaly opened." in rendering.markdown(empty)
