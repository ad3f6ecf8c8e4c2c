"""docs/configuration.md, generated from the models: every key with its type, default and description."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from monitor.config.explain import model_types, type_name
from monitor.config.load import file_variable
from monitor.config.model import Config
from monitor.config.reload import RELOADABLE
from monitor.config.version import is_secret

_HEAD = """# Configuration

driftline reads one YAML 1.2 file: `driftline run --config FILE`. `driftline config check FILE` says what is wrong with
it (file, line, key, what was got, what to write, all faults at once), `driftline config show` prints what is in effect.
Every key has a default. [driftline.example.yaml](driftline.example.yaml) is an example that loads.

This page is generated from the code (`python -m monitor.config.document > docs/configuration.md`); a test fails when it
is stale.

## How values are written

- **duration**: a number and one of `ms`, `s`, `m`, `h`, `d`, `w`, as `30s`, `5m`, `24h`.
- **size**: bytes, or a number and one of `B`, `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`, as `10MB`.
- **false-alarm budget**: `COUNT per PERIOD`, as `1 per 30d`: at most so many false alarms are expected per period.
- `${NAME}` anywhere in a text is replaced by the environment variable `NAME`; `$${NAME}` is the text `${NAME}`. A
  variable that is not set is a fault.
- Unknown keys, keys given twice, YAML tags and merge keys (`<<`) are faults.

## Secrets

The keys marked *secret* are never shown, logged, or part of the configuration's version. Each may be written
in three ways besides plainly; two at once are a fault:

- `password: ${NAME}`, from the environment;
- `password_file: /run/secrets/password`, from a file (its last line break is dropped);
- by the variable in the table below, which names a file. A name of yours within it (here `NAME`) is written in
  capitals, with `_` for everything that is neither a letter nor a digit.

{secrets}

## Reload

On SIGHUP the file is read again. A faulty file changes nothing: the faults are logged and the old configuration stays.
Otherwise these top-level keys take effect at once, all together:
{reloadable}.
Changes to other keys are named in the log and wait for the next start. The version of the configuration (a
SHA-256 of what is in effect, without secrets) is stored with the windows it was used for.

When `kafka.allowed_lateness` is to grow beyond `retention.minute` less a day, first raise `retention.minute` and wait
for the difference: minutes that are deleted already cannot take in later events.

## Keys
"""


def markdown() -> str:
    """The whole page."""
    secrets = ["| key | variable |", "| --- | --- |"]
    rows: list[str] = []
    for path, info, _ in fields(Config):
        if info is not None and is_secret(info):
            variable = file_variable(tuple(part.strip("<>") for part in path.replace("[]", ".<N>").split(".")))
            secrets.append(f"| `{path}` | `{variable}` |")
    for path, info, model in fields(Config):
        if info is None:
            rows += ["", f"### {path}", ""]
            if model.__doc__ and model.__doc__ != BaseModel.__doc__:
                rows += [" ".join(model.__doc__.split()), ""]
            rows += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
            continue
        if not info.description:
            raise ValueError(f"{path} has no description; give its Field one")
        mark = " *Secret.*" if is_secret(info) else ""
        key = path.rsplit(".", 1)[-1]
        kind = _cell(type_name(info) + _limits(info))
        rows.append(f"| `{key}` | {kind} | {_default(info)} | {_cell(info.description)}{mark} |")
    reloadable = ", ".join(f"`{name}`" for name in sorted(RELOADABLE))
    head = _HEAD.replace("{secrets}", "\n".join(secrets)).replace("{reloadable}", reloadable)
    return head + "\n".join(rows) + "\n"


def fields(
    model: type[BaseModel], path: str = "", title: str = "top level"
) -> Iterator[tuple[str, FieldInfo | None, type[BaseModel]]]:
    """Every section (its field None) and every key with its dotted path; map entries are `<name>`, list items `[]`."""
    yield title, None, model
    nested: list[tuple[str, type[BaseModel]]] = []
    for name, info in model.model_fields.items():
        here = f"{path}.{info.alias or name}" if path else info.alias or name
        children = list(_children(info.annotation, here))
        section = bool(children) and children[0][0] == here
        if info.description or not section:
            yield here, info, model
        nested += children
    for here, child in nested:
        kind = child.model_fields.get("kind")
        # A field `kind` of one value tells apart the forms that a section has.
        kinds = typing.get_args(kind.annotation) if kind is not None else ()
        suffix = f" (kind: {kinds[0]})" if len(kinds) == 1 else ""
        yield from fields(child, here, f"`{here}`{suffix}")


def _children(annotation: Any, path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    models = model_types(annotation)
    if models:
        for model in models:
            yield path, model
        return
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is dict:
        yield from _children(arguments[1], f"{path}.<name>")
    elif origin is tuple:
        yield from _children(arguments[0], f"{path}[]")


def _limits(info: FieldInfo) -> str:
    words = []
    for mark in info.metadata:
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            if getattr(mark, name, None) is not None:
                words.append(f"{sign} {getattr(mark, name):,}".replace(",", " "))
        if getattr(mark, "pattern", None):
            words.append(f"matching {mark.pattern}")
    return f" ({', '.join(words)})" if words else ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=False)
    if value is PydanticUndefined:
        return ""
    return f"`{_cell(_written(value))}`"


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        pairs = (f"{name}: {_written(getattr(value, name))}" for name in type(value).model_fields)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(item)}" for key, item in value.items()) + "}"
    return str(value) if value != "" else "''"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
