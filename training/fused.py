"""The image tower as it is exported: the measurements of ``model`` in fewer passes over memory, from 8-bit pixels.

``model`` says what is measured; here is the same arithmetic in another order, so that a processor spends its time on
products. Scaling and luma are one product. Edges are convolutions cut off at zero, and patches are divided by their
contrast before they meet the filters, so that the threshold is the convolution's bias: ONNX Runtime does the cut within
the convolution and pools what comes out as it lies. ``export.parity`` compares the two.
"""

from __future__ import annotations

import torch
from torch import nn

from training.model import (
    FILTERS,
    GRID,
    HEIGHT,
    LUMA,
    MEAN,
    SCALES,
    STD,
    TONES,
    WIDTH,
    Descriptor,
    ImageTower,
    Texture,
)

_RUN = 16  # pixels of a row that one product turns grey: a multiple of the floats in a vector register
_BLOCK = 4  # patches are 2 x 2 blocks of 4 x 4 pixels, and lie a block apart


class Fixed(nn.Module):
    """Constants of the measurements. Their names in the exported graph begin with ``fixed.``."""

    def __init__(self, descriptor: Descriptor, texture: Texture) -> None:
        super().__init__()
        gain = torch.tensor([1 / (255 * s) for s in STD])
        lift = torch.tensor([-m / s for m, s in zip(MEAN, STD, strict=True)])
        luma = torch.tensor(LUMA)
        self.register_buffer("gain", gain[None, :, None, None])
        self.register_buffer("lift", lift[None, :, None, None])
        self.register_buffer("grey", torch.kron(torch.eye(_RUN), (luma * gain)[:, None]))
        self.register_buffer("grey_lift", (luma * lift).sum().repeat(_RUN))
        block = torch.full((_BLOCK, _BLOCK), 1 / _BLOCK**2)
        self.register_buffer("colour", torch.stack([torch.kron(block, g) for g in torch.diag(gain)])[:, None])
        self.register_buffer("colour_lift", lift)
        differences = torch.zeros(4, 1, 3, 3)
        for number, (plus, minus, weight) in enumerate(
            (((1, 2), (1, 0), 1.0), ((2, 1), (0, 1), 1.0), ((2, 2), (0, 0), 0.7), ((0, 2), (2, 0), 0.7))
        ):
            differences[number, 0, *plus], differences[number, 0, *minus] = weight, -weight
        # Eight more that answer nothing: ONNX Runtime pools as it lies only what has a multiple of 16 channels.
        self.register_buffer("differences", torch.cat([differences, -differences, torch.zeros(8, 1, 3, 3)]))
        self.register_buffer("thirds", torch.kron(torch.eye(3), torch.ones(WIDTH // 3, 1)) * 3 / WIDTH)
        self.register_buffer("quarters", torch.kron(torch.eye(4), torch.ones(1, HEIGHT // 4)) * 4 / HEIGHT)
        self.register_buffer("tones", descriptor.tones)
        self.register_buffer("down", descriptor.down)
        self.register_buffer("across", descriptor.across)
        self.register_buffer("wide", descriptor.wide)
        self.register_buffer("tall", torch.cat([part.T for part in descriptor.tall.chunk(2, dim=1)]))
        self.register_buffer("rings", descriptor.rings)
        self.register_buffer("blocks", torch.eye(_BLOCK**2).reshape(-1, 1, _BLOCK, _BLOCK))
        self.register_buffer("fine", to_blocks(texture.fine))
        self.register_buffer("coarse", to_blocks(texture.coarse))
        self.register_buffer("threshold", torch.full((FILTERS,), -0.15))


class Fused(nn.Module):
    """uint8[1, 256, 192, 3] to float32[1, dim]: what ``ImageTower`` gives of the scaled pixels."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.fixed = Fixed(tower.descriptor, tower.texture)
        self.measured, self.network = tower.measured, tower.network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = pixels.float()
        layers = self.measured
        out = _normalised(layers.norm, self.measure(x)).clamp(-6, 6)
        out = layers.joined(layers.last(torch.relu(_normalised(layers.middle, layers.first(out)))), out)
        if self.network is not None:
            out = out + self.network(x.permute(0, 3, 1, 2) * self.fixed.gain + self.fixed.lift)
        return out

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        """Of float32[1, 256, 192, 3] in 0..255: what ``ImageTower.measure`` gives, float32[1, MEASURED]."""
        fixed = self.fixed
        grey = torch.addmm(fixed.grey_lift, x.reshape(-1, 3 * _RUN), fixed.grey).reshape(1, 1, HEIGHT, WIDTH)
        pyramid = [grey]
        for _ in range(1, SCALES):
            pyramid.append(nn.functional.avg_pool2d(pyramid[-1], 2))
        parts = [self._edges(level) for level in pyramid]
        parts += self._colours(x)
        # A page's mean height in a tent of width w around a tone is 1 - mean(min(distance / w, 1)).
        distance = (pyramid[2] - fixed.tones).abs() * ((TONES - 1) / 4.0)
        parts.append((1 - distance.clamp(max=1).mean((2, 3)) + 1e-4).sqrt())
        parts += self._spectra(grey.reshape(HEIGHT, WIDTH), pyramid[1].reshape(HEIGHT // 2, WIDTH // 2))
        answers = [
            _answers(pyramid[0], pyramid[2], fixed.fine, fixed),
            _answers(pyramid[1], pyramid[3], fixed.coarse, fixed),
        ]
        likeness = [nn.functional.avg_pool2d(found, found.shape[3] // GRID[1]) for found in answers]
        likeness += [nn.functional.adaptive_avg_pool2d(found * found, 1) for found in answers]
        parts.append((torch.cat([part.flatten(1) for part in likeness], 1) + 1e-4).sqrt())
        return torch.cat(parts, 1)

    def _edges(self, level: torch.Tensor) -> torch.Tensor:
        """What is above zero of each difference and of its reverse: their sum is its size."""
        found = torch.relu(nn.functional.conv2d(level, self.fixed.differences))
        cell = (found.shape[2] // GRID[0], found.shape[3] // GRID[1])
        cells = nn.functional.avg_pool2d(found, cell)[:, :, : GRID[0], : GRID[1]]
        return (cells[:, :4] + cells[:, 4:8] + 1e-6).sqrt().flatten(1)

    def _colours(self, x: torch.Tensor) -> list[torch.Tensor]:
        """A row of pixels is 3 x 192 numbers in turn: a filter of 4 x 12 averages 4 x 4 pixels of one colour."""
        row = x.reshape(1, 1, HEIGHT, 3 * WIDTH)
        coarse = nn.functional.conv2d(row, self.fixed.colour, self.fixed.colour_lift, stride=(_BLOCK, 3 * _BLOCK))
        cells = nn.functional.avg_pool2d(torch.cat([coarse, coarse * coarse], 1), HEIGHT // _BLOCK // GRID[0])
        mean, square = cells[:, :3] + 1e-6, cells[:, 3:] + 1e-6
        spread = (square - mean * mean).clamp(min=0) + 1e-4
        return [mean.flatten(1), spread.sqrt().flatten(1)]

    def _spectra(self, grey: torch.Tensor, half: torch.Tensor) -> list[torch.Tensor]:
        fixed = self.fixed
        strips = (grey @ fixed.thirds).T @ fixed.down
        bands = (fixed.quarters @ grey) @ fixed.across
        waves = fixed.tall @ (half @ fixed.wide)  # cosines, then sines, both down and across
        down, across = HEIGHT // 2, WIDTH // 4
        real = waves[:down, :across] - waves[down:, across:]
        imaginary = waves[:down, across:] + waves[down:, :across]
        power = (real * real + imaginary * imaginary).reshape(1, -1) @ fixed.rings
        return [_power(strips), _power(bands), (power + 1e-4).log()]


def to_blocks(filters: torch.Tensor) -> torch.Tensor:
    """[n, 1, 8, 8] to [n, 64, 1, 1]: the four blocks of a patch in reading order, and so the pixels of each."""
    return filters.reshape(-1, 2, _BLOCK, 2, _BLOCK).permute(0, 1, 3, 2, 4).reshape(len(filters), -1, 1, 1)


def from_blocks(filters: torch.Tensor) -> torch.Tensor:
    """The reverse: [n, 64, 1, 1] to [n, 1, 8, 8]."""
    side = 2 * _BLOCK
    return filters.reshape(-1, 2, 2, _BLOCK, _BLOCK).permute(0, 1, 3, 2, 4).reshape(len(filters), 1, side, side)


def _answers(level: torch.Tensor, means: torch.Tensor, filters: torch.Tensor, fixed: Fixed) -> torch.Tensor:
    """How like each filter each patch is, above the threshold: [1, 128, h / 4 - 1, w / 4 - 1].

    ``means`` are those of the level's blocks.
    """
    squares = nn.functional.avg_pool2d(level * level, _BLOCK)
    mean, square = nn.functional.avg_pool2d(means, 2, 1), nn.functional.avg_pool2d(squares, 2, 1)
    spread = (square - mean * mean).clamp(min=0)
    blocks = nn.functional.conv2d(level, fixed.blocks, stride=_BLOCK)
    corners = [blocks[:, :, :-1, :-1], blocks[:, :, :-1, 1:], blocks[:, :, 1:, :-1], blocks[:, :, 1:, 1:]]
    patches = torch.cat(corners, 1) * (0.125 / (spread + 0.003).sqrt())
    return torch.relu(nn.functional.conv2d(patches, filters, fixed.threshold))


def _power(waves: torch.Tensor) -> torch.Tensor:
    count = waves.shape[1] // 2
    cosine, sine = waves[:, :count], waves[:, count:]
    return (cosine * cosine + sine * sine + 1e-3).log().mean(0, keepdim=True)


def _normalised(norm: nn.BatchNorm1d, x: torch.Tensor) -> torch.Tensor:
    """A batch norm of fixed statistics as one product and one sum, whose constants are folded when a session opens."""
    deviation = (norm.running_var + norm.eps).sqrt()
    if not norm.affine:
        return (x - norm.running_mean) * (1 / deviation)
    gain = norm.weight / deviation
    return x * gain + (norm.bias - norm.running_mean * gain)
