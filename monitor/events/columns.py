"""From rows of numbers to columns: the arrays that every summary is updated from.

All arithmetic is on whole arrays. Units are those of :class:`detectors.summaries.columns.EventColumns`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.summaries.columns import EventColumns, Int8, Int64, Labelled, Ragged
from monitor.events.native import Usage
from monitor.events.prices import PriceBook
from monitor.events.reading import OUTCOMES, Readings

MILLION = 1_000_000
CONTEXT_CAP = 2 * MILLION


def columns(
    readings: Readings, times_us: Int64, thinned: NDArray[np.bool_], prices: PriceBook
) -> tuple[EventColumns, dict[str, int]]:
    """The columns of events in offset order, with their times and session representatives.

    Also returns the counts of what could not be measured (``cost_unpriced``, ``cost_unknown_currency``,
    ``citation_contradicted``) and of ``attributes_dropped``.
    """
    column = readings.column
    outcome: Int8 = column("outcome")
    usage = {name: column(name) for name in Usage.__struct_fields__}
    models = Labelled(column("model"), readings.models)
    tokens = np.stack([usage[name] for name in ("input_tokens", "output_tokens", "cached_input_tokens")], axis=1)
    cost, counts = prices.costs(column("amount"), column("rate"), models, tokens, times_us)
    for name in ("citation_contradicted", "attributes_dropped"):
        if found := int(column(name).sum()):
            counts[name] = found
    context_limit = usage.pop("context_limit")
    return EventColumns(
        n=len(readings),
        thinned=thinned,
        user=column("user").view(np.uint64),
        cost=cost,
        latency_total=_scaled(column("total_ms"), 1000.0),
        latency_first_token=_scaled(column("first_token_ms"), 1000.0),
        latency_timeout=outcome == OUTCOMES["timeout"],
        stages=Ragged(
            event=np.repeat(np.arange(len(readings), dtype=np.int32), column("stages")),
            code=readings.stage_codes,
            value=np.rint(readings.stage_ms * 1000.0).astype(np.int64),
            names=readings.stage_names,
        ),
        **usage,
        context_used=_share(usage["input_tokens"], context_limit),
        concurrency=column("concurrency"),
        input_bytes=column("input_bytes"),
        confidence=_scaled(column("confidence"), MILLION),
        retries=column("retries"),
        error=_outcome(outcome, "error"),
        timeout=_outcome(outcome, "timeout"),
        refused=_outcome(outcome, "refused"),
        # One abstention, whether the flag, the outcome or both say so.
        abstained=np.maximum(_outcome(outcome, "abstained"), column("abstained")),
        schema_violation=column("schema_violation"),
        citation_missing=column("citation_missing"),
        citation_ungrounded=column("citation_ungrounded"),
        disagreement=column("disagreement"),
        verification_failed=column("verification_failed"),
        tier=Labelled(column("tier"), readings.tiers),
        model=models,
        error_type=Labelled(column("error_type"), readings.error_types),
    ), counts


def _outcome(outcome: Int8, name: str) -> Int8:
    return np.where(outcome < 0, np.int8(-1), (outcome == OUTCOMES[name]).astype(np.int8))


def _scaled(values: NDArray[np.float64], scale: float) -> Int64:
    """Non-negative floats to integers of 1/scale, rounded half to even; absent is -1."""
    return np.where(values >= 0, np.rint(values * scale), -1.0).astype(np.int64)


def _share(used: Int64, limit: Int64) -> Int64:
    known = (used >= 0) & (limit > 0)
    return np.where(known, np.minimum(used * MILLION // np.maximum(limit, 1), CONTEXT_CAP), -1)
