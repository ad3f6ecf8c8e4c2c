"""Writes the folder that the package ships: the image tower as ONNX with int8 weights, the text tower, the sidecar.

Weights of the learned layers are int8 with one scale per output; activations stay float32. So nothing saturates on
processors without VNNI, no activation scale depends on a batch, and the file is a quarter of its float32 size. The
weights become float32 once, when a session opens.

    python -m training.export                                          # of a training run
    python -m training.export --again FOLDER --text FOLDER --out OTHER # of a folder that was exported before
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper

from monitor.embed.encoders.mini import TOKENIZER, MiniEncoder
from monitor.embed.encoders.onnx_pair import SIDECAR, VERSION, file_digest
from monitor.embed.encoders.preprocess import Preprocessing
from monitor.embed.verify import recorded
from training.fused import Fused, from_blocks
from training.model import FILL, HEIGHT, MEAN, STD, WIDTH, ImageTower

NAME, DIM, OPSET = "driftline-mini", 256, 17
LEAST_PARITY = 0.999


def tower_of(run: Path, filters: Path) -> ImageTower:
    """The trained image tower of a run: with its network where the second stage was run, else the first stage's."""
    measured = dict(np.load(filters))
    second = run / "network.pt"
    if second.exists():
        tower = ImageTower(DIM, measured, network=True)
        state = torch.load(second, weights_only=True)["average"]
        prefix = "module.tower."
    else:
        tower = ImageTower(DIM, measured)
        state = torch.load(run / "checkpoint.pt", weights_only=True)["model"]
        state = {f"measured.{k.removeprefix('layers.')}": v for k, v in state.items() if k.startswith("layers.")}
        state |= {name: value for name, value in tower.state_dict().items() if not name.startswith("measured.")}
        prefix = ""
    tower.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return tower.eval()


def tower_again(path: Path) -> ImageTower:
    """The image tower whose ``image.onnx`` this is: its weights are those that the int8 ones stand for."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    if "fixed.fine" not in stored or any(name.startswith("network.") for name in stored):
        raise SystemExit(f"{path} was not exported from this image tower without a network; export it from its run")
    filters = {
        name: from_blocks(torch.tensor(stored[f"fixed.{of}"])) for name, of in (("full", "fine"), ("half", "coarse"))
    }
    tower = ImageTower(DIM, filters)
    state = tower.state_dict()
    for name in state:
        if f"{name}.int8" in stored:
            state[name] = torch.tensor(stored[f"{name}.int8"] * stored[f"{name}.scale"])
        elif name in stored:
            state[name] = torch.tensor(stored[name])
    tower.load_state_dict(state)
    return tower.eval()


def write_image(tower: ImageTower, path: Path) -> None:
    """One image a call: pixels uint8[1, 256, 192, 3] to vector float32[1, dim]."""
    torch.onnx.export(
        Fused(tower).eval(), (torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.uint8),), str(path),
        input_names=["pixels"], output_names=["vector"], opset_version=OPSET, dynamo=False,
        do_constant_folding=False,  # weights keep their names, which ``tower_again`` reads
    )  # fmt: skip
    model = onnx.load(path)
    quantise(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def quantise(model: Any) -> int:
    """Learned weights of ``Gemm`` and ``Conv`` nodes become int8 with a scale per output; returns how many."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    done, nodes = 0, []
    for node in list(model.graph.node):
        tensor = weights.get(node.input[1]) if node.op_type in ("Gemm", "Conv") else None
        # The fixed filters are few, and everything learned stands on them: they stay as they are.
        if tensor is not None and not tensor.name.startswith("fixed."):
            values = numpy_helper.to_array(tensor)
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            axis = 0 if node.op_type == "Conv" or transposed else 1
            others = tuple(d for d in range(values.ndim) if d != axis)
            scale = np.maximum(np.abs(values).max(others, keepdims=True), 1e-12).astype(np.float32) / 127
            whole = np.round(values / scale).astype(np.int8)
            name = tensor.name
            model.graph.initializer.remove(tensor)
            model.graph.initializer.append(numpy_helper.from_array(whole, f"{name}.int8"))
            model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
            # Not DequantizeLinear, which ONNX Runtime would do anew for every image.
            nodes.append(helper.make_node("Cast", [f"{name}.int8"], [f"{name}.whole"], to=onnx.TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [f"{name}.real"]))
            node.input[1] = f"{name}.real"
            done += 1
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return done


def parity(tower: ImageTower, path: Path, seed: int = 4, count: int = 24) -> float:
    """Lowest cosine between torch and ONNX Runtime over drawn documents."""
    from training import fonts
    from training.documents.catalogue import draw

    found = fonts.discover()
    steps = preprocessing()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    least = 1.0
    with torch.inference_mode():
        for index in range(count):
            image = draw(seed, index, found).image
            a = tower(torch.from_numpy(steps(image)[None])).numpy()[0]
            b = session.run(None, {"pixels": steps.fitted(image)[None]})[0][0]
            least = min(least, float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    return least


def preprocessing() -> Preprocessing:
    return Preprocessing((HEIGHT, WIDTH), MEAN, STD, "bilinear", "longest", FILL)


def write(image: Path, parity_of: float, text: Path, out: Path) -> dict[str, Any]:
    """The folder, from an exported image tower and a text tower's folder; returns its sidecar."""
    out.mkdir(parents=True, exist_ok=True)
    for source in (image, text / "text.onnx", text / "vocabulary.txt.gz"):
        if source.resolve() != (out / source.name).resolve():
            shutil.copyfile(source, out / source.name)
    if parity_of < LEAST_PARITY:
        raise SystemExit(f"ONNX and torch agree only to a cosine of {parity_of:.6f}, expected {LEAST_PARITY}")
    files = ("image.onnx", "text.onnx", "vocabulary.txt.gz")
    document = {
        "v": VERSION,
        "model": NAME,
        "precision": "int8",
        "dim": DIM,
        "image": preprocessing().document(),
        "text": {"tokenizer": TOKENIZER, "model": "text.onnx", "vocabulary": "vocabulary.txt.gz"},
        "parity": {"image": round(parity_of, 6)},
        "files": {name: file_digest(out / name) for name in files},
    }
    (out / SIDECAR).write_text(json.dumps(document, indent=2) + "\n")
    # What `driftline encoder verify` holds another machine's vectors against.
    document["probe"] = recorded(MiniEncoder(out, threads=1))
    (out / SIDECAR).write_text(json.dumps(document, indent=2) + "\n")
    size = sum((out / name).stat().st_size for name in (*files, SIDECAR))
    print(f"{out}: {size / 1e6:.2f} MB, lowest cosine of the image tower with torch {parity_of:.6f}")
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description="Export the trained encoder.")
    parser.add_argument("--run", type=Path, default=Path(".cache/encoder/run"))
    parser.add_argument("--filters", type=Path, default=Path(".cache/encoder/filters.npz"))
    parser.add_argument("--again", type=Path, help="an exported folder whose image tower to write, instead of a run's")
    parser.add_argument("--text", type=Path, default=Path(".cache/encoder/text"))
    parser.add_argument("--keep", type=Path, default=None, help="an exported folder whose image tower is kept as it is")
    parser.add_argument("--out", type=Path, default=Path(".cache/encoder/driftline-mini"))
    chosen = parser.parse_args()
    if chosen.keep is not None:
        image, least = chosen.keep / "image.onnx", float(read_document(chosen.keep)["parity"]["image"])
    else:
        again = chosen.again is not None
        tower = tower_again(chosen.again / "image.onnx") if again else tower_of(chosen.run, chosen.filters)
        chosen.out.mkdir(parents=True, exist_ok=True)
        image = chosen.out / "image.onnx"
        write_image(tower, image)
        least = parity(tower, image)
    write(image, least, chosen.text, chosen.out)


def read_document(folder: Path) -> dict[str, Any]:
    """The sidecar of an exported folder, of an earlier version too."""
    found: dict[str, Any] = json.loads((folder / SIDECAR).read_text())
    return found


if __name__ == "__main__":
    main()
