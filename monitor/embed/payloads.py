"""The bytes of an input part, from where the operator allows, within limits on size and time.

Nothing is fetched but ``data:`` URIs, inline base64, files under the configured roots, and, where enabled,
http(s) and s3. Every other outcome is a ``Missing`` with one of the reasons in docs/encoders.md; nothing here
raises on what an event says.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from monitor.config.inputs import Payloads
from monitor.embed.images import Missing
from monitor.embed.remote import RemoteFetcher

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_SPACE = re.compile(rb"[ \t\r\n]+")


class PayloadFetcher:
    """Fetches parts under one ``payloads`` configuration. Safe to share between threads; close it when done."""

    def __init__(self, config: Payloads) -> None:
        self._config = config
        self._roots = tuple(os.path.realpath(Path(root).expanduser()) for root in config.roots)
        self._remote = RemoteFetcher(config) if config.http.enabled or config.s3.enabled else None

    def close(self) -> None:
        if self._remote is not None:
            self._remote.close()

    def fetch(self, part: Mapping[str, Any]) -> bytes | Missing:
        """The payload of one input part: its ``inline`` base64 or what its ``uri`` names."""
        inline = part.get("inline")
        if isinstance(inline, str):
            return _base64(inline.encode("utf-8", "replace"), self._config.max_bytes)
        uri = part.get("uri")
        if not isinstance(uri, str) or not uri:
            return Missing("no_payload")
        match = _SCHEME.match(uri)
        if match is None:
            return Missing("uri_invalid")
        scheme = match[1].lower()
        if scheme == "data":
            return _data_uri(uri[match.end() :], self._config.max_bytes)
        if scheme == "file":
            return self._file(uri)
        if scheme in ("http", "https"):
            if self._remote is None or not self._config.http.enabled:
                return Missing("http_not_enabled")
            return self._remote.http(uri)
        if scheme == "s3":
            if self._remote is None or not self._config.s3.enabled:
                return Missing("s3_not_enabled")
            return self._remote.s3(uri)
        return Missing("scheme_not_allowed")

    def _file(self, uri: str) -> bytes | Missing:
        try:
            parsed = urlsplit(uri)
        except ValueError:
            return Missing("uri_invalid")
        path = unquote_to_bytes(parsed.path).decode("utf-8", "surrogateescape")
        if parsed.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
            return Missing("uri_invalid")
        if not self._roots:
            return Missing("file_not_allowed")
        resolved = os.path.realpath(path)
        for root in self._roots:
            if resolved.startswith(root.rstrip("/") + "/"):
                return _read_below(root, os.path.relpath(resolved, root), self._config.max_bytes)
        return Missing("file_not_allowed")


def fetch(part: Mapping[str, Any], config: Payloads) -> bytes | Missing:
    """``PayloadFetcher(config).fetch(part)`` for a single part."""
    fetcher = PayloadFetcher(config)
    try:
        return fetcher.fetch(part)
    finally:
        fetcher.close()


def _read_below(root: str, relative: str, max_bytes: int) -> bytes | Missing:
    """Read ``root/relative``, a path without links, one component at a time and never through a link.

    The path was resolved before; a component that became a symbolic link since then is refused, so nobody who
    may write under the root can lead a read out of it.
    """
    folder = -1
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        *folders, name = relative.split("/")
        for component in folders:
            inner = os.open(component, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        # Non-blocking, so that opening a FIFO returns; only a regular file is read.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            return _read_regular(handle, max_bytes)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return Missing("file_not_found")
    except NotADirectoryError:
        return Missing("file_not_found")
    except OSError:
        return Missing("file_unreadable")
    finally:
        if folder >= 0:
            os.close(folder)


def _read_regular(handle: int, max_bytes: int) -> bytes | Missing:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        return Missing("file_not_regular")
    if status.st_size > max_bytes:
        return Missing("payload_too_large")
    data = bytearray()
    while chunk := os.read(handle, max_bytes + 1 - len(data)):
        data += chunk
        if len(data) > max_bytes:  # it grew while it was read
            return Missing("payload_too_large")
    return bytes(data)


def _data_uri(rest: str, max_bytes: int) -> bytes | Missing:
    head, comma, body = rest.partition(",")
    if not comma:
        return Missing("uri_invalid")
    raw = unquote_to_bytes(body) if "%" in body else body.encode("utf-8", "replace")
    if head.lower().endswith(";base64"):
        return _base64(raw, max_bytes)
    return raw if len(raw) <= max_bytes else Missing("payload_too_large")


def _base64(text: bytes, max_bytes: int) -> bytes | Missing:
    """Strict base64, standard or URL-safe alphabet, white space ignored; cut-off text is not decodable."""
    text = _SPACE.sub(b"", text)
    if not text:
        return Missing("base64_undecodable")
    if len(text) > max_bytes * 4 // 3 + 4:
        return Missing("payload_too_large")
    if b"-" in text or b"_" in text:
        text = text.replace(b"-", b"+").replace(b"_", b"/")
    if len(text) % 4 and b"=" not in text:
        text += b"=" * (-len(text) % 4)  # padding is optional in the URL-safe form
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return Missing("base64_undecodable")
