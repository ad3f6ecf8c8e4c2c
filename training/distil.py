"""The text tower: a vector per WordPiece token, whose sum points where all-MiniLM-L6-v2 points.

Starts from the teacher's vectors of single tokens, turned into the 256 directions that carry most of its sentence
vectors, and is trained on the texts of ``training.teacher``: own direction against the teacher's, and similarities
within a batch against the teacher's. Quantised to eight bits a value with one integer multiplier a token, so that sums
are exact integers on every machine.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import nn

from monitor.embed.encoders.wordpiece import WordPiece
from training.teacher import model_folder

DIM = 256
LARGEST = 4095  # of the multipliers


def bags(tokenizer: WordPiece, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(ids of all texts in a row, where each begins); a text without tokens has [UNK]."""
    rows = [tokenizer(text)[:256] or [tokenizer.unknown] for text in texts]
    starts = np.cumsum([0, *(len(row) for row in rows)])[:-1]
    return np.concatenate([np.array(row, np.int64) for row in rows]), starts


def fit(
    folder: Path, epochs: int, threads: int, rate: float = 2e-3, drop: float = 0.3, seed: int = 3
) -> tuple[np.ndarray, list[str]]:
    """(float32[tokens, DIM], vocabulary)."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(seed)
    vocabulary = (model_folder() / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = vocabulary[:-1] if vocabulary[-1] == "" else vocabulary
    tokenizer = WordPiece(vocabulary)
    texts, vectors = [], []
    for path in sorted(folder.glob("sentences-*[0-9].npz")):
        with np.load(path) as part:
            texts += part["texts"].tolist()
            vectors.append(part["vectors"].astype(np.float32))
    targets = np.concatenate(vectors)
    turn = basis(folder, targets)
    kept = targets @ turn.T
    print(
        f"{len(texts)} texts; {DIM} directions keep {np.square(kept).sum() / np.square(targets).sum():.3f}", flush=True
    )
    goal = nn.functional.normalize(torch.from_numpy(kept), dim=1)
    start = np.load(folder / "tokens.npy").astype(np.float32) @ turn.T
    start -= 0.7 * start.mean(0)
    ids, begins = bags(tokenizer, texts)
    # Rare tokens say more than frequent ones: weights as in SIF (Arora et al. 2017).
    counts = np.bincount(ids, minlength=len(vocabulary)) + 1.0
    share = counts / counts.sum()
    start *= (1e-3 / (1e-3 + share))[:, None]
    table = nn.Embedding(len(vocabulary), DIM, sparse=True)
    table.weight.data = torch.from_numpy(start)
    optimiser = torch.optim.SparseAdam(table.parameters(), lr=rate)
    ends = np.append(begins[1:], len(ids))
    size, held = 512, min(1024, len(texts) // 8)
    train = np.arange(len(texts) - held)
    steps = epochs * (len(train) // size)
    step = 0
    print(f"before training: held-out correlation {agreement(table, ids, begins, ends, targets, held):.4f}", flush=True)
    for epoch in range(epochs):
        order = rng.permutation(train)
        for at in range(0, len(order) - size + 1, size):
            rows = order[at : at + size]
            made = _sum(table, ids, begins, ends, rows, drop=drop, rng=rng)
            aim = goal[rows]
            direct = 1 - (made * aim).sum(1).mean()
            relate = (made @ made.T - aim @ aim.T).square().mean()
            loss = direct + 20 * relate
            for group in optimiser.param_groups:
                group["lr"] = rate * (1 - step / steps) + 1e-5
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
        found = agreement(table, ids, begins, ends, targets, held)
        print(f"epoch {epoch} direct {direct:.4f} relate {relate:.5f} held-out correlation {found:.4f}", flush=True)
    return table.weight.detach().numpy(), vocabulary


def agreement(
    table: nn.Embedding, ids: np.ndarray, begins: np.ndarray, ends: np.ndarray, targets: np.ndarray, held: int
) -> float:
    """Correlation of similarities with the teacher's over pairs of the last ``held`` texts."""
    rows = np.arange(len(targets) - held, len(targets))
    with torch.no_grad():
        made, aim = _sum(table, ids, begins, ends, rows).numpy(), targets[rows]
    upper = np.triu_indices(held, 1)
    return float(np.corrcoef((made @ made.T)[upper], (aim @ aim.T)[upper])[0, 1])


def basis(folder: Path, targets: np.ndarray) -> np.ndarray:
    """The DIM directions that carry most of the teacher's vectors: float32[DIM, 384], chosen once for a folder.

    Kept on disk, so that a text tower fitted again on more texts stays in the space of the image tower.
    """
    path = folder / "basis.npy"
    if not path.exists():
        np.save(path, np.linalg.svd(targets.T @ targets)[2][:DIM])
    return np.asarray(np.load(path), np.float32)


def _sum(table: nn.Embedding, ids: np.ndarray, begins: np.ndarray, ends: np.ndarray, rows: np.ndarray,
         drop: float = 0.0, rng: np.random.Generator | None = None) -> torch.Tensor:  # fmt: skip
    bag = [ids[begins[r] : ends[r]] for r in rows]
    if drop and rng is not None:
        bag = [b[rng.random(len(b)) > drop] if len(b) > 3 else b for b in bag]
        bag = [b if len(b) else ids[:1] for b in bag]
    offsets = torch.from_numpy(np.cumsum([0, *(len(b) for b in bag)])[:-1])
    summed = nn.functional.embedding_bag(
        torch.from_numpy(np.concatenate(bag)), table.weight, offsets, mode="sum", sparse=True
    )
    return nn.functional.normalize(summed, dim=1)


def quantise(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8[tokens, DIM], uint16 multiplier per token): table is close to their product times one factor."""
    top = np.abs(table).max(1)
    unit = top.max() / 127 / LARGEST
    multiplier = np.maximum(1, np.round(top / 127 / unit)).astype(np.uint16)
    values = np.round(table / (multiplier[:, None].astype(np.float32) * unit))
    return np.clip(values, -127, 127).astype(np.int8), multiplier


def main(teacher: Path, out: Path, epochs: int, threads: int, rate: float, drop: float) -> None:
    table, vocabulary = fit(teacher, epochs, threads, rate, drop)
    values, multiplier = quantise(table)
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "tokens.npz", values=values, multipliers=multiplier)
    words = "\n".join(vocabulary).encode()
    (out / "vocabulary.txt.gz").write_bytes(gzip.compress(words, 9, mtime=0))


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Distil the text tower.")
    parser.add_argument("--teacher", type=Path, default=Path(".cache/encoder/teacher"))
    parser.add_argument("--out", type=Path, default=Path(".cache/encoder/text"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--drop", type=float, default=0.3, help="share of a text's tokens left out at random")
    chosen = parser.parse_args()
    main(chosen.teacher, chosen.out, chosen.epochs, chosen.threads, chosen.rate, chosen.drop)
