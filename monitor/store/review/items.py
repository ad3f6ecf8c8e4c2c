"""What goes into the queue and comes out of it: items, filters, labels, and why something was declined."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from samplers.pools import Pools

VERDICTS: Final = ("correct", "wrong", "unsure")
LABEL_VERSION: Final = 1
MOST_NOTE: Final = 4_000  # characters
MOST_ANSWERS: Final = 50
MOST_TEXT: Final = 1_000  # characters of a question's name or a text that answers it
MOST_NAME: Final = 100  # characters of a reviewer's or reviewer pool's name
MOST_LANGUAGE: Final = 35
MOST_EVENT_ID: Final = 300
ORIGINS: Final = ("page", "cli", "import", "kafka")

Answer = str | int | float | bool | None | list[str]

Why = Literal["unknown", "not_leased", "done", "removed", "answered", "nothing", "too_late"]


class Declined(Exception):
    """What was asked of the queue cannot be done; nothing was changed. ``why``, one word for programs:

    ``unknown``: no item has this id. ``not_leased``: the item was not given to this reviewer, or somebody else has had
    it since. ``done``, ``removed``: the item has ended. ``answered``: this reviewer has answered it. ``nothing``: the
    reviewer has no answer that could be undone. ``too_late``: the last one is older than may be undone.
    """

    def __init__(self, why: Why, message: str) -> None:
        self.why: Why = why
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class NewItem:
    """A sample that was drawn for review. Its id follows from ``sample_id``; what is wrong raises ValueError.

    ``pi_sample``, ``pi_review``: probabilities of the two draws, (0, 1]; ``race``: [0, 1], the order of the work
    (samplers/review.py); ``score``: predicted chance of an error, [0, 1]; ``day_us``: start of the event's day, which
    with ``segment`` is the pool it was drawn from; ``pool``: whose work it is; ``wanted``: how many reviewers.
    ``user_key`` is that of the sample, '' without one: by it `driftline forget` finds what outlives the sample.
    """

    sample_id: str
    event_id: str
    segment: str
    route: str
    day_us: int
    time_us: int
    pi_sample: float
    pi_review: float
    race: float
    score: float
    reasons: tuple[str, ...] = ()
    pool: str = ""
    language: str = ""
    wanted: int = 1
    user_key: str = ""

    def __post_init__(self) -> None:
        for name in ("pi_sample", "pi_review"):
            value = getattr(self, name)
            if not 0.0 < value <= 1.0:
                raise ValueError(f"{name} must be a probability above 0, got {value!r} for sample {self.sample_id!r}")
        for name in ("race", "score"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, got {value!r} for sample {self.sample_id!r}")
        if self.wanted < 1:
            raise ValueError(f"an item must want a label, got wanted={self.wanted!r} for sample {self.sample_id!r}")
        if not self.sample_id:
            raise ValueError("an item needs its sample's id, got ''")
        for name, most in (("pool", MOST_NAME), ("language", MOST_LANGUAGE)):
            if len(getattr(self, name)) > most:
                raise ValueError(f"{name} may have {most} characters, got {len(getattr(self, name))}")


@dataclass(frozen=True, slots=True)
class PoolSums:
    """Sums over samples of a segment and day, whether drawn for review or not: ``sums`` is of this one pool."""

    segment: str
    day_us: int
    sums: Pools

    def __post_init__(self) -> None:
        if len(self.sums) != 1:
            raise ValueError(f"the sums of one pool are wanted, got those of {len(self.sums)}")

    def encode(self) -> str:
        return json.dumps(self.sums.to_state(), separators=(",", ":"))

    @classmethod
    def decode(cls, segment: str, day_us: int, text: str) -> PoolSums:
        """Raises ValueError for what another version wrote."""
        return cls(segment, day_us, Pools.from_state(json.loads(text)))


@dataclass(frozen=True, slots=True)
class Filters:
    """What a reviewer takes: an empty tuple takes all. ``languages`` holds '' where unknown ones are taken too."""

    pools: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Each combination is a query of its own along an index; see leasing.py.
        if self.combinations > 100:
            raise ValueError(
                f"these filters have {self.combinations} combinations of pool, language and segment; "
                "name at most 100, or leave one of them open"
            )

    @property
    def combinations(self) -> int:
        return math.prod(len(names) or 1 for names in (self.pools, self.languages, self.segments))


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it is. Times µs: ``day_us``, ``time_us`` of the event; the others of the wall clock."""

    item_id: str
    sample_id: str
    event_id: str
    segment: str
    route: str
    day_us: int
    time_us: int
    pool: str
    language: str
    reasons: tuple[str, ...]
    pi_sample: float
    pi_review: float
    race: float
    score: float
    state: str
    ended: str
    leased_by: str
    lease_until_us: int | None
    wanted: int
    labelled: int
    skips: int
    expires_us: int
    created_us: int


ITEM_COLUMNS: Final = tuple(Item.__dataclass_fields__)


def item_values(found: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of an item, of a row of review_items."""
    values = {name: found[name] for name in ITEM_COLUMNS}
    values["reasons"] = tuple(json.loads(values["reasons"]))
    return values


def item_of(found: Mapping[Any, Any]) -> Item:
    """The item of a row of review_items."""
    return Item(**item_values(found))


@dataclass(frozen=True, slots=True)
class Label:
    """What a reviewer says of an item: a verdict, answers to the questions asked, a note. ValueError if it is none."""

    verdict: str
    answers: Mapping[str, Answer] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"expected a verdict, got {self.verdict!r}; write one of {', '.join(VERDICTS)}")
        if not isinstance(self.note, str) or len(self.note) > MOST_NOTE:
            raise ValueError(f"a note is a text of at most {MOST_NOTE} characters")
        if not isinstance(self.answers, Mapping) or len(self.answers) > MOST_ANSWERS:
            raise ValueError(f"answers are an object of at most {MOST_ANSWERS} questions")
        for question, answer in self.answers.items():
            if not isinstance(question, str) or not 0 < len(question) <= MOST_TEXT or not _is_answer(answer):
                raise ValueError(
                    f"the answer to {str(question)[:80]!r} must be a text, a number, true, false, null or a list of "
                    f"texts, of at most {MOST_TEXT} characters each"
                )
        self.encode()  # which finds texts that no database takes

    def redacted(self, redact: Callable[[str], str]) -> Label:
        """What may be stored: every text but the verdict through ``redact`` (`privacy.redact`), cut where that makes
        it longer than a text may be. A label without texts is itself."""
        if not self.note and not self.answers:
            return self

        def answer(value: Answer) -> Answer:
            if isinstance(value, str):
                return redact(value)[:MOST_TEXT]
            return [redact(text)[:MOST_TEXT] for text in value] if isinstance(value, list | tuple) else value

        answers = {redact(question)[:MOST_TEXT]: answer(value) for question, value in self.answers.items()}
        return Label(self.verdict, answers, redact(self.note)[:MOST_NOTE] if self.note else "")

    def encode(self) -> str:
        """Canonical JSON with its format version: equal labels are equal text."""
        return encode({"v": LABEL_VERSION, "verdict": self.verdict, "answers": dict(self.answers), "note": self.note})

    @classmethod
    def decode(cls, text: str) -> Label:
        """The label of `encode`. Raises ValueError for what is none or of a later version."""
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("v") != LABEL_VERSION:
            version = document.get("v") if isinstance(document, dict) else None
            raise ValueError(f"a label of version {LABEL_VERSION} was expected, got version {version!r}")
        return cls(document.get("verdict", ""), document.get("answers", {}), document.get("note", ""))


def _is_answer(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MOST_TEXT
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return len(value) <= MOST_ANSWERS and all(isinstance(v, str) and len(v) <= MOST_TEXT for v in value)
    return value is None or isinstance(value, bool | int)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a label or skip led to. ``repeated``: this request had been carried out before, and nothing was changed.

    ``state`` is the item's state now; ``items`` what comes next, where that was asked for.
    """

    item_id: str
    state: str
    repeated: bool
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back. ``leased``: the reviewer has the item again; not where somebody else has it by now."""

    item: Item
    kind: str  # label | skip
    leased: bool
    repeated: bool


def encode(document: Mapping[str, Any]) -> str:
    """JSON with sorted keys. Raises ValueError for NaN and for texts that no database takes (half a surrogate pair)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    text.encode()
    return text


def check_name(what: str, name: str, most: int = MOST_NAME, least: int = 1) -> None:
    """Raise ValueError unless ``name`` can be what it is meant for in every database."""
    if not least <= len(name) <= most:
        raise ValueError(f"{what} has {least} to {most} characters, got {len(name)}")
    if "\x00" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(f"{what} must be text without NUL and whole surrogate pairs, got {name[:80]!r}")


def encode_list(texts: Sequence[str]) -> str:
    """A JSON list of texts."""
    return json.dumps(list(texts), separators=(",", ":"), ensure_ascii=False)
