"""An open_clip model on torch (extra ``clip``)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from monitor.embed.encoders.base import EncoderError, Vectors, unit_rows
from monitor.embed.encoders.preprocess import Preprocessing


class OpenClipEncoder:
    """Any open_clip architecture with a hub tag or a local checkpoint; on a GPU with autocast where there is one.

    Rows are encoded in batches. Matrix kernels may differ by batch size in the last bits of float32; what is
    stored (float16) can then differ in its last bit.

    Args:
        model: architecture, as ``ViT-B-32``.
        pretrained: hub tag (downloaded to open_clip's cache unless it is there), or a checkpoint file.
        device: ``auto`` takes CUDA where torch sees it.
        batch: rows in one call.
        threads: torch's threads on a CPU; 0 leaves torch's choice.
    """

    shared_space = True

    def __init__(
        self, model: str, pretrained: str | None, *, device: str = "auto", batch: int = 32, threads: int = 0
    ) -> None:
        self.torch, self.model, tokenizer = load_model(model, pretrained)
        torch = self.torch
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device == "cuda" and not torch.cuda.is_available():
            raise EncoderError("encoder.open_clip.device is cuda, but torch sees no GPU; write auto or cpu")
        if threads and device == "cpu":
            torch.set_num_threads(threads)
        self.device = device
        self.model = self.model.to(device).eval()
        self.preprocessing = Preprocessing.from_open_clip(dict(self.model.visual.preprocess_cfg))
        self.side = self.preprocessing.side
        self.weights_digest = _weights_digest(self.model)
        self.identity = f"open_clip:{model}:{self.weights_digest[:16]}:{self.preprocessing.digest}"
        self.tokenizer = tokenizer
        self._batch = batch
        with torch.inference_mode():
            self.dim = int(self.model.encode_text(tokenizer([""]).to(device)).shape[-1])
        self.description = f"open_clip {model} on {device}: images and texts in one space of {self.dim} dimensions"

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        def run(group: Sequence[Image.Image]) -> Any:
            pixels = np.stack([self.preprocessing(image) for image in group])
            return self.model.encode_image(self.torch.from_numpy(pixels).to(self.device), normalize=True)

        return self._batched(images, run)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        def run(group: Sequence[str]) -> Any:
            return self.model.encode_text(self.tokenizer(list(group)).to(self.device), normalize=True)

        return self._batched(texts, run)

    def _batched(self, inputs: Sequence[Any], run: Callable[[Sequence[Any]], Any]) -> Vectors:
        if not inputs:
            return np.zeros((0, self.dim), dtype=np.float32)
        groups = (inputs[start : start + self._batch] for start in range(0, len(inputs), self._batch))
        with self.torch.inference_mode(), self._autocast():
            rows = [run(group).float().cpu().numpy() for group in groups]
        return unit_rows(np.concatenate(rows))

    def _autocast(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.torch.autocast(self.device, enabled=self.device == "cuda")
        return context


def load_model(name: str, pretrained: str | None) -> tuple[Any, Any, Any]:
    """(torch, model, tokenizer) of an open_clip architecture. Raises EncoderError."""
    try:
        import open_clip
        import torch
    except ImportError as error:
        raise EncoderError(
            f"open_clip models need the extra `clip` ({error}); `pip install 'driftline[clip]'`, or export the model "
            "elsewhere and use encoder.onnx"
        ) from error
    if not pretrained:
        raise EncoderError(
            f"encoder.open_clip.pretrained is not set, and {name} with random weights sees nothing; write a hub tag, "
            "as laion2b_s34b_b79k, or the path of a checkpoint file"
        )
    looks_like_file = "/" in pretrained or Path(pretrained).suffix in (".pt", ".pth", ".bin", ".safetensors")
    if looks_like_file and not Path(pretrained).expanduser().is_file():
        raise EncoderError(f"encoder.open_clip.pretrained: there is no file {pretrained}; write its path or a hub tag")
    if looks_like_file:
        pretrained = str(Path(pretrained).expanduser())
    try:
        model = open_clip.create_model(name, pretrained=pretrained)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip, torch and the hub raise many kinds
        raise EncoderError(
            f"open_clip cannot load {name} with {pretrained}: {error}; `python -c 'import open_clip; "
            "print(open_clip.list_pretrained())'` shows the pairs there are; without a network only local files work"
        ) from error
    return torch, model, tokenizer


def _weights_digest(model: Any) -> str:
    """sha256 over every tensor of the state, by name: the same for the same weights from whatever file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()
