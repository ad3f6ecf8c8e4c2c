"""What the anomaly's rule tells a person, as templates that Prometheus and Grafana both expand.

A rule has the labels alone; the figures are series of their own (monitor/serve/anomalies/series.py). Texts here name
them as variables (``$since``), and `in_prometheus` and `in_grafana` put before each text what fills these: Prometheus
asks within the template (``query``), Grafana has further queries in the rule (``$values``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from alerts import runbooks
from alerts.anomaly import SLICE_PREFIX
from alerts.runbooks import Runbook

BRIDGED: Final = "10m"
"""How long rules go by what was last seen: as long as an alert that is pushed stays without being sent again."""


def last(selector: str) -> str:
    """What a series showed last, if that is not longer ago than `BRIDGED`."""
    return f"last_over_time({selector}[{BRIDGED}])"


ACTIVE: Final = last('driftline_anomaly_active{path="rules"}')
_CONTEXT_S: Final = 6 * 3600  # how much before the change a linked dashboard shows


@dataclass(frozen=True, slots=True)
class Number:
    """A figure of an alert: ``expr``, with ``@`` in every selector where those of one alert are chosen, has the labels
    ``by``; ``missing`` is its value where there is none. ``ref``: its letter among the queries of a rule in Grafana."""

    ref: str
    expr: str
    by: tuple[str, ...] = ("id",)
    missing: float = 0.0


def _effect(what: str) -> str:
    """Shares in per cent, others as they are."""
    shares, others = (last(f'driftline_anomaly_effect{{what="{what}",unit{op}"share"@}}') for op in ("=", "!="))
    return f"max by (id) ({shares} * 100 or {others})"


def _kind(*kinds: str) -> str:
    """1, 2, … by the unit, which cannot be a label here: Grafana gives an alert the figures of its own labels alone."""
    known = [last(f'driftline_anomaly_effect{{what="value",unit{units}@}}') for units in kinds]
    return f"max by (id) ({' or '.join(f'{series} * 0 + {k}' for k, series in enumerate(known, 1))})"


def _budget(name: str) -> str:
    return f"max by (owner, severity) ({last(name + '{@}')})"


def _of_anomaly(name: str) -> str:
    return f"max by (id) ({last(name + '{@}')})"


_SINCE: Final = _of_anomaly("driftline_anomaly_since_seconds")
_PER_HOUR: Final = "events/h|sessions_per_hour"
_OWNED: Final = ("owner", "severity")

NUMBERS: Final = {
    "since": Number("B", _SINCE),
    "from": Number("D", f"({_SINCE} - {_CONTEXT_S}) * 1000"),
    "kind": Number("E", _kind('="share"', '="sd"', f'=~"{_PER_HOUR}"', f'!~"share|sd|{_PER_HOUR}"')),
    "value": Number("F", _effect("value")),
    "low": Number("G", _effect("low")),
    "high": Number("H", _effect("high")),
    "before": Number("I", _effect("baseline"), missing=-1.0),
    "times": Number("J", _of_anomaly("driftline_anomaly_evidence")),
    "allowed": Number("K", _budget("driftline_budget_allowed"), _OWNED),
    "days": Number("L", f"{_budget('driftline_budget_period_seconds')} / 86400", _OWNED),
}
"""``since``: s; ``from``: ms; ``value``, ``low``, ``high`` and ``before`` in the unit of ``kind`` (1 per cent, 2
standard deviations, 3 per hour, 4 another; 0: not known); ``times``: the evidence over what opens an anomaly."""


def in_prometheus(text: str) -> str:
    """The text as a template of a rule for Prometheus."""

    def filled(number: Number) -> str:
        chosen = ",".join(f"{label}=%q" for label in number.by)
        asked = number.expr.replace("{@}", f"{{{chosen}}}").replace("@", f",{chosen}")
        values = " ".join(f"$labels.{label}" for label in number.by)
        # One argument for each selector: all have the same.
        arguments = " ".join([values] * number.expr.count("@"))
        return f"range query (printf `{asked}` {arguments})"

    return _with_numbers(text, filled)


def in_grafana(text: str) -> str:
    """The text as a template of a rule in Grafana, beside the queries of `grafana_queries`."""
    return _with_numbers(text, lambda number: f"with $values.{number.ref}")


def grafana_queries() -> dict[str, str]:
    """Letter -> query of every figure, with a value for every anomaly that alerts: Grafana takes a rule of which one
    query finds nothing as one without data, and would hold all its alerts to be over."""
    found = {}
    for number in NUMBERS.values():
        labels, asked = ", ".join(number.by), number.expr.replace("{@}", "").replace("@", "")
        nothing = f"max by ({labels}) ({ACTIVE}) * 0 + {number.missing:g}"
        found[number.ref] = f"{asked} or on ({labels}) ({nothing})"
    return found


def _with_numbers(text: str, filled: Callable[[Number], str]) -> str:
    used = set(re.findall(r"\$(\w+)", text))
    start = "".join(
        f"{{{{ ${name} := {number.missing:.1f} }}}}{{{{ {filled(number)} }}}}{{{{ ${name} = .Value }}}}{{{{ end }}}}"
        for name, number in NUMBERS.items()
        if name in used
    )
    named = "".join(text_of for name, text_of in _NAMED.items() if f'template "{name}"' in text)
    return named + start + text


# -- the texts ----------------------------------------------------------------------------------------------

# Two digits of per cents as everywhere, three of other numbers.
_NAMED: Final = {
    "percent": '{{ define "percent" }}{{ if lt . 10.0 }}{{ printf "%.2g" . }}{{ else }}{{ printf "%.0f" . }}{{ end }}'
    " %{{ end }}",
    "number": '{{ define "number" }}{{ if lt . 100.0 }}{{ printf "%.3g" . }}{{ else }}{{ printf "%.0f" . }}{{ end }}'
    "{{ end }}",
}
_QUANTILE: Final = "`_p[0-9]+$`"


def _figures(shown: str, unit: str, *, before: bool = True) -> str:
    def one(name: str) -> str:
        return f'{{{{ template "{shown}" ${name} }}}}'

    interval = f"{{{{ if lt $low $high }}}} (95 % interval {one('low')} to {one('high')}){{{{ end }}}}"
    past = f"{{{{ if ge $before 0.0 }}}}, {one('before')} before{{{{ end }}}}" if before else ""
    return f"{one('value')}{unit}{interval}{past}"


SINCE: Final = (
    "{{ if $since }}{{ humanizeTimestamp $since | reReplaceAll `:[0-9]{2}([.][0-9]+)? [+]0000 UTC$` ` UTC` }}{{ end }}"
)
EFFECT: Final = (
    "{{ if eq $kind 1.0 }}"
    + _figures(
        "percent",
        f"{{{{ if match {_QUANTILE} $labels.signal }}}} of requests beyond the reference's "
        "{{ reReplaceAll `^.*_` `` $labels.signal }}{{ end }}",
    )
    + "{{ else if eq $kind 2.0 }}"
    + _figures("number", " standard deviations from the reference", before=False)
    + "{{ else if eq $kind 3.0 }}"
    + _figures("number", " an hour")
    + "{{ else if eq $kind 4.0 }}"
    + _figures("number", "")
    + "{{ end }}"
)
SUMMARY: Final = (
    "{{ $labels.signal }} in {{ $labels.segment }}{{ if $kind }}: "
    f"{EFFECT}{{{{ else }}}} changed{{{{ end }}}}{{{{ if $since }}}}, since {SINCE}{{{{ end }}}}."
)
HOW_SURE: Final = (
    "{{ if $times }}the evidence reached {{ if ge $times 1000.0 }}more than 1,000{{ else }}"
    '{{ template "number" $times }}{{ end }} times what opens an anomaly{{ end }}'
    "{{ if $allowed }}{{ if $times }}; {{ end }}at most "
    '{{ template "number" $allowed }} false {{ $labels.severity }}{{ if ne $allowed 1.0 }}s{{ end }} in '
    '{{ if eq $days 1.0 }}a day{{ else }}{{ template "number" $days }} days{{ end }} may be expected, over '
    '{{ if eq $labels.owner "default" }}everything{{ else }}all that {{ $labels.owner }} owns{{ end }}{{ end }}'
)
_STORY: Final = "`driftline alerts show {{ printf `%.10s` $labels.id }}`"


def by_signal(text_of: Callable[[Runbook], str]) -> str:
    """What ``text_of`` says of the runbook of the alert's signal."""
    signals: dict[str, list[str]] = {}
    for runbook in runbooks.RUNBOOKS:
        signals.setdefault(text_of(runbook), []).extend(runbook.signals)
    other = text_of(runbooks.ANY)
    tests = "".join(
        f"{{{{ {'else ' if number else ''}if match `^({'|'.join(begin)})` $labels.signal }}}}{text}"
        for number, (text, begin) in enumerate((t, s) for t, s in signals.items() if t != other)
    )
    return f"{tests}{{{{ else }}}}{other}{{{{ end }}}}"


def _first(runbook: Runbook) -> str:
    # Somebody may paste it: what is not plain is left for them to write.
    place = "{{ if match `^[A-Za-z0-9/_-]+$` $labels.segment }}{{ $labels.segment }}{{ else }}'SEGMENT'{{ end }}"
    return re.sub(r"\b(SEGMENT|ID)\b", lambda m: place if m[0] == "SEGMENT" else "{{ $labels.id }}", runbook.first)


def _look(runbook: Runbook) -> str:
    return f"run {_STORY}" if runbook is runbooks.ANY else f"{_first(runbook)}; all of it: {_STORY}"


LOOK_FIRST: Final = by_signal(_look)
DESCRIPTION: Final = f"Usually {by_signal(lambda runbook: runbook.usually)}. {_STORY} tells the whole story."


def app_link(app_url: str) -> str:
    """The anomaly's own page."""
    return f"{app_url.rstrip('/')}/anomalies/{{{{ $labels.id }}}}"


def runbook_link(runbook_url: str) -> str:
    """The runbook of the signal."""
    return by_signal(lambda runbook: runbooks.address(runbook_url, runbook.page))


def dashboard_link(dashboard_url: str, places: Mapping[str, tuple[str, int]]) -> str:
    """The signal's panel at the segment and the time of the change. A slice is no segment of a dashboard."""
    panel = by_signal(lambda runbook: "{}?viewPanel={}".format(*places[runbook.panel]))
    return (
        f"{dashboard_url.rstrip('/')}/d/{panel}"
        '&from={{ if $from }}{{ printf "%.0f" $from }}{{ else }}now-24h{{ end }}&to=now'
        "{{ if $labels.route }}&var-route={{ urlquery $labels.route }}{{ end }}"
        f"{{{{ if not (match `^{SLICE_PREFIX}` $labels.segment) }}}}&var-segment="
        "{{ urlquery $labels.segment }}{{ end }}"
    )
