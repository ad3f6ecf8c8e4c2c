"""What may be fetched, and what is refused."""

from __future__ import annotations

import base64
import gzip
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from monitor.config.inputs import Payloads
from monitor.embed import addresses, s3
from monitor.embed.images import Missing
from monitor.embed.payloads import PayloadFetcher, fetch
from monitor.embed.remote import RemoteFetcher


def file_uri(path: Path) -> dict[str, str]:
    return {"uri": path.as_uri()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a b#1.jpg").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (tmp_path / "root-but-longer").mkdir()
    (tmp_path / "root-but-longer" / "x").write_bytes(b"outside")
    return folder


def test_files_below_a_root_are_read(root: Path) -> None:
    config = Payloads(roots=(str(root),))
    assert fetch(file_uri(root / "inner" / "a b#1.jpg"), config) == b"inside"
    assert fetch({"uri": f"file://localhost{root}/inner/a%20b%231.jpg"}, config) == b"inside"
    (root / "link").symlink_to(root / "inner" / "a b#1.jpg")
    assert fetch(file_uri(root / "link"), config) == b"inside"


def test_nothing_else_is(root: Path, tmp_path: Path) -> None:
    config = Payloads(roots=(str(root),))
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    refused = {
        f"file://{tmp_path}/secret": "file_not_allowed",
        f"file://{root}/../secret": "file_not_allowed",
        f"file://{root}/%2e%2e/secret": "file_not_allowed",
        f"file://{root}/out": "file_not_allowed",
        f"file://{root}/up/secret": "file_not_allowed",
        f"file://{tmp_path}/root-but-longer/x": "file_not_allowed",
        f"file://{root}": "file_not_allowed",
        f"file://{root}/pipe": "file_not_regular",
        f"file://{root}/inner": "file_not_regular",
        f"file://{root}/nothing": "file_not_found",
        f"file://{root}/inner/a%20b%231.jpg/x": "file_not_found",
        f"file://elsewhere{root}/x": "uri_invalid",
        "file:relative": "uri_invalid",
        f"file://{root}/a%00b": "uri_invalid",
        "no scheme": "uri_invalid",
        "ftp://host/x": "scheme_not_allowed",
        "http://example.com/x": "http_not_enabled",
        "s3://bucket/x": "s3_not_enabled",
        "__REDACTED__": "uri_invalid",
    }
    assert {uri: fetch({"uri": uri}, config) for uri in refused} == {
        uri: Missing(reason) for uri, reason in refused.items()
    }
    assert fetch({}, config) == Missing("no_payload")
    assert fetch({"uri": 7, "inline": None}, config) == Missing("no_payload")
    assert fetch(file_uri(root / "inner" / "a b#1.jpg"), Payloads()) == Missing("file_not_allowed")


def test_a_link_put_in_place_after_the_check_is_not_followed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = root / "inner" / "a b#1.jpg"
    honest = os.path.realpath
    fetcher = PayloadFetcher(Payloads(roots=(str(root),)))

    def swapping(path: Any, **keywords: Any) -> Any:
        answer = honest(path, **keywords)
        target.unlink()
        target.symlink_to(tmp_path / "secret")
        return answer

    monkeypatch.setattr(os.path, "realpath", swapping)
    assert fetcher.fetch(file_uri(target)) == Missing("file_unreadable")


def test_size_is_limited(root: Path) -> None:
    config = Payloads(roots=(str(root),), max_bytes=5)
    big = base64.b64encode(b"123456").decode()
    for part in (
        file_uri(root / "inner" / "a b#1.jpg"),
        {"inline": big * 10},
        {"uri": f"data:;base64,{big * 10}"},
        {"uri": "data:,123456"},
    ):
        assert fetch(part, config) == Missing("payload_too_large")


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"inline": base64.b64encode(b"\x00\xff" * 5).decode()}, b"\x00\xff" * 5),
        ({"inline": base64.urlsafe_b64encode(b"\xfb\xff\xfe" * 3).decode().rstrip("=")}, b"\xfb\xff\xfe" * 3),
        ({"inline": "aGVs\nbG8=\n"}, b"hello"),
        ({"uri": "data:image/png;base64,aGVsbG8="}, b"hello"),
        ({"uri": "DATA:text/plain,a%20b"}, b"a b"),
        ({"inline": "aGVsbG8=", "uri": "http://ignored/"}, b"hello"),
        ({"inline": ""}, Missing("base64_undecodable")),
        ({"inline": "aGVsb"}, Missing("base64_undecodable")),
        ({"inline": "not base64!"}, Missing("base64_undecodable")),
        ({"inline": "é" * 8}, Missing("base64_undecodable")),
        ({"uri": "data:image/png;base64"}, Missing("uri_invalid")),
        ({"uri": "data:image/png;base64,@@@"}, Missing("base64_undecodable")),
    ],
)
def test_inline_and_data(part: dict[str, str], expected: bytes | Missing) -> None:
    assert fetch(part, Payloads()) == expected


@pytest.mark.parametrize(
    ("address", "private", "public"),
    [
        ("93.184.215.14", True, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True, True),
        ("127.0.0.1", True, False),
        ("10.1.2.3", True, False),
        ("192.168.1.1", True, False),
        ("172.16.9.9", True, False),
        ("::1", True, False),
        ("fd00::1", True, False),
        ("::ffff:127.0.0.1", True, False),
        ("::ffff:10.0.0.1", True, False),
        ("64:ff9b::10.0.0.1", True, False),
        ("2002:7f00:1::", True, False),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::169.254.169.254", False, False),
        ("fe80::1%eth0", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("255.255.255.255", False, False),
        ("240.0.0.1", False, False),
        ("100.64.0.1", False, False),
        ("no address", False, False),
    ],
)
def test_addresses(address: str, private: bool, public: bool) -> None:
    assert addresses.allowed(address, allow_private=False) is public
    assert addresses.allowed(address, allow_private=True) is private


class Handler(BaseHTTPRequestHandler):
    """Answers by path; ``server.seen`` collects requests."""

    def do_GET(self) -> None:
        seen: list[tuple[str, dict[str, str]]] = self.server.seen  # type: ignore[attr-defined]
        seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        name, _, value = self.path.strip("/").partition("/")
        if name == "ok":
            self.answer(200, b"payload")
        elif name == "status":
            self.answer(int(value), b"")
        elif name == "to":
            self.answer(302, b"", location=value)
        elif name == "loop":
            self.answer(302, b"", location="/loop")
        elif name == "stated":
            self.answer(200, b"", length=10**9)
        elif name == "gzip":
            self.answer(200, gzip.compress(bytes(10**6)), encoding="gzip")
        elif name in ("endless", "drip"):
            self.send_response(200)
            self.end_headers()
            try:
                while not self.server.over.wait(0.02 if name == "drip" else 0):  # type: ignore[attr-defined]
                    self.wfile.write(b"x" if name == "drip" else bytes(65536))
            except OSError:
                pass
        else:
            self.answer(200, self.path.encode())

    def answer(self, status: int, body: bytes, *, location: str = "", length: int = -1, encoding: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("location", location)
        if encoding:
            self.send_header("content-encoding", encoding)
        self.send_header("content-length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        running.seen = []  # type: ignore[attr-defined]
        running.over = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.over.set()  # type: ignore[attr-defined]
        running.shutdown()
        thread.join()


def http_config(**changes: Any) -> Payloads:
    http = {"enabled": True, "hosts": ("files.test", "*.cdn.test"), "allow_private": True, **changes}
    return Payloads.model_validate({"http": http, "max_bytes": 1000, "timeout": "1s"})


def local(*answers: str) -> Callable[[str, int], list[str]]:
    return lambda host, port: list(answers or ("127.0.0.1",))


def fetcher(config: Payloads, resolve: Callable[[str, int], list[str]] | None = None) -> RemoteFetcher:
    return RemoteFetcher(config, resolve=resolve or local())


def test_http_from_an_allowed_host(server: ThreadingHTTPServer) -> None:
    port = server.server_port
    remote = fetcher(http_config())
    assert remote.http(f"http://files.test:{port}/ok") == b"payload"
    assert remote.http(f"http://A.cdn.test:{port}/ok") == b"payload"
    assert remote.http(f"http://files.test:{port}/to//ok") == b"payload"
    assert remote.http(f"http://files.test:{port}/status/404") == Missing("http_status_404")
    # The name stays in the Host header although the connection goes to a checked address.
    assert server.seen[0][1]["host"] == f"files.test:{port}"  # type: ignore[attr-defined]


def test_http_refusals(server: ThreadingHTTPServer) -> None:
    port = server.server_port
    remote = fetcher(http_config())
    base = f"http://files.test:{port}"
    refused = {
        f"http://other.test:{port}/ok": "host_not_allowed",
        f"http://cdn.test:{port}/ok": "host_not_allowed",
        f"http://evilcdn.test:{port}/ok": "host_not_allowed",
        f"http://127.0.0.1:{port}/ok": "host_not_allowed",
        f"http://user:pw@files.test:{port}/ok": "uri_invalid",
        f"{base}/to/http://other.test/": "host_not_allowed",
        f"{base}/to/file:///etc/passwd": "uri_invalid",
        f"{base}/to/gopher://files.test/": "uri_invalid",
        f"{base}/loop": "too_many_redirects",
        f"{base}/stated": "payload_too_large",
        f"{base}/endless": "payload_too_large",
        f"{base}/gzip": "fetch_encoding",
    }
    assert {uri: remote.http(uri) for uri in refused} == {uri: Missing(why) for uri, why in refused.items()}


def test_time_is_limited_however_the_answer_drips(server: ThreadingHTTPServer) -> None:
    started = time.monotonic()
    remote = fetcher(http_config())
    assert remote.http(f"http://files.test:{server.server_port}/drip") == Missing("fetch_timeout")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert remote.http(f"http://files.test:{mute.getsockname()[1]}/") == Missing("fetch_timeout")
    assert time.monotonic() - started < 60  # ended at all: the dripping server never would


def test_addresses_are_checked_and_pinned(server: ThreadingHTTPServer) -> None:
    port = server.server_port
    uri = f"http://files.test:{port}/ok"
    # A private address, also as one among several, and the metadata address even where private ones may be.
    assert fetcher(http_config(allow_private=False)).http(uri) == Missing("address_not_allowed")
    for answers in (("93.184.215.14", "10.0.0.1"), ("93.184.215.14", "::ffff:127.0.0.1")):
        assert fetcher(http_config(allow_private=False), local(*answers)).http(uri) == Missing("address_not_allowed")
    assert fetcher(http_config(), local("169.254.169.254")).http(uri) == Missing("address_not_allowed")
    # A name that changes its answer: looked up once an exchange, and that answer is connected to.
    asked: list[str] = []

    def changing(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    remote = fetcher(http_config(), changing)
    assert remote.http(uri) == b"payload"
    assert asked == ["files.test"]
    # A redirect is looked up and checked again.
    assert remote.http(uri) == Missing("address_not_allowed")
    asked.clear()
    assert remote.http(f"http://files.test:{port}/to//ok") == Missing("address_not_allowed")
    assert fetcher(http_config(), local()).http(f"http://files.test:{port}/to//ok") == b"payload"


def test_unknown_and_unreachable_hosts() -> None:
    def nowhere(_: str, __: int) -> list[str]:
        raise socket.gaierror("no such name")

    assert fetcher(http_config(), nowhere).http("http://files.test/") == Missing("host_unknown")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert fetcher(http_config()).http(f"http://files.test:{port}/") == Missing("fetch_failed")


def test_http_is_used_by_the_fetcher_when_enabled(server: ThreadingHTTPServer) -> None:
    config = Payloads.model_validate(
        {"http": {"enabled": True, "hosts": ["127.0.0.1"], "allow_private": True}, "timeout": "5s"}
    )
    part = {"uri": f"http://127.0.0.1:{server.server_port}/ok"}
    assert fetch(part, config) == b"payload"
    closed = config.model_copy(update={"http": config.http.model_copy(update={"allow_private": False})})
    assert fetch(part, closed) == Missing("address_not_allowed")


def test_s3_requests_are_signed_path_style(server: ThreadingHTTPServer) -> None:
    def config(**changes: Any) -> Payloads:
        settings = {
            "enabled": True,
            "endpoint": f"http://127.0.0.1:{server.server_port}",
            "buckets": ("docs",),
            "access_key": "AK",
            "secret_key": "SK",
            "allow_private": True,
        }
        return Payloads.model_validate({"s3": {**settings, **changes}, "timeout": "5s"})

    assert fetch({"uri": "s3://docs/a b/ü.jpg"}, config()) == b"/docs/a%20b/%C3%BC.jpg"
    _, headers = server.seen[-1]  # type: ignore[attr-defined]
    again = s3.signed_headers(
        headers["host"],
        "/docs/a%20b/%C3%BC.jpg",
        region="us-east-1",
        access_key="AK",
        secret_key="SK",
        now=datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC),
    )
    assert headers["authorization"] == again["authorization"]
    assert fetch({"uri": "s3://docs/plain"}, config(access_key=None)) == b"/docs/plain"
    assert "authorization" not in server.seen[-1][1]  # type: ignore[attr-defined]
    assert fetch({"uri": "s3://other/x"}, config()) == Missing("bucket_not_allowed")
    assert fetch({"uri": "s3://docs"}, config()) == Missing("uri_invalid")
    assert fetch({"uri": "s3://docs/x"}, config(endpoint=None)) == Missing("s3_endpoint_invalid")
    assert fetch({"uri": "s3://docs/x"}, config(allow_private=False)) == Missing("address_not_allowed")


def test_signature_matches_the_published_example() -> None:
    """AWS, "Signature Calculations for the Authorization Header", example "GET Bucket Lifecycle"."""
    headers = s3.signed_headers(
        "examplebucket.s3.amazonaws.com",
        "/",
        query="lifecycle=",
        region="us-east-1",
        access_key="AKIAIOSFODNN7EXAMPLE",
        secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        now=datetime(2013, 5, 24, tzinfo=UTC),
    )
    expected = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    assert headers["authorization"].endswith(f"Signature={expected}")
