"""An SMTP server that fails in every way there is: a few lines of protocol on a socket, so that each can be told."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any


@dataclass
class Mail:
    """A message as it was handed over."""

    sender: str
    recipients: list[str]
    body: bytes

    @property
    def message(self) -> EmailMessage:
        found: Any = email.message_from_bytes(self.body, policy=email.policy.default)
        return found

    def part(self, subtype: str) -> str:
        found = self.message.get_body((subtype,))
        assert found is not None
        return str(found.get_content())


@dataclass
class MailServer:
    """``answer`` is asked what to say to each command (``CONNECT``, ``EHLO``, ``MAIL``, ``RCPT``, ``DATA``, ``END``
    after the message): a reply, '' for the usual one, or how it goes wrong: ``cut``, ``hang``, ``drip``, ``flood``.
    """

    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    answer: Callable[[str, str], str] = lambda verb, line: ""
    dripped_out: int = 0  # drips that nobody cut off
    closing: threading.Event = field(default_factory=threading.Event)

    def per_person(self) -> list[tuple[str, str]]:
        """(recipient, Message-ID) of every mail that was taken, in order."""
        return [(to, str(m.message["Message-ID"])) for m in self.mails for to in m.recipients]


_USUAL = {
    "CONNECT": "220 mail.example ready",
    "EHLO": "250-mail.example\r\n250 SIZE 1000000",
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go on",
    "END": "250 taken",
    "RSET": "250 ok",
    "QUIT": "221 bye",
}


class _Cut(Exception):
    pass


@contextmanager
def mail_server() -> Iterator[MailServer]:
    state = MailServer()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(_Cut, OSError):
                self._serve()

        def _serve(self) -> None:
            self._say("CONNECT", "")
            sender, recipients = "", list[str]()
            while line := self.rfile.readline(1000):
                text = line.decode().strip()
                verb = text.split(" ")[0].upper()
                if verb == "MAIL":
                    sender, recipients = text.split("<")[1].split(">")[0], []
                reply = self._say(verb, text)
                if verb == "RCPT" and reply.startswith("2"):
                    recipients.append(text.split("<")[1].split(">")[0])
                if verb == "DATA" and reply.startswith("3"):
                    body = bytearray()
                    while (part := self.rfile.readline(1000)) not in (b".\r\n", b""):
                        body += part[1:] if part.startswith(b".") else part
                    self._end(Mail(sender, recipients, bytes(body)))
                if verb == "QUIT":
                    return

        def _end(self, mail: Mail) -> None:
            wanted = state.answer("END", "")
            if wanted in ("", "cut-after", "hang-after") or wanted.startswith("2"):
                state.mails.append(mail)  # taken, whether or not that can be said
            self._write(wanted or _USUAL["END"])

        def _say(self, verb: str, line: str) -> str:
            state.commands.append(line)
            reply = state.answer(verb, line) or _USUAL.get(verb, "502 unknown")
            self._write(reply)
            return reply

        def _write(self, reply: str) -> None:
            if reply.startswith("cut"):
                raise _Cut
            if reply.startswith("hang"):
                state.closing.wait(30)
                raise _Cut
            if reply == "drip":
                for byte in b"250 " + b"a" * 600:
                    if state.closing.wait(0.05):
                        raise _Cut
                    self.wfile.write(bytes([byte]))
                state.dripped_out += 1
                raise _Cut
            if reply == "flood":
                while not state.closing.is_set():
                    self.wfile.write(b"250-" + b"a" * 400 + b"\r\n")
                raise _Cut
            self.wfile.write(reply.encode() + b"\r\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
