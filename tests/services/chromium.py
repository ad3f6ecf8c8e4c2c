"""Chromium as Debian packages it, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.services import Unavailable

_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; give each reviewer a context of its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise Unavailable("`chromium` is missing: apt-get install -y --no-install-recommends chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


def axe() -> str:
    """The script of axe-core, which looks for what keeps people from using a page."""
    try:
        import axe_playwright_python
    except ImportError:
        raise Unavailable("axe-core is missing: pip install -c constraints.txt -e '.[dev]'") from None
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
