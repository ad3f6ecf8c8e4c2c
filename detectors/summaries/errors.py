"""What can go wrong with a stored summary."""

from __future__ import annotations


class StateError(ValueError):
    """A stored summary cannot be read: damaged, cut short, or written by a newer version of driftline."""
