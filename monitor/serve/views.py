"""Pages that show and change nothing: their addresses, and what makes each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from monitor.serve import archive
from monitor.serve.access import Caller
from monitor.serve.anomalies import index
from monitor.serve.context import Context
from monitor.serve.cost import page as cost
from monitor.serve.health import page as health
from monitor.serve.inputs import page as inputs
from monitor.serve.latency import page as latency
from monitor.serve.overview import page as overview
from monitor.serve.quality import page as quality
from monitor.serve.references import page as references
from monitor.serve.segment import page as segment

Show = Callable[[Context, Request, Caller], Response]

VIEWS: Mapping[str, Show] = {
    "/": overview.page,
    "/anomalies": index.page,
    "/cost": cost.page,
    "/health": health.page,
    "/quality": quality.page,
    "/reports": archive.page,
    "/reports/{id}": archive.one,
    "/inputs": inputs.page,
    "/references": references.page,
    "/latency": latency.page,
    "/segment": segment.page,
}
