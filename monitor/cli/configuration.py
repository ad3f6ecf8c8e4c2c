"""`driftline config`."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.options import config_option, read_config


@click.group()
def config() -> None:
    """Check a configuration file, or show what is in effect.

    \b
    Example:
      driftline config check driftline.yaml
      driftline config show --config driftline.yaml
    """


@config.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check(file: Path) -> None:
    """Say whether FILE is valid; if not: file, line, key, what was got and what to write.

    \b
    Example:
      driftline config check driftline.yaml
    """
    read_config(file)
    click.echo(f"{file}: valid")


@config.command()
@config_option
def show(config_path: Path) -> None:
    """Print every key as it is in effect, defaults included, secrets as ***.

    \b
    Example:
      driftline config show --config driftline.yaml
    """
    from monitor.config.version import shown

    click.echo(shown(read_config(config_path)), nl=False)
