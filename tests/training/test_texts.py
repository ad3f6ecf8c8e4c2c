"""The texts that the text tower learns from: what is held out stays out, and every text comes from its seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from training import exams, texts

PASSAGES = [
    texts.Passage(f"Thing {i}", f"Sort of thing {i}", f"field {i % 5}", (f"Thing {i} is made of parts numbered {i}.",))
    for i in range(200)
]


def test_questions_come_from_their_seed_and_name_their_subjects_terms() -> None:
    first, again = (exams.questions(np.random.default_rng(4), 500, ["a zebra"]) for _ in range(2))
    assert first == again and len(set(first)) > 400
    assert not any(mark in text for text in first for mark in ("{a}", "{b}", "{c}", "{n}", "{m}", "{y}", "{d}"))
    assert 0.05 < np.mean(["zebra" in text for text in first]) < 0.5
    assert np.mean(["<image" in text for text in first]) > 0.4


def test_subjects_that_choose_between_models_are_never_trained_on() -> None:
    assert set(exams.HELD) < set(exams.SUBJECTS)
    stems = [stem.partition("{")[0] for name in exams.HELD for stem in exams.SUBJECTS[name]["stems"]]
    own = [stem for stem in stems if len(stem) > 20]
    trained = exams.questions(np.random.default_rng(5), 5000, [])
    held = exams.questions(np.random.default_rng(5), 5000, [], held=True)
    assert own and all(any(stem in text for text in held) for stem in own)
    assert not any(stem in text for text in trained for stem in own)


def test_an_article_is_on_one_side_whole() -> None:
    held = [p for p in PASSAGES if p.held]
    assert 0 < len(held) < len(PASSAGES) / 5
    digest = hashlib.sha256(held[0].title.encode()).digest()[0]
    assert digest % texts.HELD_SHARE == 0  # of the title alone


def test_passages_become_sentences_and_questions_of_their_own_field() -> None:
    made = texts.passages_as_texts(np.random.default_rng(6), PASSAGES)
    assert made == texts.passages_as_texts(np.random.default_rng(6), PASSAGES)
    assert {p.sentences[0] for p in PASSAGES} < set(made)
    assert {f"{p.title}: {p.about}" for p in PASSAGES} < set(made)
    paragraphs = texts.paragraphs(np.random.default_rng(7), PASSAGES, 50)
    for text in paragraphs:
        fields = {p.field for p in PASSAGES if p.sentences[0] in text or f"{p.title}: {p.about}" in text}
        assert len(fields) == 1
    assert texts.paragraphs(np.random.default_rng(7), [], 5) == []


def test_everyday_sentences_come_with_a_synonym() -> None:
    parts = ("noun", "verb", "adj")
    entries = [
        texts.Passage(
            f"{part}{i}", "gloss", f"{part} 1", ("gloss", f"we {part}{i} here"), (f"{part}{i}", f"other{part}{i}")
        )
        for part in parts
        for i in range(60)
    ]
    made = texts.everyday(np.random.default_rng(8), entries, 300)
    assert made == texts.everyday(np.random.default_rng(8), entries, 300) and len(set(made)) == len(made) > 200
    swapped = [text for text in made if text.startswith("we other")]
    assert swapped and all(text.replace("other", "") in made for text in swapped)
    assert texts.everyday(np.random.default_rng(8), [], 300) == []


def test_a_missing_source_leaves_the_others(tmp_path: Path) -> None:
    assert texts.synsets(tmp_path) == []
    assert texts.split("One sentence that is long enough. Another one that is long enough, too!") == [
        "One sentence that is long enough.",
        "Another one that is long enough, too!",
    ]
