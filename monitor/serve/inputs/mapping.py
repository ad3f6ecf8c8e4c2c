"""The map of the sample: the reference's plane with sessions of the reference and of now, and sessions to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from detectors.explain.exemplars import most_changed, typical
from detectors.explain.plane import Apart, Plane, apart
from monitor.serve.cells import percent, plain
from monitor.serve.inputs.reading import Vectors
from monitor.store.inputs import Kept

Float = NDArray[np.float64]

MOST_DOTS = 300  # of each period
LEAST = 20  # sessions of each period
EXEMPLARS = 6  # of each role
WIDTH: Final = 640.0
_LEAST_HEIGHT, _MOST_HEIGHT, _EDGE = 300.0, 560.0, 12.0
ROLES: Final = ("typical of the reference", "typical now", "farthest from the reference now")


@dataclass(frozen=True, slots=True)
class Dot:
    """A session on the map. ``href`` is None for who may not see it, and where nothing is kept of it."""

    x: float
    y: float
    text: str
    href: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """The dots of a period, and where their mean lies."""

    name: str
    kind: str  # before | now
    dots: list[Dot]
    mean: tuple[float, float]

    @property
    def svg(self) -> Markup:
        """The dots as SVG: hundreds, which a template takes several times as long for."""
        return Markup("").join(_svg(dot) for dot in self.dots)


@dataclass(frozen=True, slots=True)
class Map:
    """What the template draws, with what it means in numbers."""

    width: float
    height: float
    groups: tuple[Group, Group]
    shown: tuple[int, int]
    measured: tuple[int, int]
    facts: list[tuple[str, str, str]]  # what, the figure, what it means
    words: str
    part: str  # of the reference's variance that the map shows


def compare(before: Vectors, now: Vectors) -> tuple[Plane, Apart] | None:
    """None where a period has too few sessions, or their vectors are of different sizes."""
    if min(len(before), len(now)) < LEAST or before.rows.shape[1] != now.rows.shape[1]:
        return None
    plane = Plane.fit(before.rows, before.weights)
    return plane, apart(before.rows, now.rows, before_weights=before.weights, now_weights=now.weights)


def drawn(
    before: Vectors,
    now: Vectors,
    plane: Plane,
    found: Apart,
    kept: Mapping[str, Kept],
    when: Any,
    *,
    modality: str,
    sees: bool,
    names: tuple[str, str] = ("the reference", "now"),
) -> Map:
    """The map. ``kept``: of the dots' samples; ``when`` writes a time (µs); ``sees``: the caller may see content;
    ``names``: of the periods."""
    was, is_ = (plane.coordinates(v.rows[:MOST_DOTS]) for v in (before, now))
    both = np.vstack([was, is_])
    low, high = both.min(axis=0), both.max(axis=0)
    extent = np.where(high > low, high - low, 1.0)
    unit = min((WIDTH - 2 * _EDGE) / extent[0], (_MOST_HEIGHT - 2 * _EDGE) / extent[1])  # the same on both axes
    height = max(_LEAST_HEIGHT, float(np.ceil(unit * extent[1] + 2 * _EDGE)))
    middle = (low + high) / 2.0

    def at(point: Float) -> tuple[float, float]:
        return (
            round(float(WIDTH / 2 + unit * (point[0] - middle[0])), 1),
            round(float(height / 2 - unit * (point[1] - middle[1])), 1),
        )

    def group(name: str, kind: str, vectors: Vectors, points: Float) -> Group:
        dots = [
            Dot(
                *at(point),
                f"{name.capitalize()}, {when(sample.window_us)}",
                _href(sample.sample_id, kept, modality, sees=sees),
            )
            for sample, point in zip(vectors.samples[:MOST_DOTS], points, strict=True)
        ]
        mean = plane.coordinates(np.average(vectors.rows, axis=0, weights=vectors.weights)[None, :])[0]
        x, y = at(mean)
        return Group(name, kind, dots, (min(max(x, 0.0), WIDTH), min(max(y, 0.0), height)))

    part = f"{percent(sum(plane.part))} %"
    facts = _facts(found, plane, before, now, names)
    return Map(
        width=WIDTH,
        height=height,
        groups=(group(names[0], "before", before, was), group(names[1], "now", now, is_)),
        shown=(len(was), len(is_)),
        measured=(len(before), len(now)),
        facts=facts,
        words=(
            f"{len(was)} sessions of {names[0]} and {len(is_)} of {names[1]} in the plane that shows {part} of the "
            f"variance of {names[0]}. In full space their means lie {plain(found.distance)} apart, and "
            f"{percent(found.beyond.value)} % of the sessions of {names[1]} lie farther out than 95 % of the others."
        ),
        part=part,
    )


def _facts(
    found: Apart, plane: Plane, before: Vectors, now: Vectors, names: tuple[str, str]
) -> list[tuple[str, str, str]]:
    first, last = (
        plane.coordinates(np.average(v.rows, axis=0, weights=v.weights)[None, :])[0] for v in (before, now)
    )  # fmt: skip
    share, far = [percent(part) for part in plane.part], found.beyond
    interval = f"{percent(far.low)} – {percent(far.high)} %"
    times = f"; this is {plain(found.distance / found.chance)} times as much" if found.chance > 0 else ""
    return [
        (
            "Means apart, in full space",
            plain(found.distance),
            f"samples of these sizes lie {plain(found.chance)} apart where nothing changed{times}",
        ),
        (
            f"Sessions of {names[1]} that are far out",
            f"{percent(far.value)} %",
            f"95 % interval {interval}; farther from the mean of {names[0]} than 95 % of its own",
        ),
        (
            f"Spread of {names[0]}",
            plain(found.spread),
            "root mean square distance of its sessions from their mean",
        ),
        (
            "Means apart, on the map",
            plain(float(np.linalg.norm(last - first))),
            f"of the variance of {names[0]}, {share[0]} % lies from left to right, {share[1]} % upward",
        ),
    ]


def chosen(before: Vectors, now: Vectors, kept: Mapping[str, Kept], *, modality: str) -> list[dict[str, Any]]:
    """Sessions to look at, by role; of images those alone whose picture is kept, while there are enough of these."""
    first, last = (_shown(v, kept, modality) for v in (before, now))
    found: list[dict[str, Any]] = []
    was, is_ = before.rows[first], now.rows[last]
    roles: list[tuple[str, Vectors, Sequence[int], NDArray[np.int64]]] = [
        (ROLES[0], before, first, typical(was, EXEMPLARS, before.weights[first])),
        (ROLES[1], now, last, typical(is_, EXEMPLARS, now.weights[last])),
    ]
    if len(before) and len(last):
        far = np.linalg.norm(is_ - np.average(before.rows, axis=0, weights=before.weights), axis=1)
        roles.append((ROLES[2], now, last, most_changed(is_, far, EXEMPLARS)))
    for role, vectors, positions, at in roles:
        for i in at.tolist():
            sample = vectors.samples[positions[i]]
            found.append({"role": role, "sample_id": sample.sample_id, "window": sample.window_us})
    return found


def _shown(vectors: Vectors, kept: Mapping[str, Kept], modality: str) -> list[int]:
    ids = [sample.sample_id for sample in vectors.samples]
    at = [i for i, one in enumerate(ids) if one in kept and (kept[one].pictured or modality != "image")]
    return at if len(at) >= EXEMPLARS else list(range(len(ids)))


def _svg(dot: Dot) -> Markup:
    circle = f'<circle cx="{dot.x:g}" cy="{dot.y:g}" r="4"/>'
    if dot.href is None:
        return Markup(circle)
    link = f'<a href="{escape(dot.href)}" tabindex="-1" aria-label="{escape(dot.text)}">{circle}</a>'
    return Markup(link)


def _href(sample_id: str, kept: Mapping[str, Kept], modality: str, *, sees: bool) -> str | None:
    if not sees or sample_id not in kept:
        return None
    picture = "/thumbnail" if kept[sample_id].pictured and modality == "image" else ""
    return f"/api/samples/{quote(sample_id, safe='')}{picture}"
