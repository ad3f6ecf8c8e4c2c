"""The published format: schema, example and page agree with the code."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from monitor.events import document, native

PAGE = (document.DOCS / document.PAGE_FILE).read_text(encoding="utf-8")
SCHEMA = json.loads((document.DOCS / document.SCHEMA_FILE).read_text(encoding="utf-8"))
EXAMPLE: dict[str, Any] = json.loads(PAGE.split("```json")[1].split("```")[0])
MINIMAL = {"id": "a", "time": 1_790_000_000_000, "route": "r"}


def test_published_schema_is_current() -> None:
    assert json.dumps(SCHEMA, sort_keys=True) == json.dumps(json.loads(document.schema_text()), sort_keys=True), (
        "run python -m monitor.events.document"
    )


def test_page_is_current() -> None:
    assert document.page(PAGE) == PAGE, "run python -m monitor.events.document"


def test_example_is_valid_and_decoded() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(EXAMPLE)
    event = native.decode(json.dumps(EXAMPLE).encode())
    assert (event.id, event.route, event.usage and event.usage.input_tokens) == (
        "01JCZ3K8W2M0Q6V1",
        "invoice-extract",
        1830,
    )


def test_schema_names_every_field_of_the_example() -> None:
    def names(value: Any, definition: dict[str, Any]) -> None:
        for option in [definition, *definition.get("anyOf", [])]:
            if "$ref" in option:
                definition = SCHEMA["$defs"][option["$ref"].rsplit("/", 1)[1]]
            elif option.get("type") == "array" and isinstance(value, list):
                for item in value:
                    names(item, option.get("items", {}))
        if isinstance(value, dict) and "properties" in definition:
            assert set(value) <= set(definition["properties"])
            for key, item in value.items():
                names(item, definition["properties"][key])

    names(EXAMPLE, SCHEMA)


@pytest.mark.parametrize("field", [name for name in EXAMPLE if name not in MINIMAL])
def test_every_optional_field_may_be_null_or_absent(field: str) -> None:
    assert native.decode(json.dumps({**MINIMAL, field: None}).encode()).id == "a"
    left = {name: value for name, value in EXAMPLE.items() if name != field}
    jsonschema.Draft202012Validator(SCHEMA).validate(left)
    assert native.decode(json.dumps(left).encode()).route == "invoice-extract"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"usage": {"output_tokens": -1}}, "$.usage.output_tokens"),
        ({"usage": {"input_tokens": 1.5}}, "$.usage.input_tokens"),
        ({"latency": {"total_ms": -0.1}}, "$.latency.total_ms"),
        ({"quality": {"confidence": 1.01}}, "$.quality.confidence"),
        ({"outcome": "fine"}, "$.outcome"),
        ({"time": "2026-11-02T09:14:03"}, "$.time"),
        ({"cost": {"amount": 1e7}}, "$.cost.amount"),
        ({"id": ""}, "$.id"),
        ({"route": "r" * 201}, "$.route"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name_here_and_by_the_schema(change: dict[str, Any], names: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        native.decode(json.dumps({**MINIMAL, **change}).encode())
    assert names in str(refused.value)
    if "time" not in change:  # the missing zone is a matter of the format date-time
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(SCHEMA).validate({**MINIMAL, **change})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"id": "a", "user_id": "u", "time": "never"}', ("a", "u")),
        (b'{"id": 7}', ("", None)),
        (b"nonsense", ("", None)),
        (None, ("", None)),
    ],
)
def test_identity_of_what_is_no_event(value: bytes | None, expected: tuple[str, str | None]) -> None:
    assert native.identity(value) == expected
