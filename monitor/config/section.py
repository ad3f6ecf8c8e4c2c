"""What every section of the configuration is made of."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, JsonValue

# A field marked so is left out of repr, dumps and the configuration's version, and may come from a file.
SECRET: Final[dict[str, JsonValue]] = {"secret": True}


def written(text: str) -> Any:
    """A default in the form it has in the file; it is validated like what is read from there."""
    return text


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, validate_default=True)
