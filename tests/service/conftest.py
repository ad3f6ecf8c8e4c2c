"""A real browser, and what tells whether everybody can use a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser

from tests.conftest import absent
from tests.services import Unavailable
from tests.services import chromium as chromium_service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with ExitStack() as stack:
        try:
            yield stack.enter_context(chromium_service.chromium())
        except Unavailable as error:
            absent(error)


@pytest.fixture(scope="module")
def axe() -> str:
    try:
        return chromium_service.axe()
    except Unavailable as error:
        absent(error)
        raise
