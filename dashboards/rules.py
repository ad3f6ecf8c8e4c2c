"""Alert rules: anomalies through the one metric that carries them, and driftline's own health.

Rules on raw product metrics would alarm outside the false-alarm budget, so there are none. The anomaly rule selects
``path="rules"``: with ``alerts.path: push`` it never fires, so on-call is never told twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alerts import runbooks
from alerts.rendering import ALERT_NAME, LABELS


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """``expr`` compared by ``operator`` with ``threshold`` for ``hold``. ``severity`` empty: the series carries it.

    ``absent_fires``: no data is itself the trouble (a Prometheus rule says so with ``absent``).
    """

    name: str
    uid: str
    expr: str
    operator: str  # > or <
    threshold: float
    hold: str
    severity: str
    summary: str
    description: str
    panel: str  # title of the panel it belongs to

    @property
    def runbook_url(self) -> str:
        """The page of docs/runbooks that says what to do."""
        return runbooks.address(runbooks.DOCUMENTED, self.name)

    def promql(self) -> str:
        return f"{self.expr} {self.operator} {self.threshold:g}"


ANOMALY = RuleSpec(
    name=ALERT_NAME,
    uid="driftline-anomaly",
    expr=f'max by ({", ".join(LABELS)}) (driftline_anomaly_active{{path="rules"}})',
    operator=">",
    threshold=0,
    hold="0s",
    severity="",
    summary="{{ $labels.signal }} changed in {{ $labels.segment }}.",
    description=(
        "driftline found a change under its false-alarm budget; `driftline "
        "alerts show {{ $labels.id }}` tells the story."
    ),
    panel="Which anomalies are open",
)

HEALTH = (
    RuleSpec(
        name="DriftlineLagging",
        uid="driftline-lagging",
        expr="max by (topic, partition) (driftline_consumer_lag)",
        operator=">",
        threshold=100_000,
        hold="15m",
        severity="ticket",
        summary="driftline is far behind on {{ $labels.topic }}/{{ $labels.partition }}.",
        description=(
            "More than 100,000 records wait; what is shown and judged is old. Add "
            "an ingest process, or look at the store."
        ),
        panel="Lag",
    ),
    RuleSpec(
        name="DriftlineDeadLetters",
        uid="driftline-dead-letters",
        expr=(
            "sum(increase(driftline_dead_letters_total[15m])) / "
            "clamp_min(sum(increase(driftline_dead_letters_total[15m])) + "
            "sum(increase(driftline_records_total[15m])), 1)"
        ),
        operator=">",
        threshold=0.01,
        hold="15m",
        severity="ticket",
        summary="More than 1 % of the records cannot be used.",
        description="`driftline dlq` lists them with their reasons; most often a producer changed its format.",
        panel="Stored dead letters",
    ),
    RuleSpec(
        name="DriftlineOutboxStuck",
        uid="driftline-outbox-stuck",
        expr="max by (sink) (driftline_outbox_oldest_seconds)",
        operator=">",
        threshold=900,
        hold="5m",
        severity="page",
        summary="Alerts do not reach {{ $labels.sink }}.",
        description=(
            "A delivery waits for more than 15 minutes. Nothing is lost; `driftline alerts list` shows the last error."
        ),
        panel="Outbox",
    ),
    RuleSpec(
        name="DriftlineDeliveryRefused",
        uid="driftline-delivery-refused",
        expr='max by (sink) (driftline_outbox_rows{state="failed"})',
        operator=">",
        threshold=0,
        hold="0s",
        severity="ticket",
        summary="{{ $labels.sink }} refused a delivery.",
        description=(
            "It will not be sent again unless the anomaly changes; `driftline "
            "alerts list` shows what was refused and why."
        ),
        panel="Outbox",
    ),
    RuleSpec(
        name="DriftlineEvaluatorStalled",
        uid="driftline-evaluator-stalled",
        expr="max(driftline_evaluation_delay_seconds)",
        operator=">",
        threshold=3600,
        hold="15m",
        severity="page",
        summary="driftline has stopped judging.",
        description=(
            "More than an hour of closed event time is not evaluated, so changes "
            "are not found. Look at the log of the evaluate role."
        ),
        panel="Evaluation behind",
    ),
    RuleSpec(
        name="DriftlinePartDown",
        uid="driftline-part-down",
        expr="min by (part) (driftline_part_up)",
        operator="<",
        threshold=1,
        hold="5m",
        severity="page",
        summary="driftline's {{ $labels.part }} is down.",
        description="It is started again all the time and fails each time; its log says why.",
        panel="Parts",
    ),
    RuleSpec(
        name="DriftlineAbsent",
        uid="driftline-absent",
        expr="count(driftline_part_up) or vector(0)",
        operator="<",
        threshold=1,
        hold="5m",
        severity="page",
        summary="Prometheus hears nothing of driftline.",
        description="No process of it is scraped: is it running, and does Prometheus have a token of role `metrics`?",
        panel="Parts",
    ),
)

RULES = (ANOMALY, *HEALTH)


def prometheus_rules() -> dict[str, Any]:
    """The rule file for Prometheus, for people without Grafana alerting."""
    return {
        "groups": [
            {"name": "driftline anomalies", "interval": "30s", "rules": [_prometheus(ANOMALY)]},
            {"name": "driftline health", "interval": "1m", "rules": [_prometheus(rule) for rule in HEALTH]},
        ]
    }


def _prometheus(rule: RuleSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"alert": rule.name, "expr": rule.promql()}
    if rule.hold != "0s":
        found["for"] = rule.hold
    if rule.severity:
        found["labels"] = {"severity": rule.severity}
    found["annotations"] = {"summary": rule.summary, "description": rule.description, "runbook_url": rule.runbook_url}
    return found
