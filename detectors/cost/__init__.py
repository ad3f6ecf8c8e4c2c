"""Cost: the projected month, and what a cap or a cheaper tier would save.

Tail shares and expected shortfalls are read from `detectors.summaries.Histogram`.
"""

from detectors.cost.projection import Projection, project_month
from detectors.cost.savings import Bounded, Saving, cap, reroute, reroute_by_size, together

__all__ = ["Bounded", "Projection", "Saving", "cap", "project_month", "reroute", "reroute_by_size", "together"]
