"""From an RGB image to a model's input: resize, crop or pad, scale, as open_clip's evaluation transform does."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monitor.embed.encoders.base import EncoderError
from monitor.embed.images import WORKING_SIDE

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_MODES = ("shortest", "longest", "squash")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """``size`` is (height, width); ``mean`` and ``std`` are per channel, of values in 0..1.

    ``resize_mode``: ``shortest`` fits the shorter side and crops the middle, ``longest`` fits the longer side
    and pads with ``fill``, ``squash`` ignores the aspect ratio.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill: int = 0

    def __post_init__(self) -> None:
        if self.interpolation not in _FILTERS or self.resize_mode not in _MODES:
            raise EncoderError(
                f"preprocessing with interpolation {self.interpolation!r} and resize_mode {self.resize_mode!r} is not "
                f"supported; known are {', '.join(_FILTERS)} and {', '.join(_MODES)}"
            )
        if min(self.size) < 1 or len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise EncoderError(
                f"preprocessing is not usable: {self}; expected a size, 3 means and 3 positive deviations"
            )

    @classmethod
    def from_open_clip(cls, settings: dict[str, Any]) -> Preprocessing:
        """From open_clip's ``preprocess_cfg``, whose size may be one number."""
        size = settings["size"]
        height, width = (size, size) if isinstance(size, int) else size[-2:]
        return cls(
            (int(height), int(width)),
            _triple(settings["mean"]),
            _triple(settings["std"]),
            settings.get("interpolation", "bicubic"),
            settings.get("resize_mode", "shortest"),
            int(settings.get("fill_color", 0)),
        )

    @classmethod
    def from_document(cls, value: dict[str, Any]) -> Preprocessing:
        """From the ``image`` entry of encoder.json."""
        try:
            height, width = value["size"]
            return cls(
                (int(height), int(width)),
                _triple(value["mean"]),
                _triple(value["std"]),
                value["interpolation"],
                value["resize_mode"],
                int(value["fill"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderError(f"encoder.json: `image` is not usable ({error!r}); export the encoder again") from error

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def side(self) -> int:
        """Longest side in pixels at which images should come: where they are fitted they need be no larger than the
        input, where their middle is cropped as large as they are."""
        return max(self.size) if self.resize_mode == "longest" else WORKING_SIDE

    @property
    def digest(self) -> str:
        """Part of an encoder's identity."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:8]

    def fitted(self, image: Image.Image) -> NDArray[np.uint8]:
        """uint8[height, width, 3]: resized, cropped or padded, not yet scaled."""
        if image.mode != "RGB":
            image = image.convert("RGB")
        fit = {"shortest": self._shortest, "longest": self._longest, "squash": self._squash}[self.resize_mode]
        return np.asarray(fit(image))

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """float32[3, height, width], scaled by ``mean`` and ``std``."""
        pixels = self.fitted(image) / np.float32(255.0)
        pixels -= np.asarray(self.mean, np.float32)
        pixels /= np.asarray(self.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _shortest(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        scale = max(height / image.height, width / image.width)
        full_width, full_height = max(width, int(image.width * scale)), max(height, int(image.height * scale))
        left, top = round((full_width - width) / 2.0), round((full_height - height) / 2.0)
        if full_width * full_height <= 8 * width * height:
            fitted = image.resize((full_width, full_height), _FILTERS[self.interpolation])
            return fitted.crop((left, top, left + width, top + height))
        # Of a long strip only the part that is kept is computed (some pixels differ in rounding).
        across, down = image.width / full_width, image.height / full_height
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        return image.resize((width, height), _FILTERS[self.interpolation], box=box)

    def _longest(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        ratio = max(image.height / height, image.width / width)
        fitted = (max(1, min(width, round(image.width / ratio))), max(1, min(height, round(image.height / ratio))))
        canvas = Image.new("RGB", (width, height), (self.fill,) * 3)
        offset = ((width - fitted[0]) // 2, (height - fitted[1]) // 2)
        canvas.paste(image.resize(fitted, _FILTERS[self.interpolation]), offset)
        return canvas

    def _squash(self, image: Image.Image) -> Image.Image:
        return image.resize((self.size[1], self.size[0]), _FILTERS[self.interpolation])


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
