"""Images and texts per second of every encoder, each in a process of its own.

Input: drawn A4 pages of 1,240 x 1,754 px as JPEG, and texts of 200 characters. The parts of the result are the
encoders; where torch is absent, open_clip is left out with a note, and without ``--onnx`` the ONNX figures are for a
ViT-B/32 with random weights. Of driftline-mini and the int8 ViT-B/32 these are repeated at the top:

``images_per_second``
    driftline-mini end to end: JPEG files to vector, conditions, concepts and thumbnail, by the embed role's own code
    with its decoder processes, whose processor time is counted with the role's.
``encode_only_images_per_second``
    driftline-mini from the decoded image of at most 768 px to its vector, preprocessing included, as the role calls
    it: sixteen images a call, as many at once as there are processors.
``vit_b32_encode_only_images_per_second``
    the same for a ViT-B/32 with int8 weights on ONNX Runtime.
``texts_per_second``
    driftline-mini's texts, 32 a call.
``rss_mb``
    peak resident size of driftline-mini's role and its decoder processes together (what they share is counted in
    each), with the benchmark's own pages.

Beside each rate is the one per processor second (``..._per_cpu_second``), which other work on the machine hardly
touches; times the number of processors it is what an idle machine does.

    python -m benchmarks.encode --json
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BUILT_IN = ("driftline_mini", "features")  # the first is the default
PAGES, SIZE = 16, (1240, 1754)
WORDS = ("invoice", "total", "date", "amount", "customer", "order", "quantity", "price", "delivery", "terms", "payable")


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"cpu": model, "processors": os.cpu_count(), "python": platform.python_version()}


def pages() -> list[bytes]:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(PAGES):
        page = Image.new("RGB", SIZE, (int(rng.integers(225, 255)),) * 3)
        draw, font = ImageDraw.Draw(page), ImageFont.load_default(int(rng.integers(18, 30)))
        for top in range(90, SIZE[1] - 90, int(rng.integers(34, 60))):
            draw.text((90, top), " ".join(rng.choice(WORDS, int(rng.integers(3, 11)))), fill=(30, 30, 40), font=font)
        out = io.BytesIO()
        page.save(out, "JPEG", quality=85)
        found.append(out.getvalue())
    return found


def texts() -> list[str]:
    rng = np.random.default_rng(5)
    return [" ".join(rng.choice(WORDS, 60))[:200] for _ in range(200)]


def rate(
    work: Callable[[], int], seconds: float, processor: Callable[[], float] = time.process_time
) -> tuple[float, float]:
    """Items per second and per processor second over at least ``seconds``, after one round to warm up."""
    work()
    done, started, used = 0, time.perf_counter(), processor()
    while (elapsed := time.perf_counter() - started) < seconds:
        done += work()
    return done / elapsed, done / (processor() - used)


def processor_seconds(process: int) -> float:
    """Processor time of another process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(process: int | str = "self") -> float:
    """Largest resident size of a process (what getrusage says includes the parent's before exec)."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(encoder: Any, seconds: float) -> dict[str, Any]:
    from monitor.config.model import Config
    from monitor.embed import images
    from monitor.embed.inputs import InputPart
    from monitor.embed.pictures import Pictures
    from monitor.embed.stats import EmbedStats

    data, lines = pages(), texts()
    decoded = [images.decode(entry, 50_000_000) for entry in data]
    ready = [entry for entry in decoded if isinstance(entry, images.Decoded)]
    assert len(ready) == PAGES

    def cpu() -> float:
        return time.process_time() + sum(map(processor_seconds, pictures.pool.processes()))

    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for number, entry in enumerate(data * 4):
            path = Path(folder) / f"{number}.jpg"
            path.write_bytes(entry + bytes([number]))  # no two are the same, so that none is remembered
            parts.append(InputPart(number, "image", {"uri": path.as_uri()}))
        config = Config.model_validate({"payloads": {"roots": [folder]}})
        pictures = Pictures(config, encoder, EmbedStats(), 0)
        end_to_end = rate(lambda: len(pictures.find(parts)), seconds, cpu)
        decoders_mb = sum(map(peak_mb, pictures.pool.processes()))
        pictures.close()
    alone = rate(lambda: len(encoder.encode_images([entry.image for entry in ready])), seconds)
    words = rate(lambda: len(encoder.encode_texts(lines[:32])), seconds)
    return {
        "encoder": encoder.identity,
        "images_per_second": round(end_to_end[0], 1),
        "images_per_cpu_second": round(end_to_end[1], 1),
        "encode_only_images_per_second": round(alone[0], 1),
        "encode_only_images_per_cpu_second": round(alone[1], 1),
        "texts_per_second": round(words[0], 1),
        "texts_per_cpu_second": round(words[1], 1),
        "rss_mb": round(peak_mb() + decoders_mb, 1),
        "decoders_rss_mb": round(decoders_mb, 1),
    }


def part(name: str, folder: str, seconds: float) -> dict[str, Any]:
    from monitor.config.inputs import Encoder
    from monitor.embed import encoders

    if name in BUILT_IN:
        return measure(encoders.load(Encoder.model_validate({"builtin": name.replace("_", "-")})), seconds)
    if name == "open_clip":
        return measure(_random_open_clip(Path(folder)), seconds)
    return measure(encoders.load(Encoder.model_validate({"onnx": {"directory": folder}})), seconds)


def _random_open_clip(folder: Path) -> Any:
    import open_clip
    import torch

    from monitor.config.inputs import Encoder
    from monitor.embed import encoders

    torch.manual_seed(0)
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), folder / "random.pt")
    settings = {"open_clip": {"model": "ViT-B-32", "pretrained": str(folder / "random.pt")}}
    return encoders.load(Encoder.model_validate(settings))


def in_process(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.encode", "--part", name, "--folder", str(folder)]
    done = subprocess.run([*command, "--seconds", str(seconds)], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"note": f"failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_pair(folder: Path, int8: bool) -> str:
    """'' once the folder is there, else why it cannot be made."""
    if importlib.util.find_spec("onnx") is None:
        return "left out: needs onnx (extra `dev` or `clip`), or --onnx with an exported folder"
    from benchmarks._vit_onnx import write_pair as write

    write(folder, int8=int8)
    return ""


def headline(result: dict[str, Any]) -> dict[str, float | None]:
    """The figures at the top, by the names in this module's docstring; None where a part was not measured."""
    found: dict[str, float | None] = {}
    for top, name, rates in (
        ("", "driftline_mini", ("images", "encode_only_images", "texts")),
        ("vit_b32_", "onnx_int8", ("encode_only_images",)),
    ):
        for what in rates:
            for per in ("per_second", "per_cpu_second"):
                found[f"{top}{what}_{per}"] = result.get(name, {}).get(f"{what}_{per}")
    return {**found, "rss_mb": result.get("driftline_mini", {}).get("rss_mb")}


def main() -> None:
    parser = argparse.ArgumentParser(description="Images per second of every encoder.")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--onnx", type=Path, help="an exported folder to measure instead of random weights")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each figure")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        print(json.dumps(part(chosen.part, chosen.folder, chosen.seconds)))
        return
    result: dict[str, Any] = {"benchmark": "encode", "page": f"{SIZE[0]}x{SIZE[1]} JPEG"}
    with tempfile.TemporaryDirectory() as work:
        for name in BUILT_IN:
            result[name] = in_process(name, Path(work), chosen.seconds)
        if importlib.util.find_spec("open_clip") is None:
            result["open_clip"] = {"note": "left out: needs torch; pip install 'driftline[clip]'"}
        else:
            result["open_clip"] = in_process("open_clip", Path(work), chosen.seconds)
        if chosen.onnx is not None:
            result["onnx"] = in_process("onnx", chosen.onnx, chosen.seconds)
        else:
            for name, int8 in (("onnx_fp32", False), ("onnx_int8", True)):
                with contextlib.redirect_stdout(sys.stderr):
                    why = write_pair(Path(work) / name, int8)
                result[name] = {"note": why} if why else in_process(name, Path(work) / name, chosen.seconds)
    for name in (*BUILT_IN, "open_clip", "onnx", "onnx_fp32", "onnx_int8"):
        if name in result and not chosen.json:
            print(f"{name:14s} {result[name]}")
    result |= headline(result)
    result["load"] = round(os.getloadavg()[0], 1)
    result["machine"] = machine()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
