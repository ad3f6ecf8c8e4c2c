"""Alert rules: anomalies through the one metric that carries them, and driftline's own health.

Rules on raw product metrics would alarm outside the false-alarm budget, so there are none. The anomaly rule selects
``path="rules"``: with ``alerts.path: push`` it never fires, so on-call is never told twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from alerts.rendering import ALERT_NAME, LABELS
from dashboards import annotations as texts


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """``expr`` compared by ``operator`` with ``threshold`` for ``hold``. ``severity`` empty: the series carries it.

    ``absent_fires``: no data is itself the trouble (a Prometheus rule says so with ``absent``). ``more``: annotations
    beside summary and description. All may use the figures of dashboards/annotations.py.
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
    more: Mapping[str, str] = field(default_factory=dict)

    def promql(self) -> str:
        return f"{self.expr} {self.operator} {self.threshold:g}"


# A restart of driftline, or a change of its leader, leaves a gap: what is not said to be over is held to go on for as
# long as an alert that is pushed would, so that people are not told that it is over and again that it began. What is
# over is said to be (an id never opens again), and what took another road is on it: both end the alert at once.
_OPEN = f"max by ({', '.join(LABELS)}) ({texts.ACTIVE})"
_ENDED = f'{texts.last("driftline_anomaly_resolved_seconds")} or driftline_anomaly_active{{path!="rules"}}'

ANOMALY = RuleSpec(
    name=ALERT_NAME,
    uid="driftline-anomaly",
    expr=f"({_OPEN} unless on (id) ({_ENDED}))",
    operator=">",
    threshold=0,
    hold="0s",
    severity="",
    summary=texts.SUMMARY,
    description=texts.DESCRIPTION,
    panel="Which anomalies are open",
    more={
        "since": texts.SINCE,
        "effect": texts.EFFECT,
        "how_sure": texts.HOW_SURE,
        "look_first": texts.LOOK_FIRST,
    },
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
            "`driftline alerts list` shows what was refused and why; once its "
            "target is mended, `driftline alerts resend` sends it again, and "
            "`dismiss` puts it aside."
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
