"""From an open_clip model to a folder that ONNX Runtime needs no torch for.

Needs the extra ``clip``. The exported towers end in unit vectors; the parity figures say how close they are to
torch on a probe set.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from monitor.embed.encoders.base import EncoderError
from monitor.embed.encoders.onnx_pair import SIDECAR, VERSION, OnnxPairEncoder, file_digest
from monitor.embed.encoders.open_clip import OpenClipEncoder
from monitor.embed.probes import PROBE_TEXTS, Parity, measure_parity, probe_pages
from monitor.embed.verify import recorded

LEAST_COSINE = {"fp32": 0.999, "int8": 0.99}  # to torch, of every probe
MERGES = "clip_merges.txt.gz"
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
    merges, context_length = _clip_tokenizer(encoder, model)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as work:
        folder = Path(work) / "pair"
        folder.mkdir()
        _towers(encoder, folder, context_length)
        if int8:
            for name in ("image.onnx", "text.onnx"):
                quantise(folder / name)
        shutil.copyfile(merges, folder / MERGES)
        document: dict[str, Any] = {
            "v": VERSION,
            "model": model,
            "precision": "int8" if int8 else "fp32",
            "weights_sha256": encoder.weights_digest,
            "dim": encoder.dim,
            "image": encoder.preprocessing.document(),
            "text": {"tokenizer": "clip_bpe", "merges": MERGES, "context_length": context_length},
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


def _clip_tokenizer(encoder: OpenClipEncoder, model: str) -> tuple[Path, int]:
    """The merges file and context length, where the model uses CLIP's own tokenizer."""
    import open_clip

    tokenizer = encoder.tokenizer
    plain = type(tokenizer) is open_clip.SimpleTokenizer and tokenizer.vocab_size == 49408
    cleaning = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "")
    if not plain or cleaning != "_clean_lower" or tokenizer.reduction_fn is not None:
        raise EncoderError(
            f"{model} does not use CLIP's own tokenizer ({type(tokenizer).__name__}), and only that one is carried "
            "without torch; use encoder.open_clip for it, or export a model with CLIP's tokenizer, as ViT-B-32"
        )
    return Path(open_clip.tokenizer.default_bpe()), int(tokenizer.context_length)


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
