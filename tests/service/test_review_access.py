"""Sessions of a browser: who gets one, when it ends, and what a request that was forged cannot do."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.config.model import Config
from monitor.serve.access import CSRF_HEADER, reviewer_of, set_cookie
from monitor.serve.app import create_app
from monitor.serve.context import Context
from monitor.serve.sessions import COOKIE, SECONDS, Sessions
from monitor.store import tokens
from monitor.store.engine import Store, open_store
from monitor.supervise import PartState
from tests.service.queue_of_page import NOW_US, configured, fill_queue
from tests.service.test_web import CHANGES, Client, bearer

ORIGIN = "http://127.0.0.1:8420"


class Browser(Client):
    """Keeps its cookie and sends an Origin with every POST, as browsers do."""

    def __init__(self, store: Store, *, config: Config | None = None, **overrides: Any) -> None:
        self.now = [NOW_US / 1e6]
        given: dict[str, Any] = {
            "store": store,
            "config": lambda: config or Config(),
            "states": lambda: [PartState("serve", "running")],
            "metrics": lambda: b"",
            "clock": lambda: self.now[0],
        }
        super().__init__(create_app(Context(**{**given, **overrides})))
        self.cookie = ""
        self.csrf = ""

    def log_in(self, given: str, **headers: str) -> httpx.Response:
        answer = self.form("/login", {"given": given}, **headers)
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
            page = self.send("GET", "/review").text
            found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
            self.csrf = found[1] if found else ""
        return answer

    def form(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        return self.send("POST", path, data=fields, headers={"origin": ORIGIN, **headers})

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """A POST of the page's script."""
        return self.send("POST", path, json=body, headers={"origin": ORIGIN, CSRF_HEADER: self.csrf, **headers})

    def send(self, method: str, path: str, headers: dict[str, str] | None = None, **content: Any) -> httpx.Response:
        sent = {"cookie": self.cookie} if self.cookie else {}
        return self.request(method, path, {**sent, **(headers or {})}, **content)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'd.db'}")
    fill_queue(opened, 3)
    yield opened
    opened.close()


def made(store: Store, role: str, note: str = "", **given: Any) -> tokens.NewToken:
    return tokens.create(store, role, note=note, now_us=NOW_US, **given)


def test_the_cookie_is_for_this_site_alone_and_no_script_reads_it(store: Store) -> None:
    ada = made(store, "reviewer", "Ada")
    for headers, secure in (({}, False), ({"x-forwarded-proto": "https"}, True)):
        flags = Browser(store).log_in(ada.secret, **headers).headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={SECONDS}"} <= set(flags)
        assert ("Secure" in flags) == secure
    assert "Secure" in set_cookie("x", secure=True)


@pytest.mark.parametrize(("role", "goes_to"), [("viewer", "/"), ("reviewer", "/review"), ("admin", "/review")])
def test_a_session_may_do_what_its_token_may(store: Store, role: str, goes_to: str) -> None:
    browser = Browser(store, loopback=False)
    answer = browser.log_in(made(store, role).secret)
    assert (answer.status_code, answer.headers["location"]) == (303, goes_to)
    assert browser.send("GET", "/api/status").status_code == 200
    assert browser.send("GET", "/api/dead-letters").status_code == (200 if role == "admin" else 403)
    assert browser.send("GET", "/review").status_code == (403 if role == "viewer" else 200)
    if role == "viewer":
        assert "it needs reviewer" in browser.send("GET", "/review").text
        assert browser.post("/api/review/next", {}).status_code == 403


def test_wrong_tokens_begin_no_session(store: Store) -> None:
    expired = tokens.create(store, "admin", now_us=NOW_US - 10, expires_us=NOW_US - 1)
    metrics = made(store, "metrics")
    for given, status in (("dl_guess", 401), ("", 401), (expired.secret, 401), (metrics.secret, 403)):
        answer = Browser(store).log_in(given)
        assert answer.status_code == status
        assert "set-cookie" not in answer.headers
        assert 'role="alert"' in answer.text


def test_a_session_ends_with_its_token(store: Store) -> None:
    ada = made(store, "reviewer", "Ada")
    browser = Browser(store)
    browser.log_in(ada.secret)
    assert browser.post("/api/review/next", {}).status_code == 200
    tokens.revoke(store, ada.token_id, now_us=NOW_US)
    browser.now[0] += 6
    assert browser.post("/api/review/next", {}).status_code == 401
    assert browser.send("GET", "/review").headers["location"] == "/login"


def test_a_session_ends_with_the_expiry_of_its_token_and_by_itself(store: Store) -> None:
    for expires_us, seconds in ((NOW_US + 60_000_000, 61), (None, SECONDS + 1)):
        browser = Browser(store)
        browser.log_in(made(store, "reviewer", expires_us=expires_us).secret)
        assert browser.send("GET", "/api/review/progress").status_code == 200
        browser.now[0] += seconds
        assert browser.send("GET", "/api/review/progress").status_code == 401


def test_a_session_that_ended_does_not_stand_in_the_way_of_another_token(store: Store) -> None:
    browser = Browser(store)
    ended, other = made(store, "reviewer"), made(store, "viewer")
    browser.log_in(ended.secret)
    tokens.revoke(store, ended.token_id, now_us=NOW_US)
    browser.now[0] += 6
    basic = base64.b64encode(f"x:{other.secret}".encode()).decode()
    assert browser.send("GET", "/api/status", headers={"authorization": f"Basic {basic}"}).status_code == 200
    assert "log out" not in browser.send("GET", "/login").text


def test_logging_out_takes_the_cookie_and_cannot_be_forged(store: Store) -> None:
    browser = Browser(store)
    browser.log_in(made(store, "reviewer").secret)
    assert browser.form("/logout", {"csrf": "0" * 64}).status_code == 403
    assert browser.form("/logout", {"csrf": browser.csrf}, origin="http://evil.example").status_code == 403
    answer = browser.form("/logout", {"csrf": browser.csrf})
    assert answer.status_code == 303
    assert answer.headers["set-cookie"].startswith(f"{COOKIE}=; ")
    assert "Max-Age=0" in answer.headers["set-cookie"]


@pytest.mark.parametrize("with_token", [True, False])
def test_forged_requests_change_nothing(store: Store, with_token: bool) -> None:
    """Another site's page makes the browser send the cookie; it knows neither the token nor may it name our Origin."""
    browser = Browser(store)
    browser.log_in(made(store, "reviewer").secret if with_token else "Ada")
    assert browser.csrf
    other = Browser(store)
    other.log_in(made(store, "reviewer").secret if with_token else "Bob")
    for path, _ in CHANGES:
        for headers in (
            {CSRF_HEADER: ""},
            {CSRF_HEADER: "0" * 64},
            {CSRF_HEADER: other.csrf},
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": ""},
            {"origin": "http://127.0.0.1:8421"},
        ):
            answer = browser.post(path, {}, **headers)
            assert answer.status_code == 403, (path, headers)
        without = browser.send("POST", path, json={}, headers={CSRF_HEADER: browser.csrf})
        assert without.status_code == 403
    assert browser.send("GET", "/api/review/progress").json()["leased"] == 0


def test_a_form_of_another_site_cannot_send_json(store: Store) -> None:
    browser = Browser(store)
    browser.log_in("Ada")
    for media_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = browser.post("/api/review/next", {}, **{"content-type": media_type})
        assert answer.status_code == 415


def test_bearer_needs_no_token_against_forgery_and_basic_changes_nothing(store: Store) -> None:
    ada = made(store, "reviewer", "Ada")
    asked = Browser(store, loopback=False)
    assert asked.send("POST", "/api/review/next", json={}, headers=bearer(ada.secret)).status_code == 200
    basic = base64.b64encode(f"x:{ada.secret}".encode()).decode()
    answer = asked.post("/api/review/next", {}, authorization=f"Basic {basic}")
    assert answer.status_code == 401
    assert "/login" in answer.json()["error"]


def test_without_tokens_a_name_is_asked_for_once(store: Store) -> None:
    browser = Browser(store)
    assert browser.send("GET", "/review").headers["location"] == "/login"
    assert "Your name" in browser.send("GET", "/login").text
    assert browser.post("/api/review/next", {}).status_code == 401
    assert browser.log_in("  Ada \u202e Lovelace ").status_code == 303
    assert browser.send("GET", "/api/review/progress").json()["reviewer"] == "Ada Lovelace"
    assert browser.post("/api/review/next", {}).status_code == 200
    for name in ("", "  ", "x" * 101):
        assert Browser(store).log_in(name).status_code == 400


def test_a_name_is_worth_nothing_once_there_are_tokens(store: Store) -> None:
    browser = Browser(store)
    browser.log_in("Ada")
    assert browser.send("GET", "/api/review/progress").status_code == 200
    made(store, "admin")
    browser.now[0] += 6
    assert browser.send("GET", "/api/review/progress").status_code == 401
    assert browser.post("/api/review/next", {}).status_code == 401


def test_without_tokens_a_name_that_points_here_logs_nobody_in(store: Store) -> None:
    answer = Browser(store).log_in("Ada", origin="http://evil.example:8420", host="evil.example:8420")
    assert "set-cookie" not in answer.headers
    assert answer.status_code == 400


def test_no_other_site_logs_anybody_in(store: Store) -> None:
    ada = made(store, "reviewer")
    for origin in ("http://evil.example", "null", ""):
        answer = Browser(store).log_in(ada.secret, origin=origin)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_behind_a_proxy_that_changes_the_host_the_configured_address_is_ours(store: Store) -> None:
    ada = made(store, "reviewer")
    config = Config.model_validate({"alerts": {"app_url": "https://watch.example.com/"}})
    for configured_as, status in ((config, 303), (Config(), 403)):
        browser = Browser(store, config=configured_as, loopback=False)
        assert browser.log_in(ada.secret, origin="https://watch.example.com").status_code == status


def test_labels_go_under_the_note_of_the_token_else_its_id(store: Store) -> None:
    for note, name in (("Ada", "Ada"), (" Ada  L ", "Ada L"), ("", None), ("x" * 101, None)):
        token = made(store, "reviewer", note)
        found = tokens.find_id(store, token.token_id, now_us=NOW_US)
        assert found is not None
        assert reviewer_of(found) == (name or token.token_id)


def test_cookies_that_were_changed_are_none() -> None:
    sessions, now = Sessions("k" * 64), 1000.0
    cookie = sessions.cookie(token_id="ab12", now=now, nonce="n" * 32)
    found = sessions.read(cookie, now=now)
    assert found is not None
    assert (found.token_id, found.name, found.expires) == ("ab12", "", 1000 + SECONDS)
    body, _, signature = cookie.partition(".")
    assert all(sessions.read(cookie[:i] + ("A" if c != "A" else "B") + cookie[i + 1 :], now=now) is None
               for i, c in enumerate(cookie))  # fmt: skip
    assert Sessions("l" * 64).read(cookie, now=now) is None
    for wrong in ("", ".", body, f"{body}.", f".{signature}", "é.é", "x" * 10_000):
        assert sessions.read(wrong, now=now) is None
    assert sessions.read(cookie, now=now + SECONDS) is None
    assert found.csrf not in cookie


def test_long_bodies_are_not_read(store: Store) -> None:
    browser = Browser(store)
    browser.log_in("Ada")
    answer = browser.send("POST", "/api/review/label", content=b"[" * 600_000, headers={
        "origin": ORIGIN, CSRF_HEADER: browser.csrf, "content-type": "application/json"})  # fmt: skip
    assert answer.status_code == 413
    assert browser.form("/login", {"given": "x" * 20_000}).status_code == 413


def test_pages_run_nothing_but_their_own_script(store: Store) -> None:
    browser = Browser(store, config=configured())
    browser.log_in("<script>x</script>")
    for path in ("/login", "/review"):
        answer = browser.send("GET", path)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy and "style-src 'self'" in policy and "unsafe" not in policy
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert answer.headers.get_list("content-security-policy") == [policy]
        assert "<script>" not in answer.text and " style=" not in answer.text and " on" + "click" not in answer.text
    for name, kind in (("review.js", "text/javascript"), ("review.css", "text/css")):
        found = browser.send("GET", f"/static/{name}")
        assert found.headers["content-type"].startswith(kind)
        assert found.headers["x-content-type-options"] == "nosniff"
    for name in ("x.js", "..%2fapp.py", "%2e%2e/app.py", "..%5capp.py"):
        assert browser.send("GET", f"/static/{name}").status_code == 404
