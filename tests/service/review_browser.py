"""A service with the review queue, and reviewers who work on its page in a real browser."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect

from monitor.config.model import Config
from monitor.serve.context import Context
from monitor.serve.server import WebServer
from monitor.store.engine import Store
from tests.service.queue_of_page import NOW_US

WIDE = {"width": 1280, "height": 800}
expect.set_options(timeout=30_000)  # machines are shared and slow; what is there is there at once


@dataclass
class Served:
    """A service that answers on ``url``; its wall clock is ``now`` (seconds)."""

    url: str
    store: Store
    now: list[float] = field(default_factory=lambda: [NOW_US / 1e6])


@contextmanager
def serving(store: Store, config: Config | None = None) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = Served(f"http://127.0.0.1:{listener.getsockname()[1]}", store)
        context = Context(
            store=store,
            config=lambda: config or Config(),
            states=list,
            metrics=lambda: b"",
            clock=lambda: served.now[0],
        )
        stop = threading.Event()
        thread = threading.Thread(target=WebServer(listener, context).run, args=(stop,))
        thread.start()
        try:
            yield served
        finally:
            stop.set()
            thread.join()


@contextmanager
def reviewing(
    browser: Browser, served: Served, given: str = "Ada", *, waits_for: str = "#work", **options: Any
) -> Iterator[Page]:
    """A reviewer who has logged in, in a browser context of his own; an error of a script fails the test."""
    context: BrowserContext = browser.new_context(**{"viewport": WIDE, **options})
    context.set_default_timeout(30_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        page.goto(f"{served.url}/login")
        page.locator("#given").fill(given)
        page.keyboard.press("Enter")
        expect(page.locator(waits_for)).to_be_visible()
        yield page
        assert errors == []
    finally:
        context.close()


def listen(page: Page) -> list[str]:
    """What the console says, but of policies that only report; it must stay empty."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text))
    page.on("dialog", lambda dialog: found.append(dialog.message))
    return found


def expect_usable(page: Page, axe: str, what: str) -> None:
    """No serious finding of axe, and nothing wider than the window. ``what`` says of which state of the page."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
    bad = [
        (rule["id"], [node["html"][:200] for node in rule["nodes"]])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
    assert bad == [], what
    assert {"color-contrast", "label", "button-name", "image-alt"} & {rule["id"] for rule in found["passes"]}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what
