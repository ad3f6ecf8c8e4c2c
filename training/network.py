"""Second stage: a mobile network beside the fixed measurements, trained on pixels; stops and resumes at any step.

Starts from the first stage's layers, to which the network adds from zero. Weights are averaged over steps (EMA). Takes
hours where the first stage takes minutes; the first stage alone is a usable encoder.
"""

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
from training.model import Heads, ImageTower
from training.samples import Pool, sample, scaling

SEED = 21
KEPT = 0.995  # of the average, per step


class Samples(torch.utils.data.Dataset[dict[str, Any]]):
    """Sample i of the run; ``first`` is where a resumed run goes on."""

    def __init__(self, pool: Pool, first: int, last: int) -> None:
        self.pool, self.first, self.last = pool, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> dict[str, Any]:
        return sample(self.pool, SEED, self.first + index)


class Replay:
    """The last samples once more: making a sample costs as much as learning from it, so each is learned from twice.

    A fresh part of every batch is new; the rest is drawn from the last ``size`` samples. A resumed run starts with an
    empty store: it is as good as an uninterrupted one, not the same to the bit.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.at = size, 0
        self.rows: list[dict[str, Any]] = []
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
    light = np.arange(256) * rng.uniform(0.94, 1.06) + rng.uniform(-6, 6)
    pixels = np.roll(row["pixels"], (down, right), (1, 2))
    return {**row, "pixels": np.clip(light, 0, 255).astype(np.uint8)[pixels]}


def train(chosen: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(chosen.threads)
    data = chosen.data if chosen.data is not None and chosen.data.is_dir() else None
    pool = Pool.read(chosen.drawn, data)
    text = TextTower(chosen.text / "text.onnx", chosen.text / "vocabulary.txt.gz")
    tower = ImageTower(text.dim, dict(np.load(chosen.filters)), network=True)
    heads = Heads(text.dim, len(pool.kinds), len(conditions.NAMES))
    model = nn.ModuleDict({"tower": tower, "heads": heads}).to(memory_format=torch.channels_last)
    first = torch.load(chosen.first / "checkpoint.pt", weights_only=True)["model"]
    tower.measured.load_state_dict({k.removeprefix("layers."): v for k, v in first.items() if k.startswith("layers.")})
    heads.load_state_dict({k.removeprefix("heads."): v for k, v in first.items() if k.startswith("heads.")})
    assert tower.network is not None
    new = list(tower.network.parameters())
    old = [*tower.measured.parameters(), *heads.parameters()]
    groups = [{"params": new, "share": 1.0}, {"params": old, "share": 0.2}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.03)
    averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(KEPT)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=averaging, use_buffers=True)
    step, path = 0, chosen.out / "network.pt"
    chosen.out.mkdir(parents=True, exist_ok=True)
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        average.load_state_dict(state["average"])
        step = int(state["step"])
        print(f"goes on at step {step}", flush=True)
    fresh = chosen.batch // 2
    rows = Samples(pool, step * fresh, chosen.steps * fresh)
    ahead = 6 if chosen.workers else None
    loader = torch.utils.data.DataLoader(
        rows, fresh, collate_fn=list, num_workers=chosen.workers, prefetch_factor=ahead
    )
    replay = Replay(3072, SEED + step)
    gain, lift = (torch.from_numpy(part) for part in scaling())
    started, seen = time.monotonic(), 0
    model.train()
    for made in loader:
        batch = replay(made, chosen.batch - fresh)
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * losses.rate_at(step, chosen.steps, chosen.rate)
        pixels = torch.from_numpy(np.stack([row["pixels"] for row in batch])).float() * gain + lift
        words = torch.from_numpy(text([row["caption"] for row in batch]))
        kinds = torch.tensor([row["kind"] for row in batch])
        severity = torch.from_numpy(np.stack([row["conditions"] for row in batch]))
        raw = tower(pixels.contiguous(memory_format=torch.channels_last))
        made_of = heads(raw)
        # What the first stage kept is held where it is: the network adds to it.
        kept = made_of["kept"].detach()
        found = losses.parts(made_of, words, kinds, severity, kept, len(captions.GENERATED))
        optimiser.zero_grad()
        losses.total(found).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        average.update_parameters(model)
        step, seen = step + 1, seen + len(batch)
        if step % 20 == 0:
            report = {name: round(float(part.detach()), 4) for name, part in found.items()}
            per_second = round(seen / (time.monotonic() - started), 1)
            print(json.dumps({"step": step, "of": chosen.steps, "images_per_second": per_second, **report}), flush=True)
        if step % chosen.every == 0 or step == chosen.steps:
            _save(path, model, optimiser, average, step)


def _save(path: Path, model: nn.Module, optimiser: Any, average: nn.Module, step: int) -> None:
    """Written beside, then moved: a stop in between leaves the checkpoint before."""
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "average": average.state_dict()}
    torch.save({**state, "step": step}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the network beside the measurements; goes on where it stopped.")
    parser.add_argument("--drawn", type=Path, default=Path(".cache/encoder/drawn"))
    parser.add_argument("--data", type=Path, default=None, help="the folder of real images with its manifest.csv")
    parser.add_argument("--text", type=Path, default=Path(".cache/encoder/text"))
    parser.add_argument("--filters", type=Path, default=Path(".cache/encoder/filters.npz"))
    parser.add_argument("--first", type=Path, default=Path(".cache/encoder/run"), help="the first stage's checkpoint")
    parser.add_argument("--out", type=Path, default=Path(".cache/encoder/run"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1, help="torch's; one leaves the other core to the loader")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=int, default=50, help="steps between checkpoints")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
