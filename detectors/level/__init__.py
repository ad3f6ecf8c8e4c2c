"""Level, season and spread of one numeric series, against its own past."""

from detectors.level.level_season import ALARM, LevelSeason, Scores

__all__ = ["ALARM", "LevelSeason", "Scores"]
