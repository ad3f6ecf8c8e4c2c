"""From an open_clip model to a folder that ONNX Runtime needs no torch for.

Needs the extra ``clip``. The exported towers end in unit vectors; the parity figures say how close they are to
torch on a probe set.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monitor.embed.encoders.base import EncoderError
from monitor.embed.encoders.clip_tokens import CLEANING, ClipTokenizer
from monitor.embed.encoders.hub_tokens import HubTokenizer
from monitor.embed.encoders.onnx_pair import SIDECAR, VERSION, OnnxPairEncoder, file_digest
from monitor.embed.encoders.open_clip import OpenClipEncoder
from monitor.embed.probes import PROBE_TEXTS, Parity, measure_parity, probe_pages
from monitor.embed.verify import recorded

LEAST_COSINE = {"fp32": 0.999, "int8": 0.99}  # to torch, of every probe
MERGES = "clip_merges.txt.gz"
TOKENIZER = "tokenizer.json"
OPSET = 18


@dataclass(frozen=True, slots=True)
class Exported:
    directory: Path
    identity: str
    megabytes: float
    parity: Parity


def export(
    model: str,
    pretrained: str,
    out: str | Path,
    *,
    int8: bool = False,
    probes: Sequence[Image.Image] = (),
    cache: str | None = None,
    force: bool = False,
) -> Exported:
    """Write ``model`` as an ONNX pair to the folder ``out`` and measure its parity.

    Args:
        int8: quantise matrix weights to 7 of 8 bits per channel (the full 8 saturate in the 16-bit sums of
            processors without VNNI) with activation scales found per call.
        probes: images for the parity check; without them pages drawn here.
        cache: folder of pulled weights; default the platform's.
        force: write the folder although an input's vector is further from torch's than ``LEAST_COSINE`` allows.

    The folder appears complete or not at all. Raises EncoderError.
    """
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise EncoderError(f"{target} is there already and not an empty folder; choose another --out or remove it")
    encoder = OpenClipEncoder(model, pretrained, device="cpu", cache=cache)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as work:
        folder = Path(work) / "pair"
        folder.mkdir()
        text = _write_tokenizer(encoder, model, folder)
        _towers(encoder, folder, text["context_length"])
        if int8:
            for name in ("image.onnx", "text.onnx"):
                quantise(folder / name)
        document: dict[str, Any] = {
            "v": VERSION,
            "model": model,
            "precision": "int8" if int8 else "fp32",
            "weights_sha256": encoder.weights_digest,
            "dim": encoder.dim,
            "image": encoder.preprocessing.document(),
            "text": text,
            "logit_scale": encoder.logit_scale,
            "logit_bias": encoder.logit_bias,
            "files": {path.name: file_digest(path) for path in sorted(folder.iterdir())},
        }
        (folder / SIDECAR).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        exported = OnnxPairEncoder(folder)
        parity = measure_parity(encoder, exported, list(probes) or probe_pages(), PROBE_TEXTS)
        least = LEAST_COSINE[document["precision"]]
        if min(parity.image_min, parity.text_min) < least and not force:
            raise EncoderError(
                f"the {document['precision']} towers of {model} are too far from torch: the lowest cosine is "
                f"{parity.image_min:.6f} over {parity.images} images and {parity.text_min:.6f} over {parity.texts} "
                f"texts, expected at least {least}; {'export without --int8, or ' if int8 else ''}keep them all the "
                "same with --force"
            )
        document |= {"parity": asdict(parity), "probe": recorded(exported)}
        (folder / SIDECAR).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        if target.exists():
            target.rmdir()
        folder.rename(target)
    return Exported(target, exported.identity, size, parity)


def _write_tokenizer(encoder: OpenClipEncoder, model: str, folder: Path) -> dict[str, Any]:
    """Puts the tokenizer's file into ``folder``; the section ``text`` of the sidecar. Raises EncoderError for a
    tokenizer whose ids cannot be had without torch."""
    import open_clip

    tokenizer = encoder.tokenizer
    cleaning = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "").removeprefix("_clean_")
    carried: Callable[[Sequence[str]], NDArray[np.int64]] | None = None
    text: dict[str, Any] = {"context_length": int(tokenizer.context_length or 0)}
    if type(tokenizer) is open_clip.SimpleTokenizer:
        if tokenizer.vocab_size == 49408 and cleaning == "lower" and tokenizer.reduction_fn is None:
            shutil.copyfile(open_clip.tokenizer.default_bpe(), folder / MERGES)
            text |= {"tokenizer": "clip_bpe", "merges": MERGES}
            carried = ClipTokenizer(folder / MERGES, text["context_length"])
    elif type(tokenizer) is open_clip.tokenizer.HFTokenizer and cleaning in CLEANING:
        tokenizer(["a"])  # which sets how it cuts and fills
        backend = getattr(tokenizer.tokenizer, "backend_tokenizer", None)
        if backend is not None and not tokenizer.tokenizer_mode and not tokenizer.strip_sep_token:
            (folder / TOKENIZER).write_text(backend.to_str(), encoding="utf-8")
            text |= {"tokenizer": "hub_json", "file": TOKENIZER, "cleaning": cleaning}
            carried = HubTokenizer(folder / TOKENIZER, text["context_length"], cleaning)
    if carried is None or not np.array_equal(carried(PROBE_TEXTS), tokenizer(list(PROBE_TEXTS)).numpy()):
        raise EncoderError(
            f"the tokenizer of {model} ({type(tokenizer).__name__}, cleaning {cleaning!r}) is not one whose ids can be "
            "had without torch; use encoder.open_clip for it, or export a model with CLIP's tokenizer, as ViT-B-32, or "
            "with a plain tokenizer.json, as ViT-B-16-SigLIP"
        )
    return text


def _towers(encoder: OpenClipEncoder, folder: Path, context_length: int) -> None:
    torch = encoder.torch

    class Image_(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder.model

        def forward(self, pixels: Any) -> Any:
            return self.model.encode_image(pixels, normalize=True)

    class Text_(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder.model

        def forward(self, ids: Any) -> Any:
            return self.model.encode_text(ids, normalize=True)

    height, width = encoder.preprocessing.size
    batch = torch.export.Dim("batch", min=1, max=1024)
    # Two rows: an exporter that sees one takes the batch for a constant.
    pixels, ids = torch.zeros(2, 3, height, width), torch.zeros(2, context_length, dtype=torch.int64)
    for name, tower, example in (("image", Image_(), pixels), ("text", Text_(), ids)):
        try:
            with redirect_stdout(io.StringIO()):
                torch.onnx.export(
                    tower.eval(),
                    (example,),
                    str(folder / f"{name}.onnx"),
                    input_names=["pixels" if name == "image" else "ids"],
                    output_names=["vectors"],
                    opset_version=OPSET,
                    dynamic_shapes=({0: batch},),
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
        except ImportError as error:
            raise EncoderError(
                f"export needs onnx and onnxscript ({error}); `pip install 'driftline[clip]'`"
            ) from error
        except Exception as error:  # torch's exporter raises many kinds
            raise EncoderError(f"torch cannot export the {name} tower to ONNX: {error}") from error


def quantise(path: Path) -> None:
    """Quantise a tower in place: matrix products to int8 per channel, activation scales per call."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, quantised = path.with_suffix(".prepared"), path.with_suffix(".int8")
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    quantize_dynamic(
        str(prepared),
        str(quantised),
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()
    quantised.replace(path)
