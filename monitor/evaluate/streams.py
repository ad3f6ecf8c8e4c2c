"""Which streams there are: the signals of a segment that detectors bet on, and what is at stake for each.

Every stream costs a share of the budget, so one method per signal is used, on segments and slices alone: ``all`` is
the sum of the segments of a route and has no streams of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from detectors.rates.bets import Direction
from detectors.summaries.metrics import RATES
from monitor.config.model import Config, Stakes
from monitor.config.units import Allowance

Kind = Literal["rate", "tail", "mix", "volume", "embedding", "agreement", "slice", "calibration"]

DEFAULT_OWNER = "default"
SLICE_PREFIX = "slice:"


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One signal as a stream.

    ``phrase`` is the subject of its sentence; ``min_effect`` the odds (or volume) factor never called a change.
    """

    signal: str
    kind: Kind
    metric: str
    phrase: str
    direction: Direction = "up"
    label: str = ""
    quantile: float = 0.0
    min_effect: float = 1.25

    @property
    def detector(self) -> str:
        """Name of the method in anomalies."""
        return {"tail": "exceedance", "mix": "rate", "slice": "weighted_rate"}.get(self.kind, self.kind)


_RATE_PHRASES = {
    "error": "the error rate",
    "timeout": "the timeout rate",
    "refused": "the share of refused answers",
    "abstained": "the share of abstentions",
    "schema_violation": "the share of answers that break the schema",
    "citation_missing": "the share of answers without a citation",
    "citation_ungrounded": "the share of answers whose citation is not in the source",
    "disagreement": "the share of cross-checks that disagree",
    "verification_failed": "the share of answers that fail verification",
}

# Names of the catalogue of signals (detectors/summaries/catalogue.py); a test holds them together.
_RATE_SIGNALS = {
    "abstained": "abstention_rate",
    "refused": "refusal_rate",
    "verification_failed": "verification_failure_rate",
}


def _rates() -> Iterable[StreamSpec]:
    for m in RATES:
        both: Direction = "both" if m.name in ("abstained", "refused") else "up"
        phrase = _RATE_PHRASES.get(m.name, f"the {m.name} rate")
        yield StreamSpec(_RATE_SIGNALS.get(m.name, f"{m.name}_rate"), "rate", m.name, phrase, both)


def _tail(metric: str, quantile: float, what: str, direction: Direction = "up") -> StreamSpec:
    # The level (the share above the median) moves with the mix of requests, so its least effect is larger.
    return StreamSpec(
        f"{metric}_p{round(100 * quantile)}",
        "tail",
        metric,
        f"the share of {what}",
        direction,
        quantile=quantile,
        min_effect=1.5 if quantile == 0.5 else 1.25,
    )


_CONFIDENT = "the share of answers with a confidence above {threshold}"

CATALOGUE: tuple[StreamSpec, ...] = (
    *_rates(),
    _tail("latency_total", 0.5, "requests slower than {threshold}", "both"),
    _tail("latency_total", 0.95, "requests slower than {threshold}"),
    _tail("latency_total", 0.99, "requests slower than {threshold}"),
    _tail("latency_first_token", 0.95, "requests whose first token came later than {threshold}"),
    _tail("cost", 0.5, "requests dearer than {threshold}", "both"),
    _tail("cost", 0.95, "requests dearer than {threshold}"),
    _tail("cost", 0.99, "requests dearer than {threshold}"),
    _tail("input_tokens", 0.5, "requests with more than {threshold} input tokens", "both"),
    _tail("input_tokens", 0.95, "requests with more than {threshold} input tokens"),
    _tail("output_tokens", 0.5, "requests with more than {threshold} output tokens", "both"),
    StreamSpec("confidence_mean", "tail", "confidence", _CONFIDENT, "both", quantile=0.5, min_effect=1.5),
    StreamSpec("confidence_p10", "tail", "confidence", _CONFIDENT, "both", quantile=0.1, min_effect=1.5),
    StreamSpec("volume", "volume", "events", "the number of sessions per hour", "both", min_effect=1.2),
    StreamSpec("image_drift", "embedding", "image", "the look of the images"),
    StreamSpec("text_drift", "embedding", "text", "the wording of the texts"),
    StreamSpec("agreement", "agreement", "agreement", "the agreement of images and texts", "both"),
    # Days, reviewers and what they are asked about differ more than the labels of a reference tell.
    StreamSpec(
        "calibration", "calibration", "calibration", "the share of wrong answers at the same confidence", "both",
        min_effect=1.5,
    ),
)  # fmt: skip

STAGE = StreamSpec(
    "latency_stage_{label}_p95", "tail", "latency_stage", "the share of requests whose stage {label} took longer than "
    "{threshold}", quantile=0.95,
)  # fmt: skip
TIER = StreamSpec("routing_mix", "mix", "tier", "the share of requests routed to {label}", "both", min_effect=1.5)
TIERS = 4  # of a segment that have a stream; the commonest one's is routing_mix, the others' routing_mix_<tier>


def spec_of(signal: str, label: str = "") -> StreamSpec:
    """The spec of a stream's signal; KeyError for an unknown one. ``label``: the tier that ``routing_mix`` counts."""
    if signal == TIER.signal:
        return tier_spec(label, commonest=True)
    if found := re.fullmatch(r"routing_mix_(.+)", signal):
        return replace(tier_spec(label or found[1], commonest=False), signal=signal)
    if found := re.fullmatch(r"latency_stage_(.+)_p95", signal):
        return stage_spec(found[1])
    for spec in CATALOGUE:
        if spec.signal == signal:
            return spec
    raise KeyError(f"unknown signal {signal!r}")


def tier_spec(tier: str, *, commonest: bool) -> StreamSpec:
    """The share of one routing tier."""
    signal = TIER.signal if commonest else f"{TIER.signal}_{tier}"[:100]
    return replace(TIER, signal=signal, phrase=TIER.phrase.replace("{label}", tier), label=tier)


def stage_spec(stage: str) -> StreamSpec:
    """The tail of one stage's latency."""
    return StreamSpec(
        STAGE.signal.replace("{label}", stage)[:100],
        "tail",
        STAGE.metric,
        STAGE.phrase.replace("{label}", stage),
        label=stage,
        quantile=STAGE.quantile,
        min_effect=STAGE.min_effect,
    )


class Ownership:
    """Owner, stakes and allowance of segments and slices, from the configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stakes: dict[tuple[str, str], Stakes] = {}

    @cached_property
    def _rules(self) -> list[tuple[re.Pattern[str], dict[str, set[str]], str | None, Stakes | None]]:
        rules = []
        for rule in self._config.segments.rules:
            pattern, at = "", 0
            fields: dict[str, str] = {}
            for match in re.finditer(r"\{([^{}]+)\}", rule.name):
                pattern += re.escape(rule.name[at : match.start()])
                name = fields.setdefault(match[1], f"f{len(fields)}")
                pattern += f"(?P<{name}>.*)" if f"(?P<{name}>" not in pattern else f"(?P={name})"
                at = match.end()
            pattern += re.escape(rule.name[at:])
            where = {
                fields[key]: {want} if isinstance(want, str) else set(want)
                for key, want in rule.where.items()
                if key in fields
            }
            rules.append((re.compile(pattern), where, rule.route, rule.stakes))
        return rules

    def stakes(self, segment: str, route: str) -> Stakes:
        """Stakes of a segment or a slice."""
        key = (segment, route)
        if key not in self._stakes:
            self._stakes[key] = self._find(segment, route)
        return self._stakes[key]

    def _find(self, segment: str, route: str) -> Stakes:
        if segment.startswith(SLICE_PREFIX):
            return self._config.slices.stakes
        configured = self._config.routes.get(route)
        default: Stakes = configured.stakes if configured else "medium"
        for pattern, where, of_route, stakes in self._rules:
            if of_route is not None and route and of_route != route:
                continue
            match = pattern.fullmatch(segment)
            if match and all(match[name] in values for name, values in where.items()):
                return stakes or default
        return default

    def owner(self, segment: str) -> str:
        """The first owner whose segments match; ``default`` covers the rest."""
        return next((name for name, owner in self._config.owners.items() if owner.covers(segment)), DEFAULT_OWNER)

    def allowance(self, owner: str, severity: str) -> Allowance:
        """Alarms allowed to an owner. Reports wake nobody; they have an allowance of the tickets' size of their own."""
        known = self._config.owners.get(owner)
        budget = known.budget if known is not None else self._config.budget
        return budget.page if severity == "page" else budget.ticket


def severity_of(stakes: Stakes) -> Literal["page", "ticket", "report"]:
    """high pages, medium tickets, low is only reported."""
    return {"high": "page", "medium": "ticket", "low": "report"}[stakes]  # type: ignore[return-value]
