"""`driftline review advice | calibration | inputs | reviewers`: what follows from labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.options import Failure, config_option, days_option, evaluated_days, opened_store, read_config

if TYPE_CHECKING:
    from detectors.explain.weighted import Limits
    from monitor.advice import Material
    from monitor.reviewers import Reviewers
    from samplers.agreement import Agreement
    from samplers.labelled import Labelled
    from samplers.threshold import Traffic

_segment = click.option("--segment", metavar="NAME", required=True, help="Of this segment.")
_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@contextmanager
def _material(config_path: Path, segment: str, days: int) -> Iterator[Material]:
    from monitor import advice

    config = read_config(config_path)
    with opened_store(config) as store:
        span = evaluated_days(store, config, days)
        try:
            yield advice.read(store, segment, *span, config.timezone)
        except ValueError as error:
            raise Failure(str(error)) from None


def _confident(material: Material) -> tuple[Labelled, Traffic]:
    if material.labels is None or material.traffic is None:
        raise Failure("no labelled event says how confident the model was (quality.confidence in docs/events.md)")
    return material.labels, material.traffic


def _percent(limits: Limits) -> str:
    return f"{limits.value:.1%} [{100 * limits.low:.1f}, {100 * limits.high:.1f}]"


@click.command()
@config_option
@_segment
@days_option
@click.option(
    "--target", type=click.FloatRange(0, 1, min_open=True, max_open=True), required=True, help="Error rate to reach."
)
@click.option("--cost-automatic", type=click.FloatRange(0), help="Cost of an answer as it is, in any unit.")
@click.option("--cost-escalated", type=click.FloatRange(0), help="Cost of asking a human or a stronger model as well.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which labels calibrate where no score can.")
@_json
def advice(
    config_path: Path,
    segment: str,
    days: int,
    target: float,
    cost_automatic: float | None,
    cost_escalated: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Say below which confidence to ask a human or a stronger model, for an error of at most TARGET.

    With 95 % confidence, or "no threshold reaches it"; and the curve of quality against cost over thresholds.

    \b
    Example:
      driftline review advice --segment receipts --target 0.02 --cost-automatic 0.01 --cost-escalated 0.4
    """
    import numpy as np

    from samplers.threshold import Costs, advise, curve

    if (cost_automatic is None) != (cost_escalated is None):
        raise click.UsageError("give both --cost-automatic and --cost-escalated, or neither")
    costs = None if cost_automatic is None or cost_escalated is None else Costs(cost_automatic, cost_escalated)
    with _material(config_path, segment, days) as material:
        labels, traffic = _confident(material)
        found = advise(labels, traffic, target, rng=np.random.default_rng(seed), costs=costs)
        points = curve(labels, traffic, rng=np.random.default_rng(seed), costs=costs)
    if as_json:
        click.echo(json.dumps({"advice": asdict(found), "curve": [asdict(point) for point in points]}))
        return
    click.echo(f"{segment}: {labels.size} labels, {material.undecided} items undecided")
    if found.threshold is None:
        click.echo(f"{found.reason}.")
    else:
        click.echo(
            f"Escalate below a confidence of {found.threshold:.3f}: {_percent(found.coverage)} pass, of which "
            f"{_percent(found.error)} are wrong; at most {target:.1%} with 95 % confidence."
        )
    _print_curve(points)


def _print_curve(points: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    priced = any(point.cost is not None for point in points)
    table = Table("confidence", "passes", "wrong among them", *(["cost an item"] if priced else []))
    for point in points:
        cost = [f"{point.cost.value:.4g}"] if point.cost is not None else []
        table.add_row(f"{point.threshold:.3f}", f"{point.coverage.value:.0%}", _percent(point.error), *cost)
    Console().print(table)


@click.command()
@config_option
@_segment
@days_option
@click.option("--map", "kind", type=click.Choice(("platt", "isotonic")), help="Write a calibration map instead.")
@_json
def calibration(config_path: Path, segment: str, days: int, kind: str | None, as_json: bool) -> None:
    """Say whether the model's confidence means what it says.

    \b
    Example:
      driftline review calibration --segment receipts
      driftline review calibration --segment receipts --map isotonic > map.json
    """
    from samplers.calibration import IsotonicMap, PlattMap, reliability

    with _material(config_path, segment, days) as material:
        labels, _ = _confident(material)
        if kind is not None:
            fitted = PlattMap.fit(labels) if kind == "platt" else IsotonicMap.fit(labels)
            click.echo(json.dumps(fitted.to_state()))
            return
        found = reliability(labels)
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("confidence", "right", "labels", "share of traffic")
    for row in found.bins:
        table.add_row(f"{row.confidence:.3f}", _percent(row.accuracy), str(row.labels), f"{row.share:.0%}")
    Console().print(table)
    lean = "overconfident" if found.over > 0 else "underconfident"
    click.echo(
        f"Calibration error {_percent(found.error)}; {lean} by {abs(found.over):.1%} on average; "
        + ("beyond chance." if found.p < 0.05 else "within chance.")
    )


@click.command()
@config_option
@_segment
@days_option
@_json
def inputs(config_path: Path, segment: str, days: int, as_json: bool) -> None:
    """Say which conditions of the inputs go with failure, what would address them, and how to confirm it.

    \b
    Example:
      driftline review inputs --segment receipts --days 56
    """
    from monitor import advice as material_of

    with _material(config_path, segment, days) as material:
        found = material_of.inputs(material)
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    click.echo(f"{segment}: {len(material.rows)} labels: {found.reason}.")
    for finding in found.named:
        ratio, week = finding.odds_ratio, finding.failures_per_week
        click.echo(
            f"  {finding.condition.name}: odds of being wrong x{ratio.value:.2g} [{ratio.low:.2g}, {ratio.high:.2g}] "
            f"for each {finding.condition.step:g} {finding.condition.unit} worse; {finding.affected:.0%} of the "
            f"traffic is affected; {week.value:.3g} failures a week go with it, at most {finding.at_most_per_week:.3g}."
        )
        confirm = f" An A/B over {finding.ab_labels} labelled items would confirm it." if finding.ab_labels else ""
        click.echo(f"    {finding.text[:1].upper()}{finding.text[1:]}.{confirm}")
    for name, reason in found.left_out:
        click.echo(f"  not judged: {name} ({reason})")


@click.command()
@config_option
@click.option("--segment", metavar="NAME", help="Only of this segment.")
@days_option
@_json
def reviewers(config_path: Path, segment: str | None, days: int, as_json: bool) -> None:
    """Say whether reviewers agree, how they do on known answers, and what that means for the error rate.

    Items that several label come from `review.overlap`, known answers from `driftline review gold`.

    \b
    Example:
      driftline review reviewers --days 28
    """
    from monitor.reviewers import read

    config = read_config(config_path)
    with opened_store(config) as store:
        span = evaluated_days(store, config, days)
        found = read(store, *span, config.timezone, segment=segment)
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    if not found.reviewers:
        raise Failure(f"nobody labelled an item in these {days} days")
    _print_reviewers(found)


def _print_reviewers(found: Reviewers) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("reviewer", "labels", "wrong", "unsure", "known wrong found", "known right found")
    for row in found.reviewers:
        gold = row.gold
        known = (f"{gold.wrong_called_wrong} of {gold.wrong}", f"{gold.right_called_right} of {gold.right}")
        name = "".join(c if c.isprintable() else "\ufffd" for c in row.name)
        table.add_row(Text(name), str(row.labels), str(row.wrong), str(row.unsure), *known)
    Console().print(table)
    click.echo(f"Krippendorff's alpha over all: {_agreement(found.alpha)}")
    for pair in found.pairs[:10]:
        click.echo(f"Cohen's kappa of {pair.first!r} and {pair.second!r}: {_agreement(pair.kappa)}")
    if found.ties:
        click.echo(f"{len(found.ties)} items have reviewers divided: {', '.join(found.ties[:5])} ...")
    if found.corrected is not None:
        rate = found.corrected.rate
        told = found.corrected.reason if rate is None else _percent(rate)
        click.echo(f"Error rate with reviewers' own errors allowed for: {told}")


def _agreement(found: Agreement) -> str:
    if found.reason:
        return f"not known, {found.reason}"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}] of {found.items} items"
