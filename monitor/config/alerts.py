"""`alerts`: who is told, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from monitor.config.section import SECRET, Section, written
from monitor.config.units import Duration


class AlertmanagerSink(Section):
    kind: Literal["alertmanager"] = Field(description="Which kind of sink this is.")
    urls: tuple[str, ...] = Field(min_length=1, description="Every peer of the cluster.")
    resend_every: Duration = Field(written("1m"), description="Re-send firing alerts this often.")


class GrafanaSink(Section):
    kind: Literal["grafana"] = Field(description="Which kind of sink this is.")
    url: str = Field(description="Address of Grafana.")
    token: str | None = Field(
        None,
        description="Service account token; better as ${NAME} or a *_FILE variable.",
        repr=False,
        json_schema_extra=SECRET,
    )
    dashboard_uid: str | None = Field("driftline-overview", description="Dashboard the annotations belong to.")


class WebhookSink(Section):
    kind: Literal["webhook"] = Field(description="Which kind of sink this is.")
    url: str = Field(description="Where to POST the anomaly.")
    secret: str | None = Field(
        None, description="Key of the HMAC-SHA256 signature header.", repr=False, json_schema_extra=SECRET
    )


class KafkaSink(Section):
    kind: Literal["kafka"] = Field(description="Which kind of sink this is.")
    topic: str = Field("driftline.anomalies", description="Topic for anomalies.")


Sink = Annotated[AlertmanagerSink | GrafanaSink | WebhookSink | KafkaSink, Field(discriminator="kind")]


class Alerts(Section):
    """Who is told, and how."""

    path: Literal["push", "rules"] = Field(
        "push",
        description="Road to on-call: driftline pushes, or Prometheus/Grafana rules read driftline_anomaly_active.",
    )
    max_age: Duration = Field(
        written("6h"), description="An anomaly detected later than this after its event time is recorded as historic."
    )
    send_historic: bool = Field(False, description="Send historic anomalies too.")
    sinks: dict[str, Sink] = Field({}, description="Name: sink.")
    dashboard_url: str | None = Field(None, description="Address of Grafana for links in alerts.")
    app_url: str | None = Field(None, description="Address of driftline's own pages for links in alerts.")
