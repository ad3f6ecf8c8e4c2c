"""Building a reference by hand from a stretch of history, and telling two of them apart in words."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from detectors.rates import RateReference
from detectors.rates.reference import MIN_TRIALS
from detectors.rates.volume import VolumeReference
from detectors.summaries.metrics import METRICS
from monitor.config.model import Config
from monitor.evaluate.calendar import HOUR_US, Calendar
from monitor.evaluate.calibration import SIGNAL, learn_calibration
from monitor.evaluate.cells import Decoder, SummaryRow
from monitor.evaluate.references import FittedStream, Reference, is_slice, kindred, learn
from monitor.evaluate.sentences import number, percent, quantity
from monitor.evaluate.slices import learn_slice
from monitor.evaluate.streams import SLICE_PREFIX, spec_of
from monitor.store import evaluation, listing, references
from monitor.store.engine import Store
from monitor.store.evaluation import SampleRow
from monitor.store.references import ReferenceFault, ReferenceSet

LEAST_RATIO = 1.1  # of a quantile, a rate or a volume, below which `differences` does not mention it


@dataclass(frozen=True, slots=True)
class Built:
    """A reference that was written as a draft."""

    reference_id: str
    reference: Reference


def build(store: Store, config: Config, from_us: int, to_us: int, segment: str | None = None) -> list[Built]:
    """Write a draft for ``segment``, or for every segment with events in [from, to) (cut to full hours) and every
    enabled slice with enough sessions there. A slice is written ``slice:NAME``.

    Raises ReferenceFault where the stretch is not closed yet, is empty, or holds too little of what was asked for.
    """
    begin, end = -(-from_us // HOUR_US) * HOUR_US, to_us // HOUR_US * HOUR_US
    if end <= begin:
        raise ReferenceFault("the stretch holds no full hour; give a later --to")
    closed = listing.closed_until(store)
    if closed is None or closed < end:
        raise ReferenceFault("the stretch is not closed yet: events of it may still arrive; give an earlier --to")
    waiting = evaluation.closed(store).pending_us
    if waiting is not None and waiting < end:
        raise ReferenceFault("samples of the stretch still wait to be embedded; try again when they are")
    if segment is not None and is_slice(segment):
        return [_build_slice(store, config, segment, None, begin, end)]
    routes: dict[str, str] = {}
    for row in listing.segments(store, begin, end):
        routes[row.segment] = row.route if routes.get(row.segment, row.route) == row.route else ""
    if segment is not None:
        if segment not in routes:
            raise ReferenceFault(
                f"no events of segment {segment!r} in the stretch; known: {', '.join(routes) or 'none'}"
            )
        routes = {segment: routes[segment]}
    in_use = [
        Reference.from_content(references.get(store, identity).content)
        for identity in sorted(references.active_ids(store).values())
    ]
    built = [
        _build(store, config, name, route, begin, end, kindred(in_use, name)) for name, route in sorted(routes.items())
    ]
    if segment is None:
        found = evaluation.embedded_samples(store, begin, end)
        for name in config.slices.enabled:
            with contextlib.suppress(ReferenceFault):  # a slice that these days do not hold keeps what it has
                built.append(_build_slice(store, config, SLICE_PREFIX + name, found, begin, end))
    return built


def _build(
    store: Store,
    config: Config,
    segment: str,
    route: str,
    begin: int,
    end: int,
    kindred_day_sd: dict[str, float],
) -> Built:
    decoder = Decoder()
    rows = evaluation.on_time_hours(store, begin, end, segment)
    cells = decoder.decode(SummaryRow(*row) for row in rows).by_hour()
    reference = learn(
        segment,
        route,
        cells,
        decoder.segments.code(segment),
        decoder.labels,
        evaluation.embedded_samples(store, begin, end, segment),
        from_us=begin,
        to_us=end,
        calendar=Calendar(config.timezone),
        confidence=config.evaluation.confidence,
        min_rows=config.reference.min_rows,
        max_rows=config.reference.max_rows,
        kindred_day_sd=kindred_day_sd,
    )
    if (found := learn_calibration(store, reference, begin, end)) is not None:
        reference.streams[SIGNAL] = FittedStream(spec_of(SIGNAL), found)
    return _add(store, reference)


def _build_slice(
    store: Store, config: Config, name: str, samples: Sequence[SampleRow] | None, begin: int, end: int
) -> Built:
    """``samples``: those of [begin, end), read here where None is given."""
    known = [SLICE_PREFIX + one for one in config.slices.enabled]
    if name not in known:
        raise ReferenceFault(f"no slice {name!r} is measured; known: {', '.join(known) or 'none'} (slices.enabled)")
    reference = learn_slice(
        name,
        evaluation.embedded_samples(store, begin, end) if samples is None else samples,
        from_us=begin,
        to_us=end,
        calendar=Calendar(config.timezone),
        confidence=config.evaluation.confidence,
    )
    if reference.sessions < MIN_TRIALS:
        raise ReferenceFault(
            f"{name} has {reference.sessions} sampled sessions in the stretch, a reference needs {MIN_TRIALS}; "
            "give a longer one"
        )
    return _add(store, reference)


def _add(store: Store, reference: Reference) -> Built:
    """Write a draft."""
    with store.write() as connection:
        identity = references.add(
            connection,
            segment=reference.segment,
            encoder=reference.encoder,
            from_us=reference.from_us,
            to_us=reference.to_us,
            origin="built",
            rows=len(reference.rows),
            content=reference.to_content(),
            samples=reference.rows,
        )
    return Built(identity, reference)


def differences(before: ReferenceSet, after: ReferenceSet, currency: str) -> list[str]:
    """What changed from one reference to another, a sentence each; empty when nothing worth saying did."""
    old, new = Reference.from_content(before.content), Reference.from_content(after.content)
    found: list[str] = []
    if old.encoder != new.encoder:
        found.append(
            f"Embeddings cannot be compared: the first was made with encoder {old.encoder or 'none'}, the second with "
            f"{new.encoder or 'none'}."
        )
    found += [f"{signal} is no longer measured." for signal in sorted(set(old.streams) - set(new.streams))]
    found += [f"{signal} is measured now." for signal in sorted(set(new.streams) - set(old.streams))]
    for signal in sorted(set(old.streams) & set(new.streams)):
        a, b = old.streams[signal].fit, new.streams[signal].fit
        if isinstance(a, VolumeReference) and isinstance(b, VolumeReference):
            found += _moved("sessions per hour", float(a.mean.mean()), float(b.mean.mean()), number)
        elif isinstance(a, RateReference) and isinstance(b, RateReference) and old.streams[signal].spec.kind == "rate":
            found += _moved(signal, a.rate, b.rate, percent)
    for name in METRICS:
        one, two = old.totals.get(name), new.totals.get(name)
        if one and two and len(one) == 4 and len(two) == 4:
            for label, x, y in zip(("median", "p95", "p99"), one[1:], two[1:], strict=True):
                found += _moved(f"the {label} of {name}", x, y, lambda v, n=name: quantity(n, v, currency))
    return found


def _moved(what: str, before: float, after: float, shown: object) -> list[str]:
    assert callable(shown)
    low, high = min(before, after), max(before, after)
    if high == low or (low > 0 and high / low < LEAST_RATIO):
        return []
    verb = "rose" if after > before else "fell"
    return [f"{what[0].upper() + what[1:]} {verb} from {shown(before)} to {shown(after)}."]
