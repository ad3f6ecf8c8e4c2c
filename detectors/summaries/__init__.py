"""Mergeable summaries of events: histograms, rates, heavy hitters and joint sums, and the signals read from them."""

from detectors.summaries.columns import ABSENT, EventColumns, Labelled, Ragged
from detectors.summaries.errors import StateError
from detectors.summaries.heavy_hitters import HeavyHitter
from detectors.summaries.histogram import Histogram, Interval, Rate, Total
from detectors.summaries.merging import Selection
from detectors.summaries.summary import Summary
from detectors.summaries.table import SummaryTable

__all__ = [
    "ABSENT",
    "EventColumns",
    "HeavyHitter",
    "Histogram",
    "Interval",
    "Labelled",
    "Ragged",
    "Rate",
    "Selection",
    "StateError",
    "Summary",
    "SummaryTable",
    "Total",
]
