"""A file over HTTP to disk: whole and checked, or not there.

Bytes go to ``NAME.part`` and get their name when all of them have come and the sha256 is right. An interrupted download
goes on where it stopped if the server says by its ETag that the file is the same, and begins again otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

MAX_BYTES = 20_000_000_000
MAX_REDIRECTS = 5
TIMEOUT_S = 30.0  # without a byte
_CHUNK = 1 << 20
_REDIRECTS = (301, 302, 303, 307, 308)

Progress = Callable[[int, int | None], None]


class DownloadError(Exception):
    """A file could not be had: the message names the address, what was got and what to do."""


class NotFound(DownloadError):
    """The server has no such file (404)."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """``source`` is the address that was asked first, without what redirects added to it."""

    path: Path
    source: str
    sha256: str
    bytes: int


def download(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    max_bytes: int = MAX_BYTES,
    max_redirects: int = MAX_REDIRECTS,
    timeout: float = TIMEOUT_S,
    progress: Progress = lambda received, total: None,
) -> Downloaded:
    """Fetch ``url`` (http or https, never from https to http) to ``target``, which appears whole or not at all.

    Args:
        sha256: hex digest, or its beginning, that the file must have; one that the server states (as the Hugging Face
            hub does) is checked too.
        timeout: seconds without a byte.
        progress: called with the bytes received so far and all there are, where the server says so.

    Raises DownloadError; what had come by then stays in ``target`` with ``.part`` added, for the next call.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with _locked(part) as file:
        try:
            with httpx.Client(verify=ssl.create_default_context(), timeout=timeout, follow_redirects=False) as client:
                found, stated = _fetch(client, url, file, part, max_bytes, max_redirects, progress)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DownloadError(
                f"{url}: {type(error).__name__}: {error}; check the network and try again, what came is kept"
            ) from error
        except OSError as error:
            raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from error
        size = file.tell()
        for wanted in (sha256, stated):
            if wanted and not found.startswith(wanted):
                file.truncate(0)
                raise DownloadError(
                    f"{url}: sha256 {found[:16]}… instead of {wanted[:16]}…; the file was thrown away, try again"
                )
        os.fsync(file.fileno())
        part.replace(target)
    _etag_file(part).unlink(missing_ok=True)
    return Downloaded(target, url, found, size)


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    with part.open("ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DownloadError(f"{part} is being written by another process; wait for it") from None
        try:
            yield file
        finally:
            if file.seek(0, os.SEEK_END) == 0:  # nothing came
                part.unlink(missing_ok=True)


def _fetch(
    client: httpx.Client,
    url: str,
    file: BinaryIO,
    part: Path,
    max_bytes: int,
    max_redirects: int,
    progress: Progress,
) -> tuple[str, str]:
    """(sha256 of what is in ``file`` now, sha256 that the server stated or ""); ``file`` is left at its end."""
    address, stated = _parsed(url), ""
    headers = {"accept-encoding": "identity"}
    etag = _etag_file(part)
    if (kept := file.seek(0, os.SEEK_END)) and etag.is_file():
        headers |= {"range": f"bytes={kept}-", "if-range": etag.read_text()}
    for _ in range(max_redirects + 1):
        with client.stream("GET", address, headers=headers) as response:
            linked = response.headers.get("x-linked-etag", "").strip('"')
            stated = linked if re.fullmatch("[0-9a-f]{64}", linked) else stated
            if response.status_code in _REDIRECTS:
                address = _following(address, response.headers.get("location", ""))
                continue
            if response.status_code == 416:  # all of it had come, or another file is there now: begin again
                file.truncate(0)
                headers = {"accept-encoding": "identity"}
                continue
            return _body(response, url, file, etag, max_bytes, progress), stated
    raise DownloadError(f"{url}: more than {max_redirects} redirects; give the address of the file itself")


def _body(response: httpx.Response, url: str, file: BinaryIO, etag: Path, max_bytes: int, progress: Progress) -> str:
    status = response.status_code
    if status in (404, 410):
        raise NotFound(f"{url}: there is no such file (HTTP {status})")
    if status in (401, 403):
        raise DownloadError(f"{url}: not allowed (HTTP {status}); fetch the file by other means and give its path")
    if status not in (200, 206) or response.headers.get("content-encoding", "identity") != "identity":
        raise DownloadError(f"{url}: HTTP {status} instead of the file; try again later")
    start = file.seek(0, os.SEEK_END)
    if status == 200 or not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
        if status == 206:
            raise DownloadError(f"{url}: another part of the file than was asked for; remove {etag.with_suffix('')}")
        file.truncate(0)
        start = 0
        strong = response.headers.get("etag", "")
        etag.unlink(missing_ok=True)
        if strong.startswith('"'):
            etag.write_text(strong)
    length = response.headers.get("content-length", "")
    total = start + int(length) if length.isdecimal() else None
    _room(url, etag.parent, start, total, max_bytes)
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    received = start
    progress(received, total)
    # As it comes: a chunk of a given size would be collected first, and lost when the connection is.
    for chunk in response.iter_raw():
        received += len(chunk)
        if received > max_bytes:
            _room(url, etag.parent, received, received, max_bytes)
        file.write(chunk)
        digest.update(chunk)
        progress(received, total)
    file.flush()
    return digest.hexdigest()


def _room(url: str, folder: Path, have: int, total: int | None, max_bytes: int) -> None:
    if total is None:
        return
    if total > max_bytes:
        raise DownloadError(f"{url} has {total / 1e6:,.0f} MB, more than the {max_bytes / 1e6:,.0f} MB that are taken")
    free = shutil.disk_usage(folder).free
    if total - have > free:
        raise DownloadError(f"{url} needs {(total - have) / 1e6:,.0f} MB in {folder}, free are {free / 1e6:,.0f} MB")


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise DownloadError(f"{url!r} is no address: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
        raise DownloadError(f"{url!r} is no address that is asked; expected http(s)://HOST/PATH without a user")
    return parsed


def _following(url: httpx.URL, location: str) -> httpx.URL:
    try:
        following = _parsed(str(url.join(location)))
    except (httpx.InvalidURL, ValueError) as error:
        raise DownloadError(f"{url}: redirected to {location!r}, which is no address ({error})") from None
    if url.scheme == "https" and following.scheme != "https":
        raise DownloadError(f"{url}: redirected from https to {following.scheme}://{following.host}, which is refused")
    return following
