"""Recording rules: sums over every segment, which a page that is open all day should not make anew each time.

Panels that read them are empty where the file is not loaded; docs/dashboards.md says so and what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

HITS: Final = "route_rate:driftline_rate_hits:sum"
TRIALS: Final = "route_rate:driftline_rate_trials:sum"


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    expr: str


RECORDS: Final = (
    # Exact: a rate is hits over trials, and segments do not overlap.
    Record(HITS, "sum by (route, rate) (driftline_rate * driftline_rate_trials)"),
    Record(TRIALS, "sum by (route, rate) (driftline_rate_trials)"),
)


def recording_rules() -> dict[str, Any]:
    """The rule file for Prometheus."""
    rules = [{"record": record.name, "expr": record.expr} for record in RECORDS]
    return {"groups": [{"name": "driftline records", "interval": "30s", "rules": rules}]}
