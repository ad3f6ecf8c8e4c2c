"""Near-duplicates among the images of a look, so that one page uploaded 500 times is one piece of evidence.

Sessions are what detectors take for independent. Sessions that show the same page are not: a client that retries, a
batch that is sent twice, one user with one file. Each look (and each hour of the reference, which must be made of the
same stuff) therefore keeps the first session of every group of near-duplicates. Which one is first does not depend on
what the detector would say, so the sessions kept are still a fair choice of the distinct pages.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

# Of 64 bits. Re-encoded or rescaled copies of real pages differ in at most 4 bits in 98 to 99 of 100 cases; of 725,410
# pairs of different real images 3 are as close. Different receipts of one template are, one pair in a hundred.
RADIUS = 4


def first_of_each(
    hashes: Sequence[tuple[int, ...]], groups: Sequence[Hashable] | None = None, radius: int = RADIUS
) -> NDArray[np.int64]:
    """Indices (ascending) of the sessions that are no near-duplicate of a kept one before them.

    Args:
        hashes: of each session, the 64-bit perceptual hashes (0 <= h < 2**64) of its images in order; a session
            without any is always kept. Sessions with different numbers of images are never near-duplicates.
        groups: of each session, what it may be a near-duplicate within (as its hour); default: everything.
        radius: most bits in which each image may differ.

    Raises:
        ValueError: lengths that disagree.
    """
    if groups is not None and len(groups) != len(hashes):
        raise ValueError(f"groups needs one entry per session: {len(hashes)}, got {len(groups)}")
    kept: list[int] = []
    seen: dict[tuple[Hashable, int], tuple[NDArray[np.uint64], int]] = {}  # rows of kept hashes, and how many
    exact: set[tuple[Hashable, tuple[int, ...]]] = set()
    for index, images in enumerate(hashes):
        if not images:
            kept.append(index)
            continue
        group = None if groups is None else groups[index]
        if (group, images) in exact:
            continue
        exact.add((group, images))  # of a kept session or of its near-duplicate: the next equal one goes either way
        key = (group, len(images))
        rows, used = seen.get(key, (np.zeros((8, len(images)), dtype=np.uint64), 0))
        mine = np.array(images, dtype=np.uint64)
        if used and bool((np.bitwise_count(rows[:used] ^ mine) <= radius).all(axis=1).any()):
            continue
        if used == len(rows):
            rows = np.concatenate([rows, np.zeros_like(rows)])
        rows[used] = mine
        seen[key] = (rows, used + 1)
        kept.append(index)
    return np.array(kept, dtype=np.int64)
