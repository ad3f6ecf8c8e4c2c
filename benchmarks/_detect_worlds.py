"""Worlds in which the online detectors are compared: rows without a change, and rows after one.

iso: 40 equal latent dimensions in 512, with a little noise in all of them. kinds: 12 kinds in 60 latent dimensions
whose variances fall as 1 / j. real: the real images as vectors of the shipped encoder; documents are divided at random
into those that a reference is drawn from (one row each image) and those that its streams are drawn from.

Shifts are so many standard deviations of the rows along one random direction (of the whitened latent space; of the
first 40 principal components of the real rows, added to the vectors). A new cluster lies 6 such standard deviations
away, within the latent space ("inside") or off it ("outside"). Of the real images it is a kind that the reference does
not hold: of the 19 the one whose rows lie least off the subspace of all others (old scans, AUC 0.55 against rows of
the others) and the one whose rows lie farthest off it (mathematical diagrams, 0.86; median of all kinds 0.73).
``spread`` multiplies the distance from
the mean.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks._detect_real import CONDITIONS_USED, RealVectors

Rows = NDArray[np.float32]
Float = NDArray[np.float64]
Rng = np.random.Generator

DIMENSION, FAR = 512, 6.0
SCENARIOS: dict[str, tuple[str, float]] = {
    "shift_0.5": ("shift", 0.5),
    "shift_1": ("shift", 1.0),
    "shift_2": ("shift", 2.0),
    "spread_1.3": ("spread", 1.3),
    "cluster_inside_5": ("inside", 0.05),
    "cluster_inside_20": ("inside", 0.2),
    "cluster_outside_5": ("outside", 0.05),
    "cluster_outside_20": ("outside", 0.2),
}
NEW_INSIDE, NEW_OUTSIDE = "olmocr_old_scans", "math_diagrams"


class World(Protocol):
    """``reference``: float32[n, d]. ``rows``: float32[m, d], independent, of a scenario or (None) without a change."""

    scenarios: dict[str, tuple[str, float]]

    def reference(self, rng: Rng, rows: int) -> Rows: ...

    def rows(self, rng: Rng, count: int, scenario: str | None) -> Rows: ...


class Latent:
    """Rows of a latent distribution in 512 dimensions; base of the simulated worlds."""

    scenarios = SCENARIOS

    def __init__(self, rng: Rng, sd: Float, noise: float) -> None:
        k = sd.size
        self.k, self.noise, self.sd = k, noise, sd
        self.basis = np.linalg.qr(rng.standard_normal((DIMENSION, k + 1)))[0].astype(np.float32)
        self.mean = np.zeros(k)
        self.direction, self.cluster = (v / np.linalg.norm(v) for v in rng.standard_normal((2, k)))

    def latent(self, rng: Rng, count: int) -> Float:
        return rng.standard_normal((count, self.k)) * self.sd

    def fresh(self, rng: Rng, count: int) -> Float:
        """Latent rows of the new cluster, before it is moved away."""
        return self.latent(rng, count)

    def reference(self, rng: Rng, rows: int) -> Rows:
        return self.rows(rng, rows, None)

    def rows(self, rng: Rng, count: int, scenario: str | None) -> Rows:
        z = self.latent(rng, count)
        off = np.zeros(count)
        if scenario is not None:
            what, size = self.scenarios[scenario]
            if what == "shift":
                z = z + size * self.direction * self.sd
            elif what == "spread":
                z = self.mean + size * (z - self.mean)
            else:
                new = rng.random(count) < size
                z = np.where(new[:, None], self.fresh(rng, count), z)
                if what == "inside":
                    z = z + new[:, None] * FAR * self.cluster * self.sd
                else:
                    off = new * FAR * float(np.sqrt(np.mean(self.sd**2)))
        x = np.concatenate([z, off[:, None]], axis=1).astype(np.float32) @ self.basis.T
        x += np.float32(self.noise) * rng.standard_normal(x.shape, dtype=np.float32)
        return x


class Iso(Latent):
    def __init__(self, rng: Rng) -> None:
        super().__init__(rng, np.ones(40), 0.1)


class Kinds(Latent):
    """``sd`` is that of all rows along each latent axis, kinds together."""

    WITHIN = 0.7

    def __init__(self, rng: Rng) -> None:
        spectrum = 1.0 / np.sqrt(np.arange(1, 61))
        self.spectrum = spectrum
        self.centres = rng.standard_normal((12, 60)) * spectrum
        self.shares = rng.dirichlet(np.full(12, 3.0))
        mean = self.shares @ self.centres
        variance = self.shares @ (self.centres - mean) ** 2 + (self.WITHIN * spectrum) ** 2
        super().__init__(rng, np.sqrt(variance), 0.03)
        self.mean = mean

    def latent(self, rng: Rng, count: int) -> Float:
        kind = rng.choice(12, size=count, p=self.shares)
        return self.centres[kind] + self.WITHIN * self.spectrum * rng.standard_normal((count, 60))

    def fresh(self, rng: Rng, count: int) -> Float:
        return self.mean + self.WITHIN * self.spectrum * rng.standard_normal((count, 60))


class Real:
    """See the module's docstring; conditions change every row after the change."""

    scenarios = SCENARIOS | {name: ("condition", level) for name, level in CONDITIONS_USED.items()}

    def __init__(self, rng: Rng, vectors: RealVectors) -> None:
        self.vectors = vectors
        known = ~np.isin(vectors.kinds, (NEW_INSIDE, NEW_OUTSIDE))
        names = np.unique(vectors.documents[known])
        first = set(rng.permutation(names)[: names.size // 2].tolist())
        half = np.array([name in first for name in vectors.documents])
        self.before, self.stream = np.flatnonzero(known & half), np.flatnonzero(known & ~half)
        self.new = {
            "inside": np.flatnonzero(vectors.kinds == NEW_INSIDE),
            "outside": np.flatnonzero(vectors.kinds == NEW_OUTSIDE),
        }
        every = vectors.plain[known].reshape(-1, vectors.plain.shape[2]).astype(np.float64)
        self.mean = every.mean(axis=0)
        _, singular, axes = np.linalg.svd(every - self.mean, full_matrices=False)
        v = rng.standard_normal(40)
        sd = singular[:40] / np.sqrt(len(every) - 1)
        self.direction = ((v / np.linalg.norm(v)) * sd) @ axes[:40]

    def reference(self, rng: Rng, rows: int) -> Rows:
        """One row of every image on the reference's side, in random order; ``rows`` at most."""
        picks = rng.permutation(self.before)[:rows]
        return self.vectors.plain[picks, rng.integers(self.vectors.plain.shape[1], size=picks.size)]

    def rows(self, rng: Rng, count: int, scenario: str | None) -> Rows:
        picks = rng.choice(self.stream, size=count)
        table = self.vectors.plain
        what, size = ("", 0.0) if scenario is None else self.scenarios[scenario]
        if what == "condition":
            table = self.vectors.changed[str(scenario)]
        elif what in self.new:
            picks = np.where(rng.random(count) < size, rng.choice(self.new[what], size=count), picks)
        x = table[picks, rng.integers(table.shape[1], size=count)]
        if what == "shift":
            x = (x + size * self.direction).astype(np.float32)
        elif what == "spread":
            x = (self.mean + size * (x - self.mean)).astype(np.float32)
        return x


class Pairs:
    """Images and texts of 256 dimensions each; after the change a share of the texts belongs to other images.

    ``rows`` are both side by side; ``agreement`` is their cosine.
    """

    scenarios: dict[str, tuple[str, float]] = {"pairing_20": ("pairing", 0.2), "pairing_100": ("pairing", 1.0)}  # noqa: RUF012
    HALF, LATENT, COMMON = 256, 40, 0.6

    def __init__(self, rng: Rng) -> None:
        self.basis = np.linalg.qr(rng.standard_normal((self.HALF, self.LATENT)))[0].astype(np.float32)

    def reference(self, rng: Rng, rows: int) -> Rows:
        return self.rows(rng, rows, None)

    def rows(self, rng: Rng, count: int, scenario: str | None) -> Rows:
        share = 0.0 if scenario is None else self.scenarios[scenario][1]
        own, image, text, other = rng.standard_normal((4, count, self.LATENT))
        broken = rng.random(count) < share
        common = np.where(broken[:, None], other, own)
        a, b = np.sqrt(self.COMMON), np.sqrt(1.0 - self.COMMON)
        both = [a * own + b * image, a * common + b * text]
        x = np.concatenate([z.astype(np.float32) @ self.basis.T for z in both], axis=1)
        x += np.float32(0.1) * rng.standard_normal(x.shape, dtype=np.float32)
        return x

    @classmethod
    def agreement(cls, rows: Rows) -> Rows:
        """float32[m, 1]."""
        image, text = rows[:, : cls.HALF], rows[:, cls.HALF :]
        length = np.linalg.norm(image, axis=1) * np.linalg.norm(text, axis=1)
        return (np.einsum("ij,ij->i", image, text) / length)[:, None]
