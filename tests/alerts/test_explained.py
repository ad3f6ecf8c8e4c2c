"""What `driftline alerts show` says of what is behind an anomaly."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from alerts import explained, lifecycle
from alerts.anomaly import Explanation, to_document
from alerts.rendering import description
from tests.alerts.test_anomaly import HOUR_US, T, fact, opened

FOUND: dict[str, Any] = {
    "attributes": [
        {
            "attribute": "client", "value": "ios 4.2", "how": "carries", "before": 0.3, "now": 0.31, "left": 0.04,
            "p": 0.001,
        },
        {
            "attribute": "prompt", "value": "extract 15", "how": "began", "before": 0.0, "now": 1.0, "left": None,
            "p": 0.0,
        },
    ],
    "conditions": [
        {
            "name": "skew", "unit": "degrees", "told": "added", "before": 0.1, "now": 8.1, "change": 8.0, "low": 7.7,
            "high": 8.4, "above": 0.97, "p": 0.0,
        },
        {
            "name": "contrast", "unit": "", "told": "relative", "before": 0.9, "now": 0.6, "change": -0.33, "low": None,
            "high": -0.3, "above": 0.02, "p": 0.0,
        },
    ],
    "concepts": [{"name": "slide", "before": 0.0, "now": 0.4, "change": 0.4, "low": 0.3, "high": 0.5, "p": 0.0}],
    "share": {"value": 0.36, "low": 0.29, "high": 0.43},
    "stages": [{"stage": "queue", "before": None, "now": 0.96, "slow": 9e6, "usual": 2e4}],
    "load": {
        "before": 0.05, "now": 0.22, "load": {"value": 0.01, "low": -0.01, "high": 0.03},
        "same_load": {"value": 0.16, "low": 0.14, "high": 0.18},
    },
    "bill": {
        "against": "week", "hours": 24, "before": 29.5, "now": 88.8, "change": 59.3, "traffic": 1.0, "mix": 0.0,
        "units": 9.7, "tail": 52.8, "price": -4.2,
    },
    "exemplars": [
        {"role": "most_changed", "sample_id": "ab12", "window": T},
        {"role": "other", "sample_id": "cd", "window": T},
    ],
    "tried": {"sessions_before": 2000, "sessions_now": 327, "values": 87, "conditions": 10, "concepts": 11},
}  # fmt: skip


def text(**explanation: Any) -> str:
    anomaly = lifecycle.join(opened(), fact(signal="cost_p95", opened_us=T + HOUR_US))
    anomaly = lifecycle.resolve(anomaly, ("extract/acme", "cost_p95"), at_us=T + 2 * HOUR_US)
    anomaly = replace(anomaly, explanation=Explanation(sentence="It rose.", **explanation))
    return "\n".join(explained.lines(to_document(anomaly)))


def test_everything_that_was_found_is_told() -> None:
    told = text(**FOUND)
    assert "(327 sampled sessions against 2,000 of the reference; 87 attribute values, 10 conditions and 11 con" in told
    assert "in the sessions with client ios 4.2: 30 % of sessions before, 31 % now; 4 % of the change is left" in told
    for line in (
        "  extract/acme error_rate: opened 2026-01-05 00:00 UTC, still there",
        "  extract/acme cost_p95: opened 2026-01-05 01:00 UTC, over 2026-01-05 02:00 UTC",
        "  began with prompt extract 15: 0 % of sessions the day before, 100 % now",
        "  skew: 0.1 → 8.1 degrees (8, 95 % interval 7.7 to 8.4)",
        "  contrast: 0.9 → 0.6 (-33 %, 95 % interval ? to -30 %)",
        "  looks like “slide”: 0 % → 40 % (95 % interval of the change 30 % to 50 %)",
        "  of a new kind: 36 % of the sessions (95 % interval 29 % to 43 %)",
        "  stage queue: 96 % of slow requests' extra time",
        "    slower at the same load: +16 points (+14 points to +18 points)",
        (
            "  bill of 24 h: 88.8 against 29.5 a week before: traffic +1, mix of versions +0, tokens per request +9.7, "
            "tail of tokens +52.8, cost per token -4.2"
        ),
        "  most changed    ab12",
        "  other           cd",
    ):
        assert line in told.splitlines(), told


def test_nothing_found_is_told_and_nothing_asked_is_not() -> None:
    assert "  nothing found" in text(tried=FOUND["tried"]).splitlines()
    nothing = text()
    assert "Behind it" not in nothing
    assert "nothing found" not in nothing


def test_a_description_repeats_nothing_of_the_summary_and_says_what_is_over() -> None:
    anomaly = lifecycle.join(opened(), replace(fact(signal="cost_p95", opened_us=T + HOUR_US), sentence="Dearer."))
    anomaly = lifecycle.resolve(anomaly, ("extract/acme", "cost_p95"), at_us=T + 2 * HOUR_US)
    story = f"{anomaly.facts[0].sentence} It began with prompt 15. With it changed: cost_p95."
    anomaly = replace(anomaly, explanation=Explanation(sentence=story))
    lines = description(to_document(anomaly)).splitlines()
    assert lines[0] == "Dearer. Over since 2026-01-05 02:00 UTC."
    assert len(lines) == 2
