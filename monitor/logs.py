"""Structured logs: JSON lines, or coloured text on a terminal. Ids, keys, counts and reasons; never content.

What is logged is written by this project's own calls, which pass names and numbers; `clean` is the second line
of defence: it masks whatever looks like a password in a URL or a bearer token, and values under telling names.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_NAME = re.compile(r"(password|passwd|secret|token|api_?key|authorization|access_key|hash_key)$", re.I)
_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@", re.I)
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.I)
_LONGEST = 2000  # characters of one value: a stack of SQL parameters is no log line

# Chatty below warning, and their messages carry addresses and payload sizes that nobody asked for.
QUIET = ("httpx", "httpcore", "kafka", "alembic", "sqlalchemy", "PIL", "urllib3", "uvicorn.access", "asyncio",
         "grafana_client")  # fmt: skip


def clean(text: str) -> str:
    """``text`` with passwords in URLs and bearer tokens masked, and cut to a bearable length."""
    text = _BEARER.sub(r"\1 ***", _URL_PASSWORD.sub(r"\g<head>***@", text))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _masked(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if _SECRET_NAME.search(key) and value is not None:
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = clean(value)
    return event


class _Masker(logging.Filter):
    """Masks records of libraries that log through the standard library."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.msg, dict):  # a dict is an event of structlog, masked by `_masked`
            record.msg, record.args = clean(record.getMessage()), ()
        return True


def configure(style: str = "auto", level: str = "info") -> None:
    """Send all logs to standard error. ``style``: auto | json | console; ``level``: debug | info | warning | error."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: Processor
    if console:
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        tail: list[Processor] = [_masked, last]
    else:
        last = structlog.processors.JSONRenderer(ensure_ascii=False)
        tail = [structlog.processors.format_exc_info, _masked, last]
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Masker())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # It calls every topic that is not there yet an error; ours are told of by those who need them.
    logging.getLogger("kafka.cluster").setLevel(logging.CRITICAL)
    # It warns of every pause of a tenth of a second, which threads that share a processor take all the time.
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def logger(name: str) -> Any:
    """A structured logger: ``logger(__name__).info("windows_closed", partition=3, windows=12)``."""
    return structlog.stdlib.get_logger(name)
