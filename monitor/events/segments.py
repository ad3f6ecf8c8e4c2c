"""Which segment and version an event belongs to, and how many of them a partition admits.

Rules are tried in order and the first match names the segment; without a match it is the route, split by the
values of the route's ``segment_by`` attributes: ``invoice-extract/receipt``. Names are admitted per partition in
offset order up to a cap; what comes after folds into ``other`` of its route (and routes themselves into ``other``
once none of their segments was admitted).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detectors.summaries.columns import Int32
from monitor.config.model import Config, Stakes
from monitor.events.native import Event, Prompt

OTHER = "other"
ABSENT_VALUE = "-"
MAX_ATTRIBUTES = 64
MAX_SEGMENT = 200
MAX_VERSION = 300
MAX_VALUE = 100
_CACHED = 50_000
_NO_PROMPT = Prompt()
_NO_ATTRIBUTES: dict[str, Any] = {}
_TEXTS = {str, type(None)}
_FIELD = re.compile(r"\{([^{}]+)\}")
# What moves a cursor, breaks a line or turns the direction of writing: these texts go to terminals, pages and alerts.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def value_text(value: Any) -> str:
    """An attribute's value as text: strings as they are (control characters replaced, at most 100 characters)."""
    if value is None:
        return ABSENT_VALUE
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return _CONTROL.sub("\ufffd", str(value))[:MAX_VALUE] or ABSENT_VALUE
    return ABSENT_VALUE  # lists and objects are no values to segment by


def shorten(name: str, limit: int) -> str:
    """``name`` within ``limit`` characters, the end replaced by a hash so that different names stay different."""
    if len(name) <= limit:
        return name
    return name[: limit - 17] + "~" + hashlib.blake2b(name.encode("utf-8"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Segment:
    route: str
    name: str
    stakes: Stakes


class SegmentRules:
    """The segmentation of a configuration: (route, attributes) -> Segment."""

    def __init__(self, config: Config) -> None:
        self._routes = config.routes
        self._rules = [
            (rule, {key: {want} if isinstance(want, str) else set(want) for key, want in rule.where.items()})
            for rule in config.segments.rules
        ]
        needed: dict[str, None] = {}
        for rule, where in self._rules:
            needed.update(dict.fromkeys(where))
            needed.update(dict.fromkeys(_FIELD.findall(rule.name)))
        for route in config.routes.values():
            needed.update(dict.fromkeys(route.segment_by))
        self.attributes: tuple[str, ...] = tuple(needed)

    def segment(self, route: str, attributes: Mapping[str, Any]) -> Segment:
        configured = self._routes.get(route)
        stakes: Stakes = configured.stakes if configured else "medium"
        label = _CONTROL.sub("\ufffd", route)
        for rule, where in self._rules:
            if rule.route is not None and rule.route != route:
                continue
            if all(value_text(attributes.get(key)) in values for key, values in where.items()):
                name = _FIELD.sub(lambda match: value_text(attributes.get(match[1])), rule.name)
                return Segment(label, shorten(name, MAX_SEGMENT), rule.stakes or stakes)
        by = configured.segment_by if configured else ()
        name = "/".join([label, *(value_text(attributes.get(key)) for key in by)])
        return Segment(label, shorten(name, MAX_SEGMENT), stakes)


def version_name(model: str | None, prompt: Prompt) -> str:
    """``model@name/version``; what is absent is left out; '' when nothing is known."""
    prompt_name = "/".join(part for part in (prompt.name, prompt.version) if part)
    name = f"{model or ''}@{prompt_name}" if prompt_name else (model or "")
    return shorten(_CONTROL.sub("\ufffd", name), MAX_VERSION)


@dataclass(slots=True)
class Admission:
    """Names admitted by one partition, in offset order; part of its stored state.

    ``segments[code]`` is (route, segment); ``folded`` are codes of ``other`` entries, which do not count against
    the cap. ``refused`` and ``versions_refused`` count events that were folded.
    """

    segments: list[tuple[str, str]] = field(default_factory=list)
    folded: set[int] = field(default_factory=set)
    versions: list[str] = field(default_factory=list)
    _segment_codes: dict[tuple[str, str], int] = field(default_factory=dict)
    _version_codes: dict[str, int] = field(default_factory=dict)

    def to_state(self) -> dict[str, Any]:
        return {"segments": self.segments, "folded": sorted(self.folded), "versions": self.versions}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Admission:
        segments = [(str(route), str(name)) for route, name in state["segments"]]
        versions = [str(name) for name in state["versions"]]
        return cls(
            segments,
            set(state["folded"]),
            versions,
            {key: code for code, key in enumerate(segments)},
            {name: code for code, name in enumerate(versions)},
        )

    def segment(self, route: str, name: str, cap: int) -> int:
        code = self._segment_codes.get((route, name))
        if code is not None:
            return code
        if len(self.segments) - len(self.folded) < cap:
            return self._add(route, name)
        if not any(known == route for known, _ in self.segments):
            route = OTHER
        code = self._segment_codes.get((route, OTHER))
        if code is None:
            code = self._add(route, OTHER)
            self.folded.add(code)
        return code

    def _add(self, route: str, name: str) -> int:
        code = self._segment_codes[route, name] = len(self.segments)
        self.segments.append((route, name))
        return code

    def version(self, name: str, cap: int) -> int:
        code = self._version_codes.get(name)
        if code is None:
            if len(self.versions) - (OTHER in self._version_codes) >= cap:
                name = OTHER
                if OTHER in self._version_codes:
                    return self._version_codes[OTHER]
            code = self._version_codes[name] = len(self.versions)
            self.versions.append(name)
        return code


class _Keys(dict[Any, int]):
    """Keys to small codes in order of first sight."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_by_code: list[Any] = []

    def __missing__(self, key: Any) -> int:
        code = self[key] = len(self.keys_by_code)
        self.keys_by_code.append(key)
        return code


class Assigner:
    """Segments and versions of one partition's events.

    First `keys`, of every event that can be read: one dictionary lookup an event. Then `admit`, of those that are
    accepted, in offset order: only they count against the caps.
    """

    def __init__(self, rules: SegmentRules, config: Config, admission: Admission) -> None:
        self.admission = admission
        self._rules = rules
        self._caps = (config.segments.max_segments, config.segments.max_versions)
        self._forget()
        self.stakes: list[Stakes] = []  # by segment code
        for route, name in admission.segments:
            self.stakes.append(self._stakes_of(route, name))

    def trim(self) -> None:
        """Forget the keys once there are very many."""
        if max(len(self._segment_keys), len(self._version_keys)) > _CACHED:
            self._forget()

    def _forget(self) -> None:
        self._segment_keys, self._version_keys = _Keys(), _Keys()
        nothing = np.empty(0, dtype=np.int32)
        self._segments, self._versions = nothing, nothing  # admitted codes by key code; -1: not admitted yet

    def _stakes_of(self, route: str, name: str) -> Stakes:
        for rule, _ in self._rules._rules:
            if rule.name == name and rule.stakes is not None:
                return rule.stakes
        configured = self._rules._routes.get(route)
        return configured.stakes if configured else "medium"

    def keys(self, events: Sequence[Event]) -> tuple[list[int], list[int]]:
        """Codes of what (segment, version) of each event are made of; they hold until `trim`."""
        keys: Any = [e.route for e in events]
        if self._rules.attributes:
            attributes = [e.attributes or _NO_ATTRIBUTES for e in events]
            columns = [[a.get(name) for a in attributes] for name in self._rules.attributes]
            # Numbers and booleans as text, since 1, 1.0 and True are one key but three values; so are lists and
            # objects, which are no keys at all.
            columns = [
                column
                if _TEXTS.issuperset(map(type, column))
                else [value if type(value) in _TEXTS else value_text(value) for value in column]
                for column in columns
            ]
            keys = zip(keys, *columns, strict=True)
        prompts = [e.prompt or _NO_PROMPT for e in events]
        models = [e.response_model or e.request_model for e in events]
        versions = zip(models, [p.name for p in prompts], [p.version for p in prompts], strict=True)
        return list(map(self._segment_keys.__getitem__, keys)), list(map(self._version_keys.__getitem__, versions))

    def admit(self, segment_keys: Int32, version_keys: Int32) -> tuple[Int32, Int32]:
        """(segment codes, version codes) of accepted events by their keys' codes. Admits new names in the order
        given."""
        segments = self._segments = _grown(self._segments, len(self._segment_keys))
        versions = self._versions = _grown(self._versions, len(self._version_keys))
        for key in _unknown(segments, segment_keys):
            segments[key] = self._admit_segment(self._segment_keys.keys_by_code[key])
        for key in _unknown(versions, version_keys):
            versions[key] = self._admit_version(self._version_keys.keys_by_code[key])
        return segments[segment_keys], versions[version_keys]

    def _admit_segment(self, key: Any) -> int:
        if self._rules.attributes:
            segment = self._rules.segment(key[0], dict(zip(self._rules.attributes, key[1:], strict=True)))
        else:
            segment = self._rules.segment(key, _NO_ATTRIBUTES)
        code = self.admission.segment(segment.route, segment.name, self._caps[0])
        if code == len(self.stakes):
            folded = code in self.admission.folded
            self.stakes.append(self._stakes_of(*self.admission.segments[code]) if folded else segment.stakes)
        return code

    def _admit_version(self, key: tuple[str | None, str | None, str | None]) -> int:
        model, name, version = key
        return self.admission.version(version_name(model, Prompt(name, version)), self._caps[1])


def _grown(codes: Int32, size: int) -> Int32:
    return np.concatenate([codes, np.full(size - len(codes), -1, dtype=np.int32)])


def _unknown(codes: Int32, keys: Int32) -> list[int]:
    """The keys without a code, in order of first sight."""
    return list(dict.fromkeys(keys[codes[keys] < 0].tolist()))
