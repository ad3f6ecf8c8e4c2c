"""Pages that show and change nothing: their addresses, and what makes each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from monitor.serve.access import Caller
from monitor.serve.anomalies import index
from monitor.serve.context import Context

Show = Callable[[Context, Request, Caller], Response]

VIEWS: Mapping[str, Show] = {
    "/anomalies": index.page,
}
