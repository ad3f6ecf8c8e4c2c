"""A deploy is announced: recorded once, and an annotation in every Grafana that is a sink."""

from __future__ import annotations

from dataclasses import replace

from monitor.config.alerts import GrafanaSink
from monitor.config.model import Config
from monitor.events.redaction import Redactor
from monitor.store import deploys, outbox
from monitor.store.deploys import Deploy
from monitor.store.engine import Store

KIND = "deploy"


def announced(store: Store, config: Config, deploy: Deploy, now_us: int) -> bool:
    """Record a deploy, its note redacted and on one line. False where its id is known.

    Raises DeployFault, StoreUnavailable.
    """
    if deploy.note:
        line = " ".join("".join(c if c.isprintable() else " " for c in deploy.note).split())
        deploy = replace(deploy, note=Redactor(config.privacy.redact).text(line))
    sinks = [name for name, sink in config.alerts.sinks.items() if isinstance(sink, GrafanaSink)]
    payload = {
        "version": deploy.version,
        "route": deploy.route,
        "segment": deploy.segment,
        "time_us": deploy.time_us,
        "who": deploy.who,
        "note": deploy.note,
    }
    with store.write() as connection:
        if not deploys.announce(store, connection, deploy):
            return False
        outbox.enqueue_many(
            connection,
            [outbox.Message(sink, f"deploy/{deploy.deploy_id}", KIND, payload, now_us, now_us) for sink in sinks],
        )
    return True
