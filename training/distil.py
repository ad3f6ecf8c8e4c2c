"""The text tower: token vectors and a small network that point where all-MiniLM-L6-v2 points, in 256 directions.

Token vectors start from the teacher's vectors of single tokens. Trained on ``training.label``'s texts: the own
direction against the teacher's, and similarities within a batch against the teacher's. A vector goes through the
teacher's 256 directions (``basis``) that images live in too, so an image tower can stay where it is when the text
tower is made again: ``--former`` names the text tower that it was trained with.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional

from monitor.embed.encoders.text_tower import TextTower
from monitor.embed.encoders.wordpiece import WordPiece
from training.teacher import made_captions, model_folder
from training.text_model import Quantised, TextNetwork

DIM, BATCH, PIECE = 256, 512, 128
LONGEST = 256  # tokens of a text in training, as the teacher reads
CAPTIONS = 20_000  # that keep the former tower's vectors
RELATE, GROUP = 20.0, 1.0  # weights of the two losses on similarities


@dataclass
class Corpus:
    """Tokens of all texts in a row, and the teacher's vectors: float32[n, 384]."""

    ids: np.ndarray
    begins: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray

    @classmethod
    def of(cls, tokenizer: WordPiece, texts: Sequence[str], targets: np.ndarray) -> Corpus:
        rows = [tokenizer(text)[:LONGEST] or [tokenizer.unknown] for text in texts]
        lengths = np.array([len(row) for row in rows])
        return cls(np.concatenate([np.array(r) for r in rows]), np.cumsum(lengths) - lengths, lengths, targets)

    def padded(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids int64[n, longest], mask float32[n, longest, 1])."""
        at = np.arange(int(self.lengths[rows].max()))
        mask = at < self.lengths[rows][:, None]
        ids = np.where(mask, self.ids[np.minimum(self.begins[rows][:, None] + at, len(self.ids) - 1)], 0)
        return torch.from_numpy(ids), torch.from_numpy(mask[..., None].astype(np.float32))


def read(paths: list[Path]) -> tuple[list[str], np.ndarray]:
    """(texts, the teacher's vectors float32[n, 384]) of chunks."""
    texts: list[str] = []
    vectors = [np.zeros((0, 384), np.float32)]
    for path in paths:
        with np.load(path) as part:
            texts += part["texts"].tolist()
            vectors.append(part["vectors"].astype(np.float32))
    return texts, np.concatenate(vectors)


def former_tower(folder: Path) -> Callable[[Sequence[str]], np.ndarray]:
    """Texts to unit vectors float32[n, DIM] as a text tower made before has them.

    The first version's (``tokens.npz``) were sums of int8 token vectors with an integer multiplier each.
    """
    if not (folder / "tokens.npz").exists():
        return TextTower(folder / "text.onnx", folder / "vocabulary.txt.gz")
    tokenizer = WordPiece(gzip.decompress((folder / "vocabulary.txt.gz").read_bytes()).decode().split("\n"))
    with np.load(folder / "tokens.npz") as file:
        table = file["values"].astype(np.float32) * file["multipliers"][:, None]

    def summed(texts: Sequence[str]) -> np.ndarray:
        rows = np.stack([table[tokenizer(text) or [tokenizer.unknown]].sum(0) for text in texts])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    return summed


def basis(
    folder: Path, texts: list[str], targets: np.ndarray, former: Callable[[Sequence[str]], np.ndarray] | None
) -> np.ndarray:
    """The DIM directions of the teacher's space that texts are kept in: float32[DIM, 384], chosen once for a folder.

    Without a former tower those that carry most of the teacher's vectors; with one, those it was made with, found again
    from its vectors of the same texts (orthogonal Procrustes, Schoenemann 1966, which is exact as such directions are
    principal axes of the targets).
    """
    path = folder / "basis.npy"
    if not path.exists():
        if former is None:
            found = np.linalg.svd(targets.T @ targets)[2][:DIM]
        else:
            left, _, right = np.linalg.svd(targets.T @ former(texts), full_matrices=False)
            found = (left @ right).T
        np.save(path, found.astype(np.float32))
    return np.asarray(np.load(path), np.float32)


def relate(made: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the similarities of all pairs."""
    return (made @ made.T - aim @ aim.T).square().mean()


def uncorrelated(made: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
    """One minus the correlation of similarities over pairs of different texts."""
    upper = torch.triu_indices(len(made), len(made), 1)
    own, theirs = (made @ made.T)[upper[0], upper[1]], (aim @ aim.T)[upper[0], upper[1]]
    own, theirs = own - own.mean(), theirs - theirs.mean()
    return 1 - (own * theirs).sum() / (own.norm() * theirs.norm() + 1e-9)


class Student(nn.Module):
    """The table of token vectors and the network over them."""

    def __init__(self, start: np.ndarray) -> None:
        super().__init__()
        self.table = nn.Embedding(*start.shape, sparse=True)
        self.table.weight.data = torch.from_numpy(start.copy())
        self.network = TextNetwork(start.shape[1], float(1 / np.sqrt(np.square(start).mean())))

    def rows(self, corpus: Corpus, rows: np.ndarray) -> torch.Tensor:
        """Unit vectors float32[n, dim]; ``rows`` should be in order of length."""
        parts = []
        for start in range(0, len(rows), PIECE):
            ids, mask = corpus.padded(rows[start : start + PIECE])
            parts.append(self.network(self.table(ids) * mask, mask))
        return torch.cat(parts)


def agreement(student: Student, corpus: Corpus, most: int = 3000) -> float:
    """Correlation of similarities with the teacher's over pairs of the first ``most`` texts."""
    rows = np.argsort(corpus.lengths[:most], kind="stable")
    with torch.no_grad():
        made, aim = student.rows(corpus, rows), torch.from_numpy(corpus.targets[rows])
        return 1 - float(uncorrelated(made, aim))


def fit(
    student: Student, train: Corpus, goal: torch.Tensor, held: dict[str, Corpus], chosen: argparse.Namespace
) -> None:
    """Trains on ``train``; rows of ``goal`` beyond its targets (captions) have a direction only. Goes on at the
    step that ``progress.pt`` was written at, of the same texts."""
    rate, per = chosen.rate, max(1, len(goal) // BATCH)
    aims = torch.from_numpy(train.targets)
    optimisers = (
        torch.optim.SparseAdam(student.table.parameters(), lr=rate),
        torch.optim.AdamW(student.network.parameters(), lr=rate, weight_decay=0.01),
    )
    steps, began, order = int(chosen.epochs * per), time.monotonic(), np.zeros(0, np.int64)
    step = first = _resume(chosen.out / "progress.pt", student, optimisers, len(goal))
    while step < steps:
        if step % per == 0 or step == first:
            order = np.random.default_rng((chosen.seed, step // per)).permutation(len(goal))
        rows = order[step % per * BATCH :][:BATCH]
        rows = rows[np.argsort(train.lengths[rows], kind="stable")]
        made = student.rows(train, rows)
        asked = np.flatnonzero(rows < len(aims))  # those that the teacher was asked about
        mine, aim = made[asked], aims[rows[asked]]
        direct = 1 - (made * goal[rows]).sum(1).mean()
        # Texts of about one length are of one sort: pairs among them are the hard ones.
        groups = [uncorrelated(mine[g], aim[g]) for g in np.array_split(np.arange(len(asked)), 4)]
        loss = direct + RELATE * relate(mine, aim) + GROUP * sum(groups) / 4
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * (min(1, (step + 1) / 100) * (1 - step / steps) + 0.005)
            optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.network.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        step += 1
        if step % max(1, steps // 12) == 0 or step == steps:
            found = {name: round(agreement(student, part), 4) for name, part in held.items()}
            report = {"step": step, "of": steps, "seconds": round(time.monotonic() - began), "loss": loss.item()}
            print(json.dumps({**report, "direct": direct.item(), **found}), flush=True)
            states = [optimiser.state_dict() for optimiser in optimisers]
            part = chosen.out / "progress.part"
            torch.save({"student": student.state_dict(), "optimisers": states, "step": step, "texts": len(goal)}, part)
            part.replace(chosen.out / "progress.pt")


def _resume(path: Path, student: Student, optimisers: Sequence[torch.optim.Optimizer], texts: int) -> int:
    """The step to go on at; 0 where there is none, or where it was made of other texts."""
    if not path.exists():
        return 0
    kept = torch.load(path, weights_only=True)
    if kept["texts"] != texts:
        return 0
    student.load_state_dict(kept["student"])
    for optimiser, state in zip(optimisers, kept["optimisers"], strict=True):
        optimiser.load_state_dict(state)
    print(f"goes on at step {kept['step']}", flush=True)
    return int(kept["step"])


def write(student: Student, vocabulary: list[str], out: Path) -> None:
    """``text.onnx`` and ``vocabulary.txt.gz``."""
    out.mkdir(parents=True, exist_ok=True)
    made = Quantised(student.table.weight.detach().numpy(), student.network).eval()
    ids = torch.arange(8)[None] % len(vocabulary)
    torch.onnx.export(
        made, (ids,), str(out / "text.onnx"), input_names=["ids"], output_names=["vector"],
        dynamic_axes={"ids": {1: "tokens"}}, opset_version=17, dynamo=False,
    )  # fmt: skip
    model = onnx.load(out / "text.onnx")
    onnx.helper.set_model_props(model, {"tokens": str(len(vocabulary))})
    onnx.save(model, out / "text.onnx")
    (out / "vocabulary.txt.gz").write_bytes(gzip.compress("\n".join(vocabulary).encode(), 9, mtime=0))


def main(chosen: argparse.Namespace) -> None:
    torch.set_num_threads(chosen.threads)
    vocabulary = (model_folder() / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    tokenizer = WordPiece(vocabulary)
    former = former_tower(chosen.former) if chosen.former else None
    first, first_vectors = read(sorted(chosen.teacher.glob("sentences-*[0-9].npz")))
    turn = basis(chosen.teacher, first, first_vectors, former)
    more, more_vectors = read(sorted(chosen.texts.glob("train-*[0-9].npz")))
    texts, targets = first + more, np.concatenate([first_vectors, more_vectors])
    goal = targets @ turn.T
    if former is not None:  # captions stay where images were taught that they are
        said = made_captions(np.random.default_rng(19), CAPTIONS)
        texts, goal = texts + said, np.concatenate([goal, former(said)])
    train = Corpus.of(tokenizer, texts, targets)
    held_texts, held_vectors = read(sorted(chosen.texts.glob("held-*[0-9].npz")))
    asks = np.array(["?" in text or "<image" in text for text in held_texts], dtype=bool)
    held = {
        name: Corpus.of(tokenizer, [held_texts[i] for i in np.flatnonzero(rows)], held_vectors[rows])
        for name, rows in (("questions", asks), ("sentences", ~asks))
        if rows.any()
    }
    start = np.load(chosen.teacher / "tokens.npy").astype(np.float32) @ turn.T
    start -= 0.7 * start.mean(0)
    # Rare tokens say more than frequent ones: weights as in SIF (Arora et al. 2017).
    share = (np.bincount(train.ids, minlength=len(vocabulary)) + 1.0) / len(train.ids)
    start *= (1e-3 / (1e-3 + share))[:, None].astype(np.float32)
    print(f"{len(texts)} texts, {len(held_texts)} held out", flush=True)
    unit = functional.normalize(torch.from_numpy(goal), dim=1)
    torch.manual_seed(chosen.seed)
    student = Student(start)
    chosen.out.mkdir(parents=True, exist_ok=True)
    kept = chosen.out / "student.pt"
    if kept.exists():
        student.load_state_dict(torch.load(kept, weights_only=True))
        print(f"goes on from {kept}", flush=True)
    fit(student, train, unit, held, chosen)
    torch.save(student.state_dict(), kept)
    write(student, vocabulary, chosen.out)
    (chosen.out / "progress.pt").unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Distil the text tower.")
    parser.add_argument("--teacher", type=Path, default=Path(".cache/encoder/teacher"))
    parser.add_argument("--texts", type=Path, default=Path(".cache/encoder/texts"))
    parser.add_argument("--former", type=Path, default=None, help="folder of the text tower that images were taught by")
    parser.add_argument("--out", type=Path, default=Path(".cache/encoder/text"))
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=3)
    main(parser.parse_args())
