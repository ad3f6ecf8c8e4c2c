"""Did the inputs change: embeddings of an hour's sessions against a reference.

Fit half: principal components, whitened with a ridge. All rows: the centre. Held-out half: scale, radius beyond
which a row is pulled in (so that a few far rows cannot pretend to be a shift of all), the moments of the mean of m
rows, and the novelty thresholds. The fit never touches the rows that calibrate.

Three channels, bet on together:
  * location: q = m |mean|^2 in whitened space. Its null is a scaled noncentral chi-square, matched to three
    cumulants that the held-out rows give for this m; its noncentrality covers the reference's own error and the
    movement between the reference's days, and hours of the day. Bets: shifts of 0.5, 1 and 2 sd.
  * novelty: the share of rows farther from the centre, or farther off the subspace, than nearly all held-out rows,
    as a rate with its own upper limit. This is what sees a rare new cluster.
  * heading: rows of this look along the direction in which those before it moved (`detectors.drift.heading`). This is
    what sees a small shift that stays, as of the mixture of kinds.
The unit is the session: one row (or the mean of its rows) per session, in reference and stream alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betaincinv, chdtri, chndtr

from detectors.drift.heading import Heading
from detectors.drift.location import LocationNull, Movement, pull
from detectors.drift.noncentral import log_density
from detectors.evidence.effect import Effect, Verdict
from detectors.evidence.packing import pack, unpack
from detectors.rates.bets import ODDS
from detectors.rates.bets import log_bets as rate_bets
from detectors.rates.reference import DAY_CONFIDENCE, RateReference, rate_by_day

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

DELTAS: tuple[float, ...] = (0.5, 1.0, 2.0)
COMPONENTS = 64
RIDGE = 0.05  # of the mean variance of the components kept
RADIUS = 0.95  # held-out quantile of the whitened norm beyond which a row is pulled in
MIN_REFERENCE = 40  # rows in each half
MIN_ROWS = 5  # rows in a look
PSEUDO_DAYS = 10
ROUNDING = 1e-4  # relative size below which a distance is rounding in single precision
_KIND = "embedding-reference"


@dataclass(frozen=True, slots=True)
class EmbeddingReference:
    """A fitted reference of one segment and modality. ``d`` is the encoder's dimension, ``k`` <= 64."""

    centre: Float32  # float32[d]
    axes: Float32  # float32[d, k], orthonormal; what lies off them is the residual
    whiten: Float  # float64[k], factors that give coordinates along the axes unit variance
    middle: Float  # float64[k], mean of the pulled-in whitened rows
    radius: float
    null: LocationNull  # of the mean of pulled-in rows
    error: float  # upper limit of |error of the centre|^2
    moving: float  # upper limit of |shift of a day and an hour of the day|^2
    norm_limit: float  # novelty thresholds
    off_limit: float
    novelty: RateReference
    novelty_limit: float  # p+ of novelty, days that move included
    rows: int

    K = len(DELTAS) + len(ODDS) + 1

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
        groups: ArrayLike | None = None,
        hours: ArrayLike | None = None,
        confidence: float = 0.998,
        components: int = COMPONENTS,
    ) -> EmbeddingReference:
        """Fit on the two halves of a reference, one row per session.

        Args:
            fit_rows: float[n, d]. held_rows: float[m, d]; other sessions than the fit half's.
            rng: used only to make pseudo-days where ``groups`` is not given.
            groups: int[n + m], the day of each row, the fit half's first. With fewer than 3 days the movement
                between days is not known and not covered.
            hours: int[n + m] in 0..23, the hour of the day of each row. Without it, inputs that follow the hour
                (another tenant at night) are taken for a change.
            confidence: one-sided, of each limit.
            components: most principal components kept.

        Raises:
            ValueError: NaN or infinities, dimensions that disagree, fewer than 40 rows in a half.
        """
        fit, held = _checked(fit_rows, None, "fit_rows"), _checked(held_rows, None, "held_rows")
        if fit.shape[1] != held.shape[1]:
            raise ValueError(f"the halves have dimensions {fit.shape[1]} and {held.shape[1]}; use one encoder for both")
        if min(fit.shape[0], held.shape[0]) < MIN_REFERENCE:
            raise ValueError(
                f"a reference needs {MIN_REFERENCE} sessions in each half, got {fit.shape[0]} and {held.shape[0]}; "
                "take a longer period"
            )
        total = fit.shape[0] + held.shape[0]
        day = rng.permutation(total) % PSEUDO_DAYS if groups is None else np.asarray(groups, dtype=np.int64)
        hour = None if hours is None else np.asarray(hours, dtype=np.int64)
        if hour is not None and (hour.shape != (total,) or (hour < 0).any() or (hour > 23).any()):
            raise ValueError(f"hours needs one hour of the day, 0..23, per row, fit half first: {total}")
        if day.shape != (total,):
            raise ValueError(f"groups needs one day per row, fit half first: {total}, got shape {day.shape}")
        everything = np.vstack([fit, held])
        centre = everything.mean(axis=0).astype(np.float32)
        axes, whiten = _whitening(fit, min(components, fit.shape[1], fit.shape[0] // 4))
        k = axes.shape[1]

        # With the arithmetic of later looks, so that thresholds and rows round alike.
        z_all, off_all = _coordinates(everything, centre, axes, whiten)
        z_held, offs = z_all[fit.shape[0] :], off_all[fit.shape[0] :]
        if k:
            scale = float(np.sqrt((z_held**2).sum(axis=1).mean() / k))
            whiten, z_all, z_held = whiten / scale, z_all / scale, z_held / scale
        norms = np.linalg.norm(z_held, axis=1)
        radius = float(np.quantile(norms, RADIUS)) if k else 0.0
        pulled = pull(z_all, radius)
        middle = pulled.mean(axis=0)
        y = pulled[fit.shape[0] :] - middle
        null = LocationNull.fit(y, rng)

        m = held.shape[0]
        rank = max(2, int(np.ceil(float(np.clip(8.0 / m, 0.005, 0.05)) / 2.0 * m)))
        size = float(np.sqrt(np.mean(np.square(everything)) * everything.shape[1]))
        norm_limit = float(np.sort(norms)[m - rank]) * (1.0 + ROUNDING) if k else 0.0
        off_limit = max(float(np.sort(offs)[m - rank]) * (1.0 + ROUNDING), ROUNDING * size, 1e-30)
        new = (norms > norm_limit) | (offs > off_limit) if k else offs > off_limit
        novelty = rate_by_day(new, day[fit.shape[0] :], None if hour is None else hour[fit.shape[0] :], confidence)

        error = 0.0
        if k:
            offset, unit, df = null.at(total)
            error = (offset + unit * float(chdtri(df, 1.0 - confidence))) / total
        moving, novelty_limit = 0.0, novelty.p_plus
        if k:
            around = pulled - middle
            by_day = Movement.fit(around, None if groups is None else day, null)
            by_hour = Movement.fit(around, hour, null)
            # Every hour of the day is in the reference; of days there will be others.
            moving = (by_day.limit(DAY_CONFIDENCE) + by_hour.limit(confidence)) ** 2
            # A day that lies farther out carries more rows over the thresholds: what those of the held-out half
            # would do on the far days that the reference leads one to expect.
            for far in (by_day.limit(confidence), -by_day.limit(confidence)):
                moved = np.linalg.norm(z_held + far * by_day.direction, axis=1)
                hits = int(((moved > norm_limit) | (offs > off_limit)).sum())
                if far and hits > int(new.sum()):
                    limit = float(betaincinv(hits + 1, m - hits, confidence)) if hits < m else 1.0
                    novelty_limit = max(novelty_limit, limit)
        return cls(
            centre=centre,
            axes=axes,
            whiten=whiten,
            middle=middle,
            radius=radius,
            null=null,
            error=error,
            moving=moving,
            norm_limit=norm_limit,
            off_limit=off_limit,
            novelty=novelty,
            novelty_limit=novelty_limit,
            rows=total,
        )

    def log_bets(self, rows: ArrayLike, heading: Heading | None = None) -> Float:
        """Log payoffs of one look.

        Args:
            rows: float[m, d], one per session. Fewer than 5: no evidence.
            heading: of the looks before, as it began with `heading`; takes this one in. None: nothing is bet on it.

        Returns:
            float64[8]: shifts of 0.5, 1, 2 sd, then novelty at odds x1.5, 2.5, 5, 12, then the heading.

        Raises:
            ValueError: NaN, infinities, another dimension.
        """
        x = _checked(rows, self.dimension, "rows")
        bets = np.zeros(self.K)
        if self.verdict(x.shape[0]) is not Verdict.OK:
            return bets
        z, off = self._coordinates(x)
        m = x.shape[0]
        if self.components and self.null.trace > 0:
            y = self._pulled(z)
            q, unit, df = self._location(y)
            limit = float(np.sqrt(self.error) + np.sqrt(self.moving))
            null = m * limit**2 / unit
            shifts = null + m * np.square(DELTAS) / unit
            bets[: len(DELTAS)] = log_density(q / unit, df, shifts) - log_density(q / unit, df, null)
            if heading is not None:
                bound = self.radius + float(np.linalg.norm(self.middle))
                bets[-1] = heading.bet(y, self.null.trace, self.null.trace_square, limit, bound)
                heading.update(y)
        hits = int(self._novel(z, off).sum())
        bets[len(DELTAS) : -1] = rate_bets([hits], [m], [self.novelty_limit], temper=self.novelty.temper)[0]
        return bets

    def heading(self) -> Heading:
        """That of a stream before its first look."""
        return Heading.none(self.components)

    def verdict(self, rows: int) -> Verdict:
        """Whether a look of so many rows is evidence."""
        return Verdict.OK if rows >= MIN_ROWS else Verdict.NOT_ENOUGH_DATA

    def novelty_hits(self, rows: ArrayLike) -> tuple[int, int]:
        """(rows farther out than nearly all of the reference, rows)."""
        new = self.novel(rows)
        return int(new.sum()), len(new)

    def novel(self, rows: ArrayLike) -> NDArray[np.bool_]:
        """Which rows lie farther out than nearly all of the reference, bool[m]. ValueError as for `log_bets`."""
        x = _checked(rows, self.dimension, "rows")
        found: NDArray[np.bool_] = self._novel(*self._coordinates(x))
        return found

    def effect(self, rows: ArrayLike, confidence: float = 0.95) -> Effect:
        """Distance of the rows' mean from the reference's, in standard deviations of a whitened direction.

        The interval inverts the noncentral chi-square and is widened by the reference's own error.
        """
        x = _checked(rows, self.dimension, "rows")
        m = x.shape[0]
        if m == 0 or not self.components or self.null.trace <= 0:
            return Effect(0.0, 0.0, float("inf") if m == 0 else 0.0, 0.0, "sd")
        z, _ = self._coordinates(x)
        q, unit, df = self._location(self._pulled(z))
        tail = (1.0 - confidence) / 2.0
        value = float(np.sqrt(max(0.0, (q - unit * df) / m - self.null.trace / self.rows)))
        low = float(np.sqrt(_noncentrality(q / unit, df, 1.0 - tail) * unit / m))
        high = float(np.sqrt(_noncentrality(q / unit, df, tail) * unit / m))
        slack = float(np.sqrt(self.null.trace / self.rows))
        return Effect(value, max(0.0, low - slack), high + slack, 0.0, "sd")

    def contributions(self, rows: ArrayLike) -> Int64:
        """Row indices, those that carry the change most first: far along the mean shift, or novel."""
        x = _checked(rows, self.dimension, "rows")
        z, off = self._coordinates(x)
        score = np.maximum(0.0, off / self.off_limit - 1.0)
        if self.components and x.shape[0]:
            y = self._pulled(z)
            mean = y.mean(axis=0)
            length = float(np.linalg.norm(mean))
            along = y @ mean / length if length > 0 else np.zeros(x.shape[0])
            spread = max(float(np.sqrt(self.null.trace / self.components)), 1e-12)
            norm = np.linalg.norm(z, axis=1) / max(self.norm_limit, 1e-12)
            score = score + along / spread + np.maximum(0.0, norm - 1.0)
        return np.argsort(-score, kind="stable")

    def to_state(self) -> bytes:
        """Versioned bytes; matrices as float32, which is what :meth:`log_bets` uses anyway."""
        scalars = {
            "radius": self.radius, "null": self.null.to_scalars(), "error": self.error, "moving": self.moving,
            "norm_limit": self.norm_limit, "off_limit": self.off_limit, "rows": self.rows,
            "novelty_limit": self.novelty_limit,
            "novelty": self.novelty.to_state(),
        }  # fmt: skip
        arrays: dict[str, NDArray[Any]] = {
            "centre": self.centre,
            "axes": self.axes,
            "whiten": self.whiten,
            "middle": self.middle,
        }
        return pack(_KIND, scalars, arrays)

    @classmethod
    def from_state(cls, state: bytes) -> EmbeddingReference:
        """The inverse of :meth:`to_state`. Raises ValueError for other bytes."""
        scalars, arrays = unpack(_KIND, state)
        novelty = RateReference.from_state(scalars.pop("novelty"))
        null = LocationNull(**scalars.pop("null"))
        return cls(**scalars, **arrays, null=null, novelty=novelty)

    def _coordinates(self, x: Float) -> tuple[Float, Float]:
        return _coordinates(x, self.centre, self.axes, self.whiten)

    def _novel(self, z: Float, off: Float) -> NDArray[np.bool_]:
        far = off > self.off_limit
        if self.components:
            far = far | (np.linalg.norm(z, axis=1) > self.norm_limit)
        return np.asarray(far, dtype=np.bool_)

    def _pulled(self, z: Float) -> Float:
        return pull(z, self.radius) - self.middle

    def _location(self, y: Float) -> tuple[float, float, float]:
        """q less the offset of its null, and that null's unit and degrees of freedom."""
        m = y.shape[0]
        mean = y.mean(axis=0)
        offset, unit, df = self.null.at(m)
        return max(float(m * (mean @ mean)) - offset, 1e-9 * unit), unit, df


def _checked(rows: ArrayLike, dimension: int | None, name: str) -> Float:
    x = np.asarray(rows, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError(f"{name} must be a matrix, one row per session; got {x.ndim} dimensions")
    if dimension is not None and x.shape[1] != dimension:
        raise ValueError(f"{name} have dimension {x.shape[1]}, the reference {dimension}; use its encoder")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} hold NaN or infinity; leave out inputs that could not be embedded")
    return x


def _whitening(fit: Float, most: int) -> tuple[Float32, Float]:
    """Orthonormal axes float[d, k] and whitening factors float[k]."""
    centred = fit - fit.mean(axis=0)
    if centred.shape[0] > centred.shape[1]:
        # The d x d covariance has the same axes, in a fraction of the time.
        values, vectors = np.linalg.eigh(centred.T @ centred / (fit.shape[0] - 1))
        variance, vt = np.maximum(values[::-1], 0.0), vectors[:, ::-1].T
    else:
        _, singular, vt = np.linalg.svd(centred, full_matrices=False)
        variance = singular**2 / (fit.shape[0] - 1)
    size = float(np.abs(fit).max(initial=0.0))
    # Duplicates and constants leave directions that hold nothing but rounding.
    kept = variance[:most] > max(1e-9 * float(variance[0]), (1e-7 * size) ** 2)
    k = int(kept.sum())
    axes = np.ascontiguousarray(vt[:k].T, dtype=np.float32)
    if k == 0:
        return axes, np.zeros(0)
    return axes, np.asarray(1.0 / np.sqrt(variance[:k] + RIDGE * float(variance[:k].mean())), dtype=np.float64)


def _coordinates(x: Float, centre: Float32, axes: Float32, whiten: Float) -> tuple[Float, Float]:
    """Whitened coordinates float64[m, k], and the norm of what lies off the axes float64[m].

    In single precision, which is what encoders give, and half the time; the differences from the centre are taken
    before, so that little is lost.
    """
    centred = (x - centre).astype(np.float32)
    inside = centred @ axes
    rest = centred - inside @ axes.T
    return inside.astype(np.float64) * whiten, np.linalg.norm(rest.astype(np.float64), axis=1)


def _noncentrality(x: float, df: float, probability: float) -> float:
    """The noncentrality at which ``x`` is the ``probability`` quantile; 0 if there is none."""

    def gap(nc: float) -> float:
        return float(chndtr(x, df, nc)) - probability

    if gap(0.0) <= 0:
        return 0.0
    top = x + 10.0
    while gap(top) > 0:
        top *= 2.0
    return float(brentq(gap, 0.0, top, xtol=1e-6))
