"""`alerts`: who is told, and how."""

from __future__ import annotations

import re
import typing
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, field_validator, model_validator

from alerts.runbooks import DOCUMENTED
from monitor.config.addresses import BaseAddress, Topic, WebAddress
from monitor.config.section import SECRET, Section, written
from monitor.config.units import Duration

MOST_SINK_NAME: Final = 60  # characters: what the outbox keeps
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+")


Severities = tuple[Literal["page", "ticket", "report"], ...]


def _severities(*, or_none: bool = False) -> Any:
    """``or_none``: the sink takes reports as well, and may be told of nothing else."""
    none = "; [] for none, where it takes reports (`report.sinks`) alone" if or_none else ""
    least = 0 if or_none else 1
    return Field(("page", "ticket"), min_length=least, description=f"Which anomalies it is told of{none}.")


class AlertmanagerSink(Section):
    kind: Literal["alertmanager"] = Field(description="Which kind of sink this is.")
    urls: tuple[BaseAddress, ...] = Field(min_length=1, description="Every peer of the cluster.")
    resend_every: Duration = Field(
        written("1m"), description="Re-send firing alerts this often, 1s at least; each ends ten times that later."
    )
    severities: Severities = _severities()

    @field_validator("resend_every", mode="wrap")
    @classmethod
    def _some_time(cls, value: Any, read: ValidatorFunctionWrapHandler) -> int:
        us = int(read(value))
        if us < 1_000_000:
            raise ValueError(
                f"expected 1s or more, got {value!r}: an alert ends ten times that after it was sent; write for "
                "example 1m"
            )
        return us


class GrafanaSink(Section):
    kind: Literal["grafana"] = Field(description="Which kind of sink this is.")
    url: BaseAddress = Field(description="Address of Grafana.")
    token: str | None = Field(
        None,
        description="Service account token; better as ${NAME} or a *_FILE variable.",
        repr=False,
        json_schema_extra=SECRET,
    )
    dashboard_uid: str | None = Field("driftline-overview", description="Dashboard the annotations belong to.")
    severities: Severities = _severities()


class WebhookSink(Section):
    kind: Literal["webhook"] = Field(description="Which kind of sink this is.")
    url: WebAddress = Field(description="Where to POST the anomaly.")
    secret: str | None = Field(
        None, description="Key of the HMAC-SHA256 signature header.", repr=False, json_schema_extra=SECRET
    )
    severities: Severities = _severities(or_none=True)


class KafkaSink(Section):
    kind: Literal["kafka"] = Field(description="Which kind of sink this is.")
    topic: Topic = Field("driftline.anomalies", description="Topic for anomalies.")
    severities: Severities = _severities()


class SlackSink(Section):
    kind: Literal["slack"] = Field(description="Which kind of sink this is.")
    url: WebAddress = Field(
        description="Address of the incoming webhook; better as ${NAME} or a *_FILE variable.",
        repr=False,
        json_schema_extra=SECRET,
    )
    severities: Severities = _severities()


class SmtpSink(Section):
    kind: Literal["smtp"] = Field(description="Which kind of sink this is.")
    host: str = Field(description="Mail server, by the name in its certificate.")
    port: int = Field(587, ge=1, le=65535, description="Its port; 465 is usual for `tls`.")
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is secured.")
    user: str | None = Field(None, description="User to log in as; default: no login.")
    password: str | None = Field(
        None, description="Its password; better as ${NAME} or a *_FILE variable.", repr=False, json_schema_extra=SECRET
    )
    sender: str = Field(description="Address that mails come from.")
    recipients: tuple[str, ...] = Field(min_length=1, max_length=100, description="Addresses that are written to.")
    ca_file: str | None = Field(None, description="PEM file of its certificate's authority; default: the system's.")
    severities: Severities = _severities(or_none=True)

    @field_validator("sender", "recipients")
    @classmethod
    def _address(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for address in (value,) if isinstance(value, str) else value:
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"expected a mail address, got {address!r}; write it plainly, as oncall@example.com")
        return value

    @model_validator(mode="after")
    def _login(self) -> SmtpSink:
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` belong together; write both, or neither for no login")
        if self.user is not None and self.security == "none":
            raise ValueError("with security `none` the password would be sent in the clear; write starttls or tls")
        return self


Sink = Annotated[
    AlertmanagerSink | GrafanaSink | WebhookSink | SlackSink | SmtpSink | KafkaSink, Field(discriminator="kind")
]


SINK_KINDS: Final = tuple(
    typing.get_args(section.model_fields["kind"].annotation)[0]
    for section in (AlertmanagerSink, GrafanaSink, WebhookSink, SlackSink, SmtpSink, KafkaSink)
)


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
    dashboard_url: BaseAddress | None = Field(None, description="Address of Grafana for links in alerts.")
    app_url: BaseAddress | None = Field(None, description="Address of driftline's own pages for links in alerts.")
    runbook_url: BaseAddress | None = Field(
        DOCUMENTED, description="Where the pages of docs/runbooks are read, for links in alerts; null for none."
    )

    @field_validator("sinks")
    @classmethod
    def _names(cls, value: dict[str, Sink]) -> dict[str, Sink]:
        for name in value:
            if not 0 < len(name) <= MOST_SINK_NAME or not name.isprintable():
                raise ValueError(
                    f"a sink's name has 1 to {MOST_SINK_NAME} characters that can be printed, got {name[:80]!r}; "
                    "write for example oncall"
                )
        return value
