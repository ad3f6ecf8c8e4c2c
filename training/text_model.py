"""The text tower as it is trained: token vectors, weighed and completed by a small network that sees the neighbours.

A text is the sum of its tokens' vectors, each group of channels weighed by a gate, plus a term of the network's own.
The network reads the same token vectors through blocks of a convolution over three tokens and the mean of the text, so
its cost grows with the length of a text and not with its square.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

WIDTH, HIDDEN, BLOCKS, GATES = 128, 256, 2, 8


class Block(nn.Module):
    """Adds to every token what its neighbours and the whole text say: float32[n, tokens, WIDTH] to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.near = nn.Parameter(torch.stack([0.2 * torch.randn(WIDTH), torch.ones(WIDTH), 0.2 * torch.randn(WIDTH)]))
        self.whole = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.wide = nn.Linear(WIDTH, HIDDEN)
        self.back = nn.Linear(HIDDEN, WIDTH)
        nn.init.zeros_(self.back.weight)  # begins as the identity
        nn.init.zeros_(self.back.bias)

    def forward(self, seen: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        normed = self.norm(seen) * mask
        mean = normed.sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        around = functional.pad(normed, (0, 0, 1, 1))
        near = around[:, :-2] * self.near[0] + normed * self.near[1] + around[:, 2:] * self.near[2]
        made = functional.silu(self.wide(near) + self.whole(mean))
        return seen + cast("torch.Tensor", self.back(made))


class TextNetwork(nn.Module):
    """Token vectors float32[n, tokens, dim] and mask float32[n, tokens, 1] to unit vectors float32[n, dim]."""

    def __init__(self, dim: int, scale: float) -> None:
        """``scale``: by what token vectors are multiplied to be of unit variance."""
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.enter = nn.Linear(dim, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.gate = nn.Linear(WIDTH, GATES)
        self.add = nn.Linear(WIDTH, dim, bias=False)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, float(np.log(np.e - 1)))  # gates begin at one: a plain sum
        nn.init.zeros_(self.add.weight)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        scale = cast("torch.Tensor", self.scale)
        seen = self.enter(tokens * scale)
        for block in self.blocks:
            seen = block(seen, mask)
        seen = self.norm(seen) * mask
        gates = functional.softplus(self.gate(seen)) * mask
        parts = tokens.unflatten(2, (GATES, -1))
        summed = (parts * gates.unsqueeze(3)).sum(1).flatten(1)
        return functional.normalize(summed + self.add(seen.sum(1)) / scale, dim=1)


class Quantised(nn.Module):
    """One text at run time: ids int64[1, tokens] to a unit vector float32[1, dim]; token vectors int8 with a scale."""

    def __init__(self, table: np.ndarray, network: TextNetwork) -> None:
        super().__init__()
        values, scales = quantise(table)
        self.register_buffer("values", torch.from_numpy(values))
        self.register_buffer("scales", torch.from_numpy(scales))
        self.network = network

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        values, scales = cast("torch.Tensor", self.values), cast("torch.Tensor", self.scales)
        tokens = values[ids].float() * scales[ids].unsqueeze(2)
        return cast("torch.Tensor", self.network(tokens, torch.ones_like(tokens[:, :, :1])))


def quantise(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8[tokens, dim], float32[tokens]): their product is close to the table."""
    scales = np.maximum(np.abs(table).max(1), 1e-12).astype(np.float32) / 127
    return np.round(table / scales[:, None]).astype(np.int8), scales
