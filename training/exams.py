"""Questions as exams put them, by subject: a context, what is asked, places of images, options.

The subjects (``subjects.json``) were written for this project from what such subjects are about; no text of a benchmark
is among them. Terms and stems are drawn independently, so most questions make no sense, but their words keep the
company that they keep in exams.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from training import words

# Subject: its terms, and its stems with {a} {b} {c} terms, {d} {e} small and {n} {m} larger numbers, {x} a decimal,
# {y} a year.
SUBJECTS: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_name("subjects.json").read_text("utf-8"))
HELD = ("astronomy", "marketing", "materials", "psychology")  # subjects that choose between models, never trained on
_ENDS = (
    "Round to two decimals.",
    "Choose the correct option.",
    "Show your work.",
    "Assume that air resistance is negligible.",
    "Options: {a}; {b}; {c}; none of these.",
    "(A) {a} (B) {b} (C) {c}",
    "Select one answer.",
    "Which of the following is true?",
    "Explain.",
    "All of the above.",
    *[""] * 6,
)
_STARTS = (
    *[""] * 5,
    "Question {e}: ",
    "<image 1> ",
    "Refer to the figure <image 1>. ",
    "Consider the following. ",
    "Hint: use {c}. ",
    "Please answer. ",
    "The following questions are about {c}. ",
    "{d}. ",
    "In the picture <image 1>, ",
    "Look at <image 1> and <image 2>. ",
)


def questions(rng: np.random.Generator, count: int, others: list[str], *, held: bool = False) -> list[str]:
    """``count`` questions of the trained subjects, or of those that are held out.

    In every third a term is one of ``others``, so that more words stand where terms do.
    """
    subjects = [SUBJECTS[name] for name in sorted(SUBJECTS) if (name in HELD) == held]
    return [_question(rng, subjects[int(rng.integers(len(subjects)))], others) for _ in range(count)]


def _question(rng: np.random.Generator, subject: dict[str, list[str]], others: list[str]) -> str:
    terms, stems = subject["terms"], subject["stems"]
    parts = [stems[int(i)] for i in rng.choice(len(stems), 1 + int(rng.random() < 0.35), replace=False)]
    text = words.choose(rng, _STARTS) + " ".join(parts) + " " + words.choose(rng, _ENDS)
    a, b, c = (terms[int(i)] for i in rng.choice(len(terms), 3, replace=False))
    if others and rng.random() < 1 / 3:
        b, a = a, others[int(rng.integers(len(others)))]
    facts = {
        "a": a, "b": b, "c": c, "n": int(rng.integers(10, 900)), "m": int(rng.integers(10, 90)),
        "x": round(float(rng.random()) * 9, 2), "d": int(rng.integers(2, 15)), "e": int(rng.integers(2, 7)),
        "y": int(rng.integers(1700, 2024)),
    }  # fmt: skip
    for name, value in facts.items():  # formulas have braces of their own: no str.format
        text = text.replace(f"{{{name}}}", str(value))
    text = text.strip()
    return text[0].upper() + text[1:]
