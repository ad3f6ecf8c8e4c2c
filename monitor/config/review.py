"""`review`: who is reviewed, the queue, and its page."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from monitor.config.section import Section, written
from monitor.config.units import Duration

DEFAULT_POOL = "default"  # the pool of everything that no other takes


class Question(Section):
    """What reviewers are asked beside whether the answer is correct."""

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$", description="Name under which answers are stored and exported."
    )
    text: str = Field(min_length=1, max_length=500, description="The question as reviewers read it.")
    kind: Literal["choice", "text", "fields"] = Field(
        description="`choice`: one of `choices`; `text`: some words; `fields`: any of the fields of the output's JSON."
    )
    choices: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        (), max_length=20, description="What can be chosen; for `choice` alone."
    )
    segments: tuple[str, ...] = Field((), description="Only asked in these segments; default: in all.")
    when: Literal["correct", "wrong", "unsure"] | None = Field(
        None, description="Only asked with this verdict; default: with each."
    )

    @model_validator(mode="after")
    def _choices_for_choice(self) -> Question:
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError(
                "a question of the kind choice needs choices"
                if self.kind == "choice"
                else f"only a question of the kind choice has choices, this one is of the kind {self.kind}"
            )
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("two choices are the same; name each once")
        return self


class ReviewerPool(Section):
    """Reviewers who share work. An item is the first pool's that takes it."""

    labels: int = Field(ge=0, description="Labels they can give in a day of event time; what is drawn adds up to this.")
    segments: tuple[str, ...] = Field((), description="Patterns (`*`) of segments; empty: all of them.")
    languages: tuple[str, ...] = Field((), description="Languages, as events name them; empty: all, known or not.")


class Review(Section):
    """Who is reviewed, the queue, and its page."""

    labels: int = Field(
        100, ge=0, description="Labels that can be given in a day of event time, of all that no pool takes; 0: none."
    )
    pools: dict[str, ReviewerPool] = Field({}, description="Name: reviewer pool; tried in order.")
    floor_low: float = Field(0.0, ge=0, description="Labels a day that a segment of low stakes gets at least.")
    floor_medium: float = Field(1.0, ge=0, description="The same for medium stakes.")
    floor_high: float = Field(5.0, ge=0, description="The same for high stakes.")
    overlap: float = Field(
        0.1, ge=0, le=1, description="Share of items that two reviewers label, so that their agreement is known."
    )
    language_attribute: str = Field("language", description="Attribute of events that names their language.")
    lease: Duration = Field(written("10m"), description="How long a reviewer has an item before others may get it.")
    expires: Duration = Field(
        written("14d"),
        description="How long an item waits for its labels (wall clock); then it leaves the queue as non-response.",
    )
    undo: Duration = Field(written("1h"), description="How long a reviewer can take back a label or skip.")
    most_skips: int = Field(
        3, ge=1, le=100, description="An item that so many reviewers skipped leaves the queue as non-response."
    )
    blind: bool = Field(
        True,
        description="Confidence, disagreement, predicted error and why an item was chosen are told only once it is "
        "labelled, so that they do not sway the label.",
    )
    questions: tuple[Question, ...] = Field(
        (), max_length=20, description="What is asked beside the verdict, in this order."
    )
    pixels: bool = Field(
        True, description="Keep the images of items, encoded anew, until they are labelled; else thumbnails are shown."
    )
    pixels_side: int = Field(1600, ge=256, le=4096, description="Longest side of these images; longer ones are shrunk.")
    pixels_pages: int = Field(8, ge=1, le=100, description="Most images of one item, pages of documents counted.")
    keep_pixels: Duration = Field(
        written("0s"),
        description="How long they are kept after the last label; at least `undo`, within which it may be taken back.",
    )

    def asked(self) -> dict[str, ReviewerPool]:
        """Reviewer pools by name, in the order in which they are tried; those without labels to give take nothing."""
        found = {**self.pools, DEFAULT_POOL: ReviewerPool(labels=self.labels)}
        return {name: pool for name, pool in found.items() if pool.labels > 0}

    @model_validator(mode="after")
    def _names_differ(self) -> Review:
        names = [question.name for question in self.questions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two questions have the name {twice[0]!r}; their answers could not be told apart")
        return self
