"""driftline itself: does it keep up, does it lose anything, does it run? Limits are those of its alerts."""

from __future__ import annotations

from dashboards.panels import DashboardSpec, Limit, PanelSpec, Query, RowSpec
from dashboards.rules import HEALTH


def _limit(alert: str) -> Limit:
    (rule,) = [rule for rule in HEALTH if rule.name == alert]
    return Limit(rule.threshold, below=rule.operator == "<")


INTERNALS = DashboardSpec(
    "driftline-internals",
    "driftline: itself",
    "Does driftline run, keep up, and lose nothing?",
    (),
    (
        RowSpec(
            "Does it run?",
            (
                PanelSpec(
                    "Parts",
                    "Is every part running? 1 is up.",
                    "short",
                    (Query("min by (part) (driftline_part_up)", "{{part}}"),),
                    limit=_limit("DriftlinePartDown"),
                ),
                PanelSpec(
                    "Restarts",
                    "Which part was started again? None is healthy; its log says why.",
                    "short",
                    (Query("sum by (part) (increase(driftline_part_restarts_total[$__rate_interval]))", "{{part}}"),),
                ),
                PanelSpec(
                    "Who leads",
                    "Does exactly one process judge? More than one is over within a lease.",
                    "short",
                    (Query("sum(driftline_leader)", "leaders"),),
                ),
                PanelSpec(
                    "Memory",
                    "How much memory does each process hold?",
                    "bytes",
                    (Query('process_resident_memory_bytes{job=~".*driftline.*"}', "{{instance}}"),),
                ),
                PanelSpec(
                    "Processor",
                    "How many processors does each process use?",
                    "short",
                    (Query('rate(process_cpu_seconds_total{job=~".*driftline.*"}[$__rate_interval])', "{{instance}}"),),
                ),
                PanelSpec(
                    "Configuration reloads",
                    "Was a new configuration taken or refused? One that is refused leaves the old one in effect.",
                    "short",
                    (
                        Query(
                            "sum by (outcome) (increase(driftline_config_reloads_total[$__rate_interval]))",
                            "{{outcome}}",
                        ),
                    ),
                    quiet=True,
                ),
            ),
        ),
        RowSpec(
            "Does it keep up?",
            (
                PanelSpec(
                    "Lag",
                    "Does ingest keep up? Records between the stored offset and the end of each partition.",
                    "short",
                    (Query("max by (topic, partition) (driftline_consumer_lag)", "{{topic}}/{{partition}}"),),
                    limit=_limit("DriftlineLagging"),
                ),
                PanelSpec(
                    "Records per second",
                    "How fast is it reading? By partition.",
                    "reqps",
                    (
                        Query(
                            "sum by (topic, partition) (rate(driftline_records_total[$__rate_interval]))",
                            "{{topic}}/{{partition}}",
                        ),
                    ),
                ),
                PanelSpec(
                    "Evaluation behind",
                    "How much closed event time waits for the evaluator?",
                    "s",
                    (Query("max(driftline_evaluation_delay_seconds)", "delay"),),
                    limit=_limit("DriftlineEvaluatorStalled"),
                ),
                PanelSpec(
                    "Evaluation load",
                    "Which share of the time does the evaluator work?",
                    "percentunit",
                    (Query("sum(rate(driftline_evaluation_seconds_total[$__rate_interval]))", "busy"),),
                ),
                PanelSpec(
                    "Embedding load",
                    "Which share of the time does each embedding process encode? At 1 coverage falls.",
                    "percentunit",
                    (
                        Query(
                            "sum by (instance) (rate(driftline_embed_seconds_total[$__rate_interval]))", "{{instance}}"
                        ),
                    ),
                ),
                PanelSpec(
                    "Samples embedded per second",
                    "How many samples are embedded, and how many have nothing to embed?",
                    "reqps",
                    (
                        Query("sum(rate(driftline_embedded_total[$__rate_interval]))", "embedded"),
                        Query(
                            "sum by (reason) (rate(driftline_embed_missing_total[$__rate_interval]))",
                            "{{reason}}",
                            rare=True,
                        ),
                    ),
                ),
            ),
        ),
        RowSpec(
            "Is anything lost, or not delivered?",
            (
                PanelSpec(
                    "Dropped records per second",
                    "What is not counted, and why? Dead letters, duplicates; late events are counted apart.",
                    "reqps",
                    (
                        Query("sum(rate(driftline_dead_letters_total[$__rate_interval]))", "dead letters"),
                        Query("sum(rate(driftline_duplicates_total[$__rate_interval]))", "duplicates"),
                        Query("sum(rate(driftline_late_events_total[$__rate_interval]))", "late"),
                    ),
                ),
                PanelSpec(
                    "Stored dead letters",
                    "Why were records not used? None is healthy.",
                    "short",
                    (Query("max by (reason) (driftline_dead_letters_stored)", "{{reason}}"),),
                    quiet=True,
                ),
                PanelSpec(
                    "Transactions the store did not take",
                    "Does the store work? Each is tried again, so that nothing is lost.",
                    "short",
                    (Query("sum by (part) (increase(driftline_store_failures_total[$__rate_interval]))", "{{part}}"),),
                ),
                PanelSpec(
                    "Outbox",
                    "Is something not delivered? Deliveries that wait or were refused, by sink; none is healthy.",
                    "short",
                    (
                        Query(
                            'max by (sink, state) (driftline_outbox_rows{state=~"pending|failed"})',
                            "{{sink}} {{state}}",
                        ),
                    ),
                    quiet=True,
                ),
                PanelSpec(
                    "Oldest delivery that waits",
                    "Since when does a sink take nothing? Nothing is lost; it is tried again.",
                    "s",
                    (Query("max by (sink) (driftline_outbox_oldest_seconds)", "{{sink}}"),),
                    limit=_limit("DriftlineOutboxStuck"),
                    quiet=True,
                ),
                PanelSpec(
                    "Explanations that failed",
                    "Could a change not be explained? The alarm went out all the same; the log says why.",
                    "short",
                    (Query("sum(increase(driftline_explanations_failed_total[$__rate_interval]))", "failed"),),
                ),
                PanelSpec(
                    "Labels from elsewhere per hour",
                    "Do labels of the labels topic arrive, and what becomes of them? Dead letters say why.",
                    "short",
                    (Query("sum by (outcome) (increase(driftline_labels_read_total[1h]))", "{{outcome}}"),),
                    quiet=True,
                ),
                PanelSpec(
                    "Labels without an item",
                    "How many labels from elsewhere count nowhere, since their event was not drawn?",
                    "short",
                    (Query("max(driftline_labels_without_item)", "labels"),),
                ),
                PanelSpec(
                    "Segments in `other`",
                    "Are segments folded together because the cap (`segments.max_segments`) was reached? None is best.",
                    "short",
                    (Query("max(driftline_segments_folded)", "segments"),),
                    limit=Limit(1),
                ),
            ),
        ),
    ),
)
