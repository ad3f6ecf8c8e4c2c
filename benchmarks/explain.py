"""Are explanations of a change right? Simulated traffic and real images with a planted attribute, share and concept.

    python -m benchmarks.explain --json [--quick]

Every world draws anew: kinds of inputs, tenants that prefer some of them, client versions, models, prompt versions and
languages, the numbers of sessions, and the change. Right where a value was planted means that the winner names it; in
worlds with nothing planted, anything named is wrong. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.explain.attributes import attribute
from detectors.explain.concepts import concepts
from detectors.explain.conditions import Condition, conditions
from detectors.explain.share import new_share

Float = NDArray[np.float64]
Attributes = dict[str, list[str | None]]

DIMENSION = 96
KINDS = 12
PLANTED = ("client", "tenant", "came", "language")
UNPLANTED = ("none", "all_shift", "all_cluster")
WORDS = 40
BANK = [f"word{i}" for i in range(WORDS)]


class Traffic:
    """Sessions with content by tenant; weights as a sampler with two inclusion probabilities gives them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.kinds = rng.normal(0, 1, (KINDS, DIMENSION))
        self.tenants = 8
        self.preference = rng.dirichlet(np.full(KINDS, 0.5), self.tenants)
        self.tenant_share = rng.dirichlet(np.full(self.tenants, 4.0))
        self.pi = rng.choice([1.0, 0.4], self.tenants)

    def draw(self, n: int) -> tuple[Float, Attributes, Float]:
        """Rows float[n, d], attributes, weights float[n]."""
        rng = self.rng
        sampled = self.tenant_share * self.pi / (self.tenant_share @ self.pi)
        tenant = rng.choice(self.tenants, n, p=sampled)
        kind = (self.preference[tenant].cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1).clip(max=KINDS - 1)
        rows = self.kinds[kind] + rng.normal(0, 1, (n, DIMENSION))
        attributes: Attributes = {
            "tenant": [f"tenant{t}" for t in tenant],
            "language": ["de" if t < 3 else "en" if t < 6 else "fr" for t in tenant],
            "client": [f"v{c}" for c in rng.choice(5, n, p=[0.3, 0.25, 0.2, 0.15, 0.1])],
            "model": [f"m{c}" for c in rng.choice(3, n, p=[0.7, 0.2, 0.1])],
            "prompt": [f"p{c}" for c in rng.integers(0, 6, n)],
        }
        return rows, attributes, 1.0 / self.pi[tenant]


def attribute_world(rng: np.random.Generator, world: str) -> tuple[bool, bool]:
    """(something named, the planted value among what is named)."""
    traffic = Traffic(rng)
    n, m = int(rng.integers(400, 1200)), int(rng.integers(200, 600))
    before, old, u = traffic.draw(n)
    now, new, v = traffic.draw(m)
    fresh = rng.normal(0, 1, DIMENSION)
    planted: tuple[str, str | None] = ("", None)
    if world == "all_shift":
        now = now + 2.0 * fresh / np.linalg.norm(fresh)
    elif world == "all_cluster":
        changed = rng.random(m) < rng.uniform(0.1, 0.6)
        now[changed] = fresh + rng.normal(0, 1, (int(changed.sum()), DIMENSION))
    elif world == "came":
        changed = rng.random(m) < rng.uniform(0.1, 0.4)
        now[changed] = fresh + rng.normal(0, 1, (int(changed.sum()), DIMENSION))
        new["tenant"] = ["newcomer" if c else t for c, t in zip(changed, new["tenant"], strict=True)]
        new["language"] = [
            "nl" if c and rng.random() < 0.5 else t for c, t in zip(changed, new["language"], strict=True)
        ]
        planted = ("tenant", "newcomer")
    elif world != "none":
        counts = {value: sum(x == value for x in new[world]) for value in new[world]}
        value = str(rng.choice(sorted(str(x) for x, count in counts.items() if 0.08 * m <= count <= 0.6 * m)))
        changed = np.array([x == value for x in new[world]])
        # Half to nearly all of the value's sessions are of a kind that was not there.
        changed &= rng.random(m) < rng.uniform(0.5, 1.0)
        now[changed] = fresh + rng.normal(0, 1, (int(changed.sum()), DIMENSION))
        planted = (world, value)
    found = attribute(before, now, old, new, rng=rng, before_weights=u, now_weights=v)
    return bool(found.named), planted in [(c.attribute, c.value) for c in found.named]


def share_world(rng: np.random.Generator) -> tuple[float, float, float]:
    """(planted share, limits): a new kind, as far from the others as they are from one another, or half as far."""
    traffic = Traffic(rng)
    traffic.pi = np.ones(traffic.tenants) if rng.random() < 0.5 else traffic.pi
    n, m = int(rng.integers(400, 1200)), int(rng.integers(200, 600))
    before, _, u = traffic.draw(n)
    now, _, v = traffic.draw(m)
    share = float(rng.choice([0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8]))
    changed = rng.random(m) < share
    near = float(rng.choice([0.0, 0.5]))
    now[changed] = near * traffic.kinds[0] + (1 - near) * rng.normal(0, 1, DIMENSION) + rng.normal(
        0, 1, (int(changed.sum()), DIMENSION)
    )  # fmt: skip
    found = new_share(before, now, rng=rng, before_weights=u, now_weights=v)
    return share, found.low, found.high


def concept_world(rng: np.random.Generator, *, change: bool) -> tuple[bool, bool]:
    """(anything named, the right word among the first three gained): the nearest of 40 words in a noisy space."""
    words = rng.normal(0, 1, (WORDS, 48))
    usual = rng.dirichlet(np.full(WORDS, 0.5))
    n, m = int(rng.integers(300, 1000)), int(rng.integers(150, 500))
    of_before, of_now = rng.choice(WORDS, n, p=usual), rng.choice(WORDS, m, p=usual)
    right = int(rng.integers(WORDS))
    if change:
        of_now[rng.random(m) < rng.uniform(0.08, 0.4)] = right

    def nearest(of: NDArray[np.int64]) -> list[str]:
        # Noise that finds the right word for about half of the images, as small encoders do.
        images = words[of] + rng.normal(0, 3.0, (len(of), 48))
        unit = words / np.linalg.norm(words, axis=1, keepdims=True)
        return [BANK[i] for i in np.argmax(images @ unit.T, axis=1)]

    found = concepts(nearest(of_before), nearest(of_now))
    return bool(found.named), BANK[right] in [c.name for c in found.gained[:3]]


def condition_world(rng: np.random.Generator, *, change: bool) -> tuple[bool, bool]:
    """(anything named, the planted condition is the first named and its interval holds the planted change)."""
    which = [
        Condition("skew", "degrees"), Condition("contrast", told="relative"), Condition("resolution", told="relative"),
        Condition("text density", told="relative"),
    ]  # fmt: skip
    n, m = int(rng.integers(300, 1000)), int(rng.integers(150, 500))

    def draw(k: int) -> dict[str, Float]:
        return {
            "skew": rng.normal(0, 3, k),
            "contrast": rng.gamma(8, 0.05, k),
            "resolution": rng.choice([0.5, 1.0, 2.0, 4.0], k),
            "text density": rng.beta(2, 8, k),
        }

    before, now = draw(n), draw(m)
    planted = str(rng.choice(["skew", "contrast", "text density"]))
    size = 8.0 if planted == "skew" else -0.3
    if change:
        now[planted] = now[planted] + size if planted == "skew" else now[planted] * (1.0 + size)
    found = conditions(which, before, now, rng=rng).named
    right = bool(found) and found[0].condition.name == planted and found[0].change.low <= size <= found[0].change.high
    return bool(found), right


def measure(seed: int, *, quick: bool) -> dict[str, Any]:
    """All figures."""
    rng = np.random.default_rng(seed)
    runs = 10 if quick else 80
    figures: dict[str, Any] = {}
    each = {world: [attribute_world(rng, world) for _ in range(runs)] for world in (*PLANTED, *UNPLANTED)}
    right = {world: float(np.mean([r for _, r in each[world]])) for world in PLANTED}
    figures["attribute_right"] = round(float(np.mean(list(right.values()))), 4)
    figures["attribute_right_by_world"] = {world: round(value, 4) for world, value in right.items()}
    wrong = [named and not planted for world in PLANTED for named, planted in each[world]]
    figures["attribute_wrong"] = round(float(np.mean(wrong)), 4)
    figures["attribute_named_without_one"] = {
        world: round(float(np.mean([named for named, _ in each[world]])), 4) for world in UNPLANTED
    }
    shares = np.array([share_world(rng) for _ in range(runs * 8)])
    figures["share_coverage"] = round(
        float(((shares[:, 1] <= shares[:, 0]) & (shares[:, 0] <= shares[:, 2])).mean()), 4
    )
    figures["share_above"] = round(float((shares[:, 1] > shares[:, 0]).mean()), 4)
    figures["share_width"] = round(float(np.median(shares[:, 2] - shares[:, 1])), 4)
    words = [concept_world(rng, change=True) for _ in range(runs)]
    figures["concept_top3"] = round(float(np.mean([r for _, r in words])), 4)
    figures["concept_named_without_one"] = round(
        float(np.mean([concept_world(rng, change=False)[0] for _ in range(runs)])), 4
    )
    figures["condition_right"] = round(
        float(np.mean([condition_world(rng, change=True)[1] for _ in range(runs * 4)])), 4
    )
    figures["condition_named_without_one"] = round(
        float(np.mean([condition_world(rng, change=False)[0] for _ in range(runs * 4)])), 4
    )
    figures["runs"] = runs
    return figures | _real(seed, 2 * runs)


def _real(seed: int, runs: int) -> dict[str, Any]:
    """On real images, where they are; says loudly where they are not."""
    try:
        from benchmarks import _explain_real
        from benchmarks._encoder_data import DATA
    except ImportError as error:
        print(f"real images are NOT measured: {error}", file=sys.stderr)
        return {"real_images": 0}
    if not (DATA / "images").is_dir():
        print(f"real images are NOT measured: there is no folder {DATA / 'images'}", file=sys.stderr)
        return {"real_images": 0}
    return _explain_real.figures(seed, runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--quick", action="store_true", help="an eighth of the runs")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    start = time.perf_counter()
    figures = measure(arguments.seed, quick=arguments.quick)
    figures["seconds"] = round(time.perf_counter() - start, 1)
    figures["machine"] = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    if not arguments.json:
        for name, value in figures.items():
            print(f"{name}: {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
