"""Charts of the inputs over time: weighted shares and medians of sampled sessions, with 95 % intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.explain.concepts import Concepts, concepts
from detectors.explain.conditions import FEW, Condition, Moved, conditions
from detectors.explain.weighted import Limits, Share, difference, median
from monitor.evaluate.compared import IMAGE_CONDITIONS, TEXT_CONDITIONS, Sessions
from monitor.evaluate.sampled import mean_agreement
from monitor.serve.cells import Cell, percent, plain, written
from monitor.serve.charts import MOST_SERIES, Chart, Mark, Point, Series, over_time
from monitor.serve.inputs.reading import Seen
from monitor.serve.shell import View
from monitor.times import DAY_US

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

LEAST = 5  # sessions of a step, below which it is a gap
TAIL = 0.05  # of the reference's sessions, those that match their text least
LEVEL = 0.95
MOST_CHANGED, FIRST = 4, 4  # conditions that are drawn: of those that changed, or of all where none did
_SHARE = written("1", "")
NAMES: Final[Mapping[str, str]] = {
    "skew": "Skew", "turned": "Turned on its side or head", "contrast": "Contrast", "brightness": "Brightness",
    "blur": "Blur", "noise": "Noise", "text_density": "Density of text", "text_height": "Height of text",
    "megapixels": "Size of images", "page_ness": "Likeness to a page", "characters": "Characters of text",
}  # fmt: skip
_UNITS = {"skew": "°", "megapixels": "MP", "text_height": "px"}
_SHARES = frozenset({"turned"})  # told as shares; the others as medians


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: before, now and the change, as they are shown."""

    name: str
    before: Cell
    now: Cell
    change: Cell
    named: bool  # beyond chance


@dataclass(frozen=True, slots=True)
class Drawn:
    """How every chart of the page is drawn."""

    seen: Seen
    view: View
    zone: ZoneInfo
    marks: list[Mark]

    def over_time(
        self,
        key: str,
        title: str,
        series: Sequence[Series],
        form: Callable[[float], str],
        *,
        limits: Sequence[tuple[float, str]] = (),
        zero: bool = True,
        note: str = "",
    ) -> Chart:
        return over_time(
            key, title, series, (self.view.begin_us, self.view.end_us), self.zone, form,
            step_us=self.seen.steps.step_us, marks=self.marks, limits=limits, zero=zero, note=note,
        )  # fmt: skip

    def inside(self, at_us: int) -> int:
        """The middle of a step, within the range."""
        return min(max(at_us, self.view.begin_us), self.view.end_us - 1)

    def points(
        self, values: Float, weights: Float, of_step: Int64, of: Callable[[Float, Float], Limits]
    ) -> list[Point]:
        """A point for each step with enough values that are not NaN."""
        found, seen = [], np.isfinite(values)
        values, weights, of_step = values[seen], weights[seen], of_step[seen]
        for step in np.unique(of_step).tolist():
            mine = of_step == step
            if int(mine.sum()) >= LEAST:
                limits = of(values[mine], weights[mine])
                found.append(Point(self.inside(self.seen.steps.middle(step)), limits.value, limits.low, limits.high))
        return found

    def shares(self, member: ArrayLike, weights: Float, of_step: Int64) -> list[Point]:
        """Of a yes (1), no (0) or unknown (NaN) of every session."""
        return self.points(np.asarray(member, dtype=np.float64), weights, of_step, share)

    def medians(self, values: Float, weights: Float, of_step: Int64) -> list[Point]:
        return self.points(values, weights, of_step, lambda x, w: median(x, w, LEVEL))


def share(member: Float, weights: Float) -> Limits:
    """A weighted share with its limits."""
    return Share.of(member > 0, weights).limits(LEVEL)


def coverage(drawn: Drawn) -> tuple[Chart, Counter[str]]:
    """Of the samples that no longer wait the share that was embedded and that is missing, by reason; and how many of
    the range are in which state (of missing ones: the reason)."""
    looked, of_step = drawn.seen.read.looked, drawn.seen.of_step
    became = [one.reason or one.state if one.state == "missing" else one.state for one in looked]
    counts = Counter(became)
    settled = np.array([state != "pending" for state in became], dtype=np.bool_)
    reasons = [name for name, _ in counts.most_common() if name not in ("pending", "embedded")]
    names = ["embedded", *reasons[: MOST_SERIES - 1]]
    series = []
    for name in names:
        member = np.array([state == name for state in became], dtype=np.bool_)
        points = []
        for step in np.unique(of_step[settled]).tolist():
            mine = settled & (of_step == step)
            points.append(Point(drawn.inside(drawn.seen.steps.middle(step)), float(member[mine].mean())))
        series.append(Series(name if name == "embedded" else f"missing: {name}", points))
    chart = drawn.over_time("coverage", "Share of the sampled inputs that were embedded", series, _SHARE)
    return chart, counts


@dataclass(frozen=True, slots=True)
class Words:
    """``chart`` is None where no image has concepts; ``rows`` compare with the reference, where there is one."""

    chart: Chart | None
    rows: list[Row]
    sessions: tuple[int, int]  # before, now


def words(drawn: Drawn) -> Words:
    """Concepts: of each session's first image the nearest word. Those that changed come first, then the commonest."""
    seen = drawn.seen
    known, found = seen.before.embedded_by(seen.encoder).concepts(), seen.embedded.concepts()
    if not found:
        return Words(None, [], (0, 0))
    versions = [version for version in found if version in known] or list(found)
    version = max(versions, key=lambda name: (len(found[name][0]), name))
    is_, at = found[version]
    weights, of_step = seen.embedded.weights[at], _of_step(drawn, seen.embedded)[at]
    told: Concepts | None = None
    if version in known:
        was, at_was = known[version]
        before = seen.before.embedded_by(seen.encoder).weights[at_was]
        told = concepts(was, is_, before_weights=before, now_weights=weights)
    names = np.array(is_, dtype=object)
    total = {name: float(weights[names == name].sum()) for name in set(is_)}
    common = sorted(total, key=lambda name: (-total[name], name))
    changed = [] if told is None else sorted(told.named, key=lambda one: -abs(one.change.value))
    chosen = list(dict.fromkeys([*(one.name for one in changed[:4]), *common]))[:MOST_SERIES]
    series = [Series(name, drawn.shares(names == name, weights, of_step)) for name in chosen]
    chart = drawn.over_time(
        "concepts", "What the images look like: share of the sessions by nearest word", series, _SHARE,
        note="Of sampled sessions, each counted 1 / (its chance of being sampled); the table has 95 % intervals."
        + (f" {len(common) - len(chosen)} rarer words are not drawn." if len(common) > len(chosen) else ""),
    )  # fmt: skip
    rows = []
    if told is not None:
        everything = sorted(
            (*told.gained, *told.lost), key=lambda one: (not one.named, -abs(one.change.value), one.name)
        )
        rows = [
            Row(one.name, _percent(one.before), _percent(one.now), _points(one.change), one.named) for one in everything
        ]
    return Words(chart, rows, (len(known[version][0]) if version in known else 0, len(is_)))


@dataclass(frozen=True, slots=True)
class Agreement:
    """Image-text agreement; both charts are None where it is not measured."""

    median: Chart | None
    low: Chart | None
    row: tuple[Row, Row] | None


def agreement(drawn: Drawn) -> Agreement:
    """The median cosine of images with their request's text, and the share below the reference's `TAIL`."""
    seen = drawn.seen
    scores, weights, of_step = _agreements(seen.embedded), seen.embedded.weights, _of_step(drawn, seen.embedded)
    if not np.isfinite(scores).any():
        return Agreement(None, None, None)
    before = seen.before.embedded_by(seen.encoder)
    was, u = _agreements(before), before.weights
    u, was = u[np.isfinite(was)], was[np.isfinite(was)]
    limits, tail, rows = [], None, None
    if was.size >= FEW:
        usual, order = median(was, u, LEVEL), np.argsort(was, kind="stable")
        limits = [(usual.value, "the reference's median")]
        bound = float(was[order][int(np.searchsorted(np.cumsum(u[order]) / u.sum(), TAIL))])
        below = np.where(np.isfinite(scores), scores < bound, np.nan)
        tail = drawn.over_time(
            "agreement-low",
            "Share of the sessions whose image matches its text less than nearly all of the reference's do",
            [Series("share", drawn.shares(below, weights, of_step))],
            _SHARE,
            limits=[(share((was < bound).astype(float), u).value, "the reference's share")],
            note=f"Below a cosine of {plain(bound)}; dashed: the reference's share, 5 % or a little less.",
        )
        known = np.isfinite(scores)
        is_ = median(scores[known], weights[known], LEVEL)
        first, last = share((was < bound).astype(float), u), share(below[known], weights[known])
        rows = (
            Row("median cosine", _number(usual, ""), _number(is_, ""), _change(usual, is_, ""), False),
            Row(
                "share below the reference's 5 % point", _percent(first), _percent(last), _points_of(first, last), False
            ),
        )
    chart = drawn.over_time(
        "agreement",
        "Agreement of images with their request's text: median cosine",
        [Series("median", drawn.medians(scores, weights, of_step))],
        plain,
        limits=limits,
        zero=False,
        note="On the encoder's own scale: compare it with itself alone."
        + (" Dashed: the reference's median." if limits else ""),
    )
    return Agreement(chart, tail, rows)


@dataclass(frozen=True, slots=True)
class Course:
    """A condition over time (``chart`` is None where it is not asked for), and how it compares with the reference."""

    name: str
    chart: Chart | None
    row: Row | None
    named: bool


def conditions_of(drawn: Drawn, *, every: bool) -> list[Course]:
    """Conditions of images and texts, those that changed first; drawn are `MOST_CHANGED` of these, where none changed
    the first `FIRST`, or ``every`` one."""
    seen = drawn.seen
    now = {**seen.now.images(), **seen.now.texts()}
    before = {**seen.before.images(), **seen.before.texts()} if len(seen.before) else {}
    weights = seen.now.weights
    have = [c for c in (*IMAGE_CONDITIONS, *TEXT_CONDITIONS) if np.isfinite(now[c.name]).any()]
    moved = _moved(have, before, now, seen)
    order = {one.condition.name: i for i, one in enumerate(moved.values())}
    have.sort(key=lambda c: (c.name not in moved or not moved[c.name].named, order.get(c.name, len(order))))
    found: list[Course] = []
    drawn_first = min(MOST_CHANGED, sum(one.named for one in moved.values())) or FIRST
    for condition in have:
        one, values = moved.get(condition.name), now[condition.name]
        name, unit, shares = NAMES[condition.name], _UNITS.get(condition.name, ""), condition.name in _SHARES
        form = _SHARE if shares else _form(unit)
        usual, row = None, None
        if one is not None:
            was, is_ = (_limits_of(condition, before, now, seen)) if shares else (one.before, one.now)
            usual = was.value
            row = Row(
                name,
                _percent(was) if shares else _number(was, unit),
                _percent(is_) if shares else _number(is_, unit),
                _points_of(was, is_) if shares else _told(one, unit),
                one.named,
            )
        if len(found) >= drawn_first and not every:
            found.append(Course(name, None, row, one is not None and one.named))
            continue
        points = (drawn.shares if shares else drawn.medians)(values, weights, seen.of_step)
        chart = drawn.over_time(
            f"condition-{condition.name.replace('_', '-')}",
            f"{name}: {'share of the sessions' if shares else 'median'}",
            [Series("share" if shares else "median", points)],
            form,
            limits=[] if usual is None else [(usual, "the reference")],
            zero=shares,
        )
        found.append(Course(name, chart, row, one is not None and one.named))
    return found


def mix(drawn: Drawn) -> Chart:
    """What requests consist of: the share of the sessions with an image, a text, a sound among the parts looked at."""
    seen = drawn.seen
    settled = np.array([one.state == "embedded" for one in seen.read.looked], dtype=np.bool_)
    kinds = [[part[0] for part in sample.parts] for sample in seen.now.samples]
    series = []
    for name, kind, least in (
        ("an image", "image", 1),
        ("a text", "text", 1),
        ("a sound", "audio", 1),
        ("several images or pages", "image", 2),
    ):
        member = np.array([of.count(kind) >= least for of in kinds], dtype=np.bool_)
        if member.any():
            points = drawn.shares(np.where(settled, member, np.nan), seen.now.weights, seen.of_step)
            series.append(Series(name, points))
    return drawn.over_time(
        "mix", "What requests hold: share of the sessions with", series, _SHARE,
        note="Among the parts that were looked at (sampling.parts); a page of a PDF counts as an image. The table "
        "has 95 % intervals.",
    )  # fmt: skip


def sizes(drawn: Drawn) -> Chart | None:
    """Bytes of input over all events, not the sample; None for all segments together."""
    if not drawn.seen.sizes:
        return None
    series = []
    for name, quantile in (("median", 0.5), ("p95", 0.95)):
        points = []
        for at, summary in drawn.seen.sizes.items():
            histogram = summary.histogram("input_bytes")
            value, interval = histogram.quantile(quantile), histogram.quantile_interval(quantile)
            if value is not None and interval is not None:
                points.append(Point(drawn.inside(at), value / 1024, interval.low / 1024, interval.high / 1024))
        series.append(Series(name, points))
    return over_time(
        "sizes", "Size of a request's inputs", series, (drawn.view.begin_us, drawn.view.end_us), drawn.zone,
        _form("KiB"),
        step_us=max(drawn.seen.steps.step_us, DAY_US), marks=drawn.marks, note="Of all events, not of the sample.",
    )  # fmt: skip


# -- figures --------------------------------------------------------------------------------------------------


def _of_step(drawn: Drawn, sessions: Sessions) -> Int64:
    number = drawn.seen.steps.number
    return np.array([number(sample.window_us) for sample in sessions.samples], dtype=np.int64)


def _agreements(sessions: Sessions) -> Float:
    """One cosine per session, NaN without a pair."""
    means = [mean_agreement(sample) for sample in sessions.samples]
    return np.array([np.nan if mean is None else mean for mean in means], dtype=np.float64)


def _moved(
    which: Sequence[Condition], before: Mapping[str, Float], now: Mapping[str, Float], seen: Seen
) -> dict[str, Moved]:
    """Conditions that both periods have enough of, the clearest change first. With few sessions the test would draw
    thousands of permutations, too long for a page: those are not compared."""
    counted = [c for c in which if c.name in before]
    enough = [c for c in counted if min(_n(before[c.name]), _n(now[c.name])) >= FEW]
    if not enough:
        return {}
    rng = np.random.default_rng(0)  # of permutations that are not drawn
    weights: dict[str, Any] = {"before_weights": seen.before.weights, "now_weights": seen.now.weights}
    return {one.condition.name: one for one in conditions(enough, before, now, rng=rng, **weights).moved}


def _n(values: Float) -> int:
    return int(np.isfinite(values).sum())


def _limits_of(
    condition: Condition, before: Mapping[str, Float], now: Mapping[str, Float], seen: Seen
) -> tuple[Limits, Limits]:
    was, is_ = before[condition.name], now[condition.name]
    u, v = seen.before.weights[np.isfinite(was)], seen.now.weights[np.isfinite(is_)]
    return share(was[np.isfinite(was)], u), share(is_[np.isfinite(is_)], v)


def _form(unit: str) -> Callable[[float], str]:
    return lambda value: f"{plain(value)} {unit}".rstrip()


def _percent(limits: Limits) -> Cell:
    return Cell(_SHARE(limits.value), f"{percent(limits.low)} – {percent(limits.high)}")


def _number(limits: Limits, unit: str) -> Cell:
    return Cell(_form(unit)(limits.value), f"{plain(limits.low)} – {plain(limits.high)}")


def _points(change: Limits) -> Cell:
    low, value, high = (f"{100 * part:+.1f}" for part in (change.low, change.value, change.high))
    return Cell(f"{value} points", f"{low} – {high}")


def _points_of(before: Limits, now: Limits) -> Cell:
    return _points(difference(now, before))


def _change(before: Limits, now: Limits, unit: str) -> Cell:
    found = difference(now, before)
    return Cell(f"{found.value:+.3g} {unit}".rstrip(), f"{found.low:+.3g} – {found.high:+.3g}")


def _told(moved: Moved, unit: str) -> Cell:
    if moved.condition.told == "relative":
        low, value, high = (f"{100 * part:+.1f}" for part in (moved.change.low, moved.change.value, moved.change.high))
        return Cell(f"{value} %", f"{low} – {high}")
    return _change(moved.before, moved.now, unit)
