"""Payloads over HTTP: from allowed hosts only, never to an address that was not checked.

The host is resolved here, every address is checked, and the connection goes to a checked address (the host name
stays in the Host header and in TLS), so a name that changes its answer between check and connection gains
nothing. Each redirect is checked like the first address. One deadline covers resolution, redirects and body.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from monitor.config.inputs import Payloads
from monitor.embed import addresses, s3
from monitor.embed.images import Missing

_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Redirect:
    location: str


class RemoteFetcher:
    """http(s) and s3 fetches under one ``payloads`` configuration. Safe to share between threads."""

    def __init__(self, config: Payloads, *, resolve: Callable[[str, int], list[str]] = addresses.resolve) -> None:
        self._config = config
        self._resolve = resolve
        self._tls = ssl.create_default_context()
        # The system resolver cannot be interrupted; it runs apart so that the deadline holds all the same.
        self._resolvers = concurrent.futures.ThreadPoolExecutor(4, thread_name_prefix="driftline-resolve")

    def close(self) -> None:
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    def http(self, uri: str) -> bytes | Missing:
        settings = self._config.http
        deadline = time.monotonic() + self._config.timeout / 1e6
        url = _parse(uri)
        for _ in range(settings.max_redirects + 1):
            if url is None:
                return Missing("uri_invalid")
            if not _host_matches(url.host, settings.hosts):
                return Missing("host_not_allowed")
            outcome = self._get(url, {}, settings.allow_private, deadline)
            if not isinstance(outcome, _Redirect):
                return outcome
            try:
                following = _parse(str(url.join(outcome.location)))
            except (httpx.InvalidURL, ValueError):
                return Missing("uri_invalid")
            if following is not None and url.scheme == "https" and following.scheme != "https":
                return Missing("redirect_not_allowed")
            url = following
        return Missing("too_many_redirects")

    def s3(self, uri: str) -> bytes | Missing:
        settings = self._config.s3
        bucket, _, key = uri[len("s3://") :].partition("/")
        if not uri.lower().startswith("s3://") or not bucket or not key:
            return Missing("uri_invalid")
        if bucket not in settings.buckets:
            return Missing("bucket_not_allowed")
        endpoint = _parse(settings.endpoint or "")
        if endpoint is None:
            return Missing("s3_endpoint_invalid")
        path = endpoint.path.rstrip("/") + s3.object_path(bucket, key)
        url = endpoint.copy_with(raw_path=path.encode("ascii"))
        headers: dict[str, str] = {}
        if settings.access_key:
            headers = s3.signed_headers(
                url.netloc.decode("ascii"),
                path,
                region=settings.region,
                access_key=settings.access_key,
                secret_key=settings.secret_key or "",
                now=datetime.now(UTC),
            )
        deadline = time.monotonic() + self._config.timeout / 1e6
        outcome = self._get(url, headers, settings.allow_private, deadline)
        return Missing("redirect_not_allowed") if isinstance(outcome, _Redirect) else outcome

    def _get(
        self, url: httpx.URL, headers: dict[str, str], allow_private: bool, deadline: float
    ) -> bytes | Missing | _Redirect:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = self._resolvers.submit(self._resolve, url.host, port).result(max(0.0, deadline - time.monotonic()))
        except concurrent.futures.TimeoutError:
            return Missing("fetch_timeout")
        except (OSError, UnicodeError):
            return Missing("host_unknown")
        if not found or not all(addresses.allowed(address, allow_private=allow_private) for address in found):
            return Missing("address_not_allowed")
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return Missing("fetch_timeout")
        headers = {"host": url.netloc.decode("ascii"), "accept-encoding": "identity", **headers}
        pinned = url.copy_with(host=found[0])
        # A client of its own, so that the timer below ends this exchange and no other.
        client = httpx.Client(verify=self._tls, trust_env=False, timeout=remaining, follow_redirects=False)
        ended = threading.Event()

        def end() -> None:
            ended.set()
            with contextlib.suppress(Exception):
                client.close()

        # Per-operation timeouts start anew with every byte that drips in; this one does not.
        timer = threading.Timer(remaining, end)
        timer.daemon = True
        timer.start()
        try:
            with client.stream("GET", pinned, headers=headers, extensions={"sni_hostname": url.host}) as response:
                return self._body(response, deadline)
        except httpx.TimeoutException:
            return Missing("fetch_timeout")
        except (httpx.HTTPError, httpx.StreamError, OSError, RuntimeError, ValueError):
            return Missing("fetch_timeout" if ended.is_set() else "fetch_failed")
        finally:
            timer.cancel()
            with contextlib.suppress(Exception):
                client.close()

    def _body(self, response: httpx.Response, deadline: float) -> bytes | Missing | _Redirect:
        if response.status_code in _REDIRECTS:
            return _Redirect(response.headers.get("location", ""))
        if response.status_code != 200:
            return Missing(f"http_status_{response.status_code}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return Missing("fetch_encoding")  # not asked for, and a way to make a small answer large
        limit = self._config.max_bytes
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            return Missing("payload_too_large")
        data = bytearray()
        for chunk in response.iter_raw(_CHUNK):
            data += chunk
            if len(data) > limit:
                return Missing("payload_too_large")
            if time.monotonic() > deadline:
                return Missing("fetch_timeout")
        return bytes(data)


def _parse(uri: str) -> httpx.URL | None:
    """An absolute http(s) URL without user information, or None."""
    try:
        url = httpx.URL(uri)
    except (httpx.InvalidURL, ValueError):
        return None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        return None
    return url


def _host_matches(host: str, patterns: tuple[str, ...]) -> bool:
    name = host.lower().rstrip(".")
    for pattern in patterns:
        wanted = pattern.lower().rstrip(".")
        if wanted.startswith("*."):
            if name.endswith(wanted[1:]) and len(name) > len(wanted) - 1:
                return True
        elif name == wanted:
            return True
    return False
