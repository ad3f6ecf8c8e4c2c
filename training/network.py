"""Trains the image tower against the fixed text tower; stops and resumes at any step.

The loss is open_clip's contrast between images and captions, plus the distance of an image from its own caption, its
kind among the directions of all kinds, and the severity of its conditions. Weights are averaged over steps (EMA).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.loss import ClipLoss
from torch import nn

from monitor.embed.encoders.static_text import StaticText
from training import conditions
from training.model import Trained
from training.samples import Pool, sample, scaling

SEED = 20


class Samples(torch.utils.data.Dataset[dict[str, Any]]):
    """Sample i of the run; ``first`` is where a resumed run goes on."""

    def __init__(self, pool: Pool, first: int, last: int, seed: int) -> None:
        self.pool, self.first, self.last, self.seed = pool, first, last, seed

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> dict[str, Any]:
        return sample(self.pool, self.seed, self.first + index)


def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "pixels": torch.from_numpy(np.stack([row["pixels"] for row in rows])),
        "captions": [row["caption"] for row in rows],
        "kinds": torch.tensor([row["kind"] for row in rows]),
        "conditions": torch.from_numpy(np.stack([row["conditions"] for row in rows])),
    }


class Replay:
    """The last samples once more: making a sample costs as much as learning from it, so each is learned from thrice.

    A fresh part of every batch is new; the rest is drawn from the last ``size`` samples. A resumed run starts with an
    empty store: it is as good as an uninterrupted one, not the same to the bit.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.rows, self.at = size, [], 0
        self.rng = np.random.default_rng(seed)

    def __call__(self, fresh: list[dict[str, Any]], again: int) -> list[dict[str, Any]]:
        old = [self.rows[i] for i in self.rng.integers(len(self.rows), size=again)] if self.rows else []
        for row in fresh:
            if len(self.rows) < self.size:
                self.rows.append(row)
            else:
                self.rows[self.at] = row
                self.at = (self.at + 1) % self.size
        return [*fresh, *(_moved(row, self.rng) for row in old)]


def _moved(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A sample shifted by up to six pixels and a little lighter or darker."""
    down, right = (int(v) for v in rng.integers(-6, 7, 2))
    pixels = np.roll(row["pixels"], (down, right), (1, 2))
    light = np.arange(256) * rng.uniform(0.94, 1.06) + rng.uniform(-6, 6)
    return {**row, "pixels": np.clip(light, 0, 255).astype(np.uint8)[pixels]}


def rate_at(step: int, steps: int, top: float) -> float:
    """Linear warm-up over 5 %, then a cosine to 2 % of the top."""
    warm = max(1, steps // 20)
    if step < warm:
        return top * (step + 1) / warm
    return top * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def losses(
    found: dict[str, Any], batch: dict[str, Any], words: torch.Tensor, contrast: ClipLoss
) -> dict[str, torch.Tensor]:
    return {
        "contrast": contrast(found["vector"], words, found["scale"]),
        "pull": 1 - (found["vector"] * words).sum(1).mean(),
        "kind": nn.functional.cross_entropy(found["kind"], batch["kinds"], label_smoothing=0.05),
        "condition": nn.functional.binary_cross_entropy_with_logits(found["condition"], batch["conditions"]),
    }


WEIGHTS = {"contrast": 1.0, "pull": 1.0, "kind": 1.0, "condition": 4.0}


def train(chosen: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(chosen.threads)
    data = chosen.data if chosen.data is not None and chosen.data.is_dir() else None
    pool = Pool.read(chosen.drawn, data)
    counts = {kind: len(entries) for kind, entries in pool.real.items()}
    print(f"{len(pool.drawn)} drawn, {sum(counts.values())} real {counts}", flush=True)
    text = StaticText(chosen.text / "tokens.npz", chosen.text / "vocabulary.txt.gz")
    model = Trained(text.dim, len(pool.kinds), len(conditions.NAMES)).to(memory_format=torch.channels_last)
    plain = [p for p in model.parameters() if p.ndim <= 1]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}])
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    step, chosen.out = 0, Path(chosen.out)
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / "checkpoint.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        average.load_state_dict(state["average"])
        step = int(state["step"])
        print(f"goes on at step {step}", flush=True)
    contrast = ClipLoss()
    fresh = chosen.batch // 3
    rows = Samples(pool, step * fresh, chosen.steps * fresh, SEED)
    loader = torch.utils.data.DataLoader(
        rows, fresh, collate_fn=list, num_workers=chosen.workers, prefetch_factor=6 if chosen.workers else None
    )
    replay = Replay(3072, SEED + step)
    gain, lift = (torch.from_numpy(part) for part in scaling())
    started, seen = time.monotonic(), 0
    model.train()
    for made in loader:
        batch = collate(replay(made, chosen.batch - fresh))
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, chosen.steps, chosen.rate)
        pixels = (batch["pixels"].float() * gain + lift).contiguous(memory_format=torch.channels_last)
        parts = losses(model(pixels), batch, torch.from_numpy(text(batch["captions"])), contrast)
        loss = sum(WEIGHTS[name] * part for name, part in parts.items())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        average.update_parameters(model)
        step += 1
        seen += len(batch["captions"])
        if step % 20 == 0:
            report = {name: round(float(part.detach()), 4) for name, part in parts.items()}
            per_second = round(seen / (time.monotonic() - started), 1)
            print(json.dumps({"step": step, "of": chosen.steps, "images_per_second": per_second, **report}), flush=True)
        if step % chosen.every == 0 or step == chosen.steps:
            save(path, model, optimiser, average, step)
    save(path, model, optimiser, average, step)


def save(path: Path, model: nn.Module, optimiser: Any, average: nn.Module, step: int) -> None:
    """Written beside, then moved: a stop in between leaves the checkpoint before."""
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average.state_dict(),
        "step": step,
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the image tower; goes on where it was stopped.")
    parser.add_argument("--drawn", type=Path, default=Path(".cache/encoder/drawn"))
    parser.add_argument("--data", type=Path, default=None, help="the folder of real images with its manifest.csv")
    parser.add_argument("--text", type=Path, default=Path(".cache/encoder/text"))
    parser.add_argument("--out", type=Path, default=Path(".cache/encoder/run"))
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1, help="torch's; one leaves the other core to the loader")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=int, default=50, help="steps between checkpoints")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
