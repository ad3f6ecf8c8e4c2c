"""The configured sinks, and by which road on-call hears of an anomaly."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from alerts.dispatch import Dispatcher, Transactions
from alerts.rendering import Links, Promises
from alerts.sinks import Delivery, Outcome, Retry, Sent, Sink
from alerts.sinks.alertmanager import AlertmanagerPeers, AlertmanagerSink
from alerts.sinks.folder import FolderSink
from alerts.sinks.grafana import GrafanaSink, GrafanaTarget
from alerts.sinks.kafka import KafkaSink, KafkaTopic
from alerts.sinks.slack import SlackSink, SlackTarget
from alerts.sinks.smtp import SmtpSink, SmtpTarget
from alerts.sinks.webhook import WebhookSink, WebhookTarget
from dashboards.subjects import panel_places

if TYPE_CHECKING:
    from monitor.config.model import Config
    from monitor.config.units import Allowance

DEAD_LETTERS = "kafka:dead-letters"
"""Outbox name of the dead-letter topic's sink; it is always there."""
REVIEW = "kafka:review"
"""That of the review topic's, which is there where one is configured."""
REPORTS = "file:reports"
"""That of the folder of reports, likewise."""


def build_sinks(config: Config) -> dict[str, Sink]:
    """One sink per entry of ``alerts.sinks``, by its name, those of the dead-letter and review topics, and the folder
    of reports.

    Connects to nothing yet.
    """
    sinks: dict[str, Sink] = {name: _build(config, name) for name in config.alerts.sinks}
    sinks[DEAD_LETTERS] = KafkaSink(_topic(config, config.kafka.dead_letter_topic))
    if config.kafka.review_topic is not None:
        sinks[REVIEW] = KafkaSink(_topic(config, config.kafka.review_topic))
    if config.report.folder is not None:
        sinks[REPORTS] = FolderSink(Path(config.report.folder))
    return sinks


def build_dispatcher(config: Config, store: Transactions, generator: random.Random | None = None) -> Dispatcher:
    """A dispatcher on the wall clock for every sink of the configuration."""
    return Dispatcher(store, build_sinks(config), lambda: time.time_ns() // 1000, generator or random.Random())


def try_out(sink: Sink, delivery: Delivery, now_us: int) -> tuple[Outcome, float]:
    """Send a test now, past the outbox, and close the sink: (what became of it, seconds)."""
    begin = time.monotonic()
    outcome: Outcome
    try:
        outcome = sink.send([delivery], now_us)[0]
    except Exception as error:  # as the dispatcher takes it
        outcome = Retry(f"{type(error).__name__}: {error}")
    finally:
        sink.close()
    return outcome, time.monotonic() - begin


def verdict(outcome: Outcome) -> str:
    """``delivered``, or why not."""
    if isinstance(outcome, Sent):
        return "delivered"
    return f"{'not reached' if isinstance(outcome, Retry) else 'refused'}: {outcome.error}"


def road(config: Config, *, severity: str, historic: bool, muted: bool = False) -> str:
    """How on-call hears of an anomaly: ``push``, ``rules``, or ``none`` (only recorded).

    Label ``path`` of ``driftline_anomaly_active``: generated rules select ``rules``, so that both roads are never
    taken, whatever is loaded into Prometheus. ``muted``: it opened in a deploy's mute that is not over.
    """
    if muted or severity == "report" or (historic and not config.alerts.send_historic):
        return "none"
    return config.alerts.path


def links(config: Config) -> Links:
    return Links(
        dashboard_url=config.alerts.dashboard_url,
        app_url=config.alerts.app_url,
        runbook_url=config.alerts.runbook_url,
        panels=panel_places(),
    )


def promises(config: Config) -> Promises:
    """The budgets of all owners, of those without a name as ``default``."""
    budgets = {"default": config.budget, **{name: owner.budget for name, owner in config.owners.items()}}
    return Promises({name: {"page": _promise(b.page), "ticket": _promise(b.ticket)} for name, b in budgets.items()})


def _promise(allowance: Allowance) -> tuple[str, str]:
    days = allowance.period_us / 86_400_000_000
    return f"{allowance.count:g}", f"{days:g} days" if days != 1 else "a day"


def _build(config: Config, name: str) -> Sink:
    sink = config.alerts.sinks[name]
    said: Any = {"links": links(config), "promises": promises(config)}
    match sink.kind:
        case "alertmanager":
            return AlertmanagerSink(AlertmanagerPeers(urls=sink.urls, resend_every_us=sink.resend_every, **said))
        case "grafana":
            return GrafanaSink(GrafanaTarget(url=sink.url, token=sink.token, dashboard_uid=sink.dashboard_uid, **said))
        case "webhook":
            return WebhookSink(WebhookTarget(url=sink.url, secret=sink.secret, **said))
        case "slack":
            return SlackSink(SlackTarget(url=sink.url, **said))
        case "smtp":
            return SmtpSink(
                SmtpTarget(
                    host=sink.host,
                    port=sink.port,
                    security=sink.security,
                    user=sink.user,
                    password=sink.password,
                    sender=sink.sender,
                    recipients=sink.recipients,
                    ca_file=sink.ca_file,
                    **said,
                )
            )
        case "kafka":
            return KafkaSink(_topic(config, sink.topic))


def _topic(config: Config, topic: str) -> KafkaTopic:
    kafka = config.kafka
    return KafkaTopic(
        bootstrap=kafka.bootstrap,
        topic=topic,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        username=kafka.username,
        password=kafka.password,
        ca_file=kafka.ca_file,
    )


def describe(config: Config) -> Mapping[str, str]:
    """Sink name: what it is and where it points, without secrets."""
    found = {}
    for name, sink in config.alerts.sinks.items():
        match sink.kind:
            case "alertmanager":
                found[name] = f"alertmanager {', '.join(sink.urls)}"
            case "grafana" | "webhook":
                found[name] = f"{sink.kind} {sink.url}"
            case "slack":
                found[name] = f"slack webhook at {urlsplit(sink.url).hostname or 'an address without a host'}"
            case "smtp":
                found[name] = f"smtp {sink.host}:{sink.port} to {', '.join(sink.recipients)}"
            case "kafka":
                found[name] = f"kafka topic {sink.topic}"
    found[DEAD_LETTERS] = f"kafka topic {config.kafka.dead_letter_topic}"
    if config.kafka.review_topic is not None:
        found[REVIEW] = f"kafka topic {config.kafka.review_topic}"
    if config.report.folder is not None:
        found[REPORTS] = f"folder {config.report.folder}"
    return found
