"""How rare dear requests are, and how much of the spend is theirs."""

from __future__ import annotations

from detectors.cost import survival_edges
from detectors.summaries.histogram import Histogram, Rate
from monitor.evaluate.accounts import NANO
from monitor.report import telling
from monitor.report.model import Above, CostTail, Dearest
from monitor.serve.reference_levels import Levels

POINTS = 24  # of a drawn tail
COMMON = 0.95  # it begins where so many requests cost more
FEWEST_ABOVE = 3  # requests that a point needs: of fewer an interval reaches over decades
PARTS = (0.01, 0.05, 0.1)
HELD = {0.5: "p50", 0.05: "p95", 0.01: "p99"}  # shares above, at what a reference holds
NOTHING = "No request states a cost, and no price of its model is known (`prices.models`)."


def cost_tail(now: Histogram, before: Histogram | None, levels: Levels | None, currency: str) -> CostTail:
    """Costs of requests in nano-units, of this period and of the one before where it is known."""
    if not now.sum:
        return CostTail(NOTHING, [], [], [], [], None, None)
    earlier = before if before is not None and before.sum else None
    edges = survival_edges([now] if earlier is None else [now, earlier], POINTS, COMMON)
    reference = {share: levels.of(f"cost_{name}") for share, name in HELD.items()} if levels is not None else {}
    dearest = []
    for part in PARTS:
        above, share, limits = now.quantile(1 - part), now.tail_share(part), now.tail_share_interval(part)
        if above is None or share is None:
            continue
        was = None if earlier is None else earlier.quantile(1 - part)
        dearest.append(
            Dearest(
                part=part,
                above=above / NANO,
                above_before=None if was is None else was / NANO,
                above_reference=reference.get(part),
                share=share,
                low=None if limits is None else limits.low,
                high=None if limits is None else limits.high,
                before=None if earlier is None else earlier.tail_share(part),
            )
        )
    greatest, was = now.quantile(1.0), None if earlier is None else earlier.quantile(1.0)
    assert greatest is not None
    return CostTail(
        sentence=_sentence(dearest, greatest / NANO, None if was is None else was / NANO, currency),
        now=_points(now, edges),
        before=[] if earlier is None else _points(earlier, edges),
        reference=[Above(cost, share, None, None) for share, cost in reference.items() if cost is not None],
        dearest=dearest,
        greatest=greatest / NANO,
        greatest_before=None if was is None else was / NANO,
    )


def _points(h: Histogram, edges: list[int]) -> list[Above]:
    n, found = h.count, []
    for edge in edges:
        above = h.count_above(edge)
        limits = Rate(above, n).interval()
        if above >= FEWEST_ABOVE and limits is not None:
            found.append(Above(edge / NANO, above / n, limits.low, limits.high))
    return found


def _sentence(dearest: list[Dearest], greatest: float, before: float | None, currency: str) -> str:
    told = []
    for one in dearest[:1]:
        beside = [] if one.low is None or one.high is None else [f"95 % interval {telling.between(one.low, one.high)}"]
        beside += [] if one.before is None else [f"{telling.percent(one.before)} the period before"]
        limits = f" ({'; '.join(beside)})" if beside else ""
        told.append(
            f"The dearest {telling.percent(one.part)} of requests, above {telling.money(one.above, currency)} each, "
            f"make up {telling.percent(one.share)} of the spend{limits}."
        )
    was = "" if before is None else f" ({telling.money(before, currency)} the period before)"
    return " ".join([*told, f"The dearest one cost {telling.money(greatest, currency)}{was}."])
