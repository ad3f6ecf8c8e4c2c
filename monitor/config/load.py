"""Reading the configuration: one YAML file, ``${NAME}`` from the environment, secrets from files.

Three ways to keep a secret out of the file, for every field marked secret (docs/configuration.md lists them):
``password: ${NAME}``; ``password_file: /run/secrets/password``; or the environment variable
``DRIFTLINE_KAFKA_PASSWORD_FILE`` (``DRIFTLINE_``, the path in capitals, ``_FILE``) naming a file.
"""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from monitor.config import source as yaml_source
from monitor.config.explain import explain
from monitor.config.model import Config
from monitor.config.source import Problem, Source, dotted
from monitor.config.version import is_secret

_REFERENCE = re.compile(r"\$(\$)?\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_SECRET = 64_000


class ConfigError(Exception):
    """Everything wrong with a configuration file, one line each: ``file:line: key: what; what to write``."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = sorted(problems, key=lambda problem: (problem.line, problem.key))
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        return [f"{self.file}:{p.line}: " + (f"{p.key}: {p.text}" if p.key else p.text) for p in self.problems]


def load(path: Path | str, environment: Mapping[str, str] | None = None) -> Config:
    """Read, fill in and check the configuration at ``path``. Raises ConfigError naming every fault at once."""
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(str(path), [Problem(1, "", f"cannot be read ({reason}); name a YAML file")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [Problem(1, "", f"is not UTF-8 (byte {error.start}); save it as UTF-8")]) from None
    return loads(text, file=str(path), environment=environment)


def loads(text: str, *, file: str = "driftline.yaml", environment: Mapping[str, str] | None = None) -> Config:
    """Like :func:`load` for text; ``file`` is the name that errors give."""
    env = os.environ if environment is None else environment
    source = yaml_source.parse(text)
    if source.problems:
        raise ConfigError(file, source.problems)
    source.data = _interpolate(source.data, (), source, env)
    _secret_files(source, env)
    if source.problems:
        # A value that could not be filled in would only raise errors that are not the user's.
        raise ConfigError(file, source.problems)
    try:
        return Config.model_validate(source.data)
    except ValidationError as error:
        raise ConfigError(file, explain(error, source, Config)) from None


def _interpolate(value: Any, path: yaml_source.Path, source: Source, env: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolate(item, (*path, key), source, env) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolate(item, (*path, index), source, env) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replacement(match: re.Match[str]) -> str:
        name = match[2]
        if match[1]:  # $${NAME} is the text ${NAME}
            return "${" + name + "}"
        if not _NAME.fullmatch(name):
            text = (
                f"expected the name of an environment variable, got ${{{name}}}; write ${{NAME}}, or $${{ for the text"
            )
            source.problems.append(Problem(source.line(path), dotted(path), text))
            return ""
        if name not in env:
            text = f"the environment variable {name} is not set; set it, or write the value here"
            source.problems.append(Problem(source.line(path), dotted(path), text))
            return ""
        return env[name]

    return _REFERENCE.sub(replacement, value)


def _secret_files(source: Source, env: Mapping[str, str]) -> None:
    """Fill secret fields from ``KEY_file`` keys and ``DRIFTLINE_…_FILE`` variables."""
    for path, holder, info in secret_fields(Config, source.data):
        key = str(path[-1])
        section = _section(source.data, holder)
        by_key = section.pop(f"{key}_file", None) if isinstance(section, dict) else None
        variable = file_variable(path)
        by_variable = env.get(variable)
        given = [
            name
            for name, present in (
                (key, isinstance(section, dict) and section.get(key) is not None),
                (f"{key}_file", by_key is not None),
                (variable, by_variable is not None),
            )
            if present
        ]
        if by_key is None and by_variable is None:
            continue
        here = (*holder, f"{key}_file") if by_key is not None else path
        if len(given) > 1:
            text = f"{' and '.join(given)} are all set; keep one"
            source.problems.append(Problem(source.line(here), dotted(path), text))
            continue
        name = by_key if by_key is not None else by_variable
        try:
            content = _read_secret(name)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            text = f"the secret file {name!r} ({given[0]}) cannot be read: {reason}; name a readable text file"
            source.problems.append(Problem(source.line(here), dotted(path), text))
            continue
        if section is None:
            section = _make_section(source.data, holder)
        if isinstance(section, dict):
            section[key] = content
            source.lines.setdefault(path, source.line(here))
        del info


def _read_secret(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError("expected a file name")
    with Path(name).open("rb") as file:
        content = file.read(_MAX_SECRET + 1)
    if len(content) > _MAX_SECRET:
        raise ValueError(f"it is larger than {_MAX_SECRET} bytes")
    try:
        return content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def file_variable(path: yaml_source.Path) -> str:
    """The variable that names the file of a secret: ``DRIFTLINE_ALERTS_SINKS_OPS_TOKEN_FILE``."""
    words = (re.sub(r"[^A-Za-z0-9]", "_", str(part)).upper() for part in path)
    return "DRIFTLINE_" + "_".join(words) + "_FILE"


def _section(data: Any, path: yaml_source.Path) -> Any:
    for part in path:
        if not isinstance(data, dict | list):
            return data
        data = data.get(part) if isinstance(data, dict) else data[int(part)]
        if data is None:
            return None
    return data


def _make_section(data: dict[str, Any], path: yaml_source.Path) -> dict[str, Any]:
    for part in path:
        if data.get(str(part)) is None:
            data[str(part)] = {}
        data = data[str(part)]
    return data


def secret_fields(
    model: type[BaseModel], data: Any, path: yaml_source.Path = ()
) -> Iterator[tuple[yaml_source.Path, yaml_source.Path, FieldInfo]]:
    """Every secret field that ``model`` has, with ``data`` deciding which mapping entries and list items exist.

    Yields (path of the field, path of the section that holds it, the field).
    """
    given = data if isinstance(data, dict) else {}
    for name, info in model.model_fields.items():
        key = info.alias or name
        if is_secret(info):
            yield (*path, key), path, info
            continue
        for child, child_path in _models(info.annotation, given.get(key), (*path, key)):
            yield from secret_fields(child, _section(given, child_path[len(path) :]), child_path)


def _models(annotation: Any, data: Any, path: yaml_source.Path) -> Iterator[tuple[type[BaseModel], yaml_source.Path]]:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, path
    elif origin is Annotated:
        yield from _models(arguments[0], data, path)
    elif origin in (Union, types.UnionType):
        kinds = [a for a in arguments if isinstance(a, type) and issubclass(a, BaseModel)]
        if type(None) in arguments and data is None:
            return  # an optional section that is absent has no secrets
        chosen = [k for k in kinds if _kind(k) is None or (isinstance(data, dict) and data.get("kind") == _kind(k))]
        for kind in chosen:
            yield kind, path
    elif origin is dict and isinstance(data, dict):
        for key in data:
            yield from _models(arguments[1], data[key], (*path, key))
    elif origin is tuple and isinstance(data, list):
        for index, item in enumerate(data):
            yield from _models(arguments[0], item, (*path, index))


def _kind(model: type[BaseModel]) -> str | None:
    info = model.model_fields.get("kind")
    return str(typing.get_args(info.annotation)[0]) if info is not None else None
