"""Pydantic's errors as sentences for the person who wrote the file: what was got, and what to write."""

from __future__ import annotations

import difflib
import types
import typing
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from monitor.config import units
from monitor.config.addresses import Unfit
from monitor.config.alerts import SINK_KINDS
from monitor.config.source import Path, Problem, Source, dotted
from monitor.config.version import is_secret

_ABSENT = object()


def explain(error: ValidationError, source: Source, model: type[BaseModel]) -> list[Problem]:
    """One problem per faulty key, in the order of the file."""
    problems: dict[Path, Problem] = {}
    for detail in error.errors(include_url=False, include_context=True):
        path = _path(detail["loc"], source.data, detail["type"])
        owner, info, secret = _field(model, path, source.data)
        text = _sentence(detail, path, owner, info, secret)
        problems.setdefault(path, Problem(source.line(path), dotted(path), text))
    for path in list(problems):
        # A union of types complains about the whole as well as about the item that is wrong.
        deeper = any(len(other) > len(path) and other[: len(path)] == path for other in problems)
        if deeper and isinstance(_at(source.data, path), list):
            del problems[path]
    return sorted(problems.values(), key=lambda problem: (problem.line, problem.key))


def _path(location: tuple[str | int, ...], data: Any, kind: str) -> Path:
    """Pydantic's location without the names of union members, which are not keys of the file."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        found = _step(data, part)
        if found is _ABSENT:
            if last and kind == "missing":
                path.append(part)
            continue
        path.append(part)
        data = found
    return tuple(path)


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = _step(data, part)
    return data


def _step(data: Any, part: str | int) -> Any:
    if isinstance(data, dict) and part in data:
        return data[part]
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return _ABSENT


def _field(model: type[BaseModel], path: Path, data: Any) -> tuple[type[BaseModel], FieldInfo | None, bool]:
    """The model that holds the key at ``path``, the key's field where there is one, and whether it is secret."""
    owner: type[BaseModel] = model
    info: FieldInfo | None = None
    annotation: Any = model
    secret = False
    for part in path:
        data = _step(data, part)
        candidates = model_types(annotation)
        if candidates:
            owner = _chosen(candidates, part)
            info = field_by_key(owner, str(part))
            secret = secret or (info is not None and is_secret(info))
            annotation = info.annotation if info is not None else None
        else:
            annotation = _item(annotation)
            if model_types(annotation):
                owner, info = _by_kind(model_types(annotation), data), None
                annotation = owner
    return owner, info, secret


def _chosen(candidates: list[type[BaseModel]], key: str | int) -> type[BaseModel]:
    return next((c for c in candidates if field_by_key(c, str(key)) is not None), candidates[0])


def _by_kind(candidates: list[type[BaseModel]], data: Any) -> type[BaseModel]:
    kind = data.get("kind") if isinstance(data, dict) else None
    for candidate in candidates:
        info = candidate.model_fields.get("kind")
        if info is not None and kind in typing.get_args(info.annotation):
            return candidate
    return candidates[0]


def field_by_key(model: type[BaseModel], key: str) -> FieldInfo | None:
    for name, info in model.model_fields.items():
        if (info.alias or name) == key:
            return info
    return None


def model_types(annotation: Any) -> list[type[BaseModel]]:
    """The models among an annotation's alternatives."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) is Annotated:
        return model_types(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return [model for part in typing.get_args(annotation) for model in model_types(part)]
    return []


def _item(annotation: Any) -> Any:
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is dict:
        return arguments[1]
    if origin is tuple:
        return arguments[0]
    if origin in (Union, types.UnionType):
        return next((found for part in arguments if (found := _item(part)) is not None), None)
    return None


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys a section may have, as written in the file."""
    return [info.alias or name for name, info in model.model_fields.items()]


def type_name(info: FieldInfo) -> str:
    """A field's type in words: ``duration``, ``list of text``, ``one of low, medium, high``."""
    for mark in info.metadata:
        if getattr(mark, "func", None) is units._duration_or_us:
            return "duration"
        if getattr(mark, "func", None) is units.parse_size:
            return "size"
        if getattr(mark, "func", None) is units.parse_allowance:
            return "false-alarm budget"
    return _words(info.annotation)


def _words(annotation: Any) -> str:
    simple = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "nothing"}
    if annotation in simple:
        return simple[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0])
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        parts = [_words(part) for part in arguments if part is not type(None)]
        return " or ".join(dict.fromkeys(parts))
    if origin is tuple:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"mapping of text to {_words(arguments[1])}"
    return "section"


_EXAMPLES = {
    "duration": "5m",
    "size": "10MB",
    "false-alarm budget": "'1 per 30d'",
    "text": "'some text'",
    "integer": "5",
    "number": "0.5",
    "true or false": "true",
}


def _example(info: FieldInfo | None) -> str:
    if info is None:
        return "a value as in docs/configuration.md"
    name = type_name(info)
    if name in _EXAMPLES:
        default = info.get_default()
        usable = isinstance(default, str | int | float) and not isinstance(default, bool) and not is_secret(info)
        return f"a value like {default if usable else _EXAMPLES[name]}" if default != "" else _EXAMPLES[name]
    return name


def _got(value: Any, secret: bool) -> str:
    if secret:
        return "a value that is not shown"
    kinds = {dict: "a mapping", list: "a list", type(None): "nothing"}
    if type(value) in kinds:
        return kinds[type(value)]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _sentence(detail: ErrorDetails, path: Path, owner: type[BaseModel], info: FieldInfo | None, secret: bool) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    got = _got(value, secret)
    if kind == "extra_forbidden":
        key, known = str(path[-1]), keys_of(owner)
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.55)
        guess = f"did you mean {near[0]}? " if near else ""
        return f"unknown key; {guess}the keys here are {', '.join(known)}"
    if kind == "missing":
        return f"missing; write {path[-1]}: with {_example(info)}"
    if kind == "value_error":
        error = context.get("error", detail["msg"])
        if secret:
            return error.unseen if isinstance(error, Unfit) else f"got {got}; write {_example(info)}"
        return str(error)
    if kind == "literal_error":
        near = difflib.get_close_matches(str(value), [str(v) for v in _literals(info)], n=1, cutoff=0.5)
        guess = f" (did you mean {near[0]}?)" if near else ""
        return f"expected {context.get('expected')}, got {got}{guess}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        # The sinks are the one union there is.
        tag = context.get("tag")
        near = difflib.get_close_matches(str(tag), SINK_KINDS, n=1, cutoff=0.5) if tag is not None else []
        said = "the key `kind` is missing" if tag is None else f"unknown kind {_got(tag, secret)}"
        guess = f" (did you mean {near[0]}?)" if near else ""
        return f"{said}{guess}; write `kind:` and one of {', '.join(SINK_KINDS)}"
    if kind == "too_short" and isinstance(value, list):
        least = context.get("min_length", 1)
        return f"expected a list of at least {least}, got {len(value) or 'an empty one'}; write [first, second]"
    if kind == "string_type" and isinstance(value, int | float):
        if secret:
            return "expected text, got a value that is not shown; write it in quotes"
        literal = str(value).lower() if isinstance(value, bool) else value
        return f"expected text, got {got}; write it in quotes: '{literal}'"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        models = model_types(info.annotation) if info is not None else []
        keys = f" with the keys {', '.join(keys_of(models[0]))}" if models else ""
        return f"expected a section of `key: value` lines{keys}, got {got}"
    if kind in ("tuple_type", "list_type"):
        return f"expected a list, got {got}; write [first, second]"
    return f"{_lower(detail['msg'])}, got {got}; write {_example(info)}"


def _literals(info: FieldInfo | None) -> list[Any]:
    found: list[Any] = []
    pending = [info.annotation] if info is not None else []
    while pending:
        annotation = pending.pop()
        if typing.get_origin(annotation) is Literal:
            found.extend(typing.get_args(annotation))
        else:
            pending.extend(typing.get_args(annotation))
    return found


def _lower(text: str) -> str:
    for start, instead in (("Input should be", "expected"), ("Value should", "it should")):
        text = text.replace(start, instead, 1)
    return text[:1].lower() + text[1:]
