"""The image tower: fixed measurements of a page and two learned layers, into the space of the text tower.

Edge energies by scale, direction and place, spectra, tones, colours, and likeness to filters learned without labels:
what a network would first have to learn from more pages and hours than there are. They are the same in every epoch,
so they are computed once per sample, and the learned layers train in minutes. A mobile network can be added beside
them (``network``) where there is time to train one.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

HEIGHT, WIDTH = 256, 192
MEAN, STD, FILL = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 128
FILTERS = 128
KEPT = 64  # principal components of the measurements that a vector tells besides what was learned
SHARE = 0.5  # their length, where the learned part has 1
BACKBONE = "mobilenetv4_conv_small"
LUMA = (0.299, 0.587, 0.114)
SCALES, TONES, GRID = 4, 12, (4, 3)
_ROWS, _COLUMNS, _RINGS = 96, 72, 14


class Descriptor(nn.Module):
    """float32[n, 3, 256, 192] to fixed measurements, float32[n, size].

    Edges (4 scales x 4 directions) and colours in 4 x 3 cells, tones of the whole, the spectra of row and column
    profiles (line pitch, columns, their loss by skew or blur), and the spectrum of the whole by ring and sector.
    """

    size = (SCALES * 4 + 6) * GRID[0] * GRID[1] + TONES + _ROWS + _COLUMNS + 2 * _RINGS

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("luma", torch.tensor(LUMA)[None, :, None, None])
        self.register_buffer("tones", torch.linspace(-2, 2, TONES)[None, :, None, None])
        matrices = {
            "down": _waves(HEIGHT, _ROWS),
            "across": _waves(WIDTH, _COLUMNS),
            "tall": _waves(HEIGHT // 2, HEIGHT // 2, centred=True),
            "wide": _waves(WIDTH // 2, WIDTH // 4),
        }
        for name, matrix in matrices.items():
            self.register_buffer(name, matrix)
        self.register_buffer("rings", _rings(HEIGHT // 2, WIDTH // 4))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        grey = (pixels * self.luma).sum(1, keepdim=True)
        parts = []
        level = grey
        for _ in range(SCALES):
            parts.append(self._cells(_edges(level)).sqrt().flatten(1))
            level = nn.functional.avg_pool2d(level, 2)
        coarse = nn.functional.avg_pool2d(pixels, 4)
        mean = self._cells(coarse)
        spread = (self._cells(coarse * coarse) - mean * mean).clamp(min=0) + 1e-4
        small = nn.functional.avg_pool2d(grey, 2)
        width = 4.0 / (TONES - 1)
        tones = (1 - (nn.functional.avg_pool2d(small, 2) - self.tones).abs() / width).clamp(min=0).mean((2, 3))
        parts += [mean.flatten(1), spread.sqrt().flatten(1), (tones + 1e-4).sqrt()]
        strips = nn.functional.avg_pool2d(grey, (1, WIDTH // 3)).squeeze(1).transpose(1, 2)  # [n, 3, 256]
        bands = nn.functional.avg_pool2d(grey, (HEIGHT // 4, 1)).squeeze(1)  # [n, 4, 192]
        parts += [_power(strips @ self.down).mean(1), _power(bands @ self.across).mean(1)]
        half = small.squeeze(1)
        # Rows first, then columns: a plane wave's cosine and sine parts, combined into one power per frequency.
        by_row = half @ self.wide  # [n, 128, 2 x 48]
        cosine, sine = by_row.chunk(2, dim=2)
        a, b = self.tall.chunk(2, dim=1)  # [128, 128] each
        real = a.T @ cosine - b.T @ sine
        imaginary = a.T @ sine + b.T @ cosine
        power = (real * real + imaginary * imaginary).flatten(1) @ self.rings
        parts.append((power + 1e-4).log())
        return torch.cat(parts, 1)

    @staticmethod
    def _cells(x: torch.Tensor) -> torch.Tensor:
        """Means over a 4 x 3 grid, with sizes that are constants of the exported graph."""
        kernel = (x.shape[2] // GRID[0], x.shape[3] // GRID[1])
        return nn.functional.avg_pool2d(x, kernel, stride=kernel)[:, :, : GRID[0], : GRID[1]] + 1e-6


def _edges(x: torch.Tensor) -> torch.Tensor:
    """Differences across, down and along both diagonals: [n, 4, h - 2, w - 2]."""
    across = x[:, :, 1:-1, 2:] - x[:, :, 1:-1, :-2]
    down = x[:, :, 2:, 1:-1] - x[:, :, :-2, 1:-1]
    falling = x[:, :, 2:, 2:] - x[:, :, :-2, :-2]
    rising = x[:, :, :-2, 2:] - x[:, :, 2:, :-2]
    return torch.cat([across, down, 0.7 * falling, 0.7 * rising], 1).abs()


def _waves(length: int, count: int, centred: bool = False) -> torch.Tensor:
    """Windowed cosines, then sines, as columns: float32[length, 2 x count]. Frequencies from 1 on, or around 0."""
    at = torch.arange(length, dtype=torch.float64)
    frequency = torch.arange(count, dtype=torch.float64) + (-(count // 2) if centred else 1)
    angle = 2 * torch.pi * at[:, None] * frequency[None, :] / length
    window = (0.5 - 0.5 * torch.cos(2 * torch.pi * (at + 0.5) / length))[:, None] / length**0.5
    return torch.cat([window * angle.cos(), window * angle.sin()], 1).float()


def _power(waves: torch.Tensor) -> torch.Tensor:
    cosine, sine = waves.chunk(2, dim=-1)
    return (cosine * cosine + sine * sine + 1e-3).log()


def _rings(tall: int, wide: int) -> torch.Tensor:
    """Which ring (log-spaced radius) and sector each frequency is in, as means: [tall x wide, 2 x rings]."""
    y = (torch.arange(tall) - tall // 2)[:, None] / tall
    x = (torch.arange(wide) + 1)[None, :] / (2 * wide)
    radius = (x * x + y * y).sqrt()
    edges = torch.logspace(-2.0, -0.15, _RINGS + 1)
    ring = (torch.bucketize(radius, edges) - 1).clamp(0, _RINGS - 1)
    which = ring * 2 + (x.abs() > y.abs()).long()
    out = nn.functional.one_hot(which.flatten(), 2 * _RINGS).float()
    return out / out.sum(0).clamp(min=1)


class Texture(nn.Module):
    """How like each learned filter the patches of a page are, by place: float32[n, 3, 256, 192] to float32[n, size].

    Patches of 8 x 8, four pixels apart, at full and at half size; each answer is divided by the patch's contrast, cut
    off below, and averaged over 4 x 3 cells (full) or the whole with its spread (half).
    """

    size = FILTERS * (12 + 12 + 2)

    def __init__(self, full: torch.Tensor, half: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("fine", full.reshape(FILTERS, 1, 8, 8))
        self.register_buffer("coarse", half.reshape(FILTERS, 1, 8, 8))
        self.register_buffer("luma", torch.tensor(LUMA)[None, :, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        grey = (pixels * self.luma).sum(1, keepdim=True)
        full = self._answers(grey, self.fine)
        half = self._answers(nn.functional.avg_pool2d(grey, 2), self.coarse)
        parts = [nn.functional.avg_pool2d(full, (15, 15)).flatten(1), nn.functional.avg_pool2d(half, (7, 7)).flatten(1)]
        parts.extend((answers * answers).mean((2, 3)) for answers in (full, half))
        return (torch.cat(parts, 1) + 1e-4).sqrt()

    @staticmethod
    def _answers(grey: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
        mean = nn.functional.avg_pool2d(grey, 8, 4)
        spread = (nn.functional.avg_pool2d(grey * grey, 8, 4) - mean * mean).clamp(min=0)
        answers = nn.functional.conv2d(grey, filters, stride=4)
        # Filters have unit norm and no mean: the answer to a patch of 64 values is at most 8 times its deviation.
        return (answers / (8 * (spread + 0.003).sqrt()) - 0.15).clamp(min=0)


class ImageTower(nn.Module):
    """float32[n, 3, 256, 192] to float32[n, dim], not yet of unit norm.

    ``network`` adds a mobile network beside the fixed measurements; its part starts at zero.
    """

    def __init__(self, dim: int, filters: dict[str, Any], network: bool = False) -> None:
        super().__init__()
        self.descriptor = Descriptor()
        self.texture = Texture(torch.as_tensor(filters["full"]), torch.as_tensor(filters["half"]))
        self.measured = Measured(dim)
        self.network = Network(dim) if network else None

    def measure(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32[n, MEASURED]: what does not change in training."""
        return torch.cat([self.descriptor(pixels), self.texture(pixels)], 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.measured(self.measure(pixels))
        if self.network is not None:
            out = out + self.network(pixels)
        return out


MEASURED = Descriptor.size + Texture.size


class Measured(nn.Module):
    """Two layers on the fixed measurements, and the measurements' own principal components beside them.

    What captions say is learned from few pages; what they leave out tells pages apart that no caption does, and is kept
    as it is: the components, SHARE long together, lie in directions that captions hardly use. They come in when
    training is done (``keep``): trained beside them, the learned part would work against them.
    """

    def __init__(self, dim: int, width: int = 512) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(MEASURED, affine=False)
        self.first = nn.Linear(MEASURED, width)
        self.middle = nn.BatchNorm1d(width)
        self.last = nn.Linear(width, dim)
        self.drop = nn.Dropout(0.3)
        self.axes = nn.Linear(MEASURED, KEPT).requires_grad_(False)
        self.back = nn.Linear(KEPT, dim).requires_grad_(False)
        for part in (self.axes, self.back):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)

    @torch.no_grad()
    def keep(self, axes: torch.Tensor, directions: torch.Tensor) -> None:
        """Axes float32[KEPT, MEASURED] of normed measurements, and the directions of the space that they go to,
        float32[dim, KEPT]."""
        self.axes.weight.copy_(axes)
        self.back.weight.copy_(SHARE * directions)

    def forward(self, measured: torch.Tensor) -> torch.Tensor:
        x = self.norm(measured).clamp(-6, 6)
        hidden = torch.relu(self.middle(self.first(self.drop(x))))
        return self.joined(self.last(self.drop(hidden)), x)

    def joined(self, learned: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
        """Both parts: float32[n, dim], not of unit length."""
        own = nn.functional.normalize(self.axes(normed), dim=1)
        return cast("torch.Tensor", nn.functional.normalize(learned, dim=1) + self.back(own))


class Network(nn.Module):
    """A mobile network from timm, from random weights; four pixels are stacked into twelve channels."""

    def __init__(self, dim: int, backbone: str = BACKBONE) -> None:
        import timm

        super().__init__()
        self.fold = nn.PixelUnshuffle(2)
        self.backbone = timm.create_model(backbone, pretrained=False, in_chans=12, num_classes=0)
        self.project = nn.Linear(1280, dim, bias=False)
        nn.init.zeros_(self.project.weight)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.project(self.backbone(self.fold(pixels)))
        return out


class Heads(nn.Module):
    """What only training needs: kinds as directions of the space, a head for conditions, the contrast's scale."""

    def __init__(self, dim: int, kinds: int, conditions: int) -> None:
        super().__init__()
        self.kinds = nn.Parameter(torch.randn(kinds, dim) * dim**-0.5)
        self.conditions = nn.Linear(dim, conditions)
        self.kept = nn.Linear(dim, KEPT)
        self.log_scale = nn.Parameter(torch.tensor(2.996))  # 20
        self.kind_scale = 16.0

    def forward(self, raw: torch.Tensor) -> dict[str, Any]:
        """Of the tower's output: ``vector`` of unit norm, ``kind`` and ``condition`` logits, ``kept``, ``scale``."""
        vector = nn.functional.normalize(raw, dim=1)
        return {
            "vector": vector,
            "kind": self.kind_scale * vector @ nn.functional.normalize(self.kinds, dim=1).T,
            "condition": self.conditions(8.0 * vector),
            "kept": self.kept(8.0 * vector),
            "scale": self.log_scale.clamp(max=4.6).exp(),
        }
