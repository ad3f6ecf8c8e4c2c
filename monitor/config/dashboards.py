"""`dashboards`: the Grafana that dashboards are pushed to."""

from __future__ import annotations

from pydantic import Field

from monitor.config.addresses import BaseAddress
from monitor.config.section import SECRET, Section


class Dashboards(Section):
    """Where `driftline dashboards push` and `diff` find Grafana."""

    url: BaseAddress | None = Field(None, description="Address of Grafana; default: `alerts.dashboard_url`.")
    token: str | None = Field(
        None,
        description="Token of a service account that may write folders and dashboards; better as ${NAME} or a *_FILE "
        "variable.",
        repr=False,
        json_schema_extra=SECRET,
    )
