"""Online drift on embeddings: delays against alibi-detect at one realised run length, and what our own run lengths are.

    python -m benchmarks.detect --json [--quick] [--peer-python PATH] [--seed N] [--workers N]

Every detector's threshold is the one at which the same fresh null streams run 200 rows on average (2,000 on the first
reference). The change comes at row 130 of a stream; streams that a detector alarms on earlier are left out of its
figures; delays are capped at three run lengths. Ratios are our mean delay over that of the better of online MMD and
LSDD with window 25, scenario by scenario, and their geometric means by world (``_detect_worlds``).

alibi-detect needs old libraries and a BSL licence: it lives in an environment of its own, made in .cache/ (5 GB) or
given by --peer-python, and runs as a subprocess. Its statistics are reimplemented for many streams
(``_detect_peers``) and compared with it first; without that comparison no ratio is reported. The last line is JSON.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # one task a process; must be set before numpy is imported

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._detect_measure import REFERENCE_ROWS, WORLDS, calibration, compare, make_world
from benchmarks._detect_peers import LSDD, MMD
from benchmarks._detect_real import RealVectors, real_vectors
from detectors.drift import Scan, ScanReference

PEER_FOLDER = Path(".cache/peers/alibi-detect")
PEER_PACKAGES = ("alibi-detect==0.13.0", "torch")
WINDOW, WINDOWS = 25, (10, 25, 50, 100)
CLOSE = 1e-4


def peer_python(given: Path | None) -> Path:
    """The interpreter of an environment that holds alibi-detect; made where there is none.

    Raises:
        OSError, subprocess.CalledProcessError: it cannot be made.
    """
    if given is not None:
        return given
    python = PEER_FOLDER / "bin" / "python"
    if not (PEER_FOLDER / "done").is_file():
        tell(f"making an environment for alibi-detect in {PEER_FOLDER}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEER_FOLDER)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
        (PEER_FOLDER / "done").touch()
    return python


def check_peers(given: Path | None, seed: int, rows: int, bootstraps: int) -> dict[str, Any]:
    """Largest difference of our reimplementation from the peer's statistics, over their largest; the peer's seconds."""
    rng = np.random.default_rng([seed, 99])
    world = make_world("kinds", rng, None)
    reference = world.reference(rng, rows)
    stream = np.concatenate([world.rows(rng, 60, None), world.rows(rng, 60, "shift_2")])
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, reference=reference, stream=stream)
        script = Path(__file__).with_name("_detect_peer_check.py")
        command = [str(peer_python(given)), str(script), str(source), str(target), str(WINDOW), "200", str(bootstraps)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        with np.load(target) as found:
            out: dict[str, Any] = {"version": str(found["version"]), "rows": rows, "bootstraps": bootstraps}
            for name, kind in (("mmd", MMD), ("lsdd", LSDD)):
                ours = kind(reference, (WINDOW,), found[f"{name}_order"])
                ours.start(1)
                theirs = found[name]
                away = np.abs(ours.update(stream[None])[0, 0] - theirs).max() / np.abs(theirs).max()
                out[name] = {
                    "difference": float(f"{away:.2g}"),
                    "configure_seconds": round(float(found[f"{name}_configure_seconds"]), 2),
                    "update_microseconds": round(1e6 * float(found[f"{name}_update_seconds"]), 1),
                }
    return out


def speed(seed: int, repeats: int = 7) -> dict[str, float]:
    """Processor time of fitting and calibrating (n = 1000, d = 512), and of a row in batches of 1,000 and alone."""
    rng = np.random.default_rng([seed, 98])
    world = make_world("kinds", rng, None)
    rows, stream = world.reference(rng, REFERENCE_ROWS), world.rows(rng, 10_000, None)
    configure, batched, alone = [], [], []
    for _ in range(repeats):
        begun = time.process_time()
        scan = Scan(ScanReference.fit(rows[::2], rows[1::2], rng=rng), 2000)
        configure.append(time.process_time() - begun)
        begun = time.process_time()
        for start in range(0, len(stream), 1000):
            scan.update(stream[start : start + 1000])
        batched.append((time.process_time() - begun) / len(stream))
        begun = time.process_time()
        for row in stream[:200]:
            scan.update(row[None])
        alone.append((time.process_time() - begun) / 200)
    return {
        "configure_seconds": round(float(np.median(configure)), 3),
        "update_microseconds": round(1e6 * float(np.median(batched)), 2),
        "update_microseconds_one_row_at_a_time": round(1e6 * float(np.median(alone)), 1),
    }


def summary(results: Iterable[dict[str, Any]], cap: int) -> dict[str, Any]:
    """By scenario: mean delay and capped share of each detector, fewest streams, our delay over the best peer's."""
    pooled: dict[str, dict[str, list[int]]] = {}
    every: dict[str, dict[str, list[int]]] = {}  # of the references with more windows only, ours included
    references = 0
    for result in results:
        references += 1
        for scenario, found in result["delays"].items():
            for name, rows in found.items():
                pooled.setdefault(scenario, {}).setdefault(name, []).extend(rows)
                if len(found) > 3:
                    every.setdefault(scenario, {}).setdefault(name, []).extend(rows)
    out: dict[str, Any] = {}
    for scenario, found in pooled.items():
        mean = {name: round(float(np.mean(rows)), 1) for name, rows in found.items()}
        at_cap = {name: round(float(np.mean(np.array(rows) >= cap)), 3) for name, rows in found.items()}
        peers = {name: value for name, value in mean.items() if name.endswith(f"_{WINDOW}")}
        wide = {name: float(np.mean(rows)) for name, rows in every.get(scenario, {}).items()}
        own = wide.pop("ours", 0.0)
        out[scenario] = {
            "delay": mean, "capped": {name: value for name, value in at_cap.items() if value},
            "streams": min(len(found[name]) for name in ("ours", *peers)), "references": references,
            **({"ratio": round(mean["ours"] / min(peers.values()), 3)} if peers else {}),
            **({"ratio_any_window": round(own / min(wide.values()), 3)} if wide else {}),
        }  # fmt: skip
    return out


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def geometric(values: Iterable[float]) -> float:
    return round(float(np.exp(np.mean(np.log(list(values))))), 3)


def spread(ratios: list[list[float]], run_lengths: tuple[int, ...]) -> dict[str, Any]:
    """Median and range over references, by promised run length."""
    table = np.array(ratios)
    return {
        str(length): {
            "median": round(float(np.median(column)), 2),
            "range": [round(float(column.min()), 2), round(float(column.max()), 2)],
            "references": len(column),
        }
        for length, column in zip(run_lengths, table.T, strict=True)
    }


def main() -> None:
    """Print progress, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="only the JSON line on standard output")
    parser.add_argument("--quick", action="store_true", help="one reference a world, run length 200 only")
    parser.add_argument("--peer-python", type=Path, help="interpreter of an environment with alibi-detect and torch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    args = parser.parse_args()
    begun = time.monotonic()
    result: dict[str, Any] = {"seed": args.seed, **speed(args.seed, 3 if args.quick else 7)}
    peers = True
    try:
        size = (300, 300) if args.quick else (REFERENCE_ROWS, 2000)
        result["peer"] = check_peers(args.peer_python, args.seed, *size)
        peers = all(result["peer"][name]["difference"] <= CLOSE for name in ("mmd", "lsdd"))
        result["peer"]["agrees"] = peers
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        peers = False
        result["peer"] = {"agrees": False, "error": f"{error} {getattr(error, 'stderr', '') or ''}".strip()[-2000:]}
    if not peers:
        tell(
            f"NOT COMPARED: alibi-detect could not be run or does not agree: {result['peer']}\nPass --peer-python, the "
            "interpreter of an environment with alibi-detect and torch. No ratio is reported."
        )
    seconds = time.monotonic()
    vectors = real_vectors()
    result["real_vectors_seconds"] = round(time.monotonic() - seconds, 1)
    if vectors is None:
        tell("NOT MEASURED: the real world; ../shared/data/images or the encoder's weights are absent")
    with ProcessPoolExecutor(args.workers) as pool:
        _delays(result, pool, args, peers, vectors)
        _calibrations(result, pool, args, vectors)
    result["seconds"] = round(time.monotonic() - begun, 1)
    result["machine"] = {"processors": os.cpu_count(), "system": platform.platform(), "python": sys.version.split()[0]}
    if not args.json:
        for key, value in result.items():
            print(key, json.dumps(value))
    print(json.dumps(result))


def _delays(result: dict[str, Any], pool: ProcessPoolExecutor, args: argparse.Namespace, peers: bool,
            vectors: RealVectors | None) -> None:  # fmt: skip
    plans = [(200, 1 if args.quick else 5)] if args.quick else [(200, 5), (2000, 1)]
    futures: dict[tuple[str, int], list[Future[dict[str, Any]]]] = {}
    for run_length, references in plans:
        for name in (name for name in WORLDS if name != "real" or vectors is not None):
            for index in range(references):
                # The other windows on the first reference only: they take most of the time.
                every = run_length == 200 and index == 0 and not args.quick
                windows = () if not peers else WINDOWS if every else (WINDOW,)
                sizes = (60, 100, 600) if args.quick else (240, 300, 800) if run_length == 200 else (130, 300, 2000)
                seed = (args.seed, WORLDS.index(name), index)
                given = vectors if name == "real" else None
                futures.setdefault((name, run_length), []).append(
                    pool.submit(compare, name, seed, given, windows, run_length, *sizes)
                )
    ratios = {}
    for (name, run_length), waiting in futures.items():
        found = [each.result() for each in waiting]
        table = summary(found, 3 * run_length)
        result.setdefault("delays", {}).setdefault(str(run_length), {})[name] = table
        label = name if run_length == 200 else f"{name}_{run_length}"
        if peers:
            ratios[label] = [each["ratio"] for each in table.values()]
            key = "pairing_ratio" if name == "pairs" else f"delay_ratio_{name}"
            result[key if run_length == 200 else f"{key}_{run_length}"] = geometric(ratios[label])
        tell(f"{label}: {json.dumps({key: each.get('ratio', each['delay']) for key, each in table.items()})}")
    if peers:
        for suffix in ("", "_2000"):
            worst = [r for label, row in ratios.items() if label.endswith("_2000") == bool(suffix) for r in row]
            if worst:
                result[f"delay_ratio_worst{suffix}"] = max(worst)


def _calibrations(result: dict[str, Any], pool: ProcessPoolExecutor, args: argparse.Namespace,
                  vectors: RealVectors | None) -> None:  # fmt: skip
    run_lengths = (200,) if args.quick else (200, 2000)
    references, count, length = (4, 40, 400) if args.quick else (20, 60, 2000)
    # name: world, rows, references, correlation within sessions
    plans: dict[str, tuple[str, int, int, float]] = {
        "iso": ("iso", 1000, references, 0.0),
        "kinds": ("kinds", 1000, references, 0.0),
        "iso_sessions": ("iso", 1000, max(4, references // 2), 0.7),
    }
    if not args.quick:
        plans |= {"kinds_200_rows": ("kinds", 200, 10, 0.0), "kinds_20000_rows": ("kinds", 20_000, 3, 0.0)}
    if vectors is not None:
        plans["real"] = ("real", 1000, min(references, 10), 0.0)
    waiting: dict[str, list[Future[list[float]]]] = {}
    for key, (name, rows, many, sessions) in plans.items():
        for index in range(many):
            seed, given = (args.seed, 50 + WORLDS.index(name), rows, index), vectors if name == "real" else None
            task = pool.submit(calibration, name, seed, given, rows, run_lengths, count, length, sessions)
            waiting.setdefault(key, []).append(task)
    found = {}
    for key, futures in waiting.items():
        found[key] = spread([each.result() for each in futures], run_lengths)
        tell(f"run lengths, {key}: {json.dumps(found[key])}")
    result["run_lengths"] = found
    for label, keys in (("arl_ratio", ("iso", "kinds")), ("arl_ratio_sessions", ("iso_sessions",))):
        for run_length in map(str, run_lengths):
            medians = [found[key][run_length]["median"] for key in keys]
            # Of two worlds, the one farther from what was promised.
            figure = label if run_length == "200" else f"{label}_{run_length}"
            result[figure] = max(medians, key=lambda ratio: abs(float(np.log(ratio))))


if __name__ == "__main__":
    main()
