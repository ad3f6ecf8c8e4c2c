"""What driftline-mini sees, on real images that it was never trained on, beside three encoders to compare with.

Kinds that were trained (other documents of them) and kinds that were held out whole are reported apart. Compared with:
the feature encoder, a ViT-B/32 of open_clip with random weights (needs the extra `train`), and raw pixels + PCA.
Vectors are kept in .cache/encoder/vectors. Without the real data only what needs none is measured.

    python -m benchmarks.encoder --json
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import _encoder_conditions as input_conditions
from benchmarks import _encoder_data as data
from benchmarks import _encoder_drift as drift
from benchmarks import _encoder_images as images
from benchmarks import _encoder_text as text
from monitor.embed.concepts import ConceptBank

CONDITION_IMAGES, DRAWN_IMAGES, DRAWN_SEED = 60, 200, 9


def image_part(found: dict[str, tuple[str, data.Embed]], mini: Any) -> dict[str, Any]:
    """Neighbours, words and drift power on the evaluation images."""
    rows = data.evaluation_images()
    kinds, documents = [row.kind for row in rows], [row.document for row in rows]
    key = hashlib.sha256("\n".join(row.file for row in rows).encode()).hexdigest()[:16]
    held = data.held_out(kinds)
    result: dict[str, Any] = {
        "images": len(rows), "images_held_out_kinds": int(held.sum()), "kinds": len(set(kinds)),
        "held_out_kinds": list(data.HELD_OUT), "knn": {},
    }  # fmt: skip
    delays = {}
    for name, (identity, embed) in found.items():
        side = mini.side if name == "driftline_mini" else 768
        made = data.comparable(
            name, data.vectors(identity, embed, f"{key} {side}", [functools.partial(data.load, r, side) for r in rows])
        )
        result["knn"][name] = images.knn(made, kinds, documents)
        delays[name] = drift.delays(made, kinds, documents)
        if name == "driftline_mini":
            result.update({k: v for k, v in result["knn"][name].items() if k.startswith("knn_accuracy")})
            result.update(images.zero_shot(made, kinds, mini.encode_texts))
            result.update(images.concepts(made, kinds, ConceptBank(mini)))
    result.update(drift.compare(delays, sorted(set(kinds))))
    return result


def condition_part(found: dict[str, tuple[str, data.Embed]]) -> dict[str, Any]:
    """Sensitivity to blur, skew and contrast on a fixed choice of evaluation images that are documents."""
    rows = [row for row in data.evaluation_images() if row.kind not in ("photos_coco", "math_diagrams")]
    rows.sort(key=lambda row: hashlib.sha256(f"condition {row.file}".encode()).digest())
    rows = rows[:CONDITION_IMAGES]
    result = {}
    for name in ("driftline_mini", "features"):
        if name not in found:
            continue
        identity, embed = found[name]
        clean = data.vectors(identity, embed, "clean conditions", [functools.partial(data.load, row) for row in rows])
        changed = {}
        for condition, (levels, work) in images.CONDITIONS.items():
            changed[condition] = [
                data.vectors(
                    identity,
                    embed,
                    f"{condition} {level}",
                    [functools.partial(_changed, row, work, level) for row in rows],
                )
                for level in levels
            ]
        result[name] = images.sensitivity(clean, changed)["condition_sensitivity"]
    return {"condition_sensitivity": result, "condition_images": len(rows)}


def _changed(row: Any, work: Any, level: float) -> Image.Image:
    changed: Image.Image = work(data.load(row), level)
    return changed


def caption_part(mini: Any) -> dict[str, Any]:
    """Captions of documents drawn with a seed that training never uses."""
    from training import captions, conditions, fonts, samples
    from training.documents import catalogue

    available = fonts.discover()
    made, said = [], []
    for index in range(DRAWN_IMAGES):
        rng = np.random.default_rng((DRAWN_SEED, index))
        drawn = catalogue.draw(DRAWN_SEED, index, available)
        applied = conditions.draw(rng)
        made.append(samples.view(drawn.image, applied, rng))
        said.append(
            captions.caption(rng, captions.GENERATED[drawn.kind], drawn.sees, drawn.about, drawn.tongue, applied)
        )
    return {**images.retrieval(mini.encode_images(made), said, mini.encode_texts), "fonts": available.found()}


def main() -> None:
    parser = argparse.ArgumentParser(description="What driftline-mini sees, beside three other encoders.")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument(
        "--encoder", type=Path, default=None, help="a folder of driftline-mini other than the package's"
    )
    parser.add_argument("--parts", default="images,conditions,inputs,captions,text", help="which parts to measure")
    chosen = parser.parse_args()
    started, parts = time.monotonic(), chosen.parts.split(",")
    mini = data.mini_encoder(chosen.encoder)
    found = data.encoders(chosen.encoder)
    result: dict[str, Any] = {"benchmark": "encoder", "encoder": mini.identity if mini else None}
    result["left_out"] = (
        [] if "random_vit_b32" in found else ["random_vit_b32: needs the extra `train` (open-clip-torch)"]
    )
    if not (data.DATA / "images" / "manifest.csv").is_file():
        result["note"] = "no real images: the folder shared/data is not beside the checkout"
    else:
        if "images" in parts:
            result.update(image_part(found, mini))
        if "conditions" in parts:
            result.update(condition_part(found))
        if "inputs" in parts:
            result.update(input_conditions.measured())
    if mini is not None and "captions" in parts:
        result.update(caption_part(mini))
    if "text" in parts:
        from monitor.embed.encoders.features import FeatureEncoder

        writers: dict[str, text.Texts] = {"features": FeatureEncoder().encode_texts}
        if mini is not None:
            writers["driftline_mini"] = mini.encode_texts
            result["texts_per_cpu_second"] = text.speed(mini.encode_texts)
        result.update(text.measure(writers))
        if "driftline_mini" in result["text_correlation"]:
            result["text_similarity_correlation"] = result["text_correlation"]["driftline_mini"]["pearson"]
    result["seconds"] = round(time.monotonic() - started, 1)
    if not chosen.json:
        print(json.dumps(result, indent=1))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
