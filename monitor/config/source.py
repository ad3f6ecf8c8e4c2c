"""A YAML 1.2 file as plain data, with the line of every key and value, and limits on what it may contain."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_DEPTH = 30
MAX_VALUES = 50_000  # after aliases are followed, so that a few lines cannot unfold into gigabytes

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TAGS = {"map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge"}
_NULL = {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration: where, and what to write instead."""

    line: int
    key: str  # dotted path; '' for the file as a whole
    text: str


@dataclass(slots=True)
class Source:
    """``data``: the file as dicts, lists and scalars. ``lines``: the 1-based line of every path's key or item."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of ``path``, or of the nearest thing above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def dotted(path: Path) -> str:
    """``('prices', 'models', 0, 'model')`` as ``prices.models[0].model``."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else (f".{part}" if out else part)
    return out


def parse(text: str) -> Source:
    """Read YAML text. Never raises: what is wrong is in ``problems``."""
    source = Source()
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        source.problems.append(Problem(1, "", f"the file is larger than {MAX_BYTES} bytes; write a smaller one"))
        return source
    try:
        nested = _depth(text)
        if nested > MAX_DEPTH:
            source.problems.append(Problem(1, "", f"values are nested deeper than {MAX_DEPTH} levels; flatten them"))
            return source
        documents = list(YAML(typ="rt", pure=True).compose_all(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark else 1
        source.problems.append(Problem(line, "", f"this is not YAML: {what}; check the indentation and the quotes"))
        return source
    except (YAMLError, RecursionError, ValueError) as error:
        source.problems.append(Problem(1, "", f"this is not YAML: {error}"))
        return source
    if len(documents) > 1:
        source.problems.append(Problem(1, "", "the file holds several YAML documents; keep one"))
        return source
    root = documents[0] if documents else None
    if root is None:
        return source
    if not isinstance(root, MappingNode):
        if not (isinstance(root, ScalarNode) and root.value in _NULL):
            source.problems.append(Problem(1, "", "the file must be a mapping; write `key: value` lines"))
        return source
    _Reader(source).read(root)
    return source


def _depth(text: str) -> int:
    depth = deepest = 0
    for event in YAML(typ="rt", pure=True).parse(text):
        name = type(event).__name__
        if name in ("MappingStartEvent", "SequenceStartEvent"):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                return deepest
        elif name in ("MappingEndEvent", "SequenceEndEvent"):
            depth -= 1
    return deepest


class _TooMuch(Exception):
    pass


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.count = 0

    def read(self, root: MappingNode) -> None:
        try:
            self.source.data = self.value(root, ())
        except _TooMuch:
            self.source.data = {}
            self.source.problems.append(
                Problem(1, "", f"with its aliases followed the file holds more than {MAX_VALUES} values; write fewer")
            )

    def problem(self, node: Node, path: Path, text: str) -> None:
        self.source.problems.append(Problem(node.start_mark.line + 1, dotted(path), text))

    def value(self, node: Node, path: Path) -> Any:
        self.count += 1
        if self.count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise _TooMuch
        tag = str(node.tag or "")
        if tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
            self.problem(node, path, f"the tag {tag} is not allowed; write a plain value")
            return None
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.source.lines[(*path, index)] = item.start_mark.line + 1
                items.append(self.value(item, (*path, index)))
            return items
        assert isinstance(node, ScalarNode)
        return _scalar(node)

    def mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.problem(key_node, path, "a key is a list or a mapping; write a plain word")
                continue
            key = str(key_node.value)
            if key == "<<" and key_node.style is None:
                self.problem(key_node, path, "merge keys (<<) are not YAML 1.2; write the keys out")
                continue
            here = (*path, key)
            if key in out:
                first = self.source.lines[here]
                self.problem(key_node, here, f"this key is already on line {first}; keep one of them")
                continue
            self.source.lines[here] = key_node.start_mark.line + 1
            out[key] = self.value(value_node, here)
        return out


def _scalar(node: ScalarNode) -> Any:
    """YAML 1.2 core schema; a date stays the text it is."""
    text = str(node.value)
    if node.style is not None:  # quoted or block text
        return text
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text) and len(text) < 30:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
