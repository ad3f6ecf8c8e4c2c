"""The page of costs: spend and where the month is going, the tail, who drives the bill, why it changed, and what a cap
or a cheaper tier would have saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from detectors.cost import Parts, fit_tail_index, survival_edges
from detectors.evidence import Verdict
from detectors.summaries.histogram import Histogram
from monitor.evaluate.accounts import NANO
from monitor.serve import parameters
from monitor.serve.access import Caller
from monitor.serve.cells import percent, plain
from monitor.serve.charts import Chart, Mark, Point, Series, curve, over_time
from monitor.serve.context import Context
from monitor.serve.cost.reading import Costs, Driver, Month, costs, month
from monitor.serve.hours import marked
from monitor.serve.marks import Marked
from monitor.serve.shell import ViewQuery, framed, opened
from monitor.spending import (
    CAPPED,
    DEFAULT,
    DEFAULT_QUANTILE,
    REROUTED,
    Measure,
    Outlook,
    Saved,
    SpendingError,
    parse_measure,
)
from monitor.store import listing
from monitor.times import DAY_US

HEAVY = 2.0  # a tail index at or below which the variance is infinite
GRID = 48  # costs that the tail is drawn at
PAID = ("cost", "input_tokens", "output_tokens", "image_tokens")  # how signals of what is paid for begin
PARTS = (
    ("traffic", "Traffic", "more or fewer requests"),
    ("mix", "Mix", "requests moved to dearer or cheaper segments and versions"),
    ("units", "Tokens per request", "up to the p99 of the range before"),
    ("tail", "Tail of tokens", "beyond that p99"),
    ("price", "Cost per token", "what a token costs, and how input, output and cached ones are mixed"),
)


class CostQuery(ViewQuery, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """What the page is asked for: a range, and measures to try."""

    cap: Annotated[str, Meta(max_length=100)] = ""
    cheaper: Annotated[str, Meta(max_length=100)] = ""


def page(context: Context, request: Request, caller: Caller) -> Response:
    """The page as its address says. Raises BadParameter."""
    query = parameters.read(CostQuery, request.query_params)
    config = context.config()
    with context.store.read() as connection:
        view, state, offered = opened(context, connection, query)
        route = "" if view.one is None else listing.route_of(connection, view.one)
        unknown = not view.empty and route is None
        marks = [] if view.empty or unknown else _marks(marked(context, connection, view, route, state))
    measures, wrong = _measures(query)
    found = None if view.empty or unknown else costs(context, view, measures)
    known = found is not None and found.requests > 0
    return framed(
        "cost.html",
        context,
        request,
        caller,
        view=view if found is None else found.view,
        offered=offered,
        status=404 if unknown else 400 if wrong else 200,
        unknown=unknown,
        nothing=not known,
        wrong=wrong,
        cap=query.cap,
        cheaper=query.cheaper,
        capped=", ".join(CAPPED),
        rerouted=", ".join(REROUTED),
        currency=config.prices.currency,
        **(
            _told(found, month(context, view.one), marks, ZoneInfo(config.timezone), config.prices.currency)
            if found is not None and known
            else {}
        ),
    )


def _measures(query: CostQuery) -> tuple[tuple[Measure, ...], str]:
    """(what was asked for, else the usual ones; what is wrong with it)."""
    try:
        given = [parse_measure("cap", query.cap)] if query.cap.strip() else []
        given += [parse_measure("cheaper", query.cheaper)] if query.cheaper.strip() else []
    except SpendingError as error:
        return DEFAULT, str(error)
    return tuple(given) or DEFAULT, ""


def _told(found: Costs, ahead: Month | None, marks: list[Mark], zone: ZoneInfo, currency: str) -> dict[str, Any]:
    money = written(currency)
    return {
        "facts": _facts(found, ahead, money),
        "line": _line(found, marks, zone, currency),
        "ahead": None if ahead is None else _ahead(ahead, zone, currency),
        "ahead_words": _ahead_words(ahead, money),
        "tail": _tail(found, currency),
        "tail_rows": _tail_rows(found, money),
        "tail_words": _tail_words(found),
        "parts": _parts(found.parts, money) if found.parts is not None else [],
        "change": _signed(found.bill - found.before, money),
        "why_not": found.why_not,
        "gaps": found.kept.gaps,
        "drivers": [_driver(one, found.bill, money) for one in found.segments],
        "more_segments": found.more_segments,
        "models": [_driver(one, found.bill, money) for one in found.models],
        "users": [
            {
                "name": f"{one.user:016x}",
                "spent": money(one.low) if one.low == one.high else f"{money(one.low)} to {money(one.high)}",
                "share": one.low / found.bill if found.bill else 0.0,
            }
            for one in found.users
        ],
        "outlooks": [_outlook(one, currency) for one in found.what_if.measures],
        "suggested": _suggested(found),
        "percent": lambda share: f"{percent(share)} %",
    }


def written(currency: str) -> Callable[[float], str]:
    """Writes nano-units with the currency: ``4.21 USD``."""
    return lambda nano: f"{plain(nano / NANO)} {currency}"


def _signed(nano: float, money: Callable[[float], str]) -> str:
    return f"{'+' if nano > 0 else '−' if nano < 0 else ''}{money(abs(nano))}"


def _facts(found: Costs, ahead: Month | None, money: Callable[[float], str]) -> list[tuple[str, str, str]]:
    """(what, its value, what is to be said beside it)."""
    mean = found.bill / found.requests
    before = (found.before / found.cost_before.count) if found.cost_before.count else None
    change = found.bill - found.before
    relative = f" ({change / found.before:+.0%})" if found.before else ""
    facts = [
        ("Spent", money(found.bill), f"{found.requests:,} requests that state a cost"),
        (
            "Against the range before",
            _signed(change, money),
            f"{money(found.before)} then{relative}" if found.before else "nothing was spent then",
        ),
        ("A request, on average", money(mean), "" if before is None else f"{money(before)} before"),
    ]
    share = found.cost.tail_share(0.01)
    if share is not None:
        limits = found.cost.tail_share_interval(0.01)
        note = "" if limits is None else f"95 % interval {percent(limits.low)} to {percent(limits.high)} %"
        facts.append(("Dearest 1 % of requests", f"{percent(share)} % of the bill", note))
    if ahead is not None and ahead.projection is not None:
        p = ahead.projection
        facts.append(("This month, at its end", money(p.projected), f"95 % interval {money(p.low)} to {money(p.high)}"))
    return facts


def _line(found: Costs, marks: list[Mark], zone: ZoneInfo, currency: str) -> Chart:
    view, step = found.view, found.step_us
    series = [Series("now", _points(found.spend), "step")]
    if found.earlier:
        series.append(Series("the range before, moved here", _points(found.earlier), "step"))
    return over_time(
        "spend",
        f"Spend {'an hour' if step < DAY_US else 'a day'}",
        series,
        (view.begin_us, view.end_us),
        zone,
        _units(currency),
        step_us=step,
        marks=marks,
        note="" if step < DAY_US else "The first and the last day may lie in the range in part only.",
    )


def _points(line: Sequence[tuple[int, int]]) -> list[Point]:
    return [Point(at, amount / NANO) for at, amount in line]


def _units(currency: str) -> Callable[[float], str]:
    return lambda value: f"{plain(value)} {currency}"


def _ahead(ahead: Month, zone: ZoneInfo, currency: str) -> Chart:
    spent = [Point(ahead.begin_us, 0.0), *_points(ahead.days)]
    series = [Series("spent so far", spent)]
    if ahead.projection is not None:
        p, now = ahead.projection, spent[-1]
        # Where it stands is known; the interval opens from there.
        series.append(
            Series(
                "expected",
                [
                    Point(ahead.at_us, now.y, now.y, now.y),
                    Point(ahead.end_us, p.projected / NANO, p.low / NANO, p.high / NANO),
                ],
            )
        )
    span = (ahead.begin_us, ahead.end_us)
    return over_time(
        "month", "The calendar month", series, span, zone, _units(currency), step_us=ahead.end_us - ahead.begin_us
    )


def _ahead_words(ahead: Month | None, money: Callable[[float], str]) -> str:
    if ahead is None:
        return "The month's spend is being read; reload the page in a minute."
    if ahead.projection is None:
        return "Projecting the month takes three full days of history."
    p = ahead.projection
    return (
        f"{money(p.spent)} spent, {money(p.projected)} expected at the end of the month (95 % interval "
        f"{money(p.low)} to {money(p.high)}): the rest at the pace of the same hours of the week before."
    )


def _tail(found: Costs, currency: str) -> Chart:
    """Share of requests that cost more than x."""
    named = [("now", found.cost), ("the range before", found.cost_before), ("reference", found.cost_reference)]
    there = [(name, h) for name, h in named if h.count]
    edges = survival_edges([h for _, h in there], GRID)
    if not edges:
        return curve("tail", "Requests that cost more than this", [], "cost", _units(currency), _share)
    series = [
        Series(name, [Point(edge / NANO, above / h.count) for edge in edges if (above := h.count_above(edge))])
        for name, h in there
    ]
    return curve(
        "tail",
        "Requests that cost more than this",
        series,
        "cost more than",
        _units(currency),
        _share,
        log_x=True,
        log_y=True,
        note="Across: cost of a request. Both axes are logarithmic: a straight line is a power law; one that "
        "bends down has a lighter tail.",
    )


def _share(value: float) -> str:
    return f"{percent(value)} %"


def _tail_rows(found: Costs, money: Callable[[float], str]) -> list[tuple[str, list[str]]]:
    named = [("now", found.cost), ("the range before", found.cost_before), ("reference", found.cost_reference)]
    return [(name, _tail_row(h, money)) for name, h in named if h.count]


def _tail_row(h: Histogram, money: Callable[[float], str]) -> list[str]:
    cells = []
    for q in (0.95, 0.99):
        value, limits = h.quantile(q), h.quantile_interval(q)
        cells.append(_with(value, limits, money))
    cells.append(_with(h.expected_shortfall(0.95), h.expected_shortfall_interval(0.95), money))
    index = fit_tail_index(h)
    known = index.verdict is Verdict.OK
    cells.append(f"{index.index:.2f} ({index.low:.2f} – {index.high:.2f})" if known else "not enough data")
    return cells


def _with(value: float | None, limits: Any, money: Callable[[float], str]) -> str:
    if value is None:
        return "not enough data"
    return (
        money(value) if limits is None else f"{money(value)} ({plain(limits.low / NANO)} – {plain(limits.high / NANO)})"
    )


def _tail_words(found: Costs) -> str:
    index = fit_tail_index(found.cost)
    if index.verdict is not Verdict.OK or index.high is None or index.low is None:
        return "There are too few dear requests to tell how heavy the tail is."
    if index.high <= HEAVY:
        return "The tail is heavy: the mean of dear requests is no stable figure, and one request can move the bill."
    if index.low <= HEAVY:
        return "The tail may be heavy: the mean of dear requests moves a lot from one range to another."
    return "The tail is not heavy: the mean of dear requests is a stable figure."


def _parts(parts: Parts, money: Callable[[float], str]) -> list[dict[str, Any]]:
    greatest = max((abs(getattr(parts, name)) for name, _, _ in PARTS), default=0.0)
    return [
        {
            "name": title,
            "note": note,
            "amount": _signed(getattr(parts, name), money),
            "share": abs(getattr(parts, name)) / greatest if greatest else 0.0,
        }
        for name, title, note in PARTS
    ]


def _driver(one: Driver, bill: int, money: Callable[[float], str]) -> dict[str, Any]:
    change = one.bill - one.before
    why = ""
    if one.parts is not None and change:
        named = [(getattr(one.parts, name), title.lower()) for name, title, _ in PARTS]
        amount, title = max(named, key=lambda found: abs(found[0]))
        why = f"mostly {title} ({_signed(amount, money)})"
    return {
        "name": one.name,
        "bill": money(one.bill),
        "share": one.bill / bill if bill else 0.0,
        "change": _signed(change, money),
        "why": why,
        "requests": one.requests,
        "gone": one.bill == 0 and one.before > 0,
    }


def _outlook(one: Outlook, currency: str) -> dict[str, Any]:
    return {
        "measure": one.whole.measure,
        "known": one.whole.saved is not None,
        "why_not": one.whole.why_not,
        "saved": _saved(one.whole, currency),
        "of_bill": one.whole.share_of_bill,
        "of_requests": one.whole.share_of_requests,
        "leaves_out": one.whole.leaves_out,
        "segments": [
            {"name": row.segment, "saved": _saved(row.saved, currency), "bill": f"{plain(row.bill)} {currency}"}
            for row in one.segments
            if row.segment
        ],
    }


def _saved(saved: Saved, currency: str) -> str:
    if saved.saved is None or saved.low is None or saved.high is None:
        return "not known"
    text = f"{plain(saved.saved)} {currency}"
    # Where buckets leave nothing open the range says nothing.
    if saved.high - saved.low > 0.005 * max(abs(saved.high), 1e-9):
        text += f" ({plain(saved.low)} to {plain(saved.high)})"
    return text


def _suggested(found: Costs) -> list[str]:
    """Caps that a form may offer: at the p95 of each quantity."""
    pooled = found.kept.pooled()
    offered = []
    for name in ("output_tokens", "input_tokens", "image_tokens"):
        histograms = [summary.histogram(name) for summary in pooled.values()]
        largest = max((h.quantile(DEFAULT_QUANTILE) or 0.0 for h in histograms), default=0.0)
        if largest:
            offered.append(f"{name}={largest:.0f}")
    return offered


def _marks(found: Marked) -> list[Mark]:
    """Anomalies of what the page shows, new versions and deploys."""
    return found.of({signal for signal, _ in found.stretches if signal.startswith(PAID)})
