"""Vectors of the real images under every encoder that is compared, kept on disk by encoder and image."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.split import HELD_OUT, RealImage, read

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CACHE = Path(".cache/encoder/vectors")
PIXEL_SIDE, COMPONENTS = 48, 64

Rows = NDArray[np.float32]
Embed = Callable[[Sequence[Image.Image]], Rows]


def evaluation_images() -> list[RealImage]:
    """Every real image that may measure an encoder: held-out kinds, and of the others what is never trained on."""
    return [row for row in read(DATA / "images") if row.side == "evaluate"]


def load(row: RealImage, side: int = 768) -> Image.Image:
    """The image as the embed role hands it to an encoder that asks for ``side`` pixels."""
    from monitor.embed import images

    decoded = images.decode((DATA / "images" / row.file).read_bytes(), 50_000_000, side)
    assert isinstance(decoded, images.Decoded), row.file
    return decoded.image


def encoders(mini: Path | None) -> dict[str, tuple[str, Embed]]:
    """Name to (identity, images to rows) of what can be run here: driftline-mini and the three to compare with."""
    from monitor.embed.encoders.features import FeatureEncoder

    features = FeatureEncoder()
    found: dict[str, tuple[str, Embed]] = {
        "features": (features.identity, features.encode_images),
        "pixels_pca": (f"pixels:{PIXEL_SIDE}", _pixels),
    }
    shipped = mini_encoder(mini)
    if shipped is not None:
        found = {"driftline_mini": (shipped.identity, shipped.encode_images), **found}
    if importlib.util.find_spec("open_clip") is not None:
        found["random_vit_b32"] = ("open_clip:ViT-B-32:random:0", _random_vit())
    return found


def mini_encoder(folder: Path | None) -> Any:
    """driftline-mini from a folder, or the one in the package; None where there is none."""
    from monitor.embed.encoders.mini import FOLDER, MiniEncoder

    chosen = folder or FOLDER
    return MiniEncoder(chosen, threads=1) if (chosen / "encoder.json").is_file() else None


def _pixels(images: Sequence[Image.Image]) -> Rows:
    rows = [
        np.asarray(i.convert("L").resize((PIXEL_SIDE, PIXEL_SIDE), Image.Resampling.BOX), np.float32) for i in images
    ]
    return np.stack(rows).reshape(len(rows), -1) / 255


def _random_vit() -> Embed:
    model: list[Any] = []

    def run(images: Sequence[Image.Image]) -> Rows:
        import open_clip
        import torch

        from monitor.embed.encoders.preprocess import Preprocessing

        if not model:
            torch.manual_seed(0)
            made = open_clip.create_model("ViT-B-32").eval()
            model.extend([made, Preprocessing.from_open_clip(dict(made.visual.preprocess_cfg))])
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack([model[1](image) for image in images]))
            rows: Rows = model[0].encode_image(pixels, normalize=True).float().numpy()
        return rows

    return run


def vectors(identity: str, embed: Embed, key: str, images: Sequence[Callable[[], Image.Image]]) -> Rows:
    """Rows of the images, from disk where this encoder has seen this list (``key``) before."""
    name = hashlib.sha256(f"{identity} {key} {len(images)}".encode()).hexdigest()[:20]
    path = CACHE / f"{name}.npy"
    if path.is_file():
        return np.asarray(np.load(path), dtype=np.float32)
    rows = [embed([one() for one in images[start : start + 16]]) for start in range(0, len(images), 16)]
    found = np.concatenate(rows).astype(np.float32)
    CACHE.mkdir(parents=True, exist_ok=True)
    np.save(path, found)
    return found


def comparable(name: str, rows: Rows) -> Rows:
    """Unit rows; raw pixels first become their principal components (of the images compared: to their advantage)."""
    if name == "pixels_pca":
        centred = rows - rows.mean(0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        rows = centred @ axes[:COMPONENTS].T
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)


def held_out(kinds: Sequence[str]) -> NDArray[np.bool_]:
    return np.isin(np.asarray(kinds), HELD_OUT)
