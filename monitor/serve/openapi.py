"""The OpenAPI 3.1 document, generated from the table of endpoints and the types they answer with."""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from monitor.serve.access import CSRF_HEADER
from monitor.serve.endpoint import Endpoint, Picture
from monitor.serve.endpoints import ENDPOINTS
from monitor.serve.models import Problem
from monitor.serve.sessions import COOKIE

_IN_PATH = re.compile(r"\{(\w+)\}")
_ROLES = {"viewer": "viewer, reviewer or admin", "reviewer": "reviewer or admin", "admin": "admin"}


def document() -> dict[str, Any]:
    """The document as JSON-ready data."""
    answers = [endpoint.response for endpoint in ENDPOINTS if endpoint.response is not Picture]
    bodies = [endpoint.query for endpoint in ENDPOINTS if endpoint.method == "POST"]
    types: list[Any] = [Problem, *dict.fromkeys([*answers, *bodies])]
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "driftline",
            "version": _version(),
            "description": "What driftline measured and found, and the review queue. Lists have limit and offset.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"basic": []}, {"session": []}, {}],
        "paths": _paths(),
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token of `driftline token create`."},
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "Any name, the token as password. Not for POST: browsers send it by themselves.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": f"Of /login. A POST needs the header {CSRF_HEADER} and an Origin of its own, too.",
                },
            },
        },
    }


def _paths() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        found.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return found


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    answers = {
        "200": _answer(endpoint),
        "400": _json("A parameter or the Host header is wrong.", Problem),
        "401": _json("A token is needed, or this one does not work.", Problem),
        "403": _json("The token's role does not suffice, or the request may be forged.", Problem),
    }
    if endpoint.method == "POST":
        answers["404"] = _json("There is no such item.", Problem)
        answers["409"] = _json("The queue declined it, and nothing was changed; `why` says why.", Problem)
        answers["413"] = _json("The body is too large.", Problem)
        answers["415"] = _json("The body is not application/json.", Problem)
    if _IN_PATH.search(endpoint.path) or endpoint.path == "/api/summaries":
        answers["404"] = _json("There is no such thing.", Problem)
    answers["503"] = _json("The store does not answer; try again.", Problem)
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "description": f"Needs the role {_ROLES[endpoint.need]} once there are tokens.",
        "parameters": _path_parameters(endpoint.path),
        "responses": dict(sorted(answers.items())),
    }
    if endpoint.method == "POST":
        reference = {"$ref": f"#/components/schemas/{endpoint.query.__name__}"}
        operation["security"] = [{"bearer": []}, {"session": []}]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": reference}}}
    else:
        operation["parameters"] += _query_parameters(endpoint.query)
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    """As the handler is named; those of the review queue have common names, and say so."""
    name = endpoint.handler.__name__
    return f"review_{name}" if endpoint.path.startswith("/api/review/") else name


def _answer(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.response is Picture:
        return {"description": "A JPEG that driftline made.", "content": {"image/jpeg": {}}}
    return _json("The answer.", endpoint.response)


def _json(description: str, kind: type[Any]) -> dict[str, Any]:
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
