"""Downloads over real sockets from a server that is cut off, changes its mind, redirects and lies."""

from __future__ import annotations

import fcntl
import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from monitor.embed.download import DownloadError, NotFound, download
from tests.data import ROOT

DATA = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(DATA).hexdigest()


@dataclass
class Behaviour:
    """What the server does; ``asked`` are the Range headers that came."""

    data: bytes = DATA
    etag: str | None = '"one"'
    stop_after: int | None = None
    location: str = ""
    linked: str = ""
    lengthless: bool = False
    stall_after: int | None = None
    released: threading.Event = field(default_factory=threading.Event)
    asked: list[str | None] = field(default_factory=list)
    base: str = ""


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        how = self.behaviour
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("location", how.location)
            if how.linked:
                self.send_header("x-linked-etag", how.linked)
            self.end_headers()
            return
        if self.path in ("/403", "/500"):
            self.send_error(int(self.path[1:]))
            return
        wanted = self.headers.get("range")
        how.asked.append(wanted)
        start = 0
        if wanted and self.headers.get("if-range") == how.etag:
            start = int(wanted[len("bytes=") : -1])
        if start > len(how.data) or (start and start == len(how.data)):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("content-range", f"bytes {start}-{len(how.data) - 1}/{len(how.data)}")
        if not how.lengthless:
            self.send_header("content-length", str(len(how.data) - start))
        if how.etag:
            self.send_header("etag", how.etag)
        self.end_headers()
        body = how.data[start:]
        if how.stall_after is not None:
            self.wfile.write(body[: how.stall_after])
            how.released.wait(60)
            return
        self.wfile.write(body if how.stop_after is None else body[: how.stop_after])
        self.wfile.flush()
        if how.stop_after is not None:
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behaviour]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    how = Behaviour()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"behaviour": how}))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    how.base = f"http://127.0.0.1:{http.server_port}"
    yield how
    how.released.set()
    http.shutdown()
    http.server_close()
    thread.join()


def test_a_file_comes_whole_and_says_how_far_it_is(server: Behaviour, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    done = download(
        f"{server.base}/w.bin",
        tmp_path / "new" / "w.bin",
        sha256=SHA[:8],
        progress=lambda received, total: seen.append((received, total)),
    )
    assert done.path.read_bytes() == DATA
    assert (done.sha256, done.bytes, done.source) == (SHA, len(DATA), f"{server.base}/w.bin")
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))
    assert [path.name for path in done.path.parent.iterdir()] == ["w.bin"]


def test_what_was_cut_off_is_no_file_and_goes_on_where_it_stopped(server: Behaviour, tmp_path: Path) -> None:
    target = tmp_path / "w.bin"
    server.stop_after = 300_000
    with pytest.raises(DownloadError, match="try again, what came is kept"):
        download(f"{server.base}/w.bin", target)
    part = tmp_path / "w.bin.part"
    assert not target.exists() and part.read_bytes() == DATA[: part.stat().st_size]
    kept = part.stat().st_size
    assert 0 < kept <= 300_000
    server.stop_after = None
    assert download(f"{server.base}/w.bin", target).sha256 == SHA
    assert server.asked == [None, f"bytes={kept}-"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.bin"]


def test_a_process_that_was_killed(server: Behaviour, tmp_path: Path) -> None:
    server.stall_after = 700_000
    code = "import sys; from pathlib import Path; from monitor.embed.download import download; "
    code += "download(sys.argv[1], Path(sys.argv[2]))"
    target, part = tmp_path / "w.bin", tmp_path / "w.bin.part"
    process = subprocess.Popen([sys.executable, "-c", code, f"{server.base}/w.bin", str(target)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 100_000):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    server.stall_after = None
    assert not target.exists()
    kept = part.stat().st_size
    assert download(f"{server.base}/w.bin", target).sha256 == SHA
    assert server.asked == [None, f"bytes={kept}-"]


@pytest.mark.parametrize("etag", ['"two"', None, 'W/"one"'])
def test_another_file_is_begun_anew(server: Behaviour, tmp_path: Path, etag: str | None) -> None:
    """The file changed, or the server cannot say whether it did: halves of two files are never put together."""
    server.stop_after = 300_000
    if etag is None or etag.startswith("W/"):
        server.etag = etag
    with pytest.raises(DownloadError):
        download(f"{server.base}/w.bin", tmp_path / "w.bin")
    server.data, server.etag, server.stop_after = DATA[::-1], etag, None
    done = download(f"{server.base}/w.bin", tmp_path / "w.bin")
    assert done.path.read_bytes() == DATA[::-1]


def test_a_part_that_is_all_of_it_or_more_is_begun_anew(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "w.bin.part").write_bytes(b"x" * len(DATA))
    (tmp_path / "w.bin.part.etag").write_text('"one"')
    assert download(f"{server.base}/w.bin", tmp_path / "w.bin").sha256 == SHA
    assert server.asked == [f"bytes={len(DATA)}-", None]


def test_a_wrong_digest_is_thrown_away(server: Behaviour, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"sha256 {SHA[:16]}… instead of 00000000"):
        download(f"{server.base}/w.bin", tmp_path / "w.bin", sha256="00000000")
    assert not (tmp_path / "w.bin").exists() and not (tmp_path / "w.bin.part").exists()
    # The hub states the digest of what it redirects to.
    server.location, server.linked = "/w.bin", f'"{"0" * 64}"'
    with pytest.raises(DownloadError, match="instead of 0000"):
        download(f"{server.base}/redirect", tmp_path / "w.bin")
    server.linked = f'"{SHA}"'
    assert download(f"{server.base}/redirect", tmp_path / "w.bin").source == f"{server.base}/redirect"


def test_refusals(server: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "w.bin"
    with pytest.raises(NotFound, match="no such file"):
        download(f"{server.base}/gone", target)
    assert list(tmp_path.iterdir()) == []  # nothing came, nothing is left
    with pytest.raises(DownloadError, match="not allowed"):
        download(f"{server.base}/403", target)
    with pytest.raises(DownloadError, match="HTTP 500"):
        download(f"{server.base}/500", target)
    for url in ("ftp://h/x", "file:///etc/passwd", "http://user:word@h/x", "nothing", "http://"):
        with pytest.raises(DownloadError, match="no address"):
            download(url, target)
    server.location = "/redirect"
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        download(f"{server.base}/redirect", target)
    server.location = "file:///etc/passwd"
    with pytest.raises(DownloadError, match="no address"):
        download(f"{server.base}/redirect", target)
    with pytest.raises(DownloadError, match="more than the 0 MB"):
        download(f"{server.base}/w.bin", target, max_bytes=1000)
    server.lengthless = True
    with pytest.raises(DownloadError, match="more than the 0 MB"):
        download(f"{server.base}/w.bin", target, max_bytes=1000)
    server.lengthless = False
    monkeypatch.setattr("monitor.embed.download.shutil.disk_usage", lambda folder: type("U", (), {"free": 1000})())
    with pytest.raises(DownloadError, match="free are 0 MB"):
        download(f"{server.base}/w.bin", target)
    assert not target.exists()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadError, match="check the network"):
            download(f"http://127.0.0.1:{unused.getsockname()[1]}/x", target)


def test_https_is_not_left() -> None:
    import httpx

    from monitor.embed.download import _following

    assert str(_following(httpx.URL("https://a/x"), "https://b/y")) == "https://b/y"
    assert str(_following(httpx.URL("http://a/x"), "/y")) == "http://a/y"
    with pytest.raises(DownloadError, match="from https to http://b"):
        _following(httpx.URL("https://a/x"), "http://b/y")


def test_two_at_once(server: Behaviour, tmp_path: Path) -> None:
    with (tmp_path / "w.bin.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process"):
            download(f"{server.base}/w.bin", tmp_path / "w.bin")
    assert download(f"{server.base}/w.bin", tmp_path / "w.bin").sha256 == SHA
