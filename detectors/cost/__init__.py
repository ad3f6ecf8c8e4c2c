"""Cost: the projected month, why a bill changed, what a cap or a cheaper tier would save, how heavy the tail is.

Tail shares and expected shortfalls are read from `detectors.summaries.Histogram`.
"""

from detectors.cost.decomposition import Decomposition, Parts, Usage, decompose, tail_threshold, usage
from detectors.cost.projection import Projection, project_days, project_month
from detectors.cost.savings import Bounded, Saving, cap, reroute, reroute_by_size, together
from detectors.cost.survival import survival_edges
from detectors.cost.tail_index import TailIndex, fit_tail_index

__all__ = [
    "Bounded",
    "Decomposition",
    "Parts",
    "Projection",
    "Saving",
    "TailIndex",
    "Usage",
    "cap",
    "decompose",
    "fit_tail_index",
    "project_days",
    "project_month",
    "reroute",
    "reroute_by_size",
    "survival_edges",
    "tail_threshold",
    "together",
    "usage",
]
