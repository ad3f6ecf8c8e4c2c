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
_FIELD = re.compile(r"\{([^{}]+)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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


class _SegmentCache(dict[Any, int]):
    def __init__(self, assigner: Assigner) -> None:
        super().__init__()
        self._assigner = assigner

    def __missing__(self, key: Any) -> int:
        code = self[key] = self._assigner._admit_segment(key)
        return code


class _VersionCache(dict[Any, int]):
    def __init__(self, assigner: Assigner) -> None:
        super().__init__()
        self._assigner = assigner

    def __missing__(self, key: Any) -> int:
        code = self[key] = self._assigner._admit_version(key)
        return code


class Assigner:
    """Segments and versions of one partition's events, in offset order, at one dictionary lookup an event."""

    def __init__(self, rules: SegmentRules, config: Config, admission: Admission) -> None:
        self.admission = admission
        self._rules = rules
        self._caps = (config.segments.max_segments, config.segments.max_versions)
        self._segment_codes = _SegmentCache(self)
        self._version_codes = _VersionCache(self)
        self.stakes: list[Stakes] = []  # by segment code
        for route, name in admission.segments:
            self.stakes.append(self._stakes_of(route, name))

    def _stakes_of(self, route: str, name: str) -> Stakes:
        for rule, _ in self._rules._rules:
            if rule.name == name and rule.stakes is not None:
                return rule.stakes
        configured = self._rules._routes.get(route)
        return configured.stakes if configured else "medium"

    def assign(self, events: Sequence[Event]) -> tuple[Int32, Int32]:
        """(segment codes, version codes) of accepted events. Admits new names in the order given."""
        if len(self._segment_codes) > _CACHED:
            self._segment_codes.clear()
        if len(self._version_codes) > _CACHED:
            self._version_codes.clear()
        needed = self._rules.attributes
        keys: Any = [e.route for e in events]
        if needed:
            attributes = [e.attributes or _NO_ATTRIBUTES for e in events]
            keys = zip(keys, *([a.get(name) for a in attributes] for name in needed), strict=True)
        try:
            segments = np.fromiter(map(self._segment_codes.__getitem__, keys), dtype=np.int32, count=len(events))
        except TypeError:  # a list or an object as the value of an attribute has no hash
            segments = np.array([self._one(e) for e in events], dtype=np.int32)
        prompts = [e.prompt or _NO_PROMPT for e in events]
        models = [e.response_model or e.request_model for e in events]
        names = zip(models, [p.name for p in prompts], [p.version for p in prompts], strict=True)
        versions = np.fromiter(map(self._version_codes.__getitem__, names), dtype=np.int32, count=len(events))
        return segments, versions

    def _one(self, event: Event) -> int:
        attributes = event.attributes or _NO_ATTRIBUTES
        values = [attributes.get(name) for name in self._rules.attributes]
        return self._segment_codes[
            (event.route, *(None if isinstance(value, list | dict) else value for value in values))
        ]

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
