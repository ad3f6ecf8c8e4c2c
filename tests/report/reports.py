"""A report in which everything occurs, with names that try to be markup."""

from __future__ import annotations

import base64
import io

from PIL import Image

from monitor.report.model import (
    FORMAT,
    Above,
    Ahead,
    Alarm,
    Bill,
    Change,
    Check,
    CostTail,
    Dearest,
    Deploy,
    Figure,
    Picture,
    Promise,
    Quality,
    Report,
    Reviewed,
    Segment,
    Share,
)

NAME = "a-very-long-segment-name-that-goes-on-and-on/<b>bold</b>|pipe"


def _jpeg() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (180, 256), (240, 240, 235)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


def a_tail() -> CostTail:
    costs = [0.005, 0.01, 0.02, 0.05, 0.1]
    now, before = (
        [Above(cost, share / n, 0.8 * share / n, 1.2 * share / n) for n, cost in enumerate(costs, 1)]
        for share in (0.9, 0.7)
    )
    dearest = [
        Dearest(0.01, 0.05, 0.04, 0.045, 0.31, 0.28, 0.34, 0.2),
        Dearest(0.1, 0.02, 0.02, None, 0.6, None, None, None),
    ]
    reference = [Above(0.012, 0.5, None, None), Above(0.045, 0.05, None, None)]
    return CostTail(
        "The dearest 1 % of requests make up 31 % of the spend.", now, before, reference, dearest, 0.4, None
    )


def a_quality() -> Quality:
    weeks = [
        Share("2026-10-26", "2026-11-01", 0.05, 0.02, 0.1, 110),
        Share("2026-11-02", "2026-11-08", 0.06, 0.03, 0.11, 120),
        Share("2026-11-09", "2026-11-15", 0.1, 0.081, 0.13, 693),
    ]
    days = [Share(f"2026-11-{day:02d}", f"2026-11-{day:02d}", 0.01 * day, 0.0, 0.2, 100) for day in range(2, 16)]
    checks = [Check("schema_violation_rate", days, 0.01), Check("disagreement_rate", days[:3], None)]
    return Quality("Wrong by review: 10 %, against 6 % the period before.", "week", weeks, weeks[1], weeks[0], checks)


def a_report() -> Report:
    bill = Bill(1047.33, 955.14, 92.19, {"traffic": 10.0, "mix": 0.0, "units": 7.24, "tail": 74.95, "price": 0.0}, 0.31,
                4100.0, 3800.0, 4400.0)  # fmt: skip
    reviewed = Reviewed(0.1, 0.081, 0.13, 693, 40)
    figures = [
        Figure("error_rate", "1", 0.0055, 0.0045, 0.0068, 0.0058, "measured"),
        Figure("latency_total_p95", "s", 4.43, 4.29, 4.57, 4.4, "measured"),
        Figure("cost_p95", "currency", 0.0325, 0.0314, 0.0336, None, "measured"),
        Figure("refusal_rate", "1", None, None, None, None, "not_measured"),
    ]
    segment = Segment(
        NAME, "extract", "high", 16821, 16100, 0.97, bill, figures, reviewed, ["m@1", "m@2"], ["m@2"], True, a_tail(),
        a_quality(),
    )  # fmt: skip
    other = Segment("small", "extract", "low", 120, None, None, Bill(0.02, None, None, {}, None, None, None, None), [],
                    None, [], [], False)  # fmt: skip
    story = "The look of the images moved 8.1 standard deviations from the reference, since 2026-11-14 06:30 UTC."
    alarm = Alarm(
        "a3c76f61740000000000aaaa", "default", NAME, "image_drift", "page", "open", "2026-11-14T08:00:00Z", None, False,
        story, story, ["began with scanner <s2>: 0 % of sessions the day before, 100 % now"], "real", True, True, 1,
        [Picture("typical_before", "s1", _jpeg()), Picture("typical_now", "s2", _jpeg())],
    )  # fmt: skip
    return Report(
        format=FORMAT,
        since="2026-11-08T23:00:00Z",
        until="2026-11-15T23:00:00Z",
        before="2026-11-01T23:00:00Z",
        timezone="Europe/Berlin",
        currency="EUR",
        evaluated_until="2026-11-15T12:00:00Z",
        complete=False,
        changed=[story],
        cost=["1,047.33 EUR, +92.19 EUR (+10 %) against the period before."],
        decide=["Mend the cause of 1 anomaly that is still open: image drift (a3c76f61)."],
        false_discovery_rate=0.1,
        judged=213,
        requests=16941,
        requests_before=16100,
        bill=bill,
        changes=[Change(NAME, "image_drift", "page", story, "2026-11-14T06:30:00Z", None, alarm.id)],
        alarms=[alarm],
        promises=[Promise("default", "page", "1 per 30d", 7 / 30, 1, 1, 0)],
        segments=[segment, other],
        reviewed=reviewed,
        deploys=[Deploy("2026-11-14T06:00:00Z", "v2.4.1", "extract", "ci", "a <new> scanner")],
        tail=a_tail(),
        quality=Quality("Nothing was drawn for review.", "", [], None, None, []),
        not_measured=["No sample was looked at in small."],
        ahead=[
            Ahead("spend", "EUR", 1047.33, 930.1, 1180.2, 6, "as last week; the interval is what 6 weeks differed by"),
            Ahead("labels", "1", None, None, None, 2, "2 whole weeks stored, 4 needed"),
        ],
    )
