"""Times as people write and read them; inside, they are epoch microseconds."""

from __future__ import annotations

from datetime import UTC, datetime

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


def iso(us: int) -> str:
    """RFC 3339 in UTC with as many decimals as there are: ``2026-11-02T09:14:03.412Z``."""
    text = datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{us % 1_000_000:06d}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


def parse_time(text: str) -> int:
    """Epoch µs of ``2026-11-02``, ``2026-11-02T09:14Z`` or epoch milliseconds. Without a zone: UTC.

    Raises ValueError saying what to write.
    """
    stripped = text.strip()
    try:
        if stripped.isdigit():
            return int(stripped) * 1000
        moment = datetime.fromisoformat(stripped)
    except ValueError:
        raise ValueError(
            f"expected a time, got {text!r}; write RFC 3339 as 2026-11-02T09:14:03Z, a day as 2026-11-02, "
            "or epoch milliseconds"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    span = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (span.days * 86400 + span.seconds) * 1_000_000 + span.microseconds
