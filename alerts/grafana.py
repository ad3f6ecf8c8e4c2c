"""The connection to Grafana that annotations and dashboards share, through grafana-client."""

from __future__ import annotations

import warnings
from typing import Any
from urllib.parse import urlsplit


def connect(url: str, token: str | None, timeout_s: float) -> Any:
    """A client of grafana-client for the Grafana at ``url``, whose path is kept. Connects to nothing yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the client's own HTTP library, at import
        from grafana_client.client import GrafanaClient

        parts = urlsplit(url)
        path = parts.path.strip("/")
        client = GrafanaClient(
            auth=token,
            host=parts.hostname or "localhost",
            port=parts.port,
            url_path_prefix=f"{path}/" if path else "",
            protocol=parts.scheme or "http",
            timeout=timeout_s,
        )
    client.s.trust_env = False
    return client
