"""docs/events.md and docs/native-event.schema.json, generated where they state what the code does.

``python -m monitor.events.document`` writes both; a test fails when they are stale.
"""

from __future__ import annotations

import json
from pathlib import Path

from monitor.events.native import json_schema
from monitor.ingest.dead_letters import REASONS

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA_FILE = "native-event.schema.json"
PAGE_FILE = "events.md"
BEGIN, END = "<!-- generated: outcomes -->", "<!-- end -->"

COUNTERS: dict[str, str] = {
    "attributes_dropped": "Attributes beyond the first 64 of an event; the event counts.",
    "citation_contradicted": "Events whose producer says a quote was found and whose source text does not hold it.",
    "cost_unknown_currency": "Costs in a currency without a rate in `prices.rates`; the cost is absent.",
    "cost_unpriced": "Events without a cost whose model is not in `prices.models`; the cost is absent.",
}
"""Counters of events that count although something about them does not, by name."""


def schema_text() -> str:
    """The content of docs/native-event.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def outcomes() -> str:
    """The generated tables of docs/events.md."""
    lines = ["| dead-letter reason | when | counter |", "|---|---|---|"]
    lines += [f"| `{name}` | {what} | `dead_letter_{name}` |" for name, what in REASONS.items()]
    lines += ["", "| counter | what it counts |", "|---|---|"]
    lines += [f"| `{name}` | {what} |" for name, what in COUNTERS.items()]
    return "\n".join(lines)


def page(current: str) -> str:
    """``current`` (docs/events.md) with its generated part up to date."""
    before, rest = current.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{outcomes()}\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    (DOCS / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    path = DOCS / PAGE_FILE
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
