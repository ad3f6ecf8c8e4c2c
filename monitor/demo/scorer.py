"""Holds what driftline reported against what was planted.

Found: an anomaly in the same segment, on a signal that the incident touches, opened within 48 h of event time after
the injection. Every other anomaly is a false alarm, further ones of a found incident's signals within those 48 h
excepted: they tell of the same change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from monitor.demo.incidents import HOUR_US, Incident

FOUND_WITHIN_US = 48 * HOUR_US


@dataclass(frozen=True, slots=True)
class Reported:
    """An anomaly as the scorer needs it. ``opened_us``: event time, µs. ``sent``: it reached the receiver."""

    anomaly_id: str
    segment: str
    signal: str
    severity: str
    opened_us: int
    sentence: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """One incident: ``anomaly`` is the first that found it, or None."""

    incident: Incident
    injected_us: int
    anomaly: Reported | None


@dataclass(frozen=True, slots=True)
class Score:
    verdicts: tuple[Verdict, ...]
    false_alarms: tuple[Reported, ...]

    @property
    def all_found(self) -> bool:
        return all(verdict.anomaly is not None for verdict in self.verdicts)


def score(incidents: Sequence[Incident], start_us: int, reported: Iterable[Reported]) -> Score:
    """Judge ``reported`` (any order) against ``incidents`` of a simulation that began at ``start_us``.

    Anomalies of severity ``report`` wake nobody and are paid from no budget: they find nothing and are no alarms.
    """
    alarms = sorted((r for r in reported if r.severity != "report"), key=lambda r: (r.opened_us, r.anomaly_id))
    found: dict[str, Reported] = {}
    false_alarms = []
    for alarm in alarms:
        incident = next((i for i in incidents if _explains(i, start_us, alarm)), None)
        if incident is None:
            false_alarms.append(alarm)
        else:
            found.setdefault(incident.name, alarm)
    verdicts = tuple(Verdict(i, i.injected_at(start_us), found.get(i.name)) for i in incidents)
    return Score(verdicts, tuple(false_alarms))


def _explains(incident: Incident, start_us: int, alarm: Reported) -> bool:
    begin = incident.injected_at(start_us)
    return (
        alarm.segment == incident.segment
        and incident.touched(alarm.signal)
        and begin <= alarm.opened_us <= begin + FOUND_WITHIN_US
    )
