"""Level, season and spread of one numeric series, against its own past."""

from detectors.level.level_season import LevelSeason, Scores

__all__ = ["LevelSeason", "Scores"]
