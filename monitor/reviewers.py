"""How reviewers do: whether they agree, how often they are right on known answers, and what that does to the rate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from detectors.explain.weighted import Limits
from monitor.estimates import ALL, estimates
from monitor.store import review
from monitor.store.engine import Store
from monitor.store.review import LabelledItem
from samplers.agreement import MISSING, Agreement, Corrected, Gold, adjudicate, alpha, correct, kappa

Int64 = NDArray[np.int64]

CODES = {"correct": 0, "wrong": 1, "unsure": 2}
MOST_PAIRS = 200  # of reviewers that share most items


@dataclass(frozen=True, slots=True)
class Reviewer:
    """One reviewer's labels, and his answers to items whose truth is known."""

    name: str
    labels: int
    wrong: int
    unsure: int
    gold: Gold


@dataclass(frozen=True, slots=True)
class Pair:
    """Two reviewers who share items."""

    first: str
    second: str
    kappa: Agreement


@dataclass(frozen=True, slots=True)
class Reviewers:
    """``alpha`` over all of them; ``ties``: items whose reviewers are divided, which a further label would decide;
    ``corrected``: the error rate with their errors allowed for, None where no item has a known answer."""

    reviewers: tuple[Reviewer, ...]
    pairs: tuple[Pair, ...]
    alpha: Agreement
    ties: tuple[str, ...]
    corrected: Corrected | None


def read(store: Store, from_us: int, to_us: int, zone: str, *, segment: str | None = None) -> Reviewers:
    """Of the items of days in [from, to). Raises StoreUnavailable."""
    with store.read() as connection:
        items = [item for item in review.labelled(connection, segment, from_us, to_us) if item.verdicts]
    names = sorted({v.reviewer for item in items for v in item.verdicts if not v.gold and v.verdict in CODES})
    codes = np.full((len(items), len(names)), MISSING, np.int64)
    position = {name: at for at, name in enumerate(names)}
    for row, item in enumerate(items):
        for verdict in item.verdicts:
            if not verdict.gold and verdict.verdict in CODES:
                codes[row, position[verdict.reviewer]] = CODES[verdict.verdict]
    pi = np.array([item.pi_sample * item.pi_review for item in items])
    truth = _truth(items)
    found = tuple(_reviewer(name, codes[:, at], truth) for name, at in position.items())
    decided = adjudicate(codes) if len(items) and names else None
    ties = () if decided is None else tuple(item.item_id for item, tie in zip(items, decided.open, strict=True) if tie)
    return Reviewers(
        found,
        _pairs(names, codes, pi),
        alpha(codes, pi=pi) if len(items) and names else Agreement(np.nan, np.nan, np.nan, 0, "there are no labels"),
        ties,
        _corrected(store, from_us, to_us, zone, segment, found),
    )


def _truth(items: list[LabelledItem]) -> Int64:
    """Code of each item's known answer, of several the last; MISSING without one."""
    return np.array(
        [
            next((CODES[v.verdict] for v in reversed(item.verdicts) if v.gold and v.verdict in CODES), MISSING)
            for item in items
        ],
        np.int64,
    )


def _reviewer(name: str, said: Int64, truth: Int64) -> Reviewer:
    counts = Counter(said[said != MISSING].tolist())
    sure = np.isin(said, (CODES["correct"], CODES["wrong"]))
    wrong, right = (sure & (truth == CODES[name]) for name in ("wrong", "correct"))
    return Reviewer(
        name,
        sum(counts.values()),
        counts[CODES["wrong"]],
        counts[CODES["unsure"]],
        Gold(
            int((said[wrong] == CODES["wrong"]).sum()),
            int(wrong.sum()),
            int((said[right] == CODES["correct"]).sum()),
            int(right.sum()),
        ),
    )


def _pairs(names: list[str], codes: Int64, pi: NDArray[np.float64]) -> tuple[Pair, ...]:
    judged = codes != MISSING
    shared = {(a, b): int((judged[:, a] & judged[:, b]).sum()) for a, b in combinations(range(len(names)), 2)}
    most = sorted((pair for pair, items in shared.items() if items), key=lambda pair: (-shared[pair], pair))
    return tuple(Pair(names[a], names[b], kappa(codes[:, a], codes[:, b], pi=pi)) for a, b in most[:MOST_PAIRS])


def _corrected(
    store: Store, from_us: int, to_us: int, zone: str, segment: str | None, found: tuple[Reviewer, ...]
) -> Corrected | None:
    if not any(reviewer.gold.wrong + reviewer.gold.right for reviewer in found):
        return None
    rows = estimates(store, from_us, to_us, zone, segment=segment)
    row = next((row for row in rows if row.segment == ALL), rows[0] if rows else None)
    if row is None or row.rate is None:
        return None
    shares = [float(reviewer.labels - reviewer.unsure) for reviewer in found]
    labelled = Limits(row.rate, min(row.once.low, row.rate), max(row.once.high, row.rate))
    return correct(labelled, [reviewer.gold for reviewer in found], shares) if sum(shares) else None
