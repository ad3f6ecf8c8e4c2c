"""Every topic that driftline reads or writes is documented by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from monitor.config import model

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def default_topics() -> Iterator[str]:
    """The defaults of every configuration key whose name says that it names topics."""
    for section in vars(model).values():
        if isinstance(section, type) and issubclass(section, BaseModel):
            for name, field in section.model_fields.items():
                if "topic" in name:
                    default: Any = field.get_default(call_default_factory=False)
                    yield from (default,) if isinstance(default, str) else default


def test_every_topic_is_documented() -> None:
    topics = sorted(set(default_topics()))
    assert topics == ["driftline.anomalies", "driftline.dead-letters", "inference"]
    text = OPERATIONS.read_text().partition("## Topics")[2].partition("\n## ")[0]
    assert [topic for topic in topics if f"`{topic}`" not in text] == []
