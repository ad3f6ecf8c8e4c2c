"""Signature version 4 of Amazon Web Services for one GET, as S3-compatible services check it.

Source: AWS, "Signature Version 4 signing process" (canonical request, string to sign, derived key).
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import quote

_EMPTY = hashlib.sha256(b"").hexdigest()


def object_path(bucket: str, key: str) -> str:
    """The path-style request path of an object, percent-encoded as the signature requires."""
    return "/" + quote(bucket, safe="") + "/" + quote(key, safe="/-_.~")


def signed_headers(
    host: str, path: str, *, region: str, access_key: str, secret_key: str, now: datetime, query: str = ""
) -> dict[str, str]:
    """Headers of a signed GET of ``path`` (already encoded) from ``host``; ``now`` is the time of signing.

    ``query`` is the canonical query string, '' for a plain object.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    headers = {"host": host, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    names = ";".join(headers)
    canonical = "\n".join(
        ["GET", path, query, *(f"{name}:{value}" for name, value in headers.items()), "", names, _EMPTY]
    )
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + secret_key.encode()
    for item in (stamp[:8], region, "s3", "aws4_request", to_sign):
        key = hmac.digest(key, item.encode(), "sha256")
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    return headers
