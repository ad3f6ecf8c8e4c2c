"""Which encoders can be used here, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monitor.config.inputs import Encoder as EncoderConfig
from monitor.embed import checkpoints
from monitor.embed.encoders import load
from monitor.embed.encoders.base import EncoderError
from monitor.embed.encoders.onnx_pair import SIDECAR, read_sidecar


def available(config: EncoderConfig, directories: Iterable[Path] = ()) -> dict[str, Any]:
    """``builtin``, ``exported`` (``directories`` and the folders in them), ``cache``, ``pulled`` and ``open_clip``.

    ``open_clip`` maps architectures to their tags, to those of them that are pulled, and to whether they can be
    exported to ONNX; without the extra it is None and ``open_clip_absent`` says what to install.
    """
    cache = checkpoints.cache_folder(config.cache)
    pulled = checkpoints.all_pulled(cache)
    found: dict[str, Any] = {
        "builtin": [
            {"name": name, "description": load(EncoderConfig(builtin=name)).description}
            for name in ("driftline-mini", "features")
        ],
        "exported": [_exported(path.parent) for folder in directories for path in _sidecars(folder)],
        "cache": str(cache),
        "pulled": [
            {
                "name": f"{record.model}/{record.pretrained}",
                "directory": str(folder),
                "bytes": sum(file.bytes for file in record.files.values()),
                "licence": record.licence,
                "sha256": record.files[record.weights].sha256,
            }
            for folder, record in pulled
        ],
    }
    return {**found, **_open_clip({(record.model, record.pretrained) for _, record in pulled})}


def _sidecars(folder: Path) -> list[Path]:
    return sorted({*folder.glob(SIDECAR), *folder.glob(f"*/{SIDECAR}")})


def _exported(folder: Path) -> dict[str, Any]:
    try:
        sidecar = read_sidecar(folder)
    except EncoderError as error:
        return {"directory": str(folder), "error": str(error)}
    return {"directory": str(folder), **{key: sidecar[key] for key in ("model", "precision", "dim")}}


def _open_clip(pulled: set[tuple[str, str]]) -> dict[str, Any]:
    from monitor.embed.encoders.open_clip import libraries

    try:
        open_clip, _ = libraries()
    except EncoderError as error:
        return {"open_clip": None, "open_clip_absent": str(error)}
    architectures = {}
    for name in open_clip.list_models():
        text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
        tags = open_clip.list_pretrained_tags_by_model(name)
        architectures[name] = {
            "tags": tags,
            "pulled": [tag for tag in tags if (name, tag) in pulled],
            "exports": _exports(text),
        }
    return {"open_clip": architectures, "open_clip_absent": None}


def _exports(text: dict[str, Any]) -> bool:
    """Whether the tokenizer of an architecture's ``text_cfg`` is one that an exported folder can carry."""
    settings = text.get("tokenizer_kwargs") or {}
    if "hf_tokenizer_name" in text:
        return not ("hf_model_name" in text or text.get("tokenizer_mode") or settings.get("strip_sep_token"))
    return not settings
