"""Cost: the projected month. Tail shares and expected shortfalls are read from `detectors.summaries.Histogram`."""

from detectors.cost.projection import Projection, project_month

__all__ = ["Projection", "project_month"]
