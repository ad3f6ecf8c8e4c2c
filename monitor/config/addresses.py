"""Addresses and topics as people write them, checked where they are written: a fault that only shows when somebody is
to be told shows too late."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

_HOST_ALONE: Final = re.compile(r"[\w.-]+(?::\d{1,5})?(?:/\S*)?")
_USER: Final = re.compile(r"//[^/@\s]*@")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_EXAMPLE: Final = "write for example https://driftline.example"
_MOST_SHOWN: Final = 80  # characters of what was got


class Unfit(ValueError):
    """A value of another form than expected. ``unseen`` says so without it, where it is secret; ``general`` is a remedy
    that does not hold it."""

    def __init__(self, expected: str, got: str, remedy: str, general: str = "") -> None:
        self.unseen = f"expected {expected}, got a value that is not shown; {general or remedy}"
        shown = repr(got if len(got) <= _MOST_SHOWN else got[: _MOST_SHOWN - 1] + "…")
        super().__init__(f"expected {expected}, got {shown}; {remedy}")


def web_address(value: str) -> str:
    """Returns an http or https address as it is. Raises Unfit."""
    expected = _fault(value)
    if expected:
        alone = "://" not in value and _HOST_ALONE.fullmatch(value)
        remedy = f"write http://{value} or https://{value}" if alone else _EXAMPLE
        raise Unfit(expected, _USER.sub("//…@", value), remedy, _EXAMPLE)
    return value


def base_address(value: str) -> str:
    """The same for an address that paths are put behind: it has no query and no fragment. Raises Unfit."""
    web_address(value)
    if "?" in value or "#" in value:
        raise Unfit(
            "an address that paths can be put behind", _USER.sub("//…@", value), "leave out what follows ? or #"
        )
    return value


def kafka_topic(value: str) -> str:
    """Returns the name of a topic as it is. Raises Unfit where no broker would take it."""
    if not _TOPIC.fullmatch(value) or value in (".", ".."):
        remedy = "write 1 to 249 of the letters a to z and A to Z, digits, '.', '_' and '-'"
        raise Unfit("the name of a Kafka topic", value, remedy)
    return value


def _fault(value: str) -> str:
    """What was expected of an address; nothing where it is one."""
    expected = "an address that begins with http:// or https://"
    if not value.isprintable() or " " in value:
        return f"{expected} and has no spaces"
    try:
        parts = urlsplit(value)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole, parts = False, None
    if parts is not None and parts.scheme not in ("http", "https"):
        return expected
    return "" if whole else f"{expected}, a host, and a port from 1 to 65535 if any"


WebAddress = Annotated[str, AfterValidator(web_address)]
BaseAddress = Annotated[str, AfterValidator(base_address)]
Topic = Annotated[str, AfterValidator(kafka_topic)]
