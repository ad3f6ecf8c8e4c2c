"""A configuration made ready for ingest: compiled once, swapped as a whole between two batches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from monitor.config.model import Config
from monitor.events.prices import PriceBook
from monitor.events.redaction import Redactor
from monitor.events.segments import SegmentRules
from samplers.embedding import EmbeddingBudget

EARLIEST_US = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
LATEST_US = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything of the configuration that ingest uses, compiled. ``version`` is stored with the windows."""

    config: Config
    version: str
    document: str
    rules: SegmentRules
    prices: PriceBook
    redactor: Redactor

    @classmethod
    def of(cls, config: Config, version: str, document: str) -> Settings:
        """``version`` and ``document`` describe the configuration without its secrets."""
        return cls(
            config=config,
            version=version,
            document=document,
            rules=SegmentRules(config),
            prices=PriceBook(config.prices, config.timezone),
            redactor=Redactor(config.privacy.redact),
        )

    def budget(self, partitions: int) -> EmbeddingBudget:
        """The embedding budget divided over so many partitions."""
        sampling = self.config.sampling
        floors = {"low": sampling.floor_low, "medium": sampling.floor_medium, "high": sampling.floor_high}
        return EmbeddingBudget(sampling.per_hour, {k: float(v) for k, v in floors.items()}, max(partitions, 1))

    def doubtful_budget(self, partitions: int) -> EmbeddingBudget:
        """Of sessions that are kept for review alone, divided over so many partitions."""
        return EmbeddingBudget(
            self.config.sampling.doubtful_per_hour, {"low": 0.0, "medium": 0.0, "high": 0.0}, max(partitions, 1)
        )
