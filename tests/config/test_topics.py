"""Every topic that driftline reads or writes is documented by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from monitor.config import alerts, inputs, model, review

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def default_topics() -> Iterator[str]:
    """The defaults of every configuration key whose name says that it names topics; of one without, its own name."""
    sections = {id(found): found for module in (model, alerts, inputs, review) for found in vars(module).values()}
    for section in sections.values():
        if isinstance(section, type) and issubclass(section, BaseModel):
            for name, field in section.model_fields.items():
                if "topic" in name:
                    default: Any = field.get_default(call_default_factory=False)
                    if default is None:
                        default = f"{section.__name__.lower()}.{name}"
                    yield from (default,) if isinstance(default, str) else default


def test_every_topic_is_documented() -> None:
    topics = sorted(set(default_topics()))
    assert topics == [
        "driftline.anomalies",
        "driftline.dead-letters",
        "inference",
        "kafka.labels_topic",
        "kafka.review_topic",
    ]
    text = OPERATIONS.read_text().partition("## Topics")[2].partition("\n## ")[0]
    assert [topic for topic in topics if f"`{topic}`" not in text] == []


@pytest.mark.parametrize(
    "kafka",
    [
        {"labels_topic": "inference"},
        {"review_topic": "inference"},
        {"review_topic": "x", "labels_topic": "x"},
        {"review_topic": "driftline.dead-letters"},
    ],
)
def test_what_is_written_is_not_what_is_read(kafka: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="named twice"):
        model.Config.model_validate({"kafka": kafka})
    assert model.Config.model_validate({"kafka": {"review_topic": "x", "labels_topic": "y"}}).kafka.labels_topic == "y"
