"""What training asks of an image's vector, the same for every stage."""

from __future__ import annotations

import math
from typing import Any

import torch
from open_clip.loss import ClipLoss
from torch import nn

WEIGHTS = {"contrast": 1.0, "pull": 1.0, "kind": 1.0, "condition": 4.0, "kept": 6.0}
_CONTRAST = ClipLoss()


def parts(
    found: dict[str, Any],
    words: torch.Tensor,
    kinds: torch.Tensor,
    severity: torch.Tensor,
    kept: torch.Tensor,
    drawn: int,
) -> dict[str, torch.Tensor]:
    """open_clip's contrast between images and captions; distance from the own caption; kind; severity of conditions;
    and the principal components of the measurements, so that what no caption says (and tells kinds that were never
    trained) is not thrown away.

    ``found`` is what ``Heads`` gives, ``words`` the captions' unit vectors; of the kinds the first ``drawn`` are drawn.
    Drawn documents are told from drawn ones and real ones from real ones, never one from the other: that is easy, and
    would teach that a page that looks real is of one of the few real kinds there are.
    """
    real = kinds >= drawn
    contrast, kind = [], []
    for side in (real, ~real):
        share = side.float().mean()
        if int(side.sum()) < 2:
            continue
        contrast.append(share * _CONTRAST(found["vector"][side], words[side], found["scale"]))
        logits, aim = found["kind"][side], kinds[side]
        logits, aim = (logits[:, drawn:], aim - drawn) if side is real else (logits[:, :drawn], aim)
        kind.append(share * nn.functional.cross_entropy(logits, aim, label_smoothing=0.05))
    return {
        "contrast": torch.stack(contrast).sum(),
        "pull": 1 - (found["vector"] * words).sum(1).mean(),
        "kind": torch.stack(kind).sum(),
        "condition": nn.functional.binary_cross_entropy_with_logits(found["condition"], severity),
        "kept": (found["kept"] - kept).square().mean(),
    }


def total(found: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([WEIGHTS[name] * part for name, part in found.items()]).sum()


def rate_at(step: int, steps: int, top: float) -> float:
    """Linear warm-up over 5 %, then a cosine to 2 % of the top."""
    warm = max(1, steps // 20)
    if step < warm:
        return top * (step + 1) / warm
    return top * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))
