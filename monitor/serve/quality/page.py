"""The page of quality: how often answers are wrong and how sure that is, what checks find, whether confidence means
what it says, and what there is to do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from detectors.explain.weighted import Limits
from detectors.summaries.signals import measure, signal
from monitor.estimates import ALL, Estimate
from monitor.serve import models, parameters
from monitor.serve.access import Caller
from monitor.serve.cells import Cell, cell, percent
from monitor.serve.charts import Chart, Mark, Point, Series, curve, over_time
from monitor.serve.context import Context
from monitor.serve.hours import marked
from monitor.serve.marks import Marked
from monitor.serve.parameters import BadParameter
from monitor.serve.quality.reading import CHECKS, DRAWN, Agreed, Checked, Rated, advised, agreed, checked, rated
from monitor.serve.shell import View, ViewQuery, framed, opened
from monitor.serve.templating import count_text
from monitor.store import listing
from monitor.times import DAY_US
from samplers.calibration import Reliability
from samplers.repair import Repairs
from samplers.threshold import Advice, Costs
from samplers.threshold import Point as Threshold

USUAL_TARGET = 5.0  # per cent wrong among what passes
AIM = 0.02  # half the interval that labels are counted for
MOST_SEGMENTS = 50
NAMES = {
    "schema_violation_rate": "schema broken",
    "citation_missing_rate": "without a citation",
    "citation_ungrounded_rate": "citation not in its source",
    "disagreement_rate": "another model disagrees",
    "verification_failure_rate": "verification failed",
    "refusal_rate": "refused",
    "abstention_rate": "abstained",
    "error_rate": "failed",
    "timeout_rate": "timed out",
}


class QualityQuery(ViewQuery, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """What the page is asked for: a range, and for advice a target (per cent) and what the two paths cost."""

    target: Annotated[str, Meta(max_length=20)] = ""
    automatic: Annotated[str, Meta(max_length=20)] = ""
    escalated: Annotated[str, Meta(max_length=20)] = ""


def page(context: Context, request: Request, caller: Caller) -> Response:
    """The page as its address says. Raises BadParameter."""
    query = parameters.read(QualityQuery, request.query_params)
    config = context.config()
    target, costs = _asked(query)
    with context.store.read() as connection:
        view, state, offered = opened(context, connection, query)
        route = "" if view.one is None else listing.route_of(connection, view.one)
        unknown = not view.empty and route is None
        marks = [] if view.empty or unknown else _marks(marked(context, connection, view, route, state))
    there = not view.empty and not unknown
    rates = rated(context, view) if there else None
    found = checked(context, view) if there else None
    zone = ZoneInfo(config.timezone)
    follows = None if rates is None else advised(context, view, rates, target / 100, costs)
    return framed(
        "quality.html",
        context,
        request,
        caller,
        view=view,
        offered=offered,
        status=404 if unknown else 200,
        unknown=unknown,
        rates=None if rates is None else _rates(rates),
        left_out=0 if rates is None else max(0, len(rates.rates) - MOST_SEGMENTS - 1),
        head=None if rates is None else _head(rates, view),
        weeks=None if rates is None else _weeks(rates, zone),
        agreement="" if rates is None or view.one is not None else _agreement(agreed(context, rates)),
        checks=[] if found is None else _checks(found),
        line=None if found is None else _line(found, marks, zone),
        advised=follows,
        reliability=None if follows is None or follows.reliability is None else _reliability(follows.reliability),
        means="" if follows is None or follows.reliability is None else _means(follows.reliability),
        advice="" if follows is None or follows.advice is None else _advice(follows.advice),
        curve=None if follows is None or not follows.curve else _curve(follows.curve, target, costs),
        repairs=None if follows is None or follows.repairs is None else _repairs(follows.repairs),
        target=f"{target:g}",
        query=query,
        aim=f"{100 * AIM:g}",
    )


def _asked(query: QualityQuery) -> tuple[float, Costs | None]:
    """(target in per cent, costs). Raises BadParameter."""
    target = _number("target", query.target)
    if target is not None and not 0 < target < 100:
        raise BadParameter("target", f"the target is a share in per cent above 0 and below 100, got {query.target!r}")
    automatic, escalated = _number("automatic", query.automatic), _number("escalated", query.escalated)
    if (automatic is None) != (escalated is None):
        raise BadParameter("escalated", "give the cost of both paths, or of neither")
    if automatic is None or escalated is None:
        return target or USUAL_TARGET, None
    if not (0 <= automatic < 1e12 and 0 <= escalated < 1e12):
        raise BadParameter("automatic", "costs are finite and not negative")
    return target or USUAL_TARGET, Costs(automatic, escalated)


def _number(name: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        found = float(text)
    except ValueError:
        raise BadParameter(name, f"expected a number, got {text!r}") from None
    if not math.isfinite(found):
        raise BadParameter(name, f"expected a finite number, got {text!r}")
    return found


def _interval(low: float, high: float) -> str:
    return f"{percent(low)} – {percent(high)} %"


def _rates(found: Rated) -> list[dict[str, Any]]:
    """All together first, then segments by how often they are wrong."""
    ordered = sorted(found.rates, key=lambda one: (one.segment != ALL, one.rate is None, -(one.rate or 0.0)))
    return [
        {
            "segment": one.segment,
            "all": one.segment == ALL and len(found.rates) > 1,
            "rate": "not known" if one.rate is None else f"{percent(one.rate)} %",
            "share": one.rate or 0.0,
            "once": "" if one.rate is None else _interval(one.once.low, one.once.high),
            "always": "–" if one.always is None else _interval(one.always.low, one.always.high),
            "bounds": _interval(one.bounds.low, one.bounds.high) if one.unsure + one.missing else "",
            "undecided": one.unsure + one.missing,
            "labels": one.labels,
            "waiting": one.waiting,
            "needs": needed(one),
        }
        for one in ordered[: MOST_SEGMENTS + 1]
    ]


def needed(one: Estimate) -> str:
    """How many more labels would bring half the interval down to `AIM`: its width falls with their square root."""
    if one.rate is None or not one.labels:
        return "some first"
    half = (one.once.high - one.once.low) / 2
    if half <= AIM:
        return "none"
    more = one.labels * ((half / AIM) ** 2 - 1)
    rounded = 10 ** max(0, math.floor(math.log10(max(1.0, more))) - 1)  # two digits are all that is known
    return f"about {count_text(math.ceil(more / rounded - 1e-6) * rounded)}"


def _head(found: Rated, view: View) -> tuple[str, str] | None:
    """The rate of the view and what is to be said beside it."""
    wanted = view.segment if view.one is not None or len(found.rates) != 1 else found.rates[0].segment
    one = next((one for one in found.rates if one.segment == wanted), None)
    if one is None or one.rate is None:
        return None
    interval = f"95 % interval {percent(one.once.low)} to {percent(one.once.high)} %"
    return (
        f"{percent(one.rate)} % of answers are wrong",
        f"{interval}, {count_text(one.labels)} labels of {one.days} days",
    )


def _weeks(found: Rated, zone: ZoneInfo) -> Chart | None:
    points = [Point(one.from_us, one.rate, one.once.low, one.once.high) for one in found.weeks if one.rate is not None]
    if not points:
        return None
    span = (found.weeks[0].from_us, found.weeks[-1].to_us)
    return over_time(
        "weeks",
        "Wrong answers by week",
        [Series("wrong, with its 95 % interval", points)],
        span,
        zone,
        _share,
        step_us=7 * DAY_US,
        note="A week stands at its first day. An interval holds for one look at one week.",
    )


def _share(value: float) -> str:
    return f"{percent(value)} %"


def _agreement(found: Agreed) -> str:
    alpha = found.alpha
    if found.people < 2:
        return "Whether reviewers agree is not known: items that several label come from review.overlap."
    if alpha.reason:
        return f"Whether reviewers agree is not known: {alpha.reason}."
    return (
        f"{found.people} reviewers, with a Krippendorff's alpha of {alpha.value:.2f} ({alpha.low:.2f} to "
        f"{alpha.high:.2f}) over {alpha.items:,} items that several labelled: 1 is perfect agreement, 0 that of chance."
    )


def _checks(found: Checked) -> list[tuple[str, Cell, Cell, int]]:
    """(what, now, before, events that were checked); what is not measured at all is left out."""
    rows = []
    for name in CHECKS:
        now, before = (
            models.Figure(name, signal(name).unit, m.value, m.low, m.high, m.n, m.status)
            for m in (measure(found.now, name), measure(found.before, name))
        )
        if now.n or before.n:
            rows.append((NAMES[name], cell(now, ""), cell(before, ""), now.n))
    return rows


def _line(found: Checked, marks: list[Mark], zone: ZoneInfo) -> Chart:
    lines = (found.line.line(name, NAMES[name]) for name in DRAWN)
    return over_time(
        "checks",
        f"What checks find, by {found.line.every}",
        [series for series in lines if series.points],
        found.line.span,
        zone,
        _share,
        step_us=found.line.step_us,
        marks=marks,
    )


def _reliability(found: Reliability) -> Chart:
    points = [Point(one.confidence, one.accuracy.value, one.accuracy.low, one.accuracy.high) for one in found.bins]
    ends = [points[0].x, points[-1].x]
    return curve(
        "reliability",
        "Right answers by what the model is confident of",
        [
            Series("right, with its 95 % interval", points),
            Series("where confidence means what it says", [Point(x, x) for x in ends]),
        ],
        "confidence",
        lambda value: f"{value:.3g}",
        _share,
        note="Across: confidence. Each point is about as much traffic as the others. Below the second line: "
        "overconfident.",
    )


def _means(found: Reliability) -> str:
    lean = "overconfident" if found.over > 0 else "underconfident"
    sure = "beyond chance" if found.p < 0.05 else "within chance"
    return (
        f"Confidence is off by {_limits(found.error)} (root mean square); the model is {lean} by "
        f"{percent(abs(found.over))} points on average, {sure}."
    )


def _limits(found: Limits) -> str:
    return f"{percent(found.value)} % ({percent(found.low)} to {percent(found.high)} %)"


def _advice(found: Advice) -> str:
    if found.threshold is not None:
        text = (
            f"Ask a human or a stronger model below a confidence of {found.threshold:.3f}: {_limits(found.coverage)} "
            f"pass, of which {_limits(found.error)} are wrong; at most {percent(found.target)} % with 95 % confidence."
        )
        return text if found.cost is None else f"{text} An item costs {found.cost.value:.4g} on average."
    return f"{found.reason[:1].upper()}{found.reason[1:]}."


def _curve(points: Sequence[Threshold], target: float, costs: Costs | None) -> Chart:
    def at(point: Threshold) -> float:
        return 1.0 - point.coverage.value if point.cost is None else point.cost.value

    drawn = [
        Point(at(one), one.error.value, one.error.low, one.error.high)
        for one in sorted(points, key=at)
        if math.isfinite(one.error.value)
    ]
    cost = "cost of an item" if costs is not None else "share that is asked about"
    return curve(
        "curve",
        f"Quality against {'cost' if costs is not None else 'work'}",
        [Series("wrong among what passes, with limits that hold at once", drawn)],
        cost,
        (lambda value: f"{value:.3g}") if costs is not None else _share,
        _share,
        zero=True,
        limits=[(target / 100, f"target {target:g} %")],
        note=f"Across: {cost}. Each point is a threshold of confidence; the dashed line is the target.",
    )


def _repairs(found: Repairs) -> dict[str, Any]:
    return {
        "reason": found.reason,
        "named": [
            {
                "name": one.condition.name.replace("_", " "),
                "odds": f"{one.odds_ratio.value:.2g} ({one.odds_ratio.low:.2g} to {one.odds_ratio.high:.2g})",
                "step": f"for each {one.condition.step:g} {one.condition.unit} worse".replace("  ", " "),
                "affected": f"{percent(one.affected)} %",
                "week": f"{one.failures_per_week.value:.3g}, at most {one.at_most_per_week:.3g}",
                "text": f"{one.text[:1].upper()}{one.text[1:]}.",
                "ab": one.ab_labels,
            }
            for one in found.named
        ],
        "left_out": [(name.replace("_", " "), why) for name, why in found.left_out],
    }


def _marks(found: Marked) -> list[Mark]:
    """Anomalies of what the page shows, new versions and deploys."""
    return found.of({signal for signal, _ in found.stretches if signal in CHECKS or signal.startswith("calibration")})
