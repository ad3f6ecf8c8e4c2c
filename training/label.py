"""The teacher's vectors of ``training.texts``, kept on disk by chunks: the longest step, and one that resumes.

The teacher runs on ONNX Runtime with fused layers and int8 matrices, which is about 1.6 times as fast as torch; its
similarities correlate with those of float32 to 0.996 (``python -m training.label --check``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer

from training import texts
from training.teacher import Teacher

CHUNK, BATCH, EVERYDAY = 2048, 8, 45_056


class QuickTeacher:
    """all-MiniLM-L6-v2 with int8 matrices; the same texts give the same vectors on one machine, not on all."""

    def __init__(self, teacher: Teacher, folder: Path, threads: int = 1) -> None:
        path = folder / "teacher.int8.onnx"
        if not path.exists():
            _export(teacher, folder, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._tokenizer = teacher.tokenizer
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, said: list[str]) -> np.ndarray:
        """float32[n, 384]."""
        out = np.zeros((len(said), 384), np.float32)
        order = np.argsort([len(text) for text in said], kind="stable")
        for start in range(0, len(said), BATCH):
            rows = order[start : start + BATCH]
            made = self._tokenizer.encode_batch([said[i] for i in rows])
            feed = {"ids": np.array([e.ids for e in made]), "mask": np.array([e.attention_mask for e in made])}
            out[rows] = self._session.run(None, feed)[0]
        return out


def _export(teacher: Teacher, folder: Path, path: Path) -> None:
    torch = teacher.torch

    class Sentence(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = teacher.model

        def forward(self, ids: Any, mask: Any) -> Any:
            last = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).float()
            return torch.nn.functional.normalize((last * weights).sum(1) / weights.sum(1), dim=1)

    teacher.model.set_attn_implementation("eager")
    real, ids = folder / "teacher.onnx", torch.ones(2, 8, dtype=torch.long)
    axes = {name: {0: "n", 1: "tokens"} for name in ("ids", "mask")}
    torch.onnx.export(
        Sentence(), (ids, torch.ones_like(ids)), str(real), input_names=["ids", "mask"], output_names=["vector"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip
    optimizer.optimize_model(
        str(real), model_type="bert", num_heads=12, hidden_size=384, opt_level=1
    ).save_model_to_file(str(real))
    quantize_dynamic(
        real, path, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8, per_channel=True,
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
    )  # fmt: skip
    real.unlink()


def label(folder: Path, name: str, said: list[str], teacher: QuickTeacher) -> None:
    """Writes ``name-NNN.npz`` (texts, vectors float16[n, 384]) for every chunk that is not there."""
    for start in range(0, len(said), CHUNK):
        path = folder / f"{name}-{start // CHUNK:03d}.npz"
        if path.exists():
            continue
        part = said[start : start + CHUNK]
        np.savez(path.with_suffix(".part.npz"), texts=np.array(part), vectors=teacher(part).astype(np.float16))
        path.with_suffix(".part.npz").replace(path)
        print(path.name, flush=True)


def check(said: list[str], exact: Teacher, quick: QuickTeacher) -> float:
    """Correlation of the quick teacher's similarities with the exact one's over pairs of texts."""
    first, second = exact(said), quick(said)
    upper = np.triu_indices(len(said), 1)
    return float(np.corrcoef((first @ first.T)[upper], (second @ second.T)[upper])[0, 1])


def main(folder: Path, threads: int, checking: bool) -> None:
    import torch

    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    exact = Teacher()
    quick = QuickTeacher(exact, folder, threads)
    train, held = texts.corpus()
    print(f"{len(train)} texts, {len(held)} held out", flush=True)
    if checking:
        print(f"similarities correlate to {check(held[:1024], exact, quick):.4f}")
        return
    label(folder, "held", held, quick)
    label(folder, "train-everyday", texts.everyday(np.random.default_rng(23), texts.synsets(), EVERYDAY), quick)
    label(folder, "train", train, quick)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Embed the texts of the text tower with the teacher.")
    parser.add_argument("--folder", type=Path, default=Path(".cache/encoder/texts"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="only compare the int8 teacher with the float32 one")
    chosen = parser.parse_args()
    main(chosen.folder, chosen.threads, chosen.check)
