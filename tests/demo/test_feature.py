"""The simulated feature is what the scorer and the README say it is."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from monitor.demo.documents import KINDS, Style, render
from monitor.demo.feature import DAY_US, Feature, Upload, Uploads
from monitor.demo.incidents import HOUR_US, INCIDENTS, LIVE, Incident

START = 1_790_000_000_000_000 // HOUR_US * HOUR_US


@pytest.fixture(scope="module")
def feature() -> Feature:
    uploads = Uploads.__new__(Uploads)  # the traffic alone: no page needs to be drawn
    page = Upload("file:///uploads/a.jpg", 40_000, 480, 660, "net 3.00\nTotal 3.00", "3.00")
    names = ("globex", "initech", "umbrella", "acme", "hooli", "stark")
    uploads.pools = {(name, "usual"): [page] for name in names}
    other = Upload("file:///uploads/b.jpg", 40_000, 480, 660, "net 3.00\nTotal 3.00", "3.00")
    uploads.pools |= {("globex", "scanner"): [other], ("initech", "packing"): [other]}
    return Feature(uploads, START)


def test_the_same_stretch_gives_the_same_events_however_it_is_cut(feature: Feature) -> None:
    whole = list(feature.events(START, START + 5 * HOUR_US))
    cuts = [START, START + HOUR_US // 3, START + 2 * HOUR_US, START + 5 * HOUR_US]
    parts = [event for a, b in pairwise(cuts) for event in feature.events(a, b)]
    assert parts == whole
    assert [t for t, _, _ in whole] == sorted(t for t, _, _ in whole)
    assert len({event["id"] for _, _, event in whole}) == len(whole) > 300


@pytest.mark.parametrize("incident", [*INCIDENTS, LIVE], ids=lambda incident: incident.name)
def test_an_incident_changes_its_own_tenant_and_nobody_else(feature: Feature, incident: Incident) -> None:
    calm = Feature(feature.uploads, START, incidents=())
    at = incident.injected_at(START)
    at -= at % HOUR_US
    disturbed = list(feature.events(at, at + 6 * HOUR_US))
    quiet = list(calm.events(at, at + 6 * HOUR_US))
    others = {i.tenant for i in (*INCIDENTS, LIVE) if i.active(START, at) or i.active(START, at + 6 * HOUR_US)}
    assert incident.tenant in others

    def of(events: list[tuple[int, bytes, dict[str, object]]], tenant: str) -> list[dict[str, object]]:
        return [event for _, _, event in events if str(event["id"]).startswith(f"{tenant}-")]

    assert of(disturbed, incident.tenant) != of(quiet, incident.tenant)
    for tenant in {"globex", "initech", "umbrella", "acme", "hooli", "stark"} - others:
        assert of(disturbed, tenant) == of(quiet, tenant)


def test_traffic_has_hours_and_weekends(feature: Feature) -> None:
    per_hour: Counter[int] = Counter()
    per_day: Counter[int] = Counter()
    for time_us, _, _ in feature.events(START, START + 7 * DAY_US):
        per_hour[time_us // HOUR_US % 24] += 1
        per_day[(time_us // DAY_US + 3) % 7] += 1
    assert per_hour[13] > 4 * per_hour[2]
    assert min(per_day[d] for d in range(5)) > 1.5 * max(per_day[5], per_day[6])


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_page_everywhere(kind: str) -> None:
    pages = [render(kind, np.random.default_rng(7), Style(), new_scanner=True) for _ in range(2)]
    assert pages[0] == pages[1]
    assert pages[0].text.endswith(f"Total {pages[0].total}")


def test_the_uploads_are_files_that_the_events_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.demo.feature.PAGES_PER_TENANT", 2)
    uploads = Uploads(tmp_path / "uploads", seed=3, workers=2)
    for _, _, event in islice(Feature(uploads, START).events(START, START + HOUR_US), 50):
        path = Path(event["input"][0]["uri"].removeprefix("file://"))
        assert path.read_bytes().startswith(b"\xff\xd8")
