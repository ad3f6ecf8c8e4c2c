"""The configuration without its secrets: what may be shown, and what identifies it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from monitor.config.model import Config

HIDDEN = "***"


def is_secret(info: FieldInfo) -> bool:
    """True for a field marked ``json_schema_extra=SECRET``."""
    extra = info.json_schema_extra
    return isinstance(extra, dict) and extra.get("secret") is True


def redacted(config: BaseModel) -> dict[str, Any]:
    """The effective configuration as JSON-ready data, every secret that is set as ``***``, URLs without password."""
    data = config.model_dump(mode="json", by_alias=True)
    _redact(config, data)
    return data


def _redact(model: BaseModel, data: dict[str, Any]) -> None:
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        key = info.alias or name
        if is_secret(info):
            data[key] = _hidden(value)
            continue
        for child, child_data in _children(value, data[key]):
            _redact(child, child_data)


def _hidden(value: Any) -> Any:
    if isinstance(value, str) and "://" in value:
        try:
            return make_url(value).set(query={}).render_as_string(hide_password=True)
        except ArgumentError:
            return HIDDEN
    return HIDDEN if value else value


def _children(value: Any, data: Any) -> Iterator[tuple[BaseModel, dict[str, Any]]]:
    if isinstance(value, BaseModel):
        yield value, data
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _children(item, data[name])
    elif isinstance(value, tuple | list):
        for item, item_data in zip(value, data, strict=True):
            yield from _children(item, item_data)


def document(config: Config) -> str:
    """The redacted configuration as canonical JSON: what the store keeps beside its windows."""
    return json.dumps(redacted(config), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def config_version(config: Config) -> str:
    """sha256 (64 hex digits) of the effective configuration without secrets: changing a password keeps it."""
    return hashlib.sha256(document(config).encode()).hexdigest()


def shown(config: Config) -> str:
    """The effective configuration as YAML, defaults included, secrets as ``***``."""
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed as None there
    yaml.width = 110
    yaml.dump(redacted(config), out)
    return out.getvalue()
