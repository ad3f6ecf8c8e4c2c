"""What rows looked like before, and how much evidence streams without a change reach: fitted once, then only read.

Fit half: principal components, whitened with a ridge. All rows: the centre. Held-out half: scale, radius beyond which
a row is pulled in, tails of the norms, and the rows of the simulated streams that give the thresholds. The fit never
touches the rows that calibrate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from detectors.drift.location import pull
from detectors.drift.scan_evidence import HYPOTHESES, combined, location, novelty_logs, shiryaev_roberts
from detectors.drift.tails import UpperTail
from detectors.evidence.packing import pack, unpack

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

COMPONENTS = 64
RIDGE = 0.3  # of the mean variance of the components kept
RADIUS = 0.95  # held-out quantile of the whitened norm beyond which a row is pulled in
MIN_REFERENCE = 40  # rows in each half
FOLDS = 3  # for the variance along the axes
LARGEST = 1e15  # of a coordinate
ROUNDING = 1e-4  # relative size below which a distance is rounding in single precision
STREAMS, LENGTH = 50, 768  # simulated, to calibrate
APART = 16  # rows, within which no row is drawn twice
FEWEST_ALARMS = 12  # of the simulation that still place a threshold
_KIND = "scan-reference"


@dataclass(frozen=True, slots=True)
class ScanReference:
    """A fitted reference; ``d`` is the encoder's dimension, ``k`` <= 64.

    ``run_lengths`` float64[c], ascending, and ``thresholds`` float64[c]: mean rows until evidence reaches each.
    """

    centre: Float32  # float32[d]
    axes: Float32  # float32[d, k], orthonormal
    whiten: Float32  # float32[k]
    middle: Float32  # float32[k], mean of the pulled-in whitened rows
    effective: float  # directions that the variance of pulled-in rows is spread over, at least 1
    radius: float
    norm: UpperTail
    off: UpperTail
    run_lengths: Float
    thresholds: Float
    rows: int

    @property
    def dimension(self) -> int:
        """Dimension of the embeddings it takes."""
        return int(self.centre.size)

    @property
    def components(self) -> int:
        """Principal components kept; 0 if all rows of the fit half were equal."""
        return int(self.axes.shape[1])

    @classmethod
    def fit(
        cls,
        fit_rows: ArrayLike,
        held_rows: ArrayLike,
        *,
        rng: np.random.Generator,
        sessions: ArrayLike | None = None,
        components: int = COMPONENTS,
    ) -> ScanReference:
        """Fit on the two halves of a reference.

        Args:
            fit_rows: float[n, d]. held_rows: float[m, d]; other sessions than the fit half's.
            rng: simulates the streams that give the thresholds.
            sessions: [n + m], the session of each row, the fit half's first. Of each session the first row counts,
                as :meth:`detectors.drift.scan.Scan.update` does with streams; default: every row is one.
            components: most principal components kept.

        Raises:
            ValueError: NaN or infinities, dimensions that disagree, fewer than 40 sessions in a half.
        """
        fit, held = checked(fit_rows, None, "fit_rows"), checked(held_rows, None, "held_rows")
        if fit.shape[1] != held.shape[1]:
            raise ValueError(f"the halves have dimensions {fit.shape[1]} and {held.shape[1]}; use one encoder for both")
        if sessions is not None:
            ids = np.asarray(sessions)
            if ids.shape != (fit.shape[0] + held.shape[0],):
                raise ValueError(
                    f"sessions needs one per row, fit half first: {fit.shape[0] + held.shape[0]}, got {ids.shape}"
                )
            first = np.zeros(ids.size, dtype=np.bool_)
            first[np.unique(ids, return_index=True)[1]] = True
            fit, held = fit[first[: fit.shape[0]]], held[first[fit.shape[0] :]]
        if min(fit.shape[0], held.shape[0]) < MIN_REFERENCE:
            raise ValueError(
                f"a reference needs {MIN_REFERENCE} sessions in each half, got {fit.shape[0]} and {held.shape[0]}; "
                "take a longer period"
            )
        total = fit.shape[0] + held.shape[0]
        centre = ((fit.sum(axis=0, dtype=np.float64) + held.sum(axis=0, dtype=np.float64)) / total).astype(np.float32)
        axes, whiten = _whitening(fit, min(components, fit.shape[1], fit.shape[0] // 4))
        k = axes.shape[1]
        z_fit, _ = coordinates(fit, centre, axes, whiten)
        z, off = coordinates(held, centre, axes, whiten)
        norm = np.linalg.norm(z, axis=1)
        radius = float(np.quantile(norm, RADIUS)) if k else 0.0
        pulled = pull(z, radius)
        trace, square = _traces(pulled)
        effective = max(1.0, trace**2 / square) if square > 0 else 1.0
        if square > 0:
            scale = float(np.sqrt(square / trace))
            whiten, radius, norm = (whiten / scale).astype(np.float32), radius / scale, norm / scale
            z_fit, pulled = z_fit / np.float32(scale), pulled / np.float32(scale)
        inside = pull(z_fit, radius)
        middle = (inside.sum(axis=0, dtype=np.float64) + pulled.sum(axis=0, dtype=np.float64)) / total
        size = float(np.sqrt(np.mean(np.square(held, dtype=np.float64)) * held.shape[1]))
        norm_tail = UpperTail.fit(norm, ROUNDING * max(1.0, radius))
        off_tail = UpperTail.fit(off, max(ROUNDING * size, 1e-30))
        run_lengths, thresholds = _calibrate(_evened(pulled), norm, off, effective, total, rng)
        return cls(
            centre=centre, axes=axes, whiten=whiten, middle=middle.astype(np.float32), effective=effective,
            radius=radius, norm=norm_tail, off=off_tail, run_lengths=run_lengths, thresholds=thresholds, rows=total,
        )  # fmt: skip

    def features(self, rows: Float32) -> tuple[Float32, Float]:
        """Whitened, pulled-in, centred rows float32[m, k], and their log tail probabilities float64[3, m]."""
        z, off = coordinates(rows, self.centre, self.axes, self.whiten)
        norm = np.linalg.norm(z, axis=1)
        log_p = np.stack([self.norm.log_p(norm), self.off.log_p(off), self.norm.log_p_small(norm)])
        return pull(z, self.radius) - self.middle, log_p

    def threshold(self, run_length: float) -> float:
        """Evidence (nats) that streams without a change reach after ``run_length`` rows on average.

        Beyond what was simulated the run length is taken to grow as the exponential of the evidence, which it does
        for sums of likelihood ratios.

        Raises:
            ValueError: fewer than 20 rows.
        """
        if not run_length >= 20:
            raise ValueError(f"run_length must be at least 20 rows, got {run_length}; ask for fewer false alarms")
        wanted, known = np.log(run_length), np.log(self.run_lengths)
        inside = float(np.interp(wanted, known, self.thresholds))
        return inside + max(0.0, float(wanted - known[-1]))

    def to_state(self) -> bytes:
        """Versioned bytes."""
        scalars = {
            "radius": self.radius, "effective": self.effective, "rows": self.rows,
            "norm": [self.norm.start, self.norm.share, self.norm.shape, self.norm.scale],
            "off": [self.off.start, self.off.share, self.off.shape, self.off.scale],
        }  # fmt: skip
        arrays: dict[str, NDArray[Any]] = {
            "centre": self.centre, "axes": self.axes, "whiten": self.whiten, "middle": self.middle,
            "run_lengths": self.run_lengths, "thresholds": self.thresholds,
            "norms": self.norm.values, "offs": self.off.values,
        }  # fmt: skip
        return pack(_KIND, scalars, arrays)

    @classmethod
    def from_state(cls, state: bytes) -> ScanReference:
        """The inverse of :meth:`to_state`. Raises ValueError for other bytes."""
        scalars, arrays = unpack(_KIND, state)
        norm = UpperTail(arrays.pop("norms"), *scalars.pop("norm"))
        off = UpperTail(arrays.pop("offs"), *scalars.pop("off"))
        return cls(**scalars, **arrays, norm=norm, off=off)


def checked(rows: ArrayLike, dimension: int | None, name: str) -> Float32:
    """Rows as float32[m, d]. Raises ValueError for NaN, infinities, numbers beyond 1e15, another dimension."""
    with np.errstate(over="ignore"):  # told below
        x = np.asarray(rows, dtype=np.float32)
    if x.ndim != 2 or x.shape[1] == 0 or (dimension is not None and x.shape[1] != dimension):
        want = "d" if dimension is None else dimension
        raise ValueError(f"{name} must be float[m, {want}], got shape {x.shape}; use the reference's encoder")
    if not (np.abs(x) <= LARGEST).all():  # squares stay within single precision
        raise ValueError(
            f"{name} hold NaN or infinity, or more than {LARGEST:g}; leave out rows that were not embedded"
        )
    return x


def coordinates(x: Float32, centre: Float32, axes: Float32, whiten: Float32) -> tuple[Float32, Float]:
    """Whitened coordinates float32[m, k], and the norm of what lies off the axes float64[m]."""
    centred = x - centre
    inside = centred @ axes
    square = np.einsum("ij,ij->i", centred, centred).astype(np.float64)
    off = np.sqrt(np.maximum(square - np.einsum("ij,ij->i", inside, inside), 0.0))
    # The difference of two squares holds nothing below the rounding of the larger.
    off[off < 2e-3 * np.sqrt(square)] = 0.0
    return np.asarray(inside * whiten, dtype=np.float32), np.asarray(off, dtype=np.float64)


def _whitening(fit: Float32, most: int) -> tuple[Float32, Float32]:
    """Principal axes float32[d, k], and the factors that give coordinates along them unit variance.

    The variance along a principal axis of few rows is not what other rows have along it: too large for the first ones,
    too small for the last. So it is what rows have along axes that were found without them, over FOLDS folds.
    """
    extent = float(np.abs(fit).max(initial=0.0))
    axes, variance = _axes(fit, most, extent)
    k = variance.size
    if k == 0:
        return axes.astype(np.float32), variance.astype(np.float32)
    fold = np.arange(fit.shape[0]) % FOLDS
    outside = np.zeros(k)
    for part in range(FOLDS):
        others, own = fit[fold != part], fit[fold == part]
        found, _ = _axes(others, k, extent)
        along = (own - others.mean(axis=0)) @ found.astype(np.float32)
        outside[: found.shape[1]] += np.square(along, dtype=np.float64).sum(axis=0)
    outside /= fit.shape[0]
    factors = 1.0 / np.sqrt(outside + RIDGE * float(outside.mean()))
    return np.ascontiguousarray(axes, dtype=np.float32), factors.astype(np.float32)


def _axes(fit: Float32, most: int, extent: float) -> tuple[Float, Float]:
    """At most ``most`` principal axes float64[d, k] and the variance of the rows along each, largest first."""
    centred = (fit - fit.mean(axis=0, dtype=np.float64)).astype(np.float32)
    n, d = centred.shape
    wide = n < d
    gram = (centred @ centred.T if wide else centred.T @ centred).astype(np.float64)
    size = gram.shape[0]
    values, vectors = eigh(gram, subset_by_index=(size - most, size - 1), check_finite=False, overwrite_a=True)
    variance, vectors = np.maximum(values[::-1], 0.0) / (n - 1), vectors[:, ::-1]
    # Duplicates and constants leave directions that hold nothing but rounding.
    kept = variance > max(1e-6 * float(variance[0]), (1e-6 * extent) ** 2)
    variance, vectors = variance[kept], vectors[:, kept]
    axes = centred.T @ vectors / np.sqrt(variance * (n - 1)) if wide else vectors
    return np.asarray(axes, dtype=np.float64), variance


def _traces(z: Float32) -> tuple[float, float]:
    """tr C and tr C^2 of the covariance C of rows, the second without bias: over pairs of distinct rows.

    |mean of rows|^2 then goes as (tr C^2 / tr C) times a chi-square with (tr C)^2 / tr C^2 degrees of freedom, by its
    first two moments (Satterthwaite 1946): the whitened rows are scaled and counted so.
    """
    m, k = z.shape
    if k == 0:
        return 0.0, 0.0
    y = (z - z.mean(axis=0, dtype=np.float64)).astype(np.float64)
    square = np.einsum("ij,ij->i", y, y)
    trace = float(square.mean())
    pairs = (float(np.square(y.T @ y).sum()) - float(np.square(square).sum())) / (m * (m - 1.0))
    return trace, max(pairs, trace**2 / k)


def _evened(z: Float32) -> Float32:
    """Centred rows whose covariance is shrunk towards its mean variance, as far as chance spread its eigenvalues.

    Streams drawn from m rows have the covariance of those m rows, whose eigenvalues lie wider apart than the true ones
    (by k / m in their mean square); the largest decide how far evidence goes without a change. The amount is that
    which makes the mean square of the eigenvalues that of its unbiased estimate, over pairs of distinct rows.
    """
    m, k = z.shape
    y = (z - z.mean(axis=0, dtype=np.float64)).astype(np.float64)
    if k < 2 or m < 3:
        return np.asarray(y, dtype=np.float32)
    values, vectors = np.linalg.eigh(y.T @ y / m)
    mean = float(values.mean())
    wide = float(np.square(values).mean()) - mean**2
    true = _traces(z)[1] / k - mean**2
    keep = float(np.sqrt(np.clip(true / wide, 0.0, 1.0))) if wide > 0 else 1.0
    wanted = mean + keep * (values - mean)
    factor = np.sqrt(wanted / np.maximum(values, 1e-12 * max(mean, 1e-300)))
    factor = np.where(values > 1e-9 * mean, factor, 1.0)
    return np.asarray((y @ vectors * factor) @ vectors.T, dtype=np.float32)


def _calibrate(
    z: Float32, norm: Float, off: Float, effective: float, total: int, rng: np.random.Generator
) -> tuple[Float, Float]:
    """Mean rows to the alarm by threshold, from streams made of held-out rows.

    Tail probabilities are uniform within a row's rank, so that the largest of m rows does not stand for every 1 in m.
    What differs between the reference and what it was drawn from is drawn for each stream: the error of a centre of
    ``total`` rows, and that of a tail probability p from m rows, whose relative size is 1 / sqrt(m p).
    """
    m, k = z.shape
    picks, scale = _drawn(m, rng)
    drawn = z[picks]
    if k:
        drawn *= np.float32(scale)
        error = (rng.standard_normal((STREAMS, m), dtype=np.float32) @ z) / np.float32(np.sqrt(m * total))
        drawn += error[:, None]
    ranks = np.stack([_rank(norm, rng)[picks], _rank(off, rng)[picks]], axis=1)  # 1 is the largest
    u = (ranks - rng.random(ranks.shape)) / m
    u = np.concatenate([u, 1.0 - u[:, :1]], axis=1)
    wrong = rng.standard_normal((STREAMS, 3, 1)) * np.sqrt(0.5 * (1.0 - u) / (1.0 + m * u))
    logs = novelty_logs(np.minimum(np.log(np.maximum(u, 1e-12)) + wrong, 0.0))
    before = np.full((STREAMS, len(HYPOTHESES)), -np.inf)
    evidence = combined(location(drawn, 0, effective, total), shiryaev_roberts(logs, before))
    return run_length_curve(evidence)


def _drawn(m: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], float]:
    """Which of m rows each simulated row is, int64[s, t], and the factor that keeps the variance of their sums.

    No row comes twice within APART rows: a row that follows itself is strong evidence of a shift, and streams of
    distinct rows hold none. Sums of many rows vary less for it, by 2 APART / m, which the factor makes up for.
    """
    picks = rng.integers(0, m, (STREAMS, LENGTH))
    apart = min(APART, m // 25)
    for _ in range(4):
        for lag in range(1, apart + 1):
            at = np.nonzero(picks[:, lag:] == picks[:, :-lag])
            picks[at[0], at[1] + lag] = rng.integers(0, m, at[0].size)
    return picks, float(np.sqrt(1.0 + 2.0 * apart / m))


def _rank(values: Float, rng: np.random.Generator) -> Float:
    """1 for the largest; ties in random order."""
    order = np.lexsort((rng.random(values.size), -values))
    rank = np.empty(values.size)
    rank[order] = np.arange(1, values.size + 1)
    return rank


def run_length_curve(evidence: Float) -> tuple[Float, Float]:
    """Run lengths float64[c] and thresholds float64[c], both ascending, from streams float64[s, t] without a change.

    At a threshold, the run length is the rows up to each stream's first alarm (all of them where there is none) over
    the alarms: the estimate for geometric run lengths that are cut off.
    """
    running = np.maximum.accumulate(evidence, axis=1)
    top = np.sort(running[:, -1])
    levels = np.linspace(float(np.quantile(running[:, 0], 0.5)), float(top[-FEWEST_ALARMS]), 65)
    first = np.stack([(running < level).sum(axis=1) for level in levels], axis=1)  # rows before the alarm
    alarmed = first < evidence.shape[1]
    rows = np.where(alarmed, first + 1, evidence.shape[1]).sum(axis=0)
    lengths = rows / np.maximum(alarmed.sum(axis=0), 1)
    return np.maximum.accumulate(lengths * (1.0 + 1e-12 * np.arange(levels.size))), levels
