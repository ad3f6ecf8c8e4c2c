"""Pages that show and change nothing: their addresses, and what makes each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from monitor.serve.access import Caller
from monitor.serve.anomalies import index
from monitor.serve.context import Context
from monitor.serve.latency import page as latency
from monitor.serve.overview import page as overview
from monitor.serve.segment import page as segment

Show = Callable[[Context, Request, Caller], Response]

VIEWS: Mapping[str, Show] = {
    "/": overview.page,
    "/anomalies": index.page,
    "/latency": latency.page,
    "/segment": segment.page,
}
