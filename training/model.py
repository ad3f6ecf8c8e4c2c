"""The image tower: a small mobile network and a fixed descriptor, into the space of the text tower.

Pages need detail, and a mobile network's cost goes with its pixels: four pixels are stacked into twelve channels, so
that 256 x 192 is seen at the cost of 128 x 96. Beside it, edge energies by scale, direction and place, tones and
colours are measured with fixed filters: what a network would first have to learn from more pages than there are.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

HEIGHT, WIDTH = 256, 192
MEAN, STD, FILL = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 128
BACKBONE = "mobilenetv4_conv_small"
_SCALES, _TONES, _GRID = 4, 12, (4, 3)


class Descriptor(nn.Module):
    """float32[n, 3, h, w] to fixed measurements: edges (4 scales x 4 directions), tones (12), colours; each in 4 x 3 cells."""

    size = (_SCALES * 4 + 6) * _GRID[0] * _GRID[1] + _TONES

    def __init__(self) -> None:
        super().__init__()
        kernels = torch.zeros(4, 1, 3, 3)
        kernels[0, 0, 1, 0], kernels[0, 0, 1, 2] = -1, 1
        kernels[1, 0, 0, 1], kernels[1, 0, 2, 1] = -1, 1
        kernels[2, 0, 0, 0], kernels[2, 0, 2, 2] = -0.7, 0.7
        kernels[3, 0, 0, 2], kernels[3, 0, 2, 0] = -0.7, 0.7
        self.register_buffer("kernels", kernels)
        self.register_buffer("luma", torch.tensor([0.299, 0.587, 0.114])[None, :, None, None])
        self.register_buffer("tones", torch.linspace(-2, 2, _TONES)[None, :, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        grey = (pixels * self.luma).sum(1, keepdim=True)
        parts = []
        level = grey
        for _ in range(_SCALES):
            edges = nn.functional.conv2d(level, self.kernels).abs()
            parts.append(self._cells(edges).sqrt().flatten(1))
            level = nn.functional.avg_pool2d(level, 2)
        coarse = nn.functional.avg_pool2d(pixels, 4)
        mean = self._cells(coarse)
        spread = (self._cells(coarse * coarse) - mean * mean).clamp(min=0) + 1e-4
        small = nn.functional.avg_pool2d(grey, 2)
        width = 4.0 / (_TONES - 1)
        tones = (1 - (small - self.tones).abs() / width).clamp(min=0).mean((2, 3))
        return torch.cat([*parts, mean.flatten(1), spread.sqrt().flatten(1), (tones + 1e-4).sqrt()], 1)

    @staticmethod
    def _cells(x: torch.Tensor) -> torch.Tensor:
        """Means over a 4 x 3 grid, with sizes that are constants of the exported graph."""
        kernel = (x.shape[2] // _GRID[0], x.shape[3] // _GRID[1])
        return nn.functional.avg_pool2d(x, kernel, stride=kernel)[:, :, : _GRID[0], : _GRID[1]] + 1e-6


class ImageTower(nn.Module):
    """float32[n, 3, 256, 192] to float32[n, dim], not yet of unit norm."""

    def __init__(self, dim: int, backbone: str = BACKBONE) -> None:
        super().__init__()
        self.descriptor = Descriptor()
        self.measured = nn.Sequential(nn.BatchNorm1d(Descriptor.size), nn.Linear(Descriptor.size, 384), nn.ReLU())
        self.fold = nn.PixelUnshuffle(2)
        self.backbone = timm.create_model(backbone, pretrained=False, in_chans=12, num_classes=0)
        self.features = 1280
        self.project = nn.Linear(self.features + 384, dim, bias=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            measured = self.descriptor(pixels)
        seen = self.backbone(self.fold(pixels))
        return self.project(torch.cat([seen, self.measured(measured)], 1))  # type: ignore[no-any-return]


class Trained(nn.Module):
    """The image tower with what only training needs: kinds as directions of the space, a head for conditions."""

    def __init__(self, dim: int, kinds: int, conditions: int) -> None:
        super().__init__()
        self.tower = ImageTower(dim)
        self.kinds = nn.Parameter(torch.randn(kinds, dim) * dim**-0.5)
        self.conditions = nn.Linear(dim, conditions)
        self.log_scale = nn.Parameter(torch.tensor(2.996))  # 20
        self.kind_scale = 16.0

    def forward(self, pixels: torch.Tensor) -> dict[str, Any]:
        """``vector`` of unit norm, ``kind`` and ``condition`` logits, ``scale`` of the contrast."""
        vector = nn.functional.normalize(self.tower(pixels), dim=1)
        kind = self.kind_scale * vector @ nn.functional.normalize(self.kinds, dim=1).T
        return {
            "vector": vector,
            "kind": kind,
            "condition": self.conditions(8.0 * vector),
            "scale": self.log_scale.clamp(max=4.6).exp(),
        }
