"""What the review API takes and answers, as types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from monitor.serve.models import Iso
from monitor.serve.parameters import Text
from monitor.store.review.audit import MOST_REQUEST_ID
from monitor.store.review.items import MOST_NOTE

Verdict = Literal["correct", "wrong", "unsure"]
RequestId = Annotated[
    str,
    Meta(
        max_length=MOST_REQUEST_ID,
        pattern="^[0-9A-Za-z_.:-]*$",
        description="Made by the client for this request, so that it may be sent again until it is answered; or empty.",
    ),
]
ItemId = Annotated[str, Meta(pattern="^[0-9A-Za-z]{1,64}$")]
Name = Annotated[Text, Meta(pattern="^[^\\x00]*$")]  # no text of PostgreSQL holds a NUL


class Filter(Struct, frozen=True, forbid_unknown_fields=True):
    """What a reviewer takes; null takes all. ``language`` is empty where it is unknown."""

    segment: Name | None = None
    language: Name | None = None
    pool: Name | None = None


class PictureQuery(Struct, frozen=True, forbid_unknown_fields=True):
    page: Annotated[int, Meta(ge=1, le=100_000, description="Page of the part, from 1.")] = 1


class Take(Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for items to label."""

    filter: Filter = field(default_factory=Filter)
    count: Annotated[int, Meta(ge=1, le=10, description="Most items.")] = 1


class GivenLabel(Struct, frozen=True, forbid_unknown_fields=True):
    """A label, and what is wanted next."""

    item_id: ItemId
    verdict: Verdict
    answers: dict[str, Any] = field(default_factory=dict)
    note: Annotated[str, Meta(max_length=MOST_NOTE)] = ""
    request_id: RequestId = ""
    filter: Filter = field(default_factory=Filter)
    count: Annotated[int, Meta(ge=0, le=10, description="Most items to answer with.")] = 0


class GivenSkip(Struct, frozen=True, forbid_unknown_fields=True):
    """An item passed on, why, and what is wanted next."""

    item_id: ItemId
    reason: Annotated[str, Meta(max_length=200)] = ""
    request_id: RequestId = ""
    filter: Filter = field(default_factory=Filter)
    count: Annotated[int, Meta(ge=0, le=10, description="Most items to answer with.")] = 0


class GivenUndo(Struct, frozen=True, forbid_unknown_fields=True):
    """Takes back the caller's last label or skip."""

    request_id: RequestId = ""


class GivenRenewal(Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for a lease to go on."""

    item_id: ItemId


class ShownText(Struct, frozen=True):
    """A text of an event. What hides or reorders characters is written out, as ``[U+202E]``."""

    text: str
    more: Annotated[int, Meta(description="Characters after it that are left out.")]


class ShownInput(Struct, frozen=True):
    """A part of the input: its text, or the pages of which pixels are stored."""

    part: int
    kind: str
    caption: Annotated[str, Meta(description="What the event says of it: name, media type, size, pages.")]
    text: ShownText | None
    pages: Annotated[int, Meta(description="How many pages it says it has; 0 for what is not looked at.")]
    pictures: Annotated[dict[int, str], Meta(description="Address of the pixels by page.")]
    why: Annotated[str, Meta(description="Why there are no pixels, else empty.")]


class ShownOutput(Struct, frozen=True):
    """A part of the output. ``json``: its text is JSON, laid out; every literal is as it was written."""

    kind: str
    text: ShownText
    json: bool


class ShownCitation(Struct, frozen=True):
    """A quote beside its source: ``before``, ``match`` and ``after`` are the source around it."""

    quote: ShownText
    source: str
    part: Annotated[int | None, Meta(description="The input part it is on, where that is known.")]
    page: int
    region: Annotated[list[float] | None, Meta(description="Left, top, right, bottom of the page, 0 to 1.")]
    found: Annotated[bool | None, Meta(description="Whether the quote is in the source text; null without one.")]
    said: Annotated[bool | None, Meta(description="Whether the producer says that it is.")]
    before: str
    match: str
    after: str


class AskedQuestion(Struct, frozen=True):
    """A question of `review.questions` that is asked of this item."""

    name: str
    text: str
    kind: Literal["choice", "text", "fields"]
    choices: list[str]
    when: Verdict | None


class Revealed(Struct, frozen=True):
    """What blind reviewers are told of an item once they have labelled it."""

    confidence: Annotated[float | None, Meta(description="The feature's own, 0 to 1.")]
    disagreement: Annotated[bool | None, Meta(description="Whether the cross-check disagreed.")]
    verification_failed: bool | None
    predicted_error: Annotated[float, Meta(description="Chance of an error that the draw supposed.")]
    reasons: Annotated[list[str], Meta(description="Why the item was chosen.")]
    probability: Annotated[float, Meta(description="With which the event became an item.")]


class ReviewItem(Struct, frozen=True):
    """An item of the review queue as reviewers see it."""

    id: str
    event_id: str
    segment: str
    route: str
    time: Iso
    language: str
    model: str
    prompt: Annotated[str, Meta(description="Name and version.")]
    latency_ms: float | None
    cost: float | None
    currency: str
    outcome: str
    error_type: str
    state: str
    lease_until: Annotated[Iso | None, Meta(description="When the lease ends; null for what nobody has.")]
    missing: Annotated[str, Meta(description="Why there is no content, else empty.")]
    inputs: list[ShownInput]
    output: list[ShownOutput]
    schema_valid: Annotated[
        bool | None, Meta(description="Whether the output satisfied its schema; null: not checked.")
    ]
    citations: list[ShownCitation]
    left_out: Annotated[int, Meta(description="Parts and citations beyond those that are shown.")]
    fields: Annotated[list[str], Meta(description="Fields of the output's JSON.")]
    questions: list[AskedQuestion]
    revealed: Annotated[Revealed | None, Meta(description="Null until the caller has labelled it, if review.blind.")]


class Batch(Struct, frozen=True):
    """Items leased to the caller, those he had first. ``empty``: why there are none, and what to do."""

    items: list[ReviewItem]
    empty: str


class AnswerResult(Struct, frozen=True):
    """What a label or skip led to, and the items that are next."""

    item_id: str
    state: str
    repeated: Annotated[bool, Meta(description="Carried out before by a request with this id; nothing was changed.")]
    revealed: Revealed | None
    items: list[ReviewItem]
    empty: str


class UndoResult(Struct, frozen=True):
    """What was taken back. ``leased``: the caller has the item again."""

    item: ReviewItem
    kind: Literal["label", "skip"]
    leased: bool
    repeated: bool


class Renewed(Struct, frozen=True):
    """When the lease ends now."""

    item_id: str
    lease_until: Iso


class DayProgress(Struct, frozen=True):
    """What the caller did today (configured time zone), and what is left."""

    reviewer: str
    since: Iso
    labelled: int
    unsure: Annotated[int, Meta(description="Of the labelled ones.")]
    skipped: int
    leased: int
    left: Annotated[int, Meta(description="Items that wait for a label and pass the filter, the caller's included.")]


class EstimateQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which error rates are asked for."""

    segment: Annotated[Text, Meta(description="Only of this segment; default: of every one, and `all`.")] | None = None
    days: Annotated[int, Meta(ge=1, le=800, description="Days back from what is evaluated; whole days count.")] = 28
    by: Annotated[Literal["all", "week"], Meta(description="One estimate a segment, or one per seven days.")] = "all"
    confidence: Annotated[float, Meta(ge=0.5, le=0.999, description="Of every interval.")] = 0.95


class Limits(Struct, frozen=True):
    """An interval of a rate."""

    low: float
    high: float


class ErrorRate(Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """How often answers of a segment are wrong, from what reviewers said; docs/review.md."""

    segment: str
    since: Iso
    until: Iso
    rate: Annotated[float | None, Meta(description="null: no item has a decided label.")]
    once: Annotated[Limits, Meta(description="For one look.")]
    always: Annotated[Limits | None, Meta(description="At every look; null before a day of the stretch is over.")]
    bounds: Annotated[Limits, Meta(description="Whatever the items are that nobody decided.")]
    labels: int
    unsure: int
    missing: Annotated[int, Meta(description="Items nobody will answer, or somebody holds.")]
    waiting: int
    days: Annotated[int, Meta(description="Days of the stretch that the rate is of.")]
    sessions: Annotated[float, Meta(description="Sessions it stands for.")]
    effective: Annotated[float, Meta(description="Labels of a simple random sample that would tell as much.")]
    unsure_rate: float | None


class ErrorRates(Struct, frozen=True):
    """By stretch and segment."""

    error_rates: list[ErrorRate]
