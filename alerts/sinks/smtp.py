"""Mail. One message per person when an anomaly opens, gets worse, or is over, in one thread.

The outbox delivers at least once, and SMTP has one moment that nobody can tell apart: the connection is lost after the
message was handed over and before its reply. Then it is sent again with the same Message-ID, which most mail systems
fold. What was told to whom is kept per recipient, so that one who was refused for a while is told later, alone.
"""

from __future__ import annotations

import email.policy
import smtplib
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Any, Literal

from alerts.rendering import Links, Promises, told
from alerts.sinks import Delivery, Outcome, Refused, Retry, Sent
from alerts.sinks.people import Occasion, after, inert, occasion, title
from alerts.sinks.watchdog import Watchdog

Security = Literal["starttls", "tls", "none"]
Replies = Mapping[str, tuple[int, bytes]]

# A subject within this is not folded, which readers undo differently; a line of mail has 998 bytes at most.
_POLICY = email.policy.SMTP.clone(max_line_length=500)
_MAX_REPLY = 64 * 1024  # bytes of one reply
_MAX_LINE = 4000  # characters of one line told
_EXPLAIN = 300
_CREDENTIALS = frozenset({530, 534, 535, 538})  # can be mended at the server or in the configuration
_HEADING = "text-align:left;vertical-align:top;white-space:nowrap;padding:2px 12px 2px 0"
_NAMES = {"app": "Anomaly", "dashboard": "Dashboard", "runbook_url": "Runbook"}


@dataclass(frozen=True, slots=True)
class SmtpTarget:
    """A mail server, and who is written to. ``timeout_s`` bounds the sending of one message as a whole, and
    connecting.

    ``ca_file``: PEM file of the authority that signed the server's certificate, where the system does not know it.
    """

    host: str
    sender: str
    recipients: tuple[str, ...]
    port: int = 587
    security: Security = "starttls"
    user: str | None = None
    password: str | None = None
    ca_file: str | None = None
    timeout_s: float = 10.0
    links: Links = Links()  # noqa: RUF009 - frozen, so one instance for all is safe
    promises: Promises = Promises()  # noqa: RUF009


class SmtpSink:
    """One connection per batch. A server that is away puts off what is left of it."""

    batch = 10

    def __init__(self, target: SmtpTarget) -> None:
        self._target = target

    def longest_us(self, deliveries: int) -> int:
        # To connect and to leave; and recipients who know different things get up to three messages of one delivery.
        return round(self._target.timeout_s * (2 + 3 * deliveries) * 1e6)

    def send(self, deliveries: Sequence[Delivery], now_us: int) -> list[Outcome]:
        wanted = [groups(delivery, self._target.recipients) for delivery in deliveries]
        if not any(wanted):
            return [self._settled(delivery.remote) for delivery in deliveries]
        outcomes: list[Outcome] = []
        connection: _Connection | None = None
        try:
            connection = self._open()
            for delivery, of_it in zip(deliveries, wanted, strict=True):
                outcome = self._send(connection, delivery, of_it)
                outcomes.append(outcome)
                if isinstance(outcome, Retry) and connection.sock is None:
                    break
        except (smtplib.SMTPException, OSError) as error:
            outcomes += [Retry(_explain(error), d.remote) for d in deliveries[len(outcomes) : len(outcomes) + 1]]
        finally:
            if connection is not None:
                connection.leave()
        why = outcomes[-1].error if isinstance(outcomes[-1], Retry) else ""
        rest = deliveries[len(outcomes) :]
        return [*outcomes, *(Retry(why, delivery.remote) for delivery in rest)]

    def close(self) -> None:
        """Nothing is kept open."""

    def try_login(self) -> None:
        """Connect, secure the connection and log in, but send nothing. Raises smtplib.SMTPException or OSError."""
        self._open().leave()

    def _open(self) -> _Connection:
        target = self._target
        context = None if target.security == "none" else ssl.create_default_context(cafile=target.ca_file)
        connection = _Connection(target.host, target.timeout_s, context if target.security == "tls" else None)
        try:
            with connection.deadline():
                code, reply = connection.connect(target.host, target.port)
                if code != 220:
                    raise smtplib.SMTPConnectError(code, reply)
                connection.ehlo_or_helo_if_needed()
                if target.security == "starttls":
                    connection.starttls(context=context)
                    connection.ehlo_or_helo_if_needed()
                if target.user is not None:
                    connection.login(target.user, target.password or "")
        except BaseException:
            connection.close()
            raise
        return connection

    def _send(
        self, connection: _Connection, delivery: Delivery, wanted: Sequence[tuple[Occasion, tuple[str, ...]]]
    ) -> Outcome:
        """Each group of recipients that is to be told the same; remembers those that the server took, or refused for
        good."""
        told_to = {name: dict(known) for name, known in (delivery.remote.get("told") or {}).items()}
        error, arrived = "", 0
        for found, recipients in wanted:
            try:
                mail = compose(delivery, found, self._target)
            except (ValueError, TypeError, LookupError) as defect:  # of this one alone: the others are not told again
                return Refused(
                    f"cannot be rendered: {type(defect).__name__}: {defect}", {**delivery.remote, "told": told_to}
                )
            try:
                with connection.deadline():
                    refused = connection.deliver(self._target.sender, recipients, mail)
            except (smtplib.SMTPException, OSError) as failure:
                if not _permanent(failure):
                    error = _explain(failure)
                    if isinstance(failure, OSError) and not isinstance(failure, smtplib.SMTPResponseException):
                        connection.close()
                    if connection.sock is None:
                        break
                    continue
                refused = dict.fromkeys(recipients, _reply(failure))
            for recipient in recipients:
                reply = refused.get(recipient)
                if reply is None:
                    told_to[recipient] = after(delivery)
                    arrived += 1
                elif reply[0] >= 500 and reply[0] not in _CREDENTIALS:
                    told_to[recipient] = {**after(delivery), "refused": _said(reply)}
                else:
                    error = f"{recipient}: {_said(reply)}"
        remote = {**delivery.remote, "told": told_to}
        if error:
            return Retry(error, remote, partly=arrived > 0)
        return self._settled(remote)

    def _settled(self, remote: Mapping[str, Any]) -> Outcome:
        """Everybody was told, or refused for good; the latter must be seen."""
        known = remote.get("told") or {}
        refused = {name: known[name]["refused"] for name in self._target.recipients if "refused" in known.get(name, {})}
        if not refused:
            return Sent(remote)
        others = len(self._target.recipients) - len(refused)
        text = "; ".join(f"{name}: {reply}" for name, reply in refused.items())
        return Refused(f"{text} ({others} of {len(self._target.recipients)} recipients were told)", remote)


def groups(delivery: Delivery, recipients: Sequence[str]) -> list[tuple[Occasion, tuple[str, ...]]]:
    """Who is to be told what: recipients by occasion, in their order. Empty where everybody knows."""
    known = delivery.remote.get("told") or {}
    found: dict[Occasion, list[str]] = {}
    for recipient in recipients:
        what = occasion(delivery, known.get(recipient))
        if what is not None:
            found.setdefault(what, []).append(recipient)
    return [(what, tuple(names)) for what, names in found.items()]


def compose(delivery: Delivery, found: Occasion, target: SmtpTarget) -> bytes:
    """The message as it goes over the wire: the same bytes for every attempt."""
    document = delivery.payload
    mail = EmailMessage()
    mail["From"] = target.sender
    mail["To"] = ", ".join(target.recipients)
    mail["Subject"] = title(document, found)
    # Stable within an occasion: what is sent twice is the same message.
    mail["Date"] = format_datetime(datetime.fromtimestamp(delivery.created_us / 1e6, UTC))
    _thread(mail, delivery, found, target.sender.rpartition("@")[2].rstrip(">"))
    mail["Auto-Submitted"] = "auto-generated"  # no answers from absent people
    if found == "report":
        text, page = str(document["pages"]["md"]), str(document["pages"]["html"])
    else:
        lines = [(name, inert(told_line[:_MAX_LINE])) for name, told_line in told(document, target.promises)]
        addresses = [(_NAMES.get(name, name), url) for name, url in target.links.of(document).items()]
        text = _as_text(lines, addresses)
        page = _as_html(inert(title(document, found)), lines, addresses)
    mail.set_content(text, cte="quoted-printable")
    mail.add_alternative(page, subtype="html", cte="quoted-printable")
    mail.set_boundary(f"driftline-{delivery.key}-{found}")
    return mail.as_bytes(policy=_POLICY)


def _thread(mail: EmailMessage, delivery: Delivery, found: Occasion, domain: str) -> None:
    """Everything of an anomaly is one thread; a test and a report stand alone."""
    if found in ("opened", "test", "report"):
        mail["Message-ID"] = f"<{delivery.key}.{found}@{domain}>"
        return
    opening = f"<{delivery.key}.opened@{domain}>"
    kind = found if found == "resolved" else f"{found}-{delivery.payload.get('severity')}"
    mail["Message-ID"] = f"<{delivery.key}.{kind}@{domain}>"
    mail["In-Reply-To"] = opening
    mail["References"] = opening


def _as_text(lines: Sequence[tuple[str, str]], addresses: Sequence[tuple[str, str]]) -> str:
    told_lines = [f"{name}: {text}" for name, text in lines]
    return "\n\n".join(told_lines) + "\n\n" + "".join(f"{name}: {url}\n" for name, url in addresses)


def _as_html(head: str, lines: Sequence[tuple[str, str]], addresses: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><th style="{_HEADING}">{escape(name)}</th><td style="padding:2px 0">{escape(text)}</td></tr>'
        for name, text in lines
    )
    pointers = " · ".join(f'<a href="{escape(url)}">{escape(name)}</a>' for name, url in addresses)
    return (
        f'<!doctype html><html><body style="font-family:sans-serif"><p><strong>{escape(head)}</strong></p>'
        f"<table>{rows}</table><p>{pointers}</p></body></html>\n"
    )


class _Connection(smtplib.SMTP):
    """smtplib's client with a deadline over each exchange and a bound on each reply."""

    def __init__(self, host: str, timeout_s: float, context: ssl.SSLContext | None) -> None:
        super().__init__(timeout=timeout_s)
        self._host = host  # which STARTTLS checks the certificate against
        self._context = context
        self._watchdog: Watchdog | None = None
        self._timeout_s = timeout_s

    def deadline(self) -> _Deadline:
        """Within it the connection is cut when ``timeout_s`` are over, however slowly the server drips."""
        return _Deadline(self, self._timeout_s)

    def watched_by(self, watchdog: Watchdog | None) -> None:
        self._watchdog = watchdog
        if watchdog is not None and isinstance(self.sock, socket.socket):
            watchdog.watch(self.sock)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = socket.create_connection((host, port), min(timeout, 3.0))
        sock.settimeout(timeout)
        if self._watchdog is not None:
            self._watchdog.watch(sock)
        if self._context is None:
            return sock
        try:
            return self._context.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and isinstance(self.sock, socket.socket):
            self.file = _Replies(self.sock)
        if self.file is not None:
            self.file.left = _MAX_REPLY
        return super().getreply()

    def deliver(self, sender: str, recipients: Sequence[str], mail: bytes) -> dict[str, tuple[int, bytes]]:
        """Hand one message over; returns the recipients that were refused, with the reply, as long as one was taken or
        all were refused. Raises SMTPException or OSError for everything else."""
        try:
            return self.sendmail(sender, list(recipients), mail)
        except smtplib.SMTPRecipientsRefused as error:
            # After a reply of 421 the server is gone: who is not in the list was not written to either.
            return {name: error.recipients.get(name, (421, b"closed before the message")) for name in recipients}

    def leave(self) -> None:
        """Say goodbye; whether that is answered matters to nobody."""
        with suppress(smtplib.SMTPException, OSError), self.deadline():
            if self.sock is not None:
                self.quit()
        self.close()


class _Deadline:
    def __init__(self, connection: _Connection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds

    def __enter__(self) -> None:
        self._watchdog = Watchdog(self._seconds)
        self._connection.watched_by(self._watchdog)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        self._connection.watched_by(None)
        self._watchdog.cancel()
        if self._watchdog.expired and error is not None:
            raise TimeoutError(f"no whole answer within {self._seconds:g} s") from error


class _Replies:
    """Lines of replies, ``left`` bytes at most until it is set again."""

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rb")
        self.left = _MAX_REPLY

    def readline(self, longest: int) -> bytes:
        line = self._file.readline(longest)
        self.left -= len(line)
        if self.left < 0:
            raise OSError(f"a reply of more than {_MAX_REPLY} bytes")
        return line if line.endswith(b"\n") else b""  # half a line is no reply

    def close(self) -> None:
        self._file.close()


def _permanent(error: Exception) -> bool:
    """Whether the server refused the message itself for good; credentials and its own state can be mended."""
    if isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError):
        return error.smtp_code >= 500 and error.smtp_code not in _CREDENTIALS
    return False


def _reply(error: Exception) -> tuple[int, bytes]:
    assert isinstance(error, smtplib.SMTPResponseException)
    said = error.smtp_error
    return error.smtp_code, said if isinstance(said, bytes) else str(said).encode()


def _said(reply: tuple[int, bytes]) -> str:
    code, text = reply
    return f"{code} {' '.join(text.decode('utf-8', 'replace').split())[:_EXPLAIN]}"


def _explain(error: BaseException) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{type(error).__name__}: {_said(_reply(error))}"
    return f"{type(error).__name__}: {str(error)[:_EXPLAIN]}"
