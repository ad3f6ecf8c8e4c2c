"""`driftline doctor`: try every connection once, and say what to do where one fails."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from monitor.config.alerts import AlertmanagerSink, GrafanaSink, KafkaSink, SlackSink, SmtpSink, WebhookSink
from monitor.config.model import Config
from monitor.store.engine import SchemaMismatch, StoreUnavailable, open_store
from monitor.times import iso

TIMEOUT = 5.0  # seconds for one question to another service


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: ``detail`` says what was found, ``remedy`` what to do where it failed."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


class Unwell(Exception):
    """A check failed: (what was found, what to do)."""

    def __init__(self, detail: str, remedy: str) -> None:
        self.detail = detail
        self.remedy = remedy
        super().__init__(detail)


def examine(config: Config) -> Iterator[Finding]:
    """Every check, one after the other; a failing one never keeps the others from running."""
    yield _try("kafka", lambda: _kafka(config))
    yield _try("store", lambda: _store(config))
    yield _try("encoder", lambda: _encoder(config))
    for root in config.payloads.roots:
        yield _try(f"payloads {root}", lambda root=root: _root(root))  # type: ignore[misc]
    for name, sink in config.alerts.sinks.items():
        yield _try(f"sink {name}", lambda sink=sink: _sink(config, sink))  # type: ignore[misc]
    yield _try("listen", lambda: _listen(config))
    yield _try("clock", _clock)


def _try(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except Unwell as error:
        return Finding(name, False, error.detail, error.remedy)
    except Exception as error:
        text = str(error).strip().splitlines()
        return Finding(name, False, f"{type(error).__name__}: {text[0] if text else ''}", "see docs/operations.md")


def _kafka(config: Config) -> str:
    kafka = config.kafka
    read = [*kafka.topics, *([kafka.labels_topic] if kafka.labels_topic else [])]
    found = _partitions(config, read)
    absent = [t for t in read if not found[t]]
    if absent:
        raise Unwell(f"no topic {', '.join(absent)}", "create it, or correct kafka.topics and kafka.labels_topic")
    return ", ".join(f"{t}: {found[t]} partitions" for t in read)


def _partitions(config: Config, topics: list[str]) -> dict[str, int]:
    """How many partitions each topic has; 0 where there is none. Raises Unwell."""
    from kafka.admin import KafkaAdminClient
    from kafka.errors import KafkaError

    from monitor.ingest.kafka_source import connection

    kafka = config.kafka
    _reach(kafka.bootstrap)  # first, since a client that reaches nobody takes long to say so
    try:
        admin: Any = KafkaAdminClient(**connection(kafka), request_timeout_ms=int(TIMEOUT * 1000))
    except (KafkaError, OSError, ValueError) as error:
        raise Unwell(
            f"what listens at {kafka.bootstrap} does not answer as a broker ({type(error).__name__})",
            "check kafka.security_protocol, the credentials and kafka.ca_file",
        ) from None
    try:
        found = {topic["name"]: topic for topic in admin.describe_topics(topics)}
    except KafkaError as error:
        raise Unwell(f"topics cannot be described: {error}", "the user needs DESCRIBE on the topics") from None
    finally:
        admin.close()
    return {topic: len(found.get(topic, {}).get("partitions") or ()) for topic in topics}


def _reach(bootstrap: str) -> None:
    refusals = []
    for part in bootstrap.split(","):
        host, _, port = part.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT).close()
            return
        except ValueError:
            refusals.append(f"{part.strip()}: expected HOST:PORT")
        except OSError as error:
            refusals.append(f"{part.strip()}: {error.strerror or error}")
    raise Unwell(
        f"no broker can be reached ({'; '.join(refusals)})",
        "check kafka.bootstrap, and that the address can be reached from here",
    )


def _store(config: Config) -> str:
    try:
        store = open_store(config.store.url, migrate=False)
    except SchemaMismatch as error:
        raise Unwell(str(error), "`driftline run` migrates an older or empty store when it starts") from None
    except StoreUnavailable as error:
        raise Unwell(str(error), "check store.url, and that the database runs and accepts this user") from None
    try:
        with store.write():
            pass
        return f"{store.url.render_as_string(hide_password=True)}, schema up to date, writable"
    finally:
        store.close()


def _encoder(config: Config) -> str:
    from PIL import Image

    from monitor.embed import encoders

    try:
        encoder = encoders.load(config.encoder)
        encoder.encode_images([Image.new("RGB", (64, 64), "white")])
        encoder.encode_texts(["Total 41.90"])
    except encoders.EncoderError as error:
        raise Unwell(str(error), "correct the key `encoder`, or install the extra it needs") from None
    space = "one space for images and texts" if encoder.shared_space else "no shared space: agreement is not measured"
    return f"{encoder.identity}, {encoder.dim} dimensions, {space}"


def _root(root: str) -> str:
    folder = Path(root)
    if not folder.is_dir():
        raise Unwell("no such folder", "mount it, or correct payloads.roots")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise Unwell("not readable by this user", "give this user read permission")
    return "readable"


def _sink(config: Config, sink: Any) -> str:
    if isinstance(sink, AlertmanagerSink):
        peers = [_ask(f"{url.rstrip('/')}/-/ready") for url in sink.urls]
        return f"{len(peers)} peers ready"
    if isinstance(sink, GrafanaSink):
        headers = {"Authorization": f"Bearer {sink.token}"} if sink.token else {}
        _ask(f"{sink.url.rstrip('/')}/api/org", headers)
        return "answers, and takes the token"
    if isinstance(sink, WebhookSink | SlackSink):
        parts = urlsplit(sink.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), timeout=TIMEOUT).close()
        except OSError as error:
            raise Unwell(f"nothing listens at {parts.hostname}:{port} ({error})", "check url, or start it") from None
        return "listens (nothing was posted)"
    if isinstance(sink, SmtpSink):
        return _mail(sink)
    assert isinstance(sink, KafkaSink)
    count = _partitions(config, [sink.topic])[sink.topic]
    if count:
        return f"topic {sink.topic}: {count} partition{'' if count == 1 else 's'}"
    return f"topic {sink.topic} is not there yet; the broker makes it at the first record, or make it where it may not"


def _mail(sink: SmtpSink) -> str:
    import smtplib

    from alerts.sinks.smtp import SmtpSink as MailServer
    from alerts.sinks.smtp import SmtpTarget

    server = MailServer(
        SmtpTarget(
            host=sink.host,
            port=sink.port,
            security=sink.security,
            user=sink.user,
            password=sink.password,
            sender=sink.sender,
            recipients=sink.recipients,
            ca_file=sink.ca_file,
            timeout_s=TIMEOUT,
        )
    )
    try:
        server.try_login()
    except (smtplib.SMTPException, OSError) as error:
        raise Unwell(
            f"{sink.host}:{sink.port}: {type(error).__name__}: {error}", "check host, port, security, user and password"
        ) from None
    return f"{sink.host}:{sink.port} answers" + ("" if sink.user is None else ", and takes the login")


def _ask(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    shown = urlsplit(url)._replace(query="").geturl().split("@")[-1]
    try:
        response = httpx.get(url, headers=headers, timeout=TIMEOUT)
    except httpx.HTTPError as error:
        raise Unwell(f"{shown} does not answer ({type(error).__name__})", "check the address, or start it") from None
    if response.status_code in (401, 403):
        raise Unwell(f"{shown} answers {response.status_code}", "the token is missing, wrong or lacks the permission")
    if response.is_error:
        raise Unwell(f"{shown} answers {response.status_code}", "look into its own log")
    return response


def _listen(config: Config) -> str:
    from monitor.service import ServiceError, bind, refuse_open_listening

    serve = config.serve
    try:
        store = open_store(config.store.url, migrate=False)
    except (SchemaMismatch, StoreUnavailable):
        store = None
    if store is not None:
        try:
            refuse_open_listening(store, serve.host)
        except ServiceError as error:
            raise Unwell(f"{serve.host} needs a token first", str(error)) from None
        finally:
            store.close()
    try:
        bind(serve.host, serve.port).close()
    except OSError as error:
        raise Unwell(
            f"{serve.host}:{serve.port}: {error.strerror}",
            "another process has it (driftline itself, perhaps); else set serve.port",
        ) from None
    return f"{serve.host}:{serve.port} is free"


def _clock() -> str:
    now = time.time()
    if not 1_577_836_800 < now < 4_102_444_800:  # 2020 to 2100
        raise Unwell(f"it says {iso(int(now * 1e6))}", "set this machine's clock; use NTP")
    return f"it is {iso(int(now) * 1_000_000)}"
