"""`driftline dashboards`."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.options import Failure


@click.group()
def dashboards() -> None:
    """Write the Grafana dashboard, its provisioning files and the alert rules, or check that they are current.

    \b
    Example:
      driftline dashboards generate --out ./grafana
      driftline dashboards check
    """


@dashboards.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to. Default: dashboards/generated of this installation.",
)
def generate(out: Path | None) -> None:
    """Write every file; says which ones changed.

    \b
    Example:
      driftline dashboards generate --out ./grafana
    """
    from dashboards.generate import GENERATED, write

    try:
        changed = write(out or GENERATED)
    except ModuleNotFoundError as error:
        raise _needs_sdk(error) from None
    except OSError as error:
        raise Failure(f"cannot write to {out or GENERATED}: {error}; choose another folder with --out") from None
    for path in changed:
        click.echo(f"wrote {path}")
    if not changed:
        click.echo(f"{out or GENERATED}: up to date")


@dashboards.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to look at. Default: dashboards/generated of this installation.",
)
def check(out: Path | None) -> None:
    """Exit with 1 unless the files are what the code generates.

    \b
    Example:
      driftline dashboards check
    """
    from dashboards.generate import GENERATED, stale

    try:
        wrong = stale(out or GENERATED)
    except ModuleNotFoundError as error:
        raise _needs_sdk(error) from None
    if wrong:
        raise Failure("\n".join([*wrong, "Run `driftline dashboards generate` and commit the result."]))
    click.echo(f"{out or GENERATED}: up to date")


def _needs_sdk(error: ModuleNotFoundError) -> Failure:
    return Failure(
        f"generating needs {error.name}, which the base install does not bring: pip install 'driftline[dev]'.\n"
        "The generated files are part of every installation: dashboards/generated/."
    )
