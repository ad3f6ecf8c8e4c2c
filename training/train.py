"""Trains the learned layers on measured samples against the fixed text tower; stops and resumes at any step."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from monitor.embed.encoders.text_tower import TextTower
from training import captions, conditions, losses
from training.model import KEPT, Heads, Measured

SEED = 20


def read(folder: Path, files: int | None = None) -> dict[str, Any]:
    """All measured samples of a folder, in the order of their numbers."""
    paths = sorted(folder.glob("measured-*.npz"))[:files]
    found: dict[str, list[Any]] = {"measured": [], "kinds": [], "conditions": [], "captions": []}
    for path in paths:
        with np.load(path) as part:
            for name in ("measured", "kinds", "conditions"):
                found[name].append(part[name])
            found["captions"].extend(json.loads(str(part["captions"])))
    return {name: value if name == "captions" else np.concatenate(value) for name, value in found.items()}


def components(measured: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first KEPT principal components, the first of unit variance, weaker ones less.

    Returns the axes float32[KEPT, MEASURED] of standardised measurements, found in the first 8,192 rows, and the
    components of all rows, float32[n, KEPT].
    """
    some = measured[:8192].float()
    mean, scale = some.mean(0), some.std(0) + 1e-4
    _, values, axes = torch.svd_lowrank(((some - mean) / scale).clamp(-6, 6), q=KEPT + 16, niter=4)
    weight = (values[:KEPT] / values[0]) ** 0.5 / (values[:KEPT] / len(some) ** 0.5)
    found = (axes[:, :KEPT] * weight).T
    return found, torch.cat([((rows.float() - mean) / scale).clamp(-6, 6) @ found.T for rows in measured.split(4096)])


def unused(words: torch.Tensor) -> torch.Tensor:
    """Orthonormal directions of the space that captions use least: float32[dim, KEPT], from their vectors."""
    return torch.linalg.eigh((words.T @ words).double()).eigenvectors[:, :KEPT].float()


def train(chosen: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(chosen.threads)
    rows = read(chosen.measured, chosen.files)
    size = len(rows["captions"])
    text = TextTower(chosen.text / "text.onnx", chosen.text / "vocabulary.txt.gz")
    words = torch.from_numpy(text(rows["captions"]))
    measured = torch.from_numpy(rows["measured"])
    kinds, severity = torch.from_numpy(rows["kinds"]), torch.from_numpy(rows["conditions"]).float()
    names = (*captions.GENERATED, *captions.REAL)
    drawn = len(captions.GENERATED)
    axes, kept = components(measured)
    steps = chosen.epochs * (size // chosen.batch)
    print(f"{size} samples, {steps} steps", flush=True)
    model = nn.ModuleDict({"layers": Measured(text.dim), "heads": Heads(text.dim, len(names), len(conditions.NAMES))})
    plain = [p for p in model.parameters() if p.ndim <= 1]
    decayed = [p for p in model.parameters() if p.ndim > 1 and p.requires_grad]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}])
    step = load(chosen.out, model, optimiser)
    order = np.zeros(0, np.int64)
    started = time.monotonic()
    model.train()
    while step < steps:
        per = size // chosen.batch
        order = np.random.default_rng((SEED, step // per)).permutation(size)
        for at in range(step % per, per):
            for group in optimiser.param_groups:
                group["lr"] = losses.rate_at(step, steps, chosen.rate)
            pick = torch.from_numpy(order[at * chosen.batch : (at + 1) * chosen.batch])
            x = measured[pick].float()
            found = losses.parts(
                model["heads"](model["layers"](x)), words[pick], kinds[pick], severity[pick], kept[pick], drawn
            )
            optimiser.zero_grad()
            losses.total(found).backward()
            optimiser.step()
            step += 1
            if step % 20 == 0:
                report = {name: round(float(part.detach()), 4) for name, part in found.items()}
                print(
                    json.dumps({"step": step, "of": steps, "seconds": round(time.monotonic() - started), **report}),
                    flush=True,
                )
            if step % chosen.every == 0:
                save(chosen.out, model, optimiser, step)
    model["layers"].keep(axes, unused(words))
    save(chosen.out, model, optimiser, step)


def load(folder: Path, model: nn.Module, optimiser: Any) -> int:
    """The step to go on at; 0 where there is no checkpoint."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    print(f"goes on at step {state['step']}", flush=True)
    return int(state["step"])


def save(folder: Path, model: nn.Module, optimiser: Any, step: int) -> None:
    """Written beside, then moved: a stop in between leaves the checkpoint before."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "checkpoint.part"
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, part)
    part.replace(folder / "checkpoint.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the image tower; goes on where it was stopped.")
    parser.add_argument("--measured", type=Path, default=Path(".cache/encoder/measured"))
    parser.add_argument("--text", type=Path, default=Path(".cache/encoder/text"))
    parser.add_argument("--out", type=Path, default=Path(".cache/encoder/run"))
    parser.add_argument("--files", type=int, default=None, help="use only the first so many files of samples")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
