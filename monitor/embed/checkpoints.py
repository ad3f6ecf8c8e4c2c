"""Published open_clip weights on disk: fetched when asked, recorded with their sha256, checked whenever they are used.

A folder holds the weights, the tokenizer's files where the model does not use CLIP's own, and ``pulled.json``: what was
fetched from where, under which licence. `driftline encoder pull` makes one at ``CACHE/open_clip/MODEL/PRETRAINED``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from monitor.embed.download import Downloaded, DownloadError, NotFound, Progress, download
from monitor.embed.encoders.base import EncoderError
from monitor.embed.encoders.onnx_pair import file_digest

RECORD = "pulled.json"
VERSION = 1
_SAFE = re.compile(r"[A-Za-z0-9._-]+")
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_TOKENIZER = (("tokenizer.json", True), ("tokenizer_config.json", False), ("special_tokens_map.json", False))


class PulledFile(msgspec.Struct, frozen=True):
    """One file of a folder: its sha256, its size in bytes, and the address it came from."""

    sha256: str
    bytes: int
    source: str


class Pulled(msgspec.Struct, frozen=True):
    """The content of ``pulled.json``. ``weights`` is one of ``files``; ``licence`` is null where it is not stated."""

    v: int
    model: str
    pretrained: str
    weights: str
    files: dict[str, PulledFile]
    licence: str | None
    pulled_at: str


def cache_folder(configured: str | None) -> Path:
    """``encoder.cache``, else the platform's folder for caches."""
    if configured:
        return Path(configured).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "driftline"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "driftline"


def folder_of(cache: Path, model: str, pretrained: str) -> Path:
    """Where a pair is pulled to. Raises EncoderError for names that are none."""
    for name in (model, pretrained):
        if not _SAFE.fullmatch(name) or name.startswith("."):
            raise EncoderError(f"{name!r} is no name of a model or tag; `driftline encoder list` shows those there are")
    return cache / "open_clip" / model / pretrained


def record_of(folder: Path) -> Pulled | None:
    """What was pulled to ``folder``; None where nothing was. Raises EncoderError where the record is not usable."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Pulled)
    except (OSError, msgspec.DecodeError) as error:
        raise EncoderError(f"{path} cannot be read: {error}; remove {folder} and pull again") from error
    if found.v != VERSION or found.weights not in found.files or any("/" in name for name in found.files):
        raise EncoderError(f"{path} is not a record of this version ({VERSION}); remove {folder} and pull again")
    return found


def faults(folder: Path, record: Pulled) -> list[str]:
    """Every file that is gone or is not the one that was pulled, in words."""
    found = []
    for name, stated in sorted(record.files.items()):
        path = folder / name
        if not path.is_file():
            found.append(f"{path} is gone; pull again")
        elif (digest := file_digest(path)) != stated.sha256:
            found.append(
                f"{path} is not the file that was pulled: sha256 {digest[:16]}…, expected {stated.sha256[:16]}…; "
                "remove it and pull again"
            )
    return found


def checked(folder: Path) -> Pulled | None:
    """The record of ``folder`` after a look at every file. Raises EncoderError where one was changed or is gone."""
    record = record_of(folder)
    if record is not None and (wrong := faults(folder, record)):
        raise EncoderError("\n".join(wrong))
    return record


def all_pulled(cache: Path) -> list[tuple[Path, Pulled]]:
    """Folder and record of everything in ``cache``, by name; folders without a usable record are left out."""
    found = []
    for path in sorted((cache / "open_clip").glob(f"*/*/{RECORD}")):
        try:
            record = record_of(path.parent)
        except EncoderError:
            continue
        if record is not None:
            found.append((path.parent, record))
    return found


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE asks for no network, read as the Hugging Face hub's own client does."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in ("1", "ON", "YES", "TRUE")


def pull(
    model: str,
    pretrained: str,
    folder: Path,
    *,
    offline: bool = False,
    progress: Callable[[str], Progress] = lambda name: lambda received, total: None,
) -> tuple[Pulled, bool]:
    """Fetch the weights (and tokenizer) of a pair to ``folder``. Returns (record, whether anything was fetched).

    What is there already and right is kept. ``progress`` is called with each file's name. The hub is the one that
    HF_ENDPOINT names. Raises EncoderError.
    """
    held = record_of(folder)
    if held is not None and (held.model, held.pretrained) != (model, pretrained):
        raise EncoderError(f"{folder} holds {held.model}/{held.pretrained}; choose another folder, or remove it")
    if held is not None and not (wrong := faults(folder, held)):
        return held, False
    if held is not None and offline:
        raise EncoderError("\n".join(wrong))
    settings, tokenizer = _published(model, pretrained)
    if offline:
        raise EncoderError(
            f"offline (HF_HUB_OFFLINE or --offline), and {model}/{pretrained} is not in {folder}; pull it where there "
            "is a network and copy the folder here"
        )
    (folder / RECORD).unlink(missing_ok=True)
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    repository, _, named = settings["hf_hub"].rpartition("/")
    choices = [
        (f"{hub}/{repository}/resolve/main/{name}", name) for name in ([named] if named else _WEIGHTS) if repository
    ]
    if settings["url"]:
        choices.append((settings["url"], settings["url"].rsplit("/", 1)[-1]))
    try:
        weights = _first(choices, folder, progress)
        fetched = [weights]
        for name, needed in _TOKENIZER if tokenizer else ():
            try:
                fetched.append(
                    download(f"{hub}/{tokenizer}/resolve/main/{name}", folder / name, progress=progress(name))
                )
            except NotFound:
                if needed:
                    raise
    except DownloadError as error:
        raise EncoderError(str(error)) from error
    record = Pulled(
        v=VERSION,
        model=model,
        pretrained=pretrained,
        weights=weights.path.name,
        files={done.path.name: PulledFile(done.sha256, done.bytes, done.source) for done in fetched},
        licence=_licence(hub, repository),
        pulled_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    written = folder / f"{RECORD}.part"
    written.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    written.replace(folder / RECORD)
    return record, True


def _published(model: str, pretrained: str) -> tuple[dict[str, Any], str]:
    """(where open_clip says the weights are, repository of the tokenizer or "" for CLIP's own)."""
    from monitor.embed.encoders.open_clip import libraries

    open_clip, _ = libraries()
    settings = open_clip.get_pretrained_cfg(model, pretrained)
    if not settings:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model))
        raise EncoderError(
            f"open_clip knows no weights {pretrained!r} of {model!r}; "
            + (f"its tags are {tags}" if tags else "`driftline encoder list` shows the models and tags there are")
        )
    text = open_clip.get_model_config(model)["text_cfg"]
    if "hf_model_name" in text:
        raise EncoderError(
            f"`transformers` builds the text tower of {model} from files of {text['hf_model_name']}, which are not "
            "pulled; take a model whose towers open_clip builds, as ViT-B-32 or ViT-B-16-SigLIP"
        )
    return settings, text.get("hf_tokenizer_name", "")


def _first(choices: list[tuple[str, str]], folder: Path, progress: Callable[[str], Progress]) -> Downloaded:
    """The first of the addresses that has a file."""
    for url, name in choices:
        try:
            return download(url, folder / name, sha256=_sha256_in(url), progress=progress(name))
        except NotFound:
            continue
    raise NotFound(f"none of {', '.join(url for url, _ in choices)} is there; fetch the file and give its path")


def _sha256_in(url: str) -> str:
    """The digest, or its beginning, that two publishers write into their addresses."""
    found = re.search(r"/([0-9a-f]{64})/[^/]+$|-([0-9a-f]{8})\.\w+$", url)
    return (found[1] or found[2]) if found else ""


def _licence(hub: str, repository: str) -> str | None:
    """What the hub states as the licence of a repository; None where it states nothing, or cannot be asked."""
    try:
        answer = httpx.get(f"{hub}/api/models/{quote(repository)}", timeout=10.0)
        card = answer.json().get("cardData") or {} if answer.status_code == 200 and repository else {}
    except (httpx.HTTPError, ValueError, AttributeError):
        return None
    stated = card.get("license") if isinstance(card, dict) else None
    return stated[:100] if isinstance(stated, str) else None
