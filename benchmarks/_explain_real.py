"""Explanations of changes in real pages and photos under driftline-mini, none of which it was trained on.

Every world shares out the images anew, none twice: before and now are independent draws of the same pages, so that
nothing changed but what is planted: images of one kind, nearly absent before, sent by one tenant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks._encoder_data import evaluation_images, load
from benchmarks._encoder_images import CALLED
from detectors.explain.attributes import attribute
from detectors.explain.concepts import concepts
from detectors.explain.share import new_share
from monitor.embed.concepts import ConceptBank
from monitor.embed.encoders.mini import MiniEncoder

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

BEFORE, NOW = 300, 160
TENANTS = 6
LEAST_OF_KIND = 40  # images of a kind that may be planted


@dataclass(frozen=True, slots=True)
class Pages:
    """Real images: their vectors float64[n, d], kinds, and nearest words."""

    rows: Float
    kinds: list[str]
    words: list[str]

    @classmethod
    def read(cls) -> Pages:
        """Raises FileNotFoundError where the images are not there."""
        encoder = MiniEncoder()
        found = evaluation_images()
        groups = [found[i : i + 32] for i in range(0, len(found), 32)]
        rows = np.concatenate([encoder.encode_images([load(row, encoder.side) for row in group]) for group in groups])
        words = [nearest[0][0] for nearest in ConceptBank(encoder).nearest(rows)]
        return cls(rows.astype(np.float64), [row.kind for row in found], words)

    def plantable(self) -> list[str]:
        kinds = np.array(self.kinds)
        return [kind for kind in sorted(CALLED) if (kinds == kind).sum() >= LEAST_OF_KIND]


@dataclass(frozen=True, slots=True)
class World:
    before: Int64
    now: Int64
    old: dict[str, list[str | None]]
    new: dict[str, list[str | None]]
    kind: str
    share: float  # of now that is of the planted kind, less what was there before


def world(pages: Pages, rng: np.random.Generator, *, change: bool) -> World:
    """One draw."""
    kinds = np.array(pages.kinds)
    tenants = [f"tenant{t}" for t in range(TENANTS)]
    weights = rng.dirichlet(np.full(TENANTS, 6.0))
    of_before, of_now = (rng.choice(TENANTS, n, p=weights) for n in (BEFORE, NOW))
    kind = str(rng.choice(pages.plantable()))
    mine = rng.permutation(np.flatnonzero(kinds == kind))
    others = rng.permutation(np.flatnonzero(kinds != kind)) if change else rng.permutation(kinds.size)
    few = int(rng.integers(0, 4)) if change else 0
    before = np.concatenate([mine[:few], others[: BEFORE - few]])
    share = 0.0
    if change:
        planted = int(min(mine.size - few, rng.uniform(0.12, 0.35) * NOW))
        now = np.concatenate([mine[few : few + planted], others[BEFORE : BEFORE + NOW - planted]])
        # One tenant sends them, beside what it always sent; a tenth come from anybody.
        sender = int(rng.integers(TENANTS))
        of_now[:planted][rng.random(planted) < 0.9] = sender
        share = planted / NOW
        name: str = tenants[sender]
    else:
        now, name = others[BEFORE : BEFORE + NOW], ""
    old: dict[str, list[str | None]] = {"tenant": [tenants[t] for t in of_before]}
    new: dict[str, list[str | None]] = {"tenant": [tenants[t] for t in of_now]}
    for other, values in (("client", 4), ("prompt", 5)):
        old[other] = [f"{other}{v}" for v in rng.integers(0, values, BEFORE)]
        new[other] = [f"{other}{v}" for v in rng.integers(0, values, NOW)]
    return World(before, now, old, new, f"{kind}\x00{name}", share)


def figures(seed: int, runs: int) -> dict[str, float | int]:
    """Figures of ``runs`` worlds with a change and as many without."""
    rng = np.random.default_rng([seed, 1])
    pages = Pages.read()
    right = {"attribute": 0, "concept": 0, "covered": 0}
    named = {"attribute": 0, "concept": 0}
    widths = []
    for _ in range(runs):
        drawn = world(pages, rng, change=True)
        kind, tenant = drawn.kind.split("\x00")
        before, now = pages.rows[drawn.before], pages.rows[drawn.now]
        found = attribute(before, now, drawn.old, drawn.new, rng=rng)
        right["attribute"] += ("tenant", tenant) in [(c.attribute, c.value) for c in found.named]
        told = concepts([pages.words[i] for i in drawn.before], [pages.words[i] for i in drawn.now])
        right["concept"] += bool({c.name for c in told.gained[:3]} & set(CALLED[kind]))
        share = new_share(before, now, rng=rng)
        right["covered"] += share.low <= drawn.share <= share.high
        widths.append(share.high - share.low)
        nothing = world(pages, rng, change=False)
        before, now = pages.rows[nothing.before], pages.rows[nothing.now]
        named["attribute"] += bool(attribute(before, now, nothing.old, nothing.new, rng=rng).named)
        quiet = concepts([pages.words[i] for i in nothing.before], [pages.words[i] for i in nothing.now])
        named["concept"] += bool(quiet.named)
    return {
        "real_images": len(pages.kinds),
        "attribute_right_real": round(right["attribute"] / runs, 4),
        "concept_top3_real": round(right["concept"] / runs, 4),
        "share_coverage_real": round(right["covered"] / runs, 4),
        "share_width_real": round(float(np.median(widths)), 4),
        "attribute_named_without_one_real": round(named["attribute"] / runs, 4),
        "concept_named_without_one_real": round(named["concept"] / runs, 4),
    }
