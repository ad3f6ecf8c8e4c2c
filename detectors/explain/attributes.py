"""Which attribute value carries a change: the change with its sessions and without them.

The change is the difference of weighted means, now less before, of one score per session; rows of embeddings get a
cross-fitted direction first. A value carries it if without its sessions less than 60 % of it is left, which holds for a
value whose own sessions changed and for one that came, grew, shrank or went. Two tests must both say so, and the
p-value is the greater:
  * at least 60 % of the change is left: linearised variance, Student t. It holds where values always differed.
  * sessions with the value are like the others: its membership is permuted over the sessions of each period. Exact in
    small samples and for rare errors, where the first is not (a handful without an error has no variance).
Holm over everything tried, and a change of all sessions together beyond chance, before anything is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from detectors.explain.direction import FOLDS, checked_rows, cross_fit
from detectors.explain.holm import LEVEL, holm
from detectors.explain.weighted import Limits, checked_weights

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

LEFT = 0.6  # a value carries the change if less than this part of it is left without it
MIN_SESSIONS = 20  # of a value in both periods together, and of the others in each
SAME_SESSIONS = 0.9  # of the sessions of either: two values name the same sessions
DRAWS = 1000  # permutations at least; more where more is tried
POOLED = "(rare values)"
MISSING = "(not given)"


@dataclass(frozen=True, slots=True)
class Carrier:
    """One value of one attribute. Changes are in the score's unit (sd of before's sessions for rows)."""

    attribute: str
    value: str
    before: float  # weighted share of the sessions before
    now: float
    without: Limits  # the change of the other sessions, 95 %
    p: float  # of the first test alone where that is beyond the level, or all sessions together did not change
    adjusted: float  # p by Holm


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A value that was not tried, and why."""

    attribute: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Attribution:
    """What was found; ``named`` is empty where no value carries the change."""

    change: Limits  # of all sessions, 95 %
    p: float  # that all sessions together did not change
    named: tuple[Carrier, ...]  # the winner first, then values that name the same sessions
    also: tuple[Carrier, ...]  # other values without which less than 60 % is left (they contain or mirror it)
    tried: tuple[Carrier, ...]  # everything tried, the clearest first
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class _Sums:
    """Weighted sums of one period: of all sessions, float[5]; of each value's sessions, float[values, 5]."""

    all: Float
    inside: Float

    def combine(self, share: float) -> tuple[Float, Float]:
        """share x mean of all - mean of the sessions without the value, and its variance, float[values] each."""
        total, outside = self.all, np.maximum(self.all - self.inside, 0.0)
        outside[..., 1] = total[1] - self.inside[..., 1]
        outside[..., 3] = total[3] - self.inside[..., 3]
        mean = total[1] / total[0]
        weight = np.maximum(outside[..., 0], 1e-300)
        rest = outside[..., 1] / weight
        a, b = share / total[0], 1.0 / weight
        spread_all = total[4] - 2.0 * mean * total[3] + mean**2 * total[2]
        spread_rest = outside[..., 4] - 2.0 * rest * outside[..., 3] + rest**2 * outside[..., 2]
        shared = outside[..., 4] - (mean + rest) * outside[..., 3] + mean * rest * outside[..., 2]
        variance = a**2 * spread_all + b**2 * spread_rest - 2.0 * a * b * shared
        return share * mean - rest, np.maximum(variance, 0.0)


def attribute(
    before: ArrayLike,
    now: ArrayLike,
    before_attributes: Mapping[str, Sequence[str | None]],
    now_attributes: Mapping[str, Sequence[str | None]],
    *,
    rng: np.random.Generator,
    before_weights: ArrayLike | None = None,
    now_weights: ArrayLike | None = None,
    level: float = LEVEL,
) -> Attribution:
    """Which value of which attribute carries the change from ``before`` to ``now``.

    Args:
        before: float[n, d] embeddings, or float[n] scores (novelty; an error as 0 or 1), one per session.
        now: float[m, d] or float[m].
        before_attributes: of each attribute the value of each of the n sessions; None where there is none.
        rng: for folds and permutations.
        before_weights: float[n], 1 / inclusion probability; equal where None.
        level: chance of naming any value where none carries the change.

    Raises:
        ValueError: fewer than 40 sessions in a period, NaN, lengths or attributes that do not agree.
    """
    x, y = checked_rows(before, "before"), checked_rows(now, "now")
    u = checked_weights(before_weights, x.shape[0], "before_weights")
    v = checked_weights(now_weights, y.shape[0], "now_weights")
    names, member, left_out = _members(before_attributes, now_attributes, x.shape[0], y.shape[0])
    s, t, fitted = _scores(x, y, u, v, rng)
    # Sums are taken of centred scores, or their squares would lose everything to rounding.
    middle, scale = float(np.average(s, weights=u)), float(max(np.abs(s).max(), np.abs(t).max(), 1e-300))
    s, t = (s - middle) / scale, (t - middle) / scale
    u, v = u / u.mean(), v / v.mean()
    powers = [_powers(s, u), _powers(t, v)]
    members = [member[:, : s.size], member[:, s.size :]]

    everyone = [_Sums(p.sum(axis=0), np.zeros((1, 5))) for p in powers]
    parts = [sums.combine(0.0) for sums in everyone]  # minus the mean of all
    change, se = float(parts[0][0][0] - parts[1][0][0]), math.sqrt(float(parts[0][1][0] + parts[1][1][0]))
    df = min(s.size, t.size) - 1.0
    sign = 1.0 if fitted or change >= 0 else -1.0
    p_change = _tail(sign * change, se, df) * (1.0 if fitted else 2.0)
    overall = _limits(change, se, df, scale)
    if not names:
        return Attribution(overall, min(p_change, 1.0), (), (), (), tuple(left_out))

    sums = [_Sums(p.sum(axis=0), m.astype(np.float64) @ p) for p, m in zip(powers, members, strict=True)]
    outside = np.minimum((~members[0]).sum(axis=1), (~members[1]).sum(axis=1)) - 1.0
    tested = _contrast(sums, LEFT, sign)
    p = np.array([_tail(*pair) for pair in zip(*tested, outside, strict=True)])
    # Permutations are dear, and p only grows by them: what is beyond the level already is never named.
    worth = p <= level if p_change <= level else np.zeros(p.size, dtype=np.bool_)
    if worth.any():
        some = [_Sums(part.all, part.inside[worth]) for part in sums]
        draws = max(DRAWS, math.ceil(2 * len(names) / level))
        p[worth] = np.maximum(p[worth], _permuted(some, powers, [m[worth] for m in members], sign, rng, draws))
    adjusted = holm(p)
    value, error = _contrast(sums, 0.0, 1.0)  # the change without each value, with its sign turned
    shares = [m.astype(np.float64) @ w / w.sum() for m, w in zip(members, (u, v), strict=True)]
    carriers = [
        Carrier(
            name, text, float(shares[0][i]), float(shares[1][i]),
            _limits(-float(value[i]), float(error[i]), float(outside[i]), scale), float(p[i]), float(adjusted[i]),
        )
        for i, (name, text) in enumerate(names)
    ]  # fmt: skip
    # p-values of permutations tie, the contrast in its errors does not.
    strength = tested[0] / np.maximum(tested[1], 1e-12)
    order = sorted(range(len(names)), key=lambda i: (float(adjusted[i]) > level, -float(strength[i])))
    found = [i for i in order if adjusted[i] <= level] if p_change <= level else []
    same = [i for i in found if _alike(member[i], member[found[0]])]
    return Attribution(
        overall,
        min(p_change, 1.0),
        tuple(carriers[i] for i in same),
        tuple(carriers[i] for i in found if i not in same),
        tuple(carriers[i] for i in order),
        tuple(left_out),
    )


def _scores(x: Float, y: Float, u: Float, v: Float, rng: np.random.Generator) -> tuple[Float, Float, bool]:
    """One score per session; whether its sign was fitted on other sessions, so that a change is upwards."""
    if x.shape[1] == 1 and y.shape[1] == 1:
        return x[:, 0], y[:, 0], False
    s, t = np.zeros(x.shape[0]), np.zeros(y.shape[0])
    folds = cross_fit(x, y, rng=rng, before_weights=u, now_weights=v)
    assert len(folds) == FOLDS
    for fold in folds:
        s[fold.before], t[fold.now] = fold.before_scores, fold.now_scores
    return s, t, True


def _members(
    before: Mapping[str, Sequence[str | None]], now: Mapping[str, Sequence[str | None]], n: int, m: int
) -> tuple[list[tuple[str, str]], Bool, list[LeftOut]]:
    """Values to try, bool[values, n + m] whether a session has it, and what is left out."""
    if set(before) != set(now):
        raise ValueError(f"the periods have different attributes: {sorted(before)} and {sorted(now)}; give the same")
    names: list[tuple[str, str]] = []
    rows: list[Bool] = []
    left_out: list[LeftOut] = []
    for name in sorted(before):
        if len(before[name]) != n or len(now[name]) != m:
            raise ValueError(
                f"attribute {name!r} needs one value per session: {n} and {m}, got {len(before[name])} and "
                f"{len(now[name])}"
            )
        texts = np.array([MISSING if text is None else str(text) for text in (*before[name], *now[name])], dtype=object)
        values, codes, counts = np.unique(texts, return_inverse=True, return_counts=True)
        rare = counts < MIN_SESSIONS
        candidates = [(str(values[i]), codes == i) for i in np.flatnonzero(~rare)]
        if rare.sum() > 1:
            candidates.append((POOLED, rare[codes]))
        for i in np.flatnonzero(rare):
            what = "pooled with other rare values" if rare.sum() > 1 else f"fewer than {MIN_SESSIONS}"
            left_out.append(LeftOut(name, str(values[i]), f"{counts[i]} sessions: {what}"))
        for text, member in candidates:
            others = min(int((~member[:n]).sum()), int((~member[n:]).sum()))
            if others < MIN_SESSIONS:
                left_out.append(LeftOut(name, text, f"only {others} sessions of a period are without it"))
            elif int(member.sum()) < MIN_SESSIONS:
                left_out.append(LeftOut(name, text, f"{int(member.sum())} sessions: fewer than {MIN_SESSIONS}"))
            else:
                names.append((name, text))
                rows.append(np.asarray(member, dtype=np.bool_))
    return names, np.array(rows, dtype=np.bool_).reshape(len(rows), n + m), left_out


def _powers(s: Float, w: Float) -> Float:
    """float[n, 5]: w, w s, w^2, w^2 s, w^2 s^2."""
    return np.stack([w, w * s, w**2, w**2 * s, (w * s) ** 2], axis=1)


def _contrast(sums: Sequence[_Sums], share: float, sign: float) -> tuple[Float, Float]:
    """share x (change of all) - (change without the value), now less before, and its standard error."""
    (first, first_variance), (last, last_variance) = (part.combine(share) for part in sums)
    return sign * (last - first), np.sqrt(first_variance + last_variance)


def _permuted(
    sums: Sequence[_Sums], powers: Sequence[Float], members: Sequence[Bool], sign: float, rng: np.random.Generator,
    draws: int,
) -> Float:  # fmt: skip
    """One-sided p that the sessions with the value are as likely to be any others; studentised, so that it also
    holds for many sessions where the values always differed in spread."""

    def statistic(of: Sequence[_Sums]) -> Float:
        value, error = _contrast(of, 1.0, sign)
        return np.asarray(value / np.maximum(error, 1e-12), dtype=np.float64)

    seen = statistic(sums)
    reached = np.ones(seen.size)
    member = [m.astype(np.float64) for m in members]
    totals = [p.sum(axis=0) for p in powers]
    for _ in range(draws):
        shuffled = [
            _Sums(total, m @ p[rng.permutation(p.shape[0])])
            for total, m, p in zip(totals, member, powers, strict=True)
        ]  # fmt: skip
        # Ties of rare errors count as reached, whatever the order of a sum does to the last digits.
        reached += statistic(shuffled) >= seen - 1e-9 * (1.0 + np.abs(seen))
    return np.asarray(reached / (draws + 1.0), dtype=np.float64)


def _tail(value: float, error: float, df: float) -> float:
    """One-sided p of a Student t; 1 where there is no change at all."""
    if value <= 0:
        return 1.0 if error == 0 else float(stdtr(df, -value / error))
    return float(stdtr(df, -value / max(error, 1e-12)))


def _limits(value: float, error: float, df: float, scale: float) -> Limits:
    reach = float(stdtrit(df, 0.975)) * error
    return Limits(value * scale, (value - reach) * scale, (value + reach) * scale)


def _alike(a: Bool, b: Bool) -> bool:
    return int((a & b).sum()) >= SAME_SESSIONS * int((a | b).sum())
