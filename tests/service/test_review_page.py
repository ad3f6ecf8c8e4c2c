"""The review page in a real browser: work by keyboard, blind, with leases that run out, networks that fail, and people
who need contrast, a phone or a keyboard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Response, Route, expect
from sqlalchemy import func, select

from monitor.store import review, tokens
from monitor.store.engine import Store, open_store
from monitor.store.tables import labels
from tests.service.queue_of_page import NOW_US, QUESTIONS, confidence, configured, fill_queue
from tests.service.review_browser import reviewing, serving

pytestmark = pytest.mark.real


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    yield opened
    opened.close()


def event(seed: int) -> str:
    return f"01JCZ3K8W2-{seed:04d}"


def expect_item(page: Page, seed: int) -> None:
    expect(page.locator("#facts")).to_contain_text(event(seed))


def expect_sent(page: Page) -> None:
    """Wait until the server has every answer."""
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")


def standing(store: Store) -> list[tuple[str, str]]:
    query = select(labels.c.event_id, labels.c.label).where(~labels.c.undone, labels.c.kind == "label")
    with store.read() as connection:
        return [(row[0], json.loads(row[1])["verdict"]) for row in connection.execute(query.order_by(labels.c.id))]


def test_twenty_items_by_keyboard_and_one_undone(store: Store, browser: Browser) -> None:
    fill_queue(store, 22)
    with serving(store) as served, reviewing(browser, served) as page:
        for seed in range(20):
            expect_item(page, seed)
            page.keyboard.press("cwu"[seed % 3])
        expect_item(page, 20)
        expect_sent(page)
        assert standing(store) == [(event(seed), ("correct", "wrong", "unsure")[seed % 3]) for seed in range(20)]
        page.keyboard.press("z")
        expect_item(page, 19)
        expect(page.locator("#notice")).to_contain_text("taken back")
        assert len(standing(store)) == 19
        page.keyboard.press("u")
        expect_item(page, 20)
        expect_sent(page)
        assert standing(store)[-1] == (event(19), "unsure")
        expect(page.locator("#labelled")).to_have_text("20")
        expect(page.locator("#unsure")).to_have_text("7")
        expect(page.locator("#left")).to_have_text("2")


def test_a_lease_that_runs_out_in_another_browser(store: Store, browser: Browser) -> None:
    """Bob goes away with two items; Ada gets them; Bob's answer comes too late, and he goes on with what is next."""
    fill_queue(store, 5)
    with (
        serving(store) as served,
        reviewing(browser, served, "Bob") as bob,
        reviewing(browser, served, "Ada") as ada,
    ):
        expect_item(bob, 0)
        expect_item(ada, 2)
        for seed in (2, 3, 4):
            expect_item(ada, seed)
            ada.keyboard.press("c")
        expect(ada.locator("#empty-text")).to_contain_text("Other reviewers are at the 2 items")
        served.now[0] += 601
        ada.locator("#again").click()
        expect_item(ada, 0)
        bob.keyboard.press("n")
        bob.keyboard.type("the 4 is a 9")
        bob.keyboard.press("Escape")
        bob.keyboard.press("w")
        expect(bob.locator("#notice")).to_contain_text("another reviewer took that item")
        expect(bob.locator("#notice")).to_contain_text("the 4 is a 9")
        ada.keyboard.press("c")
        expect_item(ada, 1)
        expect_sent(ada)
        expect_sent(bob)
        assert standing(store) == [(event(seed), "correct") for seed in (2, 3, 4, 0)]


def test_the_page_itself_notices_that_its_lease_was_taken(store: Store, browser: Browser) -> None:
    """It renews while its reviewer is there; somebody else had the item before it could."""
    fill_queue(store, 2)
    with serving(store, configured(lease="4s")) as served, reviewing(browser, served, "Bob") as bob:
        expect_item(bob, 0)
        served.now[0] += 5
        review.next_items(store, "Ada", review.Filters(), int(served.now[0] * 1e6), 3_600_000_000)
        expect(bob.locator("#notice")).to_contain_text("another reviewer took the item you were at")
        expect_item(bob, 1)


def test_blind_in_the_page_and_on_the_wire(store: Store, browser: Browser) -> None:
    fill_queue(store, 3)
    bodies: list[str] = []

    def note(response: Response) -> None:
        if "image" not in response.headers.get("content-type", "") and response.status == 200:
            bodies.append(response.text())

    with serving(store) as served, reviewing(browser, served) as page:
        page.on("response", note)
        page.reload()
        expect_item(page, 0)
        page.wait_for_load_state("networkidle")
        wire = "\n".join(bodies)
        assert event(1) in wire
        for told in (*(str(confidence(seed)) for seed in range(3)), "0.318841", "low_confidence_reason"):
            assert told not in wire
            assert told not in page.content()
        page.keyboard.press("c")
        expect(page.locator("#last")).to_contain_text("confidence 73.1 %")
        expect(page.locator("#last")).to_contain_text("chosen for low_confidence_reason")
        expect_sent(page)
        page.wait_for_load_state("networkidle")
        wire = "\n".join(bodies)
        assert str(confidence(0)) in wire
        assert not [seed for seed in (1, 2) if str(confidence(seed)) in wire]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_serious_keeps_people_from_using_it(
    store: Store, browser: Browser, axe: str, scheme: Any, width: int
) -> None:
    fill_queue(store, 3, hostile=True, languages=("en", "de"))
    options = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    config = configured(questions=QUESTIONS)
    with serving(store, config) as served, reviewing(browser, served, **options) as page:
        expect(page.locator("#turned img")).to_be_visible()

        def check(what: str) -> None:
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

        check("an item")
        page.keyboard.press("w")
        check("questions")
        page.keyboard.press("Enter")
        expect(page.locator("#last")).to_be_visible()
        page.keyboard.press(".")
        check("a part without pixels, and what was revealed")
        page.keyboard.press("?")
        check("keys")
        page.keyboard.press("Escape")
        page.keyboard.press("s")
        check("skipping")
        page.keyboard.press("1")
        expect(page.locator("#prompt")).to_contain_text("<script>")
        check("a hostile item")
        page.keyboard.press("c")
        expect(page.locator("#empty-title")).to_have_text("Nothing to review")
        check("an empty queue")
        page.goto(f"{served.url}/login")
        check("the login")


def test_hostile_content_is_inert(store: Store, browser: Browser) -> None:
    fill_queue(store, 1, hostile=True)
    asked: list[str] = []
    complaints: list[str] = []
    with serving(store) as served, reviewing(browser, served) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.reload()
        expect(page.locator("#prompt")).to_contain_text("<script>window.pwned=1</script>")
        while (button := page.locator("#beside button", has_text="Show all").first).count():
            button.click()
        page.locator("#beside button", has_text="Show the region").first.click()
        for key in (".", ",", "+", "]", "0"):
            page.keyboard.press(key)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.pwned") is None
        assert page.locator("#beside :is(script, img, svg, a, link, iframe)").count() == 0
        assert "{{ 7*7 }}" in page.locator("#prompt").inner_text()
        assert page.evaluate("document.body.innerText.includes('\\u202e')") is False
        page.keyboard.press("w")
        expect_sent(page)
        assert {urlsplit(url).netloc for url in asked} == {urlsplit(served.url).netloc}
        assert not [text for text in complaints if "ontent Security Policy" in text]
        # The policy would stop what a defect let through.
        page.evaluate("() => { const s = document.createElement('div'); s.id = 'probe'; document.body.append(s); }")
        with pytest.raises(Exception, match="TrustedHTML"):
            page.evaluate("() => { document.getElementById('probe').innerHTML = '<img src=x onerror=pwned=1>'; }")


def test_an_answer_survives_a_network_that_fails_and_counts_once(store: Store, browser: Browser) -> None:
    fill_queue(store, 4)
    ids: list[str] = []
    network = ["away"]
    with serving(store) as served, reviewing(browser, served) as page:

        def carry(route: Route) -> None:
            ids.append((route.request.post_data_json or {})["request_id"])
            if network[0] == "well":
                route.continue_()
                return
            if network[0] == "loses answers":  # it arrives, and nobody hears of it
                route.fetch()
                network[0] = "well"
            route.abort()

        page.route("**/api/review/label", carry)
        page.reload()  # a page that is there may send its next request past a route
        expect_item(page, 0)
        page.keyboard.press("w")
        expect_item(page, 1)
        expect(page.locator("#notice")).to_contain_text("1 answer waits in this tab")
        assert standing(store) == []
        network[0] = "loses answers"
        expect(page.locator("#notice")).to_contain_text("Connected again")
        expect_sent(page)
        assert len(ids) >= 3 and len(set(ids)) == 1 and ids[0]
        assert standing(store) == [(event(0), "wrong")]


def test_answers_that_wait_survive_a_reload(store: Store, browser: Browser) -> None:
    fill_queue(store, 3)
    with serving(store) as served, reviewing(browser, served) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        page.route("**/api/review/label", lambda route: route.abort())
        page.reload()
        expect_item(page, 0)
        page.keyboard.press("u")
        expect(page.locator("#notice")).to_contain_text("1 answer waits")
        assert standing(store) == []
        page.reload()
        expect(page.locator("#notice")).to_contain_text("1 answer waits")
        page.unroute("**/api/review/label")
        expect_item(page, 1)
        expect_sent(page)
        assert standing(store) == [(event(0), "unsure")]


def test_questions_by_keyboard(store: Store, browser: Browser) -> None:
    fill_queue(store, 2)
    with serving(store, configured(questions=QUESTIONS)) as served, reviewing(browser, served) as page:
        expect_item(page, 0)
        page.keyboard.press("w")
        expect(page.locator("#questions")).to_be_visible()
        for key in ("1", "4"):
            page.keyboard.press(key)
        page.keyboard.press("Tab")
        page.locator("#questions input[name=q-severity]").first.focus()
        page.keyboard.press("2")
        page.locator("#questions input[name=q-seen]").focus()
        page.keyboard.type("cwus 41.00")
        page.keyboard.press("Enter")
        expect_item(page, 1)
        page.keyboard.press("w")
        expect(page.locator("#questions")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#questions")).to_be_hidden()
        page.keyboard.press("c")  # nothing more is asked of a correct one
        expect(page.locator("#empty-title")).to_have_text("Nothing to review")
        expect_sent(page)
        with store.read() as connection:
            stored = [json.loads(row) for row in connection.execute(select(labels.c.label)).scalars()]
        answers = {"fields": ["total", "shop.vat"], "severity": "costs somebody time", "seen": "cwus 41.00"}
        assert [(label["verdict"], label["answers"]) for label in stored] == [("wrong", answers), ("correct", {})]


def test_the_picture_by_keyboard_wheel_and_drag(store: Store, browser: Browser) -> None:
    fill_queue(store, 1)
    with serving(store) as served, reviewing(browser, served) as page:
        picture, stage = page.locator("#turned img"), page.locator("#stage")
        expect(picture).to_be_visible()
        fitted = picture.bounding_box()
        outer = stage.bounding_box()
        assert fitted and outer
        assert fitted["height"] <= outer["height"] and fitted["width"] <= outer["width"]
        region = page.locator(".region").bounding_box()
        assert region
        assert abs((region["y"] - fitted["y"]) / fitted["height"] - 0.79) < 0.01
        assert abs(region["width"] / fitted["width"] - 0.86) < 0.02
        for _ in range(4):
            page.keyboard.press("+")
        larger = picture.bounding_box()
        assert larger and larger["height"] > 3 * fitted["height"]
        start = page.evaluate("[stage.scrollLeft, stage.scrollTop]")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("[stage.scrollLeft, stage.scrollTop]") == [start[0] + 60, start[1] + 60]
        middle = (outer["x"] + outer["width"] / 2, outer["y"] + outer["height"] / 2)
        before = page.evaluate("stage.scrollTop")
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0], middle[1] + 100, steps=4)
        page.mouse.up()
        assert page.evaluate("stage.scrollTop") == before - 100
        page.mouse.wheel(0, 100)
        for _ in range(100):
            smaller = picture.bounding_box()
            if smaller and smaller["height"] < larger["height"]:
                break
            page.wait_for_timeout(50)
        assert smaller and fitted["height"] < smaller["height"] < larger["height"]
        page.keyboard.press("0")
        page.keyboard.press("]")
        turned = picture.bounding_box()
        assert turned and turned["width"] > turned["height"]
        page.keyboard.press("[")
        assert picture.bounding_box() == fitted
        page.keyboard.press(".")
        expect(page.locator("#no-picture")).to_be_visible()
        page.keyboard.press(",")
        expect(picture).to_be_visible()


def test_single_keys_can_be_turned_off(store: Store, browser: Browser) -> None:
    """WCAG 2.1.4: who speaks to a machine may say a letter by chance."""
    fill_queue(store, 2)
    with serving(store) as served, reviewing(browser, served) as page:
        expect_item(page, 0)
        page.keyboard.press("?")
        page.locator("#single").uncheck()
        page.keyboard.press("Escape")
        page.keyboard.press("c")
        page.reload()
        page.keyboard.press("c")
        expect_item(page, 0)
        page.get_by_role("button", name="Correct").click()
        expect_item(page, 1)
        expect_sent(page)
        assert standing(store) == [(event(0), "correct")]


def test_a_held_key_labels_one_item(store: Store, browser: Browser) -> None:
    fill_queue(store, 3)
    with serving(store) as served, reviewing(browser, served) as page:
        expect_item(page, 0)
        page.keyboard.down("c")
        page.keyboard.down("c")
        page.keyboard.down("c")
        page.keyboard.up("c")
        expect_item(page, 1)
        expect_sent(page)
        assert len(standing(store)) == 1


def test_a_phone(store: Store, browser: Browser) -> None:
    fill_queue(store, 2, hostile=True)
    options = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    with serving(store) as served, reviewing(browser, served, **options) as page:
        for seed in range(2):
            expect(page.locator("#turned img")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") == 390, seed
            for button in page.locator("button:visible").all():
                box = button.bounding_box()
                assert box and min(box["width"], box["height"]) >= 24, button.inner_text()  # WCAG 2.5.8
            page.get_by_role("button", name="Wrong").tap()
        expect(page.locator("#empty-title")).to_have_text("Nothing to review")
        expect_sent(page)
        assert len(standing(store)) == 2


def test_a_filter(store: Store, browser: Browser) -> None:
    fill_queue(store, 4, languages=("en", ""))
    with serving(store) as served, reviewing(browser, served) as page:
        expect_item(page, 0)
        page.locator("#filter summary").click()
        assert page.locator("#filter select").count() == 1  # of what has several values
        page.get_by_label("Language").select_option("unknown")
        page.get_by_role("button", name="Apply").click()
        expect_item(page, 1)
        page.keyboard.press("c")
        expect_item(page, 3)
        page.keyboard.press("c")
        expect(page.locator("#empty-text")).to_contain_text("2 other items do. Clear the filter")
        page.get_by_role("link", name="Clear").click()
        expect_item(page, 0)


def test_answers_of_another_reviewer_are_never_sent_as_ones_own(store: Store, browser: Browser) -> None:
    fill_queue(store, 2)
    with serving(store) as served, reviewing(browser, served) as page:
        sent: list[str] = []
        page.on("dialog", lambda dialog: dialog.accept())
        page.route("**/api/review/label", lambda route: (sent.append(route.request.url), route.abort()))
        page.reload()
        expect_item(page, 0)
        page.keyboard.press("w")
        expect(page.locator("#notice")).to_contain_text("1 answer waits")
        page.goto(f"{served.url}/login")
        sent.clear()
        page.locator("#given").fill("Bob")
        page.keyboard.press("Enter")
        expect(page.locator("#notice")).to_contain_text("Ada gave in this tab (1) were not sent")
        page.wait_for_load_state("networkidle")
        assert sent == []


def test_an_empty_queue_says_what_to_do(store: Store, browser: Browser) -> None:
    with serving(store) as served, reviewing(browser, served, waits_for="#again") as page:
        expect(page.locator("#empty-text")).to_contain_text("No event was drawn for review yet")
        fill_queue(store, 1)
        page.locator("#again").click()
        expect_item(page, 0)


def test_a_token_that_is_revoked_ends_the_work_and_keeps_the_answer(store: Store, browser: Browser) -> None:
    fill_queue(store, 3)
    made = tokens.create(store, "reviewer", note="Ada", now_us=NOW_US)
    with serving(store) as served, reviewing(browser, served, made.secret) as page:
        expect_item(page, 0)
        expect(page.locator("header")).to_contain_text("Log out Ada")
        tokens.revoke(store, made.token_id, now_us=NOW_US)
        served.now[0] += 6
        page.keyboard.press("c")
        expect(page.locator("#notice")).to_contain_text("log in again")
        assert standing(store) == []
        again = tokens.create(store, "reviewer", note="Ada", now_us=NOW_US)
        other = page.context.new_page()
        other.goto(f"{served.url}/login")
        other.locator("#given").fill(again.secret)
        other.keyboard.press("Enter")
        expect(other.locator("#work")).to_be_visible()
        page.on("dialog", lambda dialog: dialog.accept())
        page.reload()
        expect_item(page, 1)
        expect_sent(page)
        assert standing(store) == [(event(0), "correct")]
        with store.read() as connection:
            assert connection.execute(select(func.count()).select_from(labels)).scalar_one() == 1
