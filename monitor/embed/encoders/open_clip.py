"""An open_clip model on torch (extra ``clip``)."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from monitor.embed import checkpoints
from monitor.embed.encoders.base import EncoderError, Vectors, scale_in_words, unit_rows
from monitor.embed.encoders.preprocess import Preprocessing


class OpenClipEncoder:
    """Any open_clip architecture with a hub tag or a local checkpoint; on a GPU with autocast where there is one.

    Rows are encoded in batches. Matrix kernels may differ by batch size in the last bits of float32; what is
    stored (float16) can then differ in its last bit.

    Args:
        model: architecture, as ``ViT-B-32``.
        pretrained: tag of weights that `driftline encoder pull` fetched, or a checkpoint file. Nothing is downloaded.
        device: ``auto`` takes CUDA where torch sees it.
        batch: rows in one call.
        threads: torch's threads on a CPU; 0 leaves torch's choice.
        cache: folder of pulled weights; default the platform's.
    """

    shared_space = True
    logit_scale: float | None
    logit_bias: float | None

    def __init__(
        self,
        model: str,
        pretrained: str | None,
        *,
        device: str = "auto",
        batch: int = 32,
        threads: int = 0,
        cache: str | None = None,
    ) -> None:
        self.torch, self.model, tokenizer = load_model(model, pretrained, cache)
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
        self.identity = (
            f"open_clip:{model}{_activation(self.model, model)}:{self.weights_digest[:16]}:{self.preprocessing.digest}"
        )
        self.tokenizer = tokenizer
        self._batch = batch
        self.logit_scale, self.logit_bias = _logits(self.model)
        with torch.inference_mode():
            self.dim = int(self.model.encode_text(tokenizer([""]).to(device)).shape[-1])
        self.description = (
            f"open_clip {model} on {device}: images and texts in one space of {self.dim} dimensions; "
            f"{scale_in_words(self.logit_scale, self.logit_bias)}"
        )

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


def libraries() -> tuple[Any, Any]:
    """(open_clip, torch). Raises EncoderError without the extra."""
    try:
        import open_clip
        import torch
    except ImportError as error:
        raise EncoderError(
            f"open_clip models need the extra `clip` ({error}); `pip install 'driftline[clip]'`, or export the model "
            "elsewhere and use encoder.onnx"
        ) from error
    return open_clip, torch


def load_model(name: str, pretrained: str | None, cache: str | None = None) -> tuple[Any, Any, Any]:
    """(torch, model, tokenizer) of an open_clip architecture, from files alone: no network. Raises EncoderError.

    Pulled weights get the preprocessing and the activation that they were trained with, also when they are named by
    their file.
    """
    open_clip, torch = libraries()
    if not pretrained:
        raise EncoderError(
            f"encoder.open_clip.pretrained is not set, and {name} with random weights sees nothing; write a hub tag, "
            "as laion2b_s34b_b79k, or the path of a checkpoint file"
        )
    if name.startswith("hf-hub:"):
        raise EncoderError(
            f"encoder.open_clip.model: {name} would be fetched whenever it is loaded; write an architecture that "
            "`driftline encoder list` shows, with its tag or a checkpoint file"
        )
    path = checkpoint_of(name, pretrained, cache)
    record = checkpoints.checked(path.parent)
    published = record is not None and record.weights == path.name
    settings = _preprocessing(open_clip, name, record.pretrained if record is not None and published else None)
    try:
        with _no_network():
            model = open_clip.create_model(
                name,
                pretrained=str(path),
                force_preprocess_cfg=settings,
                force_quick_gelu=bool(published and settings.get("quick_gelu")),
            )
            tokenizer = _tokenizer(open_clip, name, path.parent)
    except Exception as error:  # open_clip, torch and the hub's client raise many kinds
        raise EncoderError(
            f"open_clip cannot load {name} with {path}: {error}; `driftline encoder list` shows the architectures that "
            "there are; a tokenizer that is not CLIP's own needs its tokenizer.json beside the checkpoint, and "
            "`pip install transformers`"
        ) from error
    return torch, model, tokenizer


def checkpoint_of(name: str, pretrained: str, cache: str | None) -> Path:
    """The file that ``pretrained`` names: itself, or a tag's weights where they were pulled. Raises EncoderError."""
    if "/" in pretrained or Path(pretrained).suffix in (".pt", ".pth", ".bin", ".safetensors"):
        path = Path(pretrained).expanduser().absolute()
        if not path.is_file():
            raise EncoderError(
                f"encoder.open_clip.pretrained: there is no file {pretrained}; write its path or a hub tag"
            )
        return path
    folder = checkpoints.folder_of(checkpoints.cache_folder(cache), name, pretrained)
    record = checkpoints.record_of(folder)
    if record is None:
        raise EncoderError(
            f"the weights {name}/{pretrained} are not in {folder}, and nothing is fetched unasked; run `driftline "
            f"encoder pull {name} {pretrained}`, or write the path of a checkpoint file"
        )
    return folder / record.weights


def _preprocessing(open_clip: Any, name: str, tag: str | None) -> dict[str, Any]:
    """How images are prepared for a tag's weights; for a file of unknown origin as all tags of its architecture agree,
    else nothing, which leaves open_clip's default."""
    tags = [tag] if tag else open_clip.list_pretrained_tags_by_model(name)
    found = [open_clip.get_pretrained_cfg(name, one) for one in tags]
    kept = ("mean", "std", "interpolation", "resize_mode", "quick_gelu")
    settings = [{key: one[key] for key in kept if key in one} for one in found]
    shared = {key: settings[0][key] for key in kept if settings and key in settings[0]}
    return {key: value for key, value in shared.items() if all(one.get(key) == value for one in settings)}


def _tokenizer(open_clip: Any, name: str, folder: Path) -> Any:
    config = open_clip.get_model_config(name) or {}
    text = config.get("text_cfg", {})
    if "hf_tokenizer_name" not in text or not (folder / "tokenizer.json").is_file():
        return open_clip.get_tokenizer(name)
    return open_clip.tokenizer.HFTokenizer(
        str(folder),
        context_length=text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=text.get("tokenizer_mode"),
        **text.get("tokenizer_kwargs", {}),
    )


@contextlib.contextmanager
def _no_network() -> Iterator[None]:
    """The hub's client, which open_clip and transformers ask for what they miss, looks at files alone."""
    kept = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    os.environ.update(dict.fromkeys(kept, "1"))
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _activation(model: Any, name: str) -> str:
    """What weights are read with is part of the identity, where the architecture's name does not say it."""
    quick = any(type(module).__name__ == "QuickGELU" for module in model.modules())
    return "+quickgelu" if quick and "quickgelu" not in name.lower() else ""


def _logits(model: Any) -> tuple[float | None, float | None]:
    """What a model multiplies cosines with and adds to them; the bias is None but for models trained by sigmoid."""
    scale, bias = (getattr(model, name, None) for name in ("logit_scale", "logit_bias"))
    return (
        None if scale is None else round(float(scale.detach().exp()), 6),
        None if bias is None else round(float(bias.detach()), 6),
    )


def _weights_digest(model: Any) -> str:
    """sha256 over every tensor of the state, by name: the same for the same weights from whatever file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()
