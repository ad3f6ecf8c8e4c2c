"""The OpenAPI 3.1 document, generated from the table of endpoints and the types they answer with."""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from monitor.serve.endpoints import ENDPOINTS, Endpoint
from monitor.serve.models import Problem

_IN_PATH = re.compile(r"\{(\w+)\}")
_ROLES = {"viewer": "viewer, reviewer or admin", "reviewer": "reviewer or admin", "admin": "admin"}


def document() -> dict[str, Any]:
    """The document as JSON-ready data."""
    types: list[Any] = [Problem, *dict.fromkeys(endpoint.response for endpoint in ENDPOINTS)]
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "driftline",
            "version": _version(),
            "description": "What driftline measured and found. Read only. Every list is paged by limit and offset.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"basic": []}, {}],
        "paths": {endpoint.path: {"get": _operation(endpoint)} for endpoint in ENDPOINTS},
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token of `driftline token create`."},
                "basic": {"type": "http", "scheme": "basic", "description": "Any name, the token as password."},
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    answers = {
        "200": _json("The answer.", endpoint.response),
        "400": _json("A parameter or the Host header is wrong.", Problem),
        "401": _json("A token is needed, or this one does not work.", Problem),
        "403": _json("The token's role does not suffice.", Problem),
    }
    if _IN_PATH.search(endpoint.path) or endpoint.path == "/api/summaries":
        answers["404"] = _json("There is no such thing.", Problem)
    answers["503"] = _json("The store does not answer; try again.", Problem)
    return {
        "operationId": endpoint.handler.__name__,
        "summary": endpoint.summary,
        "description": f"Needs the role {_ROLES[endpoint.need]} once there are tokens.",
        "parameters": [*_path_parameters(endpoint.path), *_query_parameters(endpoint.query)],
        "responses": answers,
    }


def _json(description: str, kind: type[msgspec.Struct]) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": reference}}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _IN_PATH.findall(path)
    ]


def _query_parameters(kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    schema = msgspec.json.schema(kind)
    properties = schema["$defs"][kind.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": shape} for name, shape in properties.items()]


def _version() -> str:
    try:
        return version("driftline")
    except PackageNotFoundError:
        return "0"


def text() -> str:
    """The document as it is checked in at docs/openapi.json (``python -m monitor.serve.openapi``)."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
